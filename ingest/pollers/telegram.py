"""Telegram: the latest messages of public channels, as the preview of each has them. https://core.telegram.org/widgets/post

There is no API without a login for it: the page https://t.me/s/NAME is read, about 20 messages. Messages are about the coins that
they name. The rule one would get wrong: views are no engagement; and a text may stand in two boxes of one name, one in the other,
while what it replies to stands in a third.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote

from ingest.errors import Reject
from ingest.polling.provider import Plan, Poll, PollOptions, run_parts
from ingest.polling.social_posts import Post, PostFilter, to_micros
from ingest.protocol.http import Request, Response, answer_to
from ingest.text.plain_text import plain_text

NAME = "telegram"
TABLES = ("sentiment_posts",)
PLANS = {
    "keyless": Plan(
        base_url="https://t.me",
        per_minute=10,
        interval=300,
        requests=1,
        each="channel",
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
    """The messages that each channel's preview shows."""
    sieve = PostFilter(NAME, options, cursor)
    yield from run_parts((channel, _read(options.base_url, channel, sieve)) for channel in options.channels)
    return sieve.cursor()


def _read(base_url: str, channel: str, sieve: PostFilter) -> Poll:
    answer = yield from answer_to(Request(f"{base_url}/s/{quote(channel, safe='')}"))
    yield sieve.records(channel, _posts(channel, answer), answer.received_at)
    return ""


def _posts(channel: str, answer: Response) -> Iterator[Post]:
    """The messages with a text. Raises Reject (shape) where the page is no channel's, or a message has no time."""
    page = answer.body.decode("utf-8", "replace")
    if "tgme_channel_info" not in page:
        raise Reject(f"the page of '{channel}' is no preview of a channel: is it public, and called so?", reason="shape")
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
        time=_time(time[1]),
        text=plain_text(text),
        author=channel,
        is_repost=_FORWARDED in message,
        engagement=sum(reactions) if reactions else None,
        followers=followers,
    )


def _count(text: str) -> int:
    """`1.58M` is 1,580,000, about."""
    return int(Decimal(text.rstrip("KM")) * _UNITS.get(text[-1], 1))


def _time(text: str) -> int:
    try:
        return to_micros(datetime.fromisoformat(text))
    except (ValueError, TypeError) as error:  # no time at all, or one without its zone
        raise Reject(f"{text!r} is no time; right would be '2026-04-09T07:01:44+00:00'", reason="shape") from error
