"""The mutations, the checks of rows, and the rules themselves: each kind of fault is noticed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ingest.pollers import alternative_me
from ingest.protocol.decode import Malformed
from ingest.records import SECOND, BookSnapshot, Candle, Instrument, Record, SentimentScore, Trade
from ingest.tables import BY_RECORD
from tests.support.fuzz import pollers
from tests.support.mutations import MANY, Choice, rows, shortened
from tests.support.provider_cases import LINES
from tests.support.row_checks import checks, instrument_refusal, refusal

BODY = b'{"type":"trade","data":[{"id":1,"p":"5"},{"id":2,"p":"6","x":[1,2]}],"more":{"a":{"v":1},"b":{"v":2}}}'
NOW = 1_790_000_000 * SECOND


def choices(count: int) -> Iterator[Choice]:
    chance = random.Random(1)
    for _ in range(count):
        yield Choice(*(chance.getrandbits(16) for _ in range(3)))


def test_the_rest_is_the_payload_without_the_touched_row() -> None:
    whole = json.loads(BODY)
    mutants = [rows(BODY).mutate(choice) for choice in choices(3000)]
    kinds = {mutant.kind.partition(" ")[0] for mutant in mutants}
    assert kinds == {"value", "type", "member", "element", "elements", "many", "byte", "bytes"}
    for mutant in mutants:
        if mutant.rest is not None:
            rest = json.loads(mutant.rest)
            left = [*rest["data"], *rest.get("more", {}).values()]
            assert all(row in [*whole["data"], *whole["more"].values()] for row in left)
            assert 4 - mutant.rows <= len(left) <= 4
    assert len({mutant.body for mutant in mutants}) > 1000
    assert max(mutant.body.count(b'"id":1') for mutant in mutants) == MANY + 1


def test_a_row_is_the_innermost_or_the_outermost_element() -> None:
    body = b'[{"levels":[["1","2"],["3","4"]]},{"levels":[]}]'
    inner = {rows(body).mutate(choice).rest for choice in choices(500)}
    outer = {rows(body, outermost=True).mutate(choice).rest for choice in choices(500)}
    assert b'[{"levels":[["3","4"]]},{"levels":[]}]' in inner
    assert outer <= {None, body, b"[]", b'[{"levels":[]}]', b'[{"levels":[["1","2"],["3","4"]]}]'}


def test_lines_are_rows() -> None:
    body = b"DATE,CLOSE\n2026-01-01,1\n2026-01-02,2\n"
    rests = {rows(body, pattern=LINES).mutate(choice).rest for choice in choices(300)}
    assert rests == {None, body, b"DATE,CLOSE\n", b"DATE,CLOSE\n2026-01-01,1\n", b"DATE,CLOSE\n2026-01-02,2\n"}


def test_long_lists_are_cut() -> None:
    assert json.loads(shortened(b'{"a":[1,2,3,[1,2,3]],"b":[[4,5,6]]}', 2)) == {"a": [1, 2], "b": [[4, 5]]}
    assert shortened(b"no json", 2) == b"no json"


TRADE = Trade(1, NOW, 7, "1.5", "2", "buy", NOW)
CANDLE = Candle(1, "1m", NOW, "1", "2", "1", "2", "0", None, None, None, None, None, None, 1, "ws", NOW)
BOOK = BookSnapshot(1, NOW, "", ("1",), ("1",), ("2",), ("0",), None, NOW)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (TRADE, ""),
        (replace(TRADE, price="0"), "CHECK (price > 0 AND price < 1e18) fails"),
        (replace(TRADE, size="1" + "0" * 24), "CHECK (size > 0 AND size < 1e24) fails"),
        (replace(TRADE, price="NaN"), "price 'NaN' is no number"),
        (replace(TRADE, price="\u0663"), "price '\u0663' is no number"),
        (replace(TRADE, trade_id=1 << 63), "trade_id 9223372036854775808 is no bigint"),
        (replace(TRADE, native_id="a\0"), "native_id 'a\\x00' has a NUL"),
        (replace(TRADE, native_id="\ud800"), "native_id '\\ud800' is no Unicode text"),
        (replace(TRADE, time=NOW + 2 * 86_400 * SECOND), "time 1790172800000000 is more than a day after its receipt"),
        (replace(TRADE, time=5), "CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z') fails"),
        (CANDLE, ""),
        (replace(CANDLE, low="3"), "CHECK (high >= low) fails"),
        (BOOK, ""),
        (replace(BOOK, ask_prices=()), "CHECK (cardinality(ask_prices) = cardinality(ask_sizes)) fails"),
    ],
)
def test_a_row_that_its_table_refuses(record: Record, why: str) -> None:
    assert refusal(record, NOW) == why


def test_every_table_and_the_listing_have_their_checks() -> None:
    assert all(checks(table.name, record.__struct_fields__) for record, table in BY_RECORD.items())
    market = Instrument("kraken", "BTC/USD", "BTC/USD", "BTC", "USD", "spot", "trading", "0.1")
    assert instrument_refusal(market) == ""
    assert instrument_refusal(replace(market, price_step="1" + "0" * 31)) == "CHECK (price_step > 0 AND price_step < 1e18) fails"
    assert instrument_refusal(replace(market, symbol="9" * 5000)) == "the key is too large for an index"
    assert instrument_refusal(replace(market, base="\0")) == "base '\\x00' has a NUL"


Defect = Callable[[list[Any]], Any]  # from the good steps of a turn to what a defective module yields


def _raise(_: list[Any]) -> Any:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("defect", "kind"),
    [
        (lambda steps: steps, ""),
        (_raise, "crash: KeyError"),
        (lambda steps: [7, *steps], "output: int is not declared"),
        (lambda steps: [[row for row in steps[0] if not isinstance(row, SentimentScore)]], "lost neighbour: 1"),
        (lambda steps: [[steps[0][0], replace(steps[0][1], social_score="101")]], "wrong row: CHECK (social_score >= 0"),
        (lambda steps: [[row for row in steps[0] if not isinstance(row, Malformed)]], "silent: 1 records"),
        (lambda steps: [steps[0] + [Malformed(b"", "value", "")] * 30], "evidence: 31 outputs"),
    ],
)
def test_a_defect_is_found(defect: Defect, kind: str, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad timestamp in the first of two days, read by a module with a defect."""
    pollers.normal("alternative_me")
    poll = alternative_me.poll

    def defective(options: Any, cursor: str) -> Any:
        flow = poll(options, cursor)
        response = yield next(flow)
        steps, step = [], flow.send(response)
        while True:
            steps.append(list(step))
            try:
                step = next(flow)
            except StopIteration as done:
                yield from defect(steps) if any(isinstance(row, Malformed) for row in steps[0]) else steps
                return done.value

    monkeypatch.setattr(alternative_me, "poll", defective)
    faults = next(
        faults
        for where in range(40)
        if (faults := pollers.judge("alternative_me", [(0, Choice(3, where, 2))])).inputs[0].count(b'"timestamp": -1')
    )
    assert [fault[: len(kind)] for fault in faults.found[:1]] == [kind] * bool(kind)
