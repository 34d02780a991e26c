"""The plan of one run, drawn from its seed: the same seed and kinds give the same plan. Pure.

A plan has the faults with their times, and the configuration of the daemon. The faults themselves are in the modules beside this
one. A run always kills the database, and kills or terminates the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from msgspec import Struct

SECONDS = 9.0  # within which faults begin; some take longer
DURABILITIES = ("memory", "spool", "always")

KINDS = {
    "database_kill": "SIGKILL of the server and every backend, then it starts again",
    "database_stop": "SIGSTOP of the server: connections stay open and nothing answers",
    "database_restart": "a fast shutdown and a start",
    "failover_sync": "a failover to a synchronous standby, and back",
    "failover_async": "a failover to a standby that lags: committed rows are lost",
    "disk_full": "no room in the tablespace",
    "slow_commits": "each COMMIT takes a second",
    "cut_copy": "the connection is cut in the middle of a COPY",
    "cut_commit": "the connection is cut after COMMIT was sent, before its answer",
    "dns_gone": "the database's name does not resolve while its connections are cut",
    "pooler": "PgBouncer in transaction mode is between daemon and database, and is killed once",
    "chunk_compress": "the chunk that rows are written to is compressed",
    "chunk_drop": "the chunk that rows are written to is dropped; what is written afterwards must be stored",
    "rest_429": "the exchange's REST answers 429",
    "rest_418": "the exchange's REST answers 418",
    "rest_5xx": "the exchange's REST answers 503",
    "silence": "the exchange sends nothing for a while, and does not send later what happened meanwhile",
    "partial_frames": "messages in fragments, and one that the end of its connection cuts off",
    "sequence_gap": "messages that are never sent",
    "duplicate_frames": "messages that are sent twice",
    "reordered_frames": "messages that are sent after their successors",
    "daemon_kill": "SIGKILL of the daemon",
    "daemon_term": "SIGTERM of the daemon",
    "spool_full": "no room on the disk of the spool while the database is away",
    "spool_flip": "a byte of the spool has changed when the daemon reads it again",
    "clock_step": "the daemon's clock goes ahead or back, and returns",
}
DATABASE_KILLS = {"database_kill", "failover_sync", "failover_async"}
DAEMON_ENDS = {"daemon_kill", "daemon_term", "spool_flip"}
_SPOOLED = {"spool_full", "spool_flip"}
_ALONE = {"failover_sync", "failover_async", "disk_full"}  # each needs servers of its own: at most one per run


class Due(Struct, frozen=True, order=True):
    """One fault, and when it begins, in seconds from the first trade."""

    at: float
    kind: str


class Plan(Struct, frozen=True):
    """One run. `hosts`: the DSN lists both servers of a failover, instead of one address that is redirected."""

    seed: int
    durability: str
    hosts: bool
    faults: tuple[Due, ...]

    @property
    def kinds(self) -> set[str]:
        return {due.kind for due in self.faults}


def draw(seed: int, allowed: Sequence[str]) -> Plan:
    """The plan of a run with some of the kinds `allowed`, and always the kills."""
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
    """Three to six of them."""
    count = random.randint(3, 6)
    chosen: list[str] = []
    for kind in random.sample(allowed, len(allowed)):
        alone = kind in _ALONE and bool(_ALONE & set(chosen))
        if len(chosen) < count and not alone:
            chosen.append(kind)
    return chosen
