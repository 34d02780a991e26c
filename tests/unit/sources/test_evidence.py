"""What a row of an exchange's history says about a silent subscription."""

from __future__ import annotations

from msgspec.structs import replace

from ingest.records import Candle
from ingest.sources.evidence import has_trades
from tests.support.batches import trade

BAR = Candle(1, "1m", 0, "1", "1", "1", "1", "0.00", None, None, None, None, None, None, 1, "rest", 0)


def test_a_candle_without_volume_is_not_missed() -> None:
    """Kraken has candles of empty minutes by REST only."""
    assert not has_trades(BAR)
    assert has_trades(replace(BAR, volume="0.01"))
    assert has_trades(trade(1))
