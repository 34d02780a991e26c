"""One run: trades during the faults, then no trades until every gap is filled, then the verdict."""

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

from chaos import bad_elements, daemon_faults, database_faults, exchange_faults
from chaos.judge import Verdict, judge, missing, missing_bars
from chaos.ledger import count_open
from chaos.mutate import mutate
from chaos.plan import DAEMON_ENDS, DATABASE_KILLS, SECONDS, Due, Plan
from chaos.scene import SYMBOLS, Scene, open_scene
from chaos.servers import MARKET, Servers
from chaos.waiting import Late, came, until

ROWS = 10_000  # minimum trades of a run
LATER_PER_SECOND = 100.0
IDLE_SECONDS = 60.0
HEALED_SECONDS = 60.0
QUIET_SECONDS = 1.0
KEPT = CHECKOUT / ".local" / "chaos"
FAULTS = database_faults.FAULTS | exchange_faults.FAULTS | bad_elements.FAULTS | daemon_faults.FAULTS
BROKEN = (ClusterError, Late, RuntimeError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class Run(Struct, frozen=True):
    """The result of one plan: how often each fault happened, and the verdict. `broken` is the reason if the run itself failed."""

    plan: Plan
    happened: Counter[str]
    verdict: Verdict
    seconds: float
    broken: str = ""


async def run(plan: Plan, servers: Servers, mutation: str | None) -> Run:
    """Execute one plan. An error ends only this run."""
    started = time.monotonic()
    happened: Counter[str] = Counter()
    verdict, broken = Verdict(), ""
    with _folder() as folder:
        try:
            async with open_scene(plan, folder, servers) as scene:
                first_ms = await play(scene, happened)
                if mutation is not None:
                    await mutate(scene, mutation)
                verdict = await judge(scene, first_ms)
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
    """Copy the logs and the coverage ledger of a failed run to `.local/chaos`."""
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
    return [leaf for part in group.exceptions for leaf in (_leaves(part) if isinstance(part, BaseExceptionGroup) else [part])]


async def play(scene: Scene, happened: Counter[str]) -> int:
    """Inject the faults, wait until the ledger is closed, and end the daemon. Returns when trading began, in milliseconds."""
    first_ms = time.time_ns() // 1_000_000
    async with asyncio.TaskGroup() as group:
        for due in scene.plan.faults:
            group.create_task(_inject(scene, due, happened))
        group.create_task(_trade(scene))
    await scene.subscribed()
    await asyncio.sleep(QUIET_SECONDS)
    scene.simulator.trades_per_second = 0
    await until(scene.daemon.idle, IDLE_SECONDS, "every row has its outcome")
    # a killed daemon leaves its leases; do not wait until they expire
    await scene.servers.sql("UPDATE leases SET expires_at = now()", MARKET)
    await came(lambda: _closed(scene, first_ms), HEALED_SECONDS)
    await scene.daemon.terminate()
    ledger = await scene.servers.sql("SELECT * FROM coverage ORDER BY instrument_id, channel, since", MARKET)
    (scene.folder / "ledger").write_text(ledger)
    return first_ms


async def _trade(scene: Scene) -> None:
    """Make the trades of the run while faults begin, and trade at a lower rate while the last faults end."""
    scene.simulator.trades_per_second = 1.1 * ROWS / SECONDS
    await until(lambda: sum(map(scene.simulator.oracle.count, SYMBOLS)) > ROWS, IDLE_SECONDS, f"{ROWS} trades have happened")
    scene.simulator.trades_per_second = LATER_PER_SECOND


async def _inject(scene: Scene, due: Due, happened: Counter[str]) -> None:
    await asyncio.sleep(due.at)
    happened[due.kind] += await FAULTS[due.kind](scene, Random(f"{scene.plan.seed} {due.kind}"))


async def _closed(scene: Scene, first_ms: int) -> bool:
    """Whether no row is missing and no gap is open."""
    await asyncio.sleep(0.5)
    if await count_open(scene):
        return False
    trades = [(await missing(scene, symbol))[0] for symbol in SYMBOLS]
    bars = [(await missing_bars(scene, symbol, first_ms))[0] for symbol in SYMBOLS]
    return not any(trades) and not any(bars)


def described(run: Run) -> str:
    """One line about the run, and a line for each finding."""
    verdict, plan = run.verdict, run.plan
    faults = " ".join(due.kind if run.happened[due.kind] else f"({due.kind})" for due in plan.faults)
    explained = ", ".join(f"{count} {reason}" for reason, count in verdict.explained.most_common()) or "none"
    lines = [
        f"seed {plan.seed}: {'ok' if not faults_of(run) else 'FAILED'}; {run.seconds:.1f} s; {plan.durability}; {faults}; "
        f"trades {verdict.sent} produced, {verdict.stored} stored, missing with a reason: {explained}; "
        f"candles {verdict.candles}, books {verdict.books}, quotes {verdict.quotes}; beside bad elements {verdict.beside}; "
        f"left open {verdict.left_open}; "
        f"gaps: {', '.join(verdict.gaps) or 'none'}"
    ]
    return "\n".join([*lines, *(f"    {fault}" for fault in faults_of(run))])


def faults_of(run: Run) -> list[str]:
    """The reasons why this run fails; empty if it passes."""
    if run.broken:
        return [f"the run itself: {run.broken}"]
    return [*run.verdict.wrong, *_too_little(run)]


def _too_little(run: Run) -> list[str]:
    """What this run lacks of what every run must contain."""
    lacks = {
        f"only {run.verdict.sent} trades happened": run.verdict.sent >= ROWS,
        "no kill of the database": any(run.happened[kind] for kind in DATABASE_KILLS),
        "no end of the daemon": any(run.happened[kind] for kind in DAEMON_ENDS),
    }
    return [lack for lack, is_there in lacks.items() if not is_there]
