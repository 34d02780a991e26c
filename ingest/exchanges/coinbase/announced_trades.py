"""The trades of Coinbase Exchange, whose heartbeats have the id of the last trade."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ingest.exchanges.coinbase.messages import Heartbeat, TradeRow
from ingest.exchanges.coinbase.parse import trade
from ingest.marketdata.channels import ChannelState, Market
from ingest.marketdata.values import AHEAD, ahead, from_iso
from ingest.protocol.session import Gap, Output


class AnnouncedTrades(Struct, frozen=True):
    """Every trade. A jump of the id is a gap. So is a trade that a heartbeat names and that is missing at the next one."""

    row: Any = TradeRow

    def open(self, market: Market) -> ChannelState:
        return ChannelState(_Trades(market.instrument.id).feed)


class _Trades:
    """`last_match` is an old trade; it is yielded as any other."""

    def __init__(self, instrument_id: int) -> None:
        self._instrument_id = instrument_id
        self._last_id: int | None = None
        self._last_time = 0
        self._announced = 0  # the id in the previous heartbeat, whose trade has had a second to arrive

    def feed(self, row: TradeRow, received_at: int, snapshot: bool) -> Sequence[Output]:
        if isinstance(row, Heartbeat):
            return self._heartbeat(row)
        match = trade(row, self._instrument_id, received_at)
        if match.time > received_at + AHEAD:
            raise ahead(match.time, received_at)
        if self._last_id is None or match.trade_id == self._last_id + 1:  # the usual case
            self._last_id, self._last_time = match.trade_id, match.time
            return (match,)
        gap = self._advance(match.trade_id - 1, match.time)
        if match.trade_id > self._last_id:
            self._last_id, self._last_time = match.trade_id, match.time
        return (*gap, match)

    def _heartbeat(self, heartbeat: Heartbeat) -> Sequence[Output]:
        time = from_iso(heartbeat.time)
        if self._last_id is None:
            self._last_id, self._last_time = heartbeat.last_trade_id, time
        announced, self._announced = self._announced, heartbeat.last_trade_id
        return self._advance(announced, time)

    def _advance(self, trade_id: int, time: int) -> Sequence[Gap]:
        """Every trade up to `trade_id` should have arrived. Returns the gap if not."""
        if self._last_id is None or trade_id <= self._last_id:
            return ()
        gap = Gap(self._instrument_id, "trades", "sequence", self._last_time, time, self._last_id + 1, trade_id)
        self._last_id, self._last_time = trade_id, time
        return (gap,)
