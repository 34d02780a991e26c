"""What a coin cost in USD at a moment, by what we have stored ourselves.

The newest bar of a minute that was closed by then, of a spot market quoted in USD or in a coin that is held at one USD; where there
is none, what `prices` has of the coin. The rule one would get wrong: a stale price is worse than none, so that what is older than
`FRESH` is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ingest.polling.db_queries import Prices
from ingest.records import SECOND
from ingest.store.pool import Connection

FRESH = timedelta(hours=6)
QUOTES = ("USD", "USDC", "USDT")  # of bars of one minute the one of the first is taken

_PRICES = """
    SELECT DISTINCT ON (s.symbol) s.symbol, p.price::text AS price
    FROM unnest($1::text[]) AS s (symbol)
    CROSS JOIN LATERAL (
        SELECT 0 AS rank, c.time, array_position($4::text[], i.quote) AS preference, i.id, c.close AS price
        FROM instruments i
        CROSS JOIN LATERAL (
            SELECT time, close FROM candles
            WHERE instrument_id = i.id AND interval = '1m'
                AND time > $2::timestamptz - $3::interval AND time <= $2::timestamptz - interval '1 minute'
            ORDER BY time DESC LIMIT 1
        ) c
        WHERE i.base = s.symbol AND i.kind = 'spot' AND i.quote = ANY($4)
        UNION ALL
        SELECT 1, p.time, 0, a.id, p.price_usd
        FROM assets a
        CROSS JOIN LATERAL (
            SELECT time, price_usd FROM prices
            WHERE asset_id = a.id AND time > $2::timestamptz - $3::interval AND time <= $2::timestamptz ORDER BY time DESC LIMIT 1
        ) p
        WHERE a.symbol = s.symbol
    ) p
    ORDER BY s.symbol, p.rank, p.time DESC, p.preference, p.id"""


async def usd_prices(connection: Connection, symbols: Sequence[str], time: int) -> Prices:
    """Digits by symbol, as of `time` (microseconds); what had no price within `FRESH` before is not there."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    rows = await connection.fetch(_PRICES, list(symbols), moment, FRESH, list(QUOTES))
    return {row["symbol"]: row["price"] for row in rows}
