"""The daemon stores large transfers of blocks, alerts and a page field by field, also when a chain is reorganised.

The transactions, transfers and the page of Whale Alert are recorded; its alert is the documented example of test_whale_alert.py.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import WSMsgType, web

from tests.support.chains import FIRST, FIRST_TIME, MKR, TIME, TIP, Etherscan, MempoolSpace
from tests.support.daemon import Daemon, on_apache, to_toml, until
from tests.support.paths import ROOT

Daemons = Callable[..., Daemon]

FAST = {"interval": "100ms", "budget": {"per_minute": 100_000}}
KEY = "geheim-4711"


def alert(number: int) -> str:
    amount = {"symbol": "USDC", "amount": 20006425.310176, "value_usd": 20008425.95270702}
    parties = {"blockchain": "ethereum", "transaction_type": "transfer", "from": "unknown wallet", "to": "binance"}
    whole = {"channel_id": "x", "timestamp": 1687389431, "amounts": [amount], "transaction": {"hash": f"0x{number}"}}
    return json.dumps(whole | parties)


class Explorers:
    """Both chains and Whale Alert on one server. Each websocket sends one alert; the first then sends garbage and closes."""

    def __init__(self, real: Path) -> None:
        self.url = ""
        self.real = real
        self.bitcoin = MempoolSpace(json.loads((real / "mempool_space/transactions-random.json").read_text()))
        self.ethereum = Etherscan(real)
        self.subscriptions: list[str] = []
        self.keys: set[str | None] = set()
        self.sockets = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path_qs
        if path.startswith("/bitcoin"):
            return json_response(self.bitcoin(path.removeprefix("/bitcoin")))
        if path.startswith("/ethereum"):
            self.keys.add(request.query.get("apikey"))
            return json_response(self.ethereum(path.removeprefix("/ethereum").replace(f"&apikey={KEY}", "")))
        self.keys.add(request.query.get("api_key"))
        match request.path.removeprefix("/alert"):
            case "/ws":
                return await self.send_alert(request)
            case "/status":
                return json_response((self.real / "whale_alert/v1_status.json").read_bytes())
            case "/transactions":
                return json_response((self.real / "whale_alert/v1_transactions.json").read_bytes())
        raise AssertionError(path)

    async def send_alert(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets += 1
        self.subscriptions.append((await socket.receive()).data)
        await socket.send_str('{"id": "ingest", "type": "subscribed_alerts", "tx_types": ["transfer"], "min_value_usd": 1000000}')
        await socket.send_str(alert(self.sockets))
        if self.sockets == 1:
            await socket.send_str("not json at all")
            await socket.close()
        while (await socket.receive()).type is WSMsgType.TEXT:
            pass
        return socket


def json_response(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


@pytest.fixture
async def explorers(real: Path) -> AsyncIterator[Explorers]:
    explorers = Explorers(real)
    app = web.Application()
    app.router.add_get("/{path:.*}", explorers.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    explorers.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield explorers
    await runner.cleanup()


@pytest.fixture
async def connection(market: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(market)
    yield connection
    await connection.close()


async def put_bar(connection: Any, base: str, time: int, close: str) -> None:
    number = await connection.fetchval(
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status)"
        " VALUES ('binance', $1 || 'USDT', $1 || '/USDT', $1, 'USDT', 'spot', 'trading') RETURNING id",
        base,
    )
    await connection.execute(
        "INSERT INTO candles (instrument_id, interval, time, open, high, low, close, volume, parts, origin, received_at)"
        " VALUES ($1, '1m', $2, $3, $3, $3, $3, 1, 1, 'ws', now())",
        *(number, datetime.fromtimestamp(time // 60 * 60 - 120, UTC), Decimal(close)),
    )


def watching(dsn: str, explorers: Explorers, labels: Path, **pollers: dict[str, Any]) -> dict[str, Any]:
    """Retention is off because the recorded transfers are old; `min_usd` is low because those of bitcoin are small."""
    return {
        "name": "one",
        "database": {"dsn": dsn, "admin_dsn": dsn},
        "pollers": {
            "whale_bitcoin": {"base_url": f"{explorers.url}/bitcoin", "min_usd": 300, "labels": str(labels), **FAST},
            "whale_ethereum": {
                "base_url": f"{explorers.url}/ethereum",
                "symbols": ["MKR"],
                "ids": {"MKR": f"{MKR}/18"},
                "labels": str(labels),
                **FAST,
            },
        }
        | pollers,
        "retention": {"whale_transactions": "none", "candles": "none"},
        "server": {"port": 0},
        "log": {"format": "json"},
        "shutdown_timeout": "5s",
    }


async def stored(connection: Any, query: str = "true") -> list[dict[str, Any]]:
    columns = "hash, token, index, time, from_address, from_label, to_address, to_label, amount_token, amount_usd, alert_level"
    rows = await connection.fetch(
        f"SELECT blockchain, {columns}, block_height, block_hash, source FROM market.whale_transactions"
        f" WHERE {query} ORDER BY blockchain, time, hash, index"
    )
    return [dict(row) for row in rows]


async def polled(instance: Daemon) -> dict[str, Any]:
    return (await instance.status())["pollers"]


def bitcoin_transfer(transaction: dict[str, Any], block_hash: str, **more: Any) -> dict[str, Any]:
    """The expected row of the first transfer of a transaction in the block TIP."""
    return {
        "blockchain": "bitcoin",
        "hash": transaction["txid"],
        "token": "BTC",
        "index": 0,
        "time": datetime.fromtimestamp(TIME, UTC),
        "alert_level": "low",
        "block_height": TIP,
        "block_hash": block_hash,
        "source": "mempool_space",
        "from_label": None,
        "to_label": None,
    } | more


def transfer_with_many_inputs(transaction: dict[str, Any], block_hash: str) -> dict[str, Any]:
    """The transaction has many inputs; its largest output is a bare multisig, which has no address."""
    return bitcoin_transfer(
        transaction,
        block_hash,
        from_address="bc1p3xkpyzjfpmhg3k643qgjl90cszfjsnypfuru8tv58fl6a7azyudqkcu66k",
        from_label="an exchange",
        to_address=transaction["vout"][2]["scriptpubkey"],
        amount_token=Decimal("0.00000582"),
        amount_usd=Decimal("349.20"),
    )


def transfer_with_change(transaction: dict[str, Any], block_hash: str) -> dict[str, Any]:
    """The other output of the transaction is change."""
    return bitcoin_transfer(
        transaction,
        block_hash,
        from_address=transaction["vin"][0]["prevout"]["scriptpubkey_address"],
        to_address=transaction["vout"][1]["scriptpubkey_address"],
        amount_token=Decimal("0.00000546"),
        amount_usd=Decimal("327.60"),
    )


def mkr_transfer(row: dict[str, str]) -> dict[str, Any]:
    """The expected row of a transfer of a million MKR."""
    return {
        "blockchain": "ethereum",
        "hash": row["hash"],
        "token": "MKR",
        "index": 0,
        "time": datetime.fromtimestamp(FIRST_TIME, UTC),
        "from_address": row["from"],
        "from_label": None,
        "to_address": row["to"],
        "to_label": "maker",
        "amount_token": Decimal(10**6),
        "amount_usd": Decimal(430_000_000),
        "alert_level": "critical",
        "block_height": FIRST,
        "block_hash": row["blockHash"],
        "source": "etherscan",
    }


@on_apache
async def test_transfers_are_stored_and_follow_their_chain(
    market: str, explorers: Explorers, connection: Any, daemon: Daemons, tmp_path: Path
) -> None:
    many, change = list(explorers.bitcoin.transactions.values())[:1:-1]
    explorers.bitcoin.add(TIP, "old", many["txid"], change["txid"])
    labels = tmp_path / "labels.csv"
    payer = many["vin"][6]["prevout"]["scriptpubkey_address"]
    labels.write_text(f"{payer},an exchange\n0x642AE78fafbb8032da552d619ad43f1d81e4dd7c,maker\n")
    await put_bar(connection, "BTC", TIME, "60000000")
    settings = watching(market, explorers, labels, whale_alert={"base_url": f"{explorers.url}/alert", "enabled": True})
    keys = {f"INGEST__POLLERS__WHALE_{name}__API_KEY": KEY for name in ("ALERT", "ETHEREUM")}
    before = await daemon(settings, keys).start()

    async def waits_for_a_price() -> bool:
        return "no price of MKR" in (await polled(before)).get("whale_ethereum", {}).get("detail", "")

    await until(waits_for_a_price)
    await before.until(lambda now: now.rows("whale_transactions")["written"] == 5 + 2)
    assert await stored(connection, "token = 'MKR'") == []
    first, second, third, *_ = await stored(connection, "blockchain = 'bitcoin'")
    assert (first, second) == (transfer_with_change(change, "old"), transfer_with_many_inputs(many, "old"))
    assert (third["hash"], third["index"], third["amount_token"]) == (many["txid"], 1, Decimal("0.00000576"))

    explorers.bitcoin.add(TIP, "new", change["txid"])
    explorers.bitcoin.add(TIP + 1, "newer", many["txid"])
    await put_bar(connection, "MKR", FIRST_TIME, "430")
    await connection.execute("UPDATE poll_cursors SET due_at = now()")
    settings["pollers"]["whale_ethereum"]["interval"] = "200ms"
    before.configure(settings)
    before.signal(signal.SIGHUP)  # else it waits a minute for a price
    await before.until(lambda now: now.value("reorg_rows_removed_total", source="whale_bitcoin") == 5)
    await before.until(lambda now: now.rows("whale_transactions")["written"] == 5 + 2 + 5 + 1)
    moved, *others = await stored(connection, "blockchain = 'bitcoin'")
    assert moved == transfer_with_change(change, "new")
    assert {(row["block_hash"], row["block_height"], row["time"].timestamp()) for row in others} == {("newer", TIP + 1, TIME + 600)}
    assert await stored(connection, "token = 'MKR'") == [mkr_transfer(explorers.ethereum.transfers[0])]
    alerted = await stored(connection, "source = 'whale_alert'")
    assert [(row["hash"], row["to_label"], row["amount_usd"]) for row in alerted] == [
        (f"0x{number}", "binance", Decimal("20008425.95")) for number in (1, 2)
    ]
    assert json.loads(explorers.subscriptions[0])["min_value_usd"] == 1_000_000
    kept = await until(lambda: connection.fetch("SELECT source, reason, payload FROM rejects"))
    assert kept == [("whale_alert", "json", "not json at all")]
    assert (await polled(before))["whale_alert"]["state"] == "ok"
    another = settings | {"name": "two", "pollers": {"whale_alert": settings["pollers"]["whale_alert"]}}
    after = await daemon(another, keys).start()

    async def is_standby() -> bool:
        return bool((await polled(after)).get("whale_alert", {}).get("state") == "standby")

    await until(is_standby)
    assert explorers.sockets == 2
    assert explorers.keys == {KEY}
    assert await before.terminate() == 0
    assert before.logged_row_totals("whale_transactions")["revised"] == 0
    assert KEY not in before.log


@on_apache
async def test_a_page_is_stored_and_missing_settings_are_reported(
    market: str, explorers: Explorers, connection: Any, daemon: Daemons, tmp_path: Path
) -> None:
    section = {"base_url": f"{explorers.url}/alert", "plan": "v1", "enabled": True, "min_usd": 500_000, **FAST}
    labels = tmp_path / "labels.csv"
    labels.write_text("# of exchanges\nbinance\n")
    settings = watching(market, explorers, labels, whale_alert=section)
    del settings["pollers"]["whale_ethereum"]
    instance = await daemon(settings).start()

    async def states_are_reported() -> bool:
        now = await polled(instance)
        alert, bitcoin = now.get("whale_alert", {}), now.get("whale_bitcoin", {})
        wrong = f"labels {labels}: line 2: 'binance' is not an address and a label; right would be"
        return (
            (alert.get("state"), alert.get("detail")) == ("disabled", "no key")
            and bitcoin["state"] == "stopped"
            and wrong in bitcoin["detail"]
        )

    await until(states_are_reported)
    assert await instance.terminate() == 0
    again = await daemon(settings, {"INGEST__POLLERS__WHALE_ALERT__API_KEY": KEY}).start()
    transactions = json.loads((explorers.real / "whale_alert/v1_transactions.json").read_text())["transactions"]
    await again.until(
        lambda now: now.rows("whale_transactions")["written"] == len(transactions) <= now.rows("whale_transactions")["duplicate"]
    )
    found = {row["hash"][-64:]: row for row in await stored(connection)}
    for transaction in transactions:
        row = found[transaction["hash"]]
        assert (row["blockchain"], row["token"]) == (transaction["blockchain"], transaction["symbol"].upper())
        assert row["time"] == datetime.fromtimestamp(transaction["timestamp"], UTC)
        assert (row["amount_token"], row["amount_usd"]) == (
            Decimal(str(transaction["amount"])),
            Decimal(str(transaction["amount_usd"])),
        )
        assert (row["from_label"], row["to_label"]) == (transaction["from"].get("owner"), transaction["to"].get("owner"))
        assert row["from_address"].endswith(transaction["from"]["address"])
    assert explorers.keys == {KEY}
    assert await again.terminate() == 0
    assert KEY not in again.log


@on_apache
async def test_the_past_of_a_chain_is_backfilled(market: str, explorers: Explorers, connection: Any, tmp_path: Path) -> None:
    """A chunk without prices fails with the reason; with prices the same command loads it, and a third run has nothing to do."""
    many, change = list(explorers.bitcoin.transactions.values())[:1:-1]
    for height in range(TIP - 30, TIP):
        explorers.bitcoin.add(height, f"h{height}")
    explorers.bitcoin.add(TIP, "block", many["txid"], change["txid"])
    settings = watching(market, explorers, tmp_path / "none")
    settings["pollers"] = {"whale_bitcoin": settings["pollers"]["whale_bitcoin"] | {"labels": str(tmp_path / "labels.csv")}}
    (tmp_path / "labels.csv").write_text("")
    config = tmp_path / "ingest.toml"
    config.write_text(to_toml(settings | {"log": {"level": "error"}}))

    async def backfill() -> tuple[int | None, str]:
        arguments = ("backfill", "whales", "--config", str(config), "--since", "2024-06-29T19:00", "--to", "2024-06-29T20:00")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", *arguments),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode()
        return process.returncode, output

    code, output = await backfill()
    assert (code, "no price of BTC at block 849997" in output) == (1, True), output
    await put_bar(connection, "BTC", TIME - 3600, "60000000")
    assert await backfill() == (0, "whale_bitcoin: 1 chunks: 5 written, 0 revised, 0 were there already\n")
    assert [(row["hash"], row["index"]) for row in await stored(connection)] == [
        (change["txid"], 0),
        *((many["txid"], index) for index in range(4)),
    ]
    assert (await backfill())[0] == 0
    assert await connection.fetchval("SELECT count(*) FROM whale_transactions") == 5
