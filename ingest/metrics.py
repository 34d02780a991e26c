"""Every metric, declared once. Labels are source, channel, table, reason and the like; never an instrument.

The numbers of `ingest.counters` are read at each scrape. A counter begins at 0: `increase` misses a series that begins at 1.
A time that never was has no series. https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import math
from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import TypeVar

import prometheus_client as prom
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ingest.counters import LAG_BUCKETS, Counters, Histogram, Tally

Labels = TypeVar("Labels", bound=tuple[str, ...])
T = TypeVar("T")

DISCONNECT_REASONS = ("closed", "error", "silence", "stale", "session", "planned")
GAP_REASONS = ("sequence", "checksum", "crossed", "disconnect", "shed", "refused", "spool", "missed")
EXCHANGE_ERRORS = (("source", "refused"), ("http", "Retry"), ("http", "Reject"))  # the usual stages and types

_TABLE = ("table",)


class Metrics:
    """All metrics of one daemon, in a registry of its own, so that two daemons can run in one process."""

    def __init__(self) -> None:
        self.registry = prom.CollectorRegistry()
        self.counters = Counters()
        self.registry.register(_Counted(self.counters))
        prom.ProcessCollector(registry=self.registry)
        prom.PlatformCollector(registry=self.registry)
        self._add_process()
        self._add_sources()
        self._add_coverage()
        self._add_rows()

    def _add_process(self) -> None:
        self.event_loop_lag = self._histogram("event_loop_lag_seconds", "Time by which the event loop woke too late.")
        self.event_loop_tasks = self._gauge("event_loop_tasks", "Tasks of the event loop.")
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
        self.source_wanted_subscriptions = self._gauge(
            "source_wanted_subscriptions", "Subscriptions of the configuration.", "source", "channel"
        )
        self.source_live_subscriptions = self._gauge(
            "source_live_subscriptions",
            "Subscriptions that have sent a message on the open connection and are not refused.",
            "source",
            "channel",
        )
        self.source_unverified_subscriptions = self._gauge(
            "source_unverified_subscriptions",
            "Subscriptions of which nothing shows at present that they miss nothing.",
            "source",
            "channel",
        )
        self.source_last_message = self._gauge(
            "source_last_message_timestamp_seconds", "Unix time at which the last message or response arrived.", "source"
        )
        self.poll_requests = self._counter("poll_requests", "Requests that count against a provider's budget.", "source")
        self.poll_filtered = self._counter(
            "poll_filtered", "Elements that are not stored, by the rule that excludes them.", "source", "reason"
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
        self.audit_findings = self._counter(
            "audit_findings", "Differences that the audit found, by comparison; each is a gap.", "source", "channel", "reason"
        )
        self.audit_unresolved = self._counter(
            "audit_unresolved", "Differences that remain after the gap was filled, by comparison.", "source", "channel", "reason"
        )

    def _add_rows(self) -> None:
        self.lag = self._histogram("lag_seconds", "Time from an event to its receipt; sampled.", "source")
        self.spool_bytes = self._gauge("spool_bytes", "Size of the spool on disk.")
        self.spool_max_bytes = self._gauge("spool_max_bytes", "Bound of the spool in bytes; 0 where there is none.")

    def preset_exchange(self, source: str, channels: Iterable[str]) -> None:
        """Show the series of an exchange at 0 before anything has happened: one that is never reached has them too."""
        for metric in (self.messages_received, self.source_connected, self.source_connects, self.source_stale_subscriptions):
            metric.labels(source)
        for reason in DISCONNECT_REASONS:
            self.source_disconnects.labels(source, reason)
        for stage, kind in EXCHANGE_ERRORS:
            self.counters.errors[source, stage, kind] += 0
        for channel in channels:
            for reason in GAP_REASONS:
                self.counters.gaps[source, channel, reason] += 0

    def preset_poller(self, source: str) -> None:
        """As `preset_exchange`, for a provider."""
        self.poll_requests.labels(source)
        for kind in ("Retry", "Reject"):
            self.counters.errors[source, "poll", kind] += 0

    def render(self) -> bytes:
        """The exposition text of /metrics."""
        return prom.generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> prom.Counter:
        return prom.Counter(f"ingest_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> prom.Gauge:
        return prom.Gauge(f"ingest_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> prom.Histogram:
        return prom.Histogram(f"ingest_{name}", text, labels, registry=self.registry, buckets=LAG_BUCKETS)


_TERMS = {
    "decoded": "Rows that sources produced.",
    "recovered": "Rows that the spool of an earlier run brought back.",
    "written": "Rows inserted.",
    "revised": "Rows that replaced a stored row of another value.",
    "duplicate": "Rows that were stored already.",
    "expired": "Rows older than retention keeps.",
}
_TERMS_BY_REASON = {
    "shed": ("Rows given up for lack of room or time, by reason.", ("full", "spool", "damaged", "shutdown")),
    "rejected": (
        "Rows that the table does not accept, kept in rejects, by reason.",
        ("22003", "22021", "22P02", "23502", "23514", "54000"),
    ),
}
_RETRIES = ("connection", "40001", "40P01", "53300", "55P03", "57014", "57P01")


class _Counted:
    """The collector of `Counters`, for prometheus_client."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        counters, tallies = self._counters, list(self._counters.tallies.values())
        errors = Count(dict(counters.errors))  # a copy: a thread of the spool may add to it meanwhile
        errors["", "write", "hold"] += sum(tally.holds for tally in tallies)
        text = "Errors, by source where one is concerned, the stage where they occurred, and their type."
        yield _counter("errors", text, ("source", "stage", "error_type"), errors)
        labels = ("source", "channel", "reason")
        yield _counter("gaps", "Gaps found, by reason.", labels, counters.gaps)
        yield _counter("gaps_healed", "Gaps that were filled, by reason.", labels, counters.gaps_healed)
        text = "Comparisons of unverifiable ranges with the exchange's history: verified, missed or failed."
        yield _counter("evidence_checks", text, ("source", "channel", "result"), counters.evidence_checks)
        text = "Total length of the open gaps of an exchange's channel."
        yield _gauge("gap_open_seconds", text, ("source", "channel"), counters.gap_open_seconds)
        yield from _rows(tallies)
        yield from _queues(tallies)
        yield from _writes(tallies)


def _rows(tallies: list[Tally]) -> Iterator[Metric]:
    """The terms of the row totals, by table."""
    for term, text in _TERMS.items():
        yield _counter(f"rows_{term}", text, _TABLE, _by_table(tallies, attrgetter(term)))
    for term, (text, reasons) in _TERMS_BY_REASON.items():
        counts = {tally.table: dict.fromkeys(reasons, 0) | getattr(tally, term) for tally in tallies}
        rows = {(table, reason): count for table, by_reason in counts.items() for reason, count in by_reason.items()}
        yield _counter(f"rows_{term}", text, ("table", "reason"), rows)
    text = "Rows in queues, including those in an open transaction."
    yield _gauge("queue_rows", text, _TABLE, _by_table(tallies, attrgetter("queued")))
    yield _gauge("spool_rows", "Rows that wait on disk.", _TABLE, _by_table(tallies, attrgetter("spooled")))


def _queues(tallies: list[Tally]) -> Iterator[Metric]:
    queues = {(tally.table,): queue for tally in tallies for queue in tally.queues}
    bounds = {table: queue.max_rows for table, queue in queues.items()}
    yield _gauge("queue_max_rows", "Bound of a queue in rows.", _TABLE, bounds)
    text = "Unix time at which the oldest queued row was received; the present where the queue is empty."
    oldest = {table: queue.oldest / 1e6 for table, queue in queues.items()}
    yield _gauge("queue_oldest_timestamp_seconds", text, _TABLE, oldest)
    text = "Time for which a reader waited for room in a queue."
    yield _histogram("queue_put_wait_seconds", text, _TABLE, _by_table(tallies, attrgetter("put_wait")))


def _writes(tallies: list[Tally]) -> Iterator[Metric]:
    for name, text, attribute in (
        ("write_batch_rows", "Rows of a batch.", "batch_rows"),
        ("commit_lag_seconds", "Time from receipt to commit; at most 64 rows of a batch.", "commit_lag"),
        ("event_to_commit_lag_seconds", "Time from an event to its commit; sampled.", "event_to_commit_lag"),
    ):
        yield _histogram(name, text, _TABLE, _by_table(tallies, attrgetter(attribute)))
    text = "Time of one batch, by the method that stored it."
    durations = {(tally.table, method): histogram for tally in tallies for method, histogram in tally.write_duration.items()}
    yield _histogram("write_duration_seconds", text, ("table", "method"), durations)
    retries = sum((tally.retries for tally in tallies), Count[str]())
    by_code = {(code,): retries[code] for code in dict.fromkeys((*_RETRIES, *retries))}
    yield _counter("write_retries", "Batches that were retried, by SQLSTATE.", ("sqlstate",), by_code)
    yield _gauge("write_held", "1 while a table is held, else 0.", _TABLE, _by_table(tallies, attrgetter("held")))
    text = "Unix time at which a batch was last committed."
    times = {(tally.table,): tally.last_success for tally in tallies if tally.last_success is not None}
    yield _gauge("write_last_success_timestamp_seconds", text, _TABLE, times)


def _by_table(tallies: list[Tally], value: Callable[[Tally], T]) -> dict[tuple[str], T]:
    return {(tally.table,): value(tally) for tally in tallies}


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    family = CounterMetricFamily(f"ingest_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, float]) -> Metric:
    family = GaugeMetricFamily(f"ingest_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, labels: tuple[str, ...], values: Mapping[Labels, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"ingest_{name}", text, labels=labels)
    for key, value in values.items():
        buckets = [("+Inf" if bound == math.inf else str(float(bound)), count) for bound, count in value.buckets()]
        family.add_metric(key, buckets, value.sum)
    return family
