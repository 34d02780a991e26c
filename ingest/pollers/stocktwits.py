"""StockTwits: the messages about a coin. https://github.com/stocktwits/slate/blob/master/source/index.html.md#symbol-streams

A turn reads the newest 30 messages and further pages back to the last message of the previous turn; once an hour it reads the
whole last day. An author may mark a message as bullish or bearish; the mark gives the sign of its score. A page that is requested
with `max` includes the message of that id.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.polling.db_queries import Filtered
from ingest.polling.elements import elements, readable
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.polling.social_posts import Moment, Post, PostFilter, to_micros
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import Asset, SentimentPost
from ingest.text.plain_text import plain_text

NAME = "stocktwits"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://api.stocktwits.com",
        per_minute=3,
        interval=900,
        requests=1,
        per="coin",
        terms="https://stocktwits.com/about/legal/terms: no redistribution, no copies of archived data",
        default_on=False,
    )
}
COIN = ".X"  # suffix of a coin's symbol; a symbol without it is a share
ASSETS = {symbol: f"{symbol}{COIN}" for symbol in ("ADA", "AVAX", "BNB", "BTC", "DOGE", "ETH", "LINK", "LTC", "SOL", "XMR", "XRP")}
PAGES = 10  # of 30 messages, for a coin in a turn
_DIRECTIONS = {"Bullish": "positive", "Bearish": "negative"}


class _User(Struct):
    username: str
    followers: int | None = None


class _Symbol(Struct):
    symbol: str


class _Sentiment(Struct, frozen=True):
    basic: str


class _Entities(Struct, frozen=True):
    sentiment: _Sentiment | None = None


class _Likes(Struct, frozen=True):
    total: int = 0


class _Reshares(Struct, frozen=True):
    reshared_count: int = 0


class _Conversation(Struct, frozen=True):
    replies: int = 0


class _Message(Struct):
    id: int
    body: str
    created_at: Moment
    user: _User
    symbols: list[Raw] = []
    entities: _Entities = _Entities()
    likes: _Likes = _Likes()
    reshares: _Reshares = _Reshares()
    conversation: _Conversation = _Conversation()


class _Cursor(Struct):
    more: bool
    max: int | None = None


class _Answer(Struct):
    messages: list[Raw]
    cursor: _Cursor


_Decoder, _MESSAGE, _SYMBOL = Decoder(_Answer), Decoder(_Message), Decoder(_Symbol)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The messages about each coin."""
    posts = PostFilter(NAME, options, cursor)
    yield from run_parts((asset.symbol, _fetch(options.base_url, asset, posts)) for asset in options.assets)
    return posts.cursor()


def _fetch(base_url: str, asset: Asset, post_filter: PostFilter) -> Part[list[SentimentPost | Malformed | Filtered]]:
    stream, page = asset.coingecko_id, ""
    posts: dict[str, Post] = {}
    malformed: list[Malformed] = []
    for _ in range(PAGES):
        answer = yield from answer_to(Request(f"{base_url}/api/2/streams/symbol/{quote(stream, safe='')}.json{page}"))
        body = decoded(answer, _Decoder)
        for post in elements(body.messages, _MESSAGE, partial(_post, asset.symbol)):
            if isinstance(post, Malformed):
                malformed.append(post)
            else:
                posts[post.id] = post
        oldest = min(posts.values(), key=lambda post: post.time, default=None)
        if not body.cursor.more or oldest is None or oldest.time <= post_filter.since(stream, answer.received_at):
            break
        page = f"?max={body.cursor.max}"
    return (yield from post_filter.records(stream, [*malformed, *posts.values()], answer.received_at))


def _post(symbol: str, message: _Message) -> Iterator[Post]:
    sentiment = message.entities.sentiment
    coins = (one.symbol.removesuffix(COIN) for one in readable(message.symbols, _SYMBOL) if one.symbol.endswith(COIN))
    yield Post(
        id=str(message.id),
        time=to_micros(message.created_at),
        text=plain_text(message.body),
        author=message.user.username,
        symbols=tuple(sorted({symbol, *coins})),
        direction=_DIRECTIONS.get(sentiment.basic) if sentiment else None,
        engagement=message.likes.total + message.reshares.reshared_count + message.conversation.replies,
        followers=message.user.followers,
    )
