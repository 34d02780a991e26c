"""Parts of a turn: a failed part does not affect the rows of the others, and keeps the cursor."""

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


def parts(*results: Reject | Retry | int) -> Iterator[tuple[str, Part[Any]]]:
    """A part for each result: it returns the row or raises the error."""

    def part(result: Any) -> Part[Any]:
        yield from ()
        if isinstance(result, Exception):
            raise result
        return [result]

    yield from ((str(position), part(result)) for position, result in enumerate(results))


def test_a_failed_part_is_reported_among_the_rows() -> None:
    flow = run_parts(parts(1, GONE, 2))
    assert [next(flow), next(flow), next(flow)] == [[1], [Missed("1", GONE)], [2]]
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert end.value.value is False


@pytest.mark.parametrize(
    ("results", "raised"),
    [
        ((GONE, GONE), GONE),  # every part failed
        ((1, FORBIDDEN, 2), FORBIDDEN),  # the key is refused, so every part would fail
        ((1, Retry("later"), 2), Retry),  # the turn is tried again
    ],
)
def test_an_error_of_the_whole_turn_ends_it(results: Any, raised: Any) -> None:
    with pytest.raises(type(raised) if isinstance(raised, Exception) else raised) as error:
        list(run_parts(parts(*results)))
    assert not isinstance(raised, Exception) or error.value is raised


def test_a_refused_tag_does_not_affect_the_others() -> None:
    """The transport throws the error of a response into the turn."""
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
    records: list[Any] = []
    step = next(flow)
    try:
        while True:
            if not isinstance(step, Request):
                records += step  # type: ignore[arg-type]
                step = next(flow)
            elif "/none?" in step.url:
                step = flow.throw(GONE)
            else:
                step = flow.send(Response(200, json.dumps([status]).encode(), received_at=NOW))
    except StopIteration as done:
        assert done.value
    assert [record for record in records if isinstance(record, Missed)] == [Missed("NONE", GONE)]
    symbols = [record.symbol for record in records if hasattr(record, "post_id")]
    assert symbols == ["BTC", "BTC", "ETH"]  # the post under the tag of ETH names BTC, too


def test_the_cursor_stays_if_a_part_failed() -> None:
    """Otherwise the new points of that part would never be requested."""
    assets = (Asset("ETH", "ETH"),)
    day = b'[{"t":1795046400,"v":1}]'
    before = "1794700800000000"
    whole = turn(glassnode, *[day] * 5, cursor=before, assets=assets)
    part = turn(glassnode, *[day] * 4, b"<html>", cursor=before, assets=assets)
    assert (whole.cursor, part.cursor) == ("1795046400000000", before)
    assert [record.name for record in part.records if isinstance(record, Missed)] == ["market_cap_usd of ETH"]
