"""One article as a record, whoever tells of it: title, summary and link, never the text, which is its publisher's.

Texts are plain and bounded, links are without what differs from one reading to the next (`utm_` parameters, fragment, capitals in
the host), times are UTC. What is no article (no title, no link, no date, a date more than an hour ahead) is a `Malformed`, and
the others of its answer go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from ingest.pollers._news_rules import Standing, Topic, judge
from ingest.protocol.decode import Malformed
from ingest.records import MINUTE, SECOND, News
from ingest.text.coin_mentions import symbols_of
from ingest.text.plain_text import plain_text
from ingest.text.sentiment_label import Score

TITLE, SUMMARY, NAME, LINK, LABELS = 300, 600, 200, 2000, 30  # the most that is kept: characters, and labels of an article
AHEAD = 60 * MINUTE  # a clock may be wrong, and a feed may announce what it will publish; an hour is neither
EARLIEST = 1_230_768_000 * SECOND  # 2009: a date before it is none (0, or a broken unit)


class Source(Struct, frozen=True):
    """Who tells of articles, as `news.source` has it, what its word weighs, and how the mood of a text is scored."""

    name: str
    standing: Standing
    score: Score


class Told(Struct, frozen=True, kw_only=True):
    """What a source says of one article, as it says it; texts may be HTML. `symbols` are those that the source names itself."""

    id: str
    time: int | None  # microseconds; None where the source's date is none
    title: str
    url: str
    summary: str = ""
    author: str = ""
    image_url: str = ""
    categories: Iterable[str] = ()
    symbols: tuple[str, ...] = ()
    topic: Topic | None = None


def article(source: Source, told: Told, evidence: bytes, received_at: int) -> News | Malformed:
    """The record; a `Malformed` with `evidence` where it is none."""
    title, summary = _text(told.title, TITLE), _text(told.summary, SUMMARY)
    url = clean_link(told.url)
    if not title or not url:
        return Malformed(evidence, "shape", f"{source.name}: an article has a title and a link: '{title}', '{told.url[:NAME]}'")
    if told.time is None or told.time < EARLIEST:
        right = "right would be one of RFC 2822 or ISO 8601, 2009 or later"
        return Malformed(evidence, "value", f"{source.name}: '{title}' has no date; {right}")
    if told.time > received_at + AHEAD:
        return Malformed(evidence, "value", f"{source.name}: '{title}' is dated {_spelt(told.time)}, more than an hour ahead")
    said = f"{title}\n{summary}"
    labels = [_text(one, NAME) for one in told.categories][:LABELS]
    verdict = judge(title, "; ".join((summary, *labels)), source.standing, told.topic, told.symbols)
    return News(
        source=source.name,
        id=_bounded(clean_link(told.id) or told.id.strip() or url),
        time=told.time,
        title=title,
        summary=summary or None,
        url=url,
        author=_text(told.author, NAME) or None,
        image_url=told.image_url if clean_link(told.image_url) else None,
        symbols=tuple(sorted({*told.symbols, *symbols_of(said)})),
        categories=tuple(dict.fromkeys(label for label in (*labels, *verdict.topics) if label)),
        sentiment=source.score(said),
        relevance=verdict.relevance,
        impact_level=verdict.impact,
        received_at=received_at,
    )


def _text(source: str, most: int) -> str:
    """Plain text of at most so many characters, cut between words; where they are as long as in Chinese, anywhere."""
    text = plain_text(source).replace("\0", "")
    if len(text) <= most:
        return text
    whole = text[: most - 1].rpartition(" ")[0]
    return (whole if len(whole) > most // 2 else text[: most - 1]) + "\N{HORIZONTAL ELLIPSIS}"


def _bounded(native_id: str) -> str:
    """The id; its SHA-256 where it is too long for an index."""
    return native_id if len(native_id) <= LINK // 4 else sha256(native_id.encode("utf-8", "surrogatepass")).hexdigest()


def clean_link(url: str) -> str:
    """The link without what names the reading and not the article; '' where it is none."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # a bracket in the host that is not closed
        return ""
    if parts.scheme.lower() not in ("http", "https") or not parts.netloc or len(url) > LINK:
        return ""
    query = "&".join(one for one in parts.query.split("&") if not one.lower().startswith("utm_"))
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, query, ""))


# --- dates ------------------------------------------------------------------------------------------------------------------

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_HOURS = {"ut": 0, "utc": 0, "gmt": 0, "z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5} | {
    "mst": -7,
    "mdt": -6,
    "pst": -8,
    "pdt": -7,
}
_DATE = r"(?:[a-z]+\.?,?\s*)?(\d{1,2})[\s-]+([a-z]{3})[a-z]*\.?[\s-]+(\d{4}|\d{2})"
_CLOCK = r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:([+-]\d{2}):?(\d{2})|([a-z]+))"
_RFC_2822 = re.compile(rf"{_DATE}\s+{_CLOCK}", re.IGNORECASE)


def read_time(text: str) -> int | None:
    """RFC 2822 with its zones of North America, or ISO 8601, UTC where that has none; microseconds, None where it is neither."""
    text = text.strip()
    try:
        moment = _rfc_2822(text) if text[:1].isalpha() or " " in text[1:3] else datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, KeyError, OverflowError):
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _rfc_2822(text: str) -> datetime:
    """Raises ValueError or KeyError where it is none. A zone that nobody knows is no zone: it may be half a day from UTC."""
    match = _RFC_2822.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, month, year, hour, minute, second, hours, minutes, name = match.groups()
    whole = int(year) if len(year) == 4 else 2000 + int(year)
    zone = timedelta(hours=_HOURS[name.lower()] if name else int(hours), minutes=0 if name else int(hours[0] + minutes))
    number = _MONTHS.index(month.lower()) + 1
    return datetime(whole, number, int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=timezone(zone))


def _spelt(time: int) -> str:
    try:
        return (_EPOCH + timedelta(microseconds=time)).isoformat()
    except OverflowError:  # microseconds where milliseconds are expected
        return f"{time} us after 1970"
