"""The cursor of a poller on a blockchain, and the detection of chain reorganisations.

A chain replaces a block without a notice. The replacement shows in the next block, which names another parent. Then the rows of the
reported block are removed and its height is read again, until parent and block agree.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.json import Decoder, encode

from ingest.errors import Reject
from ingest.polling.db_queries import ReorgedBlock
from ingest.protocol.decode import UNREADABLE

REMEMBERED_BLOCKS = 64  # no reorganisation of these chains was ever so deep


class Block(Struct, frozen=True):
    """The header of one block; `parent` is the parent's hash, `time` is in microseconds."""

    height: int
    hash: str
    parent: str
    time: int


class BlockRef(Struct, frozen=True, array_like=True):
    """A reported block, as the cursor keeps it."""

    height: int
    hash: str
    time: int


class ChainCursor(Struct, frozen=True, omit_defaults=True):
    """The height to read next (-1: that of the newest block), and the blocks that were reported last."""

    next_height: int = -1
    reported: tuple[BlockRef, ...] = ()  # blocks that are reported completely, oldest first
    partial: BlockRef | None = None  # the block that is reported in part ...
    transactions_done: int = 0  # ... and how many of its transactions are

    @property
    def encoded(self) -> str:
        return encode(self).decode()

    def at(self, tip: int) -> ChainCursor:
        """This cursor; at the beginning, the cursor of the newest block."""
        return ChainCursor(next_height=tip) if self.next_height < 0 else self

    def after(self, block: Block) -> ChainCursor:
        """The cursor after the block is reported completely."""
        return ChainCursor(block.height + 1, (*self.reported, BlockRef(block.height, block.hash, block.time))[-REMEMBERED_BLOCKS:])

    def within(self, block: Block, transactions_done: int) -> ChainCursor:
        """The cursor after `transactions_done` transactions of the block are reported."""
        return ChainCursor(self.next_height, self.reported, BlockRef(block.height, block.hash, block.time), transactions_done)


_Decoder = Decoder(ChainCursor)


def decode_cursor(encoded: str) -> ChainCursor:
    """The cursor of the last turn. Raises Reject for any other text: to start from the newest block would leave a gap."""
    try:
        return _Decoder.decode(encoded) if encoded else ChainCursor()
    except UNREADABLE as error:
        raise Reject(f"poll_cursors has {encoded!r}, which is no cursor: {error}; right would be ''", reason="value") from error


def next_reorged(cursor: ChainCursor, block: Block, blockchain: str) -> tuple[ChainCursor, ReorgedBlock] | None:
    """The reported block that `block`, the next one, contradicts, and the cursor without it; None if `block` follows the cursor."""
    if cursor.partial is not None and cursor.partial.hash != block.hash:
        gone, rest = cursor.partial, ChainCursor(cursor.next_height, cursor.reported)
    elif cursor.reported and cursor.reported[-1].hash != block.parent:
        gone, rest = cursor.reported[-1], ChainCursor(cursor.reported[-1].height, cursor.reported[:-1])
    else:
        return None
    return rest, ReorgedBlock(blockchain, gone.hash, gone.time)
