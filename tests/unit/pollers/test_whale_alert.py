"""Records of Whale Alert's frames and pages: a recorded page of its former API, and the documented alert.

https://developer.whale-alert.io/api-account/documentation. The `transaction` of the alert has the layout of its REST API.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from msgspec.structs import replace

from ingest.errors import Reject, Retry
from ingest.pollers import whale_alert
from ingest.polling.provider import PollOptions
from ingest.protocol.decode import Malformed
from ingest.protocol.session import Reconnect, Refused, Send
from ingest.records import SECOND, WhaleTransaction
from tests.support.whales import NOW, TurnResult, turn

OPTIONS = PollOptions(base_url="https://x", plan="alerts", secret={"api_key": "geheim-4711"})
LARGEST = "0x3f5ce5fbfe3e9af3971dd833d26ba9b5c936f0be"
ALERT: dict[str, Any] = {
    "channel_id": "xlLZ7tJq",
    "timestamp": 1687389431,
    "blockchain": "ethereum",
    "transaction_type": "transfer",
    "from": "unknown wallet",
    "to": "binance",
    "amounts": [
        {"symbol": "USDC", "amount": 20006425.310176, "value_usd": 20008425.95270702},
        {"symbol": "WETH", "amount": 5122.118861012107, "value_usd": 9702266.325340524},
        {"symbol": "LINK", "amount": 1, "value_usd": 6.5},
    ],
    "text": "20,006,425 #USDC transferred",
    "transaction": {
        "height": 17530000,
        "index_in_block": 3,
        "timestamp": 1687389431,
        "hash": "0x60b2f4ac1d2a1308aa04c82d70c388404c92c1d3474c13ca29188ada1edad9dc",
        "fee": "0.001",
        "fee_symbol": "ETH",
        "fee_symbol_price": 1880.5,
        "sub_transactions": [
            {
                "symbol": "USDC",
                "transaction_type": "transfer",
                "inputs": [{"amount": "6.5", "address": "0x1"}, {"amount": "20006418.810176", "address": "0x2", "owner": "x"}],
                "outputs": [{"amount": "20006425.310176", "address": "0x28C6c06298d514Db089934071355E5743bf21d60"}],
            }
        ],
    },
}


def records_of(frame: object, options: PollOptions = OPTIONS) -> list[Any]:
    text = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
    return list(whale_alert.session(options).feed(text, NOW))


def test_an_alert_is_a_row_for_each_token_that_is_large_enough() -> None:
    usdc, weth = records_of(ALERT)
    assert usdc == WhaleTransaction(
        blockchain="ethereum",
        hash="0x60b2f4ac1d2a1308aa04c82d70c388404c92c1d3474c13ca29188ada1edad9dc",
        token="USDC",
        index=0,
        time=1687389431 * SECOND,
        from_address="0x2",
        from_label=None,
        to_address="0x28c6c06298d514db089934071355e5743bf21d60",
        to_label="binance",
        amount_token="20006425.310176",
        amount_usd="20008425.95",
        alert_level="medium",
        block_height=17530000,
        block_hash=None,
        source="whale_alert",
        received_at=NOW,
    )
    assert (weth.token, weth.amount_token, weth.amount_usd, weth.alert_level) == ("WETH", "5122.118861012107", "9702266.33", "low")
    assert (weth.from_address, weth.to_address) == ("", ""), "the addresses of a token without a sub-transaction are unknown"
    own = replace(OPTIONS, labels={"0x2": "cold wallet"})
    assert records_of(ALERT, own)[0].from_label == "cold wallet"


def test_large_transfers_are_subscribed_and_the_key_is_only_in_the_address() -> None:
    connection = whale_alert.connection(OPTIONS)
    assert (connection.url, connection.subscriptions) == ("wss://x/ws?api_key=geheim-4711", ())
    assert whale_alert.connection(replace(OPTIONS, base_url="http://x:1")).url.startswith("ws://x:1/ws?")
    (send,) = whale_alert.session(replace(OPTIONS, min_usd=5)).start(NOW)
    assert isinstance(send, Send)
    assert json.loads(send.text) == {
        "type": "subscribe_alerts",
        "id": "ingest",
        "tx_types": ["transfer", "mint", "burn"],
        "min_value_usd": 100_000,
    }


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            {"id": "ingest", "type": "subscribed_alerts", "blockchains": ["ethereum"], "symbols": ["eth"], "min_value_usd": 100000},
            [],
        ),
        ({"channel_id": "xlLZ7tJq", "timestamp": 1692724660, "blockchain": "tron", "text": "burned", "urls": ["https://x"]}, []),
        ({"error": "Invalid API key"}, [Refused("Invalid API key"), Reconnect("refused")]),
    ],
)
def test_frames_that_are_no_alert_with_a_transaction(frame: object, expected: list[object]) -> None:
    assert records_of(frame) == expected


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"not json at all", "json"),
        (b'{"amounts": 5}', "shape"),
        (json.dumps(ALERT | {"transaction": None}).encode(), "shape"),
        (json.dumps(ALERT | {"timestamp": 0}).encode(), "shape"),
        (json.dumps(ALERT).encode()[:-20], "json"),
    ],
)
def test_a_malformed_frame_is_reported(frame: bytes, reason: str) -> None:
    (bad,) = records_of(frame)
    assert isinstance(bad, Malformed)
    assert (bad.reason, bad.payload) == (reason, frame)


USDC: dict[str, Any] = ALERT["amounts"][0]
PARTS: list[Any] = ALERT["transaction"]["sub_transactions"]


@pytest.mark.parametrize("odd", [7, {}, {"symbol": "USDC", "amount": 1}, USDC | {"value_usd": -1}, USDC | {"symbol": "a\0b"}])
def test_an_odd_amount_of_an_alert_costs_itself(odd: object) -> None:
    bad, record = records_of(ALERT | {"amounts": [odd, USDC]})
    assert (type(bad), json.loads(bad.payload), record) == (Malformed, odd, records_of(ALERT)[0])
    assert [type(one) for one in records_of(ALERT | {"amounts": [odd]})] == [Malformed]


def test_an_odd_party_of_an_alert_costs_itself() -> None:
    parts = [7, {}, *(part | {"inputs": [7, *part["inputs"]]} for part in PARTS)]
    assert records_of(ALERT | {"transaction": ALERT["transaction"] | {"sub_transactions": parts}}) == records_of(ALERT)


def test_many_amounts_of_one_token_are_read_in_linear_time() -> None:
    frame = ALERT | {"amounts": [USDC] * 5000, "transaction": ALERT["transaction"] | {"sub_transactions": PARTS * 5000}}
    began = time.thread_time()
    assert len(records_of(frame)) == 5000
    assert time.thread_time() - began < 2


# --- the former API -----------------------------------------------------------------------------------------------------------


V1 = replace(OPTIONS, plan="v1", base_url="http://x/v1")


@pytest.fixture
def page(real: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((real / "whale_alert/v1_transactions.json").read_text())
    return found


@pytest.fixture
def status(real: Path) -> bytes:
    return (real / "whale_alert/v1_status.json").read_bytes()


def take(status: bytes, *pages: object, cursor: str = "") -> TurnResult:
    bodies = iter(pages)
    return turn(whale_alert, V1, lambda path: status if path == "/status" else json.dumps(next(bodies)).encode(), {}, cursor=cursor)


def test_the_recorded_page(status: bytes, page: dict[str, Any]) -> None:
    result = take(status, page)
    since = NOW // SECOND - 3300
    assert result.paths == ["/status", f"/transactions?start={since}&min_value=1000000&limit=100"]
    large = [transaction for transaction in page["transactions"] if transaction["amount_usd"] >= 1_000_000]
    assert 0 < len(large) < len(page["transactions"])
    assert [(transaction.hash[-64:], transaction.token.lower(), transaction.blockchain) for transaction in result.records] == [
        (transaction["hash"], transaction["symbol"], transaction["blockchain"]) for transaction in large
    ]
    assert result.records[0] == WhaleTransaction(
        blockchain="ethereum",
        hash="0x2084eca97be1468bfd9f937ad6921ecc6dd083fffe5c612247360e13918400c0",
        token="ETH",
        index=0,
        time=1560836993 * SECOND,
        from_address=LARGEST,
        from_label="binance",
        to_address="0xd551234ae421e3bcba99a0da6d736074f22192ff",
        to_label="binance",
        amount_token="6667",
        amount_usd="1794742.90",
        alert_level="low",
        block_height=None,
        block_hash=None,
        source="whale_alert",
        received_at=NOW,
    )
    bitcoin = next(transaction for transaction in result.records if transaction.blockchain == "bitcoin")
    assert (bitcoin.from_address, bitcoin.from_label) == ("1JDknRvZTi5XdhQB3cgvJ9R8aogUvfbYUB", None)


def test_a_turn_continues_at_the_cursor_but_at_most_an_hour_back(status: bytes, page: dict[str, Any]) -> None:
    now = NOW // SECOND
    full = page | {"transactions": (page["transactions"] * 5)[:100], "cursor": "next"}
    result = take(status, full, page | {"transactions": [], "cursor": "last"}, cursor=f"{now - 60} before")
    queries = [dict(parse_qsl(urlsplit(path).query)) for path in result.paths[1:]]
    assert [(query["start"], query["cursor"]) for query in queries] == [(str(now - 60), "before"), (str(now - 60), "next")]
    assert result.cursor == f"{now - 60} last"
    late = take(status, page | {"transactions": []}, cursor="1560836993 before")
    assert dict(parse_qsl(urlsplit(late.paths[1]).query))["start"] == str(now - 3300)
    assert "cursor=" not in late.paths[1]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"result": "error", "message": "usage limit reached"}, Retry, "usage limit reached"),
        ({"result": "error", "message": "invalid api_key"}, Reject, "invalid api_key"),
        ({"count": 1}, Reject, "result"),
        ([], Reject, "Expected"),
    ],
)
def test_errors_come_with_status_200(status: bytes, body: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        take(status, body)


@pytest.mark.parametrize("value", ["NaN", "1e300000", -1, "9" * 5000])
def test_a_bad_amount_of_an_alert_costs_itself(value: object) -> None:
    bad = ALERT["amounts"][0] | {"value_usd": value}
    found = records_of(ALERT | {"amounts": [bad, ALERT["amounts"][1]]})
    assert [record.token for record in found if isinstance(record, WhaleTransaction)] == ["WETH"]
    assert [record.reason for record in found if isinstance(record, Malformed)] == ["value"]


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "NaN"},
        {"amount_usd": "1e300000"},
        {"timestamp": 10**15},
        {"timestamp": "x"},
        {"hash": "9" * 8000},
        {"symbol": None},
    ],
)
def test_a_bad_transfer_of_a_page_costs_itself(status: bytes, page: dict[str, Any], change: dict[str, object]) -> None:
    first, second, *rest = page["transactions"]
    transfers = [first, second | {"amount_usd": 10**9} | change, *rest]
    whole = take(status, page | {"transactions": [first, *rest]})
    result = take(status, page | {"transactions": transfers})
    assert result.records == whole.records != []
    assert (len(result.malformed), result.cursor) == (1, whole.cursor)
