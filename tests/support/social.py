"""Responses of social platforms for tests: recorded ones, and the documented example where none is recorded.

- Mastodon: the recorded tag timeline of ../shared/real/mastodon, and the example of https://docs.joinmastodon.org/entities/Status/.
- Reddit: a part of https://www.reddit.com/r/rss/.rss as it was published in 2024, with other times; and the recorded listing
  of ../shared/real/reddit in the layout of that feed.
- StockTwits: the example of https://github.com/stocktwits/slate/blob/master/source/index.html.md#symbol-streams.
- Telegram: a part of https://t.me/s/telegram as it was served in August 2026, with one message instead of twenty.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ingest.polling.provider import PollOptions
from ingest.protocol.http import Request, Response
from ingest.records import SECOND, Asset
from ingest.sources.sentiment_vader import score

EXAMPLE: dict[str, Any] = {  # of Mastodon's documentation
    "id": "103270115826048975",
    "created_at": "2019-12-08T03:48:33.901Z",
    "in_reply_to_id": None,
    "visibility": "public",
    "language": "en",
    "url": "https://mastodon.social/@Gargron/103270115826048975",
    "replies_count": 5,
    "reblogs_count": 6,
    "favourites_count": 11,
    "content": '<p>&quot;I lost my inheritance with one wrong digit on my sort code&quot;</p><p><a href="https://www.theguardian.com/'
    'money/2019/dec/07/i-lost-my-193000-inheritance-with-one-wrong-digit-on-my-sort-code" rel="nofollow noopener noreferrer" '
    'target="_blank"><span class="invisible">https://www.</span><span class="ellipsis">theguardian.com/money/2019/dec</span>'
    '<span class="invisible">/07/i-lost-my-193000-inheritance-with-one-wrong-digit-on-my-sort-code</span></a></p>',
    "reblog": None,
    "account": {"id": "1", "username": "Gargron", "acct": "Gargron", "bot": False, "followers_count": 322930},
    "tags": [],
}
EXAMPLE_TEXT = (
    '"I lost my inheritance with one wrong digit on my sort code" '
    "https://www.theguardian.com/money/2019/dec/07/i-lost-my-193000-inheritance-with-one-wrong-digit-on-my-sort-code"
)

_FEED = """<?xml version="1.0" encoding="UTF-8"?><feed xmlns="http://www.w3.org/2005/Atom" xmlns:media="http://search.yahoo.com/mrss/">
<category term="rss" label="r/rss"/><updated>2024-09-25T10:00:00+00:00</updated><icon>https://www.redditstatic.com/icon.png/</icon>
<id>/r/rss/.rss</id><link rel="self" href="https://www.reddit.com/r/rss/.rss" type="application/atom+xml"/>
<title>RSS - Really Simple Syndication</title>{entries}</feed>"""
_ENTRY = (
    '<entry><author><name>/u/{author}</name><uri>https://www.reddit.com/user/{author}</uri></author><category term="{subreddit}" '
    'label="r/{subreddit}"/><content type="html">{content}</content><id>{id}</id><link href="https://www.reddit.com/r/{subreddit}/'
    'comments/{id}/"/><updated>{time}</updated><published>{time}</published><title>{title}</title></entry>'
)
_BODY = '<!-- SC_OFF --><div class="md"><p>{text}</p> </div><!-- SC_ON -->'
_FOOTER = (
    '&#32; submitted by &#32; <a href="https://www.reddit.com/user/{author}"> /u/{author} </a> <br/> <span><a href="https://www.reddit.'
    'com/r/{subreddit}/comments/{id}/">[link]</a></span> &#32; <span><a href="https://www.reddit.com/r/{subreddit}/comments/{id}/">'
    "[comments]</a></span>"
)


def entry(id: str, author: str, subreddit: str, *, time: str, title: str, html: str = "") -> str:
    """An entry of the feed: with a text, or only a link."""
    fields = {"id": id, "author": author, "subreddit": subreddit}
    content = (_BODY.format(text=html) if html else "") + _FOOTER.format(**fields)
    return _ENTRY.format(**fields, time=time, title=escape(title), content=escape(content))


def feed(*entries: str) -> bytes:
    return _FEED.format(entries="".join(entries)).encode()


RSS = feed(
    entry(
        "t3_1fmapo9",
        "International_Swan_1",
        "rss",
        time="2024-09-21T20:00:01+00:00",
        title="I'm thinking of publishing a free/ltd feed reader chrome extn, but not sure",
        html="Hey all,</p> <p>New here &amp; this is a genuine query.",
    ),
    entry(
        "t3_1fkm9r6",
        "Consumermicrosystems",
        "rss",
        time="2024-09-19T15:40:12+00:00",
        title="Does anyone know how to use Feedly as a proxy similar to the way Feedburner generates proxy feeds?",
    ),
)

STOCKTWITS: dict[str, Any] = {
    "symbol": {"id": 686, "symbol": "AAPL", "title": "Apple Inc."},
    "cursor": {"more": True, "since": 60975379, "max": 54647845},
    "messages": [
        {
            "id": 60975379,
            "body": "$AAPL going up from here",
            "created_at": "2016-08-19T15:15:48Z",
            "user": {"id": 369117, "username": "ericalford", "name": "Eric Alford", "join_date": "2014-06-27", "official": True},
            "symbols": [{"id": 686, "symbol": "AAPL", "title": "Apple Inc."}],
            "conversation": {"parent_message_id": 60974422, "in_reply_to_message_id": 60975320, "parent": False, "replies": 5},
            "reshares": {"reshared_count": 0, "user_ids": []},
            "mentioned_users": [],
            "entities": {"sentiment": None},
        },
        {
            "id": 60822179,
            "body": "Is this $AAPL rally just getting started?",
            "created_at": "2016-08-17T19:30:34Z",
            "user": {"id": 134, "username": "howardlindzon", "name": "Howard Lindzon", "join_date": "2010-06-27", "official": True},
            "symbols": [{"id": 686, "symbol": "AAPL", "title": "Apple Inc."}],
            "conversation": {"parent_message_id": 60785036, "in_reply_to_message_id": 60785932, "parent": False, "replies": 2},
            "reshares": {"reshared_count": 0, "user_ids": []},
            "mentioned_users": [],
            "entities": {"sentiment": None},
        },
    ],
}

TELEGRAM = """<!DOCTYPE html><html><head><meta charset="utf-8"><title>Telegram News – Telegram</title></head><body>
<div class="tgme_channel_info"><div class="tgme_channel_info_header_username"><a href="https://t.me/telegram">@telegram</a></div>
<div class="tgme_channel_info_counters"><div class="tgme_channel_info_counter"><span class="counter_value">9.78M</span> <span
 class="counter_type">subscribers</span></div><div class="tgme_channel_info_counter"><span class="counter_value">14</span> <span
 class="counter_type">photos</span></div></div></div>
<section class="tgme_channel_history js-message_history"><div class="tgme_widget_message_wrap js-widget_message_wrap"><div
 class="tgme_widget_message text_not_supported_wrap js-widget_message" data-post="telegram/435" data-view="eyJjIjotMTAwNTY0MDg5Mn0">
  <div class="tgme_widget_message_bubble">
<div class="tgme_widget_message_text js-message_text" dir="auto"><b>AI Text Editor.</b> The message bar now has a built-in editor
 that can instantly <b>fix grammar</b>, translate your text or rewrite it in <b>several styles</b>:<br/><i class="emoji"
 style="background-image:url('//telegram.org/img/emoji/40/F09FA49D.png')"><b>🤝</b></i> Formal<br/><br/>Telegram AI features are
 <b>100% private</b> and optional –&nbsp;powered by the <a href="https://cocoon.org/" target="_blank" rel="noopener" onclick="return
 confirm('Open this link?\\n\\n'+this.href);">Cocoon AI Network</a>.</div>
<div class="tgme_widget_message_footer compact js-message_footer">
  <div class="tgme_widget_message_info short js-message_info">
    <span class="tgme_widget_message_views">1.58M</span><span class="copyonly"> views</span><span
 class="tgme_widget_message_meta"><a class="tgme_widget_message_date" href="https://t.me/telegram/435"><time
 datetime="2026-04-09T07:01:44+00:00" class="time">07:01</time></a></span>
  </div></div></div></div></div></section></body></html>""".replace("\n ", " ")
TELEGRAM_TEXT = (
    "AI Text Editor. The message bar now has a built-in editor that can instantly fix grammar, translate your text or rewrite it "
    "in several styles: 🤝 Formal Telegram AI features are 100% private and optional – powered by the Cocoon AI Network."
)


def timeline(real: Path) -> list[dict[str, Any]]:
    """Mastodon's recorded tag timeline: one post, whose language its author gives as Japanese."""
    text = (real / "mastodon/test_hashtag_tl.yaml").read_text()
    body = re.search(r"uri: \S+/timelines/tag/hoot\n.*?string: '(.*?[^'])'\n", text, re.DOTALL)
    assert body is not None
    found: list[dict[str, Any]] = json.loads(re.sub(r"\n\s+", " ", body[1]).replace("''", "'"))
    return found


def listing(real: Path) -> list[dict[str, Any]]:
    """The posts of Reddit's recorded listing."""
    recorded = json.loads((real / "reddit/TestSubredditListings.test_new.json").read_text())
    bodies = [interaction["response"]["body"].get("string", "") for interaction in recorded["interactions"]]
    answer = next(json.loads(body) for body in bodies if '"Listing"' in body)
    return [child["data"] for child in answer["data"]["children"]]


def listed(posts: list[dict[str, Any]]) -> bytes:
    """Posts of a listing in the layout of the feed."""
    return feed(
        *(
            entry(
                post["name"],
                post["author"],
                post["subreddit"],
                time=datetime.fromtimestamp(post["created_utc"], UTC).isoformat(),
                title=post["title"],
                html=escape(post["selftext"]),
            )
            for post in posts
        )
    )


NOW = 1_795_176_000 * SECOND


OPTIONS = PollOptions(base_url="http://x", assets=(Asset("BTC", "bitcoin"),), score=score)


def turn(flow: Any, *bodies: object) -> tuple[list[Request], list[Any], str]:
    """(requests, records, next cursor) of one turn. `bodies` are the responses to its requests: bytes, or objects sent as JSON."""
    answers, requests, records = iter(bodies), [], []
    step = next(flow)
    while True:
        try:
            if isinstance(step, Request):
                requests.append(step)
                body = next(answers)
                step = flow.send(Response(200, body if isinstance(body, bytes) else json.dumps(body).encode(), received_at=NOW))
            else:
                records += step
                step = next(flow)
        except StopIteration as done:
            return requests, records, done.value


def paths(requests: list[Request]) -> list[str]:
    return [request.url.removeprefix("http://x") for request in requests]
