"""Unreadable payloads are kept up to a bound."""

from __future__ import annotations

from ingest.protocol.decode import MAX_PAYLOAD, Malformed


def test_only_the_beginning_of_a_long_payload_is_kept() -> None:
    """Forty frames of 8 MiB while the database was unavailable kept 1.2 GB."""
    frame = b'{"x":"' + b"y" * (8 << 20) + b'"}'
    kept = Malformed(frame, "json", "cut").payload
    assert kept == frame[:MAX_PAYLOAD]
    assert Malformed(b"{", "json", "short").payload == b"{"
