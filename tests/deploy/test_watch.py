"""The status line of the quickstart, made from the daemon's metrics."""

from __future__ import annotations

from watch import Samples, describe, parse_samples

from ingest.metrics import Metrics


def scrape(metrics: Metrics) -> Samples:
    return parse_samples(metrics.render().decode())


def test_a_line_shows_rows_rates_lag_and_connections():
    metrics = Metrics()
    metrics.source_connected.labels("binance").set(2)
    metrics.counters.tallies["trades"].written = 1_000
    metrics.counters.tallies["trades"].event_to_commit_lag.observe(9)
    before = scrape(metrics)
    metrics.counters.tallies["trades"].written = 3_000
    metrics.counters.tallies["candles"].written = 4
    metrics.counters.tallies["trades"].event_to_commit_lag.observe(0.2)
    metrics.counters.tallies["candles"].event_to_commit_lag.observe(0.4)
    line = describe(before, scrape(metrics), 2)
    assert line == "candles 4 (+2/s)  trades 3,000 (+1,000/s)  | lag 0.30 s  | connections 2"


def test_before_the_first_row_there_is_no_lag():
    nothing = scrape(Metrics())
    assert describe(nothing, nothing, 2) == "no rows yet  | lag -  | connections 0"
