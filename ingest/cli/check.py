"""`ingest check`: validates the configuration, the database and the folders, and changes nothing."""

from __future__ import annotations

import argparse

from ingest.cli.check_environment import Findings, find
from ingest.cli.configuration import configured
from ingest.daemon.db_readiness import admin, writer
from ingest.daemon.maintenance_spec import maintenance_spec
from ingest.sources.poll_plan import describe_plans
from ingest.store.migrate import check
from ingest.store.platforms import overflows
from ingest.store.schema_check import verify
from ingest.tables import TABLES

EXAMPLE = """\
[database]
dsn = "postgresql://ingest_writer@localhost/market"
admin_dsn = "postgresql://ingest_migrate@localhost/market"

[exchanges.binance]
instruments = ["BTC/USDT", "ETH/USDT"]

[pollers.coingecko]
symbols = ["BTC", "ETH"]

[pollers.alternative_me]

[pollers.mempool_space]

[pollers.news_coindesk]

[pollers.cboe]
"""


async def run(options: argparse.Namespace) -> int:
    """Returns 1 for pending migrations or a problem, else 0. Raises Stop for a wrong setting, Hold for a wrong schema."""
    if options.init:
        print(EXAMPLE, end="")
        return 0
    settings = configured(options)
    maintenance_spec(settings)
    print(f"configuration: ok, {len(settings.exchanges)} exchanges, {len(settings.pollers)} pollers")
    for line in describe_plans(settings.pollers):
        print(f"poller {line}")
    async with admin(settings.database) as connection:
        report = await check(connection)
        for step in report.steps:
            print(f"pending: {step}")
        if not report.steps:
            for table in TABLES:
                await verify(connection, table)
            for line in await overflows(connection):
                print(f"platforms: {line}")
    async with writer(settings.database) as connection:
        findings = Findings() if report.steps else await find(settings, connection)
    for line in findings.notes:
        print(f"note: {line}")
    for line in findings.problems:
        print(f"problem: {line}")
    print(f"database: {report.database}, schema {report.database.schema_version}")
    if settings.database.admin_dsn is None:
        print("maintenance: disabled, database.admin_dsn is not set: no roll-ups, indicators, policies, retention or audit")
    return 1 if report.steps or findings.problems else 0
