"""A wrong configuration ends the daemon with exit code 2 and names the right value; a database that is away is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.simulator.server import Simulator
from tests.support.daemon import Daemon, configuration, demo, on_apache, until
from tests.support.paths import ROOT

Daemons = Callable[..., Daemon]
ADDRESS = "postgresql://nobody:sesame@127.0.0.1:1/market"
EXCHANGE = {"protocol": "binance", "instruments": ["BTC/USDT"]}

WRONG = {
    "unknown section": ({"databse": {}}, "databse: unknown key; known: name, database, exchanges"),
    "unknown key": ({"queue": {"max_row": 5}}, "queue.max_row: unknown key; known: batch_rows, max_age, max_rows"),
    "unknown key of an exchange": (
        {"exchanges": {"demo": EXCHANGE | {"depth": 5}}},
        "exchanges.demo.depth: unknown key; known: protocol, instruments",
    ),
    "unknown channel": (
        {"exchanges": {"demo": EXCHANGE | {"channels": ["ohlcv"]}}},
        "exchanges.demo.channels: unknown channel 'ohlcv'; known: trades, candles, book, quotes",
    ),
    "unknown exchange": (
        {"exchanges": {"bitstampede": {"instruments": ["BTC/USD"]}}},
        "unknown exchange 'bitstampede'; known: binance",
    ),
    "unknown trade kind": (
        {"exchanges": {"demo": EXCHANGE | {"trade_kind": "trades"}}},
        "exchanges.demo.trade_kind: unknown trade kind 'trades'; known: trade, aggTrade",
    ),
    "no instruments": (
        {"exchanges": {"demo": EXCHANGE | {"instruments": []}}},
        "exchanges.demo.instruments: is empty; right would be",
    ),
    "no exchange": (
        {"exchanges": {}},
        "nothing to do: neither an exchange nor a poller is configured; `ingest check --init` prints an example",
    ),
    "bad scheme": (
        {"database": {"dsn": "mysql://root@localhost/market"}},
        "database.dsn: is not a PostgreSQL address; right would be",
    ),
    "no database": ({"database": {}}, "database.dsn: is missing"),
    "bad length": (
        {"shutdown_timeout": "5 fortnights"},
        "shutdown_timeout: '5 fortnights' is not a duration; right would be \"90 days\"",
    ),
    "unknown table": ({"retention": {"tardes": "1 day"}}, "retention: unknown table 'tardes'; known: trades, candles"),
    "bad number": ({"server": {"port": 123456}}, "server.port: Input should be less than or equal to 65535 (got 123456)"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_configuration_ends_with_2_and_what_would_be_right(
    changes: dict[str, Any], message: str, simulator: Simulator, daemon: Daemons
):
    instance = daemon(configuration(ADDRESS, simulator, **changes))
    await instance.spawn()
    assert await instance.wait() == 2
    assert message in instance.log
    assert "Traceback" not in instance.log


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, text=True, capture_output=True, check=False)


def test_a_configuration_file_that_does_not_exist(tmp_path: Path):
    done = run("run", "--config", str(tmp_path / "no.toml"))
    assert (done.returncode, done.stderr) == (2, f"ingest: configuration {tmp_path / 'no.toml'}: No such file or directory\n")


def test_a_configuration_that_is_no_toml(tmp_path: Path):
    path = tmp_path / "ingest.toml"
    path.write_text("[database\n")
    done = run("run", "--config", str(path))
    assert (done.returncode, done.stderr.startswith(f"ingest: configuration {path}: not TOML: ")) == (2, True)


def test_a_misspelt_variable_of_the_environment():
    done = run("run", INGEST__DATBASE__DSN=ADDRESS)
    assert done.returncode == 2
    assert "environment INGEST__DATBASE__DSN: unknown section 'datbase'; known: name, database" in done.stderr


def test_a_password_is_not_printed():
    done = run("check", INGEST__DATABASE__DSN="mysql://root:sesame@localhost/market")
    assert done.returncode == 2
    assert "sesame" not in done.stderr + done.stdout


async def test_a_database_that_refuses_connections_is_waited_for(simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(ADDRESS, simulator)).start()
    reason = await instance.unready("connecting to the database")
    assert reason.startswith("connecting to the database at 127.0.0.1:1/market (database.admin_dsn): ConnectionRefusedError")
    assert "sesame" not in instance.log
    assert instance.exit_code is None


@on_apache
async def test_a_database_that_does_not_exist_is_waited_for(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(f"{market}_not", simulator)).start()
    assert "3D000" in await instance.unready("connecting to the database")


@on_apache
async def test_a_port_that_is_taken_ends_with_2(market: str, simulator: Simulator, daemon: Daemons):
    port = int(simulator.rest_url.rpartition(":")[2])
    instance = daemon(configuration(market, simulator, server={"port": port}))
    await instance.spawn()
    assert await instance.wait() == 2
    assert f"server.port: 127.0.0.1:{port}: " in instance.log


@on_apache
async def test_an_instrument_that_is_not_listed_is_named_with_its_neighbours(market: str, simulator: Simulator, daemon: Daemons):
    section = demo(simulator, instruments=["BTC/USTD"])
    instance = await daemon(configuration(market, simulator, exchanges={"demo": section})).start()
    reason = await instance.unready("unknown instrument")
    assert reason == "no source is connected: demo: unknown instrument 'BTC/USTD'; near: BTC/USDT, ETH/USDT (4 are listed)"


@on_apache
async def test_the_trades_of_two_feeds_are_not_mixed(market: str, simulator: Simulator, daemon: Daemons):
    instance = await daemon(configuration(market, simulator)).start()
    await instance.ready()
    await instance.terminate()
    section = demo(simulator, trade_kind="aggTrade")
    instance = await daemon(configuration(market, simulator, exchanges={"demo": section})).start()
    reason = await instance.unready("trade_kind")
    assert "trade_kind is 'aggTrade', but the stored trades of BTCUSDT are 'trade'" in reason
    await until(lambda: instance.logged("stopped: demo: trade_kind"))
