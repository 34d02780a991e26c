"""The trades of Coinbase Exchange, whose heartbeats tell the id of the last one."""

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
    """Every trade. A jump of the id is a gap, and so is a trade that a heartbeat names and that has not come by the next one."""

    row: Any = TradeRow

    def open(self, market: Market) -> ChannelState:
        return ChannelState(_Trades(market.instrument.id).feed)


class _Trades:
    """`last_match` repeats an old trade, which is yielded again."""

    def __init__(self, instrument_id: int) -> None:
        self._instrument_id = instrument_id
        self._last_id: int | None = None
        self._last_time = 0
        self._announced = 0  # by the heartbeat before; its trade has had a second to arrive

    def feed(self, row: TradeRow, received_at: int, snapshot: bool) -> Sequence[Output]:
        if isinstance(row, Heartbeat):
            return self._beat(row)
        one = trade(row, self._instrument_id, received_at)
        if one.time > received_at + AHEAD:
            raise ahead(one.time, received_at)
        if self._last_id is None or one.trade_id == self._last_id + 1:  # the usual case
            self._last_id, self._last_time = one.trade_id, one.time
            return (one,)
        gap = self._advance(one.trade_id - 1, one.time)
        if one.trade_id > self._last_id:
            self._last_id, self._last_time = one.trade_id, one.time
        return (*gap, one)

    def _beat(self, heartbeat: Heartbeat) -> Sequence[Output]:
        time = from_iso(heartbeat.time)
        if self._last_id is None:
            self._last_id, self._last_time = heartbeat.last_trade_id, time
        announced, self._announced = self._announced, heartbeat.last_trade_id
        return self._advance(announced, time)

    def _advance(self, trade_id: int, time: int) -> Sequence[Gap]:
        """Everything up to `trade_id` should be here."""
        if self._last_id is None or trade_id <= self._last_id:
            return ()
        gap = Gap(self._instrument_id, "trades", "sequence", self._last_time, time, self._last_id + 1, trade_id)
        self._last_id, self._last_time = trade_id, time
        return (gap,)
