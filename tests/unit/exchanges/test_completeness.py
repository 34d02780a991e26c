"""The completeness rules of an exchange, which the audit uses."""

from __future__ import annotations

from ingest import registry
from ingest.protocol.exchange import Exchange


def test_rules_are_of_trade_kinds_that_the_exchange_has() -> None:
    def unknown(module: Exchange) -> set[str]:
        rules = module.COMPLETENESS
        return {*rules.dense, *rules.counted, *rules.charted} - set(module.TRADE_KINDS)

    assert {name: unknown(module) for name, module in registry.exchanges().items() if unknown(module)} == {}
