"""The USD price of a coin at a past moment, from the stored candles and prices.

It is the close of the newest 1m candle that was closed by then, of a spot market quoted in USD or in a stablecoin pegged to it; if
there is no candle, the newest price of the coin in `prices`. A price older than MAX_AGE is not used, because it may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ingest.polling.db_queries import Prices
from ingest.records import SECOND
from ingest.store.pool import Connection

MAX_AGE = timedelta(hours=6)
QUOTES = ("USD", "USDC", "USDT")  # in order of preference among candles of the same minute

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
    """The price of each symbol at `time` (microseconds), as digits. Symbols without a price within MAX_AGE before are left out."""
    moment = datetime.fromtimestamp(time // SECOND, UTC)
    rows = await connection.fetch(_PRICES, list(symbols), moment, MAX_AGE, list(QUOTES))
    return {row["symbol"]: row["price"] for row in rows}
