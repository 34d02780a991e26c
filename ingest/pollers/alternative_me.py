"""alternative.me: the Fear & Greed index, one score per day, for the whole market although it is named after Bitcoin.

https://alternative.me/crypto/fear-and-greed-index/#api. The first turn reads the whole history, from 2018-02-01. Later turns read
the last days again: the score of a day is published at 00:00 UTC and may be corrected. The source lacks three days of 2018.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.polling.checked import name, share, time_of
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, within
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import INTERVALS, SECOND, SentimentScore

NAME = "alternative_me"
TABLES = ("sentiment_scores",)
PLANS = {
    "keyless": Plan(
        base_url="https://api.alternative.me",
        per_minute=60,
        interval=3600,
        requests=1,
        terms="https://alternative.me/crypto/fear-and-greed-index/#api: commercial use is allowed with attribution beside the data",
    )
}
ASSETS: dict[str, str] = {}
CHUNK = None
ALL, RECENT = 0, 10  # values of `limit`, in days
DAY = INTERVALS["1d"]


class _Day(Struct):
    value: str
    value_classification: str
    timestamp: str  # seconds


class _Answer(Struct):
    data: list[Raw]


_Decoder, _DAY = Decoder(_Answer), Decoder(_Day)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The recent days; all days at first and after a long pause. The cursor is the newest reported day, in seconds."""
    scores = yield from _fetch(options, RECENT if cursor else ALL)
    times = _times(scores)
    if cursor and times and min(times) > int(cursor) * SECOND + DAY:  # days are missing after a pause
        scores = yield from _fetch(options, ALL)
        times = _times(scores)
    yield scores
    return str(max(times) // SECOND) if times else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the answer has all days."""
    scores = yield from _fetch(options, ALL)
    yield within(scores, since, until)
    return ""


def _times(scores: list[SentimentScore | Malformed]) -> list[int]:
    return [score.time for score in scores if isinstance(score, SentimentScore)]


def _fetch(options: PollOptions, limit: int) -> Part[list[SentimentScore | Malformed]]:
    answer = yield from answer_to(Request(f"{options.base_url}/fng/?limit={limit}&format=json"))
    return (yield from sliced(elements(decoded(answer, _Decoder).data, _DAY, partial(_score, answer.received_at))))


def _score(received_at: int, day: _Day) -> Iterator[SentimentScore]:
    yield SentimentScore(
        symbol="BTC",
        platform=NAME,
        interval="1d",
        time=time_of(day.timestamp, SECOND, received_at),
        social_score=share(day.value),
        label=name(day.value_classification),
        mentions=None,
        positive=None,
        neutral=None,
        negative=None,
        influencer_mentions=None,
        received_at=received_at,
    )
