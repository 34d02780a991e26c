"""What the schema accepts, computed from its CHECKs: whether a record of a parser would be refused by its table."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from types import CodeType
from typing import Any

from msgspec import Struct

from ingest.records import SECOND, Instrument, Record
from ingest.tables import BY_RECORD
from tests.support.paths import ROOT

AHEAD = 86_400 * SECOND + 60 * SECOND  # an event time may be a day ahead, and a state has the time of the tick after it
MAX_KEY = 2600  # bytes; an entry of a B-tree index has 2,704 at most
DIGITS = re.compile(r"-?[0-9]*\.?[0-9]*", re.ASCII)
LONGEST = 128  # characters of a number
RANGES = {"integer": 1 << 31, "bigint": 1 << 63, "timestamptz": 1 << 63}
_CHECK = re.compile(r"CHECK \((.*)\)(?:,|$|\s*--)", re.MULTILINE)
_SQL = (  # each CHECK of a hypertable as Python
    (re.compile(r"array_position\((\w+), NULL\) IS NULL"), r"None not in \1"),
    (re.compile(r"([0-9e]+) (<=?|>) ALL \((\w+)\)"), r"all(\1 \2 one for one in \3)"),
    (re.compile(r"(\w+) IN \((.*?)\)"), r"\1 in (\2,)"),
    (re.compile(r"'(\d{4})-(\d\d)-(\d\d)Z'"), r"moment(\1, '\2', '\3')"),
    (re.compile(r"(\w+) BETWEEN (\d+) AND (\d+)"), r"\2 <= \1 <= \3"),
    (re.compile(r"\b(\d+e\d+)\b"), r"int(Decimal('\1'))"),
    (re.compile(r"cardinality\((\w+)\) = cardinality\((\w+)\)"), r"len(\1) == len(\2)"),
    (re.compile(r"(\w+) IS NOT NULL"), r"\1 is not None"),
    (re.compile(r"(\w+) IS NULL"), r"\1 is None"),
)


class Check(Struct, frozen=True):
    """One CHECK: its SQL, its columns, and the same condition in Python."""

    sql: str
    columns: tuple[str, ...]
    code: CodeType


def moment(year: int, month: str, day: str) -> int:
    return int(datetime(year, int(month), int(day), tzinfo=UTC).timestamp()) * SECOND


NAMES: dict[str, Any] = {"moment": moment, "Decimal": Decimal, "int": int, "all": all, "len": len, "__builtins__": {}}


@cache
def checks(table: str, columns: tuple[str, ...]) -> tuple[Check, ...]:
    """The CHECKs of a table with these columns in `schema/migrations`."""
    (path,) = (ROOT / "schema/migrations").glob(f"[0-9][0-9][0-9][0-9]_{table}.sql")
    statements = re.sub(r"^--.*$", "", path.read_text(), flags=re.MULTILINE)
    found = []
    for sql in _CHECK.findall(statements):
        text = sql.replace(" AND ", " and ").replace(" OR ", " or ")
        text = re.sub(r"(BETWEEN \d+) and", r"\1 AND", text)
        for pattern, python in _SQL:
            text = pattern.sub(python, text)
        used = tuple(sorted(set(columns) & set(re.findall(r"\w+", text))))
        found.append(Check(sql, used, compile(text, sql, "eval")))
    assert len(found) == statements.count("CHECK (") > 0, path
    return tuple(found)


def refusal(record: Record, received_at: int) -> str:
    """Why the database would refuse a record, or why it is no record of what was received at this time; empty if it is good."""
    table = BY_RECORD[type(record)]
    if record.time > received_at + AHEAD:
        return f"time {record.time} is more than a day after its receipt"
    values: dict[str, Any] = {}
    for column in table.columns:
        value = getattr(record, column.name)
        if value is None:
            if not column.nullable:
                return f"{column.name} is None"
        elif (fault := _FAULTS[column.type.removesuffix("[]")](column.type, value)) is not None:
            return f"{column.name} {fault}"
        elif column.type.startswith("numeric"):
            value = tuple(map(Decimal, value)) if isinstance(value, tuple) else Decimal(value)
        values[column.name] = value
    if (failed := _failed(checks(table.name, record.__struct_fields__), values)) is not None:
        return failed
    if sum(len(str(values[name]).encode()) for name in table.key) > MAX_KEY:
        return "the key is too large for an index"
    return ""


def instrument_refusal(instrument: Instrument) -> str:
    """Why the table `instruments` would refuse a market of a listing."""
    for name in instrument.__struct_fields__:
        value = getattr(instrument, name)
        fault = (_number if name.endswith("_step") else _text)("", value) if name != "id" and value is not None else None
        if fault is not None:
            return f"{name} {fault}"
    values = {name: getattr(instrument, name) for name in instrument.__struct_fields__}
    values |= {name: Decimal(values[name]) for name in ("price_step", "size_step") if values[name] is not None}
    key = instrument.symbol + instrument.instrument
    too_large = "the key is too large for an index" if len(key.encode()) > MAX_KEY else ""
    return _failed(checks("instruments", instrument.__struct_fields__), values) or too_large


def _failed(of: tuple[Check, ...], values: dict[str, Any]) -> str | None:
    """The first CHECK that fails. In SQL a condition with NULL is unknown, and an unknown CHECK passes."""
    for check in of:
        about_null = " is " in check.sql.lower()
        if (about_null or all(values[name] is not None for name in check.columns)) and not eval(check.code, NAMES, values):
            return f"CHECK ({check.sql}) fails"
    return None


def _number(type_: str, value: Any) -> str | None:
    for one in value if isinstance(value, tuple) else (value,):
        if not isinstance(one, str) or len(one) > LONGEST or DIGITS.fullmatch(one) is None or not any(map(str.isdigit, one)):
            return f"{str(one)[:80]!r} is no number"
    return None


def _text(type_: str, value: Any) -> str | None:
    for one in value if isinstance(value, tuple) else (value,):
        if "\0" in one:
            return f"{one[:80]!r} has a NUL"
        try:
            one.encode()
        except UnicodeEncodeError:
            return f"{one[:80]!r} is no Unicode text"
    return None


def _integer(type_: str, value: Any) -> str | None:
    return None if type(value) is int and -RANGES[type_] <= value < RANGES[type_] else f"{str(value)[:40]} is no {type_}"


_FAULTS: dict[str, Callable[[str, Any], str | None]] = {"numeric": _number, "text": _text, "jsonb": _text}
_FAULTS |= dict.fromkeys(RANGES, _integer)
