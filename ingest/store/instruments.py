"""The table `instruments`: the market of each `instrument_id`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import asyncpg
import msgspec
from msgspec.structs import replace

from ingest.errors import Stop
from ingest.marketdata.rest import Rows
from ingest.protocol.decode import Malformed
from ingest.records import Instrument
from ingest.store import sqlstate
from ingest.store.pool import Connection, Pool, transaction

_INSERT = """
    INSERT INTO instruments AS i (exchange, symbol, instrument, base, quote, kind, status, price_step, size_step)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::text[]::numeric[], $9::text[]::numeric[])
    ON CONFLICT (exchange, symbol) DO """

# changed rows only: a listing that is read every hour must not rewrite every row
_UPDATE = """UPDATE
       SET instrument = EXCLUDED.instrument, base = EXCLUDED.base, quote = EXCLUDED.quote, kind = EXCLUDED.kind,
           status = EXCLUDED.status, price_step = EXCLUDED.price_step, size_step = EXCLUDED.size_step, updated_at = now()
     WHERE (i.instrument, i.base, i.quote, i.kind, i.status, i.price_step, i.size_step)
           IS DISTINCT FROM (EXCLUDED.instrument, EXCLUDED.base, EXCLUDED.quote, EXCLUDED.kind, EXCLUDED.status,
                             EXCLUDED.price_step, EXCLUDED.size_step)"""

_IDS = "SELECT symbol, id, trade_kind FROM instruments WHERE exchange = $1 AND symbol = ANY($2::text[])"

_SET_TRADE_KIND = """
    UPDATE instruments SET trade_kind = $3 WHERE exchange = $1 AND symbol = ANY($2::text[]) AND trade_kind IS NULL"""


async def store_instruments(
    pool: Pool, instruments: Sequence[Instrument], trade_kind: str | None, *, old: bool = False
) -> Rows[Instrument]:
    """Store the instruments of a listing and return them with their ids. An `old` listing changes no stored instrument.

    An instrument that the table refuses is left out; `rejected` of the result has it.
    `trade_kind` is the trade feed that fills their trades (None: no feed does). Two feeds number their trades differently, so one
    instrument never has trades of both. Raises Stop if another feed has filled an instrument, Retry while the database is down.
    """
    out: Rows[Instrument] = Rows()
    if not instruments:
        return out
    exchange = instruments[0].exchange
    by_symbol = {row.symbol: row for row in instruments}
    rows = [by_symbol[symbol] for symbol in sorted(by_symbol)]  # in different orders two daemons may deadlock
    try:
        async with pool.acquire() as connection, transaction(connection):
            refused = await _upsert(connection, _INSERT + ("NOTHING" if old else _UPDATE), rows)
            symbols = [row.symbol for row in rows if row not in refused]
            if trade_kind is not None:
                await connection.execute(_SET_TRADE_KIND, exchange, symbols, trade_kind)
            found = {row["symbol"]: row for row in await connection.fetch(_IDS, exchange, symbols)}
            _refuse_mixture(exchange, trade_kind, {symbol: row["trade_kind"] for symbol, row in found.items()})
    except sqlstate.FOREIGN as error:
        raise sqlstate.translate(error, f"storing the instruments of {exchange}") from error
    out += [replace(row, id=found[row.symbol]["id"]) for row in instruments if row not in refused]
    out.rejected = list(refused.values())
    return out


async def _upsert(connection: Connection, statement: str, rows: Sequence[Instrument]) -> dict[Instrument, Malformed]:
    """Returns the instruments that the table refuses. They are found one by one if it refuses them all together."""
    fields = [name for name in Instrument.__struct_fields__ if name != "id"]
    try:
        async with transaction(connection):
            await connection.execute(statement, *([getattr(row, name) for row in rows] for name in fields))
    except asyncpg.PostgresError as error:
        if not sqlstate.is_data(error):
            raise
        if len(rows) == 1:
            message = f"{rows[0].exchange}: the table instruments refuses {rows[0].symbol!r}: {error}"
            return {rows[0]: Malformed(msgspec.json.encode(rows[0]), "value", message)}
        return {row: bad for each in rows for row, bad in (await _upsert(connection, statement, [each])).items()}
    return {}


def _refuse_mixture(exchange: str, trade_kind: str | None, stored: Mapping[str, str | None]) -> None:
    """Runs inside the transaction, so that a refused trade kind is not stored for any instrument."""
    for symbol, kind in stored.items():
        if trade_kind not in (None, kind):
            raise Stop(
                f"{exchange}: trade_kind is '{trade_kind}', but the stored trades of {symbol} are '{kind}'; "
                f"one instrument cannot have ids of both: set trade_kind to '{kind}', or use another database"
            )
