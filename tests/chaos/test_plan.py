"""What the fault suite draws and when it is content: a plan is its seed's alone, and too little is a failure."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest
from chaos.__main__ import kinds_of, summarise
from chaos.course import FAULTS, ROWS, Run, faults_of
from chaos.judge import Verdict
from chaos.plan import DAEMON_ENDS, DATABASE_KILLS, KINDS, SECONDS, Plan, draw


@pytest.mark.parametrize("seed", range(50))
def test_a_plan_is_drawn_from_its_seed_and_has_the_kills(seed: int):
    plan = draw(seed, list(KINDS))
    assert plan == draw(seed, sorted(KINDS, reverse=True))
    assert plan.kinds & DATABASE_KILLS
    assert plan.kinds & DAEMON_ENDS
    assert len(plan.faults) == len(plan.kinds)
    assert all(0 <= due.at <= SECONDS for due in plan.faults)
    assert len(plan.kinds & {"failover_sync", "failover_async", "disk_full"}) <= 1
    assert plan.durability != "memory" or not plan.kinds & {"spool_full", "spool_flip"}


def test_every_kind_is_drawn_sooner_or_later():
    assert {kind for seed in range(50) for kind in draw(seed, list(KINDS)).kinds} == set(KINDS)


def test_other_seeds_give_other_plans():
    assert len({draw(seed, list(KINDS)).faults for seed in range(50)}) == 50


def test_asked_for_few_kinds_a_plan_has_them_and_the_kills():
    assert draw(1, ["silence"]).kinds - {"daemon_kill", "daemon_term"} == {"silence", "database_kill"}


def test_every_kind_can_be_done():
    assert FAULTS.keys() == KINDS.keys()


def test_an_unknown_kind_is_refused_by_name():
    assert kinds_of("silence,dns_gone") == ["silence", "dns_gone"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown kind 'earthquake'; known: database_kill, "):
        kinds_of("silence,earthquake")


def made(sent: int = ROWS, *happened: str, wrong: tuple[str, ...] = (), broken: str = "") -> Run:
    verdict = Verdict(sent=sent, stored=sent, wrong=list(wrong))
    return Run(Plan(7, "memory", False, ()), Counter(happened), verdict, 1.0, broken)


ENOUGH = ("database_kill", "daemon_term")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (made(ROWS, *ENOUGH), []),
        (made(ROWS - 1, *ENOUGH), ["only 9999 trades happened"]),
        (made(ROWS, "daemon_kill"), ["no kill of the database"]),
        (made(ROWS, "failover_async"), ["no end of the daemon"]),
        (made(ROWS, *ENOUGH, wrong=("one row",)), ["one row"]),
        (made(ROWS, *ENOUGH, broken="Late: it never began"), ["the run itself: Late: it never began"]),
    ],
)
def test_too_little_is_a_failure(run: Run, why: list[str], capsys: pytest.CaptureFixture[str]):
    assert faults_of(run) == why
    assert summarise([run], []) == (1 if why else 0)
    assert ("seeds 7" in capsys.readouterr().out) == bool(why)


def test_a_kind_that_never_came_is_a_failure(capsys: pytest.CaptureFixture[str]):
    runs = [made(ROWS, *ENOUGH), made(ROWS, "silence", *ENOUGH)]
    assert summarise(runs, ["silence", "database_kill"]) == 0
    assert summarise(runs, ["silence", "dns_gone"]) == 1
    printed = capsys.readouterr().out
    assert "faults injected: database_kill 2, silence 1, daemon_term 2\n" in printed
    assert "never injected: dns_gone\n" in printed
