"""Reddit: the newest posts of subreddits, as one Atom feed. https://www.rfc-editor.org/rfc/rfc4287, https://www.reddit.com/wiki/rss

Several subreddits are one address, `/r/Bitcoin+ethereum/new/.rss`: about one request a minute is answered. A post in a coin's own
subreddit is about that coin; in another one (`channels`) about the coins that it names. The feed has neither scores nor comments:
engagement is NULL. The rule one would get wrong: a post without a text has a body all the same, "submitted by ... [comments]".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from urllib.parse import quote
from xml.etree import ElementTree

from ingest.errors import Reject
from ingest.polling.provider import Plan, Poll, PollOptions
from ingest.polling.social_posts import Post, PostFilter, to_micros
from ingest.protocol.http import Request, Response, answer_to
from ingest.text.plain_text import plain_text
from ingest.text.safe_xml import parse_xml

NAME = "reddit"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://www.reddit.com",
        per_minute=1,
        interval=300,
        pause=900,
        requests=1,
        terms="https://support.reddithelp.com/hc/en-us/articles/42728983564564-Responsible-Builder-Policy: commercial use, and use "
        "without approval, are forbidden",
        default_on=False,
    )
}
ASSETS = {  # subreddits
    "ADA": "cardano",
    "AVAX": "Avax",
    "BNB": "bnbchainofficial",
    "BTC": "Bitcoin",
    "DOGE": "dogecoin",
    "ETH": "ethereum",
    "LINK": "Chainlink",
    "LTC": "litecoin",
    "SOL": "solana",
    "XMR": "Monero",
    "XRP": "XRP",
}
AGENT = {"User-Agent": "linux:ingest:1"}  # as https://support.reddithelp.com/hc/en-us/articles/16160319875092 asks; others are 429
CHANNELS = ("CryptoCurrency", "CryptoMarkets")
ENTRIES = 100  # of one answer, the most that there are
_ATOM = "{http://www.w3.org/2005/Atom}"
_FOOTER = "submitted by"


def poll(options: PollOptions, cursor: str) -> Poll:
    """The posts of all subreddits: the newest hundred, which are asked for again for as long as they are among them."""
    sieve = PostFilter(NAME, options, cursor)
    coins = {asset.coingecko_id.lower(): asset.symbol for asset in options.assets}
    names = "+".join(quote(name, safe="") for name in [*(asset.coingecko_id for asset in options.assets), *options.channels])
    answer = yield from answer_to(Request(f"{options.base_url}/r/{names}/new/.rss?limit={ENTRIES}", headers=AGENT))
    yield sieve.records("new", _posts(answer, coins), answer.received_at)
    return sieve.cursor()


def _posts(answer: Response, coins: dict[str, str]) -> Iterator[Post]:
    """The entries. Raises Reject (xml, shape) where the answer is no feed, or an entry of it has no id or date."""
    feed = parse_xml(answer.body)
    if feed.tag != f"{_ATOM}feed":
        raise Reject(f"an Atom feed begins with <feed>, this answer with <{feed.tag}>", reason="shape")
    for entry in feed.iter(f"{_ATOM}entry"):
        yield _post(entry, coins)


def _post(entry: ElementTree.Element, coins: dict[str, str]) -> Post:
    category = entry.find(f"{_ATOM}category")
    subreddit = "" if category is None else category.get("term", "")
    coin = coins.get(subreddit.lower())
    title = " ".join(_text(entry, "title").split())
    content = _text(entry, "content")
    body, _, footer = content.rpartition(_FOOTER)
    return Post(
        id=_needed(entry, "id"),
        time=_time(_needed(entry, "published")),
        text=f"{title} {plain_text(body if '[comments]' in footer else content)}".strip(),
        author=(entry.findtext(f"{_ATOM}author/{_ATOM}name") or "").removeprefix("/u/") or None,
        symbols=() if coin is None else (coin,),
        is_bot=(entry.findtext(f"{_ATOM}author/{_ATOM}name") or "") == "/u/AutoModerator",
    )


def _text(entry: ElementTree.Element, name: str) -> str:
    return entry.findtext(f"{_ATOM}{name}") or ""


def _needed(entry: ElementTree.Element, name: str) -> str:
    if not (text := _text(entry, name).strip()):
        raise Reject(f"an entry has no <{name}>", reason="shape")
    return text


def _time(text: str) -> int:
    """RFC 3339, in microseconds."""
    try:
        return to_micros(datetime.fromisoformat(text))
    except (ValueError, TypeError) as error:  # no time at all, or one without its zone
        raise Reject(f"published {text!r} is no time; right would be '2026-09-25T14:41:53+00:00'", reason="shape") from error
