"""The fault suite itself: a short run succeeds, and a single stored row that is changed afterwards is found."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chaos.__main__ import summarise, unavailable
from chaos.course import Run, play
from chaos.judge import judge
from chaos.mutate import mutate
from chaos.plan import draw
from chaos.scene import open_scene
from chaos.servers import Servers

from tests.support.paths import ROOT

pytestmark = pytest.mark.long
KINDS = ("cut_commit", "clock_step", "spool_flip")  # few enough that each run has all of them


async def test_a_run_accounts_for_every_row():
    kinds = ",".join(kind for kind in KINDS if kind not in unavailable())
    command = (sys.executable, "-m", "chaos", "--runs", "1", "--seed", "7", "--kinds", kinds)
    environment = {"PYTHONPATH": "deploy", "PATH": os.environ["PATH"]}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe)
    printed, errors = (text.decode() for text in await process.communicate())
    assert process.returncode == 0, printed + errors
    assert printed.startswith("chaos: 1 runs, seeds 7 to 7\n")
    assert printed.endswith("chaos: every row is accounted for\n")


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers()
    await made.start()
    yield made
    made.close()


async def test_each_mutation_is_noticed(servers: Servers, tmp_path: Path):
    happened: Counter[str] = Counter()
    plan = draw(1, ["database_kill", "daemon_term"])
    async with open_scene(plan, tmp_path, servers) as played:
        first_ms = await play(played, happened)

        async def judged() -> tuple[int, list[str]]:
            verdict = await judge(played, first_ms)
            code = summarise([Run(plan, happened, verdict, 0.0)], [])
            return code, [wrong.partition(", such as")[0] for wrong in verdict.wrong]

        lost, claimed = "BTCUSDT: trades missing without a reason", "BTCUSDT: trades covered by a claim, but not stored"
        unknown = "BTCUSDT: stored, but not sent"
        assert await judged() == (0, [])
        await mutate(played, "drop")
        assert await judged() == (1, [f"{lost}: 1", f"{claimed}: 1"])
        await mutate(played, "alter")
        assert await judged() == (1, [f"{unknown}: 1", f"{lost}: 2", f"{claimed}: 2"])
        await mutate(played, "double")
        assert await judged() == (1, [f"{unknown}: 2", f"{lost}: 2", f"{claimed}: 2"])
