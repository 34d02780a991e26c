"""Decoding foreign JSON: the exceptions that it raises, and the record of a payload that cannot be read."""

from __future__ import annotations

from typing import Annotated

from msgspec import DecodeError, Meta, Struct, ValidationError
from msgspec.structs import force_setattr

MAX_PAYLOAD = 10_000  # bytes of a payload that are kept
MAX_MESSAGE = 1_000  # characters of an error, which may quote the payload


class Malformed(Struct, frozen=True):
    """A frame, or a part of one, that differs from the exchange's documentation. It is counted and kept in `rejects`.

    Only the beginning of a long payload is kept: a frame has up to 16 MiB, and hundreds of them may wait for the database.
    """

    payload: bytes
    reason: str  # json, shape, value, unknown, checksum
    message: str

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_PAYLOAD:
            force_setattr(self, "payload", self.payload[:MAX_PAYLOAD])
        if len(self.message) > MAX_MESSAGE:
            force_setattr(self, "message", self.message[:MAX_MESSAGE])


# what msgspec raises for bytes that it cannot decode; bad UTF-8 and deep nesting raise Python's own exceptions
UNREADABLE = (DecodeError, UnicodeDecodeError, RecursionError)

# whole numbers that fit their columns; checked while they are decoded, at no cost that can be measured
Id = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  # bigint
Bigint = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]  # int
Number = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+)?\Z")]  # digits in a JSON string; not NaN, 1e5, -1 or ""


def is_number(text: str) -> bool:
    """Whether the text is digits with at most one point, at 0.4 of the cost of `Number`; "5." and ".5" pass, as in SQL."""
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def malformed(payload: bytes, error: Exception) -> Malformed:
    """The record of a payload that raised one of `UNREADABLE`. Reasons: json, shape, value (a text that is no `Number`)."""
    if not isinstance(error, ValidationError):
        return Malformed(payload, "json", str(error))
    return Malformed(payload, "value" if "matching regex" in str(error) else "shape", str(error))
