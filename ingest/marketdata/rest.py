"""REST responses: the envelope of a response, and its rows one by one, so that a bad row does not cost the others."""

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
MAX_EVIDENCE = 20  # bad rows of one response that are kept; the message of the last counts the others


class Rows(list[T]):
    """The records of a response's good rows; `rejected` has the first bad rows, `read` is the number of all rows."""

    rejected: Sequence[Malformed] = ()
    read = 0

    def ordered(self, key: Callable[[T], int]) -> Rows[T]:
        """Sort in place by `key`. Returns itself."""
        self.sort(key=key)
        return self

    def select(self, chosen: Iterable[T]) -> Rows[T]:
        """A list of `chosen` with the same `rejected` and `read`."""
        out: Rows[T] = Rows(chosen)
        out.rejected, out.read = self.rejected, self.read
        return out


class _Answer(Struct):
    code: str
    msg: str = ""
    data: Raw = Raw(b"null")


class Envelope(Struct, frozen=True):
    """The envelope around an exchange's REST responses: a code, a message, the data."""

    name: str  # of the exchange
    good: str  # the code of success
    retried: Collection[str] = ()  # codes of temporary errors

    def open(self, body: bytes) -> Raw:
        """The data of a response. Raises Retry for a temporary error, else Reject."""
        answer = decode(self.name, body, _Answer)
        if answer.code == self.good:
            return answer.data
        message = f"{self.name}: {answer.code} {answer.msg}"
        if answer.code in self.retried:
            raise Retry(message, code=answer.code)
        raise Reject(message, reason="refused", code=answer.code)


def decode(name: str, body: bytes | Raw, shape: type[T]) -> T:
    """Decode a response of that shape. Raises Reject."""
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        raise Reject(f"{name}: unexpected REST response: {error}: {bytes(body)[:200]!r}", reason="shape") from error


def rows(name: str, payload: bytes | Raw, row: Any, make: Callable[[Any], T | None]) -> Rows[T]:
    """The result of `make` for each row, without None; `make` raises ValueError for a bad row.

    Raises Reject where the payload is not a list, or where every row is bad.
    """
    decode_row = msgspec.json.Decoder(row, float_hook=Decimal).decode
    return make_rows(name, decode(name, payload, list[Raw]), lambda part: make(decode_row(part)), bytes)


def make_rows(name: str, parts: Iterable[Any], make: Callable[[Any], T | None], payload: Callable[[Any], bytes]) -> Rows[T]:
    """As `rows`, for rows that are separated already; `payload` returns the bytes of a bad row."""
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
        raise Reject(f"{name}: unexpected REST response, every row: {first.message.removeprefix(f'{name}: ')}", reason=first.reason)
    if bad > MAX_EVIDENCE:
        rejected[-1] = replace(rejected[-1], message=f"{rejected[-1].message} ({bad - MAX_EVIDENCE} more rows)")
    out.rejected, out.read = rejected, good + bad
    return out


def evidence(name: str, payload: bytes, error: Exception) -> Malformed:
    """The record of a payload that raised one of UNREADABLE, or ValueError; `name` is the exchange's."""
    return malformed(payload, error) if isinstance(error, UNREADABLE) else Malformed(payload, "value", f"{name}: {error}")
