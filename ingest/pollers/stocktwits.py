"""StockTwits: the messages of a coin's stream. https://github.com/stocktwits/slate/blob/master/source/index.html.md#symbol-streams

The newest 30 at each turn, and further pages until what was read last; once an hour all of the last day. An author may call a
message bullish or bearish: that word says which way the score goes. The rule one would get wrong: what is asked for by `max` comes
with the message of that number itself.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct
from msgspec.json import Decoder

from ingest.polling.provider import Plan, Poll, PollOptions, decoded, run_parts
from ingest.polling.social_posts import Moment, Post, PostFilter, to_micros
from ingest.protocol.http import Request, answer_to
from ingest.records import Asset
from ingest.text.plain_text import plain_text

NAME = "stocktwits"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://api.stocktwits.com",
        per_minute=3,
        interval=900,
        requests=1,
        each="coin",
        terms="https://stocktwits.com/about/legal/terms: no redistribution, no copies of archived data",
        default_on=False,
    )
}
COIN = ".X"  # what a coin's symbol ends with there; without it a share is meant
ASSETS = {symbol: f"{symbol}{COIN}" for symbol in ("ADA", "AVAX", "BNB", "BTC", "DOGE", "ETH", "LINK", "LTC", "SOL", "XMR", "XRP")}
PAGES = 10  # of 30 messages, in one turn
_LEANS = {"Bullish": "positive", "Bearish": "negative"}


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
    symbols: list[_Symbol] = []
    entities: _Entities = _Entities()
    likes: _Likes = _Likes()
    reshares: _Reshares = _Reshares()
    conversation: _Conversation = _Conversation()


class _Cursor(Struct):
    more: bool
    max: int | None = None


class _Answer(Struct):
    messages: list[_Message]
    cursor: _Cursor


_Decoder = Decoder(_Answer)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The messages of each coin's stream."""
    sieve = PostFilter(NAME, options, cursor)
    yield from run_parts((asset.symbol, _read(options.base_url, asset, sieve)) for asset in options.assets)
    return sieve.cursor()


def _read(base_url: str, asset: Asset, sieve: PostFilter) -> Poll:
    stream, page = asset.coingecko_id, ""
    posts: dict[int, Post] = {}
    for _ in range(PAGES):
        answer = yield from answer_to(Request(f"{base_url}/api/2/streams/symbol/{quote(stream, safe='')}.json{page}"))
        said = decoded(answer, _Decoder)
        posts |= {message.id: _post(message, asset.symbol) for message in said.messages}
        last = min(posts.values(), key=lambda post: post.time, default=None)
        if not said.cursor.more or last is None or last.time <= sieve.since(stream, answer.received_at):
            break
        page = f"?max={said.cursor.max}"
    yield sieve.records(stream, posts.values(), answer.received_at)
    return ""


def _post(message: _Message, symbol: str) -> Post:
    sentiment = message.entities.sentiment
    coins = (one.symbol.removesuffix(COIN) for one in message.symbols if one.symbol.endswith(COIN))
    return Post(
        id=str(message.id),
        time=to_micros(message.created_at),
        text=plain_text(message.body),
        author=message.user.username,
        symbols=tuple(sorted({symbol, *coins})),
        lean=_LEANS.get(sentiment.basic) if sentiment else None,
        engagement=message.likes.total + message.reshares.reshared_count + message.conversation.replies,
        followers=message.user.followers,
    )
