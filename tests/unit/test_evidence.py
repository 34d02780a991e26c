"""What the modules say that can be audited is what the README promises, exchange by exchange."""

from __future__ import annotations

from pathlib import Path

from ingest import registry
from ingest.protocol.exchange import CompletenessRules, Exchange

README = (Path(__file__).parent.parent.parent / "README.md").read_text()
HEAD = "| exchange | `ids` | `bucket` | `count` | `bars` |\n|---|---|---|---|---|\n"


def row(name: str, evidence: CompletenessRules) -> str:
    kinds = [", ".join(f"`{kind}`" for kind in said) for said in (evidence.dense, evidence.counted, evidence.charted)]
    kinds.insert(1, "yes" if evidence.empty_candles else "")
    return " ".join([f"| `{name}` |", *(f"{cell} |" if cell else "|" for cell in kinds)])


def test_the_readme_says_what_is_audited() -> None:
    table = README.partition(HEAD)[2].partition("\n\n")[0]
    assert table.split("\n") == [row(name, module.COMPLETENESS) for name, module in sorted(registry.exchanges().items())]


def test_evidence_is_of_trade_kinds_that_there_are() -> None:
    def unknown(module: Exchange) -> set[str]:
        said = module.COMPLETENESS
        return {*said.dense, *said.counted, *said.charted} - set(module.TRADE_KINDS)

    assert {name: unknown(module) for name, module in registry.exchanges().items() if unknown(module)} == {}
