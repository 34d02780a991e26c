"""No payload breaks a parser: mutated real payloads for every session, listing and poller.

`tests/support/fuzz` has the rules. The inputs are the same in each run; `deploy/chaos.sh --fuzz` draws others. The last lines of
a run have their number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.fuzz.targets import MUTATIONS, TARGETS
from tests.support.mutations import Choice

RUNS = {"session": 280, "listing": 350, "poller": 110}  # for each target, by the first word of its name
CHOICE = struct.Struct(">4H")  # the number of a payload, and how it is mutated: one draw of bytes is fast


@pytest.mark.parametrize("target", TARGETS)
def test_a_bad_row_costs_itself(target: str, real: Path, record_property: Callable[[str, object], None]) -> None:
    room = target.partition(" ")[0]
    size = CHOICE.size * MUTATIONS[room]
    inputs = 0

    @settings(
        max_examples=RUNS[room],
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=size, max_size=size))
    def check(choices: bytes) -> None:
        nonlocal inputs
        faults = TARGETS[target]([(number, Choice(*rest)) for number, *rest in CHOICE.iter_unpack(choices)])
        inputs += len(faults.kinds)
        assert faults.found == [], (faults.kinds, [payload[:500] for payload in faults.inputs])

    try:
        check()
    finally:
        record_property("mutated inputs", inputs)
