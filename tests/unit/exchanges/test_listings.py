"""One bad row of a listing costs itself, on every exchange: the market beside it is listed."""

from __future__ import annotations

import time

import pytest

from ingest.exchanges.okx import exchange as okx
from ingest.marketdata.values import MAX_NAME
from tests.support.exchanges.documented import EXCHANGES, listed, listing

NO_STEPS = ["null", "-1", "1e31", '"-1"', '"1e31"', '"x"', "300000000", "1e300000000", "9" * 5000, "true", "[]", '"NaN"', '"1e18"']
GOOD = {("binance", "null"), ("deribit", "300000000")}  # no rule for prices; a step


@pytest.mark.parametrize(("name", "step"), sorted({(name, step) for name in EXCHANGES for step in NO_STEPS} - GOOD))
def test_a_bad_step_costs_its_row(name: str, step: str) -> None:
    began = time.process_time()
    markets = listing(name, listed(name, "BAD", step=step), listed(name, "GOOD"))
    assert time.process_time() - began < 0.1
    bad = [market.symbol for market in markets if "BAD" in market.symbol]
    assert (bad, len(markets), len(markets.rejected)) == ([], 1, 1)
    assert markets[0].price_step in ("0.1", "0.10")


@pytest.mark.parametrize("expiry", ["253402300800000", "100000000000000000", "1" + "0" * 30, "-1", "null", "1e31"])
def test_an_expiry_far_beyond_any_date_costs_its_row(expiry: str) -> None:
    markets = listing("deribit", listed("deribit", "BAD", expiry=expiry), listed("deribit", "GOOD"))
    assert ([market.symbol for market in markets], len(markets.rejected)) == (["GOOD"], 1)
    assert markets[0].instrument == "BTC/USD:BTC-261230"


@pytest.mark.parametrize("symbol", ["A\\u0000", "A\\n", "A" * (MAX_NAME + 1), "\\u202eB"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_a_name_that_cannot_be_stored_costs_its_row(name: str, symbol: str) -> None:
    markets = listing(name, listed(name, symbol), listed(name, "GOOD"))
    assert (len(markets), len(markets.rejected)) == (1, 1)
    assert "GOOD" in markets[0].symbol


@pytest.mark.parametrize(
    ("state", "status"),
    [
        *(("open", "trading"), ("halted", "halted"), ("locked", "halted"), ("inactive", "halted"), ("settlement", "halted")),
        *(("delivered", "delisted"), ("archivized", "delisted"), ("a state of later", "halted")),
    ],
)
def test_states_of_deribit_are_an_open_set(state: str, status: str) -> None:
    """https://docs.deribit.com/changelogs/jsonrpc, 2026-01-13"""
    (market,) = listing("deribit", listed("deribit").replace('"state":"open"', f'"state":"{state}"'))
    assert market.status == status
    (market,) = listing("deribit", listed("deribit").replace('"state":"open",', "").replace("true", "false"))
    assert market.status == "halted"


def test_pairs_of_another_venue_are_left_out() -> None:
    """https://docs.kraken.com/exchange/changelog, 2026-04-28: in ccxt's names a colon begins the currency of settlement."""
    markets = listing("kraken", listed("kraken", "XBT"), listed("kraken").replace("GOOD/USD", "XBT/USD:BTNL"))
    assert [(market.symbol, market.instrument) for market in markets] == [("BTC/USD", "BTC/USD")]
    assert list(markets.rejected) == []


def test_pairs_in_usd_are_retired_on_okx() -> None:
    assert okx.retired("BTC/USD") == "OKX closed its pairs in USD on 2026-09-30; their market is BTC/USDC"
    assert okx.retired("BTC/USDT") == okx.retired("USD/USDT") == ""


def test_okx_lists_a_market_before_it_opens() -> None:
    """Its steps are empty and `instIdCode` is null; states `rebase` and `post_only` are new since 2026-03-04."""
    row = listed("okx", "NEW-USDC").replace('"lotSz":"0.001"', '"lotSz":"","instIdCode":null').replace('"0.1"', '""')
    rows = [row.replace('"live"', f'"{state}"') for state in ("preopen", "rebase", "post_only")]
    markets = listing("okx", *rows)
    assert [(market.status, market.price_step, market.size_step) for market in markets] == [("halted", None, None)] * 3


def test_binance_lists_a_market_that_takes_no_orders() -> None:
    """`CANCEL_ONLY` since 2026-07-07; a symbol may have characters beyond ASCII since 2025-12-15."""
    rows = [listed("binance", "币安人生USDT").replace("BTC", "币安人生"), listed("binance").replace("TRADING", "CANCEL_ONLY")]
    markets = listing("binance", *rows)
    assert [(market.symbol, market.status) for market in markets] == [("币安人生USDT", "trading"), ("GOOD", "halted")]
