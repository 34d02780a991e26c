"""The fuzzer of `deploy/chaos.sh --fuzz`: its inputs follow from the seed, and what it finds makes it fail."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from random import Random

import pytest
from chaos.fuzz import Found, Part, choose, fuzz_part, summarise

from tests.support.fuzz.targets import MUTATIONS, TARGETS
from tests.support.paths import ROOT

MAX_MEBIBYTES = 400  # of a process; recordings and parsed payloads are most of it


@pytest.mark.parametrize("target", ["session okx", "listing okx", "poller cboe"])
def test_the_choices_follow_from_the_seed(target: str) -> None:
    first, again, other = (choose(Random(seed), target) for seed in ("1 2", "1 2", "1 3"))
    assert first == again != other
    assert 0 < len(first) <= MUTATIONS[target.partition(" ")[0]]


def test_a_part_is_the_same_in_each_process(real: Path) -> None:
    number = list(TARGETS).index("poller cboe")
    first, again = (fuzz_part((7, number, 50)) for _ in range(2))
    assert (first.target, first.inputs, first.found) == (again.target, again.inputs, again.found) == ("poller cboe", 50, [])


def found(text: str) -> Part:
    return Part("poller cboe", 5, [Found("poller cboe", text, [b"DATE"])])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("crash: KeyError: 'x' [value]", 1),
        ("wrong row: CHECK (close > 0) fails: StockIndex() [value]", 1),
        ("lost neighbour: 1, such as StockIndex() [value]", 1),
        ("silent: 1 records [value]", 1),
        ("evidence: 30 outputs [value]", 1),
        ("slow: 0.70 s of CPU for one call [value]", 0),
    ],
)
def test_a_finding_fails_and_its_payload_is_kept(text: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert summarise([found(text), found(text), Part("poller fred", 9)], tmp_path, 1.0) == code
    printed = capsys.readouterr().out
    assert f"2 times poller cboe: {text}\n" in printed
    (kept,) = re.findall(r"^    (\S+_0)$", printed, re.MULTILINE)
    assert (Path(kept, "finding").read_text(), Path(kept, "payload_0").read_bytes()) == (f"poller cboe: {text}\n", b"DATE")


async def test_a_run_prints_its_seed_and_stays_within_its_memory(real: Path) -> None:
    command = (sys.executable, "-m", "chaos", "--fuzz", "600", "--seed", "5")
    environment = {"PYTHONPATH": "deploy", "PATH": os.environ["PATH"]}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
    printed, errors = (text.decode() for text in await process.communicate())
    assert printed.startswith(f"fuzz: 600 inputs, seed 5, {len(TARGETS)} parsers, "), printed + errors
    assert re.search(r"\nfuzz: 6\d\d inputs in \d+ s: crashes \d+, wrong rows \d+, lost neighbours \d+, ", printed)
    assert re.search(r"\nfuzz: slowest call 0\.\d+ s of CPU, [a-z]+ \w+: /", printed)
    memory = re.search(r"\nfuzz: peak memory (\d+) MiB", printed)
    assert memory is not None
    assert int(memory[1]) < MAX_MEBIBYTES
