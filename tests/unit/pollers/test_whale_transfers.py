"""From what a transaction moved to the transfers that are told: nets, thresholds, levels, labels; no digit is rounded away."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from ingest.pollers._whale_transfers import Transaction, level_of, net, transfers
from ingest.polling.provider import PollOptions

OPTIONS = PollOptions(base_url="http://x", min_usd=100)
ONE = Transaction(
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


def told(changes: dict[str, int], transaction: Transaction = ONE, options: PollOptions = OPTIONS) -> list[tuple[object, ...]]:
    found = transfers(transaction, changes, options)
    return [(one.index, one.from_address, one.to_address, one.amount_token, one.amount_usd) for one in found]


def test_what_comes_back_is_no_transfer() -> None:
    """A swap through a router: what a hop passes on is not its own, and a loan that is paid back is none."""
    moves = [("trader", -500), ("router", 500), ("router", -500), ("pool", 500), ("lender", -9000), ("trader", 9000)]
    moves += [("trader", -9000), ("lender", 9000)]
    assert net(moves) == {"trader": -500, "router": 0, "pool": 500, "lender": 0}
    coin = replace(ONE, decimals=0, price=Decimal(1))
    assert told(net(moves), coin) == [(0, "trader", "pool", "500", "500.00")]
    assert told(net([("a", -700), ("a", 700)]), coin) == []


def test_the_largest_is_the_first_whatever_their_order_and_the_threshold_is_inclusive() -> None:
    changes = {"z": 200_000_001, "b": 200_000_000, "a": 200_000_000, "small": 199_999_999, "sender": -800_000_000, "fee": -1}
    half = replace(ONE, price=Decimal("0.5"))
    expected = [
        (0, "sender", "z", "200.000001", "100.00"),
        (1, "sender", "a", "200.000000", "100.00"),
        (2, "sender", "b", "200.000000", "100.00"),
    ]
    assert told(changes, half) == expected
    assert told(dict(reversed(changes.items())), half) == expected
    assert [one[2] for one in told(changes, half, replace(OPTIONS, min_usd=99))] == ["z", "a", "b", "small"]


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
    (one,) = transfers(replace(ONE, decimals=decimals, price=Decimal(price)), {"a": -value, "b": value}, OPTIONS)
    assert one.amount_token == token
    assert usd is None or one.amount_usd == usd
    assert "E" not in one.amount_usd


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


def test_labels_are_of_the_largest_sender_or_of_all_where_they_are_one_owner() -> None:
    options = replace(OPTIONS, labels={"cold": "binance", "hot": "kraken", "x": "okx"})
    changes = {"unknown": -900 * 10**6, "cold": -100 * 10**6, "hot": 1000 * 10**6}
    (one,) = transfers(ONE, changes, options)
    assert (one.from_address, one.from_label, one.to_label) == ("unknown", None, "kraken")
    (one,) = transfers(replace(ONE, one_owner=True), changes, options)
    assert (one.from_address, one.from_label, one.to_label) == ("unknown", "binance", "kraken")


def test_what_nobody_lost_is_no_transfer() -> None:
    assert told({"miner": 10**12}) == []
