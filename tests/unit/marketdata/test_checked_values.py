"""Checked values: valid and invalid numbers, times, ids and levels, the same for every exchange."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.marketdata.values import (
    check_levels,
    checked_market,
    decimal_digits,
    decimal_price,
    decimal_size,
    digits,
    from_iso,
    from_text,
    identifier,
    micros,
    price_and_size,
    quote_side,
    sift_levels,
    step_of,
)
from ingest.records import SECOND, Instrument

NO_NUMBERS = [
    "",
    ".",
    "-1",
    "+1",
    "NaN",
    "Infinity",
    "1_0",
    " 1",
    "1e",
    "1e41",
    "1e-41",
    "1.2.3",
    "٣",
    "9" * 5000,
    "0x1",
    "1e400000000",
]


@pytest.mark.parametrize(
    ("text", "plain"),
    [("0.10", "0.10"), ("5.1e-7", "0.00000051"), ("1E3", "1000"), ("1e-8", "0.00000001"), ("9" * 18, "9" * 18)],
)
def test_digits_are_kept_and_an_exponent_is_expanded(text: str, plain: str) -> None:
    assert digits(text) == plain
    assert price_and_size(text, "1") == (plain, "1")
    assert quote_side("1", text) == ("1", plain)
    assert check_levels([[text, "1", "more"]])[0][0] == plain


@pytest.mark.parametrize("text", ["0", "0.00", ".0", "00", "0e3"])
def test_a_price_of_zero_is_refused_and_a_size_of_zero_removes_a_level(text: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: price_and_size(text, "1"),
        lambda: price_and_size("1", text),
        lambda: check_levels([["1", "1"], [text, "1"]]),
        lambda: decimal_price(Decimal(text)),
        lambda: decimal_size(Decimal(text)),
    ]
    for use in uses:
        with pytest.raises(ValueError, match="is not above zero"):
            use()
    assert digits(text).strip("0.") == ""
    assert float(check_levels([["1", text]])[0][1]) == 0
    good, bad = sift_levels([["1", text], ["2", "1"], [text, "1"]])  # a snapshot has no removed levels
    assert ([*good], len(bad)) == ([("2", "1")], 2)


@pytest.mark.parametrize("whole", [18, 24, 40])
def test_bounds_are_those_of_the_tables(whole: int) -> None:
    """A price is below 10^18, a size below 10^24, with as many decimals as fit."""
    below, above = f"{'9' * whole}.5", f"1{'0' * whole}"
    if whole == 18:
        assert price_and_size(below, "1") == (below, "1")
        assert decimal_price(Decimal(below)) == below
        assert check_levels([[below, "1"]])[0][0] == below
        assert price_and_size("1", above) == ("1", above)
    if whole == 24:
        assert price_and_size("1", below) == ("1", below)
        assert decimal_size(Decimal(below)) == below
        assert check_levels([["1", below]])[0][1] == below
    refused: list[Callable[[], object]] = [lambda: price_and_size(above, "1"), lambda: decimal_price(Decimal(above))]
    refused += [lambda: quote_side(above, "1"), lambda: check_levels([[above, "1"]])]
    if whole > 18:
        refused += [lambda: price_and_size("1", above), lambda: decimal_size(Decimal(above)), lambda: quote_side("1", above)]
        refused += [lambda: check_levels([["1", above]])]
    for use in refused:
        with pytest.raises(ValueError, match=r"is not below 10\^|is not a price or size"):
            use()


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_an_invalid_number_is_refused_by_every_check(text: str) -> None:
    uses: list[Callable[[], object]] = [
        lambda: digits(text),
        lambda: price_and_size(text, "1"),
        lambda: price_and_size("1", text),
        lambda: check_levels([["1", "1"], [text, "1"]]),
        lambda: check_levels([["1", text]]),
        lambda: identifier(text),
        lambda: from_text(text, SECOND),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=r"not a price or size|not an id|not within 2009\.\.2100"):
            use()
    assert sift_levels([["1", "1"], [text, "1"]])[0] == [("1", "1")]


@pytest.mark.parametrize("number", ["-1", "NaN", "sNaN", "Infinity", "1e99", "1e-99", "9" * 5000])
def test_a_decimal_that_is_no_number(number: str) -> None:
    with pytest.raises(ValueError, match="is not a price or size"):
        decimal_digits(Decimal(number))


@pytest.mark.parametrize("price", ["1", "0.5"])
@pytest.mark.parametrize("size", [None, "", "0", "0.000"])
def test_a_side_without_a_size_is_empty(price: str, size: str | None) -> None:
    assert quote_side(price, size) == (None, None)
    assert quote_side(size if not size else None, price) == (None, None)


@pytest.mark.parametrize(("price", "size"), [("-1", "1"), ("x", "1"), ("1", "-1"), ("1", "9" * 5000)])
def test_a_side_with_a_bad_value_is_no_quote(price: str, size: str) -> None:
    with pytest.raises(ValueError, match="is not a price or size"):
        quote_side(price, size)


@pytest.mark.parametrize("level", [None, 5, "12", [], ["1"], [1, "1"], ["1", 1], ["1", None], {"0": "1", "1": "1"}])
def test_an_invalid_level_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match="level "):
        check_levels([["1", "1"], level])
    good, bad = sift_levels([["1", "1"], level, ["5e-1", "2"]])
    assert ([tuple(pair) for pair in good], len(bad)) == ([("1", "1"), ("0.5", "2")], 1)
    assert len(bad[0]) < 100


@pytest.mark.parametrize("time", [-62_135_596_800_000_000, 0, -1, 253_402_300_799_000_000, 1_700_000_000, 1_700_000_000_000])
def test_placeholders_and_other_units_are_no_times(time: int) -> None:
    with pytest.raises(ValueError, match=r"not within 2009\.\.2100"):
        micros(time)
    with pytest.raises(ValueError, match=r"not within 2009\.\.2100"):
        from_text(str(time), 1)


def test_times_are_microseconds() -> None:
    assert micros(1_700_000_000_000_001) == 1_700_000_000_000_001
    assert from_text("1700000000", SECOND) == 1_700_000_000 * SECOND
    assert from_text("1700000000123", 1000) == 1_700_000_000_123_000


def test_ids_fit_a_bigint() -> None:
    assert identifier("9223372036854775807") == (1 << 63) - 1
    for text in ("9223372036854775808", "-1", "", "9" * 5000, "٣" * 30):
        with pytest.raises(ValueError, match="is not an id"):
            identifier(text)


def test_steps() -> None:
    assert [step_of(0), step_of(1), step_of(3)] == ["1", "0.1", "0.001"]
    row = Instrument("x", "A-B", "A/B", "A", "B", "spot", "trading")
    steps = [checked_market(replace(row, price_step=step, size_step=step)).price_step for step in (None, "", "0.10", "1e-8")]
    assert steps == [None, None, "0.10", "0.00000001"]
    for decimals in (-1, 41, 300_000_000):
        with pytest.raises(ValueError, match="decimals"):
            step_of(decimals)
    for step in ("0", "0.0", "-1", "1e31", "1e24"):
        for field in ("price_step", "size_step"):
            with pytest.raises(ValueError, match=r"is not above zero|is not below|not a price or size"):
                checked_market(replace(row, **{field: step}))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023-10-06T17:35:55.440295Z", 1696613755440295),
        ("2023-10-06T19:35:55.44+02:00", 1696613755440000),
        ("2025-11-10T17:23:53.971744999Z", 1762795433971744),  # cut, not rounded
    ],
)
def test_a_time_is_microseconds(text: str, time: int) -> None:
    assert from_iso(text) == time


@pytest.mark.parametrize(
    "text", ["2023-10-06T17:35:55", "2008-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2100-01-01T00:00:00Z", "soon"]
)
def test_a_time_without_a_zone_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        from_iso(text)
