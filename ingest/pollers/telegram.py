"""Telegram: the latest messages of public channels, from the channel preview. https://core.telegram.org/widgets/post

Without a login there is no API, so the page https://t.me/s/NAME is read, which has about 20 messages. A message is about the coins
that it names. Views do not count as engagement. In the page, a text may be in two nested elements of the same class; the text to
which a message replies is in a third element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import quote

from ingest.errors import Reject
from ingest.polling.db_queries import Filtered
from ingest.polling.provider import Part, Plan, Poll, PollOptions, run_parts
from ingest.polling.social_posts import Post, PostFilter, read_post_time
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response, answer_to
from ingest.records import SentimentPost
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

_MESSAGE = re.compile(r'<div class="tgme_widget_message [^>]*\bdata-post="([^"]+)"')
_TEXT = re.compile(r'<div class="tgme_widget_message_text js-message_text[^>]*>(.*?)</div>', re.DOTALL)
_TIME = re.compile(r'<a class="tgme_widget_message_date"[^>]*>\s*<time datetime="([^"]+)"')
_FORWARDED = "tgme_widget_message_forwarded_from"
_REACTION = re.compile(r'<span class="tgme_reaction[^"]*">.*?([0-9.]+[KM]?)</span>', re.DOTALL)
_FOLLOWERS = re.compile(r'<span class="counter_value">([0-9.]+[KM]?)</span> <span class="counter_type">subscribers?</span>')
_UNITS = {"K": 1000, "M": 1_000_000}


def poll(options: PollOptions, cursor: str) -> Poll:
    """The messages in the preview of each channel."""
    posts = PostFilter(NAME, options, cursor)
    yield from run_parts((channel, _fetch(options.base_url, channel, posts)) for channel in options.channels)
    return posts.cursor()


def _fetch(base_url: str, channel: str, post_filter: PostFilter) -> Part[list[SentimentPost | Malformed | Filtered]]:
    answer = yield from answer_to(Request(f"{base_url}/s/{quote(channel, safe='')}"))
    return post_filter.records(channel, _posts(channel, answer), answer.received_at)


def _posts(channel: str, answer: Response) -> Iterator[Post]:
    """The messages that have a text. Raises Reject (shape) if the page is not a preview, or a message has no time."""
    page = answer.body.decode("utf-8", "replace")
    if "tgme_channel_info" not in page:
        right = f"right would be the name of a public channel (pollers.{NAME}.channels)"
        raise Reject(f"the page of '{channel}' is not the preview of a channel; {right}", reason="shape")
    found = _FOLLOWERS.search(page)
    followers = _count(found[1]) if found else None
    starts = [match.start() for match in _MESSAGE.finditer(page)]
    for start, end in zip(starts, [*starts[1:], len(page)], strict=True):
        message = page[start:end]
        if text := _TEXT.search(message):
            yield _post(channel, message, text[1], followers)


def _post(channel: str, message: str, text: str, followers: int | None) -> Post:
    name, time = _MESSAGE.search(message), _TIME.search(message)
    if name is None or time is None:
        raise Reject(f"a message of '{channel}' has no time", reason="shape")
    reactions = [_count(count) for count in _REACTION.findall(message)]
    return Post(
        id=name[1],
        time=read_post_time(time[1]),
        text=plain_text(text),
        author=channel,
        is_repost=_FORWARDED in message,
        engagement=sum(reactions) if reactions else None,
        followers=followers,
    )


def _count(text: str) -> int:
    """The number of a rounded count: `1.58M` is 1,580,000."""
    return int(Decimal(text.rstrip("KM")) * _UNITS.get(text[-1], 1))
