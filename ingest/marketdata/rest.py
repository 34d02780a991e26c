"""REST answers: the envelope of an answer, and its rows one by one, so that a bad row costs itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.protocol.decode import UNREADABLE, Malformed, malformed

T = TypeVar("T")
MAX_EVIDENCE = 20  # bad rows of one answer that are kept; the last one's message counts the others


class Rows(list[T]):
    """What the good rows of an answer became; `rejected` has the first bad ones, `read` counts every row of the answer."""

    rejected: Sequence[Malformed] = ()
    read = 0

    def ordered(self, key: Callable[[T], int]) -> Rows[T]:
        """Itself, in the order of `key`."""
        self.sort(key=key)
        return self

    def select(self, chosen: Iterable[T]) -> Rows[T]:
        """Some of them, with all of the evidence."""
        out: Rows[T] = Rows(chosen)
        out.rejected, out.read = self.rejected, self.read
        return out


class _Answer(Struct):
    code: str
    msg: str = ""
    data: Raw = Raw(b"null")


class Envelope(Struct, frozen=True):
    """How an exchange wraps its answers."""

    name: str  # of the exchange
    good: str  # the code of success
    retried: Collection[str] = ()  # codes of errors that pass

    def open(self, body: bytes) -> Raw:
        """The data. Raises Retry where waiting helps, else Reject."""
        answer = decode(self.name, body, _Answer)
        if answer.code == self.good:
            return answer.data
        message = f"{self.name}: {answer.code} {answer.msg}"
        if answer.code in self.retried:
            raise Retry(message, code=answer.code)
        raise Reject(message, reason="refused", code=answer.code)


def decode(name: str, body: bytes | Raw, shape: type[T]) -> T:
    """An answer of that shape. Raises Reject."""
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        raise Reject(f"{name}: not what REST documents: {error}: {bytes(body)[:200]!r}", reason="shape") from error


def rows(name: str, payload: bytes | Raw, row: Any, make: Callable[[Any], T | None]) -> Rows[T]:
    """What `make` makes of each row, None left out; `make` raises ValueError for a bad row.

    Raises Reject where the payload is not a list, or has rows and no good one.
    """
    decode_row = msgspec.json.Decoder(row, float_hook=Decimal).decode
    return make_rows(name, decode(name, payload, list[Raw]), lambda part: make(decode_row(part)), bytes)


def make_rows(name: str, parts: Iterable[Any], make: Callable[[Any], T | None], payload: Callable[[Any], bytes]) -> Rows[T]:
    """As `rows`, of parts that are separated already; `payload` gives the evidence of one."""
    out: Rows[T] = Rows()
    rejected: list[Malformed] = []
    good = bad = 0
    for part in parts:
        try:
            made = make(part)
        except (*UNREADABLE, ValueError) as error:
            bad += 1
            if bad <= MAX_EVIDENCE:
                rejected.append(evidence(name, payload(part), error))
        else:
            good += 1
            if made is not None:
                out.append(made)
    if bad and not good:
        first = rejected[0]
        raise Reject(f"{name}: not what REST documents, in any row: {first.message.removeprefix(f'{name}: ')}", reason=first.reason)
    if bad > MAX_EVIDENCE:
        rejected[-1] = replace(rejected[-1], message=f"{rejected[-1].message} ({bad - MAX_EVIDENCE} more rows)")
    out.rejected, out.read = rejected, good + bad
    return out


def evidence(name: str, payload: bytes, error: Exception) -> Malformed:
    """A payload that raised one of UNREADABLE, or ValueError; `name` is the exchange's."""
    return malformed(payload, error) if isinstance(error, UNREADABLE) else Malformed(payload, "value", f"{name}: {error}")
