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
    if not section.record:
        return None
    record = settings.record
    return partial(
        Recorder,
        record.path / name,
        name,
        section.protocol or name,
        max_bytes=record.max_bytes,
        rotate_seconds=record.rotate.total_seconds(),
        metrics=metrics,
    )
