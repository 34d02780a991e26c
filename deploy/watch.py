"""Prints the stored rows and the lag of a running daemon every two seconds: python3 deploy/watch.py http://127.0.0.1:9464/metrics

It reads the metrics (https://prometheus.io/docs/instrumenting/exposition_formats/) with the standard library, and ends with the
daemon. The lag is the mean of the last interval, computed from the difference of two scrapes.
"""

from __future__ import annotations

import re
import sys
import time
import urllib.request
from collections import Counter

INTERVAL_SECONDS = 2
START_SECONDS = 60  # how long a daemon may take to start
_SAMPLE = re.compile(r'^ingest_(\w+?)(?:\{(?:.*?table="(\w+)")?.*\})? (\S+)$', re.MULTILINE)

Samples = Counter[tuple[str, str]]


def parse_samples(text: str) -> Samples:
    """Parses a scrape: (metric without the prefix `ingest_`, table) -> value, summed over the other labels."""
    samples: Samples = Counter()
    for name, table, value in _SAMPLE.findall(text):
        samples[name, table] += float(value)
    return samples


def total(samples: Samples, metric: str) -> float:
    return sum(value for (name, _), value in samples.items() if name == metric)


def describe(before: Samples, after: Samples, seconds: float) -> str:
    """One line: rows by table with the rate of the last `seconds`, the mean lag from event to commit, and open connections."""
    parts = []
    for (name, table), rows in sorted(after.items()):
        if name == "rows_written_total":
            parts.append(f"{table} {rows:,.0f} (+{(rows - before[name, table]) / seconds:,.0f}/s)")
    events = total(after, "event_to_commit_lag_seconds_count") - total(before, "event_to_commit_lag_seconds_count")
    lateness = total(after, "event_to_commit_lag_seconds_sum") - total(before, "event_to_commit_lag_seconds_sum")
    lag = f"{lateness / events:.2f} s" if events else "-"
    return f"{'  '.join(parts) or 'no rows yet'}  | lag {lag}  | connections {total(after, 'source_connected'):.0f}"


def fetch(url: str) -> Samples:
    """Scrapes the metrics once. Raises OSError if the daemon does not respond."""
    with urllib.request.urlopen(url, timeout=5) as response:
        return parse_samples(response.read().decode())


def main() -> int:
    url = sys.argv[1]
    before: Samples | None = None
    deadline = time.monotonic() + START_SECONDS
    while before is not None or time.monotonic() < deadline:
        try:
            after = fetch(url)
        except OSError:
            if before is not None:
                break
        else:
            if before is not None:
                print(f"{time.strftime('%H:%M:%S')}  {describe(before, after, INTERVAL_SECONDS)}  | {url}", flush=True)
            before = after
        time.sleep(INTERVAL_SECONDS if before is not None else 0.2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
