"""Reads the feeds of news publishers: RSS 2.0 and older versions, and Atom.

https://www.rssboard.org/rss-specification, https://www.rfc-editor.org/rfc/rfc4287. The id of an entry is its guid or, without one,
its link.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, tostring

from ingest.errors import Reject
from ingest.pollers._news_article import ArticleFields, Source, article, read_time
from ingest.pollers._news_rules import PUBLISHER
from ingest.polling.provider import Poll, PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.safe_xml import parse_xml

TABLES = ("news",)
_MEDIA = "{http://search.yahoo.com/mrss/}"
_ENTRIES = ("item", "entry")
_DATES = (
    "pubDate",
    "published",
    "date",
    "updated",
)  # RSS 2.0, Atom, Dublin Core; an entry of Atom may have only the time of its last change


def poll_feed(name: str, options: PollOptions, path: str) -> Poll:
    """A turn: all articles in the feed, one by one, because each takes a while to judge and to score.

    There is no cursor: a feed has the last articles, and the stored ones are duplicates.
    """
    answer = yield from answer_to(Request(options.base_url + path, headers=options.headers))
    for one in entries(Source(name, PUBLISHER, options.score), answer):
        yield [one]
    return ""


def entries(source: Source, answer: Response) -> Iterator[News | Malformed]:
    """The articles. Raises Reject (xml, shape) if the answer is no feed."""
    feed = parse_xml(answer.body)
    channels = list(_named(feed, "channel"))
    if _local(feed) not in ("rss", "RDF", "feed") or (_local(feed) == "rss" and not channels):
        raise Reject(f"<{_local(feed)}> is no feed; right would be <rss> with its <channel>, <RDF> or <feed>", reason="shape")
    for parent in (feed, *channels):  # an entry within an entry is part of it, and is not read twice
        for entry in parent:
            if _local(entry) in _ENTRIES:
                yield article(source, _fields(entry), tostring(entry), answer.received_at)


def _fields(entry: Element) -> ArticleFields:
    """Names match without their namespace, which Dublin Core and Atom have. Media RSS is excluded: it has a title of the image."""
    return ArticleFields(
        id=_first(entry, "guid", "id"),
        time=next((read_time(text) for name in _DATES if (text := _first(entry, name))), None),
        title=_first(entry, "title"),
        url=_link(entry),
        summary=_first(entry, "description", "summary"),
        author=_first(entry, "creator", "author/name", "author"),
        image_url=_image(entry),
        categories=[one.get("term") or one.text or "" for one in _named(entry, "category")],
    )


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _named(entry: Element, name: str) -> Iterator[Element]:
    """The children with that name, or the grandchildren for `child/grandchild`."""
    name, _, below = name.partition("/")
    for one in entry:
        if _local(one) == name and not one.tag.startswith(_MEDIA):
            yield from _named(one, below) if below else (one,)


def _first(entry: Element, *names: str) -> str:
    """The text of the first of these elements that has one, including nested elements: Atom may contain XHTML."""
    texts = (" ".join(one.itertext()).strip() for name in names for one in _named(entry, name))
    return next(filter(None, texts), "")


def _link(entry: Element) -> str:
    """The link to the article: in RSS the text of the element, in Atom an attribute of the link with `rel="alternate"`."""
    links = list(_named(entry, "link"))
    texts = ((one.text or "").strip() for one in links)
    addresses = (one.get("href") or "" for one in links if one.get("rel", "alternate") == "alternate")
    return next(filter(None, (*texts, *addresses)), "")


def _image(entry: Element) -> str:
    """The first image of Media RSS, else the first enclosure that is an image."""
    media = (one for one in entry.iter() if one.tag in (f"{_MEDIA}content", f"{_MEDIA}thumbnail"))
    for one in (*media, *_named(entry, "enclosure")):
        if one.get("url") and (one.get("type") or one.get("medium") or "image").startswith("image"):
            return one.get("url") or ""
    return ""
