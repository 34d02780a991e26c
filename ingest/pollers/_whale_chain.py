"""Where a turn is on a chain, and how it notices that a block which it told is no more.

The rule one would get wrong: a block is replaced by others of its height without a word. It is known from the one after it, which
names another parent; then the one that was told is given up and its height asked for again, until both agree.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder, encode

from ingest.errors import Reject
from ingest.polling.db_queries import ReorgedBlock
from ingest.protocol.decode import UNREADABLE

KEPT = 64  # blocks remembered; no reorganisation of these chains was ever so deep


class Block(Struct, frozen=True):
    """What a chain says of one block; `time` in microseconds."""

    height: int
    hash: str
    parent: str
    time: int


class Told(Struct, frozen=True, array_like=True):
    """What is remembered of a block."""

    height: int
    hash: str
    time: int


class Place(Struct, frozen=True, omit_defaults=True):
    """The cursor: the height to tell next, -1 for the newest one there is, and what was told last."""

    next: int = -1
    told: tuple[Told, ...] = ()  # blocks of which all was told, oldest first
    part: Told | None = None  # the block that is being told ...
    done: int = 0  # ... and how many of its transactions were

    @property
    def cursor(self) -> str:
        return encode(self).decode()

    def at(self, tip: int) -> Place:
        """The same; at the beginning, the newest block."""
        return Place(next=tip) if self.next < 0 else self

    def after(self, block: Block) -> Place:
        """All of the block was told."""
        return Place(block.height + 1, (*self.told, Told(block.height, block.hash, block.time))[-KEPT:])

    def within(self, block: Block, done: int) -> Place:
        """So many of the block's transactions were told."""
        return Place(self.next, self.told, Told(block.height, block.hash, block.time), done)


_Decoder = Decoder(Place)


def place_of(cursor: str) -> Place:
    """Where the last turn ended. Raises Reject for what no turn ended with: to begin anew would leave a hole."""
    try:
        return _Decoder.decode(cursor) if cursor else Place()
    except UNREADABLE as error:
        raise Reject(f"poll_cursors has {cursor!r}, which is no place: {error}; right would be ''", reason="value") from error


def given_up(place: Place, block: Block, blockchain: str) -> tuple[Place, ReorgedBlock] | None:
    """What is to go before `block`, the next one, can be told, and the place without it; None where it follows what was told."""
    if place.part is not None and place.part.hash != block.hash:
        gone, rest = place.part, Place(place.next, place.told)
    elif place.told and place.told[-1].hash != block.parent:
        gone, rest = place.told[-1], Place(place.told[-1].height, place.told[:-1])
    else:
        return None
    return rest, ReorgedBlock(blockchain, gone.hash, gone.time)
