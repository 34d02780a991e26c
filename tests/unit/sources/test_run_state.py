"""The state of what runs, as the status shows it."""

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
def test_a_log_line_has_the_detail_behind_the_state(state: RunState, text: str) -> None:
    assert str(state) == text


def test_a_client_compares_the_state_and_parses_no_sentence() -> None:
    said = json.loads(msgspec.json.encode(RunState(State.FAILING, "HTTP 503").status()))
    assert said == {"state": "failing", "detail": "HTTP 503"}


def test_every_state_is_a_word() -> None:
    assert all(state.value.isalpha() and state.value.islower() for state in State)
