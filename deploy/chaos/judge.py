"""Checks the stored rows against those of the exchange, and missing rows against the coverage ledger.

A missing row must lie in a gap with a reason, and no claim may cover it. A stored row must equal the row of the exchange in every
value. Books and quotes may be missing, but not wrong.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

from msgspec import Struct, field

from chaos.daemon import defects, unbalanced
from chaos.judge_beside import lost_books, lost_trades
from chaos.ledger import Moment, count_open, explain, gaps
from chaos.scene import EXCHANGE, GRID_MS, SYMBOLS, Scene
from ingest.simulator.oracle import OracleTrade

MINUTE_MS = 60_000
SHOWN = 5  # printed examples of each finding
LATE_MS = 2_000  # a state that no event follows is written so long after its tick; later events are not in it
DEPTH = 20

_TRADES = """
    SELECT trade_id, (extract(epoch FROM time) * 1000)::bigint, price::text, size::text, side
      FROM trades JOIN instruments i ON i.id = instrument_id WHERE i.exchange = $1 AND i.symbol = $2"""
_CANDLES = """
    SELECT (extract(epoch FROM time) * 1000)::bigint, open::text, high::text, low::text, close::text, volume::text,
           quote_volume::text, trades_count, taker_buy_volume::text, taker_buy_quote_volume::text
      FROM candles JOIN instruments i ON i.id = instrument_id WHERE i.exchange = $1 AND i.symbol = $2 AND interval = '1m'"""
_BOOKS = """
    SELECT sequence, (extract(epoch FROM time) * 1000)::bigint AS time,
           bid_prices::text[], bid_sizes::text[], ask_prices::text[], ask_sizes::text[]
      FROM order_books JOIN instruments i ON i.id = instrument_id WHERE i.exchange = $1 AND i.symbol = $2 ORDER BY sequence"""
_QUOTES = """
    SELECT sequence, bid_price::text, bid_size::text, ask_price::text, ask_size::text
      FROM quotes JOIN instruments i ON i.id = instrument_id WHERE i.exchange = $1 AND i.symbol = $2 ORDER BY sequence"""


Bar = tuple[Any, ...]  # a row of `_CANDLES`


class Verdict(Struct):
    """The numbers of checked rows and gaps. `wrong` lists the findings; it is empty if the run passes."""

    sent: int = 0
    stored: int = 0
    explained: Counter[str] = field(default_factory=Counter)  # missing trades, by the reasons in the ledger
    candles: int = 0
    books: int = 0
    quotes: int = 0
    beside: int = 0  # ticks of other symbols while bad elements were sent
    left_open: int = 0
    gaps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def report(self, what: str, cases: list[Any]) -> None:
        """Add a finding with some of its cases, unless `cases` is empty."""
        if cases:
            self.wrong.append(f"{what}: {len(cases)}, such as {', '.join(map(str, cases[:SHOWN]))}")


async def judge(scene: Scene, first_ms: int) -> Verdict:
    """Compare all events since `first_ms` with all stored rows. The daemon must have ended."""
    verdict = Verdict()
    for symbol in SYMBOLS:
        await _judge_trades(scene, symbol, verdict)
        await _judge_candles(scene, symbol, first_ms, verdict)
        await _judge_books(scene, symbol, verdict)
        await _judge_quotes(scene, symbol, verdict)
    verdict.beside, lost = await lost_books(scene)
    verdict.report("books lost to a bad neighbour", lost)
    verdict.report("row totals that do not balance", [text for ended in scene.daemon.ended for text in unbalanced(ended)])
    verdict.report("defects that the daemon logged", [text for ended in scene.daemon.ended for text in defects(ended)])
    verdict.left_open = await count_open(scene)
    verdict.gaps = [f"{row['state']} {row['channel']} {row['reason']} {row['count']}" for row in await gaps(scene)]
    return verdict


async def missing(scene: Scene, symbol: str) -> tuple[list[OracleTrade], Counter[OracleTrade]]:
    """The trades of a symbol that are not stored, and its stored rows that were not sent or are stored twice."""
    kept = Counter(OracleTrade(*row) for row in await scene.fetch(_TRADES, EXCHANGE, symbol))
    sent = list(scene.simulator.oracle.trades(symbol))
    lost = [one for one in sent if one not in kept and (symbol, one.id) not in scene.dropped]
    kept.subtract(sent)
    return lost, +kept


async def _judge_trades(scene: Scene, symbol: str, verdict: Verdict) -> None:
    lost, unknown = await missing(scene, symbol)
    sent = len(list(scene.simulator.oracle.trades(symbol)))
    verdict.sent += sent
    verdict.stored += sent - len(lost) + unknown.total()
    verdict.report(f"{symbol}: stored, but not sent", list(unknown))
    answers = await explain(scene, "trades", [Moment(symbol, one.id, one.time, one.time) for one in lost])
    verdict.explained.update(one.reason for one in answers if one.reason)
    verdict.report(f"{symbol}: trades lost to a bad neighbour", lost_trades(scene, lost, answers))
    verdict.report(f"{symbol}: trades missing without a reason", [one.id for one in answers if not one.reason])
    verdict.report(f"{symbol}: trades covered by a claim, but not stored", [one.id for one in answers if one.claimed])


async def missing_bars(scene: Scene, symbol: str, first_ms: int) -> tuple[list[int], list[Bar], int]:
    """For a symbol: times of closed bars that are not stored, stored rows that were not sent, and the number of stored rows."""
    rows = [tuple(row) for row in await scene.fetch(_CANDLES, EXCHANGE, symbol)]
    bars = [_bar(row) for row in scene.simulator.oracle.candles(symbol)]
    stored = {row[0] for row in rows}
    lost = [bar[0] for bar in bars if bar[0] + MINUTE_MS > first_ms and bar[0] not in stored]
    return lost, [row for row in rows if row not in bars], len(rows)


async def _judge_candles(scene: Scene, symbol: str, first_ms: int, verdict: Verdict) -> None:
    lost, unknown, stored = await missing_bars(scene, symbol, first_ms)
    verdict.candles += stored
    verdict.report(f"{symbol}: candles stored, but not sent", unknown)
    answers = await explain(scene, "candles", [Moment(symbol, time, time, time + 2 * MINUTE_MS) for time in lost])
    verdict.report(f"{symbol}: candles missing without a reason", [one.id for one in answers if not one.reason])
    verdict.report(f"{symbol}: candles covered by a claim, but not stored", [one.id for one in answers if one.claimed])


def _bar(row: list[Any]) -> Bar:
    """The stored columns of a row of /api/v3/klines."""
    return (*row[:6], row[7], row[8], row[9], row[10])


async def _judge_books(scene: Scene, symbol: str, verdict: Verdict) -> None:
    rows = await scene.fetch(_BOOKS, EXCHANGE, symbol)
    books = scene.simulator.oracle.books(symbol, sorted({row["sequence"] for row in rows}))
    truth = {update: (bids[:DEPTH], asks[:DEPTH]) for update, bids, asks in books}
    wrong = [row["time"] for row in rows if _levels(row) != truth[row["sequence"]]]
    verdict.books += len(rows)
    verdict.report(f"{symbol}: books that never existed", wrong)
    late = await _unexplained(scene, symbol, [row["time"] for row in rows if not _was_latest(scene, symbol, row)])
    verdict.report(f"{symbol}: books of another time", late)


def _levels(row: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return list(zip(row[2], row[3], strict=True)), list(zip(row[4], row[5], strict=True))


def _was_latest(scene: Scene, symbol: str, row: Any) -> bool:
    """Whether the stored book is the state at its tick. With a clock that is ahead, it may be up to two ticks older."""
    early = 2 * GRID_MS if "clock_step" in scene.plan.kinds else 0
    return bool(_latest(scene, symbol, row["time"] - early) <= row["sequence"] <= _latest(scene, symbol, row["time"]))


def _latest(scene: Scene, symbol: str, time: int) -> int:
    """The last update id of the last diff before `time`."""
    diffs = scene.simulator.oracle.diffs[symbol]
    before = bisect_left(diffs, (time, 0))
    return diffs[before - 1][1] if before else 0


async def _unexplained(scene: Scene, symbol: str, ticks: list[int]) -> list[int]:
    """The ticks at which the ledger has no gap of the book."""
    answers = await explain(scene, "book", [Moment(symbol, tick, tick - LATE_MS, tick + LATE_MS) for tick in ticks])
    return [one.id for one in answers if not one.reason]


async def _judge_quotes(scene: Scene, symbol: str, verdict: Verdict) -> None:
    rows = await scene.fetch(_QUOTES, EXCHANGE, symbol)
    books = scene.simulator.oracle.books(symbol, sorted({row["sequence"] for row in rows}))
    best = {update: (*bids[0], *asks[0]) for update, bids, asks in books}
    verdict.quotes += len(rows)
    verdict.report(f"{symbol}: quotes that never existed", [tuple(row) for row in rows if tuple(row)[1:] != best[row["sequence"]]])
