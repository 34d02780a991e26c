"""The candles of Coinbase Exchange, which has no channel for them: each closed minute is requested by REST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.exchanges.coinbase.parse import candles_from_rest, candles_path
from ingest.marketdata.channels import ChannelState, Market
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, Response
from ingest.protocol.session import Output
from ingest.records import MINUTE, SECOND, Candle

DELAY = 2 * SECOND  # from the end of a minute to the first request
WINDOW = 4 * MINUTE  # each request reaches back that far, so that later requests find a late or changed bar
TRIES = 2  # requests in one minute
RETRY = 5 * SECOND  # from a failure, or a response without the minute, to the next request


class PolledCandles(Struct, frozen=True):
    """Closed bars. `waits`, microseconds by symbol, are added to `DELAY` to spread the requests of a connection."""

    waits: Mapping[str, int] = {}
    row: Any = None  # no message has a row

    def open(self, market: Market) -> ChannelState:
        candles = _Candles(market, self.waits.get(market.instrument.symbol, 0))
        return ChannelState(lambda row, received_at, snapshot: (), tick=candles.tick, answer=candles.answer)


class _Candles:
    """A minute without trades has no bar, so a missing bar proves nothing: it is requested `TRIES` times."""

    def __init__(self, market: Market, wait: int) -> None:
        self._market = market
        self._wait, self._delay = wait, DELAY + wait
        self._request_at: int | None = None
        self._requested = False  # the transport reports the response or the failure of each request
        self._tries = 0
        self._minute = 0  # the newest closed minute at the last request
        self._seen: dict[int, Candle] = {}

    def tick(self, now: int) -> Sequence[Output]:
        if self._request_at is None:
            self._request_at = max(now + self._wait, now // MINUTE * MINUTE + self._delay)
        if self._requested or now < self._request_at:
            return ()
        minute = now // MINUTE * MINUTE - MINUTE
        if minute != self._minute:
            self._minute, self._tries = minute, 0
        self._tries += 1
        self._requested = True
        symbol = self._market.instrument.symbol
        path = candles_path(symbol, self._minute - WINDOW, self._minute)
        return (Request(f"{self._market.options.rest_url}{path}", tag=symbol),)

    def answer(self, response: Response | None, now: int) -> Sequence[Output]:
        self._requested, self._request_at = False, self._again_at(now + RETRY)
        if response is None:
            return ()
        self._market.received(now)
        try:
            candles = candles_from_rest(response.body, self._market.instrument, now)
        except Reject as error:
            return (Malformed(response.body, error.reason, str(error)),)
        as_of = now if response.made_at is None else min(now, response.made_at)
        out = [candle for candle in candles if self._is_new(candle, as_of)]
        self._seen = {time: candle for time, candle in self._seen.items() if time >= self._minute - WINDOW}
        if self._minute in self._seen:
            self._request_at = self._next_minute()
        return [*out, *candles.rejected]

    def _is_new(self, candle: Candle, as_of: int) -> bool:
        """Whether the bar is closed, and new or changed."""
        known = self._seen.get(candle.time)
        if candle.time < self._minute - WINDOW or candle.time + MINUTE > as_of:
            return False
        if known is not None and candle == replace(known, received_at=candle.received_at):
            return False
        self._seen[candle.time] = candle
        return True

    def _again_at(self, time: int) -> int:
        return time if self._tries < TRIES else self._next_minute()

    def _next_minute(self) -> int:
        return self._minute + 2 * MINUTE + self._delay
