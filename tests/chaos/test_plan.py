"""The plans that the fault suite draws, each from its seed alone, and the runs that it reports as failures."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from chaos.__main__ import kinds_of, summarise
from chaos.course import FAULTS, ROWS, Run, faults_of
from chaos.judge import Verdict
from chaos.judge_beside import lost_trades, ticks
from chaos.ledger import Explanation
from chaos.plan import DAEMON_ENDS, DATABASE_KILLS, KINDS, SECONDS, Due, Plan, draw
from chaos.scene import Beside, Scene
from msgspec import structs

from ingest.simulator.oracle import OracleTrade


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


def test_a_kind_that_was_drawn_and_never_injected_is_a_failure(capsys: pytest.CaptureFixture[str]):
    quiet = run_of(ROWS, *ENOUGH)
    drawn = structs.replace(quiet, plan=Plan(7, "memory", False, (Due(1.0, "silence"), Due(2.0, "database_kill"))))
    assert summarise([drawn, run_of(ROWS, "silence", *ENOUGH)], ["silence", "database_kill"]) == 0
    assert summarise([drawn], ["silence", "database_kill"]) == 1
    printed = capsys.readouterr().out
    assert "faults injected: database_kill 2, silence 1, daemon_term 2\n" in printed
    assert "drawn, but never injected: silence\n" in printed
    assert "not drawn" not in printed


def test_a_kind_that_was_not_drawn_is_only_printed(capsys: pytest.CaptureFixture[str]):
    assert summarise([run_of(ROWS, *ENOUGH)], ["dns_gone"]) == 0
    assert "not drawn, which more runs would: dns_gone\n" in capsys.readouterr().out


TRADES = [OracleTrade(number, 1000 * number, "1", "1", "buy") for number in range(1, 6)]


@pytest.mark.parametrize(
    ("reason", "lost"),
    [
        ("unrecoverable sequence", [2, 3]),
        ("open refused, open sequence", [2, 3]),
        ("open shed", []),
        ("open sequence, open shed", []),
        (None, []),
    ],
)
def test_a_trade_beside_a_bad_element_is_lost_where_only_the_feed_is_the_reason(reason: str | None, lost: list[int]):
    scene = Scene(Plan(7, "memory", False, ()), Path(), cast(Any, None), cast(Any, None))
    scene.beside.append(Beside(1500, 3500, frozenset({"BTCUSDT"})))
    answers = [Explanation("BTCUSDT", trade.id, False, reason) for trade in TRADES]
    assert lost_trades(scene, TRADES, answers) == lost


def test_the_ticks_beside_a_bad_element_are_those_of_the_grid():
    assert list(ticks(Beside(1001, 2600, frozenset()))) == [1500, 2000, 2500]
