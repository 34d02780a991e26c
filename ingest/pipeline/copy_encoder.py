"""Rows as the text that COPY reads, one line each.

https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-TEXT-FORMAT: tab between columns, `\\N` for NULL, backslash escapes.

Text, because the exchange's digits then pass through untouched, and because binary COPY trusts a type cache that is wrong after an
ALTER TABLE. The encoder of a table is one generated f-string: measured 0.9 us a trade, against 2.6 us for a loop over columns.
Formatting the two times was half of that, so seconds are remembered; rows seldom share a millisecond (0.9 us against 5).
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
    """The text of a day since the epoch, made when it is first asked for."""

    def __missing__(self, day: int) -> str:
        text = self[day] = time.strftime("%Y-%m-%d ", time.gmtime(day * 86_400))
        return text


class _Seconds(dict[int, str]):
    """The text of a second since the epoch: in history, where rows seldom share one, by its day and minute."""

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
        except (OverflowError, OSError, ValueError):  # beyond any calendar: such a row is rejected, its batch must not be lost
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
    """An array literal: its own quotes and backslashes first, then those of COPY."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return _text("{" + ",".join(f'"{value}"' for value in quoted) + "}")


def encoder(table: Table) -> Encoder:
    """A function from one record of `table` to its line, newline included."""
    parts = [_expression(column) for column in table.columns]
    # generated once per table from our own annotations, never from data
    source = 'lambda r: f"' + "\\t".join(parts) + '\\n"'
    names = {"seconds": _Seconds(), "millis": _MILLIS, "micros": _MICROS, "text": _text, "texts": _texts, "levels": _levels}
    names["null"] = "\\N"
    made: Encoder = eval(source, names)
    return made


def columns_encoder(table: Table) -> ColumnsEncoder:
    """From columns of `table` to their lines: 0.7 us a candle, because what all rows share is made once, and Python sees no row."""
    line = encoder(table)
    names = [column.name for column in table.columns]
    days = _Days()

    def encode(columns: Columns) -> str:
        times = [
            f"{days[t // 86_400_000_000]}{_MINUTES[t // 60_000_000 % 1440]}"
            f"{_SECONDS[t // 1_000_000 % 60]}{_MILLIS[t // 1000 % 1000]}{_MICROS[t % 1000]}"
            for t in columns.times
        ]
        differ = {"time": times, **{name: value for name, value in columns.values.items() if isinstance(value, list)}}
        first = dict(zip(names, line(next(iter(columns)))[:-1].split("\t"), strict=True))
        parts: list[Iterable[str]] = []
        for is_list, group in groupby(names, differ.__contains__):
            some = list(group)
            parts += [differ[name] for name in some] if is_list else [repeat("\t".join(first[name] for name in some))]
        return "\n".join(map("\t".join, zip(*parts, strict=False))) + "\n"  # `repeat` has no end

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
