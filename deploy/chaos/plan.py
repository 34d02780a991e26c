"""The plan of one run, drawn from its seed: the same seed and kinds give the same plan. Pure.

A plan has the faults with their times, and the configuration of the daemon. The code of the faults is in `database_faults.py`,
`daemon_faults.py`, `exchange_faults.py` and `bad_elements.py`. Each run kills the database, and kills or terminates the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

SECONDS = 9.0  # all faults begin within this time; some take longer
DURABILITIES = ("memory", "spool", "always")

KINDS = {
    "database_kill": "SIGKILL of the server and every backend, then it starts again",
    "database_stop": "SIGSTOP of the server: connections stay open and nothing answers",
    "database_restart": "a fast shutdown and a start",
    "failover_sync": "a failover to a synchronous standby, and back",
    "failover_async": "a failover to a standby that lags: committed rows are lost",
    "disk_full": "no room in the tablespace",
    "slow_commits": "each COMMIT takes between 0.3 and 1.5 s longer",
    "cut_copy": "the connection is cut in the middle of a COPY",
    "cut_commit": "the connection is cut after COMMIT was sent, before its response",
    "dns_gone": "the database's name does not resolve while its connections are cut",
    "pooler": "PgBouncer in transaction mode is between daemon and database, and is killed once",
    "chunk_compress": "the chunk that rows are written to is compressed",
    "chunk_drop": "the chunk that rows are written to is dropped; rows that are written afterwards must be stored",
    "rest_429": "the exchange's REST API responds with 429",
    "rest_418": "the exchange's REST API responds with 418",
    "rest_5xx": "the exchange's REST API responds with 503",
    "silence": "the exchange sends nothing for 1 to 3.5 s, and never sends the events of that time",
    "partial_frames": "messages arrive in fragments, and the connection ends in the middle of a message",
    "sequence_gap": "some messages are never sent",
    "duplicate_frames": "some messages are sent twice",
    "reordered_frames": "some messages are sent after their successors",
    "symbol_refused": "the exchange refuses each command that names one of the symbols",
    "acknowledged_silence": "the exchange acknowledges the subscription of one stream and sends nothing on it",
    "notice": "the exchange sends messages that its documentation does not have, and announces maintenance",
    "odd_level": "depth updates and snapshots have an impossible level",
    "far_time": "messages have times of the year 9999",
    "flood": "the exchange sends empty messages as fast as they are read",
    "daemon_kill": "SIGKILL of the daemon",
    "daemon_term": "SIGTERM of the daemon",
    "spool_full": "no room on the disk of the spool while the database does not answer",
    "spool_flip": "a bit of a spool file has changed when the daemon reads it after a kill",
    "clock_step": "the daemon's clock is stepped by 2 to 60 s, forwards or backwards, and back again",
}
DATABASE_KILLS = {"database_kill", "failover_sync", "failover_async"}
DAEMON_ENDS = {"daemon_kill", "daemon_term", "spool_flip"}
_SPOOLED = {"spool_full", "spool_flip"}
_ALONE = {"failover_sync", "failover_async", "disk_full"}  # each needs its own servers, so a run has at most one of them


class Due(Struct, frozen=True, order=True):
    """One fault, and when it begins, in seconds from the start of trading."""

    at: float
    kind: str


class Plan(Struct, frozen=True):
    """One run. With `hosts`, the DSN lists both servers of a failover; without, a proxy is redirected to the new primary."""

    seed: int
    durability: str
    hosts: bool
    faults: tuple[Due, ...]

    @property
    def kinds(self) -> set[str]:
        return {due.kind for due in self.faults}


def draw(seed: int, allowed: Sequence[str]) -> Plan:
    """Draw a plan with three to six of the kinds `allowed`. A kill of the database and an end of the daemon are always added."""
    random = Random(seed)
    chosen = _choose(random, sorted(allowed))
    chosen += [kind for kind in ["database_kill"] if kind not in chosen]
    if not DAEMON_ENDS & set(chosen):
        chosen.append(random.choice(["daemon_kill", "daemon_term"]))
    random.shuffle(chosen)
    durability = random.choice(DURABILITIES)
    if _SPOOLED & set(chosen):
        durability = random.choice(DURABILITIES[1:])
    step = SECONDS / len(chosen)
    faults = tuple(sorted(Due(round((i + random.random()) * step, 2), kind) for i, kind in enumerate(chosen)))
    hosts = random.random() < 0.5 and "pooler" not in chosen  # a pooler has one address
    return Plan(seed, durability, hosts, faults)


def _choose(random: Random, allowed: list[str]) -> list[str]:
    """Draw three to six kinds, at most one of `_ALONE`."""
    count = random.randint(3, 6)
    chosen: list[str] = []
    for kind in random.sample(allowed, len(allowed)):
        alone = kind in _ALONE and bool(_ALONE & set(chosen))
        if len(chosen) < count and not alone:
            chosen.append(kind)
    return chosen
