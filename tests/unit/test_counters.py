"""Counters, which are plain numbers, are exported as metrics."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import prometheus_client as prom
import pytest

import ingest
from ingest.counters import LAG_BUCKETS, Counters, Histogram
from ingest.metrics import Metrics
from ingest.pipeline.table_queue import Limits, TableQueue
from ingest.records import Trade
from ingest.tables import TRADES

NOW = 1_790_000_000_000_000
TRADE = Trade(1, NOW, 1, "1", "1", "buy", NOW + 1)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ingest_{name}", labels)


def test_a_histogram_counts_as_the_client_library_does() -> None:
    registry, histogram = prom.CollectorRegistry(), Histogram()
    reference = prom.Histogram("lag", "", registry=registry, buckets=LAG_BUCKETS)
    values = [random.Random(4711).expovariate(1), *LAG_BUCKETS, 0.0, -1.0, 301.0]
    for number in values:
        histogram.observe(number)
        reference.observe(number)
    (family,) = registry.collect()
    expected = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "lag_bucket"}
    assert [count for _, count in histogram.buckets()] == list(expected.values())
    assert (histogram.count, histogram.sum) == (len(values), pytest.approx(sum(values)))


def test_every_counter_is_exported() -> None:
    metrics = Metrics()
    counters = metrics.counters
    counters.errors["okx", "decode", "json"] = 2
    counters.gaps["binance", "trades", "sequence"] = 3
    counters.gaps_healed["binance", "trades", "sequence"] = 1
    counters.gap_open_seconds["binance", "trades"] = 1.5
    tally = counters.tallies["trades"]
    tally.holds, tally.held, tally.last_success = 1, True, 17.0
    tally.retries["08006"] = 4
    counters.tallies["candles"].retries["08006"] = 5
    tally.write_duration["copy"].observe(0.02)
    tally.batch_rows.observe(7)
    gap = {"source": "binance", "channel": "trades", "reason": "sequence"}
    assert value(metrics, "errors_total", source="okx", stage="decode", error_type="json") == 2
    assert value(metrics, "errors_total", source="", stage="write", error_type="hold") == 1
    assert (value(metrics, "gaps_total", **gap), value(metrics, "gaps_healed_total", **gap)) == (3, 1)
    assert value(metrics, "gap_open_seconds", source="binance", channel="trades") == 1.5
    assert (value(metrics, "write_held", table="trades"), value(metrics, "write_held", table="candles")) == (1, 0)
    assert value(metrics, "write_retries_total", sqlstate="08006") == 9
    assert value(metrics, "write_last_success_timestamp_seconds", table="trades") == 17
    assert value(metrics, "write_duration_seconds_bucket", table="trades", method="copy", le="0.025") == 1
    assert value(metrics, "write_batch_rows_bucket", table="trades", le="10.0") == 1
    assert value(metrics, "write_batch_rows_bucket", table="trades", le="+Inf") == 1


def test_a_time_that_was_not_set_is_absent() -> None:
    metrics = Metrics()
    assert metrics.counters.tallies["trades"].written == 0
    assert value(metrics, "rows_written_total", table="trades") == 0
    assert value(metrics, "write_last_success_timestamp_seconds", table="trades") is None


async def test_a_queue_is_exported_with_its_table() -> None:
    metrics = Metrics()
    queue = TableQueue(TRADES, metrics.counters.tallies["trades"], Limits(max_rows=4), on_gap=lambda gap: None, clock=lambda: NOW)
    assert value(metrics, "queue_oldest_timestamp_seconds", table="trades") == NOW / 1e6
    queue.put(TRADE)
    assert value(metrics, "queue_oldest_timestamp_seconds", table="trades") == TRADE.received_at / 1e6
    assert value(metrics, "queue_rows", table="trades") == 1
    assert value(metrics, "queue_max_rows", table="trades") == 4


def test_only_the_supervisor_makes_metrics() -> None:
    folder = Path(ingest.__file__).parent
    makers = [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Metrics"
    ]
    assert makers == ["daemon/supervisor.py"]


def test_counters_are_independent_of_each_other() -> None:
    first, second = Counters(), Counters()
    first.tallies["trades"].written = 1
    assert second.tallies["trades"].written == 0


def test_a_counter_of_a_known_reason_begins_at_zero() -> None:
    """`increase` of Prometheus does not see a series that begins at 1."""
    metrics = Metrics()
    metrics.counters.tallies["trades"].shed["full"] = 2
    metrics.preset_exchange("okx", ["trades"])
    metrics.preset_poller("cboe")
    assert value(metrics, "rows_shed_total", table="trades", reason="full") == 2
    assert value(metrics, "rows_shed_total", table="trades", reason="shutdown") == 0
    assert value(metrics, "rows_rejected_total", table="trades", reason="23514") == 0
    assert value(metrics, "write_retries_total", sqlstate="connection") == 0
    assert value(metrics, "source_disconnects_total", source="okx", reason="stale") == 0
    assert value(metrics, "gaps_total", source="okx", channel="trades", reason="sequence") == 0
    assert value(metrics, "errors_total", source="okx", stage="http", error_type="Retry") == 0
    assert value(metrics, "errors_total", source="cboe", stage="poll", error_type="Reject") == 0
    assert value(metrics, "errors_total", source="", stage="write", error_type="hold") == 0
    assert value(metrics, "poll_requests_total", source="cboe") == 0
