"""Decoding foreign JSON: the exceptions that it raises, and the record of a payload that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, TypeVar

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


T = TypeVar("T")

# escaped backslashes, a pair of surrogates, or half a pair; the first byte is alike, so that the search for it is fast
_SURROGATE = re.compile(
    rb"\\(?:\\(?:\\\\)*|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}))"
)


def mended(payload: bytes) -> bytes:
    """JSON with U+FFFD in place of what is no character: bytes that are not UTF-8, and half a pair of surrogates.

    A text that is cut within an emoji has such a half, and many encoders write it as it is (https://www.rfc-editor.org/rfc/rfc8259,
    8.2). It would cost all elements of an answer.
    """
    text = payload.decode("utf-8", "replace").encode()
    return _SURROGATE.sub(lambda match: b"\\ufffd" if match[1] else match[0], text)


def decode_mended(decode: Callable[[bytes], T], payload: bytes) -> T:
    """Decode; if that fails, decode the `mended` payload. Raises UNREADABLE as `decode` does of the original."""
    try:
        return decode(payload)
    except UNREADABLE as error:
        if (better := mended(payload)) == payload:
            raise
        try:
            return decode(better)
        except UNREADABLE:
            raise error from None


def is_number(text: str) -> bool:
    """Whether the text is digits with at most one point, at 0.4 of the cost of `Number`; "5." and ".5" pass, as in SQL."""
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def malformed(payload: bytes, error: Exception) -> Malformed:
    """The record of a payload that raised one of `UNREADABLE`. Reasons: json, shape, value (a text that is no `Number`)."""
    if not isinstance(error, ValidationError):
        return Malformed(payload, "json", str(error))
    return Malformed(payload, "value" if "matching regex" in str(error) else "shape", str(error))
