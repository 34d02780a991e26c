"""History of Binance from its archive: files in the documented format, zipped here, and REST where a file is missing.

The candles are of recorded files. The trades are synthetic, in the documented format of the files:
https://github.com/binance/binance-public-data
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import BinaryIO

import pytest
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges.binance import archive as archive_files
from ingest.exchanges.binance import exchange as binance
from ingest.protocol.http import Request, Response
from ingest.records import MINUTE, SECOND, Trade
from tests.support.exchanges.binance import options
from tests.support.exchanges.binance_archive import (
    ADA,
    CANDLES_HEADER,
    DATA,
    DAY,
    TRADES_HEADER,
    Archive,
    by_rest,
    candles,
    in_micros,
    load,
    micros,
    recorded,
    requested,
    text,
    trade_lines,
)
from tests.support.exchanges.binance_rest import Rest, as_trade, recorded_trades
from tests.support.exchanges.past import LATER, history_request, load_history, path_and_query


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["", CANDLES_HEADER])
@pytest.mark.parametrize("shape", [str, in_micros])
def test_recorded_days_are_loaded_value_by_value(header: str, newline: str, shape) -> None:
    first, second = recorded("2021-11-27"), recorded("2021-11-28")
    days = {"2021-11-27": first, "2021-11-28": second}
    files = {
        f"daily/klines/ADABTC/1m/ADABTC-1m-{day}": text([shape(line) for line in lines], header, newline)
        for day, lines in days.items()
    }
    result = load(Archive(files), "candles", micros("2021-11-27"), micros("2021-11-29"))
    assert result.records == candles(first + second)
    assert result.untils[-1] == micros("2021-11-29")
    path = f"{DATA}/daily/klines/ADABTC/1m/ADABTC-1m-2021-11"
    assert result.requests == [
        Request(f"{path}-27.zip.CHECKSUM"),
        Request(f"{path}-27.zip", to_file=True),
        Request(f"{path}-28.zip.CHECKSUM"),
        Request(f"{path}-28.zip", to_file=True),
    ]


def test_only_the_requested_range_of_a_file_is_loaded() -> None:
    lines = recorded("2021-11-27")
    files = {"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27": text(lines)}
    since = micros("2021-11-27")
    result = load(Archive(files), "candles", since + 1, since + 5 * MINUTE)
    assert result.records == candles(lines[1:5])
    assert result.untils[-1] == since + 5 * MINUTE


@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 18])
@pytest.mark.parametrize(("day", "scale"), [("2024-12-31", 1000), ("2025-01-01", 1)])
@pytest.mark.parametrize("header", ["", TRADES_HEADER])
def test_synthetic_trades_in_blocks_that_cut_lines(
    header: str, day: str, scale: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "BLOCK", block)
    lines, trades = trade_lines(day, 100, 7, scale)
    body = text(lines, header).removesuffix("\n")  # the last line may have no newline
    result = load(Archive({f"daily/trades/ADABTC/ADABTC-trades-{day}": body}), "trades", micros(day), micros(day) + DAY)
    assert result.records == trades


def test_aggregates_are_loaded_with_trade_kind_aggtrade() -> None:
    # recorded from REST, in the format of a file
    line = "284861205,9039.74000000,0.17700100,310207484,310207484,1588749117459,True,True"
    files = {"daily/aggTrades/ADABTC/ADABTC-aggTrades-2020-05-06": text([line])}
    request = history_request(ADA, "trades", micros("2020-05-06"), micros("2020-05-07"))
    result = load_history(binance.history(request, options("aggTrade"), "archive"), Archive(files))
    assert result.records == [Trade(1, 1588749117459000, 284861205, "9039.74000000", "0.17700100", "sell", LATER)]


def test_whole_months_then_days_then_rest() -> None:
    """Two daily files of October, the file of November, a daily file of December, and REST for a day without a file."""
    days = ["2024-10-30", "2024-10-31", "2024-11-01", "2024-11-30", "2024-12-01"]
    lines, trades = zip(*(trade_lines(day, 10, 100 * number, 1000) for number, day in enumerate(days)), strict=True)
    files = {f"daily/trades/ADABTC/ADABTC-trades-{days[n]}": text(lines[n]) for n in (0, 1, 4)}
    files["monthly/trades/ADABTC/ADABTC-trades-2024-11"] = text(lines[2] + lines[3])
    tail = recorded_trades()
    shift_ms = micros("2024-12-02") // 1000 - tail[0]["time"]
    tail = [row | {"time": row["time"] + shift_ms} for row in tail]
    result = load(Archive(files, Rest(tail)), "trades", micros("2024-10-30"), micros("2024-12-03"))
    assert result.records == [trade for day in trades for trade in day] + [as_trade(row) for row in tail]
    assert result.untils[-1] == micros("2024-12-03")
    assert requested(result) == [
        "ADABTC-trades-2024-10-30.zip.CHECKSUM",
        "ADABTC-trades-2024-10-31.zip.CHECKSUM",
        "ADABTC-trades-2024-11.zip.CHECKSUM",
        "ADABTC-trades-2024-12-01.zip.CHECKSUM",
        "ADABTC-trades-2024-12-02.zip.CHECKSUM",
        "aggTrades",  # whether there are any trades
        "aggTrades",
        "historicalTrades",
        "historicalTrades",
    ]


def test_a_month_without_a_file_is_loaded_by_days() -> None:
    first, second = recorded("2021-11-27"), recorded("2021-11-28")
    files = {
        f"daily/klines/ADABTC/1m/ADABTC-1m-{day}": text(lines) for day, lines in (("2021-11-27", first), ("2021-11-28", second))
    }
    rest = Rest(klines=by_rest(first + second))
    result = load(Archive(files, rest), "candles", micros("2021-11-01"), micros("2021-12-01"))
    assert result.records == candles(first + second)
    assert result.untils[-1] == micros("2021-12-01")
    assert requested(result) == [
        "ADABTC-1m-2021-11.zip.CHECKSUM",
        "klines",
        "ADABTC-1m-2021-11-01.zip.CHECKSUM",
        "klines",  # the first candle is on the 27th: the days before are not requested
        "ADABTC-1m-2021-11-27.zip.CHECKSUM",
        "ADABTC-1m-2021-11-28.zip.CHECKSUM",
        "ADABTC-1m-2021-11-29.zip.CHECKSUM",
        "klines",
    ]


def test_the_years_before_a_listing_cost_one_request() -> None:
    lines = recorded("2021-11-27")
    rest = Rest(klines=by_rest(lines))
    files = {"monthly/klines/ADABTC/1m/ADABTC-1m-2021-11": text(lines)}
    result = load(Archive(files, rest), "candles", micros("2017-07-01"), micros("2021-12-01"))
    assert result.records == candles(lines)
    assert requested(result) == ["ADABTC-1m-2017-07.zip.CHECKSUM", "klines", "ADABTC-1m-2021-11.zip.CHECKSUM"]


def test_a_day_without_file_and_rows_is_loaded_to_its_end() -> None:
    result = load(Archive({}), "trades", micros("2021-11-27"), micros("2021-11-28"))
    assert result[:2] == ([], [micros("2021-11-28")])


def test_a_request_by_ids_is_loaded_from_rest() -> None:
    rows = recorded_trades()
    request = history_request(ADA, "trades", 0, LATER, (rows[3]["id"], rows[9]["id"]))
    result = load_history(binance.history(request, options("trade"), "archive"), Archive({}, Rest(rows)))
    assert result.records == [as_trade(row) for row in rows[3:10]]


def test_a_file_with_a_wrong_checksum_is_requested_once_more() -> None:
    lines = recorded("2021-11-27")
    name = "ADABTC-1m-2021-11-27.zip"
    files = {"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27": text(lines)}
    result = load(Archive(files, spoiled=1), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert result.records == candles(lines)
    names = [path_and_query(request)[0].split("/")[-1] for request in result.requests]
    assert names == [f"{name}.CHECKSUM", name, f"{name}.CHECKSUM", name]
    with pytest.raises(Reject, match=r"ADABTC-1m-2021-11-27\.zip: its SHA-256 is [0-9a-f]{64}, its CHECKSUM ") as caught:
        load(Archive(files, spoiled=2), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert caught.value.reason == "checksum"


def test_an_error_other_than_a_missing_file_is_raised() -> None:
    def refuse(request: Request) -> bytes:
        raise Reject(f"GET {request.url}: HTTP 403", reason="http", code="403")

    with pytest.raises(Reject, match="HTTP 403"):
        load_history(binance.history(history_request(ADA, "trades", 0, DAY), options("trade"), "archive"), refuse)


def test_a_file_that_is_no_zip_is_rejected_and_closed() -> None:
    body, files = b"PK no zip", []

    def send(request: Request) -> Response:
        if request.to_file:
            files.append(BytesIO(body))
            return Response(200, b"", file=files[0], received_at=LATER)
        return Response(200, hashlib.sha256(body).hexdigest().encode(), received_at=LATER)

    history = binance.history(history_request(ADA, "trades", 0, DAY), options("trade"), "archive")
    with pytest.raises(Reject, match="is not a zip"):
        run(history, send)
    assert files[0].closed


def run(history, send) -> list[BinaryIO]:
    item = next(history)
    while True:
        item = history.send(send(item)) if isinstance(item, Request) else next(history)


def test_the_address_of_the_archive_is_configurable() -> None:
    elsewhere = replace(options("trade"), archive_url="http://127.0.0.1:9")
    history = binance.history(history_request(ADA, "trades", micros("2024-11-01"), micros("2024-12-01")), elsewhere, "archive")
    assert next(history).url == "http://127.0.0.1:9/data/spot/monthly/trades/ADABTC/ADABTC-trades-2024-11.zip.CHECKSUM"


def test_a_year_is_loaded_by_months() -> None:
    """The end of each month is the beginning of the next, also of December and of a leap February."""
    starts = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=32 * n) for n in range(13)]
    months = [start.replace(day=1) for start in starts]
    files = {
        f"monthly/trades/ADABTC/ADABTC-trades-{month:%Y-%m}": text(trade_lines(f"{month:%Y-%m-%d}", 2, month.month, 1000)[0])
        for month in months[:12]
    }
    result = load(Archive(files), "trades", micros("2024-01-01"), micros("2025-01-01"))
    assert requested(result) == [f"ADABTC-trades-2024-{number:02}.zip.CHECKSUM" for number in range(1, 13)]
    assert {until for until in result.untils if until} >= {int(month.timestamp()) * SECOND for month in months[1:]}
