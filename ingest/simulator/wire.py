"""Binance's wire format: the events of its streams and the bodies of its REST responses. Pure.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
Times are milliseconds. A bar without trades has the ids -1 and the close of the bar before as its prices.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ingest.simulator.market import MINUTE_MS, UNIT, Bar, Deal, Diff, Sides, Spec

Json = dict[str, Any]
encode = msgspec.json.encode
PING_FRAME = b"\x89\x00"
_TIMES = re.compile(rb'"([ETt])":[0-9]{13}\b')  # of an event and of a bar; a trade's id has another length


def digits(value: int) -> str:
    """A price or size as Binance prints it: always eight decimals."""
    return f"{value // UNIT}.{value % UNIT:08d}"


def text_frame(payload: bytes) -> bytes:
    """One unmasked websocket text frame (RFC 6455, 5.2), so that many can be written to the socket at once."""
    return _frame(0x81, payload)


def fragments(payload: bytes) -> bytes:
    """The same message in two frames: a first fragment and its continuation (RFC 6455, 5.4)."""
    middle = len(payload) // 2
    return _frame(0x01, payload[:middle]) + _frame(0x80, payload[middle:])


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 0x7E)) + size.to_bytes(2, "big") + payload
    return bytes((first, 0x7F)) + size.to_bytes(8, "big") + payload


def combined(stream: str, event: bytes) -> bytes:
    """The envelope of /stream."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), event)


# --- events -----------------------------------------------------------------------------------------------------------


def trade(symbol: str, deal: Deal) -> bytes:
    """A trade event. Formatted without an encoder, because a benchmark makes a million at once."""
    maker = "true" if deal.maker else "false"
    return (
        f'{{"e":"trade","E":{deal.time},"s":"{symbol}","t":{deal.id},"p":"{digits(deal.price)}","q":"{digits(deal.size)}",'
        f'"T":{deal.time},"m":{maker},"M":true}}'
    ).encode()


def agg_trade(symbol: str, deal: Deal) -> bytes:
    """An aggTrade event. In this market one trade fills a taker order, so an aggregate is one trade."""
    return encode({"e": "aggTrade", "E": deal.time, "s": symbol} | agg_trade_row(deal))


EVENTS: dict[str, Callable[[str, Deal], bytes]] = {"trade": trade, "aggTrade": agg_trade}


def kline(symbol: str, bar: Bar, now: int, *, closed: bool) -> bytes:
    span = {"t": bar.time, "T": bar.time + MINUTE_MS - 1, "s": symbol, "i": "1m", "f": bar.first, "L": bar.last}
    prices = {"o": digits(bar.open), "c": digits(bar.close), "h": digits(bar.high), "l": digits(bar.low)}
    sums = {"v": digits(bar.volume), "n": bar.count, "x": closed, "q": digits(bar.quote_volume)}
    taker = {"V": digits(bar.taker_volume), "Q": digits(bar.taker_quote_volume), "B": "0"}
    return encode({"e": "kline", "E": now, "s": symbol, "k": span | prices | sums | taker})


def depth_update(symbol: str, diff: Diff, now: int) -> bytes:
    levels = {"b": _levels(diff.bids), "a": _levels(diff.asks)}
    return encode({"e": "depthUpdate", "E": now, "s": symbol, "U": diff.first, "u": diff.last} | levels)


def book_ticker(symbol: str, update: int, best: tuple[int, int, int, int]) -> bytes:
    """`best`: bid price and size, ask price and size."""
    bid, bid_size, ask, ask_size = (digits(value) for value in best)
    return encode({"u": update, "s": symbol, "b": bid, "B": bid_size, "a": ask, "A": ask_size})


def with_odd_level(event: bytes) -> bytes:
    """A depth update with an impossible level on both sides. A depth body of REST has the same lists, by other names."""
    changed: Json = msgspec.json.decode(event)
    for name in ("b", "a", "bids", "asks"):
        if name in changed:
            changed[name].insert(len(changed[name]) // 2, ["-3", ""])
    return encode(changed)


def with_far_time(event: bytes) -> bytes:
    """An event with the last millisecond of the year 9999 as its times."""
    return _TIMES.sub(rb'"\1":253402300799999', event)


def notice(kind: str, text: str, now: int) -> bytes:
    """A control message that the documentation does not have."""
    return encode({"e": kind, "E": now, "msg": text})


def server_shutdown(now: int) -> bytes:
    return encode({"e": "serverShutdown", "E": now})


# --- REST bodies ------------------------------------------------------------------------------------------------------


def exchange_info(specs: Iterable[Spec], now: int) -> Json:
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    return {
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [limit],
        "exchangeFilters": [],
        "symbols": [_symbol(spec) for spec in specs],
    }


def depth(update: int, sides: Sides, limit: int) -> Json:
    bids, asks = (_levels(side)[:limit] for side in sides)
    return {"lastUpdateId": update, "bids": bids, "asks": asks}


def trade_row(deal: Deal) -> Json:
    """A row of /api/v3/trades and /api/v3/historicalTrades."""
    sizes = {"qty": digits(deal.size), "quoteQty": digits(deal.price * deal.size // UNIT)}
    flags = {"time": deal.time, "isBuyerMaker": deal.maker, "isBestMatch": True}
    return {"id": deal.id, "price": digits(deal.price)} | sizes | flags


def agg_trade_row(deal: Deal) -> Json:
    """A row of /api/v3/aggTrades; the event of the stream has the same fields."""
    sizes = {"p": digits(deal.price), "q": digits(deal.size)}
    return {"a": deal.id} | sizes | {"f": deal.id, "l": deal.id, "T": deal.time, "m": deal.maker, "M": True}


def kline_row(bar: Bar) -> list[Any]:
    """A row of /api/v3/klines."""
    prices = [digits(price) for price in (bar.open, bar.high, bar.low, bar.close)]
    end, taker = bar.time + MINUTE_MS - 1, [digits(bar.taker_volume), digits(bar.taker_quote_volume)]
    return [bar.time, *prices, digits(bar.volume), end, digits(bar.quote_volume), bar.count, *taker, "0"]


def _levels(side: dict[int, int]) -> list[tuple[str, str]]:
    return [(digits(price), digits(size)) for price, size in side.items()]


def _symbol(spec: Spec) -> Json:
    price = {"filterType": "PRICE_FILTER", "minPrice": digits(spec.price_step), "maxPrice": digits(10**6 * UNIT)}
    size = {"filterType": "LOT_SIZE", "minQty": digits(spec.size_step), "maxQty": digits(10**5 * UNIT)}
    return {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": spec.base,
        "baseAssetPrecision": 8,
        "quoteAsset": spec.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [price | {"tickSize": digits(spec.price_step)}, size | {"stepSize": digits(spec.size_step)}],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }
