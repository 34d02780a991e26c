"""What can be audited at an exchange is declared for trade kinds that it has."""

from __future__ import annotations

from ingest import registry
from ingest.protocol.exchange import Exchange


def test_evidence_is_of_trade_kinds_that_there_are() -> None:
    def unknown(module: Exchange) -> set[str]:
        said = module.COMPLETENESS
        return {*said.dense, *said.counted, *said.charted} - set(module.TRADE_KINDS)

    assert {name: unknown(module) for name, module in registry.exchanges().items() if unknown(module)} == {}
