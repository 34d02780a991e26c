"""Reading JSON of strangers: what is raised on bytes that cannot be decoded, and the record of a frame that could not be read."""

from __future__ import annotations

from typing import Annotated

from msgspec import DecodeError, Meta, Struct, ValidationError


class Malformed(Struct, frozen=True):
    """A frame, or a part of one, that is not what the exchange documents. It is counted and kept in `rejects`."""

    payload: bytes
    reason: str  # json, shape, value, unknown, checksum
    message: str


# what msgspec raises on bytes that it cannot decode: bad UTF-8 and endless nesting are not its own errors
UNREADABLE = (DecodeError, UnicodeDecodeError, RecursionError)

Number = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+)?\Z")]  # digits in a JSON string; NaN, 1e5, -1 and "" are none


def is_number(text: str) -> bool:
    """What `Number` checks, at 0.4 of its cost, for the paths where that counts ("5." and ".5" pass, as they do in SQL)."""
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def malformed(payload: bytes, error: Exception) -> Malformed:
    """A frame that raised one of `UNREADABLE`: it is not JSON, of another shape, or has a value that is no number."""
    if not isinstance(error, ValidationError):
        return Malformed(payload, "json", str(error))
    return Malformed(payload, "value" if "matching regex" in str(error) else "shape", str(error))
