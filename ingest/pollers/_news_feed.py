"""Reads the feeds of news publishers: RSS 2.0 and older versions, and Atom.

https://www.rssboard.org/rss-specification, https://www.rfc-editor.org/rfc/rfc4287. The id of an entry is its guid or, without one,
its link. A guid that entries with different links share, or that is a placeholder such as N/A, is no id. A guid that is a link
replaces a missing link.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, tostring

from ingest.errors import Reject
from ingest.pollers._news_article import ArticleFields, Source, article, clean_link
from ingest.pollers._news_rules import PUBLISHER
from ingest.polling.elements import bounded
from ingest.polling.provider import Poll, PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.dates import read_time
from ingest.text.xml_repair import read_xml

TABLES = ("news",)
_MEDIA = "{http://search.yahoo.com/mrss/}"
_ENTRIES = ("item", "entry")
# RSS 2.0, Atom, Dublin Core; an entry of Atom may have only the time of its last change
_PLACEHOLDERS = {"", "-", "0", "1", "false", "guid", "id", "n/a", "na", "nil", "none", "null", "true", "undefined", "unknown"}
_DATES = ("pubDate", "published", "date", "updated")


def poll_feed(name: str, options: PollOptions, path: str) -> Poll:
    """A turn: all articles of the feed, one by one, so that other tasks run between them: each takes 3 ms to judge and to score.

    There is no cursor: a feed has the last articles, and those that are stored already are duplicates.
    """
    answer = yield from answer_to(Request(options.base_url + path, headers=options.headers, follow=True))
    for entry in bounded(entries(Source(name, PUBLISHER, options.score), answer)):
        yield [entry]
    return ""


def entries(source: Source, answer: Response) -> Iterator[News | Malformed]:
    """The articles of a feed, and its faults. Raises Reject (xml, shape, size) if the answer is not a feed, or too large."""
    document = read_xml(answer.body, _ENTRIES)
    feed = document.root
    channels = list(_named(feed, "channel"))
    if _local(feed) not in ("rss", "RDF", "feed") or (_local(feed) == "rss" and not channels):
        raise Reject(f"<{_local(feed)}> is not a feed; right would be <rss> with its <channel>, <RDF> or <feed>", reason="shape")
    yield from (Malformed(fault.evidence, "xml", f"{source.name}: {fault.message}") for fault in document.faults)
    # an entry within an entry is part of it, and is not read twice
    found = [entry for parent in (feed, *channels) for entry in parent if _local(entry) in _ENTRIES]
    links: dict[str, set[str]] = {}
    for entry in found:
        links.setdefault(_id(entry), set()).add(_link(entry))
    for entry in found:
        is_shared = len(links[_id(entry)]) > 1
        yield article(source, _fields(entry, "" if is_shared else _id(entry)), tostring(entry), answer.received_at)


def _fields(entry: Element, native_id: str) -> ArticleFields:
    """The fields of an entry. Names match in any namespace except that of Media RSS, whose title is that of the image.

    `native_id` is '' for an entry without an id of its own.
    """
    return ArticleFields(
        id=native_id,
        time=_time(entry),
        title=_first(entry, "title"),
        url=_link(entry),
        summary=_first(entry, "description", "summary"),
        author=_first(entry, "creator", "author/name", "author"),
        image_url=_image(entry),
        categories=[label.get("term") or label.text or "" for label in _named(entry, "category")],
    )


def _time(entry: Element) -> int | None:
    """The first date that can be read."""
    texts = ("".join(found.itertext()) for name in _DATES for found in _named(entry, name))
    return next((time for text in texts if (time := read_time(text)) is not None), None)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _named(entry: Element, name: str) -> Iterator[Element]:
    """The children with that name, or the grandchildren for `child/grandchild`."""
    name, _, below = name.partition("/")
    for child in entry:
        if _local(child) == name and not child.tag.startswith(_MEDIA):
            yield from _named(child, below) if below else (child,)


def _first(entry: Element, *names: str) -> str:
    """The text of the first of these elements that has text, including nested elements, because Atom may contain XHTML."""
    texts = (" ".join(found.itertext()).strip() for name in names for found in _named(entry, name))
    return next(filter(None, texts), "")


def _id(entry: Element) -> str:
    native_id = _first(entry, "guid", "id")
    return "" if native_id.lower() in _PLACEHOLDERS else native_id


def _link(entry: Element) -> str:
    """The link to the article: in RSS the text of the element, in Atom an attribute of the link with `rel="alternate"`.

    Without one, a guid of RSS that is a link: https://www.rssboard.org/rss-specification#ltguidgtSubelementOfLtitemgt
    """
    links = list(_named(entry, "link"))
    texts = ((link.text or "").strip() for link in links)
    addresses = (link.get("href") or "" for link in links if link.get("rel", "alternate") == "alternate")
    guids = (clean_link(guid.text or "") for guid in _named(entry, "guid") if guid.get("isPermaLink", "true") == "true")
    return next(filter(None, (*texts, *addresses, *guids)), "")


def _image(entry: Element) -> str:
    """The first image of Media RSS, else the first enclosure that is an image."""
    media = (element for element in entry.iter() if element.tag in (f"{_MEDIA}content", f"{_MEDIA}thumbnail"))
    for element in (*media, *_named(entry, "enclosure")):
        if element.get("url") and (element.get("type") or element.get("medium") or "image").startswith("image"):
            return element.get("url") or ""
    return ""
