"""A provider that tells by itself, over a websocket: what its module has beside what any `Provider` has.

The rule one would get wrong: what was said while nobody listened is not said again. Such a provider is for what may have holes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ingest.polling.provider import PollOptions
from ingest.protocol.exchange import ExchangeLimits
from ingest.protocol.session import Connection, Session


@runtime_checkable
class Streaming(Protocol):
    """With one of the plans `STREAMED` it is listened to, with the others it is asked in turns."""

    STREAMED: tuple[str, ...]
    LIMITS: ExchangeLimits

    def connection(self, options: PollOptions, /) -> Connection:
        """The websocket to open, the key in its URL; it has no subscriptions in the sense of an exchange."""

    def session(self, options: PollOptions, /) -> Session:
        """The state for one connection that is about to open."""
