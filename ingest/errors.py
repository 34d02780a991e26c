"""The errors that this project raises on purpose, by what must happen next.

IngestError
 +-- Retry    the same operation may succeed later: a lost connection, HTTP 5xx, SQLSTATE 08, 40, 53, 57P
 +-- Reject   this frame or record is bad: it is counted and kept as evidence, the others are processed
 +-- Hold     rows do not fit the database (schema, privileges): they are kept, and the daemon reports why it is not ready
 +-- Stop     only a person can correct it (configuration, schema): exit code 2

Exceptions of libraries are translated in one place per boundary (transports/, store/sqlstate.py), with the original as `__cause__`.
"""

from __future__ import annotations


class IngestError(Exception):
    """The base class. A message names the setting or record, the value, and what would be right."""


class Retry(IngestError):
    """Try again later. `after` is the wait that the other side asks for, in seconds; `code` is an SQLSTATE or HTTP status."""

    def __init__(self, message: str, *, after: float | None = None, code: str = "") -> None:
        super().__init__(message)
        self.after = after
        self.code = code


class Reject(IngestError):
    """A bad frame or record. `reason` is of a closed list, for use as a metric label."""

    def __init__(self, message: str, *, reason: str, code: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class Hold(IngestError):
    """Rows are kept and their table is held until the cause is removed. `code` is the SQLSTATE, if there is one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Stop(IngestError):
    """The process cannot continue: it prints the reason and exits with 2."""


def first(error: BaseException) -> BaseException:
    """The first exception within nested groups.

    `except*` cannot be used: until Python 3.11.4 (Debian 12 has 3.11.2) what is raised within it is wrapped in a group again:
    https://github.com/python/cpython/issues/103590
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
