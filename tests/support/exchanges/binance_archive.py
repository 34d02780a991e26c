"""Binance's archive for the tests: files in the documented format, zipped here, and REST where a file is missing.

https://github.com/binance/binance-public-data
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from ingest.exchanges.binance import exchange as binance
from ingest.protocol.http import Request
from ingest.records import MINUTE, SECOND, Candle, Trade
from tests.support.exchanges.binance import an_instrument, options
from tests.support.exchanges.binance_rest import Rest, Row, as_candle
from tests.support.exchanges.past import LATER, HistoryResult, history_request, load_history, path_and_query
from tests.support.recordings.files import read

DATA = "https://data.binance.vision/data/spot"
DAY = 1440 * MINUTE
ADA = an_instrument("ADABTC")
TRADES_HEADER = "id,price,qty,quote_qty,time,is_buyer_maker,is_best_match"
CANDLES_HEADER = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"


def micros(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * SECOND


class Archive:
    """An archive with these files by path, and REST. The first `spoiled` downloads do not match their CHECKSUM. Each file is in
    `folder` of its zip."""

    def __init__(self, files: dict[str, str], rest: Rest | None = None, spoiled: int = 0, folder: str = "") -> None:
        self._files = {f"/data/spot/{path}.zip": zipped(path, text, folder) for path, text in files.items()}
        self._rest = rest or Rest()
        self._spoiled = spoiled

    def __call__(self, request: Request) -> bytes:
        path, _ = path_and_query(request)
        body = self._files.get(path.removesuffix(".CHECKSUM"))
        if body is None:
            return self._rest(request)
        if path.endswith(".CHECKSUM"):
            return f"{hashlib.sha256(body).hexdigest()}  {path.split('/')[-1]}\n".encode()
        assert request.to_file
        self._spoiled -= 1
        return body if self._spoiled < 0 else body[:-1] + b"!"


def zipped(path: str, text: str, folder: str) -> bytes:
    out = BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        if folder:
            archive.writestr(folder, "")
        archive.writestr(f"{folder}{path.rsplit('/', maxsplit=1)[-1]}.csv", text)
    return out.getvalue()


def load(archive: Archive, channel: str, since: int, until: int) -> HistoryResult:
    return load_history(binance.history(history_request(ADA, channel, since, until), options("trade"), "archive"), archive)


def requested(result: HistoryResult) -> list[str]:
    """The requests as file names and last parts of REST paths; a file that follows its CHECKSUM is left out."""
    names = [path_and_query(request)[0].split("/")[-1] for request in result.requests]
    return [name for i, name in enumerate(names) if f"{name}.CHECKSUM" != (names[i - 1] if i else "")]


def trade_lines(day: str, count: int, first_id: int, scale: int) -> tuple[list[str], list[Trade]]:
    """`count` synthetic trades, two in each millisecond. `scale` is the unit of the times in microseconds: 1 or 1000."""
    lines, trades = [], []
    for number in range(count):
        trade_id, time = first_id + number, micros(day) + (number // 2) * (DAY // count) * 2 + number % 2
        price, size, maker = f"0.0000{2000 + number % 97}", f"{number % 13}.{number % 10}0000000", number % 3 == 0
        lines.append(f"{trade_id},{price},{size},0.00100000,{time // scale},{maker},True")
        trades.append(Trade(1, time // 1000 * 1000, trade_id, price, size, "sell" if maker else "buy", LATER))
    return lines, trades


def text(lines: Sequence[str], header: str = "", newline: str = "\n") -> str:
    return "".join(line + newline for line in ([header] if header else []) + list(lines))


def recorded(day: str) -> list[str]:
    return read(f"binance_archive/ADABTC-1m-{day}.csv").decode().splitlines()


def candles(lines: Sequence[str], origin: str = "archive") -> list[Candle]:
    return [as_candle(line.split(","), origin) for line in lines]


def by_rest(lines: Sequence[str]) -> list[Row]:
    """The same candles as a REST response has them: times and counts are numbers."""
    return [[int(cell) if number in (0, 6, 8) else cell for number, cell in enumerate(line.split(","))] for line in lines]


def in_micros(line: str) -> str:
    """The same candle as a file since 2025 has it: times are in microseconds."""
    cells = line.split(",")
    return ",".join([cells[0] + "000", *cells[1:6], cells[6] + "999", *cells[7:]])
