"""Converts an article of any news source to a record: title, summary and link, never the full text, which is its publisher's.

Texts are plain and bounded. Links are normalised: without `utm_` parameters and fragment, the host in lower case. Times are UTC. An
entry without a title, link or date, or with a date more than an hour ahead, becomes a `Malformed`; the other entries are stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from ingest.pollers._news_rules import Credibility, Topic, judge
from ingest.protocol.decode import Malformed
from ingest.records import MINUTE, SECOND, News
from ingest.text.coin_mentions import symbols_of
from ingest.text.plain_text import plain_text
from ingest.text.sentiment_label import Score

TITLE, SUMMARY, NAME, LINK, SYMBOL = 300, 600, 200, 2000, 40  # the most characters of a text
MAX_LABELS = 30  # labels, and coins that the source assigns, of an article
SLICE = 200  # articles that are read before other tasks run: at most 0.2 s
MAX_AHEAD = 60 * MINUTE  # tolerance for a wrong clock; a later date is an error or that of an announced event
EARLIEST = 1_230_768_000 * SECOND  # 2009: an earlier date is an error (0, or a wrong unit)


class Source(Struct, frozen=True):
    """A source of articles: its name in `news.source`, its credibility, and the scorer for the sentiment of a text."""

    name: str
    credibility: Credibility
    score: Score


class ArticleFields(Struct, frozen=True, kw_only=True):
    """One article as its source gives it; texts may be HTML. `symbols` and `topic` are those that the source assigns.

    A symbol that is no printable text of at most `SYMBOL` characters is left out.
    """

    id: str
    time: int | None  # microseconds; None if the source's date cannot be read
    title: str
    url: str
    summary: str = ""
    author: str = ""
    image_url: str = ""
    categories: Iterable[str] = ()
    symbols: tuple[str, ...] = ()
    topic: Topic | None = None


def article(source: Source, fields: ArticleFields, evidence: bytes, received_at: int) -> News | Malformed:
    """The record of the article, or a `Malformed` with `evidence` as its payload."""
    title, summary = _text(fields.title, TITLE), _text(fields.summary, SUMMARY)
    url = clean_link(fields.url)
    if not title or not url:
        return Malformed(evidence, "shape", f"{source.name}: an article needs a title and a link: '{title}', '{fields.url[:NAME]}'")
    if fields.time is None or fields.time < EARLIEST:
        right = "right would be one of RFC 2822 or ISO 8601, 2009 or later"
        return Malformed(evidence, "value", f"{source.name}: '{title}' has no date; {right}")
    if fields.time > received_at + MAX_AHEAD:
        return Malformed(evidence, "value", f"{source.name}: '{title}' is dated {_iso(fields.time)}, more than an hour ahead")
    text = f"{title}\n{summary}"
    labels = [_text(category, NAME) for category in fields.categories][:MAX_LABELS]
    coins = tuple(code for code in fields.symbols if code.isprintable() and 0 < len(code) <= SYMBOL)[:MAX_LABELS]
    verdict = judge(title, "; ".join((summary, *labels)), source.credibility, fields.topic, coins)
    return News(
        source=source.name,
        id=_bounded(clean_link(fields.id) or fields.id.strip() or url),
        time=fields.time,
        title=title,
        summary=summary or None,
        url=url,
        author=_text(fields.author, NAME) or None,
        image_url=fields.image_url if clean_link(fields.image_url) else None,
        symbols=tuple(sorted({*coins, *symbols_of(text)})),
        categories=tuple(dict.fromkeys(label for label in (*labels, *verdict.topics) if label)),
        sentiment=source.score(text),
        relevance=verdict.relevance,
        impact_level=verdict.impact,
        received_at=received_at,
    )


def _text(source: str, length: int) -> str:
    """Plain text of at most `length` characters, cut between words, or anywhere in a text with few spaces, as in Chinese."""
    text = plain_text(source)
    if len(text) <= length:
        return text
    whole = text[: length - 1].rpartition(" ")[0]
    return (whole if len(whole) > length // 2 else text[: length - 1]) + "\N{HORIZONTAL ELLIPSIS}"


def _bounded(native_id: str) -> str:
    """The id, or its SHA-256 if it is too long for an index or has a NUL, which no text column can hold."""
    is_storable = len(native_id) <= LINK // 4 and "\0" not in native_id
    return native_id if is_storable else sha256(native_id.encode("utf-8", "surrogatepass")).hexdigest()


def clean_link(url: str) -> str:
    """The link without tracking parameters and fragment; '' if it is not an http(s) link, too long, or has a NUL."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # an unclosed bracket in the host
        return ""
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc or len(url) > LINK or "\0" in url:
        return ""
    query = "&".join(pair for pair in parts.query.split("&") if not pair.lower().startswith("utm_"))
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, query, ""))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _iso(time: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=time)).isoformat()
    except OverflowError:  # the source gave microseconds where milliseconds are expected
        return f"{time} us after 1970"
