"""The queries that the platforms publish: each returns the stored rows, and reads only the chunks of its time range."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from tests.support.paths import DECLARED
from tests.support.platform_facts import DAY, Facts, rows
from tests.support.versions import every_version

PLANS_THROUGH_UNIONS = (
    2,
    27,
)  # excludes chunks by `> now() - ...` inside a UNION: https://github.com/timescale/timescaledb/pull/9515


def published() -> list[str]:
    path = DECLARED / "queries.sql"
    if not path.exists():
        pytest.skip(f"the platforms' queries are absent: {path}")
    text = re.sub(r"--[^\n]*", "", path.read_text())
    return [query.strip() for query in text.split(";") if query.strip()]


async def test_every_published_query_answers_with_what_is_stored(stored: Facts) -> None:
    minute = stored.minute
    await stored.candle(1, "1m", minute - 6 * DAY, 100)
    await stored.candle(1, "1m", minute - 8 * DAY, 90)
    await stored.candle(1, "1m", stored.today, 110)
    await stored.price(1, stored.today, 97, market_cap_aud=Decimal(5))
    await stored.price(1, minute - 20 * DAY, 70)
    await stored.price(2, stored.today, 7, market_cap_aud=None)
    await stored.article("a", minute - DAY, ["BTC", "ETH"])
    await stored.article("b", minute, ["BTC"], categories=["market"], impact_level="low")
    await stored.transfer("x", 0, 2_000_000)
    await stored.transfer("y", 0, 3_000_000, token="USDT")
    portfolio = json.dumps([{"symbol": "BTC", "quantity": "0.5"}, {"symbol": "NONE", "quantity": "1"}])
    values: dict[int, tuple[Any, ...]] = {1: (["BTC", "ETH", "NONE"],), 5: (portfolio,)}
    answers = [await rows(stored, query, *values.get(number, ())) for number, query in enumerate(published())]
    shown = [
        [("open", row["open"]) for row in answers[0]],
        sorted(tuple(row.values()) for row in answers[1]),
        [tuple(row.values()) for row in answers[2]],
        [tuple(row.values()) for row in answers[3]],
        [(row["symbol"], row["market_cap_aud"]) for row in answers[4]],
        [tuple(row.values()) for row in answers[5]],
        [(row["headline"], row["symbol"]) for row in answers[6]],
        sorted((row["headline"], row["symbol"]) for row in answers[7]),
        [(row["transaction_hash"], row["amount_usd"]) for row in answers[8]],
        [(row["transaction_hash"], row["amount_usd"]) for row in answers[9]],
    ]
    assert shown == [
        [("open", 100), ("open", 110)],
        [("BTC", 97), ("ETH", 7)],
        [(stored.today, 97), (minute - 20 * DAY, 70)],
        [("BTCUSDT", stored.today, 110, 110, 110, 110, 2)],
        [("BTC", 5), ("ETH", None)],
        [("BTC", Decimal(97)), ("NONE", None)],
        [("title b", "BTC"), ("title a", "BTC")],
        [("title a", "BTC"), ("title a", "ETH")],
        [("x", 2_000_000)],
        [("y", 3_000_000), ("x", 2_000_000)],
    ]


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("SELECT * FROM mastertrade.market_data WHERE symbol = 'BTCUSDT' AND timestamp > NOW() - INTERVAL '7 days'", 0),
        ("SELECT * FROM mastertrade.market_data WHERE symbol = 'BTCUSDT' AND timestamp > NOW() - INTERVAL '12 days'", 2),
        ("SELECT * FROM ai_trading.market_data WHERE symbol = 'BTCUSDT' AND timestamp > NOW() - INTERVAL '7 days'", 0),
        (
            "SELECT time, price_usd FROM cryptosense.price_history WHERE asset_symbol = 'BTC' AND time > NOW() - INTERVAL '7 days'",
            2,
        ),
        ("SELECT * FROM cryptomax.market_data_cache", 2),
    ],
)
@every_version
async def test_a_query_reads_only_the_chunks_of_its_time(stored: Facts, query: str, most: int) -> None:
    """Of 26 weekly chunks a query reads at most the last two.

    The candles of the last seven days are in `newest_candles`, so no chunk is read: from TimescaleDB 2.27 on the plan does not name
    the hypertable. Before, the executor excludes all chunks but the one in which the newest candles begin, and finds no row in it.
    """
    for week in range(26):
        await stored.candle(1, "1m", stored.minute - week * 7 * DAY, 1)
        await stored.price(1, stored.minute - week * 7 * DAY, 1)
    await stored.connection.execute("ANALYZE")
    version = await stored.connection.fetchval("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    planned_without = tuple(map(int, version.split(".")[:2])) >= PLANS_THROUGH_UNIONS
    for mode in ("force_custom_plan", "force_generic_plan"):
        await stored.connection.execute(f"SET plan_cache_mode = {mode}")
        plan = "\n".join(row[0] for row in await stored.connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {query}"))
        read = len(set(re.findall(r"_hyper_\d+_\d+_chunk(?=\b)", plan)))
        if most:
            assert 1 <= read <= most
        elif planned_without:
            assert "candles c" not in plan
        else:
            assert read <= 1
            assert not re.search(r"_chunk .*actual rows=[^0]", plan)
