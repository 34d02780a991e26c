"""What the daemon and the commands count: the rows of each table, gaps and errors. Plain numbers, without a registry of metrics.

`ingest.metrics` exports them when it is scraped; a command that serves no metrics only counts. An addition takes 30 ns, a labelled
counter of prometheus_client a microsecond.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import accumulate
from typing import Protocol

# seconds; up to minutes, so that the lag of an outage of the database is visible
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROW_BUCKETS = (1, 10, 100, 500, 1000, 2500, 5000, 10000, 20000)


class Histogram:
    """How many observations were at most as large as each bound. https://prometheus.io/docs/concepts/metric_types/#histogram"""

    def __init__(self, bounds: tuple[float, ...] = LAG_BUCKETS) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    @property
    def count(self) -> int:
        return sum(self._counts)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound, observations up to it), the last bound infinite."""
        return list(zip((*self.bounds, float("inf")), accumulate(self._counts), strict=True))


class CountedQueue(Protocol):
    """What `Tally` reads from a queue of its table."""

    @property
    def counted_rows(self) -> int:
        """Rows that are decoded and have no outcome yet, in flight included."""

    @property
    def oldest(self) -> int:
        """When the oldest of these rows was received, in microseconds; the present time for an empty queue."""

    @property
    def max_rows(self) -> int: ...


class Tally:
    """The row totals of one table by outcome, and the state of its queues and its writer.

    decoded + recovered = written + revised + duplicate + shed + rejected + expired + queued + spooled
    """

    def __init__(self, table: str) -> None:
        self.table = table
        self.decoded = 0
        self.recovered = 0
        self.written = 0
        self.revised = 0
        self.duplicate = 0
        self.expired = 0
        self.spooled = 0
        self.shed: Counter[str] = Counter()  # by reason
        self.rejected: Counter[str] = Counter()  # by reason
        self.queues: list[CountedQueue] = []
        self.put_wait = Histogram()  # seconds that a reader waited for room
        self.commit_lag = Histogram()  # seconds from received to committed
        self.event_to_commit_lag = Histogram()  # seconds
        self.batch_rows = Histogram(ROW_BUCKETS)
        self.write_duration: defaultdict[str, Histogram] = defaultdict(Histogram)  # by method, seconds
        self.retries: Counter[str] = Counter()  # by SQLSTATE
        self.holds = 0
        self.held = False
        self.last_success: float | None = None  # Unix time in seconds

    @property
    def queued(self) -> int:
        return sum(queue.counted_rows for queue in self.queues)

    def __str__(self) -> str:
        """The equation of the row totals, term by term."""
        came = f"decoded {self.decoded}, recovered {self.recovered}"
        stored = f"written {self.written}, revised {self.revised}, duplicate {self.duplicate}"
        lost = f"shed {self.shed.total()}, rejected {self.rejected.total()}, expired {self.expired}"
        return f"{came} = {stored}, {lost}, queued {self.queued}, spooled {self.spooled}"

    def balance(self) -> int:
        """Left side minus right side of the equation: zero unless a row was lost or counted twice."""
        came = self.decoded + self.recovered
        gone = self.written + self.revised + self.duplicate + self.shed.total() + self.rejected.total() + self.expired
        return came - gone - self.queued - self.spooled


class Tallies(dict[str, Tally]):
    """The tally of each table; a lookup of a new table adds one."""

    def __missing__(self, table: str) -> Tally:
        tally = self[table] = Tally(table)
        return tally


class Counters:
    """Everything that is counted of one daemon or command."""

    def __init__(self) -> None:
        self.tallies = Tallies()
        self.errors: Counter[tuple[str, str, str]] = Counter()  # by (source or "", stage, type)
        self.gaps: Counter[tuple[str, str, str]] = Counter()  # by (source, channel, reason)
        self.gaps_healed: Counter[tuple[str, str, str]] = Counter()  # by (source, channel, reason)
        self.evidence_checks: Counter[tuple[str, str, str]] = Counter()  # by (source, channel, result)
        self.gap_open_seconds: dict[tuple[str, str], float] = {}  # by (source, channel): the length of all open gaps
