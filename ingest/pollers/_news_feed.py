"""Feeds as publishers of news speak them, RSS 2.0 and its older kin, and Atom: entries to records.

https://www.rssboard.org/rss-specification, https://www.rfc-editor.org/rfc/rfc4287. An entry is known by its guid, where it has none
by its link.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ingest.errors import Reject
from ingest.pollers._news_article import Source, Told, article, read_time
from ingest.pollers._news_rules import PUBLISHER
from ingest.polling.provider import Poll, PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import News
from ingest.text.safe_xml import as_evidence, parse_xml

TABLES = ("news",)
_MEDIA = "{http://search.yahoo.com/mrss/}"
_ENTRIES = ("item", "entry")
_DATES = ("pubDate", "published", "date", "updated")  # RSS 2.0, Atom, Dublin Core; an entry of Atom may only say when it changed


def turn(name: str, options: PollOptions, path: str) -> Poll:
    """What the feed has now. It has no cursor: a feed is the last articles, and the stored ones are duplicates."""
    answer = yield from answer_to(Request(options.base_url + path, headers=options.headers))
    yield list(entries(Source(name, PUBLISHER, options.score), answer))
    return ""


def entries(source: Source, answer: Response) -> Iterator[News | Malformed]:
    """The articles. Raises Reject (xml, shape) where the answer is no feed."""
    feed = parse_xml(answer.body)
    if _local(feed) not in ("rss", "RDF", "feed") or (_local(feed) == "rss" and not list(_named(feed, "channel"))):
        raise Reject(f"<{_local(feed)}> is no feed; right would be <rss> with its <channel>, <RDF> or <feed>", reason="shape")
    for entry in feed.iter():
        if _local(entry) in _ENTRIES:
            yield article(source, _told(entry), as_evidence(entry), answer.received_at)


def _told(entry: Element) -> Told:
    """Names count without their namespace, under which feeds have Dublin Core and Atom; Media RSS has a title of the picture."""
    return Told(
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
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""  # a comment's tag is a function


def _named(entry: Element, name: str) -> Iterator[Element]:
    """Its children of that name, or of `child/grandchild`."""
    name, _, below = name.partition("/")
    for one in entry:
        if _local(one) == name and not (isinstance(one.tag, str) and one.tag.startswith(_MEDIA)):
            yield from _named(one, below) if below else (one,)


def _first(entry: Element, *names: str) -> str:
    """The text of the first of these that has one, with what stands within it: Atom may hold XHTML."""
    texts = (" ".join(one.itertext()).strip() for name in names for one in _named(entry, name))
    return next(filter(None, texts), "")


def _link(entry: Element) -> str:
    """RSS has it as text, Atom as an attribute; of Atom's links, the one to the article itself."""
    links = list(_named(entry, "link"))
    texts = ((one.text or "").strip() for one in links)
    addresses = (one.get("href") or "" for one in links if one.get("rel", "alternate") == "alternate")
    return next(filter(None, (*texts, *addresses)), "")


def _image(entry: Element) -> str:
    """The first picture of Media RSS, else an enclosure that is one."""
    media = (one for one in entry.iter() if one.tag in (f"{_MEDIA}content", f"{_MEDIA}thumbnail"))
    for one in (*media, *_named(entry, "enclosure")):
        if one.get("url") and (one.get("type") or one.get("medium") or "image").startswith("image"):
            return one.get("url") or ""
    return ""
