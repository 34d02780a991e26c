"""Reddit: the newest posts of subreddits, as one Atom feed. https://www.rfc-editor.org/rfc/rfc4287, https://www.reddit.com/wiki/rss

One URL covers several subreddits, `/r/Bitcoin+ethereum/new/.rss`; Reddit answers one to ten requests a minute (2026-09-04). The
JSON listings need a login since 2026-05-30. A post in a coin's own subreddit is about that coin and those that it names; a post in
another subreddit (`channels`) is about the coins that it names. The feed has neither scores nor comments, so engagement is NULL. A
post without a text has the body "submitted by ... [comments]".
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote
from xml.etree import ElementTree

from ingest.errors import Reject
from ingest.polling.elements import MAX_EVIDENCE, each
from ingest.polling.provider import Plan, Poll, PollOptions
from ingest.polling.social_posts import Post, PostFilter, read_post_time
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.text.plain_text import plain_text
from ingest.text.xml_repair import read_xml

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
# in the form that https://support.reddithelp.com/hc/en-us/articles/16160319875092 demands; other agents receive status 429
AGENT = {"User-Agent": "linux:ingest:1"}
CHANNELS = ("CryptoCurrency", "CryptoMarkets")
ENTRIES = 100  # the most entries of one answer
_ATOM = "{http://www.w3.org/2005/Atom}"
_FOOTER = "submitted by"


def poll(options: PollOptions, cursor: str) -> Poll:
    """The newest hundred posts of all subreddits together. A post is read again while it is among them."""
    posts = PostFilter(NAME, options, cursor)
    coins = {asset.coingecko_id.lower(): asset.symbol for asset in options.assets}
    names = "+".join(quote(name, safe="") for name in [*(asset.coingecko_id for asset in options.assets), *options.channels])
    answer = yield from answer_to(Request(f"{options.base_url}/r/{names}/new/.rss?limit={ENTRIES}", headers=AGENT, follow=True))
    yield (yield from posts.records("new", _posts(answer, coins), answer.received_at))
    return posts.cursor()


def _posts(answer: Response, coins: dict[str, str]) -> Iterator[Post | Malformed]:
    """The posts, and the faults of the feed. Raises Reject (xml, shape, size) if the answer is not an Atom feed."""
    document = read_xml(answer.body, ("entry",))
    if document.root.tag != f"{_ATOM}feed":
        raise Reject(f"the root element is <{document.root.tag}>; right would be <feed> of Atom", reason="shape")
    yield from [Malformed(fault.evidence, "xml", fault.message) for fault in document.faults[:MAX_EVIDENCE]]
    yield from each(document.root.findall(f"{_ATOM}entry"), lambda entry: [_post(entry, coins)], ElementTree.tostring)


def _post(entry: ElementTree.Element, coins: dict[str, str]) -> Post:
    category = entry.find(f"{_ATOM}category")
    subreddit = "" if category is None else category.get("term", "")
    coin = coins.get(subreddit.lower())
    title = " ".join(_text(entry, "title").split())
    content = _text(entry, "content")
    body, _, footer = content.rpartition(_FOOTER)
    return Post(
        id=_required(entry, "id"),
        time=read_post_time(_required(entry, "published")),
        text=f"{title} {plain_text(body if '[comments]' in footer else content)}".strip(),
        author=(entry.findtext(f"{_ATOM}author/{_ATOM}name") or "").removeprefix("/u/") or None,
        symbols=() if coin is None else (coin,),
        is_bot=(entry.findtext(f"{_ATOM}author/{_ATOM}name") or "") == "/u/AutoModerator",
    )


def _text(entry: ElementTree.Element, name: str) -> str:
    return entry.findtext(f"{_ATOM}{name}") or ""


def _required(entry: ElementTree.Element, name: str) -> str:
    if not (text := _text(entry, name).strip()):
        raise Reject(f"an entry has no <{name}>", reason="shape")
    return text
