"""What was found wrong with one mutated input, and the bounds of what a parser may take and yield."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct, field

from ingest.protocol.decode import MAX_PAYLOAD, Malformed

SLOW = 0.5  # seconds of CPU of one call for a payload of 1 MB or less
MAX_EVIDENCE = 21  # outputs of one payload that say what could not be read: twenty, and one that counts the others
OPTIONAL = (
    "member dropped",
    "member renamed",
    "value b'null'",
    "word b''",
    "word b' '",
    "word b'\\r'",
)  # what is absent may be absent without a word


class Faults(Struct):
    """`found` begins with the kind: crash, output, wrong row, lost neighbour, silent, evidence or slow."""

    found: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # of the mutations
    inputs: list[bytes] = field(default_factory=list)  # the mutated payloads
    slowest: float = 0.0  # seconds of CPU of the slowest call

    def judge_time(self, seconds: float) -> None:
        self.slowest = seconds
        if seconds > SLOW:
            self.found.append(f"slow: {seconds:.2f} s of CPU for one call")

    def judge_evidence(self, outputs: Iterable[Any], most: int = MAX_EVIDENCE) -> None:
        bad = [one for one in outputs if isinstance(one, Malformed)]
        if (longest := max((len(one.payload) for one in bad), default=0)) > MAX_PAYLOAD:
            self.found.append(f"evidence: {longest} bytes")
        if len(bad) > most:
            self.found.append(f"evidence: {len(bad)} outputs, the last: {bad[-1].message[:100]}")

    def may_be_silent(self) -> bool:
        return any(kind.startswith(OPTIONAL) or kind.endswith("dropped") for kind in self.kinds)
