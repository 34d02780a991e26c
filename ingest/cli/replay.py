"""`ingest replay`: parses captured traffic with the parsers of the live feeds and stores its rows."""

from __future__ import annotations

import argparse
from functools import partial

from ingest import registry
from ingest.cli.configuration import configured
from ingest.counters import Counters
from ingest.daemon.write_path import writing
from ingest.pipeline.time_ranges import CHANNELS
from ingest.sources.replay import Replay, files_of
from ingest.sources.replay_coverage import WRITER, missing
from ingest.store.instruments import store_instruments


async def run(options: argparse.Namespace) -> int:
    """Returns 0 when every row of the files has its outcome."""
    settings = configured(options)
    counters = Counters()
    async with writing(settings, counters, WRITER) as work:
        replay = Replay(
            registry.exchanges(),
            puts={writer.queue.table.record: writer.queue.put for writer in work.writers.values()},
            store_instruments=partial(store_instruments, work.pool, old=True),
            on_gap=work.coverage.gap,
            on_malformed=work.coverage.malformed,
        )
        await replay.run(files_of(options.files))
        work.claims.extend(replay.claims)
    print(f"sent: {', '.join(f'{count} {kind}' for kind, count in sorted(replay.counts.items())) or 'nothing'}")
    for name in CHANNELS:
        tally = counters.tallies[name]
        print(f"{name}: {tally}")
        if tally.expired:
            print(f'{name}: {tally.expired} rows are older than retention.{name} and were not stored; right would be "none" there')
    for line in missing(replay.claims, replay.names):
        print(line)
    return 0
