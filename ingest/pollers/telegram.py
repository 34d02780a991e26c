"""Telegram: the latest messages of public channels, from the channel preview. https://core.telegram.org/widgets/post

Without a login there is no API, so the page https://t.me/s/NAME is read, which has about 20 messages. A message is about the coins
that it names. Views do not count as engagement. In the page, a text may be in two nested elements of the same class, and has
elements of its own, such as quotations; the text to which a message replies is in a third element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice, pairwise
from urllib.parse import quote
from xml.etree.ElementTree import Element, tostring

from ingest.errors import Reject
from ingest.polling.checked import native_id
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import each
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_parts
from ingest.polling.social_posts import Post, PostFilter, read_post_time
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import SentimentPost
from ingest.text.html_tree import classes_of, parse_html
from ingest.text.plain_text import plain_text

NAME = "telegram"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://t.me",
        per_minute=10,
        interval=300,
        requests=1,
        per="channel",
        terms="https://telegram.org/tos/content-licensing: no collection of content by programs",
        default_on=False,
    )
}
ASSETS: dict[str, str] = {}
CHANNELS = ("cointelegraph",)
MAX_MESSAGES = 1000  # of a page
PAGE_BYTES = 1 << 20  # of a page that are read; pages of twenty messages have about 0.15 MB

_START = re.compile(r"<div\b(?=[^<>]{0,1000}\bdata-post\b)[^<>]{0,1000}>")  # of a message
_COUNT = r"[0-9]{1,12}(?:\.[0-9]{1,3})?[KM]?"
_REACTIONS = re.compile(rf"({_COUNT})\s*\Z")
_FOLLOWERS = re.compile(rf'<span class="counter_value">({_COUNT})</span> <span class="counter_type">subscribers?</span>')
_UNITS = {"K": 1000, "M": 1_000_000}


def poll(options: PollOptions, cursor: str) -> Poll:
    """The messages in the preview of each channel."""
    posts = PostFilter(NAME, options, cursor)
    yield from run_parts((channel, _fetch(options.base_url, channel, posts)) for channel in options.channels)
    return posts.cursor()


def _fetch(base_url: str, channel: str, post_filter: PostFilter) -> Part[list[SentimentPost | Malformed | Filtered]]:
    answer = yield from answer_to(Request(f"{base_url}/s/{quote(channel, safe='')}"))
    return (yield from post_filter.records(channel, _posts(channel, answer), answer.received_at))


def _posts(channel: str, answer: Response) -> Iterator[Post | Malformed]:
    """The messages that have a text. Raises Reject: `shape` if the page is not a preview, `size` if it is too large."""
    page = answer.body[:PAGE_BYTES].decode("utf-8", "replace")
    if "tgme_channel_info" not in page:
        right = f"right would be the name of a public channel (pollers.{NAME}.channels)"
        raise Reject(f"the page of '{channel}' is not the preview of a channel; {right}", reason="shape")
    found = _FOLLOWERS.search(page)
    followers = _count(found[1]) if found else None
    starts = [match.start() for match in islice(_START.finditer(page), MAX_MESSAGES + 1)]
    messages = [page[start:end] for start, end in pairwise([*starts, len(page)])][:MAX_MESSAGES]
    return each(messages, lambda message: _post(channel, message, followers), str.encode)


def _post(channel: str, source: str, followers: int | None) -> Iterator[Post]:
    """The post in the part of a page that begins with the element of a message; nothing for another element, or without a text."""
    message = next(iter(parse_html(source)), None)
    if message is None or "tgme_widget_message" not in classes_of(message):
        return
    text, inner = None, next(_texts(message), None)
    while inner is not None:
        text, inner = inner, next(_texts(inner), None)
    if text is None:
        return
    times = (time.get("datetime") for link in _with_classes(message, "tgme_widget_message_date") for time in link.iter("time"))
    reactions = ("".join(reaction.itertext()) for reaction in _with_classes(message, "tgme_reaction"))
    counts = [_count(count[1]) for reaction in reactions if (count := _REACTIONS.search(reaction))]
    yield Post(
        id=native_id(message.get("data-post", "")),
        time=read_post_time(next(filter(None, times), "")),
        text=plain_text(tostring(text, "unicode", method="html")),
        author=channel,
        is_repost=any("tgme_widget_message_forwarded_from" in classes_of(element) for element in message.iter()),
        engagement=sum(counts) if counts else None,
        followers=followers,
    )


def _texts(element: Element) -> Iterator[Element]:
    """The texts of messages within an element, which may be nested: the innermost has the text alone."""
    return (found for found in _with_classes(element, "tgme_widget_message_text", "js-message_text") if found is not element)


def _with_classes(message: Element, *classes: str) -> Iterator[Element]:
    return (element for element in message.iter() if set(classes) <= set(classes_of(element)))


def _count(text: str) -> int:
    """The number of a rounded count: `1.58M` is 1,580,000."""
    return int(Decimal(text.rstrip("KM")) * _UNITS.get(text[-1], 1))
