"""Reads the CSV files of providers line by line, and checks their header. https://www.rfc-editor.org/rfc/rfc4180"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from ingest.errors import Reject
from ingest.polling.html_page import refuse_page
from ingest.protocol.decode import Malformed


def csv_rows(body: bytes, header: Sequence[str], *, optional: int = 0) -> Iterator[list[str] | Malformed]:
    """The rows after the header, without empty lines. Each has the columns of `header` and at most `optional` more.

    A line with another number of columns, as in a file that is cut while it is published, is a `Malformed`. A byte order mark is
    ignored. Raises Reject (shape) if the file is an HTML page, or its first line differs from `header`.
    """
    refuse_page(body)
    lines = body.decode("utf-8-sig", "replace").splitlines()
    first = _cells(lines[0]) if lines else []
    if not isinstance(first, list) or first[: len(header)] != list(header) or len(first) > len(header) + optional:
        raise Reject(f"the first line is {(lines or [''])[0][:80]!r}; right would be {','.join(header)!r}", reason="shape")
    return _rows(lines[1:], first, len(header))


def _rows(lines: list[str], first: list[str], least: int) -> Iterator[list[str] | Malformed]:
    for line in lines:
        if not (cells := _cells(line)):
            continue
        if isinstance(cells, list) and not least <= len(cells) <= len(first):
            cells = Malformed(line.encode(), "value", f"a row is {line[:80]!r}; right would be {','.join(first)}")
        yield cells


def _cells(line: str) -> list[str] | Malformed:
    try:
        return next(csv.reader([line]), [])
    except csv.Error as error:  # a field of more than 128 KiB
        return Malformed(line.encode(), "shape", str(error))
