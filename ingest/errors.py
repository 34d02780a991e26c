"""The errors that this project raises on purpose, by what the caller must do next.

IngestError
 +-- Retry    the same operation may succeed later: a lost connection, HTTP 5xx, SQLSTATE 08, 40, 53, 57P
 +-- Reject   this frame or record is bad: it is counted and kept in `rejects`, the others are processed
 +-- Hold     rows do not fit the database (schema, privileges): they are kept, and the daemon reports why it is not ready
 +-- Stop     the configuration or the schema must be corrected by a person: exit code 2

Exceptions of libraries are translated in one place per boundary (transports/, store/sqlstate.py), with the original as `__cause__`.
"""

from __future__ import annotations


class IngestError(Exception):
    """The base class. A message names the setting or record, the value, and what would be right."""


class Retry(IngestError):
    """Try again later. `after` is the wait that the server requires, in seconds; `code` is an SQLSTATE or HTTP status."""

    def __init__(self, message: str, *, after: float | None = None, code: str = "") -> None:
        super().__init__(message)
        self.after = after
        self.code = code


class Reject(IngestError):
    """A bad frame or record. `reason` is one of a closed list, because it is a metric label."""

    def __init__(self, message: str, *, reason: str, code: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class Hold(IngestError):
    """Rows are kept, and their table is held until a person removes the cause. `code` is the SQLSTATE, if there is one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Stop(IngestError):
    """The process cannot continue: it prints the reason and exits with 2."""


def first(error: BaseException) -> BaseException:
    """The first exception of nested groups; any other exception as it is.

    `except*` cannot be used: before Python 3.11.4 (Debian 12 has 3.11.2) an exception raised within it is wrapped in a group again:
    https://github.com/python/cpython/issues/103590
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
