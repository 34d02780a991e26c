"""CSV files of providers: the header is checked, and a malformed file is rejected with its reason."""

from __future__ import annotations

import pytest

from ingest.errors import Reject
from ingest.polling.csv_rows import csv_rows

HEADER = ("Date", "Close")


def test_rows_are_returned_without_the_header_and_empty_lines() -> None:
    assert csv_rows("Date,Close\r\n2026-11-19,1\r\n\r\n2026-11-20,2\r\n", HEADER) == [["2026-11-19", "1"], ["2026-11-20", "2"]]
    assert csv_rows("Date,Close,Volume\n2026-11-19,1\n2026-11-20,2,3\n", HEADER, optional=1)[1] == ["2026-11-20", "2", "3"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "shape"),
        ("<html>", "shape"),
        ("Close,Date\n1,2026-11-19\n", "shape"),
        ("Date,Close,Volume\n2026-11-19,1,2\n", "shape"),  # an unexpected column
        ("Date,Close\n" + "9" * 200_000 + ",1\n", "shape"),  # a field beyond the limit of the csv module
        ("Date,Close\n2026-11-19\n", "value"),
        ("Date,Close\n2026-11-19,1,2\n", "value"),
    ],
)
def test_a_malformed_file_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(Reject) as error:
        csv_rows(text, HEADER)
    assert error.value.reason == reason
