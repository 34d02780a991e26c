"""Encodes rows as the text format of COPY, one line per row.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-TEXT-FORMAT: tab between columns, `\\N` for NULL, backslash escapes.

Text keeps the exchange's digits as they are, and binary COPY relies on a type cache that is wrong after an ALTER TABLE. The
encoder of a table is one generated f-string: 0.9 us per trade, against 2.6 us for a loop over columns. Formatting the two times
took half of that, so the text of a second is cached; rows that share a millisecond are too rare to cache more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import groupby, repeat

from ingest.protocol.history import Columns
from ingest.tables import Column, Table

Encoder = Callable[[object], str]
ColumnsEncoder = Callable[[Columns], str]

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


class _Days(dict[int, str]):
    """The text of a day since the epoch, formatted at first use."""

    def __missing__(self, day: int) -> str:
        text = self[day] = time.strftime("%Y-%m-%d ", time.gmtime(day * 86_400))
        return text


class _Seconds(dict[int, str]):
    """The text of a second since the epoch, composed from cached days, because rows of history seldom share a second."""

    def __init__(self) -> None:
        super().__init__()
        self._days = _Days()

    def __missing__(self, second: int) -> str:
        if len(self) > 10_000:
            self.clear()
            self._days.clear()
        day, rest = divmod(second, 86_400)
        try:
            text = f"{self._days[day]}{_MINUTES[rest // 60]}{rest % 60:02d}."
        except (OverflowError, OSError, ValueError):  # beyond the calendar: the server rejects this row only
            text = f"{second} s."
        self[second] = text
        return text


_MINUTES = [f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440)]
_SECONDS = [f"{second:02d}." for second in range(60)]
_MILLIS = [f"{millis:03d}" for millis in range(1000)]
_MICROS = [f"{micros:03d}+00" for micros in range(1000)]  # what follows the millisecond


def _text(value: str) -> str:
    return value if value.isalnum() else value.translate(_ESCAPES)


def _levels(values: tuple[str, ...]) -> str:
    return "{" + ",".join(values) + "}"


def _texts(values: tuple[str, ...]) -> str:
    """An array literal: escaped first as an array, then for COPY."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return _text("{" + ",".join(f'"{value}"' for value in quoted) + "}")


def encoder(table: Table) -> Encoder:
    """Returns the function that encodes one record of `table` as its line, newline included."""
    parts = [_expression(column) for column in table.columns]
    # the source is generated from the annotations of the records, never from data
    source = 'lambda r: f"' + "\\t".join(parts) + '\\n"'
    names = {"seconds": _Seconds(), "millis": _MILLIS, "micros": _MICROS, "text": _text, "texts": _texts, "levels": _levels}
    names["null"] = "\\N"
    encode: Encoder = eval(source, names)
    return encode


def columns_encoder(table: Table) -> ColumnsEncoder:
    """Returns the function that encodes columns of `table` as lines. Values that all rows share are formatted once."""
    line = encoder(table)
    names = [column.name for column in table.columns]
    days = _Days()

    def encode(columns: Columns) -> str:
        times = [
            f"{days[t // 86_400_000_000]}{_MINUTES[t // 60_000_000 % 1440]}"
            f"{_SECONDS[t // 1_000_000 % 60]}{_MILLIS[t // 1000 % 1000]}{_MICROS[t % 1000]}"
            for t in columns.times
        ]
        varying = {"time": times, **{name: value for name, value in columns.values.items() if isinstance(value, list)}}
        first = dict(zip(names, line(next(iter(columns)))[:-1].split("\t"), strict=True))
        parts: list[Iterable[str]] = []
        for varies, group in groupby(names, varying.__contains__):
            adjacent = list(group)
            parts += [varying[name] for name in adjacent] if varies else [repeat("\t".join(first[name] for name in adjacent))]
        return "\n".join(map("\t".join, zip(*parts, strict=False))) + "\n"  # not strict: `repeat` does not end

    return encode


def _expression(column: Column) -> str:
    value = f"r.{column.name}"
    match column.type:
        case "timestamptz":
            return f"{{seconds[{value}//1000000]}}{{millis[{value}//1000%1000]}}{{micros[{value}%1000]}}"
        case "text" | "jsonb" if not column.word:
            shown = f"text({value})"
        case "text[]":
            shown = f"texts({value})"
        case "numeric[]":
            shown = f"levels({value})"
        case _:
            shown = value
    if not column.nullable:
        return f"{{{shown}}}"
    return f"{{null if {value} is None else {shown}}}"
