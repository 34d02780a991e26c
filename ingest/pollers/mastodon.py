"""Mastodon: the public posts of a server under the tags of the coins. https://docs.joinmastodon.org/methods/timelines/#tag

The newest page at each turn, and further pages until what was read last; once an hour all of the last day, because likes and
replies come later than the post. The rule one would get wrong: the body is HTML, where a tag is a link, a long address three spans.
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

NAME = "mastodon"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://mastodon.social",
        per_minute=60,
        interval=300,
        requests=1,
        each="coin",
        terms="https://mastodon.social/terms-of-service: no collection of posts by programs; other servers have other terms",
        default_on=False,
    )
}
ASSETS = {  # tags
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
PAGE, PAGES = 40, 10  # posts of a page, the most that there are; pages of a tag in one turn


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


_Decoder = Decoder(list[_Status])


def poll(options: PollOptions, cursor: str) -> Poll:
    """The posts of each coin's tag."""
    sieve = PostFilter(NAME, options, cursor)
    yield from run_parts((asset.symbol, _read(options.base_url, asset, sieve)) for asset in options.assets)
    return sieve.cursor()


def _read(base_url: str, asset: Asset, sieve: PostFilter) -> Poll:
    tag, posts, page = asset.coingecko_id, [], ""
    for _ in range(PAGES):
        answer = yield from answer_to(Request(f"{base_url}/api/v1/timelines/tag/{quote(tag, safe='')}?limit={PAGE}{page}"))
        found = [_post(status, asset.symbol) for status in decoded(answer, _Decoder)]
        posts += found
        if len(found) < PAGE or found[-1].time <= sieve.since(tag, answer.received_at):
            break
        page = f"&max_id={found[-1].id}"
    yield sieve.records(tag, posts, answer.received_at)
    return ""


def _post(status: _Status, symbol: str) -> Post:
    account = status.account
    return Post(
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
