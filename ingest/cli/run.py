"""`ingest run`: the daemon."""

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
    """Until SIGTERM or SIGINT; the exit code. Raises Stop where the settings leave nothing to do."""
    settings = _live(configured(options))
    if not settings.exchanges and not settings.pollers:
        raise Stop("nothing to do: no [exchanges.<name>] is configured; `ingest check --init` prints an example")
    collect_seldom()
    listener = listen(settings.server.host, settings.server.port)
    return await Supervisor(settings, lambda: _live(config.load(options.config)), listener).run()


def _live(settings: Settings) -> Settings:
    """The same, if all of it can be run. Raises Stop."""
    known = registry.exchanges()
    for name, section in settings.exchanges.items():
        if (protocol := section.protocol or name) not in known:
            feeds = ", ".join(sorted(known))
            raise Stop(f"exchanges.{name}: '{protocol}' has no live feed here, only `ingest backfill` takes it; feeds: {feeds}")
    return settings
