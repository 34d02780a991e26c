"""Bitcoin Magazine's RSS feed. https://bitcoinmagazine.com/feed

The feed has only the last articles. Those that leave it while the poller is stopped are lost.
"""

from __future__ import annotations

from ingest.pollers import _news_feed
from ingest.polling.provider import Plan, Poll, PollOptions

NAME = "news_bitcoinmagazine"
TABLES = _news_feed.TABLES
PLANS = {
    "keyless": Plan(
        base_url="https://bitcoinmagazine.com",
        per_minute=6,
        interval=300,
        requests=1,
        terms="https://bitcoinmagazine.com: title, summary and link of a public feed; the text is the publisher's",
    )
}
ASSETS: dict[str, str] = {}


def poll(options: PollOptions, _cursor: str) -> Poll:
    """The articles that are in the feed now."""
    return _news_feed.poll_feed("bitcoinmagazine", options, "/feed")
