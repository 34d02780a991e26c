"""A megabyte of anything gives a provider's module an error, or few pieces of evidence. `deploy/bench.sh soak` shows the time."""

from __future__ import annotations

import pytest

from ingest.polling.elements import MAX_EVIDENCE
from ingest.protocol.decode import MAX_PAYLOAD, Malformed
from tests.support.fuzz.pollers import case, run
from tests.support.hostile_bodies import HOSTILE
from tests.support.provider_cases import CASES

REQUESTS = 10  # of a turn that are answered so


@pytest.mark.parametrize("name", CASES)
def test_the_evidence_of_a_hostile_body_is_bounded(name: str, real: object) -> None:
    for kind, body in HOSTILE.items():
        turned = run(name, dict.fromkeys(range(REQUESTS), body))
        assert not turned.crash, (kind, case(name), turned.crash)
        bad = [one for one in turned.told if isinstance(one, Malformed)]
        assert len(bad) <= (MAX_EVIDENCE + 1) * len(turned.bodies), kind
        assert all(len(one.payload) <= MAX_PAYLOAD for one in bad)
