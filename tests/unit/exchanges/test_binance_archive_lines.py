"""Bad lines and files of Binance's archive: a line costs itself, a file without rows is missing, one of bad lines fails."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZipFile

import pytest

from ingest.errors import Reject
from ingest.exchanges.binance import archive as archive_files
from tests.support.exchanges.binance_archive import (
    CANDLES_HEADER,
    Archive,
    by_rest,
    candles,
    load,
    micros,
    recorded,
    text,
    trade_lines,
)
from tests.support.exchanges.binance_rest import Rest


@pytest.mark.parametrize("number", [0, 50, 99])
@pytest.mark.parametrize(
    "bad",
    [
        "1,2,3",
        "1,NaN,3.0,4.0,1735689600000,True,True",
        "1,2.0,1.2.3,4.0,1735689600000,True,True",
        "x1,2.0,3.0,4.0,1735689600000,True,True",
        "1,2.0,3.0,4.0,17356896000.5,True,True",
        "1,2.0,3.0,4.0,1735689600000,maybe,True",
        "1,,3.0,4.0,1735689600000,True,True",
        "-1,2.0,3.0,4.0,1735689600000,True,True",
        "",
        "١,2.0,3.0,4.0,1735689600000,True,True",
    ],
)
def test_a_bad_line_costs_itself(bad: str, number: int) -> None:
    lines, trades = trade_lines("2024-12-31", 100, 7, 1000)
    lines[number] = bad
    files = {"daily/trades/ADABTC/ADABTC-trades-2024-12-31": text(lines)}
    result = load(Archive(files), "trades", micros("2024-12-31"), micros("2025-01-01"))
    assert result.records == trades[:number] + trades[number + 1 :]
    (rejected,) = result.rejected
    cells = bad.split(",")
    named = ",".join(cells[i] for i in (1, 2, 4, 5)) if len(cells) == 7 else repr(bad)
    assert (rejected.reason, rejected.message.endswith(named)) == ("value" if len(cells) == 7 else "shape", True)
    assert rejected.payload == bad.replace("١", "\ufffd\ufffd").encode()


@pytest.mark.parametrize("block", [1, 1000, 1 << 18])
@pytest.mark.parametrize("cell", range(11))
def test_a_bad_candle_costs_itself(cell: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "BLOCK", block)
    lines = recorded("2021-11-27")
    cells = lines[4].split(",")
    cells[cell] = "1x5"
    files = {"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27": text([*lines[:4], ",".join(cells), *lines[5:]], CANDLES_HEADER)}
    result = load(Archive(files), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert result.records == candles(lines[:4] + lines[5:])
    (rejected,) = result.rejected
    assert (rejected.reason, rejected.payload) == ("value", ",".join(cells).encode())
    assert "'1x5'" in rejected.message
    assert result.untils[-1] == micros("2021-11-28")


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        (2, "0.00000001", "high 0.00000001 is below low"),
        (3, "0.00000", "0.00000 is not above zero"),
        (4, "1000000000000000000", "is not below 10^18"),
        (5, "1" + "0" * 24, "is not below 10^24"),
        (8, "2147483648", "is not a number within 0..2147483647"),
    ],
)
def test_a_candle_that_its_table_refuses_costs_itself(cell: int, value: str, message: str) -> None:
    lines = recorded("2021-11-27")
    cells = lines[4].split(",")
    cells[cell] = value
    files = {"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27": text([*lines[:4], ",".join(cells), *lines[5:]])}
    result = load(Archive(files), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert result.records == candles(lines[:4] + lines[5:])
    (rejected,) = result.rejected
    assert (rejected.reason, rejected.payload) == ("value", ",".join(cells).encode())
    assert message in rejected.message


@pytest.mark.parametrize(("cell", "value"), [(1, "0.0"), (1, "1" + "0" * 18), (2, "0"), (2, "1" + "0" * 24)])
def test_a_trade_that_its_table_refuses_costs_itself(cell: int, value: str) -> None:
    lines, trades = trade_lines("2024-12-31", 100, 7, 1000)
    cells = lines[50].split(",")
    cells[cell] = value
    files = {"daily/trades/ADABTC/ADABTC-trades-2024-12-31": text([*lines[:50], ",".join(cells), *lines[51:]])}
    result = load(Archive(files), "trades", micros("2024-12-31"), micros("2025-01-01"))
    assert result.records == trades[:50] + trades[51:]
    assert [bad.reason for bad in result.rejected] == ["value"]


def test_a_file_that_is_cut_within_a_line_loses_that_line() -> None:
    lines = recorded("2021-11-27")
    body = text(lines)[:-80]
    result = load(
        Archive({"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27": body}), "candles", micros("2021-11-27"), micros("2021-11-28")
    )
    assert result.records == candles(lines[:-1])
    assert [(bad.reason, bad.payload) for bad in result.rejected] == [("shape", body.splitlines()[-1].encode())]


@pytest.mark.parametrize("channel", ["trades", "candles"])
def test_a_file_without_a_good_line_is_a_verdict(channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = {"trades": "trades/ADABTC/ADABTC-trades", "candles": "klines/ADABTC/1m/ADABTC-1m"}[channel]
    archive = Archive({f"daily/{name}-2021-11-27": text(["1;2;3"] * 30, CANDLES_HEADER)})
    with pytest.raises(Reject, match="binance: ADABTC: none of 30 lines can be read") as caught:
        load(archive, channel, micros("2021-11-27"), micros("2021-11-28"))
    assert (caught.value.reason, caught.value.code) == ("shape", "")
    monkeypatch.setattr(archive_files, "BLOCK", 12)
    monkeypatch.setattr(archive_files, "MAX_BAD", 4)
    with pytest.raises(Reject, match=r"none of [4-6] lines can be read"):  # the rest is not read
        load(archive, channel, micros("2021-11-27"), micros("2021-11-28"))


@pytest.mark.parametrize("body", ["", f"{CANDLES_HEADER}\n"])
def test_a_file_without_rows_counts_as_missing(body: str) -> None:
    """The month is requested by days, and a day from REST."""
    lines = recorded("2021-11-27")
    names = [f"daily/klines/ADABTC/1m/ADABTC-1m-2021-11-{day}" for day in range(26, 31)]
    files = dict.fromkeys(["monthly/klines/ADABTC/1m/ADABTC-1m-2021-11", *names], body)
    result = load(Archive(files, Rest(klines=by_rest(lines))), "candles", micros("2021-11-01"), micros("2021-12-01"))
    assert result.records == candles(lines, "rest")
    assert result.untils[-1] == micros("2021-12-01")


def test_a_folder_before_the_file_is_passed_over() -> None:
    lines = recorded("2021-11-27")
    path = "daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27"
    result = load(Archive({path: text(lines)}, folder="1m/"), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert result.records == candles(lines)


def test_a_zip_of_a_folder_only_is_rejected() -> None:
    body = BytesIO()
    with ZipFile(body, "w") as made:
        made.writestr("1m/", "")
    with pytest.raises(Reject, match="is not a zip of one CSV file"):
        list(archive_files._texts(body))


def test_a_line_without_end_is_rejected() -> None:
    path = "daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27"
    archive = Archive({path: "1" * 1_000_000})
    with pytest.raises(Reject, match="has a line of more than 65536 bytes"):
        load(archive, "candles", micros("2021-11-27"), micros("2021-11-28"))


@pytest.mark.parametrize("usual", [True, False])
def test_times_in_nanoseconds_are_read(usual: bool) -> None:
    """Of the trades, a line in an unusual form is read on its own."""
    lines = recorded("2021-11-27")
    nanos = [
        ",".join([cells[0] + "0" * 6, *cells[1:6], cells[6] + "9" * 6, *cells[7:]]) for line in lines if (cells := line.split(","))
    ]
    path = "daily/klines/ADABTC/1m/ADABTC-1m-2021-11-27"
    tail = [] if usual else ["bad"]
    result = load(Archive({path: text(nanos + tail)}), "candles", micros("2021-11-27"), micros("2021-11-28"))
    assert result.records == candles(lines)
    assert len(result.rejected) == len(tail)
