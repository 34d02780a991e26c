"""Makes the recorder of an exchange's messages, if the settings enable capture. See `ingest.transports.recorder`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ingest.config.sections import ExchangeSection
from ingest.config.settings import Settings
from ingest.metrics import Metrics
from ingest.transports.recorder import Recorder


def recorder_of(settings: Settings, name: str, section: ExchangeSection, metrics: Metrics) -> Callable[[], Recorder] | None:
    """A factory of the recorder of exchange `name`; None if `capture` is false."""
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
