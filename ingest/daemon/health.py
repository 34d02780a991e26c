"""The health of the writers for /livez and the status, and notifications to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from ingest.sources.run_state import RunState, State

if TYPE_CHECKING:
    from ingest.pipeline.writer import Writer  # `ingest status` imports DaemonState and needs no pipeline

STUCK_SECONDS = 180.0  # longer than the timeout of any statement


class DaemonState(StrEnum):
    """The state of the daemon as a whole."""

    STARTING = "starting"  # the database has not answered yet; with a spool, rows may already be received
    READY = "ready"
    UNREADY = "unready"  # it runs, but a part of it does not work; the detail names the part
    STOPPING = "stopping"  # it drains after a signal


def stuck(writers: Mapping[str, Writer]) -> list[str]:
    """A sentence for each writer that has rows and does nothing. A writer that retries is not stuck: a restart would not help."""
    idle = {name: _idle_seconds(writer) for name, writer in writers.items() if writer.queue.rows}
    return [f"{name}: the writer has done nothing for {seconds:.0f} s" for name, seconds in idle.items() if seconds > STUCK_SECONDS]


def _idle_seconds(writer: Writer) -> float:
    # a writer without rows may be inactive, so the time counts from the receipt of the oldest row at the earliest
    return min(time.monotonic() - writer.last_active_at, time.time() - writer.queue.oldest / 1e6)


def writer_state(writer: Writer) -> RunState:
    """The state of a table's writer: ok, failing (it retries), or held."""
    if writer.held is not None:
        return RunState(State.HELD, writer.held)
    if writer.retrying is not None:
        return RunState(State.FAILING, writer.retrying)
    return RunState(State.OK)


def queue_status(writer: Writer) -> dict[str, object]:
    """The status of one table: state, row totals, and lag in seconds."""
    queue, tally, state = writer.queue, writer.queue.tally, writer_state(writer)
    committed = writer.committed_time
    return {
        "state": state.state,
        "decoded": tally.decoded,
        "recovered": tally.recovered,
        "written": tally.written,
        "revised": tally.revised,
        "duplicate": tally.duplicate,
        "shed": dict(tally.shed),
        "rejected": dict(tally.rejected),
        "expired": tally.expired,
        "queued": queue.rows,
        "spooled": tally.spooled,
        "lag_seconds": None if writer.lag_seconds is None else round(writer.lag_seconds, 3),
        "oldest_seconds": round(time.time() - queue.oldest / 1e6, 3) if queue.rows else 0.0,
        "committed_time": datetime.fromtimestamp(committed / 1e6, UTC).isoformat() if committed else None,
        "detail": state.detail,
    }


def notify(state: str) -> None:
    """Send `state` to systemd, if it set NOTIFY_SOCKET. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html"""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
