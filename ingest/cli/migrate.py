"""`ingest migrate`: migrates the schema of the database to the version of this program, or back to an older one."""

from __future__ import annotations

import argparse

from ingest.cli.configuration import configured
from ingest.daemon.db_readiness import admin
from ingest.store.migrate import check, migrate


async def run(options: argparse.Namespace) -> int:
    """Returns 1 if `--check` finds pending migrations, else 0."""
    settings = configured(options, sources=False)
    async with admin(settings.database) as connection:
        if options.check:
            report = await check(connection)
        else:
            report = await migrate(connection, to=options.to, rollback=options.rollback, dry_run=options.dry_run)
    pending = options.check or options.dry_run
    for step in report.steps:
        print(f"{'would ' if pending else ''}{step}")
    print(f"{report.database}, schema {report.database.schema_version or 'empty'}")
    if not report.steps:
        print("nothing is pending")
    return 1 if options.check and report.steps else 0
