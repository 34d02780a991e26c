"""Parts of a turn: one that cannot be had keeps no other from its rows, and the cursor where it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from ingest.errors import Reject, Retry
from ingest.pollers import glassnode, mastodon
from ingest.polling.provider import Missed, Part, PollOptions, run_parts
from ingest.protocol.http import Request, Response
from ingest.records import Asset
from tests.support.turns import NOW, turn

BTC, NONE, ETH = Asset("BTC", "bitcoin"), Asset("NONE", "none"), Asset("ETH", "ethereum")
FORBIDDEN, GONE = Reject("refused", reason="http", code="403"), Reject("not found", reason="http", code="404")


def parts(*answers: Reject | Retry | int) -> Iterator[tuple[str, Part[Any]]]:
    """A part for each answer: a row, or what it raises."""

    def part(answer: Any) -> Part[Any]:
        yield from ()
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    yield from ((str(place), part(answer)) for place, answer in enumerate(answers))


def test_what_is_missed_is_told_among_the_rest() -> None:
    flow = run_parts(parts(1, GONE, 2))
    assert [next(flow), next(flow), next(flow)] == [[1], [Missed("1", GONE)], [2]]
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert end.value.value is False


@pytest.mark.parametrize(
    ("answers", "raised"),
    [
        ((GONE, GONE), GONE),  # nothing could be had
        ((1, FORBIDDEN, 2), FORBIDDEN),  # the key is refused, whatever is asked for
        ((1, Retry("later"), 2), Retry),  # the turn is tried again
    ],
)
def test_what_concerns_the_whole_turn_ends_it(answers: Any, raised: Any) -> None:
    with pytest.raises(type(raised) if isinstance(raised, Exception) else raised) as error:
        list(run_parts(parts(*answers)))
    assert not isinstance(raised, Exception) or error.value is raised


def test_a_tag_that_is_refused_keeps_no_other_from_its_posts() -> None:
    """The transport throws what it was answered into the turn."""
    status = {
        "id": "1",
        "created_at": "2026-11-20T10:00:00.000Z",
        "content": "<p>bitcoin is up and that is good for the market</p>",
        "account": {"acct": "one", "followers_count": 1},
        "replies_count": 0,
        "reblogs_count": 0,
        "favourites_count": 0,
        "language": "en",
    }
    flow = mastodon.poll(PollOptions(base_url="http://x", assets=(BTC, NONE, ETH), score=lambda _: Decimal(0)), "")
    told: list[Any] = []
    step = next(flow)
    try:
        while True:
            if not isinstance(step, Request):
                told += step  # type: ignore[arg-type]
                step = next(flow)
            elif "/none?" in step.url:
                step = flow.throw(GONE)
            else:
                step = flow.send(Response(200, json.dumps([status]).encode(), received_at=NOW))
    except StopIteration as done:
        assert done.value
    assert [one for one in told if isinstance(one, Missed)] == [Missed("NONE", GONE)]
    symbols = [one.symbol for one in told if hasattr(one, "post_id")]
    assert symbols == ["BTC", "BTC", "ETH"]  # it names BTC under the tag of ETH as well


def test_a_cursor_stays_where_a_part_was_missed() -> None:
    """Otherwise what that part had meanwhile would never be asked for."""
    assets = (Asset("ETH", "ETH"),)
    day = b'[{"t":1795046400,"v":1}]'
    before = "1794700800000000"
    whole = turn(glassnode, *[day] * 5, cursor=before, assets=assets)
    part = turn(glassnode, *[day] * 4, b"<html>", cursor=before, assets=assets)
    assert (whole.cursor, part.cursor) == ("1795046400000000", before)
    assert [one.name for one in part.records if isinstance(one, Missed)] == ["market_cap_usd of ETH"]
