"""A megabyte of anything gives a provider's module an error, or few pieces of evidence, and leaves time for other tasks."""

from __future__ import annotations

import pytest

from ingest.polling.elements import MAX_EVIDENCE
from ingest.protocol.decode import MAX_PAYLOAD, Malformed
from tests.support.fuzz.faults import SLOW
from tests.support.fuzz.pollers import case, normal, run
from tests.support.hostile_bodies import HOSTILE, filled
from tests.support.provider_cases import CASES

REQUESTS = 10  # of a turn that are answered so


@pytest.mark.parametrize("name", CASES)
def test_the_evidence_of_a_hostile_body_is_bounded(name: str, real: object) -> None:
    for kind, body in HOSTILE.items():
        turned = run(name, dict.fromkeys(range(REQUESTS), body))
        assert not turned.crash, (kind, case(name), turned.crash)
        assert turned.slowest < SLOW, kind
        bad = [one for one in turned.told if isinstance(one, Malformed)]
        assert len(bad) <= (MAX_EVIDENCE + 1) * len(turned.bodies), kind
        assert all(len(one.payload) <= MAX_PAYLOAD for one in bad)


@pytest.mark.parametrize("name", CASES)
def test_a_megabyte_of_rows_leaves_time_for_other_tasks(name: str, real: object) -> None:
    bodies = normal(name).bodies
    number = max(range(len(bodies)), key=lambda place: len(bodies[place]))
    for body in filled(bodies[number], case(name).pattern):
        turned = run(name, {number: body})
        assert not turned.crash, turned.crash
        assert turned.slowest < SLOW


@pytest.mark.parametrize("name", ["mastodon", "stocktwits", "reddit", "telegram"])
def test_a_post_of_a_megabyte_is_cut_before_it_is_read(name: str, real: object) -> None:
    body = normal(name).bodies[0]
    turned = run(name, {0: body.replace(b"chart1", b"BTC " * 200_000).replace(b"good 1", b"BTC " * 200_000)})
    assert turned.records
    assert turned.slowest < SLOW
