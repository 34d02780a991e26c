"""`ingest run`: runs the daemon."""

from __future__ import annotations

import argparse

from ingest import registry
from ingest.cli.configuration import collect_seldom, configured
from ingest.config import settings as config
from ingest.config.settings import Settings
from ingest.daemon.http_server import listen
from ingest.daemon.supervisor import Supervisor
from ingest.errors import Stop


async def run(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or SIGINT and returns the exit code. Raises Stop if the settings are wrong or name no source."""
    settings = _live(configured(options))
    if not settings.exchanges and not settings.pollers:
        raise Stop("nothing to do: neither an exchange nor a poller is configured; `ingest check --init` prints an example")
    collect_seldom()
    listener = listen(settings.server.host, settings.server.port)
    return await Supervisor(settings, lambda: _live(config.load(options.config)), listener).run()


def _live(settings: Settings) -> Settings:
    """The same settings. Raises Stop for an exchange that has no live feed."""
    known = registry.exchanges()
    for name, section in settings.exchanges.items():
        if (protocol := section.protocol or name) not in known:
            names = ", ".join(sorted(known))
            raise Stop(f"exchanges.{name}: '{protocol}' has no live feed, it can only be backfilled; live feeds: {names}")
    return settings
