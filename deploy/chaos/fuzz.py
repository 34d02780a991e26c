"""`deploy/chaos.sh --fuzz N`: N random mutations of real payloads through every parser, in one process for each core.

The inputs follow from the seed alone, whatever the number of processes. Findings and their payloads are written to `.local/fuzz`.
The rules are those of `tests/support/fuzz`, the payloads those of the tests.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path
from random import Random

from cluster import CHECKOUT
from msgspec import Struct

from tests.support.fuzz.targets import MUTATIONS, TARGETS, Choices
from tests.support.mutations import Choice
from tests.support.paths import REAL

PART = 200  # inputs that a process takes at once
STUCK_SECONDS = 60  # a parser that takes longer is interrupted, and counts as crashed
KEPT = CHECKOUT / ".local" / "fuzz"
SHOWN = 3  # findings of one kind that are printed and kept
NAMES = list(TARGETS)


class Found(Struct, frozen=True):
    """One finding: its target, its text, and the mutated payloads."""

    target: str
    text: str
    inputs: list[bytes]

    @property
    def kind(self) -> str:
        """The target and the text without its values, to count findings of one cause."""
        return re.sub(r"[0-9]+|'.*?'|\".*?\"|=.*", "#", f"{self.target}: {self.text}")[:90]


class Part(Struct):
    """The result of one part: findings, the slowest call with its payloads, and the memory of the process in MiB."""

    target: str
    inputs: int = 0
    found: list[Found] = []
    slowest: float = 0.0  # seconds of CPU
    slow_inputs: list[bytes] = []
    mebibytes: int = 0


def choose(random: Random, target: str) -> Choices:
    """The mutations of one run."""
    most = MUTATIONS[target.partition(" ")[0]]
    return [(random.getrandbits(20), Choice(*(random.getrandbits(20) for _ in range(3)))) for _ in range(random.randint(1, most))]


def fuzz_part(task: tuple[int, int, int]) -> Part:
    """The part of this number of a seed, of this many inputs."""
    seed, number, inputs = task
    signal.signal(signal.SIGALRM, _interrupt)
    part = Part(NAMES[number % len(NAMES)])
    random, judge = Random(f"{seed} {number}"), TARGETS[part.target]
    while part.inputs < inputs:
        choices = choose(random, part.target)
        signal.alarm(STUCK_SECONDS)
        faults = judge(choices)
        signal.alarm(0)
        part.inputs += max(1, len(faults.kinds))
        if faults.slowest > part.slowest:
            part.slowest, part.slow_inputs = faults.slowest, faults.inputs
        if faults.found:
            part.found += minimal(part.target, choices)
    part.mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return part


def _interrupt(*_: object) -> None:
    raise TimeoutError(f"more than {STUCK_SECONDS} s")


def minimal(target: str, choices: Choices) -> list[Found]:
    """The findings of a run with as few of its mutations as show them."""
    judge = TARGETS[target]
    for choice in list(choices):
        fewer = [one for one in choices if one is not choice]
        if fewer and judge(fewer).found:
            choices = fewer
    faults = judge(choices)
    return [Found(target, f"{text} [{', '.join(faults.kinds)}]", faults.inputs) for text in faults.found]


def main(inputs: int, seed: int) -> int:
    """Fuzz and print the summary. Returns the exit code: 1 for any finding but a slow call."""
    if not REAL.is_dir():
        print(f"fuzz: the real payloads are absent: {REAL}")
        return 2
    cores = os.cpu_count() or 1
    print(f"fuzz: {inputs} inputs, seed {seed}, {len(NAMES)} parsers, {cores} processes", flush=True)
    tasks = [(seed, number, min(PART, inputs - start)) for number, start in enumerate(range(0, inputs, PART))]
    shutil.rmtree(KEPT / str(seed), ignore_errors=True)
    began, parts = time.monotonic(), []
    with Pool(cores) as pool:
        for part in pool.imap_unordered(fuzz_part, tasks):
            parts.append(part)
            if len(parts) % 500 == 0:
                print(f"fuzz: {sum(one.inputs for one in parts)} inputs, {time.monotonic() - began:.0f} s", flush=True)
    return summarise(parts, KEPT / str(seed), time.monotonic() - began)


def summarise(parts: Sequence[Part], folder: Path, seconds: float) -> int:
    found = [one for part in parts for one in part.found]
    kinds = Counter(one.text.partition(":")[0] for one in found)
    for kind, number in Counter(one.kind for one in found).most_common():
        of_kind = sorted((one for one in found if one.kind == kind), key=lambda one: sum(map(len, one.inputs)))
        for path, one in zip(_kept(folder, kind, of_kind), of_kind, strict=False):
            print(f"{number} times {one.target}: {one.text[:300]}\n    {path}")
    slowest = max(parts, key=lambda part: part.slowest)
    (path,) = _kept(folder, f"slowest {slowest.target}", [Found(slowest.target, "slowest", slowest.slow_inputs)])
    print(
        f"fuzz: {sum(part.inputs for part in parts)} inputs in {seconds:.0f} s: crashes {kinds['crash'] + kinds['output']}, "
        f"wrong rows {kinds['wrong row']}, lost neighbours {kinds['lost neighbour'] + kinds['silent']}, "
        f"too much evidence {kinds['evidence']}, slow calls {kinds['slow']}"
    )
    print(f"fuzz: slowest call {slowest.slowest:.3f} s of CPU, {slowest.target}: {path}")
    print(f"fuzz: peak memory {max(part.mebibytes for part in parts)} MiB in one process")
    return 1 if kinds.total() > kinds["slow"] else 0


def _kept(folder: Path, kind: str, found: Sequence[Found]) -> Iterator[Path]:
    """Writes the payloads of the first findings of a kind; yields their paths."""
    for number, one in enumerate(found[:SHOWN]):
        path = folder / f"{re.sub('[^a-z0-9]+', '_', kind.lower())}_{number}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "finding").write_text(f"{one.target}: {one.text}\n", errors="backslashreplace")
        for place, payload in enumerate(one.inputs):
            (path / f"payload_{place}").write_bytes(payload)
        yield path
