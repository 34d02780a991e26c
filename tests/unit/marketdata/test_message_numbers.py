"""The numbers of a connection's messages: which messages are lost, and which are refused."""

from __future__ import annotations

import pytest

from ingest.marketdata.message_numbers import MAX_JUMP, MessageNumbers


def follow(*numbers: int) -> list[bool | str]:
    """For each number, whether messages are lost before it; the error of a refused one."""
    counter = MessageNumbers()
    out: list[bool | str] = []
    for number in numbers:
        try:
            out.append(counter.lost_before(number))
        except ValueError as error:
            out.append(str(error))
    return out


@pytest.mark.parametrize("first", [0, 1, 4_000_000_000])
def test_the_first_number_may_be_any(first: int) -> None:
    assert follow(first, first + 1, first + 2) == [False] * 3


def test_a_jump_is_a_loss_once() -> None:
    assert follow(0, 1, 5, 6) == [False, False, True, False]


def test_a_repeated_and_a_late_number_are_refused() -> None:
    assert follow(0, 1, 1, 2, 4, 3, 5) == [
        *(False, False, "message 1 follows message 1 and is ignored", False),
        *(True, "message 3 follows message 4 and is ignored", False),
    ]


def test_one_wrong_number_is_not_believed() -> None:
    """The message with the wrong number is lost, as the number after it shows."""
    assert follow(7, 8, 10**18, 10, 11) == [False, False, f"message {10**18} follows message 8 and is ignored", True, False]
    assert follow(8, 8 + MAX_JUMP)[1] == True  # noqa: E712 - not a text


def test_a_new_count_is_followed_from_its_second_number() -> None:
    assert follow(7, 8, 0, 1, 2) == [False, False, "message 0 follows message 8 and is ignored", True, False]
    assert follow(10**18, 1, 2, 3) == [False, f"message 1 follows message {10**18} and is ignored", True, False]
