"""A capture has all inputs of sessions: replayed, they yield the same outputs. Missing lines are noticed."""

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
OTHER_IDS = 1000  # difference of the instrument ids in the other database
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
    """All outputs of a replay of the files, in a database where the instruments have other ids."""
    ids = {row.symbol: row.id + OTHER_IDS for row in stored or (BTC,)}
    outputs: list[Output] = []

    async def store(rows: Sequence[Instrument], _kind: str | None) -> list[Instrument]:
        return [replace(row, id=ids[row.symbol]) for row in rows]

    replay = Replay(
        {exchange.NAME: exchange},
        puts=dict.fromkeys(BY_RECORD, outputs.append),
        store_instruments=store,
        on_gap=lambda _source, gap, _kind: outputs.append(gap),
        on_malformed=lambda _source, malformed: outputs.append(malformed),
    )
    await replay.run(paths)
    return outputs, replay


def expected_outputs(outputs: Sequence[Output]) -> list[Output]:
    """The outputs expected of a replay: records, gaps and malformed messages with the other ids, but no requests."""
    return [
        output if isinstance(output, Malformed) else replace(output, instrument_id=output.instrument_id + OTHER_IDS)
        for output in outputs
        if type(output) in BY_RECORD or isinstance(output, Gap | Malformed)
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
async def test_replayed_sessions_yield_the_same_outputs(traffic: Callable[[], Recorded], tmp_path: Path):
    exchange, options, instruments, lines = traffic()
    subscriptions = [Subscription(item, channel) for item in instruments for channel in ("trades", "book", "quotes")]
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
    outputs, _ = await replayed(exchange, captures(tmp_path), *instruments)
    expected = expected_outputs(live)
    assert outputs[: len(expected)] == expected
    # a gap that is open at the end of the capture is closed there, once
    opened = [item for item in expected if isinstance(item, Gap) and item.until is None]
    ended = [replace(item, until=None) for item in expected if isinstance(item, Gap) and item.until is not None]
    closed = Counter(replace(item, until=None) for item in outputs[len(expected) :])
    assert closed == Counter(item for item in opened if item not in ended)
    assert len({type(item) for item in outputs}) >= 2


def trade(trade_id: int) -> bytes:
    """The documented example of Binance's "Trade Streams" in the envelope of combined streams."""
    return (
        b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1763688260123,"s":"BTCUSDT","t":%d,"p":"0.001","q":"100",'
        b'"T":1763688260123,"m":true,"M":true}}' % trade_id
    )


def trade_ids(outputs: Sequence[Output]) -> list[int]:
    return [output.trade_id for output in outputs if type(output).__name__ == "Trade"]


async def test_the_format_is_readable_text_without_secrets(tmp_path: Path):
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
        b'"method":"GET","headers":{},"follow":false,"secret":{}}',
        b'1763688262.123456 1 answer {"lastUpdateId":1,"bids":[],"asks":[]}',
    ]
    lines = list(capture_format.read(path))
    assert lines[4] == capture_format.Line(NOW + 2, 1, "frame", b"two\nlines")
    outputs, _ = await replayed(binance, [path])
    assert (trade_ids(outputs), [item.payload for item in outputs if isinstance(item, Malformed)]) == ([1], [b"two\nlines"])


async def test_a_failed_request_is_replayed_as_failed(tmp_path: Path):
    """The book repeats its request a second after the failure."""
    requests: list[Output] = []

    class ObservedGate:
        """Gate's module with sessions whose outputs of `tick` are recorded."""

        NAME, COMPLETENESS = gate.NAME, gate.COMPLETENESS

        def session(self, connection: Connection, options: ExchangeOptions) -> Session:
            inner = gate.session(connection, options)
            tick = inner.tick
            inner.tick = lambda now: requests.extend(tick(now)) or ()
            return inner

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
    await replayed(ObservedGate(), captures(tmp_path), gate_session.BTC)
    assert requests == [request, request]


async def test_a_torn_file_is_read_up_to_its_torn_end(tmp_path: Path):
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
            except Stop:  # the header itself is damaged
                assert kept < 200
            else:
                assert (found, last.kind) == (lines[: len(found)], "torn")
                read.add(len(found))
    assert {0, 3, 13, 293} <= read
    assert {count % 10 for count in read} == {0, 3}  # each write is read as a whole or not at all
    torn.write_bytes(b"")  # as if killed before the first write
    outputs, _ = await replayed(binance, [torn, whole])
    assert trade_ids(outputs) == [item for number in range(30) for item in range(number * 7919, number * 7919 + 10)]


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


async def test_a_new_file_repeats_the_open_connections(tmp_path: Path):
    now = NOW
    recorder = a_recorder(tmp_path, clock=lambda: now, rotate_seconds=60)
    async with recorder.running():
        session = a_session(recorder)
        ended = a_session(recorder)
        for opened_session in (session, ended):
            list(opened_session.start(now))
        session.feed(trade(1), now)
        await until(lambda: len(captures(tmp_path)) == 1)
        del ended, opened_session
        now += 61 * SECOND
        session.feed(trade(2), now)
        await until(lambda: len(captures(tmp_path)) == 2)
        session.feed(trade(3), now)
    first, second = captures(tmp_path)
    assert [(line.connection, line.kind) for line in capture_format.read(second)] == [
        *((0, "file"), (1, "resume"), (1, "frame"), (1, "frame")),
    ]
    outputs, replay = await replayed(binance, [second, first])
    assert (trade_ids(outputs), replay.counts["orphan"]) == ([1, 2, 3], 0)
    outputs, replay = await replayed(binance, [second])
    assert (trade_ids(outputs), replay.counts["orphan"]) == ([2, 3], 0)


def lost(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("ingest_capture_lines_lost_total", {"source": "demo"})


async def test_lost_lines_are_counted_and_a_replay_does_not_continue_over_them(tmp_path: Path):
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
    outputs, _ = await replayed(binance, [path])
    assert trade_ids(outputs) == [2]


async def test_a_session_does_not_continue_over_a_missing_file(tmp_path: Path):
    """The later file does not repeat the opening of the connection, so its frame belongs to none."""
    for part, lines in ((1, ["open", "start"]), (3, [])):
        opening = msgspec.json.encode(capture_format.Opening(replace(CONNECTION, url="wss://test"), OPTIONS))
        file_part = capture_format.Part(tmp_path, capture_format.Header("demo", "binance", NOW, part), NOW)
        file_part.write([(NOW, 1, kind, opening if kind == "open" else b"") for kind in lines])
        file_part.write([(NOW, 1, "frame", trade(part))])
        file_part.close()
    outputs, replay = await replayed(binance, captures(tmp_path))
    assert (trade_ids(outputs), replay.counts["orphan"]) == ([1], 1)


async def test_a_disk_that_does_not_respond_affects_only_the_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(recorder_module, "WAITING_LINES", 10)
    metrics = Metrics()
    recorder = Recorder(tmp_path, "demo", "binance", max_bytes=1 << 20, rotate_seconds=3600, metrics=metrics)
    session = a_session(recorder)
    disk = threading.Event()
    recorder._thread.submit(disk.wait)  # blocks the thread like a disk that does not respond
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
    outputs, replay = await replayed(binance, [first, second])
    assert (trade_ids(outputs), replay.counts["resume"]) == ([*range(20), 40], 1)
