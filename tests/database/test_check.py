"""`ingest check` tries what the daemon will do, and finds what would fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cluster import Cluster

from tests.support import stored
from tests.support.commands import Done, ingest
from tests.support.roles import as_role, run_roles


async def check(market: str, **settings: str) -> Done:
    return await ingest("check", dsn=settings.pop("DSN", market), **({"DATABASE__ADMIN_DSN": market, "NAME": "one"} | settings))


def lines(done: Done, kind: str) -> list[str]:
    return [line.removeprefix(f"{kind}: ") for line in done.out if line.startswith(f"{kind}: ")]


JOBS = "every role may add jobs of TimescaleDB, which run in the background: run schema/roles.sql"


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_it_logs_in_with_both_addresses(market: str) -> None:
    dead = "postgresql://ingest_writer@127.0.0.1:1/market"
    for setting, settings in (("dsn", {"DSN": dead}), ("admin_dsn", {"DATABASE__ADMIN_DSN": dead})):
        done = await check(market, **settings)
        assert (done.code, done.err.split(": ")[:2]) == (2, ["ingest", f"database.{setting}"])


async def test_it_tries_the_rights_of_the_writer(private_cluster: Callable[..., Cluster]) -> None:
    market = private_cluster().dsn("market")
    await asyncio.to_thread(run_roles, market)
    writer = as_role(market, "ingest_writer")
    done = await check(market, DSN=writer)
    assert (done.code, lines(done, "problem"), lines(done, "note")) == (0, [], [])
    await stored.execute(market, "REVOKE INSERT ON trades FROM ingest_writer; REVOKE UPDATE ON coverage FROM ingest_writer")
    done = await check(market, DSN=writer)
    assert done.code == 1
    assert lines(done, "problem") == [
        "database.dsn: writing into trades: 42501: permission denied for table trades",
        "database.dsn: needs SELECT, INSERT, UPDATE on coverage",
    ]
    done = await check(market, DSN=as_role(market, "nobody_here"))
    assert (done.code, "nobody_here" in done.err) == (2, True)


async def test_it_writes_into_the_folders(market: str, tmp_path: Path) -> None:
    exchange = {"EXCHANGES__OKX__INSTRUMENTS": '["BTC/USDT"]', "EXCHANGES__OKX__CAPTURE": "true"}
    folders = {"SPOOL__PATH": str(tmp_path / "a" / "spool"), "CAPTURE__PATH": str(tmp_path / "captures")}
    done = await check(market, **exchange, **folders)
    assert (done.code, lines(done, "problem"), names_in(tmp_path)) == (0, [], [])
    done = await check(market, **exchange, SPOOL__PATH="/proc/nope", CAPTURE__PATH="/proc/nope")
    assert done.code == 1
    wrong = "/proc/nope: No such file or directory; right would be a directory that this user may write to"
    assert lines(done, "problem") == [f"spool.path {wrong}", f"capture.path {wrong}"]


async def test_it_spells_the_instruments(market: str) -> None:
    await stored.execute(
        market,
        "INSERT INTO instruments (exchange, symbol, instrument, base, quote, kind, status) "
        "VALUES ('okx', 'BTC-USDT', 'BTC/USDT', 'BTC', 'USDT', 'spot', 'trading')",
    )
    done = await check(market, EXCHANGES__OKX__INSTRUMENTS='["BTC/USDT", "BTC/USDTT", "BTCUSDT"]')
    assert done.code == 1
    assert lines(done, "note") == [JOBS, "exchanges.okx.instruments: 'BTC/USDTT' is not stored yet; stored and near: BTC/USDT"]
    assert lines(done, "problem") == [
        "exchanges.okx.instruments: 'BTCUSDT' is no market; right would be a spelling such as BTC/USDT; stored and near: BTC/USDT"
    ]


async def test_it_compares_the_name_with_the_leases(market: str) -> None:
    lease = "INSERT INTO leases VALUES ('{}', '{}', clock_timestamp() + interval '{} s')"
    await stored.execute(market, lease.format("poll cboe", "one 0123abcd", 60))
    await stored.execute(market, lease.format("poll fred", "one 11111111", -1))
    await stored.execute(market, lease.format("poll yahoo", "one two 22222222", 60))
    done = await check(market)
    assert done.code == 0
    assert lines(done, "note") == [JOBS, "name: a daemon with the name 'one' is running; another one needs another name"]
    await stored.execute(market, lease.format("policies", "one 33333333", 60))
    done = await check(market)
    assert done.code == 1
    assert lines(done, "problem") == ["name: 2 daemons have the name 'one' (one 0123abcd, one 33333333); give each its own"]
