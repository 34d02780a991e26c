"""A capture holds what sessions were told: sent again, they say the same. What is lost on the way is never taken for whole."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ingest.errors import Stop
from ingest.exchanges.binance import exchange as binance
from ingest.exchanges.coinbase import exchange as coinbase
from ingest.exchanges.gate import exchange as gate
from ingest.exchanges.kraken import exchange as kraken
from ingest.exchanges.okx import exchange as okx
from ingest.metrics import Metrics
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import Exchange, ExchangeOptions
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Connection, Gap, Output, Session, Subscription
from ingest.records import SECOND, Instrument
from ingest.sources.replay import Replay
from ingest.tables import BY_RECORD
from ingest.transports import capture_format
from ingest.transports import recorder as recorder_module
from ingest.transports.recorder import Recorder
from tests.support.exchanges import coinbase as coinbase_session
from tests.support.exchanges import gate as gate_session
from tests.support.exchanges import okx as okx_session
from tests.support.recordings import kraken_v1
from tests.support.recordings.files import Line, received

NOW = 1_763_688_260_123_456
OTHER_IDS = 1000  # what the other database's numbers differ by
BTC = Instrument("demo", "BTCUSDT", "BTC/USDT", "BTC", "USDT", "spot", "trading", id=7)
OPTIONS = ExchangeOptions(ws_url="wss://user:hush@test", rest_url="https://user:hush@test", trade_kind="trade")
CONNECTION = Connection("wss://user:hush@test/stream", (Subscription(BTC, "trades"), Subscription(BTC, "book")))


def a_recorder(folder: Path, protocol: str = "binance", *, clock: Callable[[], int] = lambda: NOW, **changes: int) -> Recorder:
    limits = {"max_bytes": 1 << 20, "rotate_seconds": 3600} | changes
    return Recorder(folder, "demo", protocol, metrics=Metrics(), clock=clock, **limits)


def a_session(recorder: Recorder) -> Session:
    return recorder.session(binance.session(CONNECTION, OPTIONS), CONNECTION, OPTIONS)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def captures(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.capture.gz"))


async def replayed(exchange: Exchange, paths: Sequence[Path], *stored: Instrument) -> tuple[list[Output], Replay]:
    """Everything that a replay says of the files, in a database where the instruments have other ids."""
    ids = {row.symbol: row.id + OTHER_IDS for row in stored or (BTC,)}
    said: list[Output] = []

    async def store(rows: Sequence[Instrument], _kind: str | None) -> list[Instrument]:
        return [replace(row, id=ids[row.symbol]) for row in rows]

    replay = Replay(
        {exchange.NAME: exchange},
        puts=dict.fromkeys(BY_RECORD, said.append),
        store_instruments=store,
        on_gap=lambda _source, gap, _kind: said.append(gap),
        on_malformed=lambda _source, malformed: said.append(malformed),
    )
    await replay.run(paths)
    return said, replay


def recorded(outputs: Sequence[Output]) -> list[Output]:
    """What a replay is to say of the live outputs: other ids, and nothing that was done then."""
    return [
        one if isinstance(one, Malformed) else replace(one, instrument_id=one.instrument_id + OTHER_IDS)
        for one in outputs
        if type(one) in BY_RECORD or isinstance(one, Gap | Malformed)
    ]


Recorded = tuple[Exchange, ExchangeOptions, list[Instrument], list[Line]]


def okx_traffic() -> Recorded:
    symbols = ("BTC-USDT", "BTC-USD-220527", "UNI-USD-SWAP")
    instruments = [replace(okx_session.BTC, symbol=symbol, id=number) for number, symbol in enumerate(symbols, 1)]
    return okx, okx_session.MERGED, instruments, received("OKX.ws.1.0")


def coinbase_traffic() -> Recorded:
    instruments = [coinbase_session.an_instrument(symbol, number) for number, symbol in enumerate(coinbase_session.PRODUCTS, 1)]
    return coinbase, coinbase_session.options(), instruments, received("COINBASE.ws.28.0")


def kraken_traffic() -> Recorded:
    lines = kraken_v1.frames("KRAKEN.ws.50.0")
    instruments = [replace(row, id=number) for number, row in enumerate(kraken_v1.listed(), 1)]
    return kraken, kraken_v1.OPTIONS, instruments, lines


@pytest.mark.parametrize("traffic", [okx_traffic, coinbase_traffic, kraken_traffic])
async def test_sessions_say_the_same_again(traffic: Callable[[], Recorded], tmp_path: Path):
    exchange, options, instruments, lines = traffic()
    subscriptions = [Subscription(one, channel) for one in instruments for channel in ("trades", "book", "quotes")]
    recorder = a_recorder(tmp_path, exchange.NAME)
    live: list[Output] = []
    async with recorder.running():
        sessions = []
        for connection in exchange.connections(subscriptions, options):
            sessions.append(recorder.session(exchange.session(connection, options), connection, options))
            live += sessions[-1].start(lines[0].time)
        for number, line in enumerate(lines):
            session = sessions[number % len(sessions)]
            live += session.feed(line.frame, line.time)
            if number % 10 == 0:
                live += session.tick(line.time)
        for session in sessions:
            live += session.tick(lines[-1].time + 3600 * SECOND)
    said, _ = await replayed(exchange, captures(tmp_path), *instruments)
    expected = recorded(live)
    assert said[: len(expected)] == expected
    # a hole that lasted to the end of the capture is ended there, once
    begun = [one for one in expected if isinstance(one, Gap) and one.until is None]
    ended = [replace(one, until=None) for one in expected if isinstance(one, Gap) and one.until is not None]
    closed = Counter(replace(one, until=None) for one in said[len(expected) :])
    assert closed == Counter(one for one in begun if one not in ended)
    assert len({type(one) for one in said}) >= 2


def trade(trade_id: int) -> bytes:
    """Documentation of Binance, "Trade Streams", in its envelope."""
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1763688260123,"s":"BTCUSDT","t":%d,"p":"0.001","q":"100",'
        b'"T":1763688260123,"m":true,"M":true}}' % trade_id
    )


def trade_ids(outputs: Sequence[Output]) -> list[int]:
    return [one.trade_id for one in outputs if type(one).__name__ == "Trade"]


async def test_a_person_can_read_it(tmp_path: Path):
    recorder = a_recorder(tmp_path / "demo")
    address = "https://user:hush@test/api/v3/depth?symbol=BTCUSDT"
    request = Request(address, tag="BTCUSDT", headers={"x-key": "hush"}, secret={"key": "hush"})
    async with recorder.running():
        session = a_session(recorder)
        list(session.start(NOW))
        session.feed(trade(1), NOW + 1)
        session.feed(b"two\nlines", NOW + 2)
        session.tick(NOW + SECOND)
        session.answer(request, Response(200, b'{"lastUpdateId":1,"bids":[],"asks":[]}'), NOW + 2 * SECOND)
    (path,) = captures(tmp_path / "demo")
    assert path.name == "demo-20251121T012420.123456-000001.capture.gz"
    text = gzip.decompress(path.read_bytes())
    assert b"hush" not in text
    instrument = (
        b'{"exchange":"demo","symbol":"BTCUSDT","instrument":"BTC/USDT","base":"BTC","quote":"USDT","kind":"spot","status":"trading",'
        b'"price_step":null,"size_step":null,"id":0}'
    )
    first, opened, *others, check = text.splitlines()
    assert check == b"0.000000 0 check %08x" % zlib.crc32(text[: text.rindex(b"\n", 0, -1) + 1])
    header = b'{"source":"demo","protocol":"binance","run":1763688260123456,"part":1,"format":1}'
    assert first == b"1763688260.123456 0 file " + header
    assert opened.startswith(b'1763688260.123456 1 open {"connection":{"url":"wss://test/stream","subscriptions":[{"instrument":')
    assert opened.count(instrument) == 2
    assert others == [
        b"1763688260.123456 1 start ",
        b"1763688260.123457 1 frame " + trade(1),
        b"1763688260.123458 1 frame64 dHdvCmxpbmVz",
        b"1763688261.123456 1 tick ",
        b'1763688262.123456 1 request {"url":"https://test/api/v3/depth?symbol=BTCUSDT","weight":1,"tag":"BTCUSDT","to_file":false,'
        b'"method":"GET","headers":{},"secret":{}}',
        b'1763688262.123456 1 answer {"lastUpdateId":1,"bids":[],"asks":[]}',
    ]
    lines = list(capture_format.read(path))
    assert lines[4] == capture_format.Line(NOW + 2, 1, "frame", b"two\nlines")
    said, _ = await replayed(binance, [path])
    assert (trade_ids(said), [one.payload for one in said if isinstance(one, Malformed)]) == ([1], [b"two\nlines"])


async def test_a_question_that_failed_is_replayed_as_that(tmp_path: Path):
    """The book asks again a second after the failure, not after the answer that never came."""
    asked: list[Output] = []

    class Watched:
        """Gate's module, of which the sessions' ticks are seen."""

        NAME = gate.NAME

        def session(self, connection: Connection, options: ExchangeOptions) -> Session:
            made = gate.session(connection, options)
            tick = made.tick
            made.tick = lambda now: asked.extend(tick(now)) or ()
            return made

    recorder = a_recorder(tmp_path, gate.NAME)
    async with recorder.running():
        (connection,) = gate.connections([Subscription(gate_session.BTC, "book")], gate_session.OPTIONS)
        session = recorder.session(gate.session(connection, gate_session.OPTIONS), connection, gate_session.OPTIONS)
        list(session.start(NOW))
        session.tick(NOW)
        (request,) = session.tick(NOW + 5 * SECOND)
        assert session.failed(request, NOW + 6 * SECOND) == []
        assert session.tick(NOW + 7 * SECOND) == [request]
        assert session.refused == {}
    await replayed(Watched(), captures(tmp_path), gate_session.BTC)
    assert asked == [request, request]


async def test_a_torn_file_is_read_up_to_the_tear(tmp_path: Path):
    opening = msgspec.json.encode(capture_format.Opening(replace(CONNECTION, url="wss://test"), OPTIONS))
    part = capture_format.Part(tmp_path, capture_format.Header("demo", "binance", NOW, 1), NOW)
    part.write([(NOW, 1, "open", opening), (NOW, 1, "start", b"")])
    for number in range(30):
        part.write([(NOW + i, 1, "frame", trade(number * 7919 + i)) for i in range(10)])
    part.close()
    whole, torn = part.path, tmp_path / "torn.capture.gz"
    packed, lines = whole.read_bytes(), list(capture_format.read(whole))
    assert [line.kind for line in lines] == ["file", "open", "start"] + ["frame"] * 300
    read = set()
    for kept in range(0, len(packed), 23):
        for text in (packed[:kept], packed[:kept] + bytes(4096), packed[:kept] + b"\x55" + packed[kept + 1 :]):
            if text == packed:
                continue
            torn.write_bytes(text)
            try:
                *found, last = capture_format.read(torn)
            except Stop:  # the header itself is torn by other bytes
                assert kept < 200
            else:
                assert (found, last.kind) == (lines[: len(found)], "torn")
                read.add(len(found))
    assert {0, 3, 13, 293} <= read
    assert {count % 10 for count in read} == {0, 3}  # what one write brought is whole, or not there
    torn.write_bytes(b"")  # killed before anything was written
    said, _ = await replayed(binance, [torn, whole])
    assert trade_ids(said) == [one for number in range(30) for one in range(number * 7919, number * 7919 + 10)]


async def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    other = tmp_path / "other.gz"
    for text in (
        b"",
        b"no line\n",
        b'1.000000 0 file {"source":1}\n',
        b'1.000000 0 file {"source":"a","protocol":"b","run":1,"part":1,"format":2}\n',
    ):
        other.write_bytes(gzip.compress(text))
        with pytest.raises(Stop, match="its format is 2; right would be 1" if b"format" in text else "capture"):
            capture_format.header(other)


async def test_a_new_file_repeats_what_stands_open(tmp_path: Path):
    now = NOW
    recorder = a_recorder(tmp_path, clock=lambda: now, rotate_seconds=60)
    async with recorder.running():
        session = a_session(recorder)
        gone = a_session(recorder)
        for one in (session, gone):
            list(one.start(now))
        session.feed(trade(1), now)
        await until(lambda: len(captures(tmp_path)) == 1)
        del gone, one
        now += 61 * SECOND
        session.feed(trade(2), now)
        await until(lambda: len(captures(tmp_path)) == 2)
        session.feed(trade(3), now)
    first, second = captures(tmp_path)
    assert [(line.connection, line.kind) for line in capture_format.read(second)] == [
        *((0, "file"), (1, "resume"), (1, "frame"), (1, "frame")),
    ]
    said, replay = await replayed(binance, [second, first])
    assert (trade_ids(said), replay.counts["orphan"]) == ([1, 2, 3], 0)
    said, replay = await replayed(binance, [second])
    assert (trade_ids(said), replay.counts["orphan"]) == ([2, 3], 0)


def lost(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("ingest_capture_lines_lost_total", {"source": "demo"})


async def test_what_the_disk_does_not_take_is_counted_and_no_replay_goes_over_the_hole(tmp_path: Path):
    folder, metrics = tmp_path / "demo", Metrics()
    folder.write_text("in the way")
    recorder = Recorder(folder, "demo", "binance", max_bytes=1 << 20, rotate_seconds=3600, metrics=metrics)

    async with recorder.running():
        session = a_session(recorder)
        list(session.start(NOW))
        session.feed(trade(1), NOW)
        await until(lambda: lost(metrics))
        folder.unlink()
        session.feed(trade(2), NOW)
        await until(lambda: folder.is_dir() and captures(folder))
    assert lost(metrics) == 3
    (path,) = captures(folder)
    assert capture_format.header(path).part > 1
    said, _ = await replayed(binance, [path])
    assert trade_ids(said) == [2]


async def test_a_session_does_not_live_on_over_a_missing_file(tmp_path: Path):
    """The connection is known in the later file only by its repeated opening: it begins anew there."""
    for part, lines in ((1, ["open", "start"]), (3, [])):
        opening = msgspec.json.encode(capture_format.Opening(replace(CONNECTION, url="wss://test"), OPTIONS))
        one = capture_format.Part(tmp_path, capture_format.Header("demo", "binance", NOW, part), NOW)
        one.write([(NOW, 1, kind, opening if kind == "open" else b"") for kind in lines])
        one.write([(NOW, 1, "frame", trade(part))])
        one.close()
    said, replay = await replayed(binance, captures(tmp_path))
    assert (trade_ids(said), replay.counts["orphan"]) == ([1], 1)


async def test_a_disk_that_stands_still_costs_the_capture_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder_module, "WAITING_LINES", 10)
    metrics = Metrics()
    recorder = Recorder(tmp_path, "demo", "binance", max_bytes=1 << 20, rotate_seconds=3600, metrics=metrics)
    session = a_session(recorder)
    disk = threading.Event()
    recorder._thread.submit(disk.wait)  # the thread waits for it as it would for the disk
    async with recorder.running():
        list(session.start(NOW))
        for number in range(20):
            session.feed(trade(number), NOW)
        await until(lambda: not recorder._lines)
        for number in range(20, 40):
            session.feed(trade(number), NOW)
        await until(lambda: lost(metrics))
        disk.set()
        session.feed(trade(40), NOW)
    assert lost(metrics) == 20
    first, second = captures(tmp_path)
    assert (capture_format.header(first).part, capture_format.header(second).part) == (1, 3)
    said, replay = await replayed(binance, [first, second])
    assert (trade_ids(said), replay.counts["resume"]) == ([*range(20), 40], 1)
