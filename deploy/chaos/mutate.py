"""Tests the checker: changes one stored row after a run, which the verdict must report."""

from __future__ import annotations

from chaos.scene import EXCHANGE, Scene

OTHER = 1_000_000_000  # added to an id, gives an id that the exchange does not have

_INSTRUMENT = "(SELECT id FROM instruments WHERE exchange = '{exchange}' ORDER BY id LIMIT 1)"
# the newest row that is covered and in no gap
_LAST = """
    SELECT max(t.trade_id) FROM trades t
      JOIN coverage_streams('-infinity') s ON (s.instrument_id, s.channel) = (t.instrument_id, 'trades')
     WHERE t.instrument_id = {instrument} AND s.covered @> t.time AND NOT EXISTS (
        SELECT FROM coverage c
         WHERE (c.instrument_id, c.channel) = (t.instrument_id, 'trades') AND c.state IN ('open', 'unrecoverable')
           AND (t.time BETWEEN c.since AND coalesce(c.until, 'infinity') OR t.trade_id BETWEEN c.first_id AND c.last_id))"""
MUTATIONS = {
    "drop": "DELETE FROM trades WHERE instrument_id = {instrument} AND trade_id = ({last})",
    "double": """INSERT INTO trades
                 SELECT instrument_id, time, trade_id + {other}, price, size, side, received_at, native_id FROM trades
                  WHERE instrument_id = {instrument} AND trade_id = ({last})""",
    "alter": "UPDATE trades SET price = price + 1 WHERE instrument_id = {instrument} AND trade_id = ({last})",
}


async def mutate(scene: Scene, name: str) -> None:
    """Apply the mutation `name` to one stored trade."""
    instrument = _INSTRUMENT.format(exchange=EXCHANGE)
    last = _LAST.format(instrument=instrument)
    await scene.servers.sql(MUTATIONS[name].format(instrument=instrument, last=last, other=OTHER), "market")
