"""What an error of the database means for the rows in hand: the one place where asyncpg's exceptions are translated.

https://www.postgresql.org/docs/current/errcodes-appendix.html. What is not listed is a Hold: rows are never given up for an error
that nobody has thought about.
"""

from __future__ import annotations

import asyncpg

from ingest.errors import Hold, IngestError, Retry, Stop

CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError, EOFError)
FOREIGN = (asyncpg.PostgresError, *CONNECTION_ERRORS)

CONFLICT = "23505"
SPLIT = "53400"  # TimescaleDB's tuple decompression limit: class 53, but the same batch never passes; a smaller one does
_RETRY = ("08", "53")
_RETRY_CODES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05", "57014", "25006"}
_DATA = ("22",)
_DATA_CODES = {"23502", "23503", "23514"}


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of an error, '' where the server did not say one (a lost line)."""
    return getattr(error, "sqlstate", None) or ""


def is_data(error: BaseException) -> bool:
    """Whether a row of the batch is bad, and the others may pass without it."""
    code = sqlstate(error)
    return code.startswith(_DATA) or code in _DATA_CODES


def translate(error: BaseException, doing: str) -> IngestError:
    """Retry or Hold for a foreign error, Stop for a DSN that is none; `doing` says what was tried, in words."""
    code = sqlstate(error)
    text = f"{doing}: {code or type(error).__name__}: {str(error) or 'no answer'}"
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Stop(text)
    if isinstance(error, asyncpg.PostgresError) and code:
        if code in _RETRY_CODES or (code.startswith(_RETRY) and code != SPLIT):
            return Retry(text, code=code)
        detail = getattr(error, "detail", None)
        return Hold(f"{text} ({detail})" if detail else text, code=code)
    return Retry(text, code="")
