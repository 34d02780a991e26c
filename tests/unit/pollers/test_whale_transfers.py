"""Transfers of a transaction from its movements: net amounts, thresholds, levels and labels, without rounding of tokens."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from ingest.pollers._whale_transfers import Transaction, level_of, net, transfers
from ingest.polling.provider import PollOptions

OPTIONS = PollOptions(base_url="http://x", min_usd=100)
TRANSACTION = Transaction(
    blockchain="ethereum",
    source="etherscan",
    hash="0xab",
    token="USDC",
    decimals=6,
    price=Decimal("0.9995"),
    time=1,
    block_height=2,
    block_hash="0xcd",
    received_at=3,
)


def transfers_of(
    changes: dict[str, int], transaction: Transaction = TRANSACTION, options: PollOptions = OPTIONS
) -> list[tuple[object, ...]]:
    found = transfers(transaction, changes, options)
    return [
        (transfer.index, transfer.from_address, transfer.to_address, transfer.amount_token, transfer.amount_usd)
        for transfer in found
    ]


def test_amounts_that_return_are_no_transfer() -> None:
    """In a swap through a router, the router gains nothing, and a loan that is repaid moves nothing."""
    moves = [("trader", -500), ("router", 500), ("router", -500), ("pool", 500), ("lender", -9000), ("trader", 9000)]
    moves += [("trader", -9000), ("lender", 9000)]
    assert net(moves) == {"trader": -500, "router": 0, "pool": 500, "lender": 0}
    coin = replace(TRANSACTION, decimals=0, price=Decimal(1))
    assert transfers_of(net(moves), coin) == [(0, "trader", "pool", "500", "500.00")]
    assert transfers_of(net([("a", -700), ("a", 700)]), coin) == []


def test_transfers_are_ordered_by_amount_and_the_threshold_is_inclusive() -> None:
    changes = {"z": 200_000_001, "b": 200_000_000, "a": 200_000_000, "small": 199_999_999, "sender": -800_000_000, "fee": -1}
    half = replace(TRANSACTION, price=Decimal("0.5"))
    expected = [
        (0, "sender", "z", "200.000001", "100.00"),
        (1, "sender", "a", "200.000000", "100.00"),
        (2, "sender", "b", "200.000000", "100.00"),
    ]
    assert transfers_of(changes, half) == expected
    assert transfers_of(dict(reversed(changes.items())), half) == expected
    assert [transfer[2] for transfer in transfers_of(changes, half, replace(OPTIONS, min_usd=99))] == ["z", "a", "b", "small"]


@pytest.mark.parametrize(
    ("decimals", "value", "price", "token", "usd"),
    [
        (18, 1_000_000 * 10**18 + 1, "1", "1000000.000000000000000001", "1000000.00"),
        (6, 2**63 * 10**6 + 1, "1.0001", "9223372036854775808.000001", "9224294374058461285.58"),
        (18, 2**256 - 1, "0.000001", f"{(2**256 - 1) // 10**18}.584007913129639935", None),
        (0, 100, "1", "100", "100.00"),
        (8, 10**8, "100.005", "1.00000000", "100.00"),  # half to even
    ],
)
def test_no_digit_is_rounded_away(decimals: int, value: int, price: str, token: str, usd: str | None) -> None:
    (transfer,) = transfers(replace(TRANSACTION, decimals=decimals, price=Decimal(price)), {"a": -value, "b": value}, OPTIONS)
    assert transfer.amount_token == token
    assert usd is None or transfer.amount_usd == usd
    assert "E" not in transfer.amount_usd


@pytest.mark.parametrize(
    ("usd", "level"),
    [
        ("1000000", "low"),
        ("9999999.99", "low"),
        ("10000000", "medium"),
        ("50000000", "high"),
        ("99999999.99", "high"),
        ("1e8", "critical"),
    ],
)
def test_the_level_follows_from_the_value(usd: str, level: str) -> None:
    assert level_of(Decimal(usd)) == level


def test_the_label_is_that_of_the_largest_sender_or_of_any_sender_of_one_owner() -> None:
    options = replace(OPTIONS, labels={"cold": "binance", "hot": "kraken", "x": "okx"})
    changes = {"unknown": -900 * 10**6, "cold": -100 * 10**6, "hot": 1000 * 10**6}
    (transfer,) = transfers(TRANSACTION, changes, options)
    assert (transfer.from_address, transfer.from_label, transfer.to_label) == ("unknown", None, "kraken")
    (transfer,) = transfers(replace(TRANSACTION, one_owner=True), changes, options)
    assert (transfer.from_address, transfer.from_label, transfer.to_label) == ("unknown", "binance", "kraken")


def test_an_amount_without_a_sender_is_no_transfer() -> None:
    assert transfers_of({"miner": 10**12}) == []
