"""One bad element of an answer costs itself: it is malformed with its own bytes, and the other elements are records."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.pollers import (
    alphavantage,
    alternative_me,
    blockchain_com,
    coingecko,
    coinmetrics,
    etherscan,
    glassnode,
    lunarcrush,
    mastodon,
    mempool_space,
    stocktwits,
)
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import MAX_BAD, MAX_EVIDENCE
from ingest.polling.provider import Missed
from ingest.protocol.decode import Malformed
from ingest.records import SECOND, Asset
from tests.support.social import EXAMPLE, STOCKTWITS, score
from tests.support.turns import NOW, TurnResult, micros, run_history, turn

DAY = 86_400
HUGE = "9" * 4000
BTC, ETH = Asset("BTC", "bitcoin", id=1), Asset("ETH", "ethereum", id=2)


def good(result: TurnResult) -> list[Any]:
    return [record for record in result.records if not isinstance(record, Malformed | Filtered | Missed)]


def bad(result: TurnResult) -> list[Malformed]:
    return [record for record in result.records if isinstance(record, Malformed)]


def stamp(days: int) -> int:
    """Seconds of a day before the present of the tests."""
    return NOW // SECOND // DAY * DAY - days * DAY


def fear(timestamp: object, value: object = "40") -> dict[str, object]:
    return {"value": value, "value_classification": "Fear", "timestamp": timestamp}


@pytest.mark.parametrize(
    "element",
    [
        fear(HUGE),
        fear("0"),
        fear("-1"),
        fear(str(stamp(-9))),
        fear(7),
        fear(str(stamp(1)), "101"),
        fear(str(stamp(1)), "NaN"),
        {},
        1,
    ],
)
def test_alternative_me(element: object) -> None:
    body = {"data": [fear(str(stamp(0))), element, fear(str(stamp(2)))]}
    result = turn(alternative_me, json.dumps(body).encode())
    assert [row.time for row in good(result)] == [stamp(0) * SECOND, stamp(2) * SECOND]
    assert [one.payload for one in bad(result)] == [json.dumps(element).encode()]
    assert result.cursor == str(stamp(0))


POINTS = [[None, 1], [1, 2], ["x", 1], {}, [stamp(1), "NaN"], [stamp(1), "1e300000"], [10**17, 1]]


def charts(key: tuple[str, str], wrap: Any, element: Any) -> bytes:
    """Days with a time and a value under these names; `element` between two good ones."""
    points = [dict(zip(key, point, strict=False)) for point in ([stamp(3), 5], element, [stamp(1), 6])]
    return json.dumps(wrap(points)).replace('"1e300000"', "1e300000").encode()


@pytest.mark.parametrize("element", [point for point in POINTS if isinstance(point, list)])
def test_series_of_days(element: list[Any]) -> None:
    body = charts(("x", "y"), lambda points: {"values": points}, element)
    result = turn(blockchain_com, *[body] * 4)
    assert ([row.time for row in good(result)], len(bad(result))) == ([stamp(3) * SECOND, stamp(1) * SECOND] * 4, 4)
    body = charts(("t", "v"), list, element)
    result = turn(glassnode, *[body] * 7, assets=(Asset("BTC", "BTC"),))
    assert ([row.time for row in good(result)], len(bad(result))) == ([stamp(3) * SECOND, stamp(1) * SECOND] * 7, 7)
    hash_rates = charts(("timestamp", "avgHashrate"), list, element)
    difficulty = charts(("time", "difficulty"), list, element)
    body = b'{"hashrates": %s, "difficulty": %s}' % (hash_rates, difficulty)
    result = turn(mempool_space, body, b'{"count": 1, "vsize": 2}')
    assert [row.time for row in good(result)[:4]] == [stamp(3) * SECOND, stamp(1) * SECOND] * 2
    assert (len(good(result)), len(bad(result))) == (6, 2)


@pytest.mark.parametrize("value", ["NaN", "1e300000", 7, "x", HUGE])
def test_coinmetrics(value: object) -> None:
    rows = [{"asset": "bitcoin", "time": f"2026-11-{day}T00:00:00.000000000Z", "TxCnt": "5"} for day in (10, 11, 12)]
    rows[1]["TxCnt"] = value  # type: ignore[assignment]
    result = turn(coinmetrics, json.dumps({"data": rows}).encode(), assets=(BTC,))
    assert ([row.time for row in good(result)], len(bad(result))) == ([micros(2026, 11, 10), micros(2026, 11, 12)], 1)


@pytest.mark.parametrize("row", [{}, {"asset": "", "TxCnt": "5"}, {"asset": "other", "time": "2026-11-11", "TxCnt": "5"}])
def test_a_row_of_coinmetrics_without_an_asset_that_was_requested_is_malformed(row: object) -> None:
    good_row = {"asset": "bitcoin", "time": "2026-11-10T00:00:00.000000000Z", "TxCnt": "5"}
    result = turn(coinmetrics, json.dumps({"data": [row, good_row]}).encode(), assets=(BTC,))
    assert (len(good(result)), [one.reason for one in bad(result)]) == (1, ["value"])


def test_pages_of_coinmetrics_are_bounded() -> None:
    page = json.dumps({"data": [], "next_page_token": "x"}).encode()
    with pytest.raises(Reject, match="more than 100 pages"):
        turn(coinmetrics, *[page] * 101, assets=(BTC,))


def test_the_digits_of_coinmetrics_are_exact() -> None:
    row = {"asset": "bitcoin", "time": "2026-11-10T00:00:00.000000000Z", "HashRate": "3563976090.254889007097721055043"}
    (record,) = turn(coinmetrics, json.dumps({"data": [row]}).encode(), assets=(BTC,)).records
    assert Decimal(record.value) == Decimal("3563976090254889007097.721055043")


def test_alphavantage() -> None:
    bar = {"1. open": "1", "2. high": "2", "3. low": "1", "4. close": "2", "5. volume": "1"}
    days: dict[str, Any] = {"2026-11-17": bar, "2026-11-31": bar, "2026-11-18": bar | {"1. open": "x"}, "2026-11-19": bar}
    body = json.dumps({"Time Series (Daily)": days}).encode()
    result = turn(alphavantage, body, body)
    assert [row.time for row in good(result)] == [micros(2026, 11, 17), micros(2026, 11, 19)] * 2
    assert len(bad(result)) == 4


def market(coin: object, price: object = 1.5, **values: object) -> dict[str, object]:
    empty = dict.fromkeys(("market_cap", "total_volume", "high_24h", "low_24h"))
    return {"id": coin, "current_price": price, "last_updated": "2026-11-20T00:00:00.000Z"} | empty | values


@pytest.mark.parametrize(
    "element",
    [
        market("ethereum", -1),
        market("ethereum", "1e300000"),
        market("ethereum", 1, last_updated="0001-01-01T00:00:00Z"),
        market("ethereum", 1, last_updated="9999-01-01T00:00:00Z"),
        market("ethereum", 1, last_updated="2026-11-20T00:00:00"),
        market("ethereum", 1, price_change_percentage_24h=-101),
        market("ethereum", 1, high_24h=-2),
        market(7),
        {},
    ],
)
def test_coingecko(element: object) -> None:
    body = json.dumps([market("bitcoin"), element]).replace('"1e300000"', "1e300000").encode()
    result = turn(coingecko, body, b'{"bitcoin": {"aud": 2}, "ethereum": {"aud": 2}}', assets=(BTC, ETH))
    assert [(row.asset_id, row.price_usd, row.price_aud) for row in good(result)] == [(1, "1.5", "2")]
    assert len(bad(result)) == 1
    assert not [row for row in result.records if isinstance(row, Missed)], "the coin is not unknown"


def test_another_currency_of_coingecko() -> None:
    body = json.dumps([market("bitcoin"), market("ethereum")]).encode()
    result = turn(coingecko, body, b'{"bitcoin": {"aud": "x"}, "ethereum": {"aud": 2}}', assets=(BTC, ETH))
    assert [(row.asset_id, row.price_aud) for row in good(result)] == [(1, None), (2, "2")]
    assert [one.payload for one in bad(result)] == [b'{"aud": "x"}']


@pytest.mark.parametrize(
    "point", [[0, 1], [None, 1], [1e300, 1], [micros(2026, 11, 1) // 1000, -1], [micros(2026, 11, 1) // 1000, 1e20], 7]
)
def test_points_of_coingecko(point: object) -> None:
    times = [micros(2026, 11, day) // 1000 for day in (2, 3)]
    points = [[times[0], 5], point, [times[1], 6]]
    usd = {"prices": points, "market_caps": [], "total_volumes": []}
    aud = {"prices": [[times[0], 7]], "market_caps": [], "total_volumes": []}
    result = run_history(
        coingecko, micros(2026, 11, 1), micros(2026, 11, 9), json.dumps(usd).encode(), json.dumps(aud).encode(), assets=(BTC,)
    )
    assert [(row.price_usd, row.price_aud) for row in good(result)] == [("5", "7"), ("6", None)]
    assert len(bad(result)) == 1


def test_days_of_etherscan() -> None:
    days = [{"UTCDate": f"2026-11-{day}", "transactionCount": 5, "newAddressCount": "6"} for day in (10, 31, 12)]
    answer = json.dumps({"status": "1", "message": "OK", "result": days}).encode()
    result = run_history(etherscan, micros(2026, 11, 1), micros(2026, 11, 20), answer, answer, plan="pro")
    assert [row.time for row in good(result)] == [micros(2026, 11, 10), micros(2026, 11, 12)] * 2
    assert len(bad(result)) == 2


STATUS = EXAMPLE | {"created_at": "2026-11-19T12:00:00.000Z", "content": "Bitcoin looks good"}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "9" * 8000},
        {"id": "a\0b"},
        {"id": ""},
        {"id": 7},
        {"created_at": "0001-01-01T00:00:00Z"},
        {"created_at": "soon"},
        {"replies_count": -20},
        {"replies_count": 2**31},
        {"account": EXAMPLE["account"] | {"followers_count": 2**40}},
        {"account": EXAMPLE["account"] | {"acct": "a\0b"}},
        {"account": None},
    ],
)
def test_posts_of_mastodon(change: dict[str, Any]) -> None:
    posts = [STATUS | {"id": "1"}, STATUS | {"id": "2"} | change, STATUS | {"id": "3", "content": "Bitcoin looks great"}]
    result = turn(mastodon, json.dumps(posts).encode(), assets=(BTC,), score=score)
    assert [row.post_id for row in good(result)] == ["1", "3"]
    assert [len(one.payload) <= 10_000 for one in bad(result)] == [True]


def test_messages_of_stocktwits() -> None:
    message = STOCKTWITS["messages"][0] | {"created_at": "2026-11-19T12:00:00Z"}
    messages = [message | {"id": 1, "body": "good"}, message | {"id": 2, "user": None}, message | {"id": 3, "body": "very good"}]
    body = STOCKTWITS | {"messages": messages, "cursor": {"more": False, "since": None, "max": None}}
    result = turn(stocktwits, json.dumps(body).encode(), assets=(BTC,), score=score)
    assert ([row.post_id for row in good(result)], len(bad(result))) == (["1", "3"], 1)


def test_a_symbol_of_stocktwits_costs_itself() -> None:
    symbols = [7, {"symbol": None}, {"symbol": "ETH.X"}, {"symbol": "AAPL"}]
    message = STOCKTWITS["messages"][0] | {"id": 1, "created_at": "2026-11-19T12:00:00Z", "body": "good", "symbols": symbols}
    body = STOCKTWITS | {"messages": [message], "cursor": {"more": False, "since": None, "max": None}}
    result = turn(stocktwits, json.dumps(body).encode(), assets=(BTC,), score=score)
    assert [row.symbol for row in good(result)] == ["BTC", "ETH"]


def test_hours_of_lunarcrush() -> None:
    hours = [{"time": stamp(1), "galaxy_score": 50}, {"time": stamp(1) + 3600, "galaxy_score": 101}, {"time": "x"}]
    body = {"config": {"generated": stamp(0)}, "data": hours}
    result = run_history(lunarcrush, micros(2026, 11, 1), NOW, json.dumps(body).encode(), assets=(BTC,))
    assert ([row.social_score for row in good(result)], len(bad(result))) == (["50"], 2)


def test_evidence_is_bounded_and_the_last_counts_the_rest() -> None:
    elements = [fear(str(stamp(0))), *[{}] * (MAX_EVIDENCE + 5), fear(str(stamp(1)))]
    result = turn(alternative_me, json.dumps({"data": elements}).encode())
    assert (len(good(result)), len(bad(result))) == (2, MAX_EVIDENCE + 1)
    assert bad(result)[-1].message.startswith("5 further elements cannot be read, the last: ")
    elements = [fear(str(stamp(0))), *[{}] * (MAX_BAD + 5), fear(str(stamp(1)))]
    result = turn(alternative_me, json.dumps({"data": elements}).encode())
    assert (len(good(result)), bad(result)[-1].message[-22:]) == (1, "; the rest is not read")


def test_an_answer_without_a_good_element_is_rejected() -> None:
    with pytest.raises(Reject):
        turn(alternative_me, b'{"data": [{}, {}]}')
