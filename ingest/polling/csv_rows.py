"""Reads the CSV files of providers and checks their header. https://www.rfc-editor.org/rfc/rfc4180"""

from __future__ import annotations

import csv
from collections.abc import Sequence

from ingest.errors import Reject


def csv_rows(text: str, header: Sequence[str], *, optional: int = 0) -> list[list[str]]:
    """The rows after the header, without empty lines. Each has the columns of `header` and at most `optional` more.

    Raises Reject: `shape` if the first line differs from `header`, `value` if a row has another number of columns.
    """
    try:
        lines = list(csv.reader(text.splitlines()))
    except csv.Error as error:  # a field of more than 128 KiB
        raise Reject(str(error), reason="shape") from error
    first = lines[0] if lines else []
    if first[: len(header)] != list(header) or len(first) > len(header) + optional:
        raise Reject(f"the first line is {','.join(first)[:80]!r}; right would be {','.join(header)!r}", reason="shape")
    rows = [row for row in lines[1:] if row]
    for row in rows:
        if not len(header) <= len(row) <= len(first):
            raise Reject(f"a row is {','.join(row)!r}; right would be {','.join(first)}", reason="value")
    return rows
