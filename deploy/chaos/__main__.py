"""`deploy/chaos.sh --runs N --seed S`: the runs with the seeds S to S + N - 1, one after the other.

It exits with 1 if a row is unaccounted for, or if a run or the set tested too little. A run can be repeated alone: `--runs 1` with
its seed and the same kinds.
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

ROOT_ONLY = ("dns_gone", "spool_full", "disk_full")


def main() -> int:
    options = parser().parse_args()
    print(f"chaos: {options.runs} runs, seeds {options.seed} to {options.seed + options.runs - 1}", flush=True)
    impossible = {kind: reason for kind, reason in unavailable().items() if kind in options.kinds}
    for kind, reason in impossible.items():
        print(f"skipped here: {kind}, {reason}")
    kinds = [kind for kind in options.kinds if kind not in impossible]
    runs = uvloop.run(_runs(options, kinds))
    return summarise(runs, kinds)


def unavailable() -> dict[str, str]:
    """The kinds that cannot be injected on this machine, with the reason."""
    lacks = dict.fromkeys(ROOT_ONLY, "only root can mount") if os.geteuid() else {}
    if PGBOUNCER is None:
        lacks["pooler"] = "PgBouncer is not installed"
    if faketime() is None:
        lacks["clock_step"] = "libfaketime is not installed"
    if not installed("community"):
        lacks["chunk_compress"] = "the installed TimescaleDB has no Community edition"
    return lacks


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
    """Print the last lines and return the exit code."""
    happened = sum((one.happened for one in runs), Counter[str]())
    never = [kind for kind in kinds if not happened[kind]]
    failed = [one.plan.seed for one in runs if faults_of(one)]
    print("faults injected: " + ", ".join(f"{kind} {happened[kind]}" for kind in KINDS if happened[kind]))
    verdicts = [one.verdict for one in runs]
    explained = sum((one.explained for one in verdicts), Counter[str]())
    print(
        f"rows checked: trades {sum(one.sent for one in verdicts)} produced and {sum(one.stored for one in verdicts)} stored, "
        f"{explained.total()} missing with a reason; candles {sum(one.candles for one in verdicts)}, "
        f"books {sum(one.books for one in verdicts)}, quotes {sum(one.quotes for one in verdicts)}"
    )
    for reason, count in explained.most_common():
        print(f"missing: {count} {reason}")
    if never:
        print(f"never injected: {', '.join(never)}")
    if failed:
        print(f"failed: {len(failed)} of {len(runs)} runs, seeds {', '.join(map(str, failed))}")
    print("chaos: " + ("every row is accounted for" if not (never or failed) else "NOT every row is accounted for"))
    return 1 if never or failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="deploy/chaos.sh", description="Random faults from a seed, checked against an oracle.")
    made.add_argument("--runs", type=int, default=3, metavar="N")
    made.add_argument("--seed", type=int, default=time.time_ns() % 10**6, metavar="S", help="of the first run; by default, any")
    made.add_argument("--kinds", type=kinds_of, default=list(KINDS), metavar="A,B", help=f"of: {', '.join(KINDS)}")
    made.add_argument("--mutate", choices=sorted(MUTATIONS), help="tamper with one stored row: the exit code must be 1")
    return made


def kinds_of(text: str) -> list[str]:
    """The kinds that an argument names. Raises ArgumentTypeError for an unknown one."""
    names = text.split(",")
    for name in names:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"unknown kind '{name}'; known: {', '.join(KINDS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
