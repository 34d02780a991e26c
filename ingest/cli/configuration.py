"""What several commands begin with: the settings of the options, logging as they say, and a collector that seldom runs."""

from __future__ import annotations

import argparse
import gc

from ingest import log
from ingest.config import settings as config
from ingest.config.settings import Settings


def configured(options: argparse.Namespace, *, sources: bool = True) -> Settings:
    """The settings of `options.config` and of the environment, as `load` has them; logging is set up by them. Raises Stop."""
    settings = config.load(options.config, sources=sources)
    log.set_up(settings.log.format, settings.log.level)
    return settings


def collect_seldom() -> None:
    """Records are no cyclic garbage, and what is imported never is: looking at them cost an eighth of the time a row."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
