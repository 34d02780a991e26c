"""CSV files of providers: the header is checked, and a bad line costs itself."""

from __future__ import annotations

import pytest

from ingest.errors import Reject
from ingest.polling.csv_rows import csv_rows
from ingest.protocol.decode import Malformed

HEADER = ("Date", "Close")


def test_rows_are_returned_without_the_header_and_empty_lines() -> None:
    body = b"Date,Close\r\n2026-11-19,1\r\n\r\n2026-11-20,2\r\n"
    rows = [["2026-11-19", "1"], ["2026-11-20", "2"]]
    assert list(csv_rows(body, HEADER)) == rows
    assert list(csv_rows(b"\xef\xbb\xbf" + body, HEADER)) == rows, "a byte order mark is no part of the header"
    longer = csv_rows(b"Date,Close,Volume\n2026-11-19,1\n2026-11-20,2,3\n", HEADER, optional=1)
    assert list(longer)[1] == ["2026-11-20", "2", "3"]


def test_a_bad_line_costs_itself() -> None:
    body = b"Date,Close\n2026-11-18\n2026-11-19,1\n" + b"9" * 200_000 + b",1\n2026-11-20,1,2\n2026-11-21,2\n2026"
    rows = list(csv_rows(body, HEADER))
    assert [row for row in rows if isinstance(row, list)] == [["2026-11-19", "1"], ["2026-11-21", "2"]]
    bad = [row for row in rows if isinstance(row, Malformed)]
    assert [(row.payload[:20], row.reason) for row in bad] == [
        (b"2026-11-18", "value"),
        (b"9" * 20, "shape"),  # a field beyond the limit of the csv module
        (b"2026-11-20,1,2", "value"),
        (b"2026", "value"),
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"Close,Date\n1,2026-11-19\n",
        b"Date,Close,Volume\n2026-11-19,1,2\n",  # an unexpected column
        b"Date," + b"9" * 200_000,
    ],
)
def test_a_file_with_another_header_is_rejected(body: bytes) -> None:
    with pytest.raises(Reject) as error:
        csv_rows(body, HEADER)
    assert error.value.reason == "shape"
