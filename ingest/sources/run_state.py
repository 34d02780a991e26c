"""The state of what the daemon runs: a source, a poller, the gap filler of an exchange, a maintenance task, a writer.

A client compares `state` with the values of `State`; `detail` is a sentence for people.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class State(StrEnum):
    """The state of a source, a task or a writer."""

    WAITING = "waiting"  # it has not done anything yet
    CONNECTING = "connecting"  # it opens its connections
    OK = "ok"  # it works
    PARTIAL = "partial"  # it works, but a part of it fails: one connection, one coin
    FAILING = "failing"  # its last attempt failed; it retries by itself
    HELD = "held"  # it keeps its rows until a person corrects the cause
    STANDBY = "standby"  # another daemon holds the lease for this work
    DISABLED = "disabled"  # the configuration does not allow it, or the provider refused the key or the request
    STOPPED = "stopped"  # it does not try again until the configuration is changed


class RunState(Struct, frozen=True):
    """A state and, for people, its reason; `detail` is empty where there is no more to add."""

    state: State
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}" if self.detail else str(self.state)

    def status(self) -> dict[str, object]:
        """Both fields, as the status shows them."""
        return {"state": self.state, "detail": self.detail}
