"""The bounds of numbers, times and ids of providers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Reject
from ingest.polling import checked
from ingest.records import SECOND
from tests.support.turns import NOW

CHECKS = (checked.price, checked.total, checked.metric, checked.change, checked.share)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "number",
    ["", ".", "-", "+1", "NaN", "Infinity", "1_0", " 1", "1e", "1e41", "1.2.3", "\u0663", "9" * 5000, "0x1", "1e400000000", "1,5"],
)
def test_what_is_no_number_is_rejected(check: Any, number: str) -> None:
    with pytest.raises(Reject) as refused:
        check(number)
    assert refused.value.reason == "value"
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("Infinity"), Decimal("1e300000"), Decimal("1e-300000")])
def test_a_decimal_is_bounded_before_it_is_written_out(number: Decimal) -> None:
    with pytest.raises(Reject):
        checked.metric(number)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("0.10", "0.10"), ("5.1e-7", "0.00000051"), ("1E3", "1000"), ("1e-8", "0.00000001"), (".5", ".5"), ("5.", "5.")],
)
def test_digits_are_kept_and_an_exponent_is_written_out(text: str, plain: str) -> None:
    assert [check(text) for check in CHECKS[:2]] == [plain] * 2
    assert checked.price(Decimal("1E+3")) == "1000"


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checked.price, ["0.1", "9" * 18], ["0", "-1", "1" + "0" * 18]),
        (checked.total, ["0", "9" * 30], ["-1", "1e30"]),
        (checked.metric, ["-1", "0", "9" * 36], ["-1e36", "1e36"]),
        (checked.change, ["-100", "0"], ["-100.1", "1e12"]),
        (checked.share, ["0", "100", "33.33"], ["-0.1", "100.1"]),
        (checked.count, [0, 2**31 - 1], [-1, 2**31, 10**5000]),
        (checked.native_id, ["1", "a-b/7", "\u0416", "x" * 500], ["", "a\0b", "a\nb", "x" * 501]),
    ],
)
def test_the_bounds(check: Any, good: list[Any], bad: list[Any]) -> None:
    assert [check(value) for value in good] == good
    for value in bad:
        with pytest.raises(Reject):
            check(value)


def test_times_are_within_the_bounds_of_the_tables() -> None:
    assert checked.time_of(1_795_176_000, SECOND, NOW) == NOW
    assert checked.time_of("1795176000000", 1000, NOW) == NOW
    assert checked.time_of(1_795_176_000 + 86_400, SECOND, NOW) == NOW + 86_400 * SECOND
    for time in (0, -1, 1_795_176_000_000, 10**4500, "", "-1", "1.5", "9" * 4000, "\u0663", 1_795_176_000 + 86_401, 4_102_444_800):
        with pytest.raises(Reject):
            checked.time_of(time, SECOND, NOW)
