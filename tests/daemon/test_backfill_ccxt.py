"""`ingest backfill` for exchanges without a module: ccxt sends its requests to a server on loopback that serves recordings.

The recordings are those of gocryptotrader; the server selects rows by the query parameters that each exchange documents. Every
stored row is compared with the recording.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from ingest.records import hashed_id
from tests.support import stored
from tests.support.backfills import EPOCH, KEEP, backfill, chunks, micros, trades
from tests.support.daemon import on_apache, to_toml
from tests.support.paths import ROOT

Response = Callable[[dict[str, str]], Any]

_CANDLES = """
    SELECT (extract(epoch FROM time) * 1000)::bigint, open::text, high::text, low::text, close::text, volume::text,
           quote_volume::text, trades_count, taker_buy_volume::text, taker_buy_quote_volume::text, origin, parts
      FROM candles WHERE interval = '1m' ORDER BY time"""
_MARKET = "SELECT exchange, symbol, instrument, base, quote, kind, status, price_step::text, size_step::text FROM instruments"
# https://www.bitstamp.net/api/#tag/Market-info/operation/GetMarkets
BITSTAMP_MARKET = {
    **{"name": "BTC/USD", "market_symbol": "btcusd", "base_currency": "BTC", "base_decimals": 8, "counter_currency": "USD"},
    **{"counter_decimals": 0, "minimum_order_value": "10", "trading": "Enabled", "market_type": "SPOT"},
}
PAGE = 100  # rows of a response, fewer than the exchanges send, so that there are several pages


def recorded(real: Path, exchange: str, path: str, query: str = "") -> Any:
    """The recorded response body of the first request whose query contains `query`."""
    found = json.loads((real / f"gocryptotrader/{exchange}.http.json").read_text())["routes"][path]["GET"]
    return next(response["data"] for response in found if query in response["queryString"])


@asynccontextmanager
async def serving(responses: dict[str, Response]) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        if request.path not in responses:
            return web.Response(status=404)
        return web.json_response(responses[request.path](dict(request.query)))

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def settings(dsn: str, protocol: str, instrument: str, url: str) -> dict[str, Any]:
    section = {"protocol": protocol, "instruments": [instrument], "rest_url": url}
    return {
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "exchanges": {"demo": section},
        "retention": KEEP,
        "log": {"format": "json"},
    }


def span(since: datetime, until: datetime) -> tuple[str, ...]:
    return ("--from", since.isoformat(), "--to", until.isoformat())


@on_apache
async def test_candles_of_six_columns_keep_their_digits_and_leave_the_other_columns_null(market: str, tmp_path: Path, real: Path):
    rows = recorded(real, "bitstamp", "/api/v2/ohlc/btcusd/", "limit=1000&start=1546300800&step=60")["data"]["ohlc"]

    def bars(query: dict[str, str]) -> Any:
        since, until = int(query.get("start", 0)), int(query.get("end", 1 << 40))
        found = [row for row in rows if since <= int(row["timestamp"]) <= until]
        page = found[:PAGE] if "start" in query else found[-PAGE:]
        return {"data": {"ohlc": page, "pair": "BTC/USD"}} if query["step"] == "60" else {}

    first, last = (datetime.fromtimestamp(int(rows[i]["timestamp"]), UTC) for i in (3, -3))
    async with serving({"/api/v2/markets/": lambda _: [BITSTAMP_MARKET], "/api/v2/ohlc/btcusd/": bars}) as url:
        config = settings(market, "bitstamp", "BTC/USD", url)
        code, output = await backfill(tmp_path, config, "candles", *span(first, last))
    assert (code, f"1 chunks: {len(rows) - 6} written" in output) == (0, True), output
    assert [tuple(row) for row in await stored.fetch(market, _CANDLES)] == [
        (
            *(int(row["timestamp"]) * 1000, row["open"], row["high"], row["low"], row["close"], row["volume"]),
            *(None, None, None, None, "rest", 1),
        )
        for row in rows[3:-3]
    ]
    assert [tuple(row) for row in await stored.fetch(market, _MARKET)] == [
        ("demo", "btcusd", "BTC/USD", "BTC", "USD", "spot", "trading", "1", "0.00000001")
    ]


@on_apache
async def test_columns_beyond_the_six_of_ccxt_are_stored(market: str, tmp_path: Path, real: Path):
    # 5m bars; 1m bars are read by the same code
    rows = recorded(real, "poloniex", "/markets/BTC_USDT/candles", "startTime=1718546400000")

    def bars(query: dict[str, str]) -> Any:
        found = [row for row in rows if row[12] >= int(query.get("startTime", 0))]
        return found[:5] if "startTime" in query else found[-5:]

    responses: dict[str, Response] = {
        "/markets": lambda _: recorded(real, "poloniex", "/markets"),
        "/v3/market/allInstruments": lambda _: {"code": 200, "msg": "Success", "data": []},
        "/markets/BTC_USDT/candles": bars,
    }
    async with serving(responses) as url:
        config = settings(market, "poloniex", "BTC/USDT", url)
        when = span(EPOCH.fromtimestamp(rows[0][12] / 1000, UTC), EPOCH.fromtimestamp(rows[-1][12] / 1000, UTC))
        code, output = await backfill(tmp_path, config, "candles", *when)
    assert code == 0, output
    assert [tuple(row) for row in await stored.fetch(market, _CANDLES)] == [
        (start, opened, high, low, close, volume, quote, count, taker, taker_quote, "rest", 1)
        for low, high, opened, close, quote, volume, taker_quote, taker, count, _, _, _, start, _ in rows[:-1]
    ]


@on_apache
async def test_trades_are_read_in_pages_from_the_first_to_the_last(market: str, tmp_path: Path, real: Path):
    path = "/v1/trades/BTCUSD"
    old, new = (recorded(real, "gemini", path, query) for query in ("since=1591401600", "since=1598847581"))
    rows = sorted([*old, *new], key=lambda row: (row["timestampms"], row["tid"]))

    def page(query: dict[str, str]) -> Any:
        found = [row for row in rows if row["timestampms"] >= int(query.get("timestamp", 0))]
        return (found[:PAGE] if "timestamp" in query else found[-PAGE:])[::-1]

    symbols = {"/v1/symbols": lambda _: recorded(real, "gemini", "/v1/symbols"), "/v1/trades/btcusd": page}
    until = datetime(2020, 6, 6, 4, tzinfo=UTC)
    async with serving(symbols) as url:
        config = settings(market, "gemini", "BTC/USD", url)
        # nothing shows that the first recorded trade is the first of the day
        code, output = await backfill(tmp_path, config, "trades", *span(datetime(2020, 6, 6, tzinfo=UTC), until))
        assert (code, "500 written" in output, "its first row is of 2020-06-06 00:00:07" in output) == (1, True, True), output
        when = span(EPOCH.fromtimestamp(min(row["timestampms"] for row in old) / 1000, UTC), until)
        code, output = await backfill(tmp_path, config, "trades", *when)
        assert (code, "1 chunks: 0 written, 0 revised, 500 were there already" in output) == (0, True), output
        again = await backfill(tmp_path, config, "trades", *when, "--again")
    assert (again[0], "0 written, 0 revised, 500 were there already" in again[1]) == (0, True), again[1]
    assert await trades(market) == [
        (row["tid"], row["timestampms"] * 1000, row["price"], row["amount"], row["type"])
        for row in sorted(old, key=lambda row: row["tid"])
    ]


@on_apache
async def test_a_day_that_the_latest_trades_may_not_hold_whole_fails(market: str, tmp_path: Path, real: Path):
    rows = sorted(recorded(real, "poloniex", "/markets/BTC_USDT/trades"), key=lambda row: int(row["id"]))
    responses: dict[str, Response] = {
        "/markets": lambda _: recorded(real, "poloniex", "/markets"),
        "/v3/market/allInstruments": lambda _: {"code": 200, "msg": "Success", "data": []},
        "/markets/BTC_USDT/trades": lambda _: rows[::-1],
    }
    # the latest trades begin in the first of these three days, and may not hold it whole
    begin = EPOCH.fromtimestamp(rows[0]["ts"] / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    second, end = (begin + timedelta(days=number) for number in (1, 3))
    async with serving(responses) as url:
        config = settings(market, "poloniex", "BTC/USDT", url)
        code, output = await backfill(tmp_path, config, "trades", *span(begin, end))
    assert (code, "demo: sends its latest 500 rows only" in output) == (1, True), output
    assert [state for _, state, *_ in await chunks(market)] == ["failed", "done", "done"]
    expected = [
        (int(row["id"]), row["ts"] * 1000, row["price"], row["quantity"], row["takerSide"].lower())
        for row in rows
        if micros(second) <= row["ts"] * 1000 < micros(end)
    ]
    assert expected
    assert await trades(market) == expected


async def ingest(config: Path, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ingest", *arguments, "--config", str(config)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    return process.returncode, output


@on_apache
async def test_a_section_without_a_live_feed_passes_the_check_and_is_refused_by_run(market: str, tmp_path: Path):
    config = tmp_path / "ingest.toml"
    config.write_text(to_toml(settings(market, "bitstamp", "BTC/USD", "http://127.0.0.1:1")))
    code, output = await ingest(config, "check")
    assert (code, "configuration: ok, 1 exchanges, 0 pollers" in output) == (0, True), output
    code, output = await ingest(config, "gaps", "--heal")
    assert (code, "nothing is missing" in output) == (0, True), output
    code, output = await ingest(config, "run")
    refusal = "exchanges.demo: 'bitstamp' has no live feed, it can only be backfilled; live feeds: binance, coinbase"
    assert (code, refusal in output) == (2, True), output
    config.write_text(to_toml(settings(market, "bitstemp", "BTC/USD", "http://127.0.0.1:1")))
    code, output = await ingest(config, "check")
    assert (code, "unknown exchange 'bitstemp'; known: binance, coinbase" in output) == (2, True), output


def test_an_id_that_is_not_a_number_is_hashed():
    # SHA-256 of "abc" ends in b410ff61f20015ad (FIPS 180-4); 0x3410... is that without its first bit
    assert hashed_id("abc") == -0x3410FF61F20015AD
