"""One run: trades during the faults, then quiet until every gap is filled, then the verdict."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import asyncpg
from cluster import CHECKOUT, ClusterError, storage
from msgspec import Struct

from chaos import daemon_faults, database_faults, exchange_faults
from chaos.judge import Verdict, judge, missing, missing_bars
from chaos.ledger import count_open
from chaos.mutate import mutate
from chaos.plan import DAEMON_ENDS, DATABASE_KILLS, SECONDS, Due, Plan
from chaos.scene import SYMBOLS, Scene, scene
from chaos.servers import MARKET, Servers
from chaos.waiting import Late, came, until

ROWS = 10_000  # trades that every run must have
LATER_PER_SECOND = 100.0
IDLE_SECONDS = 60.0
HEALED_SECONDS = 60.0
QUIET_SECONDS = 1.0
KEPT = CHECKOUT / ".local" / "chaos"
FAULTS = database_faults.FAULTS | exchange_faults.FAULTS | daemon_faults.FAULTS
BROKEN = (ClusterError, Late, RuntimeError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class Run(Struct, frozen=True):
    """The result of one plan. `broken` is the reason if the run itself failed."""

    plan: Plan
    happened: Counter[str]
    verdict: Verdict
    seconds: float
    broken: str = ""


async def run(plan: Plan, servers: Servers, mutation: str | None) -> Run:
    """Execute one plan. An error within it ends this run alone."""
    started = time.monotonic()
    happened: Counter[str] = Counter()
    verdict, broken = Verdict(), ""
    with _folder() as folder:
        try:
            async with scene(plan, folder, servers) as one:
                first_ms = await play(one, happened)
                if mutation is not None:
                    await mutate(one, mutation)
                verdict = await judge(one, first_ms)
        except BROKEN as error:
            broken = f"{type(error).__name__}: {error}"
        except BaseExceptionGroup as group:
            if (errors := group.subgroup(BROKEN)) is None or group.split(BROKEN)[1] is not None:
                raise
            broken = "; ".join(f"{type(error).__name__}: {error}" for error in _leaves(errors))
        if broken or verdict.wrong:
            _keep(folder, plan.seed)
    return Run(plan, happened, verdict, time.monotonic() - started, broken)


def _keep(folder: Path, seed: int) -> None:
    """Keep the logs and the coverage ledger of a run that failed, to find the defect."""
    kept = KEPT / str(seed)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in [*folder.glob("*.log"), *folder.glob("ledger")]:
        shutil.copy(path, kept)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=storage(), ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's account must be able to enter
        yield folder


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for one in group.exceptions for leaf in (_leaves(one) if isinstance(one, BaseExceptionGroup) else [one])]


async def play(one: Scene, happened: Counter[str]) -> int:
    """Everything but the verdict. Returns the time of the first trade in milliseconds; the daemon has ended."""
    first_ms = time.time_ns() // 1_000_000
    async with asyncio.TaskGroup() as group:
        for due in one.plan.faults:
            group.create_task(_inject(one, due, happened))
        group.create_task(_trade(one))
    await one.subscribed()
    await asyncio.sleep(QUIET_SECONDS)
    one.simulator.trades_per_second = 0
    await until(one.daemon.idle, IDLE_SECONDS, "every row has its outcome")
    # a killed daemon leaves its leases; they need not be waited for
    await one.servers.sql("UPDATE leases SET expires_at = now()", MARKET)
    await came(lambda: _closed(one, first_ms), HEALED_SECONDS)
    await one.daemon.terminate()
    ledger = await one.servers.sql("SELECT * FROM coverage ORDER BY instrument_id, channel, since", MARKET)
    (one.folder / "ledger").write_text(ledger)
    return first_ms


async def _trade(one: Scene) -> None:
    """Make as many trades as a run must have while faults begin, and fewer while the last of them end."""
    one.simulator.trades_per_second = 1.1 * ROWS / SECONDS
    await until(lambda: sum(map(one.simulator.oracle.count, SYMBOLS)) > ROWS, IDLE_SECONDS, f"{ROWS} trades have happened")
    one.simulator.trades_per_second = LATER_PER_SECOND


async def _inject(one: Scene, due: Due, happened: Counter[str]) -> None:
    await asyncio.sleep(due.at)
    happened[due.kind] += await FAULTS[due.kind](one, Random(f"{one.plan.seed} {due.kind}"))


async def _closed(one: Scene, first_ms: int) -> bool:
    """Whether nothing is missing and no gap is open."""
    await asyncio.sleep(0.5)
    if await count_open(one):
        return False
    trades = [(await missing(one, symbol))[0] for symbol in SYMBOLS]
    bars = [(await missing_bars(one, symbol, first_ms))[0] for symbol in SYMBOLS]
    return not any(trades) and not any(bars)


def described(run: Run) -> str:
    """One line, and one more for each fault that was found."""
    verdict, plan = run.verdict, run.plan
    faults = " ".join(due.kind if run.happened[due.kind] else f"({due.kind})" for due in plan.faults)
    explained = ", ".join(f"{count} {reason}" for reason, count in verdict.explained.most_common()) or "none"
    lines = [
        f"seed {plan.seed}: {'ok' if not faults_of(run) else 'FAILED'}; {run.seconds:.1f} s; {plan.durability}; {faults}; "
        f"trades {verdict.sent} produced, {verdict.stored} stored, missing with a reason: {explained}; "
        f"candles {verdict.candles}, books {verdict.books}, quotes {verdict.quotes}; left open {verdict.left_open}; "
        f"gaps: {', '.join(verdict.gaps) or 'none'}"
    ]
    return "\n".join([*lines, *(f"    {fault}" for fault in faults_of(run))])


def faults_of(run: Run) -> list[str]:
    """Everything for which this run fails; empty if it passes."""
    if run.broken:
        return [f"the run itself: {run.broken}"]
    return [*run.verdict.wrong, *_too_little(run)]


def _too_little(run: Run) -> list[str]:
    """What every run must contain and this one does not."""
    lacks = {
        f"only {run.verdict.sent} trades happened": run.verdict.sent >= ROWS,
        "no kill of the database": any(run.happened[kind] for kind in DATABASE_KILLS),
        "no end of the daemon": any(run.happened[kind] for kind in DAEMON_ENDS),
    }
    return [lack for lack, is_there in lacks.items() if not is_there]
