"""The state of sources, pollers and maintenance tasks in the status and in logs."""

from __future__ import annotations

import json

import msgspec
import pytest

from ingest.sources.run_state import RunState, State


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (RunState(State.OK), "ok"),
        (RunState(State.DISABLED, "no key"), "disabled: no key"),
    ],
)
def test_the_text_of_a_state_has_its_detail(state: RunState, text: str) -> None:
    assert str(state) == text


def test_the_status_has_state_and_detail_separately() -> None:
    status = json.loads(msgspec.json.encode(RunState(State.FAILING, "HTTP 503").status()))
    assert status == {"state": "failing", "detail": "HTTP 503"}


def test_every_state_is_a_word() -> None:
    assert all(state.value.isalpha() and state.value.islower() for state in State)
