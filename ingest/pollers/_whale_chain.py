"""The cursor of a poller of a blockchain, and the detection of chain reorganisations.

A chain replaces a block without notice. The next block reveals that: its parent is another block than the reported one. Then the
rows of the reported block are removed and its height is read again, until parent and block agree.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder, encode

from ingest.errors import Reject
from ingest.polling import checked
from ingest.polling.db_queries import ReorgedBlock
from ingest.protocol.decode import UNREADABLE

REMEMBERED_BLOCKS = 64  # deeper than any reorganisation of these chains so far


class Block(Struct, frozen=True):
    """The header of one block; `parent` is the parent's hash, `time` is in microseconds."""

    height: int
    hash: str
    parent: str
    time: int


class BlockRef(Struct, frozen=True, array_like=True):
    """A reported block in a cursor; `time` is in microseconds."""

    height: int
    hash: str
    time: int


class ChainCursor(Struct, frozen=True, omit_defaults=True):
    """The height to read next (-1: that of the newest block), and the blocks that were reported last."""

    next_height: int = -1
    reported: tuple[BlockRef, ...] = ()  # blocks that are reported completely, oldest first
    partial: BlockRef | None = None  # a block that is reported in part
    transactions_done: int = 0  # the number of its transactions that are reported

    @property
    def encoded(self) -> str:
        """The cursor as text, for `decode_cursor`."""
        return encode(self).decode()

    def at(self, tip: int) -> ChainCursor:
        """This cursor or, if there is none yet, that of the newest block, whose height is `tip`."""
        return ChainCursor(next_height=tip) if self.next_height < 0 else self

    def after(self, block: Block) -> ChainCursor:
        """The cursor after the block is reported completely."""
        return ChainCursor(block.height + 1, (*self.reported, BlockRef(block.height, block.hash, block.time))[-REMEMBERED_BLOCKS:])

    def within(self, block: Block, transactions_done: int) -> ChainCursor:
        """The cursor after `transactions_done` transactions of the block are reported."""
        return ChainCursor(self.next_height, self.reported, BlockRef(block.height, block.hash, block.time), transactions_done)


_Decoder = Decoder(ChainCursor)


def header_of(height: int, hash_: str, parent: str, time: int) -> Block:
    """The header of a block (`time` in microseconds). Raises Reject (value) for a height, a hash or a time that no block has."""
    return Block(checked.count(height), hash_ and checked.native_id(hash_), parent, checked.micros(time))


def decode_cursor(encoded: str) -> ChainCursor:
    """The cursor in the text of the last turn. Raises Reject for other text: a new start at the newest block would leave a gap."""
    try:
        return _Decoder.decode(encoded) if encoded else ChainCursor()
    except UNREADABLE as error:
        raise Reject(f"poll_cursors has {encoded!r}, which is not a cursor: {error}; right would be ''", reason="value") from error


def must_be(block: Block, height: int) -> None:
    """Raises Reject (value) unless the block is that of the height that was requested."""
    if block.height != height:
        raise Reject(f"the answer is block {block.height}; right would be {height}", reason="value")


def next_reorged(cursor: ChainCursor, block: Block, blockchain: str) -> tuple[ChainCursor, ReorgedBlock] | None:
    """The cursor without the reported block that the next block contradicts, and that block; None if `block` follows it."""
    if cursor.partial is not None and cursor.partial.hash != block.hash:
        replaced, rest = cursor.partial, ChainCursor(cursor.next_height, cursor.reported)
    elif cursor.reported and cursor.reported[-1].hash != block.parent:
        replaced, rest = cursor.reported[-1], ChainCursor(cursor.reported[-1].height, cursor.reported[:-1])
    else:
        return None
    return rest, ReorgedBlock(blockchain, replaced.hash, replaced.time)
