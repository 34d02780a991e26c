"""How the parts are doing, in words: for /livez, the status page and systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from ingest.pipeline.writer import Writer

STUCK_SECONDS = 180.0  # longer than any statement may take: a writer that has rows and did nothing for so long is stuck


def stuck(writers: Mapping[str, Writer]) -> list[str]:
    """The writers that have rows and do nothing, one line each. The database is not asked: a restart would not mend it."""
    idle = {name: _idle_seconds(writer) for name, writer in writers.items() if writer.lane.rows}
    return [f"{name}: the writer is stuck since {seconds:.0f} s" for name, seconds in idle.items() if seconds > STUCK_SECONDS]


def _idle_seconds(writer: Writer) -> float:
    # a row that comes after a long silence finds a writer that rightly did nothing for long
    return min(time.monotonic() - writer.beat, time.time() - writer.lane.oldest / 1e6)


def lane(writer: Writer) -> dict[str, object]:
    """One lane and what became of its rows."""
    lane, tally = writer.lane, writer.lane.tally
    committed = writer.committed_time
    return {
        "decoded": tally.decoded,
        "recovered": tally.recovered,
        "written": tally.written,
        "revised": tally.revised,
        "duplicate": tally.duplicate,
        "shed": dict(tally.shed),
        "rejected": dict(tally.rejected),
        "expired": tally.expired,
        "queued": lane.rows,
        "spooled": tally.spooled,
        "lag_seconds": None if writer.lag_seconds is None else round(writer.lag_seconds, 3),
        "oldest_seconds": round(time.time() - lane.oldest / 1e6, 3) if lane.rows else 0.0,
        "committed_time": datetime.fromtimestamp(committed / 1e6, UTC).isoformat() if committed else None,
        "held": writer.held,
        "retrying": writer.retrying,
    }


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told. https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html"""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
