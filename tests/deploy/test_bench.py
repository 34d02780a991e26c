"""The benchmarks, at sizes that do not measure speed: their lines have the documented form, and a wrong value is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from bench.live import INGEST_SIDE, PEER, live, measure
from bench.platforms import QUERIES, platforms
from bench.result import Place, Result
from bench.steady import commit_lag, memory
from bench.stored import Wrong, require, stored
from bench.volume import SMALL
from bench.write import VALUES, sent_checksum, trades, with_duplicates
from cluster import Cluster
from installation import installed

from ingest.pipeline.copy_encoder import encoder
from ingest.tables import TRADES
from tests.support.paths import ROOT

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "track_commit_timestamp": "on",
}


@pytest.fixture
async def place(private_cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "deploy"))  # for the processes that are started
    cluster = private_cluster("apache", track_commit_timestamp="on")
    connection = await asyncpg.connect(cluster.dsn("market"))
    yield Place(connection, cluster.dsn("market"), cluster.binaries / "psql")
    await connection.close()


def run(*arguments: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": "deploy", "PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_only_parse_needs_the_tests():
    """The environment that `deploy/bench.sh write` makes has no pytest."""
    code = "import sys, bench.__main__; sys.exit('pytest' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": "deploy"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=False).returncode == 0


@pytest.mark.long
def test_write_prints_a_line_for_each_benchmark():
    results = run("write", "--rows", "1000")
    assert [(one["name"], one["unit"], one["better"], one["rows"]) for one in results] == [
        ("write", "rows/s", "higher", 1000),
        ("write_duplicates", "rows/s", "higher", 1010),
    ]
    for one in results:
        assert set(one) == {
            *("name", "value", "unit", "reference", "ratio", "better", "rows", "seconds", "reference_command", "settings", "rounds")
        }
        assert {name: one["settings"][name] for name in SETTINGS} == SETTINGS
        assert one["ratio"] == pytest.approx(one["value"] / one["reference"], abs=0.001)
        assert [set(each) for each in one["rounds"]] == [{"value", "reference"}] * 5


@pytest.mark.long
def test_two_checkouts_are_compared_for_each_channel():
    results = run("parse", ".", "--exchange", "gate", "--rounds", "1")
    assert [one["name"] for one in results] == ["parse_gate_trades", "parse_gate_candles", "parse_gate_book"]
    for one in results:
        assert (one["unit"], one["better"], one["reference_command"]) == ("ns/frame", "lower", "the same frames in .")
        assert one["rows"] >= 100
        assert one["value"] > 0
        assert one["ratio"] == pytest.approx(one["value"] / one["reference"], rel=0.01)


@pytest.mark.long
def test_every_durability_is_measured():
    spool, always, always_fsync = run("durability", "--rows", "1000")  # raises unless all rows are stored and left the spool
    for one, name in ((spool, "spool"), (always, "always"), (always_fsync, "always_fsync")):
        assert (one["name"], one["unit"], one["better"], one["rows"]) == (f"durability_{name}", "rows/s", "higher", 1000)
        assert [set(each) for each in one["rounds"]] == [{"value", "reference", "cpu_us_per_row"}] * 5
    assert [one["settings"]["spool.fsync"] for one in (spool, always, always_fsync)] == ["1s", "1s", "always"]


@pytest.mark.long
def test_the_cost_of_the_ledger_is_measured():
    (one,) = run("coverage", "--rows", "1000")  # raises Wrong unless all rows are stored
    assert (one["name"], one["unit"], one["better"], one["rows"]) == ("coverage", "rows/s", "higher", 1000)
    assert one["settings"]["claims"] == 400


@pytest.mark.long
def test_two_writers_of_the_same_rows_are_measured():
    (one,) = run("pair", "--rows", "1000")  # raises unless each row is stored once
    assert (one["name"], one["unit"], one["better"], one["rows"]) == ("pair", "rows/s", "higher", 1000)


@pytest.mark.long
def test_the_way_from_candles_to_indicators_is_measured():
    (one,) = run("indicators", "--rows", "2")  # raises Wrong unless all are stored, and the same when computed again
    assert (one["name"], one["better"], one["rows"], one["value"]) == ("indicators", "higher", 40, one["ratio"])
    assert 0 < one["settings"]["p50_s"] <= one["settings"]["p95_s"] <= one["settings"]["max_s"]
    assert one["settings"]["past_candles_per_s"] > 0


@pytest.mark.long
def test_backfill_is_the_lower_of_two():
    candles, trades, lower = run("backfill", "--rows", "1000")  # raises Wrong unless all rows are stored as they were served
    assert [(one["name"], one["unit"], one["better"], one["rows"]) for one in (candles, trades)] == [
        ("backfill_candles", "rows/s", "higher", 1000),
        ("backfill_trades", "rows/s", "higher", 1000),
    ]
    assert lower == min(candles, trades, key=lambda one: one["ratio"]) | {"name": "backfill"}
    assert candles["command_seconds"] > candles["seconds"]


@pytest.mark.long
async def test_the_daemon_is_measured_live(place: Place):
    rate, cpu = await measure(INGEST_SIDE, place, 2_000)  # raises Wrong unless all 2,000 are stored as they were sent
    assert await place.connection.fetchval("SELECT count(*) FROM trades") == 2_000
    assert rate > 0
    assert cpu >= 0


@pytest.mark.long
async def test_live_is_compared_with_a_peer(place: Place):
    if not (ROOT / PEER / "made-for").exists():
        pytest.skip(f"{PEER}: the peer is not installed; `deploy/bench.sh live` does it")
    result = await live(place, 2_000)
    assert (result.name, result.unit, result.better, result.rows, result.reference_rows) == ("live", "rows/s", "higher", 2_000, 400)
    assert len(result.rounds) == 3
    assert result.ratio == pytest.approx(result.value / result.reference, abs=0.001)


def facts(result: Result) -> tuple[object, ...]:
    return result.name, result.unit, result.better, result.reference, result.seconds


@pytest.mark.long
async def test_memory_holds_all_channels(place: Place):
    result = await memory(place, 3.0)
    assert facts(result) == ("memory", "MB", "lower", 200.0, 3.0)
    assert 10 < result.value < 10_000
    assert result.rows == await place.connection.fetchval("SELECT count(*) FROM trades") > 0


async def test_commit_lag_is_measured_for_every_row(place: Place):
    result = await commit_lag(place, 1.0)
    assert facts(result) == ("commit_lag", "s", "lower", 1.0, 1.0)
    assert 0 < result.value < 60
    assert result.rows == await place.connection.fetchval("SELECT count(*) FROM trades") > 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trades SET price = price + 0.00000001 WHERE trade_id = 10000007",
        "UPDATE trades SET size = size + 0.00000001 WHERE trade_id = 10000007",
        "UPDATE trades SET time = time + interval '1 ms' WHERE trade_id = 10000007",
        "UPDATE trades SET side = CASE side WHEN 'buy' THEN 'sell' ELSE 'buy' END WHERE trade_id = 10000007",
        "DELETE FROM trades WHERE trade_id = 10000007",
    ],
)
async def test_a_wrong_value_is_noticed(place: Place, change: str):
    sent = list(trades(300))
    data = "".join(map(encoder(TRADES), sent)).encode()

    async def source() -> AsyncIterator[bytes]:
        yield data

    await place.connection.copy_to_table("trades", source=source(), format="text")
    require(await stored(place.connection, "trades", VALUES), sent_checksum(sent), "copy")
    await place.connection.execute(change)
    with pytest.raises(Wrong, match=r"copy: (a value differs|299 rows are stored and 300 were sent)"):
        require(await stored(place.connection, "trades", VALUES), sent_checksum(sent), "copy")


def test_duplicates_are_one_in_a_hundred():
    once = list(trades(1_000))
    sent = with_duplicates(once)
    assert [sent.index(row) for row in once] == [index + index // 100 for index in range(1_000)]
    assert len(sent) == 1_010


@pytest.mark.long
async def test_the_published_queries_are_measured(private_cluster: Callable[..., Cluster]):
    """On the smallest data set of the generator. `disk` is the share that compression saves, on Community only."""
    edition = "community" if installed("community") else "apache"
    results = await platforms(private_cluster(edition).dsn("market"), SMALL, 5)
    queries = results[: len(QUERIES)]
    assert [(one.name, one.limit, one.runs) for one in queries] == [(query.name, query.limit, 5) for query in QUERIES]
    assert all(one.rows > 0 and 0 < one.p50 <= one.p95 for one in queries)
    assert 7 * 1440 * 1.28 < queries[0].rows < 7 * 1440 * 1.29
    lowest, *disk = results[len(QUERIES) :]
    assert (lowest.name, lowest.value) == ("platforms", min(one.ratio for one in queries))
    assert [(one.name, one.unit) for one in disk] == [("disk", "share saved")] * (edition == "community")
