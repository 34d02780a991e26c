"""The plans that the fault suite draws, each from its seed alone, and the runs that it reports as failures."""

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


def test_every_kind_is_drawn_within_fifty_seeds():
    assert {kind for seed in range(50) for kind in draw(seed, list(KINDS)).kinds} == set(KINDS)


def test_other_seeds_give_other_plans():
    assert len({draw(seed, list(KINDS)).faults for seed in range(50)}) == 50


def test_a_plan_of_selected_kinds_also_has_the_kills():
    assert draw(1, ["silence"]).kinds - {"daemon_kill", "daemon_term"} == {"silence", "database_kill"}


def test_every_kind_has_its_function():
    assert FAULTS.keys() == KINDS.keys()


def test_an_unknown_kind_is_refused_by_name():
    assert kinds_of("silence,dns_gone") == ["silence", "dns_gone"]
    with pytest.raises(argparse.ArgumentTypeError, match="unknown kind 'earthquake'; known: database_kill, "):
        kinds_of("silence,earthquake")


def run_of(sent: int = ROWS, *happened: str, wrong: tuple[str, ...] = (), broken: str = "") -> Run:
    verdict = Verdict(sent=sent, stored=sent, wrong=list(wrong))
    return Run(Plan(7, "memory", False, ()), Counter(happened), verdict, 1.0, broken)


ENOUGH = ("database_kill", "daemon_term")


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (run_of(ROWS, *ENOUGH), []),
        (run_of(ROWS - 1, *ENOUGH), ["only 9999 trades happened"]),
        (run_of(ROWS, "daemon_kill"), ["no kill of the database"]),
        (run_of(ROWS, "failover_async"), ["no end of the daemon"]),
        (run_of(ROWS, *ENOUGH, wrong=("one row",)), ["one row"]),
        (run_of(ROWS, *ENOUGH, broken="Late: it never began"), ["the run itself: Late: it never began"]),
    ],
)
def test_a_run_with_too_few_trades_or_faults_is_a_failure(run: Run, why: list[str], capsys: pytest.CaptureFixture[str]):
    assert faults_of(run) == why
    assert summarise([run], []) == (1 if why else 0)
    assert ("seeds 7" in capsys.readouterr().out) == bool(why)


def test_a_kind_that_was_never_injected_is_a_failure(capsys: pytest.CaptureFixture[str]):
    runs = [run_of(ROWS, *ENOUGH), run_of(ROWS, "silence", *ENOUGH)]
    assert summarise(runs, ["silence", "database_kill"]) == 0
    assert summarise(runs, ["silence", "dns_gone"]) == 1
    printed = capsys.readouterr().out
    assert "faults injected: database_kill 2, silence 1, daemon_term 2\n" in printed
    assert "never injected: dns_gone\n" in printed
