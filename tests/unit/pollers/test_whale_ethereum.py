"""Large transfers of Ethereum's blocks: recorded transfers and a block of Etherscan, and documented responses of Blockscout.

https://docs.blockscout.com/devs/apis/rpc/logs https://docs.blockscout.com/api-reference/get-block-transactions
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry, Stop
from ingest.pollers import _whale_blockscout as whale_blockscout
from ingest.pollers import whale_ethereum
from ingest.polling.db_queries import PricesAt, ReorgedBlock
from ingest.polling.provider import PollOptions
from ingest.records import SECOND, Asset, WhaleTransaction
from tests.support.chains import FIRST, FIRST_TIME, MKR, Etherscan, proxied
from tests.support.whales import NOW, TurnResult, run_history, turn

DS_TOKEN = "0x642ae78fafbb8032da552d619ad43f1d81e4dd7c"
ZERO = "0x" + "0" * 40
COINS = (Asset("ETH", whale_ethereum.ETHER), Asset("MKR", f"{MKR}/18"))
ETHERSCAN = PollOptions(
    base_url="http://x", plan="etherscan", secret={"apikey": "geheim-4711"}, assets=COINS, labels={DS_TOKEN: "maker"}
)
BLOCKSCOUT = replace(ETHERSCAN, plan="blockscout", secret={})
PRICES = {"ETH": "470", "MKR": "430"}


@pytest.fixture
def etherscan(real: Path) -> Etherscan:
    return Etherscan(real)


def take(server: Callable[[str], bytes], cursor: str = "", options: PollOptions = ETHERSCAN) -> TurnResult:
    return turn(whale_ethereum, options, server, PRICES, cursor=cursor)


def test_a_recorded_transfer_of_etherscan(etherscan: Etherscan) -> None:
    """A million MKR move in the first recorded block, which is two blocks behind the newest."""
    result = take(etherscan)
    assert [dict(parse_qsl(urlsplit(path).query))["action"] for path in result.paths] == [
        "eth_blockNumber",
        "eth_getBlockByNumber",
        "tokentx",
    ]
    assert result.price_requests == [PricesAt(("ETH", "MKR"), 1_511_634_240 * SECOND)], (
        "prices are those of the minute of the block"
    )
    assert result.records == [
        WhaleTransaction(
            blockchain="ethereum",
            hash="0x5c9b0f9c6c32d2690771169ec62dd648fef7bce3d45fe8a6505d99fdcbade27a",
            token="MKR",
            index=0,
            time=1_511_634_257 * SECOND,
            from_address="0x731c6f8c754fa404cfcc2ed8035ef79262f65702",
            from_label=None,
            to_address=DS_TOKEN,
            to_label="maker",
            amount_token="1000000.000000000000000000",
            amount_usd="430000000.00",
            alert_level="critical",
            block_height=FIRST,
            block_hash="0xee385ac028bb7d8863d70afa02d63181894e0b2d51b99c0c525ef24538c44c24",
            source="etherscan",
            received_at=NOW,
        )
    ]


def test_all_blocks_are_read_once_and_only_large_transfers_are_yielded(etherscan: Etherscan) -> None:
    """A turn reads ten blocks. Transfers of zero tokens are not yielded."""
    cursor, records = take(etherscan).cursor, []
    etherscan.tip = FIRST + 320
    for _ in range(40):
        result = take(etherscan, cursor)
        cursor = result.cursor
        records += result.records
    large = [row for row in etherscan.transfers if int(row["value"]) > 10**22 and FIRST < int(row["blockNumber"]) <= FIRST + 318]
    assert [(result.hash, result.from_address, result.to_address, result.block_hash) for result in records] == [
        (row["hash"], row["from"], row["to"], row["blockHash"]) for row in large
    ]
    assert any(row["value"] == "0" for row in etherscan.transfers[:10])


def test_ether_of_transactions_that_were_not_reverted(etherscan: Etherscan) -> None:
    """The recorded transaction with an amount above 2^63 wei."""
    sent = etherscan.block["transactions"][0]
    large, reverted, contract_creation = (sent | {"value": hex(2500 * 10**18), "hash": f"0x{number}"} for number in (1, 2, 3))
    etherscan.ether[FIRST] = [sent, large, reverted, contract_creation | {"to": None}, sent | {"value": "0x0"}]
    etherscan.reverted = {"0x2"}
    result = take(etherscan)
    assert [path.rpartition("=")[2] for path in result.paths if "Receipt" in path] == ["0x1", "0x2"]
    (transfer,) = [transfer for transfer in result.records if transfer.token == "ETH"]
    assert (transfer.hash, transfer.index, transfer.amount_token, transfer.amount_usd) == (
        "0x1",
        0,
        "2500.000000000000000000",
        "1175000.00",
    )
    assert (transfer.from_address, transfer.to_address, transfer.alert_level) == (sent["from"], sent["to"], "low")


def test_a_full_response_is_requested_again_in_halves(etherscan: Etherscan, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = take(etherscan).cursor
    etherscan.tip = FIRST + 12
    row = etherscan.transfers[0]
    etherscan.transfers = [
        row | {"blockNumber": str(height), "blockHash": etherscan.hash_of(height), "hash": f"{height}-{number}"}
        for height in range(FIRST + 1, FIRST + 11)
        for number in range(3)
    ]
    etherscan.full = 4
    monkeypatch.setattr(whale_ethereum, "MAX_ROWS", 4)
    result = take(etherscan, cursor)
    assert sorted(record.hash for record in result.records) == sorted(record["hash"] for record in etherscan.transfers)
    assert result.malformed == []
    etherscan.full = 2
    monkeypatch.setattr(whale_ethereum, "MAX_ROWS", 2)
    result = take(etherscan, cursor)
    assert len(result.records) == 20
    assert result.malformed[0].message == f"block {FIRST + 1} has 2 transfers of MKR or more: the rest is not included"


def test_a_range_that_takes_too_long_is_requested_in_halves(etherscan: Etherscan) -> None:
    cursor = take(etherscan).cursor
    etherscan.tip = FIRST + 12
    row = etherscan.transfers[0]
    etherscan.transfers = [
        row | {"blockNumber": str(height), "blockHash": etherscan.hash_of(height), "hash": str(height)}
        for height in range(FIRST + 1, FIRST + 11)
    ]
    whole = take(etherscan, cursor)
    assert len(whole.records) == 10
    for most in (4, 1):
        etherscan.most_blocks = most
        assert take(etherscan, cursor).records == whole.records
    etherscan.most_blocks = 0
    with pytest.raises(Retry, match=f"block {FIRST + 1}: tokentx: Query Timeout occured"):
        take(etherscan, cursor)


def test_a_range_that_takes_too_long_may_have_no_result(etherscan: Etherscan) -> None:
    """The message stands where other errors have "NOTOK"."""
    body = b'{"status":"0","message":"Query Timeout occured. Please select a smaller result dataset","result":null}'
    with pytest.raises(Retry, match=f"block {FIRST}: tokentx: .*smaller result dataset"):
        take(lambda path: body if "tokentx" in path else etherscan(path))


@pytest.mark.parametrize(
    "change", [{"value": "x"}, {"value": "9" * 5000}, {"value": str(2**255)}, {"hash": None}, {"hash": "9" * 8000}, {"to": "a\0b"}]
)
def test_a_bad_transfer_costs_itself(etherscan: Etherscan, change: dict[str, object]) -> None:
    row = etherscan.transfers[0]
    etherscan.transfers = [row | {"hash": "0x1"}, row | change, row | {"hash": "0x3"}]
    etherscan.ether[FIRST] = [sent := etherscan.block["transactions"][0] | {"value": hex(2500 * 10**18)}, sent | {"value": "0xg"}]
    result = take(etherscan)
    assert [record.hash for record in result.records if record.token == "MKR"] == ["0x1", "0x3"]
    assert len([record for record in result.records if record.token == "ETH"]) == 1
    assert len(result.malformed) == 2


@pytest.mark.parametrize("change", [{"blockNumber": "1"}, {"blockNumber": "9" * 70}, {"timeStamp": "0"}, {"timeStamp": "9" * 70}])
def test_a_transfer_in_a_block_that_was_not_requested_costs_itself(etherscan: Etherscan, change: dict[str, str]) -> None:
    row = etherscan.transfers[0]

    def answer(path: str) -> bytes:
        if "tokentx" not in path:
            return etherscan(path)
        rows = [row | {"hash": "0x1"}, row | {"hash": "0x2"} | change, row | {"hash": "0x3"}]
        return json.dumps({"status": "1", "message": "OK", "result": rows}).encode()

    result = take(answer)
    assert [record.hash for record in result.records] == ["0x1", "0x3"]
    assert len(result.malformed) == 1


@pytest.mark.parametrize(
    "change", [{"number": hex(FIRST + 1)}, {"number": "0x" + "f" * 70}, {"timestamp": "0x0"}, {"hash": "a\0b"}]
)
def test_a_block_that_was_not_requested_ends_the_turn(etherscan: Etherscan, change: dict[str, str]) -> None:
    block_at = etherscan.block_at
    etherscan.block_at = lambda height: block_at(height) | change  # type: ignore[method-assign]
    with pytest.raises(Reject):
        take(etherscan)


def test_replaced_blocks_are_reported(etherscan: Etherscan) -> None:
    first = take(etherscan)
    etherscan.tip += 1
    old, new = etherscan.hash_of(FIRST), "0x" + "f" * 64
    etherscan.hashes[FIRST] = new
    etherscan.transfers[0] = etherscan.transfers[0] | {"blockHash": new}
    second = take(etherscan, first.cursor)
    assert second.reorged == [ReorgedBlock("ethereum", old, 1_511_634_257 * SECOND)]
    assert second.records == [replace(record, block_hash=new) for record in first.records]
    etherscan.hashes[FIRST], etherscan.tip = old, FIRST + 2
    with pytest.raises(Retry, match=f"block {FIRST} was replaced while it was read"):
        take(etherscan)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"MKR": "430"}, f"no price of ETH at block {FIRST}"),
        ({"DAI": "1"}, f"no price of ETH, MKR at block {FIRST}"),
    ],
)
def test_a_missing_price_is_a_retry(etherscan: Etherscan, prices: dict[str, str], message: str) -> None:
    with pytest.raises(Retry, match=message):
        turn(whale_ethereum, ETHERSCAN, etherscan, prices)


def test_wrapped_coins_have_the_price_of_the_wrapped_coin(etherscan: Etherscan) -> None:
    known = tuple(Asset(symbol, whale_ethereum.ASSETS[symbol]) for symbol in whale_ethereum.SYMBOLS)
    result = turn(whale_ethereum, replace(ETHERSCAN, assets=known), etherscan, {"ETH": "470", "BTC": "60000"})
    assert result.price_requests[0].symbols == ("BTC", "DAI", "ETH", "USDC", "USDT")
    with pytest.raises(Stop, match="ids: '0x12' is not a contract with its decimals; right would be MKR = \"0x"):
        take(etherscan, options=replace(ETHERSCAN, assets=(Asset("MKR", "0x12"),)))


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b'{"status":"0","message":"NOTOK","result":"Max calls per sec rate limit reached (3/sec)"}', Retry, "Max calls per sec"),
        (
            b'{"status":"0","message":"NOTOK","result":"Max rate limit reached, please use API Key for higher rate limit"}',
            Retry,
            "Max rate limit",
        ),
        (b'{"status":"0","message":"NOTOK","result":"Invalid API Key (#err2)|v2"}', Reject, "Invalid API Key"),
        (b'{"status":"0","message":"NOTOK","result":"Missing/Invalid API Key"}', Reject, "Missing/Invalid"),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"header not found"}}', Retry, "header not found"),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', Retry, "null"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"hash":1}}', Reject, "Expected"),
        (b"<html><body>502</body></html>", Reject, "malformed"),
        (b'{"status":"1","message":"OK","result":[{"blockNumber"', Reject, "truncated"),
        (b"", Reject, "truncated"),
    ],
)
@pytest.mark.parametrize("action", ["eth_blockNumber", "eth_getBlockByNumber", "tokentx"])
def test_errors_come_with_status_200(etherscan: Etherscan, action: str, body: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        take(lambda path: body if action in path else etherscan(path))
    if "API Key" in message or "Invalid" in message:
        assert (raised.value.reason, raised.value.code) == ("http", "401")  # type: ignore[attr-defined]


def test_the_history_equals_the_records_of_turns(etherscan: Etherscan) -> None:
    """The history of a token is read without its blocks, that of ether block by block."""
    since, until = FIRST_TIME * SECOND, (FIRST_TIME + 12 * 300) * SECOND
    for row in etherscan.transfers:
        row["timeStamp"] = str(FIRST_TIME + 12 * (int(row["blockNumber"]) - FIRST))
    cursor, records = take(etherscan).cursor, take(etherscan).records
    etherscan.tip = FIRST + 299 + 2
    for _ in range(30):
        turn_result = take(etherscan, cursor)
        cursor, records = turn_result.cursor, records + turn_result.records
    coin = replace(ETHERSCAN, assets=COINS[1:])
    found = run_history(whale_ethereum, coin, (since, until), etherscan, PRICES)
    assert found.records == records
    assert len(records) > 1
    assert [path for path in found.paths if "eth_getBlock" in path] == []
    sent = etherscan.block["transactions"][0] | {"value": hex(2500 * 10**18)}
    etherscan.ether = {FIRST + 7: [sent], FIRST + 12: [sent]}
    ether = run_history(
        whale_ethereum, replace(ETHERSCAN, assets=COINS[:1]), (since + 1, since + 12 * 12 * SECOND), etherscan, PRICES
    )
    assert [(turn_result.block_height, turn_result.amount_usd) for turn_result in ether.records] == [(FIRST + 7, "1175000.00")]


MIXED = "0xBf3403210f9802205f426759947a80a9Fda71B1E"
TRADER, POOL = "0x" + "1" * 40, "0x" + "2" * 40


def log(hash_: str, sender: str, recipient: str, value: int) -> dict[str, Any]:
    topics = [whale_blockscout.TRANSFER, *(f"0x{'0' * 24}{address[2:]}" for address in (sender, recipient)), None]
    where = {"blockNumber": hex(FIRST), "timeStamp": hex(1_511_634_257), "logIndex": "0x1", "transactionIndex": "0x0"}
    return {"address": MKR, "topics": topics, "data": f"0x{value:064x}", "transactionHash": hash_, **where}


class Blockscout:
    """One block: transactions in two pages, one reverted and one that creates a contract, and the Transfer events of a token."""

    def __init__(self) -> None:
        self.logs = [
            log("0x4", TRADER, POOL, 5000 * 10**18),
            log("0x4", POOL, DS_TOKEN, 5000 * 10**18),
            log("0x5", ZERO, DS_TOKEN, 10**6 * 10**18),
            log("0x6", TRADER, DS_TOKEN, 1),
        ]
        sent = {"hash": "0x1", "value": str(2500 * 10**18), "from": {"hash": MIXED}, "to": {"hash": DS_TOKEN}, "status": "ok"}
        more = {"block_number": FIRST, "index": 1}
        self.pages = {
            "": {"items": [sent, sent | {"hash": "0x2", "status": "error"}], "next_page_params": more},
            f"block_number={FIRST}&index=1": {"items": [sent | {"hash": "0x3", "to": None}], "next_page_params": None},
        }
        self.block = {"hash": "0xaa", "height": FIRST, "parent_hash": "0x99", "timestamp": "2017-11-25T18:24:17.000000Z"}

    def __call__(self, path: str) -> bytes:
        parts = urlsplit(path)
        query = dict(parse_qsl(parts.query))
        match (parts.path, query.get("action")):
            case ("/api", "eth_block_number"):
                return proxied(hex(FIRST + 2))
            case ("/api", "getblocknobytime"):
                return json.dumps({"message": "OK", "result": {"blockNumber": str(FIRST)}, "status": "1"}).encode()
            case ("/api", "getLogs"):
                expected = {"module": "logs", "address": MKR, "fromBlock": str(FIRST), "toBlock": str(FIRST)}
                assert expected.items() <= query.items()
                found = {"message": "OK", "result": self.logs, "status": "1"}
                return json.dumps(found if self.logs else {"message": "No records found", "result": [], "status": "0"}).encode()
            case ("/api/v2/blocks/4620855", None):
                return json.dumps(self.block).encode()
            case ("/api/v2/blocks/0xaa/transactions", None):
                return json.dumps(self.pages[parts.query]).encode()
        raise AssertionError(path)


def test_transfers_of_blockscout() -> None:
    """A transfer through a pool is one to the final recipient; minted tokens come from the zero address."""
    blockscout = Blockscout()
    result = take(blockscout, options=BLOCKSCOUT)
    assert [
        (record.hash, record.token, record.from_address, record.to_address, record.amount_usd) for record in result.records
    ] == [
        ("0x1", "ETH", MIXED.lower(), DS_TOKEN, "1175000.00"),
        ("0x4", "MKR", TRADER, DS_TOKEN, "2150000.00"),
        ("0x5", "MKR", ZERO, DS_TOKEN, "430000000.00"),
    ]
    where = {(record.block_height, record.block_hash, record.source, record.time) for record in result.records}
    assert where == {(FIRST, "0xaa", "blockscout", 1_511_634_257 * SECOND)}
    span = (FIRST_TIME * SECOND, (FIRST_TIME + 12) * SECOND)
    coins = run_history(whale_ethereum, replace(BLOCKSCOUT, assets=COINS[1:]), span, blockscout, PRICES)
    assert coins.records == [replace(record, block_hash=None) for record in result.records[1:]], "events have no block hash"
    blockscout.logs = []
    assert [record.token for record in take(blockscout, options=BLOCKSCOUT).records] == ["ETH"]
    blockscout.logs = [log("0x4", TRADER, POOL, 1) | {"topics": [whale_blockscout.TRANSFER, None]}]
    with pytest.raises(Reject, match="a Transfer of 0x4 has the topics"):
        take(blockscout, options=BLOCKSCOUT)
    blockscout.logs += [log("0x5", ZERO, DS_TOKEN, 10**6 * 10**18)]
    blockscout.pages[""]["items"].append({})
    result = take(blockscout, options=BLOCKSCOUT)
    assert [record.hash for record in result.records] == ["0x1", "0x5"]
    assert [bad.payload[:2] for bad in result.malformed] == [b"{}", b'{"']


def test_pages_of_a_block_of_blockscout_are_bounded() -> None:
    blockscout = Blockscout()
    last = list(blockscout.pages)[-1]
    blockscout.pages[last]["next_page_params"] = blockscout.pages[""]["next_page_params"]
    with pytest.raises(Reject, match="more than 200 pages"):
        take(blockscout, options=BLOCKSCOUT)


@pytest.mark.parametrize("change", [{"height": FIRST + 1}, {"height": 1 << 63}, {"timestamp": "0001-01-01T00:00:00Z"}])
def test_an_odd_block_of_blockscout_ends_the_turn(change: dict[str, object]) -> None:
    blockscout = Blockscout()
    blockscout.block |= change
    with pytest.raises(Reject):
        take(blockscout, options=BLOCKSCOUT)
