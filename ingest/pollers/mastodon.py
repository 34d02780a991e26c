"""Mastodon: the public posts of a server under the hashtags of the coins. https://docs.joinmastodon.org/methods/timelines/#tag

A turn reads the newest page and further pages back to the last post of the previous turn; once an hour it reads the whole last day,
because likes and replies arrive after the post. The body is HTML, in which a hashtag is a link, and a long URL is three spans.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from msgspec import Raw, Struct
from msgspec.json import Decoder

from ingest.polling.db_queries import Filtered
from ingest.polling.elements import elements
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


_Decoder, _STATUS = Decoder(list[Raw]), Decoder(_Status)


def poll(options: PollOptions, cursor: str) -> Poll:
    """The posts under the hashtag of each coin."""
    posts = PostFilter(NAME, options, cursor)
    yield from run_parts((asset.symbol, _fetch(options.base_url, asset, posts)) for asset in options.assets)
    return posts.cursor()


def _fetch(base_url: str, asset: Asset, post_filter: PostFilter) -> Part[list[SentimentPost | Malformed | Filtered]]:
    tag, page = asset.coingecko_id, ""
    posts: list[Post | Malformed] = []
    for _ in range(PAGES):
        answer = yield from answer_to(Request(f"{base_url}/api/v1/timelines/tag/{quote(tag, safe='')}?limit={PAGE}{page}"))
        statuses = decoded(answer, _Decoder)
        found = list(elements(statuses, _STATUS, partial(_post, asset.symbol)))
        posts += found
        last = next((post for post in reversed(found) if isinstance(post, Post)), None)
        if last is None or len(statuses) < PAGE or last.time <= post_filter.since(tag, answer.received_at):
            break
        page = f"&max_id={last.id}"
    return post_filter.records(tag, posts, answer.received_at)


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
