"""Translates asyncpg's exceptions into Retry, Hold and Stop. No other module does.

A code that is not listed here is a Hold, so that no row is lost to an unexpected error.
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re

import asyncpg

from ingest.errors import Hold, IngestError, Retry, Stop

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, EOFError)
FOREIGN = (asyncpg.PostgresError, *CONNECTION_ERRORS)

CONFLICT = "23505"
SPLIT = "53400"  # TimescaleDB's tuple decompression limit: the same batch fails again, a smaller one passes
_RETRY = ("08", "53")
_RETRY_CODES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05", "57014", "25006"}
_DATA = ("22",)
_DATA_CODES = {"23502", "23503", "23514", "54000"}  # 54000: a value too long for its index

_LINE = re.compile(r"COPY \w+, line (\d+)")


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error; '' if it has none (a lost connection)."""
    return getattr(error, "sqlstate", None) or ""


def is_data(error: BaseException) -> bool:
    """Whether the error is about one row, so that the rest of the batch may pass without it."""
    code = sqlstate(error)
    return code.startswith(_DATA) or code in _DATA_CODES


def copied_line(error: BaseException) -> int | None:
    """The number of the line that COPY refused, from 1; None if the error names none."""
    named = _LINE.search(getattr(error, "context", None) or "")
    return int(named[1]) if named else None


def translate(error: BaseException, action: str) -> IngestError:
    """Retry or Hold for an error of asyncpg or the network, Stop for an invalid DSN. The message begins with `action`."""
    code = sqlstate(error)
    text = f"{action}: {code or type(error).__name__}: {str(error) or 'no response'}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Stop(text)
    if isinstance(error, asyncpg.PostgresError) and code:
        if code in _RETRY_CODES or (code.startswith(_RETRY) and code != SPLIT):
            return Retry(text, code=code)
        detail = getattr(error, "detail", None)
        return Hold(f"{text} ({detail})" if detail else text, code=code)
    return Retry(text, code="")
