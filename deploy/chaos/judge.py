"""Whether what is stored is what the exchange said, and whether the ledger speaks the truth of the rest.

A row that is missing must lie in a hole with a reason, and no claim may cover it: that is the proof of the ledger. What is stored
must have been said, value by value. Books and quotes may be missing, but never untrue.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any

from msgspec import Struct, field

from chaos.daemon import defects, unbalanced
from chaos.ledger import Moment, ask, count_open, holes
from chaos.scene import EXCHANGE, GRID_MS, SYMBOLS, Scene
from ingest.simulator.oracle import OracleTrade

MINUTE_MS = 60_000
SHOWN = 5  # examples of each kind of fault that are printed
LATE_MS = 2_000  # a state after which nothing came is written so much after its tick: what comes later still is not in it
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
    """What was checked, and what is wrong (empty: nothing)."""

    said: int = 0
    stored: int = 0
    explained: Counter[str] = field(default_factory=Counter)  # missing trades by the reasons that the ledger has
    candles: int = 0
    books: int = 0
    quotes: int = 0
    left_open: int = 0
    holes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def blame(self, what: str, cases: list[Any]) -> None:
        """Note that something is wrong, with some of the cases."""
        if cases:
            self.wrong.append(f"{what}: {len(cases)}, such as {', '.join(map(str, cases[:SHOWN]))}")


async def judge(scene: Scene, first_ms: int) -> Verdict:
    """Everything that was said from `first_ms` on, against everything that is stored; the daemon has ended."""
    verdict = Verdict()
    for symbol in SYMBOLS:
        await _judge_trades(scene, symbol, verdict)
        await _judge_candles(scene, symbol, first_ms, verdict)
        await _judge_books(scene, symbol, verdict)
        await _judge_quotes(scene, symbol, verdict)
    verdict.blame("identity", [text for ended in scene.daemon.ended for text in unbalanced(ended)])
    verdict.blame("defects that the daemon logged", [text for ended in scene.daemon.ended for text in defects(ended)])
    verdict.left_open = await count_open(scene)
    verdict.holes = [f"{row['state']} {row['channel']} {row['reason']} {row['count']}" for row in await holes(scene)]
    return verdict


async def missing(scene: Scene, symbol: str) -> tuple[list[OracleTrade], Counter[OracleTrade]]:
    """The trades that are not stored, and what is stored that was never said (a second time counts), for one symbol."""
    kept = Counter(OracleTrade(*row) for row in await scene.fetch(_TRADES, EXCHANGE, symbol))
    said = list(scene.simulator.oracle.trades(symbol))
    lost = [one for one in said if one not in kept and (symbol, one.id) not in scene.dropped]
    kept.subtract(said)
    return lost, +kept


async def _judge_trades(scene: Scene, symbol: str, verdict: Verdict) -> None:
    lost, unsaid = await missing(scene, symbol)
    said = len(list(scene.simulator.oracle.trades(symbol)))
    verdict.said += said
    verdict.stored += said - len(lost) + unsaid.total()
    verdict.blame(f"{symbol}: stored, and never said so", list(unsaid))
    answers = await ask(scene, "trades", [Moment(symbol, one.id, one.time, one.time) for one in lost])
    verdict.explained.update(one.why for one in answers if one.why)
    verdict.blame(f"{symbol}: trades missing without a reason", [one.id for one in answers if not one.why])
    verdict.blame(f"{symbol}: trades claimed, and not stored", [one.id for one in answers if one.claimed])


async def missing_bars(scene: Scene, symbol: str, first_ms: int) -> tuple[list[int], list[Bar], int]:
    """The times of the closed bars that are not stored; what is stored that was never said; and how many are stored."""
    rows = [tuple(row) for row in await scene.fetch(_CANDLES, EXCHANGE, symbol)]
    bars = [_bar(row) for row in scene.simulator.oracle.candles(symbol)]
    stored = {row[0] for row in rows}
    lost = [bar[0] for bar in bars if bar[0] + MINUTE_MS > first_ms and bar[0] not in stored]
    return lost, [row for row in rows if row not in bars], len(rows)


async def _judge_candles(scene: Scene, symbol: str, first_ms: int, verdict: Verdict) -> None:
    lost, unsaid, stored = await missing_bars(scene, symbol, first_ms)
    verdict.candles += stored
    verdict.blame(f"{symbol}: candles stored, and never said so", unsaid)
    answers = await ask(scene, "candles", [Moment(symbol, time, time, time + 2 * MINUTE_MS) for time in lost])
    verdict.blame(f"{symbol}: candles missing without a reason", [one.id for one in answers if not one.why])
    verdict.blame(f"{symbol}: candles claimed, and not stored", [one.id for one in answers if one.claimed])


def _bar(row: list[Any]) -> Bar:
    """A row of /api/v3/klines as the table has it."""
    return (*row[:6], row[7], row[8], row[9], row[10])


async def _judge_books(scene: Scene, symbol: str, verdict: Verdict) -> None:
    rows = await scene.fetch(_BOOKS, EXCHANGE, symbol)
    books = scene.simulator.oracle.books(symbol, sorted({row["sequence"] for row in rows}))
    truth = {update: (bids[:DEPTH], asks[:DEPTH]) for update, bids, asks in books}
    untrue = [row["time"] for row in rows if _levels(row) != truth[row["sequence"]]]
    verdict.books += len(rows)
    verdict.blame(f"{symbol}: books that never stood so", untrue)
    late = await _unexplained(scene, symbol, [row["time"] for row in rows if not _was_latest(scene, symbol, row)])
    verdict.blame(f"{symbol}: books that stood at another time", late)


def _levels(row: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return list(zip(row[2], row[3], strict=True)), list(zip(row[4], row[5], strict=True))


def _was_latest(scene: Scene, symbol: str, row: Any) -> bool:
    """Whether the stored state is that after the last diff before its tick; a clock that was set ahead may be two ticks early."""
    early = 2 * GRID_MS if "clock_step" in scene.plan.kinds else 0
    return bool(_latest(scene, symbol, row["time"] - early) <= row["sequence"] <= _latest(scene, symbol, row["time"]))


def _latest(scene: Scene, symbol: str, time: int) -> int:
    """The update that the last diff before `time` ended with."""
    diffs = scene.simulator.oracle.diffs[symbol]
    before = bisect_left(diffs, (time, 0))
    return diffs[before - 1][1] if before else 0


async def _unexplained(scene: Scene, symbol: str, ticks: list[int]) -> list[int]:
    """Those of the ticks at which the ledger does not say that the book had a hole."""
    answers = await ask(scene, "book", [Moment(symbol, tick, tick - LATE_MS, tick + LATE_MS) for tick in ticks])
    return [one.id for one in answers if not one.why]


async def _judge_quotes(scene: Scene, symbol: str, verdict: Verdict) -> None:
    rows = await scene.fetch(_QUOTES, EXCHANGE, symbol)
    books = scene.simulator.oracle.books(symbol, sorted({row["sequence"] for row in rows}))
    best = {update: (*bids[0], *asks[0]) for update, bids, asks in books}
    verdict.quotes += len(rows)
    verdict.blame(f"{symbol}: quotes that never stood so", [tuple(row) for row in rows if tuple(row)[1:] != best[row["sequence"]]])
