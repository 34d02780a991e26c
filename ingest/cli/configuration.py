"""The first steps that several commands share: load the settings, set up the log, tune the garbage collector."""

from __future__ import annotations

import argparse
import gc

from ingest import log
from ingest.config import settings as config
from ingest.config.settings import Settings


def configured(options: argparse.Namespace, *, sources: bool = True) -> Settings:
    """The settings from `options.config` and the environment. Sets up the log. Raises Stop if a setting is wrong."""
    settings = config.load(options.config, sources=sources)
    log.set_up(settings.log.format, settings.log.level)
    return settings


def collect_seldom() -> None:
    """Run the cyclic garbage collector seldom: with Python's defaults it takes an eighth of the time of a row.

    Neither records nor imported modules are cyclic garbage.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)
