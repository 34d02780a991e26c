"""Every metric, declared once. Labels are source, channel, table, reason and the like; never an instrument.

What `ingest.counters` counts is exported when it is scraped. https://prometheus.io/docs/practices/naming/
"""

from __future__ import annotations

import math
from collections import Counter as Count
from collections.abc import Iterator, Mapping
from typing import TypeVar

import prometheus_client as prom
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from ingest.counters import LAG_BUCKETS, Counters, Histogram, Tally

Labels = TypeVar("Labels", bound=tuple[str, ...])


class Metrics:
    """All metrics of one daemon, in a registry of its own, so that two daemons can live in one process."""

    def __init__(self) -> None:
        self.registry = prom.CollectorRegistry()
        self.counters = Counters()
        self.registry.register(_Counted(self.counters))
        prom.ProcessCollector(registry=self.registry)
        prom.PlatformCollector(registry=self.registry)

        self.messages_received = self._counter("messages_received", "Frames received.", "source")
        self.source_connected = self._gauge("source_connected", "Open connections.", "source")
        self.source_connects = self._counter("source_connects", "Connections opened.", "source")
        self.source_disconnects = self._counter("source_disconnects", "Connections ended.", "source", "reason")
        self.source_stale_subscriptions = self._gauge("source_stale_subscriptions", "Subscriptions silent for too long.", "source")
        self.source_last_message = self._gauge("source_last_message_timestamp_seconds", "When a frame was last received.", "source")
        self.poll_requests = self._counter("poll_requests", "Requests that count against a poller's budget.", "source")
        self.poll_filtered = self._counter("poll_filtered", "Posts that a rule excludes.", "source", "reason")
        self.reorg_rows_removed = self._counter("reorg_rows_removed", "Rows removed with discarded blocks.", "source")
        self.audit_findings = self._counter("audit_findings", "Gaps that the audit found.", "source", "channel", "reason")
        self.audit_unresolved = self._counter(
            "audit_unresolved", "Differences that remain after a refetch.", "source", "channel", "reason"
        )
        self.lag = self._histogram("lag_seconds", "Event to received; sampled.", "source")
        self.spool_bytes = self._gauge("spool_bytes", "Size of the spool on disk.")
        self.spool_max_bytes = self._gauge("spool_max_bytes", "Bound of the spool; 0 where there is none.")
        self.capture_bytes = self._counter("capture_bytes", "Packed bytes of captures written.", "source")
        self.capture_files_deleted = self._counter("capture_files_deleted", "Captures deleted to stay within the bound.", "source")
        self.capture_lines_lost = self._counter("capture_lines_lost", "Lines that could not be written to disk.", "source")
        self.event_loop_lag = self._histogram("event_loop_lag_seconds", "How late the event loop woke.")
        self.build_info = self._gauge("build_info", "1, with the version.", "version")
        self.database_info = self._gauge(
            "database_info", "1, with the versions found.", "edition", "timescaledb", "postgres", "schema_version"
        )

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
    "decoded": "Rows decoded.",
    "recovered": "Rows that a spool brought back after a restart.",
    "written": "Rows inserted.",
    "revised": "Rows that replaced another value.",
    "duplicate": "Rows that were stored already.",
    "expired": "Rows older than retention.",
}


class _Counted:
    """Exports counters."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        counters, tallies = self._counters, list(self._counters.tallies.values())
        # a copy: a thread of the spool may count meanwhile
        errors = Count(dict(counters.errors))
        errors["write", "hold"] += sum(tally.holds for tally in tallies)
        yield _counter("errors", "Errors by stage and type.", ("stage", "error_type"), +errors)
        yield _counter("gaps", "Gaps found.", ("source", "channel", "reason"), counters.gaps)
        yield _counter("gaps_healed", "Gaps filled.", ("source", "channel", "reason"), counters.gaps_healed)
        yield _gauge("gap_open_seconds", "Length of all open gaps.", ("source", "channel"), counters.gap_open_seconds)
        yield from _rows(tallies)
        yield from _queues(tallies)
        yield from _writes(tallies)


def _rows(tallies: list[Tally]) -> Iterator[Metric]:
    """The terms of the identity, all by table."""
    for term, text in _TERMS.items():
        yield _counter(f"rows_{term}", text, ("table",), {(tally.table,): getattr(tally, term) for tally in tallies})
    for term, text in (("shed", "Rows given up, by reason."), ("rejected", "Rows put into rejects, by reason.")):
        rows = {(tally.table, reason): count for tally in tallies for reason, count in getattr(tally, term).items()}
        yield _counter(f"rows_{term}", text, ("table", "reason"), rows)
    yield _gauge("queue_rows", "Rows in queues, in flight included.", ("table",), {(one.table,): one.queued for one in tallies})
    yield _gauge("spool_rows", "Rows in the spool.", ("table",), {(one.table,): one.spooled for one in tallies})


def _queues(tallies: list[Tally]) -> Iterator[Metric]:
    queues = {(tally.table,): queue for tally in tallies for queue in tally.queues}
    oldest = {table: queue.oldest / 1e6 for table, queue in queues.items()}
    yield _gauge("queue_max_rows", "Bound of a queue in rows.", ("table",), {table: one.max_rows for table, one in queues.items()})
    yield _gauge("queue_oldest_timestamp_seconds", "When the oldest queued row was received.", ("table",), oldest)
    waits = {(tally.table,): tally.put_wait for tally in tallies}
    yield _histogram("queue_put_wait_seconds", "How long a reader waited for room.", ("table",), waits)


def _writes(tallies: list[Tally]) -> Iterator[Metric]:
    durations = {(tally.table, method): one for tally in tallies for method, one in tally.write_duration.items()}
    yield _histogram("write_duration_seconds", "Duration of one batch, by method.", ("table", "method"), durations)
    for name, text, attribute in (
        ("write_batch_rows", "Rows in a batch.", "batch_rows"),
        ("commit_lag_seconds", "Received to committed; at most 64 rows a batch.", "commit_lag"),
        ("event_to_commit_lag_seconds", "Event to committed; sampled.", "event_to_commit_lag"),
    ):
        yield _histogram(name, text, ("table",), {(tally.table,): getattr(tally, attribute) for tally in tallies})
    retries = sum((tally.retries for tally in tallies), Count[str]())
    yield _counter("write_retries", "Batches tried again.", ("sqlstate",), {(code,): count for code, count in retries.items()})
    yield _gauge("write_held", "1 while a table is held.", ("table",), {(tally.table,): tally.held for tally in tallies})
    last = {(tally.table,): tally.last_success for tally in tallies if tally.last_success is not None}
    yield _gauge("write_last_success_timestamp_seconds", "When a batch was last committed.", ("table",), last)


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
    for key, one in values.items():
        buckets = [("+Inf" if bound == math.inf else str(float(bound)), count) for bound, count in one.buckets()]
        family.add_metric(key, buckets, one.sum)
    return family
