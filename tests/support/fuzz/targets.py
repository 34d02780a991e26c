"""Everything that is fuzzed, by name: the session and the listing of each exchange, and each poller and its history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ingest import registry
from tests.support.fuzz import listings, pollers, sessions
from tests.support.fuzz.faults import Faults
from tests.support.mutations import Choice
from tests.support.provider_cases import CASES, HISTORIES

Choices = Sequence[tuple[int, Choice]]  # (the number of the frame or response, how it is mutated)

TARGETS: dict[str, Callable[[Choices], Faults]] = {
    **{f"session {name}": partial(sessions.judge, name) for name in sessions.SESSIONS},
    **{f"listing {name}": partial(listings.judge, name) for name in sorted(registry.exchanges())},
    **{f"poller {name}": partial(pollers.judge, name) for name in sorted((*CASES, *HISTORIES))},
}
MUTATIONS = {"session": 7, "listing": 1, "poller": 3}  # the most of one run, by the first word of the target
