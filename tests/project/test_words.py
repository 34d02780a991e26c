"""Retired words are not used again: each idea has one word, the standard term of the field.

Identifiers and prose are split into words, so that `_lane`, `TableLane` and "a lane" are found alike. Phrases are found across
line breaks and comment signs. The checked files are code, scripts, SQL and pages; tests are not checked.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SUFFIXES = {".py", ".sh", ".sql", ".md", ".service"}
FOLDERS = ("ingest", "deploy", "schema")

# retired word -> its replacement
WORDS = {
    "aside": "quarantine",
    "chronicle": "provider backfill",
    "detour": "spill",
    "detours": "spills",
    "duties": "maintenance tasks",
    "duty": "maintenance task",
    "freshness": "staleness",
    "healer": "gap filler",
    "heard": "last_message_at",
    "hole": "gap",
    "holes": "gaps",
    "insist": "write with retry",
    "ladder": "batch writer",
    "lane": "queue",
    "lanes": "queues",
    "manners": "exchange limits",
    "mood": "sentiment",
    "orphaned": "reorged",
    "roster": "source manager",
    "said": "reported, logged, sent",
    "sieve": "post filter",
    "told": "reported",
    "unsaid": "missing",
    "vitals": "connection health",
    "vouch": "is complete",
    "vouched": "is complete",
    "vouches": "is complete",
    "whoever": "the role, the client",
}
# retired phrase -> its replacement
PHRASES = {
    "the rule one would get wrong": "the rule itself",
    "the account:": "row totals:",
    "left_out": "filtered",
    "left out by rule": "filtered",
    "audit_settled": "audit_unresolved",
    "give_up": "shed, or mark unrecoverable",
    "has it none": "has none",
    "is told of": "is reported",
    "book_every": "book_interval",
    "record = true": "capture = true",
    "is no length": "is not a duration",
}
# retired class -> its name today
CLASSES = {
    "Ask": "HistoryRequest",
    "Evidence": "CompletenessRules",
    "Gate": "RateLimiter",
    "LeftOut": "Filtered",
    "Life": "WebSocketConnection",
    "Memory": "KnownInstruments",
    "Missing": "Gap",
    "Notes": "CoverageBuffer",
    "Opened": "OpenConnection",
    "Slot": "ReconnectingConnection",
    "Sought": "ProviderBackfillRequest",
    "Stream": "ChannelState",
    "Told": "LoadResult",
    "Wanted": "BackfillRequest or MaintenanceSpec",
}
# file -> {retired word, or * for all: why it stays}
EXCEPTIONS = {
    "deploy/CHANGELOG.md": {"*": "names what was renamed"},
    "ingest/sources/crypto_overlay.json": {"*": "words of other people's posts"},
    "deploy/bench/volume.sql": {"*": "words of synthetic posts"},
}


def pages() -> list[Path]:
    found = [ROOT / "README.md"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES and path.is_file()]
    return sorted(found)


def words_of(text: str) -> set[str]:
    """Every word in prose and in identifiers, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)}


def phrases_of(text: str) -> set[str]:
    plain = re.sub(r"\s*\n\s*(?:#|--|>)?\s*", " ", text).lower()
    return {phrase for phrase in PHRASES if phrase in plain}


def faults(path: str, text: str) -> list[str]:
    allowed = EXCEPTIONS.get(path, {})
    classes = set(re.findall(r"^class (\w+)", text, re.MULTILINE)) & CLASSES.keys()
    found = (words_of(text) & WORDS.keys()) | phrases_of(text) | classes
    right = WORDS | PHRASES | CLASSES
    return [f"'{word}': write '{right[word]}'" for word in sorted(found) if word not in allowed and "*" not in allowed]


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word(path: Path):
    assert faults(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("self._lane = lane", ["lane"]),
        ("class TableLanes:", ["lanes"]),
        ("planes, explain, wholesale", []),
        ("# The rule one\n# would get wrong: no", ["the rule one would get wrong"]),
        ("-- the account: 3", ["the account:"]),
        ("`poll_left_out_total`", ["left_out"]),
        ("class Slot(Struct):", ["Slot"]),
    ],
)
def test_a_retired_word_is_found(text: str, found: list[str]):
    assert [fault.split("'")[1] for fault in faults("x.py", text)] == found


def test_every_exception_is_a_file():
    assert [path for path in EXCEPTIONS if not (ROOT / path).exists()] == []
