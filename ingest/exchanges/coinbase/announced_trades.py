"""The trades of Coinbase Exchange, whose heartbeats have the id of the last trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ingest.exchanges.coinbase.messages import Heartbeat, TradeRow
from ingest.exchanges.coinbase.parse import trade
from ingest.marketdata.channels import MAX_JUMP, ChannelState, DenseIds, Market
from ingest.marketdata.values import AHEAD, ahead, from_iso
from ingest.protocol.session import Output


class AnnouncedTrades(Struct, frozen=True):
    """Every trade. A jump of the id is a gap. So is a trade that a heartbeat names and that is missing at the next one."""

    row: Any = TradeRow

    def open(self, market: Market) -> ChannelState:
        return ChannelState(_Trades(market.instrument.id).feed)


class _Trades:
    """`last_match` is an old trade; it is yielded as any other."""

    def __init__(self, instrument_id: int) -> None:
        self._instrument_id = instrument_id
        self._ids = DenseIds(instrument_id)
        self._announced = 0  # the id in the previous heartbeat, whose trade has had a second to arrive

    def feed(self, row: TradeRow, received_at: int, snapshot: bool) -> Sequence[Output]:
        ids = self._ids
        if isinstance(row, Heartbeat):
            return self._heartbeat(row)
        match = trade(row, self._instrument_id, received_at)
        trade_id, time = match.trade_id, match.time
        if time > received_at + AHEAD:
            raise ahead(time, received_at)
        if trade_id == ids.expected:  # the usual case
            ids.expected, ids.time = trade_id + 1, time
            return (match,)
        return (*ids.take(trade_id, trade_id, time), match)

    def _heartbeat(self, heartbeat: Heartbeat) -> Sequence[Output]:
        time, last, ids = from_iso(heartbeat.time), heartbeat.last_trade_id, self._ids
        if ids.expected is None:
            ids.take(last, last, time)
        elif last - ids.expected > MAX_JUMP:
            raise ids.too_far(last)
        announced, self._announced = self._announced, last
        return ids.missing(announced, time)
