"""Blocks that a chain has no more: their transfers leave the table, and come back with the block that has them now.

The rule one would get wrong: the time with which a transfer was first stored goes as well (`native_ids`), because it was that of
a block that does not exist.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ingest.polling.db_queries import ReorgedBlock
from ingest.records import SECOND
from ingest.store.pool import Connection

AROUND = timedelta(days=2)  # another source may have stored the transfer first, with its own time

_REMOVE = """
    WITH gone AS (
        DELETE FROM whale_transactions
        WHERE blockchain = $1 AND block_hash = $2 AND time BETWEEN $3::timestamptz - $4::interval AND $3::timestamptz + $4::interval
        RETURNING ARRAY[blockchain, hash, token, index::text] AS native_id
    ), forgotten AS (
        DELETE FROM native_ids n USING gone g WHERE n.table_name = 'whale_transactions' AND n.native_id = g.native_id
    )
    SELECT count(*) FROM gone"""


async def remove_block(connection: Connection, orphan: ReorgedBlock) -> int:
    """Delete what was stored from the block; how many rows. A second time it is none."""
    moment = datetime.fromtimestamp(orphan.time // SECOND, UTC)
    removed: int = await connection.fetchval(_REMOVE, orphan.blockchain, orphan.block_hash, moment, AROUND)
    return removed
