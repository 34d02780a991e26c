"""The table of what shows that a subscription misses nothing, by exchange and channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from ingest.protocol.exchange import Exchange
from ingest.protocol.session import ChannelName

EVIDENCE_HEAD = ("exchange", *(f"`{channel}`" for channel in get_args(ChannelName)))


def evidence_rows(exchanges: Mapping[str, Exchange]) -> Iterator[Sequence[str]]:
    """One row for each exchange. Evidence of trades depends on the trade kind."""
    for name, module in sorted(exchanges.items()):
        known = module.COMPLETENESS.evidence
        cells = {channel: known.get(channel, "none") for channel in get_args(ChannelName)}
        cells["trades"] = ", ".join(f"{known.get(kind, 'none')} (`{kind}`)" for kind in module.TRADE_KINDS)
        yield f"`{name}`", *cells.values()
