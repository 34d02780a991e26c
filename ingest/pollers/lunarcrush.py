"""LunarCrush: metrics of the social posts about a coin, for each hour and for the last 24 hours. https://github.com/lunarcrush/api

An hour has the galaxy score and the number of active posts and contributors. The 24 hours before a turn have the shares of
positive, neutral and negative posts, weighted by interactions; they are stored under the current day (UTC), so that the last turn
of a day covers it. The last hour of a series is not over yet and is not stored. `sentiment` is a share of posts, not a score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from urllib.parse import quote, urlencode

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.checked import count, optional, share, time_of, total
from ingest.polling.elements import elements, members, sliced, split
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts, within
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import INTERVALS, SECOND, Asset, SentimentScore

NAME = "lunarcrush"
TABLES = ("sentiment_scores",)
_TERMS = "https://lunarcrush.com/terms: for the customer of a paid plan; redistribution needs a licence"
PLANS = {
    name: Plan(
        base_url="https://lunarcrush.com/api4",
        key="Authorization",
        per_minute=per_minute,
        interval=3600,
        requests=2,
        per="coin",
        terms=_TERMS,
    )
    for name, per_minute in (("individual", 10), ("builder", 100))
}
ASSETS = {  # topics
    "ADA": "cardano",
    "AVAX": "avalanche",
    "BNB": "bnb",
    "BTC": "bitcoin",
    "DOGE": "dogecoin",
    "DOT": "polkadot",
    "ETH": "ethereum",
    "LINK": "chainlink",
    "LTC": "litecoin",
    "SOL": "solana",
    "TRX": "tron",
    "XRP": "xrp",
}
HOUR, DAY = INTERVALS["1h"], INTERVALS["1d"]
OVERLAP = 48 * HOUR  # each turn requests these hours before the cursor again, because recent hours are corrected
FIRST = 7 * DAY  # the range of the first turn
CHUNK = 30 * DAY  # the longest range of one request


class _Config(Struct):
    generated: int  # seconds


class _Hour(Struct):
    time: int  # seconds
    galaxy_score: Decimal | None = None
    posts_active: int | None = None
    contributors_active: int | None = None


class _Series(Struct):
    config: _Config
    data: list[Raw]


class _Shares(Struct):
    positive: Decimal
    neutral: Decimal
    negative: Decimal


class _Topic(Struct):
    num_posts: int
    num_contributors: int
    types_sentiment_detail: dict[str, Raw]


class _Answer(Struct):
    config: _Config
    data: Raw  # a topic


_SeriesDecoder, _AnswerDecoder = Decoder(_Series), Decoder(_Answer)
_HOUR, _TOPIC, _SHARES = Decoder(_Hour), Decoder(_Topic), Decoder(_Shares)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The hours from `OVERLAP` before the cursor on, and the last day. The cursor is the newest reported hour, in seconds."""
    newest = [int(cursor or 0)]

    def read(asset: Asset) -> Part[list[SentimentScore | Malformed]]:
        answer = yield from answer_to(_request(options, f"/public/topic/{quote(asset.coingecko_id, safe='')}/v1"))
        body = decoded(answer, _AnswerDecoder)
        since = max(answer.as_of - CHUNK, int(cursor) * SECOND - OVERLAP) if cursor else answer.as_of - FIRST
        hours = yield from _hours(options, asset.coingecko_id, asset.symbol, since, answer.as_of)
        scores = [hour for hour in hours if isinstance(hour, SentimentScore)]
        newest.extend(hour.time // SECOND for hour in scores)
        return [*hours, *_days(asset.symbol, body, scores, answer.received_at)]

    complete = yield from run_parts((asset.symbol, read(asset)) for asset in options.assets)
    return str(max(newest)) if complete and max(newest) else cursor


def history(options: PollOptions, since: int, until: int) -> Poll:
    """The hours of [since, until), microseconds, with one request for each coin. The shares have no history."""
    for asset in options.assets:
        hours = yield from _hours(options, asset.coingecko_id, asset.symbol, since, until)
        yield within(hours, since, until)
    return ""


def _hours(options: PollOptions, topic: str, symbol: str, since: int, until: int) -> Part[list[SentimentScore | Malformed]]:
    query = urlencode({"bucket": "hour", "start": since // SECOND, "end": until // SECOND})
    answer = yield from answer_to(_request(options, f"/public/topic/{quote(topic, safe='')}/time-series/v1?{query}"))
    series = decoded(answer, _SeriesDecoder)
    newest = time_of(series.config.generated, SECOND, answer.received_at) - HOUR  # of the hours that are over
    return (yield from sliced(elements(series.data, _HOUR, partial(_hour, symbol, newest, answer.received_at))))


def _request(options: PollOptions, path: str) -> Request:
    return Request(options.base_url + path, headers={name: f"Bearer {key}" for name, key in options.headers.items()})


def _hour(symbol: str, newest: int, received_at: int, hour: _Hour) -> Iterator[SentimentScore]:
    if (time := time_of(hour.time, SECOND, received_at)) > newest:
        return
    yield SentimentScore(
        symbol=symbol,
        platform=NAME,
        interval="1h",
        time=time,
        social_score=optional(share, hour.galaxy_score),
        label=None,
        mentions=None if hour.posts_active is None else count(hour.posts_active),
        positive=None,
        neutral=None,
        negative=None,
        influencer_mentions=None if hour.contributors_active is None else count(hour.contributors_active),
        received_at=received_at,
    )


def _days(symbol: str, body: _Answer, hours: list[SentimentScore], received_at: int) -> Iterator[SentimentScore | Malformed]:
    """The row of the day, and what is malformed. Its score is that of its last hour, because the answer has no score."""
    try:
        time = time_of(body.config.generated, SECOND, received_at)
        topic = _TOPIC.decode(body.data)
        shares, bad = split(members(topic.types_sentiment_detail, _SHARES, _checked))
        positive, neutral, negative = (optional(share, part) for part in _shares(shares))
        day = SentimentScore(
            symbol=symbol,
            platform=NAME,
            interval="1d",
            time=time - time % DAY,
            social_score=hours[-1].social_score if hours else None,
            label=None,
            mentions=count(topic.num_posts),
            positive=positive,
            neutral=neutral,
            negative=negative,
            influencer_mentions=count(topic.num_contributors),
            received_at=received_at,
        )
    except UNREADABLE as error:
        yield malformed(bytes(body.data), error)
    except Reject as error:
        yield Malformed(bytes(body.data), error.reason, str(error))
    else:
        yield from bad
        yield day


def _checked(_platform: str, shares: _Shares) -> Iterator[tuple[Decimal, ...]]:
    yield tuple(Decimal(total(part)) for part in (shares.positive, shares.neutral, shares.negative))


def _shares(platforms: Sequence[tuple[Decimal, ...]]) -> tuple[str | None, ...]:
    """The percentages of all interactions, with two decimals; None if there were no interactions."""
    sums = [sum((shares[place] for shares in platforms), Decimal()) for place in range(3)]
    interactions = sum(sums)
    return tuple(f"{100 * part / interactions:.2f}" if interactions else None for part in sums)
