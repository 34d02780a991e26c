"""Large transfers of Bitcoin's blocks. The transactions are recorded; blocks and summaries have the documented layout.

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
    """Three blocks: the two confirmed transactions are in the last block, the two others in the block before."""
    server = MempoolSpace(transactions)
    server.add(TIP - 2, "aa")
    server.add(TIP - 1, "bb", transactions[0]["txid"], transactions[1]["txid"])
    server.add(
        TIP, "00000000000000000002a0b5db2a7f8d9087464c2586b546be7bce8eb53b8187", transactions[3]["txid"], transactions[2]["txid"]
    )
    return server


def take(server: MempoolSpace, cursor: str = "", options: PollOptions = OPTIONS) -> TurnResult:
    return turn(whale_bitcoin, options, server, PRICES, cursor=cursor)


def test_transfers_of_the_recorded_transactions(server: MempoolSpace, transactions: Transactions) -> None:
    """At 1,000 times the price, because they are small. A script stands for a missing address; change is no transfer."""
    result = turn(whale_bitcoin, OPTIONS, server, {"BTC": "60000000"})
    hash_, (many, change) = server.blocks[TIP][0], (transactions[3], transactions[2])
    assert result.paths == ["/api/v1/blocks", f"/api/v1/block/{hash_}/summary"] + [
        f"/api/tx/{txid}" for txid in (f"cb-{hash_}", many["txid"], change["txid"])
    ]
    assert result.price_requests == [PricesAt(("BTC",), 1_719_689_674 * SECOND)]
    assert result.records[0] == WhaleTransaction(
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
    paid = sorted(
        (-output["value"], output.get("scriptpubkey_address", output["scriptpubkey"])) for output in many["vout"] if output["value"]
    )
    found = [(output.index, output.to_address, output.amount_token) for output in result.records if output.hash == many["txid"]]
    assert found == [(index, address, f"{-value / 10**8:.8f}") for index, (value, address) in enumerate(paid)]
    (rest,) = [output for output in result.records if output.hash != many["txid"]]
    assert (rest.hash, rest.to_address, rest.amount_token) == (
        change["txid"],
        change["vout"][1]["scriptpubkey_address"],
        "0.00000546",
    )
    assert take(server).records == [], "at the real price every transfer is worth less than a dollar"


def test_a_turn_continues_at_the_cursor_and_is_repeatable(server: MempoolSpace) -> None:
    first = take(server)
    assert take(server, first.cursor).paths == ["/api/v1/blocks"]
    server.add(TIP + 1, "cc")
    second = take(server, first.cursor)
    assert second.paths == ["/api/v1/blocks", "/api/v1/block/cc/summary", "/api/tx/cb-cc"]
    assert take(server, first.cursor) == second


def test_a_replaced_block_is_reported_and_its_height_is_read_again(server: MempoolSpace, transactions: Transactions) -> None:
    high_price = {"BTC": "60000000"}
    first = turn(whale_bitcoin, OPTIONS, server, high_price)
    old = server.blocks[TIP][0]
    moved, dropped = transactions[2]["txid"], transactions[3]["txid"]
    server.add(TIP, "dd", moved)
    server.add(TIP + 1, "ee")
    second = turn(whale_bitcoin, OPTIONS, server, high_price, cursor=first.cursor)
    assert second.reorged == [ReorgedBlock("bitcoin", old, 1_719_689_674 * SECOND)]
    assert {record.hash for record in first.records} == {moved, dropped}
    (again,) = second.records
    (before,) = [record for record in first.records if record.hash == moved]
    assert (again.hash, again.token, again.index) == (before.hash, before.token, before.index)
    assert again.block_hash == "dd"
    third = turn(whale_bitcoin, OPTIONS, server, high_price, cursor=second.cursor)
    assert (third.reorged, third.records) == ([], [])


def test_several_replaced_blocks_are_reported_newest_first(server: MempoolSpace) -> None:
    cursor = take(server).cursor
    for height, hash_ in ((TIP + 1, "c1"), (TIP + 2, "c2")):
        server.add(height, hash_)
        cursor = take(server, cursor).cursor
    replaced = [server.blocks[TIP + step][0] for step in (2, 1, 0)]
    for step in range(4):
        server.add(TIP + step, f"new{step}")
    result = take(server, cursor)
    assert [record.block_hash for record in result.reorged] == replaced
    assert [path for path in result.paths if "summary" in path] == [f"/api/v1/block/new{step}/summary" for step in range(4)]


def test_after_a_pause_blocks_are_read_in_several_turns_within_the_budget(server: MempoolSpace) -> None:
    cursor = take(server).cursor
    for height in range(TIP + 1, TIP + 41):
        server.add(height, f"h{height}")
    summaries = []
    for _ in range(20):
        result = take(server, cursor, PollOptions(base_url="http://x", min_usd=1_000_000))
        assert len(result.paths) <= whale_bitcoin.PLANS["keyless"].requests
        cursor = result.cursor
        summaries += [path.split("/")[4] for path in result.paths if "summary" in path]
    assert summaries == [f"h{height}" for height in range(TIP + 1, TIP + 41)]


@pytest.mark.parametrize("page", [1, 3, 10])
def test_a_server_with_shorter_pages_has_the_same_blocks(server: MempoolSpace, page: int) -> None:
    cursor = take(server).cursor
    for height in range(TIP + 1, TIP + 31):
        server.add(height, f"h{height}")
    server.page = page
    summaries: list[str] = []
    for _ in range(15):
        result = take(server, cursor, PollOptions(base_url="http://x", min_usd=1_000_000))
        cursor = result.cursor
        summaries += [path.split("/")[4] for path in result.paths if "summary" in path]
    assert summaries == [f"h{height}" for height in range(TIP + 1, TIP + 31)]
    for height in range(TIP - 40, TIP - 2):
        server.add(height, f"h{height}")
    span = ((TIME - 600) * SECOND, (TIME + 600 * 20) * SECOND)
    short = run_history(whale_bitcoin, OPTIONS, span, server, PRICES)
    server.page = 15
    assert short.records == run_history(whale_bitcoin, OPTIONS, span, server, PRICES).records
    read = [path.split("/")[4] for path in short.paths if "summary" in path]
    assert read[2:5] == [f"h{height}" for height in range(TIP + 1, TIP + 4)]
    assert len(read) > 15


def test_a_bad_transaction_of_a_summary_costs_itself(server: MempoolSpace, transactions: Transactions) -> None:
    def answer(path: str) -> bytes:
        body = server(path)
        if not path.endswith("/summary"):
            return body
        coinbase, *rest = json.loads(body)
        return json.dumps([coinbase | {"value": "NaN"}, *rest]).encode()

    high_price = {"BTC": "60000000"}
    whole, result = (turn(whale_bitcoin, OPTIONS, source, high_price) for source in (server, answer))
    assert result.records == whole.records != []
    assert [bad.reason for bad in result.malformed] == ["value"]


def test_a_missing_block_is_a_retry(server: MempoolSpace) -> None:
    cursor = take(server).cursor
    for height in range(TIP + 1, TIP + 31):
        server.add(height, f"h{height}")
    del server.blocks[TIP + 3]
    with pytest.raises(Retry, match=f"1 of the blocks {TIP + 1} to {TIP + 8} are missing, the first is {TIP + 3}"):
        take(server, cursor)


def test_a_block_with_many_transactions_is_read_in_several_turns(server: MempoolSpace, transactions: Transactions) -> None:
    many = [transactions[2] | {"txid": f"{number:02}"} for number in range(40)]
    server.transactions |= {transaction["txid"]: transaction for transaction in many}
    before = cursor = take(server).cursor
    server.add(TIP + 1, "many", *(transaction["txid"] for transaction in many))
    requested: list[str] = []
    for _ in range(4):
        result = take(server, cursor)
        assert len(result.paths) <= whale_bitcoin.PLANS["keyless"].requests
        cursor = result.cursor
        requested += [path.rpartition("/")[2] for path in result.paths if path.startswith("/api/tx")]
    assert requested == ["cb-many", *(transaction["txid"] for transaction in many)]
    part = take(server, before)
    server.add(TIP + 1, "other")
    assert [transaction.block_hash for transaction in take(server, part.cursor).reorged] == ["many"]


def test_the_history_equals_the_records_of_turns(server: MempoolSpace) -> None:
    """Also if a block has an earlier time than the block before it."""
    high_price = {"BTC": "60000000"}
    for height in range(TIP - 40, TIP - 2):
        server.add(height, f"h{height}")
    for height in range(TIP + 1, TIP + 40):
        server.add(height, f"h{height}")
    server.early = {TIP + 2}
    day = (TIME - 600) * SECOND, (TIME + 60) * SECOND
    result = run_history(whale_bitcoin, OPTIONS, day, server, high_price)
    assert [path.split("/")[4] for path in result.paths if "summary" in path] == ["bb", server.blocks[TIP][0], f"h{TIP + 2}"]
    assert result.paths[:2] == ["/api/v1/blocks", f"/api/v1/mining/blocks/timestamp/{TIME - 600 - 7200}"]
    live = turn(whale_bitcoin, OPTIONS, server, high_price, cursor=encode(ChainCursor(next_height=TIP)).decode())
    assert (
        [record for record in result.records if record.block_height == TIP]
        == [record for record in live.records if record.block_height == TIP]
        != []
    )


def test_a_malformed_cursor_is_rejected(server: MempoolSpace) -> None:
    with pytest.raises(Reject, match="poll_cursors has 'told', which is not a cursor"):
        take(server, "told")


@pytest.mark.parametrize(
    ("prices", "message"), [({}, "no price of BTC at block 850000"), ({"ETH": "1"}, "no price of BTC at block 850000")]
)
def test_a_missing_price_is_a_retry(server: MempoolSpace, prices: dict[str, str], message: str) -> None:
    with pytest.raises(Retry, match=message):
        turn(whale_bitcoin, OPTIONS, server, prices)


@pytest.mark.parametrize(
    ("path", "body", "error", "message"),
    [
        ("blocks", b"<html>", Reject, "malformed"),
        ("blocks", b"[]", Retry, "no block at"),
        ("blocks", b'[{"id": "a"', Reject, "truncated"),
        ("blocks", b'[{"id": "a"}]', Reject, "missing required field"),
        ("summary", b"[]", Retry, "has 0 of 3 transactions"),
        ("summary", b'{"error": "too many requests"}', Reject, "Expected `array`"),
        ("tx/", b'{"txid": "a", "vin": [], "vout": [], "status": {"confirmed": false}}', Retry, "is not in block 850000 any more"),
    ],
)
def test_a_malformed_response_ends_the_turn(
    server: MempoolSpace, path: str, body: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        turn(whale_bitcoin, OPTIONS, lambda url_path: body if path in url_path else server(url_path), PRICES)


@pytest.mark.parametrize("odd", [7, {}, {"value": "x", "scriptpubkey": ""}, {"value": -1, "scriptpubkey": ""}])
def test_an_odd_output_costs_its_transaction(server: MempoolSpace, transactions: Transactions, odd: object) -> None:
    prices, txid = {"BTC": "60000000"}, transactions[3]["txid"]
    usual = turn(whale_bitcoin, OPTIONS, server, prices)

    def answer(path: str) -> bytes:
        body: Any = json.loads(server(path))
        return encode(body | {"vout": [*body["vout"], odd]} if path.endswith(txid) else body)

    result = turn(whale_bitcoin, OPTIONS, answer, prices)
    assert result.records == [row for row in usual.records if row.hash != txid] != usual.records
    assert (len(result.malformed), result.cursor) == (1, usual.cursor)


@pytest.mark.parametrize("change", [{"height": 1 << 63}, {"height": -1}, {"timestamp": 0}, {"timestamp": 10**17}, {"id": "a\0b"}])
def test_an_odd_block_costs_itself(server: MempoolSpace, change: dict[str, object]) -> None:
    """The blocks before it are read; the turn that needs it asks for it by its height, and is repeated."""
    before = ChainCursor(TIP - 1).encoded
    usual = take(server, before)

    def answer(path: str) -> bytes:
        body: Any = json.loads(server(path))
        if "blocks" in path:
            body = [block | (change if block["height"] == TIP else {}) for block in body]
        return encode(body)

    result = turn(whale_bitcoin, OPTIONS, answer, PRICES, cursor=before)
    assert result.records == [row for row in usual.records if row.block_height == TIP - 1]
    assert len(result.malformed) == 1
    assert turn(whale_bitcoin, OPTIONS, answer, PRICES, cursor=result.cursor).records == []
    server.add(TIP + 1, "cc")
    with pytest.raises(Retry, match=f"the first is {TIP}"):
        turn(whale_bitcoin, OPTIONS, answer, PRICES, cursor=result.cursor)
