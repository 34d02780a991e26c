"""The recorder of a source's frames, where the settings want one. See `ingest.transports.recorder`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.metrics import Metrics
from ingest.transports.recorder import Recorder


def recorder_of(settings: Settings, name: str, section: ExchangeSection, metrics: Metrics) -> Callable[[], Recorder] | None:
    """A factory of the source's recorder; None where the settings want no recording."""
    if not section.capture:
        return None
    capture = settings.capture
    return partial(
        Recorder,
        capture.path / name,
        name,
        section.protocol or name,
        max_bytes=capture.max_bytes,
        rotate_seconds=capture.rotate.total_seconds(),
        metrics=metrics,
    )
