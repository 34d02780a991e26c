"""alternative.me: the Fear & Greed index, one score per day, for the whole market although it is named after Bitcoin.

https://alternative.me/crypto/fear-and-greed-index/#api. The first turn reads the whole history, from 2018-02-01. Later turns read
the last days again: the score of a day is published at 00:00 UTC and may be corrected. The source lacks three days of 2018.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder

from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import Number
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
    value: Number
    value_classification: str
    timestamp: Number


class _Answer(Struct):
    data: list[_Day]


_Decoder = Decoder(_Answer)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The recent days; all days at first and after a long pause. The cursor is the newest reported day, in seconds."""
    scores = yield from _fetch(options, RECENT if cursor else ALL)
    if cursor and scores and min(score.time for score in scores) > int(cursor) * SECOND + DAY:  # days are missing after a pause
        scores = yield from _fetch(options, ALL)
    yield scores
    return str(max(score.time for score in scores) // SECOND) if scores else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The days of [since, until), microseconds; the answer has all days."""
    scores = yield from _fetch(options, ALL)
    yield [score for score in scores if since <= score.time < until]
    return ""


def _fetch(options: PollOptions, limit: int) -> Part[list[SentimentScore]]:
    answer = yield from answer_to(Request(f"{options.base_url}/fng/?limit={limit}&format=json"))
    return [_score(day, answer.received_at) for day in decoded(answer, _Decoder).data]


def _score(day: _Day, received_at: int) -> SentimentScore:
    return SentimentScore(
        symbol="BTC",
        platform=NAME,
        interval="1d",
        time=int(day.timestamp) * SECOND,
        social_score=day.value,
        label=day.value_classification,
        mentions=None,
        positive=None,
        neutral=None,
        negative=None,
        influencer_mentions=None,
        received_at=received_at,
    )
