"""The completeness rules of an exchange: what the audit compares, and what the coverage ledger takes for evidence."""

from __future__ import annotations

import pytest

from ingest import registry
from ingest.marketdata.channels import Candles, Quotes, Trades
from ingest.marketdata.synced_book import SyncedBook
from ingest.protocol.exchange import Exchange

EXCHANGES = registry.exchanges()


def test_rules_are_of_trade_kinds_that_the_exchange_has() -> None:
    def unknown(module: Exchange) -> set[str]:
        rules = module.COMPLETENESS
        known = {*module.TRADE_KINDS, "candles", "book", "quotes"}
        return {*rules.dense, *rules.counted, *rules.charted} - set(module.TRADE_KINDS) | rules.evidence.keys() - known

    assert {name: unknown(module) for name, module in EXCHANGES.items() if unknown(module)} == {}


@pytest.mark.parametrize("name", EXCHANGES)
def test_the_declared_evidence_is_what_the_channel_checks(name: str) -> None:
    """A channel that finds no gap in its messages has no evidence in them."""
    rules, kinds = EXCHANGES[name].COMPLETENESS, EXCHANGES[name].TRADE_KINDS
    channels = EXCHANGES[name].CHANNELS
    trades, candles, book = channels["trades"].spec, channels["candles"].spec, channels["book"].spec
    if isinstance(trades, Trades):
        assert {kind: rules.evidence.get(kind) for kind in kinds} == {
            kind: "ids" if kind in trades.dense_ids else None for kind in kinds
        }
    if isinstance(candles, Candles):
        assert rules.evidence.get("candles") == ("sequence" if candles.every_minute else None)
    assert isinstance(channels["quotes"].spec, Quotes)
    assert not rules.has_evidence("quotes", kinds[0])
    assert rules.evidence["book"] == "sequence" if isinstance(book, SyncedBook) else rules.has_evidence("book", kinds[0])


def test_evidence_of_trades_depends_on_their_kind() -> None:
    rules = EXCHANGES["okx"].COMPLETENESS
    assert rules.has_evidence("trades", "trades-all")
    assert not rules.has_evidence("trades", "trades")
    assert rules.has_evidence("book", "trades")
