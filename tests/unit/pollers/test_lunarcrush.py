"""LunarCrush: the records of its official example responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.config.sections import PollerSection
from ingest.errors import Reject
from ingest.pollers import lunarcrush
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.records import SECOND, SentimentScore
from ingest.sources.poll_plan import plan_of
from tests.support.social import NOW, OPTIONS, paths, turn


def lunar(real: Path, name: str) -> dict[str, Any]:
    response: dict[str, Any] = json.loads((real / f"lunarcrush/{name}.json").read_text())["response"]
    return response


def test_hours_and_the_last_day_are_yielded_value_by_value(real: Path) -> None:
    topic, series = lunar(real, "topic"), lunar(real, "topic_time_series")
    options = replace(OPTIONS, headers={"Authorization": "k"})
    flow = lunarcrush.poll(options, "1749945600")
    first = next(flow)
    assert isinstance(first, Request)
    second = flow.send(Response(200, json.dumps(topic).encode(), received_at=1_750_604_580 * SECOND))
    assert isinstance(second, Request)
    assert paths([first, second]) == [
        "/public/topic/bitcoin/v1",
        "/public/topic/bitcoin/time-series/v1?bucket=hour&start=1749772800&end=1750604580",  # from two days before the cursor
    ]
    assert first.headers == second.headers == {"Authorization": "Bearer k"}
    running = series["data"][0] | {"time": 1_750_604_400}
    records = flow.send(Response(200, json.dumps(series | {"data": [*series["data"], running]}).encode(), received_at=NOW))
    assert records == [
        SentimentScore("BTC", "lunarcrush", "1h", 1_749_945_600 * SECOND, "63", None, 25526, None, None, None, 13585, NOW),
        SentimentScore(
            symbol="BTC",
            platform="lunarcrush",
            interval="1d",
            time=1_750_550_400 * SECOND,
            social_score="63",
            label=None,
            mentions=264764,
            positive="35.03",
            neutral="48.34",
            negative="16.63",
            influencer_mentions=90751,
            received_at=1_750_604_580 * SECOND,
        ),
    ]
    with pytest.raises(StopIteration) as done:
        next(flow)
    assert done.value.value == "1749945600"


def test_history_has_only_hours(real: Path) -> None:
    since, until = 1_749_945_600 * SECOND, 1_749_949_200 * SECOND
    requests, records, _ = turn(lunarcrush.history(OPTIONS, since, until), lunar(real, "topic_time_series"))
    assert paths(requests) == ["/public/topic/bitcoin/time-series/v1?bucket=hour&start=1749945600&end=1749949200"]
    assert [(score.interval, score.time) for score in records] == [("1h", since)]
    assert turn(lunarcrush.history(OPTIONS, until, until + 1), lunar(real, "topic_time_series"))[1] == []


@pytest.mark.parametrize(("body", "reason"), [(b'{"error":"Invalid API key"}', "shape"), (b"<html></html>", "json")])
def test_a_malformed_response_is_rejected(body: bytes, reason: str) -> None:
    with pytest.raises(Reject) as refused:
        turn(lunarcrush.poll(OPTIONS, ""), body)
    assert refused.value.reason == reason


def test_lunarcrush_is_off_without_its_key() -> None:
    assert plan_of(lunarcrush, PollerSection())[1] == "no key"
    assert plan_of(lunarcrush, PollerSection(api_key="k"))[0].per_minute == 10


SHARES = {"positive": 1, "neutral": 2, "negative": 1}


@pytest.mark.parametrize(
    "odd",
    [
        7,
        {},
        {"positive": 1, "neutral": 2},
        SHARES | {"neutral": "Infinity"},
        SHARES | {"neutral": "NaN"},
        SHARES | {"neutral": []},
        SHARES | {"neutral": "x"},
        SHARES | {"neutral": -1},
        SHARES | {"neutral": 1e40},
    ],
)
def test_an_odd_share_costs_itself(real: Path, odd: object) -> None:
    topic, series = lunar(real, "topic"), lunar(real, "topic_time_series")
    now = topic["config"]["generated"]
    series["data"] = [hour | {"time": now - now % 3600 - 7200} for hour in series["data"]]
    topic["data"]["types_sentiment_detail"] = {"news": odd, "tweet": SHARES}
    hour, bad, day = turn(lunarcrush.poll(OPTIONS, ""), topic, series)[1]
    assert (hour.interval, type(bad), day.interval) == ("1h", Malformed, "1d")
    assert (day.positive, day.neutral, day.negative) == ("25.00", "50.00", "25.00")
    topic["data"]["types_sentiment_detail"] = {"news": odd}
    hour, bad = turn(lunarcrush.poll(OPTIONS, ""), topic, series)[1]
    assert (hour.interval, type(bad)) == ("1h", Malformed)


@pytest.mark.parametrize("time", [0, -1, 999_999_999_999_999_999, 1 << 63])
def test_an_hour_at_an_impossible_time_is_malformed(real: Path, time: int) -> None:
    series = lunar(real, "topic_time_series")
    series["data"].append(series["data"][0] | {"time": time})
    good, bad = turn(lunarcrush.history(OPTIONS, 0, NOW), series)[1]
    assert (good.interval, type(bad), bad.reason) == ("1h", Malformed, "value")


def test_a_series_that_was_generated_at_an_impossible_time_is_rejected(real: Path) -> None:
    series = lunar(real, "topic_time_series") | {"config": {"generated": 0}}
    with pytest.raises(Reject):
        turn(lunarcrush.history(OPTIONS, 0, NOW), series)
