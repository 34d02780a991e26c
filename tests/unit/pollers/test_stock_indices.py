"""Daily stock indices: recorded files and charts, days that are not over, limits and malformed responses."""

from __future__ import annotations

import json
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.pollers import alphavantage, cboe, fred, stooq, yahoo
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import SLICE
from ingest.polling.provider import PollOptions
from ingest.polling.trading_day import to_date
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Response
from ingest.records import SECOND, StockIndex
from tests.support.turns import NOW, micros, run_history, turn

HOUR = 3600 * SECOND


def chart(real: Path, name: str) -> bytes:
    """The body of a recorded response."""
    return json.dumps(json.loads((real / f"yahoo/{name}.json").read_text())["response"]["bodyJson"]).encode()


def test_the_days_of_a_chart_are_those_of_new_york(real: Path) -> None:
    """Bars of AAPL, because no index is recorded. Half of them are in summer time, but the offset is that of winter."""
    body = chart(real, "chart-AAPL-2020-08-31-to-2020-11-07")
    result = turn(yahoo, body, body, body)
    assert result.urls == [f"http://x/v8/finance/chart/%5E{name}?interval=1d&range=1y" for name in ("GSPC", "IXIC", "VIX")]
    assert {request.headers["User-Agent"][:11] for request in result.requests} == {"Mozilla/5.0"}
    assert [len([row for row in result.records if row.index_name == name]) for name in ("SPX", "NASDAQ", "VIX")] == [49, 49, 49]
    first, last = result.records[0], result.records[48]
    prices = ("127.58000183105469", "131", "126", "129.0399932861328", "225702700")
    assert first == StockIndex("SPX", "yahoo", micros(2020, 8, 31), *prices, received_at=NOW)
    assert (last.time, last.close) == (micros(2020, 11, 6), "118.69000244140625")
    assert turn(yahoo, body, body, body, cursor=result.cursor).urls[0].endswith("range=1mo")


def test_the_history_of_a_chart_is_requested_with_both_ends(real: Path) -> None:
    body = chart(real, "chart-AAPL-2020-08-31-to-2020-11-07")
    result = run_history(yahoo, micros(2020, 9, 1), micros(2020, 9, 3), body, body, body)
    assert result.urls[0].endswith("interval=1d&period1=1598918400&period2=1599091200")
    assert [row.time for row in result.records if row.index_name == "VIX"] == [micros(2020, 9, 1), micros(2020, 9, 2)]


def test_a_holiday_has_no_rows_and_a_bar_without_a_close_makes_no_row(real: Path) -> None:
    nothing = chart(real, "chart-AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m")
    assert turn(yahoo, nothing, nothing, nothing).records == []
    incomplete = json.loads(chart(real, "chart-AAPL-2020-01-01-to-2020-01-03"))
    quotes = incomplete["chart"]["result"][0]["indicators"]["quote"][0]
    quotes["open"], quotes["volume"] = [None], [0]
    without_close = json.loads(json.dumps(incomplete))
    without_close["chart"]["result"][0]["indicators"]["quote"][0]["close"] = [None]
    bodies = [json.dumps(incomplete).encode(), json.dumps(without_close).encode(), nothing]
    (day,) = turn(yahoo, *bodies).records
    assert (day.index_name, day.time, day.open, day.high, day.volume) == ("SPX", micros(2020, 1, 2), None, "75.1500015258789", None)


STOOQ = b"Date,Open,High,Low,Close,Volume\n"


def test_rows_of_stooq_equal_its_file(real: Path) -> None:
    bodies = [(real / f"stock_indices/stooq_{name}_usd.csv").read_bytes() for name in ("sp500", "nasdaq")]
    result = turn(stooq, *bodies, secret={"apikey": "k"})
    assert result.urls == [f"http://x/q/d/l/?s=%5E{name}&i=d" for name in ("spx", "ndq")]
    assert [request.secret for request in result.requests] == [{"apikey": "k"}] * 2
    assert len([row for row in result.records if isinstance(row, StockIndex)]) == len(result.records) == 6000
    prices = ("5905.49", "5921.43", "5874.88", "5887.56", "670843730")
    assert result.records[2999] == StockIndex("SPX", "stooq", micros(2025, 1, 8), *prices, received_at=NOW)
    assert result.cursor == str(micros(2025, 1, 8))
    assert turn(stooq, STOOQ, STOOQ, cursor=result.cursor).urls[0].endswith("s=%5Espx&i=d&d1=20241229")
    history = run_history(stooq, micros(2025, 1, 1), micros(2025, 1, 3), *bodies)
    assert history.urls[0].endswith("d1=20250101&d2=20250103")
    assert [row.time for row in history.records] == [micros(2025, 1, 2)] * 2


def test_a_series_of_stooq_may_have_no_volume() -> None:
    result = turn(stooq, b"Date,Open,High,Low,Close\n2025-01-08,1,2,0.5,1.5\n", STOOQ + b"2025-01-08,1,2,0.5,1.5,\n")
    assert [(row.close, row.volume) for row in result.records] == [("1.5", None)] * 2


DAILY = """{"Meta Data": {"1. Information": "Daily Prices (open, high, low, close) and Volumes", "2. Symbol": "SPY"},
    "Time Series (Daily)": {"2026-11-19": %s, "2026-11-18": %s}}"""


def test_funds_of_alpha_vantage_have_their_own_names(real: Path) -> None:
    """The layout of https://www.alphavantage.co/documentation/#daily with recorded bars of minutes: days are not recorded."""
    recorded = list(json.loads((real / "alphavantage/mock_time_series.json").read_text())["Time Series (1min)"].values())
    body = (DAILY % (json.dumps(recorded[0]), json.dumps(recorded[1]))).encode()
    result = turn(alphavantage, body, body, secret={"apikey": "k"})
    assert result.urls[0] == "http://x/query?function=TIME_SERIES_DAILY&symbol=SPY&outputsize=compact"
    prices = ("86.4900", "86.5000", "86.4750", "86.5000", "10494")
    assert result.records[1] == StockIndex("SPY", "alphavantage", micros(2026, 11, 19), *prices, received_at=NOW)
    assert [(row.index_name, row.time) for row in result.records[2:]] == [("QQQ", micros(2026, 11, day)) for day in (18, 19)]
    history = run_history(alphavantage, micros(2026, 11, 18), micros(2026, 11, 19), body, body, plan="premium")
    assert history.urls[0].endswith("outputsize=full")  # 20 years; without premium there are 100 days
    assert [row.time for row in history.records] == [micros(2026, 11, 18)] * 2


@pytest.mark.parametrize("hours", [-4, 3])
def test_a_day_that_is_not_over_has_no_row(hours: int) -> None:
    """At 20:00 UTC New York is open, at 03:00 UTC it has closed."""
    now = micros(2026, 11, 20) + hours * HOUR
    bar = '{"1. open": "1", "2. high": "1", "3. low": "1", "4. close": "1", "5. volume": "1"}'
    days = [micros(2026, 11, 18), micros(2026, 11, 19)][: 1 if hours < 0 else 2]
    body = (DAILY % (bar, bar)).encode()
    assert [row.time for row in turn(alphavantage, body, body, now=now).records] == days * 2
    file = STOOQ + b"2026-11-18,1,1,1,1,1\n2026-11-19,1,1,1,1,1\n"
    assert [row.time for row in turn(stooq, file, file, now=now).records] == days * 2


def test_the_history_of_a_file_is_the_requested_range(real: Path) -> None:
    body = (real / "stock_indices/vix-daily.csv").read_bytes()
    result = run_history(cboe, micros(2026, 7, 1), micros(2026, 7, 7), body)
    assert [(row.time, row.close) for row in result.records] == [
        (micros(2026, 7, day), line.split(b",")[4].decode())
        for day in (1, 2, 3, 6)
        for line in body.splitlines()
        if line.startswith(b"2026-07-%02d" % day)
    ]
    closes = [b"observation_date,%s\n2026-07-02,1.5\n2026-07-06,2\n" % name.encode() for name in fred.SERIES]
    found = run_history(fred, micros(2026, 7, 3), micros(2026, 7, 7), *closes).records
    assert [(row.index_name, row.close) for row in found] == [("SPX", "2"), ("NASDAQ", "2"), ("VIX", "2")]


CBOE = b"DATE,OPEN,HIGH,LOW,CLOSE\n"
TWO_DAYS = b"11/17/2026,18.1,18.9,17.7,18.3\n11/18/2026,17.1,18.2,16.9,17.24\n"


def closes(records: list[Any]) -> list[tuple[str, str]]:
    return [(f"{to_date(row.time)}", row.close) for row in records if isinstance(row, StockIndex)]


@pytest.mark.parametrize(
    "line",
    [
        b"11/19/2026,17.3,18",  # cut while the file was published
        b"11/16/2004,BAD,18.9,17.7,18.3\n",
        b"11/16/2004,,18.9,17.7,18.3\n",
        b"11/31/2026,18.1,18.9,17.7,18.3\n",
        b"11/17/2099,18.1,18.9,17.7,18.3\n",
        b"11/19/2026,18.1,18.9,17.7,0\n",
        b"11/19/2026,18.1,18.9,17.7,-1\n",
        b"11/19/2026,18.1,18.9,17.7," + b"9" * 5000 + b"\n",
    ],
)
def test_a_bad_line_of_cboe_costs_itself(line: bytes) -> None:
    for body in (CBOE + TWO_DAYS + line, b"\xef\xbb\xbf" + CBOE + TWO_DAYS + line):
        result = turn(cboe, body)
        assert closes(result.records) == [("2026-11-17", "18.3"), ("2026-11-18", "17.24")]
        (bad,) = (row for row in result.records if isinstance(row, Malformed))
        assert bad.reason == "value"
        assert result.cursor == str(micros(2026, 11, 18)), "a bad date is no cursor"
        history = run_history(cboe, micros(2026, 11, 18), micros(2026, 11, 30), body)
        assert closes(history.records) == [("2026-11-18", "17.24")]


def test_a_day_that_contradicts_itself_is_passed_to_the_store() -> None:
    """The store flags it: tests/database/test_revisions.py."""
    result = turn(cboe, CBOE + b"02/08/2006,41.60,13.61,12.76,12.83\n" + TWO_DAYS)
    assert closes(result.records)[0] == ("2006-02-08", "12.83")


def test_a_day_without_data_of_fred_or_stooq_costs_itself() -> None:
    series = [f"observation_date,{name}\n2026-11-18,17.2\n2026-11-19,ND\n".encode() for name in fred.SERIES]
    result = turn(fred, *series)
    assert closes(result.records) == [("2026-11-18", "17.2")] * 3
    assert [row.payload for row in result.records if isinstance(row, Malformed)] == [b"2026-11-19,ND"] * 3
    result = turn(stooq, *[STOOQ + b"2026-11-18,1,2,1,2,5\n2026-11-19,N/D,N/D,N/D,N/D,N/D\n"] * 2)
    assert closes(result.records) == [("2026-11-18", "2")] * 2
    assert [row.reason for row in result.records if isinstance(row, Malformed)] == ["value"] * 2


def test_other_tasks_run_while_a_long_file_is_read() -> None:
    line = b"11/18/2026,18.1,18.9,17.7,18.3\n"
    flow = cboe.poll(PollOptions(base_url="http://x"), "")
    next(flow)
    pauses = iter(partial(next, flow), None)
    first = flow.send(Response(200, CBOE + line * 3 * SLICE, received_at=NOW))
    assert [len(rows) for rows in (first, *islice(pauses, 3))] == [0, 0, 0, 3 * SLICE]


def test_zero_opens_are_unknown() -> None:
    lines = b"".join(b"11/%02d/2026,0,18.9,17.7,18.3\n" % day for day in range(1, 13))
    assert {row.open for row in turn(cboe, CBOE + lines).records} == {None}
    (row, _) = turn(stooq, *[STOOQ + b"2026-11-18,0,0.00,0.0,2,0\n"] * 2).records
    assert (row.open, row.high, row.low, row.close) == (None, None, None, "2")
    (row, *_) = turn(yahoo, *[quotes([18], open=[0], close=["11.5"])] * 3).records
    assert (row.open, row.high, row.close) == (None, "12", "11.5")


def test_days_before_1971_are_counted_and_not_stored() -> None:
    body = STOOQ + b"1789-05-01,3,3,3,3\n1970-12-31,3,3,3,3\n1971-01-04,3,3,3,3\n2026-11-18,1,2,1,2,5\n"
    result = turn(stooq, body, body)
    assert closes(result.records) == [("1971-01-04", "3"), ("2026-11-18", "2")] * 2
    assert [row for row in result.records if isinstance(row, Filtered)] == [Filtered("before_1971", 2)] * 2
    history = run_history(stooq, micros(1971, 1, 1), micros(1972, 1, 1), body, body).records
    assert closes(history) == [("1971-01-04", "3")] * 2
    assert [row for row in history if isinstance(row, Filtered)] == [Filtered("before_1971", 2)] * 2


def quotes(days: list[int], **columns: list[Any]) -> bytes:
    """A chart with a bar at the opening in New York on each of these days of November 2026; numbers in text stay exact."""
    stamps = [micros(2026, 11, day, 14, 30) // SECOND for day in days]
    columns = {"open": [11] * len(days), "high": [12] * len(days), "low": [10] * len(days), "volume": [1] * len(days)} | columns
    text = json.dumps({"timestamp": stamps, "indicators": {"quote": [columns]}, "meta": {"gmtoffset": -18000}})
    return b'{"chart": {"result": [%s]}}' % text.encode()


@pytest.mark.parametrize("close", [-37.6, 0, "x", 1e300, True])
def test_a_bad_place_of_yahoos_lists_costs_itself(close: object) -> None:
    result = turn(yahoo, *[quotes([17, 18, 19], close=[11, close, 11.5])] * 3)
    assert closes(result.records) == [("2026-11-17", "11"), ("2026-11-19", "11.5")] * 3
    assert len([row for row in result.records if isinstance(row, Malformed)]) == 3


def test_a_time_of_yahoo_beyond_all_bounds_costs_its_place() -> None:
    body = quotes([17, 18], close=[11, 11.5]).replace(str(micros(2026, 11, 18, 14, 30) // SECOND).encode(), b"9" * 15)
    result = turn(yahoo, body, body, body)
    assert closes(result.records) == [("2026-11-17", "11")] * 3
    assert [row.reason for row in result.records if isinstance(row, Malformed)] == ["value"] * 3


def test_a_proof_of_work_of_stooq_disables_the_provider() -> None:
    """As reported in https://github.com/Verdenroz/finance-query/issues/263."""
    page = b"<!DOCTYPE html><html><script>crypto.subtle.digest('SHA-256', x); fetch('/__verify', {method: 'POST'})</script></html>"
    with pytest.raises(Reject, match="proof of work") as refused:
        turn(stooq, page)
    assert refused.value.code == "403"


LIMIT = b'{"Information": "We have detected your API key as K and our standard API rate limit is 25 requests per day. ..."}'


@pytest.mark.parametrize(
    ("module", "body", "after"),
    [
        (stooq, b"Exceeded the daily hits limit\n", 6 * 3600),  # as users report; the limit is not documented
        (alphavantage, LIMIT, 6 * 3600),
        (alphavantage, LIMIT.replace(b"Information", b"Note"), 6 * 3600),
        (
            alphavantage,
            b'{"Information": "Please consider spreading out your free API requests more sparingly (1 request per second). You may '
            b'subscribe to any of the premium plans to lift the limit and instantly unlock all premium endpoints"}',
            60,
        ),
    ],
)
def test_a_rate_limit_with_status_200_is_a_retry(module: Any, body: bytes, after: int) -> None:
    with pytest.raises(Retry) as limited:
        turn(module, body)
    assert (limited.value.after, limited.value.code) == (after, "429")


@pytest.mark.parametrize(
    ("module", "body", "reason", "code"),
    [
        (yahoo, b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found"}}}', "unknown", ""),
        (yahoo, b'{"finance":{"error":{"code":"Unauthorized"}}}', "shape", ""),
        (yahoo, b"Edge: Too Many Requests", "json", ""),
        (
            yahoo,
            b'{"chart":{"result":[{"meta":{"gmtoffset":0},"timestamp":[1],"indicators":{"quote":[{"open":[1]}]}}]}}',
            "shape",
            "",
        ),
        (stooq, b"No data", "shape", ""),
        (stooq, b"", "shape", ""),
        (stooq, STOOQ + b"2025-01-08,5905.49,59", "value", ""),
        (stooq, STOOQ + b"01/08/2025,1,1,1,1,1\n", "value", ""),
        (alphavantage, b'{"Error Message": "the parameter apikey is invalid or missing."}', "http", "403"),
        (alphavantage, b'{"Information": "This is a premium endpoint."}', "http", "403"),
        (alphavantage, b'{"Error Message": "Invalid API call."}', "unknown", ""),
        (alphavantage, b"{}", "unknown", ""),
        (alphavantage, b'{"Time Series (Daily)": {"2026-11-19": {"1. open": "x"}}}', "value", ""),
    ],
)
def test_a_malformed_response_is_rejected(module: Any, body: bytes, reason: str, code: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(module, *[body] * 30)
    assert (refused.value.reason, refused.value.code) == (reason, code)
