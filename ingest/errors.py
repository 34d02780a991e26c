"""Every error that this project raises on purpose, by what has to happen next.

IngestError
 +-- Retry    the same thing may work later: a lost line, a 5xx, SQLSTATE 08/40/53/57P
 +-- Reject   this frame or record is bad: it is counted, kept as evidence, and the rest goes on
 +-- Hold     what we hold does not fit where it should go (schema, rights): keep all, go unready, say why
 +-- Stop     configuration or schema is wrong in a way that only a person can mend: exit 2

A foreign exception is translated at one place per boundary (transports/, store/faults.py), with the original as `__cause__`.
"""

from __future__ import annotations


class IngestError(Exception):
    """The root. The message carries the setting or record, the value, and what would be right."""


class Retry(IngestError):
    """Try again later; `after` is the wait in seconds that the other side asked for, `code` an SQLSTATE or HTTP status."""

    def __init__(self, message: str, *, after: float | None = None, code: str = "") -> None:
        super().__init__(message)
        self.after = after
        self.code = code


class Reject(IngestError):
    """A bad frame or record. `reason` is one of a closed list, fit for a metric label."""

    def __init__(self, message: str, *, reason: str, code: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class Hold(IngestError):
    """Rows are kept and the table is held until the cause is gone; `code` is the SQLSTATE where there is one."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Stop(IngestError):
    """Nothing sensible can go on; the process says why and exits with 2."""


def first(error: BaseException) -> BaseException:
    """The first cause within exception groups.

    `except*` would do, but until Python 3.11.4 (Debian 12 has 3.11.2) what is raised within it comes out in a group again:
    https://github.com/python/cpython/issues/103590
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
