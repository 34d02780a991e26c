"""Mastodon: the public posts of a server under the hashtags of the coins. https://docs.joinmastodon.org/methods/timelines/#tag

A turn reads the newest page and further pages back to the last post of the previous turn; once an hour it reads the whole last day,
because likes and replies arrive after the post. The body is HTML, in which a hashtag is a link, and a long URL is three spans.

A server of version 4.5 or later can close its tag feeds, which then are empty with status 200 (documentation of 2026-07-02). If the
feeds of all hashtags are empty, the turn asks the server: https://docs.joinmastodon.org/methods/instance/#v2
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.errors import Reject
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import elements, sliced
from ingest.polling.provider import Part, Plan, Poll, PollOptions, decoded, run_parts
from ingest.polling.social_posts import Moment, Post, PostFilter, to_micros
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import Asset, SentimentPost
from ingest.text.plain_text import plain_text

NAME = "mastodon"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://mastodon.social",
        per_minute=60,
        interval=300,
        requests=1,
        per="coin",
        terms="https://mastodon.social/terms-of-service: no collection of posts by programs; other servers have other terms",
        default_on=False,
    )
}
ASSETS = {  # hashtags
    "ADA": "cardano",
    "AVAX": "avalanche",
    "BNB": "bnb",
    "BTC": "bitcoin",
    "DOGE": "dogecoin",
    "ETH": "ethereum",
    "LINK": "chainlink",
    "LTC": "litecoin",
    "SOL": "solana",
    "XMR": "monero",
    "XRP": "xrp",
}
PAGE, PAGES = 40, 10  # posts of a page, the API's maximum; pages of a hashtag in a turn


class _Account(Struct):
    acct: str
    followers_count: int
    bot: bool = False


class _Status(Struct):
    id: str
    created_at: Moment
    content: str
    account: _Account
    replies_count: int
    reblogs_count: int
    favourites_count: int
    language: str | None = None
    reblog: object | None = None


class _Feeds(Struct, frozen=True):
    """Who may read a feed: public, authenticated or disabled."""

    local: str = "public"
    remote: str = "public"


class _Access(Struct, frozen=True):
    hashtag_feeds: _Feeds = _Feeds()


class _Configuration(Struct, frozen=True):
    timelines_access: _Access = _Access()


class _Instance(Struct, frozen=True):
    configuration: _Configuration = _Configuration()


_INSTANCE = Decoder(_Instance)
_Decoder, _STATUS = Decoder(list[Raw]), Decoder(_Status)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The posts under the hashtag of each coin."""
    posts = PostFilter(NAME, options, cursor)
    found: set[str] = set()  # the hashtags that have posts
    complete = yield from run_parts((asset.symbol, _fetch(options.base_url, asset, posts, found)) for asset in options.assets)
    if complete and not found:
        yield from _check_access(options.base_url)
    return posts.cursor()


def _check_access(base_url: str) -> Part[None]:
    """Raises Reject (http, code 403) if the server has closed its tag feeds. A server that does not say it has no closed feeds."""
    try:
        answer = yield from answer_to(Request(f"{base_url}/api/v2/instance"))
        feeds = decoded(answer, _INSTANCE).configuration.timelines_access.hashtag_feeds
    except Reject:  # an older version, or another program
        return
    if (feeds.local, feeds.remote) != ("public", "public"):
        message = (
            f"no hashtag has posts, and the tag feeds of the server are not public: local {feeds.local}, remote {feeds.remote}"
        )
        raise Reject(message, reason="http", code="403")


def _fetch(
    base_url: str, asset: Asset, post_filter: PostFilter, with_posts: set[str]
) -> Part[list[SentimentPost | Malformed | Filtered]]:
    tag, page = asset.coingecko_id, ""
    posts: list[Post | Malformed] = []
    for _ in range(PAGES):
        answer = yield from answer_to(Request(f"{base_url}/api/v1/timelines/tag/{quote(tag, safe='')}?limit={PAGE}{page}"))
        statuses = decoded(answer, _Decoder)
        found = yield from sliced(elements(statuses, _STATUS, partial(_post, asset.symbol)))
        posts += found
        with_posts.update([tag] if statuses else [])
        last = next((post for post in reversed(found) if isinstance(post, Post)), None)
        if last is None or len(statuses) < PAGE or last.time <= post_filter.since(tag, answer.received_at):
            break
        page = f"&max_id={last.id}"
    return (yield from post_filter.records(tag, posts, answer.received_at))


def _post(symbol: str, status: _Status) -> Iterator[Post]:
    account = status.account
    yield Post(
        id=status.id,
        time=to_micros(status.created_at),
        text=plain_text(status.content),
        author=account.acct,
        symbols=(symbol,),
        language=status.language,
        is_bot=account.bot,
        is_repost=status.reblog is not None,
        engagement=status.replies_count + status.reblogs_count + status.favourites_count,
        followers=max(0, account.followers_count),
    )
