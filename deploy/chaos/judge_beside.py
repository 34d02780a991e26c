"""The rule that a bad element costs only itself: what was sent beside it is stored.

Trades of every symbol count, because a trade that was not read is found by its id and loaded. Of books, those of the other symbols:
each tick that a claim covers has one, within `SLACK_MS`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from chaos.ledger import Explanation, Moment, explain
from chaos.scene import EXCHANGE, GRID_MS, SYMBOLS, Beside, Scene
from ingest.simulator.oracle import OracleTrade

FEED_REASONS = ("sequence", "checksum", "crossed", "refused")  # of gaps that a message of the exchange opens
SLACK_MS = 1_000  # a book that had no change is written at a later tick
_TICKS = """
    SELECT (extract(epoch FROM time) * 1000)::bigint AS time
      FROM order_books JOIN instruments i ON i.id = instrument_id WHERE i.exchange = $1 AND i.symbol = $2 ORDER BY time"""


def lost_trades(scene: Scene, trades: Sequence[OracleTrade], answers: Sequence[Explanation]) -> list[int]:
    """The ids of missing trades within the time of a bad element, where only the feed is the reason."""
    times = {one.id: one.time for one in trades}
    return [
        answer.id
        for answer in answers
        if answer.reason
        and any(near.since_ms <= times[answer.id] <= near.until_ms for near in scene.beside)
        and all(reason.rpartition(" ")[2] in FEED_REASONS for reason in answer.reason.split(", "))
    ]


async def lost_books(scene: Scene) -> tuple[int, list[str]]:
    """The number of ticks of other symbols beside bad elements that a claim covers, and those without a book."""
    checked, lost = 0, []
    for symbol in SYMBOLS:
        moments = [Moment(symbol, tick, tick, tick) for near in scene.beside if symbol not in near.symbols for tick in ticks(near)]
        claimed = [one.id for one in await explain(scene, "book", moments) if one.claimed and not one.reason]
        stored = [row["time"] for row in await scene.fetch(_TICKS, EXCHANGE, symbol)]
        checked += len(claimed)
        lost += [f"{symbol} {tick}" for tick in claimed if not _is_near(stored, tick)]
    return checked, lost


def ticks(near: Beside) -> range:
    """The ticks of the grid within the time of a bad element."""
    return range(near.since_ms + -near.since_ms % GRID_MS, near.until_ms, GRID_MS)


def _is_near(stored: Sequence[int], tick: int) -> bool:
    at = bisect_left(stored, tick - SLACK_MS)
    return at < len(stored) and stored[at] <= tick + SLACK_MS
