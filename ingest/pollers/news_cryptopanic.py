"""CryptoPanic: articles of many publishers, with their coins. https://cryptopanic.com/developers/api/

The key is a query parameter that is kept apart from the URL. The link `next` contains the key and is not followed. `original_url`,
which only some plans have, is the publisher's link; it identifies an article that the publisher's feed brought first as a
duplicate. When the requests of the month are spent, the API answers 429 without Retry-After, so the poller counts the requests
itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.pollers._news_article import SLICE, ArticleFields, Source, article
from ingest.pollers._news_rules import AGGREGATOR
from ingest.polling.elements import bounded, readable, sliced
from ingest.polling.provider import Plan, Poll, PollOptions, decoded
from ingest.protocol.decode import UNREADABLE, Malformed, malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.dates import read_time

NAME = "news_cryptopanic"
TABLES = ("news",)
PLANS = {
    "growth": Plan(
        base_url="https://cryptopanic.com/api/growth/v2",
        key="auth_token",
        key_in="query",
        per_minute=2,
        per_month=3_000,
        interval=60,
        requests=1,
        terms="https://cryptopanic.com/terms/: titles, summaries and links, by a paid plan; the texts are their publishers'",
    )
}
ASSETS: dict[str, str] = {}


class Publisher(Struct):
    title: str | None = None
    domain: str | None = None


class Coin(Struct):
    code: str


class Post(Struct):
    """A post of version 2 of the API; in version 1 the coins are `currencies` and the publisher is `domain`."""

    id: int
    title: str
    published_at: str
    url: str | None = None
    original_url: str | None = None
    description: str | None = None
    image: str | None = None
    kind: str | None = None
    domain: str | None = None
    source: Publisher | None = None
    instruments: list[Raw] | None = None
    currencies: list[Raw] | None = None


class Answer(Struct):
    results: list[Raw]


_ANSWER, _POST, _COIN = Decoder(Answer), Decoder(Post), Decoder(Coin)


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The newest twenty posts."""
    url = f"{options.base_url}/posts/?kind=news&public=true&regions=en"
    answer = yield from answer_to(Request(url, headers=options.headers, secret=options.secret))
    yield (yield from sliced(bounded(posts(Source("cryptopanic", AGGREGATOR, options.score), answer)), SLICE))
    return ""


def posts(source: Source, answer: Response) -> Iterator[News | Malformed]:
    """The posts of an answer. Raises Reject (json, shape) if it cannot be read."""
    for raw in decoded(answer, _ANSWER).results:
        try:
            post = _POST.decode(raw)
        except UNREADABLE as error:
            yield malformed(bytes(raw), error)
            continue
        publisher = post.source or Publisher()
        fields = ArticleFields(
            id=str(post.id),
            time=read_time(post.published_at),
            title=post.title,
            url=post.original_url or post.url or "",
            summary=post.description or "",
            author=publisher.title or publisher.domain or post.domain or "",
            image_url=post.image or "",
            categories=(post.kind or "",),
            symbols=tuple(coin.code for coin in readable(post.instruments or post.currencies or (), _COIN)),
        )
        yield article(source, fields, bytes(raw), answer.received_at)
