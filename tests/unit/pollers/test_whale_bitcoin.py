"""Bitcoin's blocks to large transfers. The transactions are recorded ones; blocks and summaries are laid out as documented.

https://mempool.space/docs/api/rest#get-blocks-v1 https://mempool.space/docs/api/rest#get-block-transaction-summary
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.json import encode

from ingest.errors import Reject, Retry
from ingest.pollers import whale_bitcoin
from ingest.pollers._whale_chain import ChainCursor
from ingest.polling.db_queries import PricesAt, ReorgedBlock
from ingest.polling.provider import PollOptions
from ingest.records import SECOND, WhaleTransaction
from tests.support.chains import TIME, TIP, MempoolSpace
from tests.support.whales import NOW, TurnResult, run_history, turn

OPTIONS = PollOptions(base_url="http://x", min_usd=1, labels={"bc1qcr9xua2wvhfm5kg394atcvl9qrqqana8rrmy8h": "an exchange"})
PRICES = {"BTC": "60000"}

Transactions = list[dict[str, Any]]


@pytest.fixture
def transactions(real: Path) -> Transactions:
    found: Transactions = json.loads((real / "mempool_space/transactions-random.json").read_text())
    return found


@pytest.fixture
def server(transactions: Transactions) -> MempoolSpace:
    """Three blocks; the two confirmed transactions are in the last, the two others before."""
    made = MempoolSpace(transactions)
    made.add(TIP - 2, "aa")
    made.add(TIP - 1, "bb", transactions[0]["txid"], transactions[1]["txid"])
    made.add(
        TIP, "00000000000000000002a0b5db2a7f8d9087464c2586b546be7bce8eb53b8187", transactions[3]["txid"], transactions[2]["txid"]
    )
    return made


def take(server: MempoolSpace, cursor: str = "", options: PollOptions = OPTIONS) -> TurnResult:
    return turn(whale_bitcoin, options, server, PRICES, cursor=cursor)


def test_transfers_are_what_the_transactions_say(server: MempoolSpace, transactions: Transactions) -> None:
    """At a thousand times the price: they are small. Who has no address is known by the script; change is no transfer."""
    told = turn(whale_bitcoin, OPTIONS, server, {"BTC": "60000000"})
    hash_, (many, change) = server.blocks[TIP][0], (transactions[3], transactions[2])
    assert told.paths == ["/api/v1/blocks", f"/api/v1/block/{hash_}/summary"] + [
        f"/api/tx/{txid}" for txid in (f"cb-{hash_}", many["txid"], change["txid"])
    ]
    assert told.price_requests == [PricesAt(("BTC",), 1_719_689_674 * SECOND)]
    assert told.records[0] == WhaleTransaction(
        blockchain="bitcoin",
        hash=many["txid"],
        token="BTC",
        index=0,
        time=1_719_689_674 * SECOND,
        from_address="bc1p3xkpyzjfpmhg3k643qgjl90cszfjsnypfuru8tv58fl6a7azyudqkcu66k",
        from_label="an exchange",
        to_address=many["vout"][2]["scriptpubkey"],
        to_label=None,
        amount_token="0.00000582",
        amount_usd="349.20",
        alert_level="low",
        block_height=TIP,
        block_hash=hash_,
        source="mempool_space",
        received_at=NOW,
    )
    paid = sorted((-one["value"], one.get("scriptpubkey_address", one["scriptpubkey"])) for one in many["vout"] if one["value"])
    found = [(one.index, one.to_address, one.amount_token) for one in told.records if one.hash == many["txid"]]
    assert found == [(index, address, f"{-value / 10**8:.8f}") for index, (value, address) in enumerate(paid)]
    (rest,) = [one for one in told.records if one.hash != many["txid"]]
    assert (rest.hash, rest.to_address, rest.amount_token) == (
        change["txid"],
        change["vout"][1]["scriptpubkey_address"],
        "0.00000546",
    )
    assert take(server).records == [], "at its own price all of it is worth less than a dollar"


def test_a_turn_begins_where_the_last_one_ended_and_tells_the_same_again(server: MempoolSpace) -> None:
    first = take(server)
    assert take(server, first.cursor).paths == ["/api/v1/blocks"]
    server.add(TIP + 1, "cc")
    second = take(server, first.cursor)
    assert second.paths == ["/api/v1/blocks", "/api/v1/block/cc/summary", "/api/tx/cb-cc"]
    assert take(server, first.cursor) == second


def test_a_block_that_is_replaced_is_given_up_and_its_height_told_again(server: MempoolSpace, transactions: Transactions) -> None:
    rich = {"BTC": "60000000"}
    first = turn(whale_bitcoin, OPTIONS, server, rich)
    old = server.blocks[TIP][0]
    moved, dropped = transactions[2]["txid"], transactions[3]["txid"]
    server.add(TIP, "dd", moved)
    server.add(TIP + 1, "ee")
    second = turn(whale_bitcoin, OPTIONS, server, rich, cursor=first.cursor)
    assert second.reorged == [ReorgedBlock("bitcoin", old, 1_719_689_674 * SECOND)]
    assert {one.hash for one in first.records} == {moved, dropped}
    (again,) = second.records
    (before,) = [one for one in first.records if one.hash == moved]
    assert (again.hash, again.token, again.index) == (before.hash, before.token, before.index)
    assert again.block_hash == "dd"
    third = turn(whale_bitcoin, OPTIONS, server, rich, cursor=second.cursor)
    assert (third.reorged, third.records) == ([], [])


def test_blocks_that_were_replaced_several_deep_are_given_up_newest_first(server: MempoolSpace) -> None:
    cursor = take(server).cursor
    for height, hash_ in ((TIP + 1, "c1"), (TIP + 2, "c2")):
        server.add(height, hash_)
        cursor = take(server, cursor).cursor
    gone = [server.blocks[TIP + step][0] for step in (2, 1, 0)]
    for step in range(4):
        server.add(TIP + step, f"new{step}")
    told = take(server, cursor)
    assert [one.block_hash for one in told.reorged] == gone
    assert [path for path in told.paths if "summary" in path] == [f"/api/v1/block/new{step}/summary" for step in range(4)]


def test_after_a_pause_it_goes_on_turn_by_turn_within_its_requests(server: MempoolSpace) -> None:
    cursor = take(server).cursor
    for height in range(TIP + 1, TIP + 41):
        server.add(height, f"h{height}")
    summaries = []
    for _ in range(20):
        told = take(server, cursor, PollOptions(base_url="http://x", min_usd=1_000_000))
        assert len(told.paths) <= whale_bitcoin.PLANS["keyless"].requests
        cursor = told.cursor
        summaries += [path.split("/")[4] for path in told.paths if "summary" in path]
    assert summaries == [f"h{height}" for height in range(TIP + 1, TIP + 41)]


def test_a_block_with_more_than_a_turn_can_ask_for_is_told_in_several(server: MempoolSpace, transactions: Transactions) -> None:
    many = [transactions[2] | {"txid": f"{number:02}"} for number in range(40)]
    server.transactions |= {one["txid"]: one for one in many}
    before = cursor = take(server).cursor
    server.add(TIP + 1, "many", *(one["txid"] for one in many))
    txids: list[str] = []
    for _ in range(4):
        told = take(server, cursor)
        assert len(told.paths) <= whale_bitcoin.PLANS["keyless"].requests
        cursor = told.cursor
        txids += [path.rpartition("/")[2] for path in told.paths if path.startswith("/api/tx")]
    assert txids == ["cb-many", *(one["txid"] for one in many)]
    part = take(server, before)
    server.add(TIP + 1, "other")
    assert [one.block_hash for one in take(server, part.cursor).reorged] == ["many"]


def test_the_past_is_what_the_turns_would_have_told(server: MempoolSpace) -> None:
    """Also where a block says an earlier time than the one before it."""
    rich = {"BTC": "60000000"}
    for height in range(TIP - 40, TIP - 2):
        server.add(height, f"h{height}")
    for height in range(TIP + 1, TIP + 40):
        server.add(height, f"h{height}")
    server.early = {TIP + 2}
    day = (TIME - 600) * SECOND, (TIME + 60) * SECOND
    told = run_history(whale_bitcoin, OPTIONS, day, server, rich)
    assert [path.split("/")[4] for path in told.paths if "summary" in path] == ["bb", server.blocks[TIP][0], f"h{TIP + 2}"]
    assert told.paths[:2] == ["/api/v1/blocks", f"/api/v1/mining/blocks/timestamp/{TIME - 600 - 7200}"]
    live = turn(whale_bitcoin, OPTIONS, server, rich, cursor=encode(ChainCursor(next_height=TIP)).decode())
    assert (
        [one for one in told.records if one.block_height == TIP] == [one for one in live.records if one.block_height == TIP] != []
    )


def test_a_cursor_that_no_turn_ended_with_is_refused(server: MempoolSpace) -> None:
    with pytest.raises(Reject, match="poll_cursors has 'told', which is not a cursor"):
        take(server, "told")


@pytest.mark.parametrize(
    ("prices", "said"), [({}, "no price of BTC at block 850000"), ({"ETH": "1"}, "no price of BTC at block 850000")]
)
def test_without_a_price_nothing_is_guessed(server: MempoolSpace, prices: dict[str, str], said: str) -> None:
    with pytest.raises(Retry, match=said):
        turn(whale_bitcoin, OPTIONS, server, prices)


@pytest.mark.parametrize(
    ("path", "body", "error", "said"),
    [
        ("blocks", b"<html>", Reject, "malformed"),
        ("blocks", b"[]", Retry, "no block at"),
        ("blocks", b'[{"id": "a"', Reject, "truncated"),
        ("blocks", b'[{"id": "a"}]', Reject, "missing required field"),
        ("summary", b"[]", Retry, "has 0 of 3 transactions"),
        ("summary", b'{"error": "too many requests"}', Reject, "Expected `array`"),
        ("tx/", b'{"txid": "a", "vin": [], "vout": [], "status": {"confirmed": false}}', Retry, "is not in block 850000 any more"),
        ("tx/", b'{"txid": "a", "vin": [], "vout": [{"value": "x", "scriptpubkey": ""}], "status": {}}', Reject, "Expected `int`"),
    ],
)
def test_what_is_no_answer_ends_the_turn(server: MempoolSpace, path: str, body: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        turn(whale_bitcoin, OPTIONS, lambda requested: body if path in requested else server(requested), PRICES)
