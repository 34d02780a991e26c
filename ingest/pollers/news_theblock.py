"""The Block's RSS feed. https://www.theblock.co/rss.xml

The feed has only the last articles. Those that leave it while the poller is stopped are lost. Since 2026-03-20 a large reader
(https://github.com/koala73/worldmonitor) avoids the feed: expect 403 for addresses of data centres.
"""

from __future__ import annotations

from ingest.pollers import _news_feed
from ingest.polling.provider import Plan, Poll, PollOptions

NAME = "news_theblock"
TABLES = _news_feed.TABLES
PLANS = {
    "keyless": Plan(
        base_url="https://www.theblock.co",
        per_minute=6,
        interval=300,
        requests=1,
        terms="https://www.theblock.co: title, summary and link of a public feed; the text is the publisher's",
    )
}
ASSETS: dict[str, str] = {}


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The articles that are in the feed now."""
    return _news_feed.poll_feed("theblock", options, "/rss.xml")
