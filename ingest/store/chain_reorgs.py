"""Removes the transfers of a block that a chain reorganisation dropped; they are stored again with the block that has them now.

The time with which a transfer was first stored (`native_ids`) is removed as well, because it is the time of the dropped block.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.polling.db_queries import ReorgedBlock
from ingest.records import SECOND
from ingest.store.pool import Connection

TIME_MARGIN = timedelta(days=2)  # another source may have stored the transfer first, with its own time

_REMOVE = """
    WITH gone AS (
        DELETE FROM whale_transactions
        WHERE blockchain = $1 AND block_hash = $2 AND time BETWEEN $3::timestamptz - $4::interval AND $3::timestamptz + $4::interval
        RETURNING ARRAY[blockchain, hash, token, index::text] AS native_id
    ), forgotten AS (
        DELETE FROM native_ids n USING gone g WHERE n.table_name = 'whale_transactions' AND n.native_id = g.native_id
    )
    SELECT count(*) FROM gone"""


async def remove_block(connection: Connection, block: ReorgedBlock) -> int:
    """Delete the transfers of the block. Returns the number of rows; a second call returns 0."""
    moment = datetime.fromtimestamp(block.time // SECOND, UTC)
    removed: int = await connection.fetchval(_REMOVE, block.blockchain, block.block_hash, moment, TIME_MARGIN)
    return removed
