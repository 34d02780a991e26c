"""Binance's public archive: one zip with one CSV file for each month and each day, of spot trades and candles.

https://github.com/binance/binance-public-data

Times are milliseconds until 2024 and microseconds from 2025 on, and some files begin with a header. A file can be replaced later,
so its `.CHECKSUM` is requested with it each time. A month of trades is gigabytes: it is read as a stream, never whole. A line that
cannot be read is rejected, and its neighbours are read. A file without rows proves nothing and counts as missing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from decimal import Decimal
from hashlib import sha256
from io import BytesIO
from operator import lt
from typing import BinaryIO, TypeVar
from zipfile import BadZipFile, ZipFile

from ingest.errors import Reject
from ingest.exchanges.binance.messages import Frame, RestKline, RestTrade
from ingest.exchanges.binance.parse import bar, trade
from ingest.marketdata.values import MAX_COUNT, MILLISECOND, PRICE_DIGITS, SIZE_DIGITS, identifier
from ingest.protocol.decode import Malformed
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.history import Columns, History, HistoryRequest, Page
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import Candle, Instrument, Trade

ArchiveRows = Columns | Sequence[Trade | Candle | Malformed]  # columns where every line is in the usual form
T = TypeVar("T", Trade, Candle)

URL = "https://data.binance.vision"
HEADERS = ("id", "agg_trade_id", "open_time")  # the first cell of a header; older files have none
BLOCK = 3 << 17  # bytes of CSV in one page, about 5,400 trades or 3,300 candles: blocks the event loop for some 10 ms
MICROSECONDS_FROM = 10**14  # larger times are microseconds, or nanoseconds: in milliseconds this is the year 5138
LONGEST_LINE = 1 << 16  # bytes
MAX_BAD = 10_000  # bad lines after which a file without a good one is not read further
HASHED = 1 << 22  # bytes of zip that are hashed at once, which takes some milliseconds

_TRADE_COLUMNS = {"trade": (0, 1, 2, 4, 5), "aggTrade": (0, 1, 2, 5, 6)}  # id, price, size, time, whether the buyer was the maker
_SUMS = ("volume", "quote_volume", "trades_count", "taker_buy_volume", "taker_buy_quote_volume")
_CANDLE_FIELDS = ("open", "high", "low", "close", *_SUMS)
_SIDES = {"True": "sell", "true": "sell", "False": "buy", "false": "buy"}


def _lines(*cells: str) -> re.Pattern[str]:
    """Whole lines of these cells. Possessive: without that, a bad line causes backtracking over all lines before it."""
    return re.compile(rf"(?:{','.join(cells)}\n)++")


# the usual form of each value, within the bounds of its table; a block with another form is read by line. Times are of 2011..2096.
_WHOLE, _COUNT = r"(?:0|[1-9][0-9]{0,17})", r"(?:0|[1-9][0-9]{0,8})"
_FRACTION, _NOT_ZERO = r"(?:\.[0-9]{0,30}+)?+", r"(?![0.]++,)"
_SUM = rf"[0-9]{{1,{SIZE_DIGITS}}}+{_FRACTION}"
_PRICE, _SIZE = rf"{_NOT_ZERO}[0-9]{{1,{PRICE_DIGITS}}}+{_FRACTION}", _NOT_ZERO + _SUM
_TIME = r"(?:1[3-9]|[23][0-9])[0-9]{11}(?:[0-9]{3}){0,2}+"
_BOOLEAN, _ANY = r"(?:[Tt]rue|[Ff]alse)", r"[^,\n]*+"
_TRADE_LINES = {
    "trade": _lines(_WHOLE, _PRICE, _SIZE, _ANY, _TIME, _BOOLEAN, _ANY),
    "aggTrade": _lines(_WHOLE, _PRICE, _SIZE, _ANY, _ANY, _TIME, _BOOLEAN, _ANY),
}
_CANDLE_LINES = _lines(_TIME, *[_PRICE] * 4, _SUM, _TIME, _SUM, _COUNT, _SUM, _SUM, _ANY)


def read_file(request: HistoryRequest, options: ExchangeOptions, period: str, at: int) -> History:
    """The requested rows of one file. `period` is `2024-11` or `2024-11-30`.

    While the file is hashed, empty pages until `at` let other tasks run. Raises Reject, with code 404 where the file is missing or
    has no row.
    """
    url = _address(request, options, period)
    stated = found = ""
    for _ in range(2):  # a file may be replaced between the two responses
        stated = (yield from answer_to(Request(f"{url}.CHECKSUM"))).body[:64].decode("ascii", "replace").lower()
        response = yield from answer_to(Request(url, to_file=True))
        with response.file or BytesIO(response.body) as file:
            found = yield from _hashed(file, at)
            if found == stated:
                yield from _pages(request, options, file, response)
                return
    raise Reject(f"binance: {url}: its SHA-256 is {found}, its CHECKSUM {stated!r}, in two attempts", reason="checksum")


def _address(request: HistoryRequest, options: ExchangeOptions, period: str) -> str:
    symbol, kind = request.instrument.symbol, f"{options.trade_kind}s"
    folder, name = (f"klines/{symbol}/1m", "1m") if request.channel == "candles" else (f"{kind}/{symbol}", kind)
    span = "monthly" if period.count("-") == 1 else "daily"
    return f"{options.archive_url or URL}/data/spot/{span}/{folder}/{symbol}-{name}-{period}.zip"


def _pages(request: HistoryRequest, options: ExchangeOptions, file: BinaryIO, response: Response) -> Iterator[Page]:
    instrument, received_at = request.instrument, response.received_at
    at, good, bad = request.since, 0, 0
    for text in _texts(file):
        records: ArchiveRows
        if request.channel == "candles":
            records = candles_from_archive(text, instrument, received_at)
        else:
            records = trades_from_archive(text, instrument, options.trade_kind, received_at)
        if isinstance(records, Columns) and request.since <= records.times[0] and records.times[-1] < request.until:
            at, good = records.times[-1], good + len(records)
            yield Page(records, at)
            continue
        rows = [row for row in records if not isinstance(row, Malformed)]
        rejected = [row for row in records if isinstance(row, Malformed)]
        at, good, bad = rows[-1].time if rows else at, good + len(rows), bad + len(rejected)
        if rows or rejected:
            yield request.page(rows, response, at, rejected)
        if bad >= MAX_BAD and not good:
            break
    if not good:
        what = f"none of {bad} lines can be read" if bad else "an archive file without rows"
        raise Reject(f"binance: {instrument.symbol}: {what}", reason="shape", code="" if bad else "404")


def _hashed(file: BinaryIO, at: int) -> Generator[Page, object, str]:
    digest = sha256()
    while block := file.read(HASHED):
        digest.update(block)
        yield Page((), at)
    file.seek(0)
    return digest.hexdigest()


def _texts(file: BinaryIO) -> Iterator[str]:
    """The CSV in pieces of whole lines. Raises Reject where the file is not a zip with a file."""
    rest = b""
    try:
        with ZipFile(file) as archive, archive.open(next(one for one in archive.infolist() if not one.is_dir())) as member:
            while block := member.read(BLOCK):
                head, newline, tail = block.rpartition(b"\n")
                if newline:
                    yield _text(rest + head + newline)
                    rest = b""
                rest += tail
                if len(rest) > LONGEST_LINE:
                    raise Reject(f"binance: an archive file has a line of more than {LONGEST_LINE} bytes", reason="shape")
    except (BadZipFile, zlib.error, EOFError, StopIteration, RuntimeError) as error:  # the last: encrypted, or an unknown method
        raise Reject(f"binance: an archive file is not a zip of one CSV file: {error}", reason="shape") from error
    if rest:
        yield _text(rest + b"\n")


def _text(lines: bytes) -> str:
    return lines.decode("ascii", "replace").replace("\r", "")


def _line_by_line(text: str, read: Callable[[str], T | None]) -> list[T | Malformed]:
    """What `read` makes of each line, without None; a line that raises Reject becomes a `Malformed`."""
    rows: list[T | Malformed] = []
    for line in text.splitlines():
        try:
            row = read(line)
        except Reject as error:
            rows.append(Malformed(line.encode(), error.reason, str(error)))
        else:
            rows += [] if row is None else [row]
    return rows


def trades_from_archive(text: str, instrument: Instrument, trade_kind: str, received_at: int) -> ArchiveRows:
    """The trades of whole lines of a `trades` or `aggTrades` file."""
    text = _without_header(text)
    if _TRADE_LINES[trade_kind].fullmatch(text) is None:
        return _line_by_line(text, lambda line: trade_from_archive(line, instrument, trade_kind, received_at))
    ids, prices, sizes, times, makers = _columns(text, _TRADE_COLUMNS[trade_kind])
    values: dict[str, list[str] | str | int | None] = {"trade_id": ids, "price": prices, "size": sizes}
    values |= {"side": [_SIDES[maker] for maker in makers], "instrument_id": instrument.id, "received_at": received_at}
    return Columns(Trade, _micros(times), values)


def trade_from_archive(line: str, instrument: Instrument, trade_kind: str, received_at: int) -> Trade | None:
    """One line of a `trades` or `aggTrades` file; None for a header. Raises Reject."""
    cells = _cells(line, max(_TRADE_COLUMNS[trade_kind]) + 1)
    if cells is None:
        return None
    number, price, size, time, maker = (cells[i] for i in _TRADE_COLUMNS[trade_kind])
    try:
        row = RestTrade(identifier(number), price, size, _milliseconds(time), {"true": True, "false": False}[maker.lower()])
        return trade(Frame(row), instrument.id, received_at)
    except (ValueError, KeyError) as error:
        shown = ",".join((number, price, size, time, maker))
        raise Reject(f"binance: {instrument.symbol}: not a trade: {error}: {shown}", reason="value") from error


def candles_from_archive(text: str, instrument: Instrument, received_at: int) -> ArchiveRows:
    """The candles of whole lines of a `klines` file of one minute."""
    text = _without_header(text)
    if _CANDLE_LINES.fullmatch(text) is None:
        return _line_by_line(text, lambda line: candle_from_archive(line, instrument, received_at))
    times, *columns = _columns(text, (0, 1, 2, 3, 4, 5, 7, 8, 9, 10))
    if any(map(lt, map(Decimal, columns[1]), map(Decimal, columns[2]))):  # a high below its low
        return _line_by_line(text, lambda line: candle_from_archive(line, instrument, received_at))
    values: dict[str, list[str] | str | int | None] = dict(zip(_CANDLE_FIELDS, columns, strict=True))
    values |= {"instrument_id": instrument.id, "interval": "1m", "parts": 1, "origin": "archive", "received_at": received_at}
    return Columns(Candle, _micros(times), values | {"first_trade_id": None, "last_trade_id": None})


def candle_from_archive(line: str, instrument: Instrument, received_at: int) -> Candle | None:
    """One line of a `klines` file of one minute; None for a header. Raises Reject."""
    cells = _cells(line, 11)
    if cells is None:
        return None
    time, opened, high, low, close, volume, end, quote_volume, count, *taker = cells[:11]
    try:
        times = _milliseconds(time), _milliseconds(end)
        trades = identifier(count, MAX_COUNT)
        row = RestKline(times[0], opened, high, low, close, volume, times[1], quote_volume, trades, *taker)
        return bar(row, instrument.id, received_at, "archive")
    except ValueError as error:
        raise Reject(f"binance: {instrument.symbol}: not a candle: {error}: {line[:200]}", reason="value") from error


def _cells(line: str, count: int) -> list[str] | None:
    cells = line.strip().split(",")
    if len(cells) < count:
        raise Reject(f"binance: a line of {len(cells)} cells; right would be {count} or more: {line[:200]!r}", reason="shape")
    return None if cells[0] in HEADERS else cells


def _without_header(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(HEADERS) else text


def _columns(text: str, indices: Sequence[int]) -> list[list[str]]:
    """The columns of these indices, from lines that all have the same number of cells."""
    width = text.count(",", 0, text.index("\n")) + 1
    cells = text.replace("\n", ",").split(",")
    return [cells[i:-1:width] for i in indices]


def _micros(times: Sequence[str]) -> list[int]:
    """Microseconds, cut to the millisecond, whichever unit the file has."""
    return [int(time[:13]) * MILLISECOND for time in times]


def _milliseconds(time: str) -> int:
    number = identifier(time)
    while number >= MICROSECONDS_FROM:
        number //= MILLISECOND
    return number
