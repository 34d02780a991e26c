"""REST responses: the envelope of a response, and its rows one by one, so that a bad row does not cost the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.protocol.decode import UNREADABLE, Malformed, decode_mended, malformed

T = TypeVar("T")
MAX_EVIDENCE = 20  # bad rows of one frame or response that are kept; the message of the last counts the others
MAX_BAD = 2000  # bad rows after which the rest is not read: 1 MB of them would take seconds


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
        return decode_mended(msgspec.json.Decoder(shape).decode, bytes(body))
    except UNREADABLE as error:
        raise Reject(f"{name}: unexpected REST response: {error}: {bytes(body)[:200]!r}", reason="shape") from error


def rows(name: str, payload: bytes | Raw, row: Any, make: Callable[[Any], T | None]) -> Rows[T]:
    """The result of `make` for each row, without None; `make` raises ValueError for a bad row.

    Raises Reject where the payload is not a list, where every row is bad, or more than MAX_BAD rows.
    """
    decode_row = msgspec.json.Decoder(row, float_hook=Decimal).decode
    return make_rows(name, decode(name, payload, list[Raw]), lambda part: make(decode_row(part)), bytes)


def make_rows(name: str, parts: Iterable[Any], make: Callable[[Any], T | None], payload: Callable[[Any], bytes]) -> Rows[T]:
    """As `rows`, for rows that are separated already; `payload` returns the bytes of a bad row."""
    out: Rows[T] = Rows()
    bad = BadRows(name, payload)
    good = 0
    for part in parts:
        try:
            made = make(part)
        except (*UNREADABLE, ValueError) as error:
            bad.add(part, error)
            if bad.number > MAX_BAD:
                break
        else:
            good += 1
            if made is not None:
                out.append(made)
    if (bad.number and not good) or bad.number > MAX_BAD:
        first, which = bad.kept[0], "every row" if not good else f"more than {MAX_BAD} rows"
        raise Reject(f"{name}: unexpected REST response, {which}: {first.message.removeprefix(f'{name}: ')}", reason=first.reason)
    out.rejected, out.read = bad.evidence(), good + bad.number
    return out


class BadRows:
    """The bad rows of one frame or response: the first are kept as evidence, `number` counts all of them."""

    def __init__(self, name: str, payload: Callable[[Any], bytes]) -> None:
        self.number = 0
        self.kept: list[Malformed] = []
        self._name, self._payload = name, payload

    def add(self, row: Any, error: Exception) -> None:
        self.number += 1
        if self.number <= MAX_EVIDENCE:
            self.kept.append(evidence(self._name, self._payload(row), error))

    def evidence(self, unread: int = 0) -> list[Malformed]:
        """The records of the kept rows. The last one counts the other bad rows, and those that were not read."""
        more = [f"{self.number - len(self.kept)} more rows"] * (self.number > len(self.kept)) + [f"{unread} not read"] * (
            unread > 0
        )
        if more:
            self.kept[-1] = replace(self.kept[-1], message=f"{self.kept[-1].message} ({', '.join(more)})")
        return self.kept


def evidence(name: str, payload: bytes, error: Exception) -> Malformed:
    """The record of a payload that raised one of UNREADABLE, or ValueError; `name` is the exchange's."""
    return malformed(payload, error) if isinstance(error, UNREADABLE) else Malformed(payload, "value", f"{name}: {error}")
