"""RSS 2.0, as publishers of news speak it: items to records. https://www.rssboard.org/rss-specification

Title, summary and link only: the text is theirs. An article is known by its guid; where it has none, by its link without the
`utm_` parameters, which differ from one reading to the next.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import datetime
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit
from xml.etree import ElementTree

from ingest.errors import Reject
from ingest.flow import Poll, PollOptions, Request, Response, answer_to
from ingest.pollers._news_words import impact_of
from ingest.records import SECOND, News
from ingest.symbols import symbols_of

TABLES = ("news",)
_CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
_MEDIA = "{http://search.yahoo.com/mrss/}content"
_TAG = re.compile(r"<[^>]*>")


def turn(source: str, options: PollOptions, path: str) -> Poll:
    """What the feed has now. It has no cursor: a feed is the last articles, and the stored ones are duplicates."""
    answer = yield from answer_to(Request(options.base_url + path))
    yield list(articles(source, answer))
    return ""


def articles(source: str, answer: Response) -> Iterator[News]:
    """The items. Raises Reject (xml, shape) where the answer is no feed, or an item of it has no date or title."""
    try:
        channel = ElementTree.fromstring(answer.body).find("channel")
    except ElementTree.ParseError as error:
        raise Reject(str(error), reason="xml") from error
    if channel is None:
        raise Reject("a feed has a channel, this answer has none", reason="shape")
    for item in channel.iter("item"):
        yield _article(source, item, answer.received_at)


def _article(source: str, item: ElementTree.Element, received_at: int) -> News:
    title, summary = _text(item, "title"), _text(item, "description")
    url = _clean(_text(item, "link"))
    media = item.find(_MEDIA)
    said = f"{title} {summary}"
    return News(
        source=source,
        id=(item.findtext("guid") or "").strip() or url,
        time=_time(item.findtext("pubDate") or ""),
        title=title,
        summary=summary or None,
        url=url,
        author=_text(item, _CREATOR) or None,
        image_url=None if media is None else media.get("url"),
        symbols=symbols_of(said),
        categories=tuple(dict.fromkeys((one.text or "").strip() for one in item.iter("category") if one.text)),
        sentiment=None,
        relevance=None,
        impact_level=impact_of(said),
        received_at=received_at,
    )


def _text(item: ElementTree.Element, name: str) -> str:
    """Plain text: some publishers put HTML into it, with entities of its own."""
    return " ".join(html.unescape(_TAG.sub(" ", item.findtext(name) or "")).split())


def _clean(url: str) -> str:
    parts = urlsplit(url)
    query = [(name, value) for name, value in parse_qsl(parts.query) if not name.startswith("utm_")]
    return urlunsplit(parts._replace(query=urlencode(query), fragment=""))


def _time(text: str) -> int:
    """RFC 2822, in microseconds."""
    try:
        return int(datetime.strptime(text.strip().replace("GMT", "+0000"), "%a, %d %b %Y %H:%M:%S %z").timestamp()) * SECOND
    except ValueError as error:
        raise Reject(f"pubDate {text!r} is no date; right would be 'Fri, 25 Sep 2026 14:41:53 +0000'", reason="shape") from error
