"""`deploy/chaos.sh --runs N --seed S`: executes the runs with the seeds S to S + N - 1, one after the other.

The exit code is 1 if a row is unaccounted for, if a run tested too little, or if a kind of fault was drawn and never happened. A
kind that was not drawn is only printed. `--runs 1` with the
seed and the same kinds repeats a single run. `--fuzz N` mutates payloads instead: see `fuzz.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence

import uvloop
from installation import installed
from pooler import PGBOUNCER

from chaos.course import Run, described, faults_of, run
from chaos.mutate import MUTATIONS
from chaos.plan import KINDS, draw
from chaos.scene import faketime
from chaos.servers import Servers

FUZZ_INPUTS = 1_000_000
ROOT_ONLY = ("dns_gone", "spool_full", "disk_full")


def main() -> int:
    options = parser().parse_args()
    if options.fuzz is not None:
        from chaos import fuzz  # noqa: PLC0415 - it imports the tests' support, which the runs do not need

        return fuzz.main(options.fuzz, options.seed)
    print(f"chaos: {options.runs} runs, seeds {options.seed} to {options.seed + options.runs - 1}", flush=True)
    impossible = {kind: reason for kind, reason in unavailable().items() if kind in options.kinds}
    for kind, reason in impossible.items():
        print(f"skipped here: {kind}, {reason}")
    kinds = [kind for kind in options.kinds if kind not in impossible]
    runs = uvloop.run(_runs(options, kinds))
    return summarise(runs, kinds)


def unavailable() -> dict[str, str]:
    """The kinds of fault that cannot be injected on this machine, with the reasons."""
    reasons = dict.fromkeys(ROOT_ONLY, "only root can mount") if os.geteuid() else {}
    if PGBOUNCER is None:
        reasons["pooler"] = "PgBouncer is not installed"
    if faketime() is None:
        reasons["clock_step"] = "libfaketime is not installed"
    if not installed("community"):
        reasons["chunk_compress"] = "the installed TimescaleDB has no Community edition"
    return reasons


async def _runs(options: argparse.Namespace, kinds: Sequence[str]) -> list[Run]:
    done: list[Run] = []
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # unmount the disks and summarise the runs that are done
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    servers = Servers()
    try:
        await servers.start()
        for seed in range(options.seed, options.seed + options.runs):
            done.append(await run(draw(seed, kinds), servers, options.mutate))
            print(described(done[-1]), flush=True)
            if done[-1].broken:
                await asyncio.to_thread(servers.close)
                servers = Servers()
                await servers.start()
    except asyncio.CancelledError:
        print("chaos: ended early", flush=True)
    finally:
        servers.close()
    return done


def summarise(runs: Sequence[Run], kinds: Sequence[str]) -> int:
    """Print the summary and return the exit code."""
    happened = sum((run.happened for run in runs), Counter[str]())
    drawn = {due.kind for run in runs for due in run.plan.faults}
    never = [kind for kind in kinds if kind in drawn and not happened[kind]]
    failed = [run.plan.seed for run in runs if faults_of(run)]
    print("faults injected: " + ", ".join(f"{kind} {happened[kind]}" for kind in KINDS if happened[kind]))
    verdicts = [run.verdict for run in runs]
    explained = sum((verdict.explained for verdict in verdicts), Counter[str]())
    print(
        f"rows checked: trades {sum(verdict.sent for verdict in verdicts)} produced "
        f"and {sum(verdict.stored for verdict in verdicts)} stored, "
        f"{explained.total()} missing with a reason; candles {sum(verdict.candles for verdict in verdicts)}, "
        f"books {sum(verdict.books for verdict in verdicts)}, quotes {sum(verdict.quotes for verdict in verdicts)}; "
        f"ticks of other symbols beside bad elements {sum(verdict.beside for verdict in verdicts)}"
    )
    for reason, count in explained.most_common():
        print(f"missing: {count} {reason}")
    if not_drawn := [kind for kind in kinds if kind not in drawn]:
        print(f"not drawn, which more runs would: {', '.join(not_drawn)}")
    if never:
        print(f"drawn, but never injected: {', '.join(never)}")
    if failed:
        print(f"failed: {len(failed)} of {len(runs)} runs, seeds {', '.join(map(str, failed))}")
    print("chaos: " + ("every row is accounted for" if not (never or failed) else "NOT every row is accounted for"))
    return 1 if never or failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="deploy/chaos.sh", description="Random faults from a seed, checked against an oracle.")
    made.add_argument("--runs", type=int, default=3, metavar="N", help="number of runs; default: 3")
    made.add_argument(
        "--seed", type=int, default=time.time_ns() % 10**6, metavar="S", help="seed of the first run; default: random"
    )
    made.add_argument(
        "--kinds",
        type=kinds_of,
        default=list(KINDS),
        metavar="A,B",
        help=f"kinds of fault to draw from; default: all ({', '.join(KINDS)})",
    )
    made.add_argument(
        "--fuzz",
        type=int,
        nargs="?",
        const=FUZZ_INPUTS,
        metavar="N",
        help=f"instead of runs, N mutated payloads; default: {FUZZ_INPUTS}",
    )
    made.add_argument("--mutate", choices=sorted(MUTATIONS), help="test the checker: change one row, so that the exit code is 1")
    return made


def kinds_of(text: str) -> list[str]:
    """Parses `A,B`. Raises ArgumentTypeError for an unknown kind."""
    names = text.split(",")
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"unknown kind '{name}'; known: {', '.join(KINDS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
