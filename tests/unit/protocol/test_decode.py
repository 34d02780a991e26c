"""Unreadable payloads are kept up to a bound, and a text that is cut within a character costs nothing."""

from __future__ import annotations

import msgspec
import pytest

from ingest.protocol.decode import MAX_PAYLOAD, Malformed, decode_mended


def test_only_the_beginning_of_a_long_payload_is_kept() -> None:
    """Forty frames of 8 MiB while the database was unavailable kept 1.2 GB."""
    frame = b'{"x":"' + b"y" * (8 << 20) + b'"}'
    kept = Malformed(frame, "json", "cut").payload
    assert kept == frame[:MAX_PAYLOAD]
    assert Malformed(b"{", "json", "short").payload == b"{"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (rb'["\ud83d x"]', "\ufffd x"),
        (rb'["\ude00\ud83d"]', "\ufffd\ufffd"),
        (rb'["\ud83d\ude00"]', "\U0001f600"),
        (rb'["\\ud83d"]', r"\ud83d"),
        (rb'["\\\ud83d"]', "\\\ufffd"),
        (b'["\xff"]', "\ufffd"),
    ],
)
def test_what_is_no_character_costs_no_text(payload: bytes, text: str) -> None:
    assert decode_mended(msgspec.json.Decoder(list[str]).decode, payload) == [text]


def test_the_error_is_that_of_the_payload_as_it_came() -> None:
    with pytest.raises(msgspec.DecodeError, match=r"hex escape|truncated"):
        decode_mended(msgspec.json.Decoder(list[str]).decode, rb'["\ud83d", 1]')
