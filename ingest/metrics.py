"""Every metric, declared once. Labels are source, stream, table, reason and the like; never an instrument.

The identity, per table: decoded + recovered = written + revised + duplicate + shed + rejected + expired + queued + spooled.
Its terms are kept in a `Tally` as plain integers (a labelled counter costs a microsecond, an addition 30 ns), read at scrape time.
https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterator

import prometheus_client as prom
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

# promscale had to append minutes to the defaults: a database that is away for a while must still be seen
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Tally:
    """The fate of every row of one table. `queued` and the like are read from the lanes through `depths`."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.decoded = 0
        self.recovered = 0
        self.written = 0
        self.revised = 0
        self.duplicate = 0
        self.expired = 0
        self.spooled = 0
        self.shed: Count[str] = Count()
        self.rejected: Count[str] = Count()
        self.depths: list[Callable[[], int]] = []  # rows in a lane, in flight included

    @property
    def queued(self) -> int:
        return sum(depth() for depth in self.depths)

    def __str__(self) -> str:
        """Every term of the identity, in words."""
        came = f"decoded {self.decoded}, recovered {self.recovered}"
        stored = f"written {self.written}, revised {self.revised}, duplicate {self.duplicate}"
        lost = f"shed {self.shed.total()}, rejected {self.rejected.total()}, expired {self.expired}"
        return f"{came} = {stored}, {lost}, queued {self.queued}, spooled {self.spooled}"

    def balance(self) -> int:
        """Zero, unless a row was lost or counted twice."""
        came = self.decoded + self.recovered
        gone = self.written + self.revised + self.duplicate + self.shed.total() + self.rejected.total() + self.expired
        return came - gone - self.queued - self.spooled


class Metrics:
    """All metrics of one daemon, in a registry of its own, so that two daemons can live in one process."""

    def __init__(self) -> None:
        self.registry = prom.CollectorRegistry()
        self.tallies: dict[str, Tally] = {}
        self.registry.register(_Flow(self.tallies))
        prom.ProcessCollector(registry=self.registry)
        prom.PlatformCollector(registry=self.registry)
        self._add_process()
        self._add_sources()
        self._add_coverage()
        self._add_rows()

    def _add_process(self) -> None:
        self.errors = self._counter("errors", "Errors, by the stage where they occurred and their type.", "stage", "error_type")
        self.event_loop_lag = self._histogram("event_loop_lag_seconds", "Time by which the event loop woke too late.")
        self.build_info = self._gauge("build_info", "1, with the version as label.", "version")
        self.database_info = self._gauge(
            "database_info",
            "1, with edition and versions of the database as labels.",
            "edition",
            "timescaledb",
            "postgres",
            "schema_version",
        )

    def _add_sources(self) -> None:
        self.messages_received = self._counter("messages_received", "Messages received from an exchange.", "source")
        self.source_connected = self._gauge("source_connected", "Open connections of an exchange.", "source")
        self.source_connects = self._counter("source_connects", "Connections that were opened.", "source")
        self.source_disconnects = self._counter("source_disconnects", "Connections that ended, by reason.", "source", "reason")
        self.source_stale_subscriptions = self._gauge(
            "source_stale_subscriptions", "Subscriptions that have sent nothing for too long.", "source"
        )
        self.source_last_message = self._gauge(
            "source_last_message_timestamp_seconds", "Unix time at which the last message or response arrived.", "source"
        )
        self.poll_requests = self._counter("poll_requests", "Requests that count against a provider's budget.", "source")
        self.poll_filtered = self._counter(
            "poll_filtered", "Posts that are not stored, by the rule that excludes them.", "source", "reason"
        )
        self.reorg_rows_removed = self._counter(
            "reorg_rows_removed", "Rows of blocks that their chain replaced, removed.", "source"
        )
        self.capture_bytes = self._counter("capture_bytes", "Compressed bytes of captures written.", "source")
        self.capture_files_deleted = self._counter(
            "capture_files_deleted", "Capture files that were deleted to stay within the bound.", "source"
        )
        self.capture_lines_lost = self._counter("capture_lines_lost", "Lines of captures that the disk did not take.", "source")

    def _add_coverage(self) -> None:
        self.gaps = self._counter("gaps", "Gaps found, by reason.", "source", "channel", "reason")
        self.gaps_healed = self._counter("gaps_healed", "Gaps that were filled, by reason.", "source", "channel", "reason")
        self.gap_open_seconds = self._gauge(
            "gap_open_seconds", "Total length of the open gaps of an exchange's channel.", "source", "channel"
        )
        self.audit_findings = self._counter(
            "audit_findings", "Differences that the audit found, by comparison; each is a gap.", "source", "channel", "reason"
        )
        self.audit_unresolved = self._counter(
            "audit_unresolved", "Differences that remain after the gap was filled, by comparison.", "source", "channel", "reason"
        )

    def _add_rows(self) -> None:
        self.lag = self._histogram("lag_seconds", "Time from an event to its receipt; sampled.", "source")
        self.commit_lag = self._histogram("commit_lag_seconds", "Time from receipt to commit; at most 64 rows of a batch.", "table")
        self.event_to_commit_lag = self._histogram(
            "event_to_commit_lag_seconds", "Time from an event to its commit; sampled.", "table"
        )
        self.queue_max_rows = self._gauge("queue_max_rows", "Bound of a queue in rows.", "table")
        self.queue_oldest = self._gauge(
            "queue_oldest_timestamp_seconds",
            "Unix time at which the oldest queued row was received; the present where the queue is empty.",
            "table",
        )
        self.queue_put_wait = self._histogram(
            "queue_put_wait_seconds", "Time for which a reader waited for room in a queue.", "table"
        )
        self.spool_bytes = self._gauge("spool_bytes", "Size of the spool on disk.")
        self.spool_max_bytes = self._gauge("spool_max_bytes", "Bound of the spool in bytes; 0 where there is none.")
        self.write_duration = self._histogram(
            "write_duration_seconds", "Time of one batch, by the method that stored it.", "table", "method"
        )
        self.write_batch_rows = self._histogram(
            "write_batch_rows", "Rows of a batch.", "table", buckets=(1, 10, 100, 500, 1000, 2500, 5000, 10000, 20000)
        )
        self.write_retries = self._counter("write_retries", "Batches that were retried, by SQLSTATE.", "sqlstate")
        self.write_held = self._gauge("write_held", "1 while a table is held, else 0.", "table")
        self.write_last_success = self._gauge(
            "write_last_success_timestamp_seconds", "Unix time at which a batch was last committed.", "table"
        )

    def tally(self, table: str) -> Tally:
        """The tally of `table`, made at first use."""
        return self.tallies.setdefault(table, Tally(table))

    def render(self) -> bytes:
        """The exposition text of /metrics."""
        return prom.generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> prom.Counter:
        return prom.Counter(f"ingest_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> prom.Gauge:
        return prom.Gauge(f"ingest_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = LAG_BUCKETS) -> prom.Histogram:
        return prom.Histogram(f"ingest_{name}", text, labels, registry=self.registry, buckets=buckets)


_TERMS = {
    "decoded": "Rows that sources produced.",
    "recovered": "Rows that the spool of an earlier run brought back.",
    "written": "Rows inserted.",
    "revised": "Rows that replaced a stored row of another value.",
    "duplicate": "Rows that were stored already.",
    "expired": "Rows older than retention keeps.",
}


class _Flow:
    """Exports the tallies: the terms of the identity, all by table."""

    def __init__(self, tallies: dict[str, Tally]) -> None:
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        tallies = list(self._tallies.values())
        for term, text in _TERMS.items():
            family = CounterMetricFamily(f"ingest_rows_{term}", text, labels=["table"])
            for tally in tallies:
                family.add_metric([tally.table], getattr(tally, term))
            yield family
        for term, text in (
            ("shed", "Rows given up for lack of room or time, by reason."),
            ("rejected", "Rows that the table does not accept, kept in rejects, by reason."),
        ):
            family = CounterMetricFamily(f"ingest_rows_{term}", text, labels=["table", "reason"])
            for tally in tallies:
                for reason, rows in getattr(tally, term).items():
                    family.add_metric([tally.table, reason], rows)
            yield family
        queue = GaugeMetricFamily("ingest_queue_rows", "Rows in queues, including those in an open transaction.", labels=["table"])
        spool = GaugeMetricFamily("ingest_spool_rows", "Rows that wait on disk.", labels=["table"])
        for tally in tallies:
            queue.add_metric([tally.table], tally.queued)
            spool.add_metric([tally.table], tally.spooled)
        yield from (queue, spool)
