"""The time of the platforms' published queries at their volumes, against each platform's limit, and the effect of compression.

The server's time is planning and execution by EXPLAIN (ANALYZE, TIMING OFF), in a session that has prepared the statements, as
drivers do (asyncpg always, psycopg from the fifth execution on), and has queried every symbol before. The client's time is that of
the same query by asyncpg, until all rows are received. Queries take turns, so that a disturbance affects all of them.
https://www.postgresql.org/docs/current/sql-prepare.html
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import Any

import asyncpg
from cluster import Cluster, storage
from installation import EDITIONS, find_binaries, installed
from msgspec import Struct

from bench.result import Connection, Result, read_settings
from bench.volume import Size, fill
from ingest.store.migrate import migrate
from ingest.tables import TABLES

RUNS = 60  # of each query
FRESH_HOURS = 3.0  # how long a filled cluster is reused, because the queries read the latest days
LIMIT_MS = 50.0  # of platforms that set none
MASTERTRADE_MS, CHART_MS = 5.0, 100.0
SHARED_BUFFERS = 0.25  # of the machine's memory, as PostgreSQL's documentation advises


class Query(Struct, frozen=True):
    """One published query, with a new parameter for each execution. `limit` is the platform's limit in milliseconds."""

    name: str
    limit: float
    text: str
    type: str = ""  # of the parameter
    argument: Callable[[random.Random, Sequence[str]], Any] | None = None


class Measured(Struct, frozen=True, kw_only=True):
    """The figures of one query in milliseconds. `ratio` is `limit / p95`; p50 and p95 are of the server's time."""

    name: str
    limit: float
    p50: float
    p95: float
    ratio: float
    client_p50: float
    client_p95: float
    rows: int
    runs: int


def _coin(chosen: random.Random, symbols: Sequence[str]) -> str:
    return chosen.choice(symbols)


def _market(chosen: random.Random, symbols: Sequence[str]) -> str:
    return f"{chosen.choice(symbols)}USDT"


def _ten(chosen: random.Random, symbols: Sequence[str]) -> list[str]:
    return chosen.sample(symbols, min(10, len(symbols)))


def _portfolio(chosen: random.Random, symbols: Sequence[str]) -> str:
    return json.dumps([{"symbol": one, "quantity": str(n / 2)} for n, one in enumerate(_ten(chosen, symbols))])


# The published queries of the platforms.
QUERIES = (
    Query(
        "mastertrade: a week of one market",
        MASTERTRADE_MS,
        "SELECT * FROM mastertrade.market_data WHERE symbol = $1 AND timestamp > NOW() - INTERVAL '7 days'",
        "text",
        _market,
    ),
    Query(
        "cryptosense: latest prices of 10 coins",
        LIMIT_MS,
        "SELECT asset_symbol, close AS price FROM cryptosense.price_history_daily"
        " WHERE day = CURRENT_DATE AND asset_symbol = ANY($1)",
        "text[]",
        _ten,
    ),
    Query(
        "cryptosense: a coin's 30 days",
        CHART_MS,
        "SELECT time, price_usd FROM cryptosense.price_history WHERE asset_symbol = $1 AND time > NOW() - INTERVAL '30 days'"
        " ORDER BY time DESC",
        "text",
        _coin,
    ),
    Query(
        "ai_trading: the day of every symbol",
        LIMIT_MS,
        "SELECT * FROM ai_trading.daily_ohlcv WHERE date = date_trunc('day', NOW())",
    ),
    Query(
        "cryptomax: dashboard",
        LIMIT_MS,
        "SELECT * FROM cryptomax.market_data_cache ORDER BY market_cap_aud DESC NULLS LAST LIMIT 100",
    ),
    Query(
        "cryptomax: a portfolio",
        LIMIT_MS,
        "SELECT (pos->>'symbol') AS symbol, (pos->>'quantity')::DECIMAL * mdc.price_aud AS value_aud"
        " FROM jsonb_array_elements($1::jsonb) AS pos"
        " LEFT JOIN cryptomax.market_data_cache mdc ON mdc.symbol = pos->>'symbol'",
        "jsonb",
        _portfolio,
    ),
    Query(
        "catalyst: news of a symbol",
        LIMIT_MS,
        "SELECT * FROM catalyst.news_catalysts WHERE symbol = $1 ORDER BY published_at DESC LIMIT 50",
        "text",
        _coin,
    ),
    Query(
        "catalyst: grave news of a category",
        LIMIT_MS,
        "SELECT * FROM catalyst.news_catalysts WHERE categories && ARRAY['regulation'] AND impact_level IN ('high', 'critical')",
    ),
    Query(
        "mastertrade: a token's latest whales",
        LIMIT_MS,
        "SELECT * FROM mastertrade.whale_transactions WHERE token_symbol = $1 ORDER BY timestamp DESC LIMIT 50",
        "text",
        _coin,
    ),
    Query(
        "mastertrade: the largest whales",
        LIMIT_MS,
        "SELECT * FROM mastertrade.whale_transactions ORDER BY amount_usd DESC LIMIT 50",
    ),
)


async def measure(dsn: str, runs: int) -> list[Measured]:
    """Execute every query `runs` times."""
    connection = await asyncpg.connect(dsn)
    try:
        symbols = [row[0] for row in await connection.fetch("SELECT symbol FROM assets ORDER BY id")]
        chosen = random.Random(4)
        server: dict[str, list[float]] = {query.name: [] for query in QUERIES}
        client: dict[str, list[float]] = {query.name: [] for query in QUERIES}
        rows: dict[str, int] = {}
        for number, query in enumerate(QUERIES):
            await connection.execute(f"PREPARE q{number}{f'({query.type})' if query.type else ''} AS {query.text}")
        for few in [*([one] for one in symbols), *[symbols] * runs]:  # every symbol once as warm-up, then random symbols
            for number, query in enumerate(QUERIES):
                arguments = [query.argument(chosen, few)] if query.argument else []
                took = await _explained(connection, f"q{number}", arguments)
                started = time.perf_counter()
                rows[query.name] = max(rows.get(query.name, 0), len(await connection.fetch(query.text, *arguments)))
                if few is symbols:
                    server[query.name].append(took)
                    client[query.name].append((time.perf_counter() - started) * 1000)
        return [_measured(query, server[query.name], client[query.name], rows[query.name]) for query in QUERIES]
    finally:
        await connection.close()


async def _explained(connection: Connection, name: str, arguments: Sequence[str | list[str]]) -> float:
    """The time of the prepared statement in milliseconds. The arguments have no quotes, so they need no escaping."""
    shown = ", ".join(f"'{{{','.join(one)}}}'" if isinstance(one, list) else f"'{one}'" for one in arguments)
    (plan,) = json.loads(
        await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE {name}{f'({shown})' if shown else ''}")
    )
    milliseconds: float = plan["Planning Time"] + plan["Execution Time"]
    return milliseconds


def _measured(query: Query, server: list[float], client: list[float], rows: int) -> Measured:
    p95 = _percentile(server, 95)
    return Measured(
        name=query.name,
        limit=query.limit,
        p50=round(_percentile(server, 50), 2),
        p95=round(p95, 2),
        ratio=round(query.limit / p95, 2),
        client_p50=round(_percentile(client, 50), 2),
        client_p95=round(_percentile(client, 95), 2),
        rows=rows,
        runs=len(server),
    )


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


_DISK = """
    SELECT h.name, hypertable_size(h.name::regclass) AS now,
           coalesce(s.before_compression_total_bytes, 0)::bigint AS before,
           coalesce(s.after_compression_total_bytes, 0)::bigint AS after
      FROM unnest($1::text[]) AS h (name) LEFT JOIN LATERAL hypertable_columnstore_stats(h.name::regclass) s ON true
     ORDER BY now DESC"""


async def disk(connection: Connection, tables: Sequence[str]) -> list[dict[str, Any]]:
    """By hypertable, in bytes: its size now, and the size of its compressed chunks before and after compression."""
    return [dict(row) for row in await connection.fetch(_DISK, list(tables))]


async def platforms(dsn: str, size: Size, runs: int) -> list[Result | Measured]:
    """Fill the database, unless it is filled, and measure. The last results are `platforms` and `disk`.

    `disk` is the share of compressed chunks, extrapolated to the full volume of tables that are filled in part.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
        if not await connection.fetchval("SELECT to_regclass('bench_symbols') IS NOT NULL"):
            started = time.perf_counter()
            await fill(dsn, size)
            print(f"bench: filled in {time.perf_counter() - started:.0f} s", file=sys.stderr)
        measured = await measure(dsn, runs)
        sizes = await disk(connection, [table.name for table in TABLES])
        settings = await read_settings(connection)
    finally:
        await connection.close()
    lowest = min(measured, key=lambda figures: figures.ratio)
    filled = {when: sum(one[when] for one in sizes) for when in ("now", "before", "after")}
    before, after = (sum(one[when] / size.parts.get(one["name"], 1) for one in sizes) for when in ("before", "after"))
    _show(measured, sizes)
    results: list[Result | Measured] = [*measured]
    results.append(
        _result("platforms", lowest.ratio, "limit / p95", 1.0, rows=lowest.rows, settings=settings | {"lowest": lowest.name})
    )
    if before:
        settings = settings | {"filled_bytes": filled, "filled_saved": round(1 - filled["after"] / filled["before"], 4)}
        results.append(_result("disk", round(1 - after / before, 4), "share saved", 0.85, rows=len(sizes), settings=settings))
    return results


def _result(name: str, value: float, unit: str, reference: float, *, rows: int, settings: dict[str, Any]) -> Result:
    return Result(
        name=name,
        value=value,
        unit=unit,
        reference=reference,
        ratio=round(value / reference, 3),
        better="higher",
        rows=rows,
        seconds=0.0,
        reference_command="none: the reference is the limit",
        settings=settings,
    )


def _show(measured: Sequence[Measured], sizes: Sequence[dict[str, Any]]) -> None:
    """Print the figures as tables on stderr; stdout has the lines of JSON."""
    print(f"{'ms':<40} {'limit':>6} {'p50':>7} {'p95':>7} {'ratio':>6} {'client p50':>11} {'p95':>7} {'rows':>6}", file=sys.stderr)
    for one in measured:
        client = f"{one.client_p50:>11.2f} {one.client_p95:>7.2f}"
        print(
            f"{one.name:<40} {one.limit:>6.0f} {one.p50:>7.2f} {one.p95:>7.2f} {one.ratio:>6.2f} {client} {one.rows:>6}",
            file=sys.stderr,
        )
    print(f"{'MB':<40} {'now':>6} {'before':>7} {'after':>7} {'saved':>6}", file=sys.stderr)
    for size in sizes:
        now, before, after = (size[when] / 1e6 for when in ("now", "before", "after"))
        saved = f"{1 - after / before:>6.3f}" if before else "     -"
        print(f"{size['name']:<40} {now:>6.0f} {before:>7.0f} {after:>7.0f} {saved}", file=sys.stderr)


def filled_cluster(small: bool) -> Cluster:
    """A cluster whose data is kept, because filling it takes minutes. It is emptied after FRESH_HOURS."""
    edition = "community" if installed("community") else "apache"
    home = storage() / f"platforms-{find_binaries().parent.name}{'-small' if small else ''}"
    filled_at = home / "data" / "PG_VERSION"
    if filled_at.exists() and time.time() - filled_at.stat().st_mtime > FRESH_HOURS * 3600:
        shutil.rmtree(home)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    buffers = max(256, int(memory * SHARED_BUFFERS) >> 20)
    return Cluster(EDITIONS[edition], home=home, settings={"shared_buffers": f"{buffers}MB", "max_wal_size": "16GB"})
