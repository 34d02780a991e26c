"""CoinGecko: prices of coins across all venues, in USD and AUD.

https://docs.coingecko.com/reference/coins-markets https://docs.coingecko.com/reference/simple-price

Symbols are not unique there, so requests name coins by id. One row combines two answers: /coins/markets has high, low and changes
for one currency, /simple/price has the other currency. The answers omit an unknown id without an error; such a coin is reported as
`Missed`. Points of an hour exist since 2018, for the plan `analyst`; older ones are days (price list of 2026). Its line of licences
names a commercial one for Analyst and above only. The history comes from /coins/{id}/market_chart/range, without high, low and
changes; a range of a day or more without prices is an error. `received_at` of such a row is its own time, so that it never replaces
the complete row that a turn stored for the same minute.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from operator import itemgetter
from urllib.parse import urlencode

from msgspec import Raw, Struct, field
from msgspec.json import Decoder
from msgspec.structs import replace

from ingest.errors import Reject
from ingest.polling.checked import change, optional, price, shown, time_of, total
from ingest.polling.db_queries import Filtered
from ingest.polling.elements import elements, members, sliced, split
from ingest.polling.provider import Missed, Part, Plan, Poll, PollOptions, decoded, must_have, within
from ingest.polling.social_posts import Moment, to_micros
from ingest.protocol.decode import Malformed
from ingest.protocol.http import Request, answer_to
from ingest.records import MINUTE, SECOND, Asset, Price, to_digits

NAME = "coingecko"
TABLES = ("prices",)
PAGE = 250  # the most coins of one /coins/markets
DAY = 86_400 * SECOND
CHUNK = 90 * DAY  # the longest range with hourly points; a longer one has daily points
HALF_HOUR = 1800 * 1000  # milliseconds
IDLE = "not_traded"  # the reason of a `Filtered`: the price is 0 or null
_KEYLESS = Plan(
    base_url="https://api.coingecko.com/api/v3",
    per_minute=5,
    per_month=10_000,
    interval=60,
    requests=2,
    per="coin",
    batch=PAGE,
    history_days=365,
    terms="https://www.coingecko.com/en/api_terms: attribution is required; the price list of 2026 names a commercial licence from "
    "Analyst on",
)
_PRO = replace(
    _KEYLESS,
    base_url="https://pro-api.coingecko.com/api/v3",
    key="x-cg-pro-api-key",
    per_minute=250,
    per_month=100_000,
    interval=30,
)
PLANS = {
    "keyless": _KEYLESS,
    "demo": replace(_KEYLESS, key="x-cg-demo-api-key", per_minute=30),
    "pro": replace(_PRO, history_days=730),
    "analyst": replace(_PRO, per_minute=500, per_month=500_000, history_days=None),
}
ASSETS = {
    "AAVE": "aave",
    "ADA": "cardano",
    "AVAX": "avalanche-2",
    "BCH": "bitcoin-cash",
    "BNB": "binancecoin",
    "BTC": "bitcoin",
    "DOGE": "dogecoin",
    "DOT": "polkadot",
    "ETC": "ethereum-classic",
    "ETH": "ethereum",
    "LINK": "chainlink",
    "LTC": "litecoin",
    "SHIB": "shiba-inu",
    "SOL": "solana",
    "TRX": "tron",
    "UNI": "uniswap",
    "USDC": "usd-coin",
    "USDT": "tether",
    "XLM": "stellar",
    "XRP": "ripple",
}


class _Market(Struct):
    id: str
    current_price: Decimal | None
    market_cap: Decimal | None
    total_volume: Decimal | None
    high_24h: Decimal | None
    low_24h: Decimal | None
    last_updated: Moment | None
    change_1h: Decimal | None = field(name="price_change_percentage_1h_in_currency", default=None)
    change_24h: Decimal | None = field(name="price_change_percentage_24h", default=None)
    change_7d: Decimal | None = field(name="price_change_percentage_7d_in_currency", default=None)


class _Chart(Struct):
    """Points of [milliseconds, value]. Each currency has a point for each hour, but not at the same second."""

    prices: list[Raw]
    market_caps: list[Raw]
    total_volumes: list[Raw]


_Point = tuple[Decimal, Decimal | None]
_Column = list[tuple[int, Decimal | None]]  # milliseconds, value
_Others = dict[str, Decimal | None]  # the values of a coin in another currency

_ChartDecoder, _POINT = Decoder(_Chart), Decoder(_Point)
_Markets, _MARKET = Decoder(list[Raw]), Decoder(_Market)
_Simple, _OTHERS = Decoder(dict[str, Raw]), Decoder(_Others)


def poll(options: PollOptions, _cursor: str) -> Poll:
    """One row for each coin, as of now. There is no cursor."""
    for start in range(0, len(options.assets), PAGE):
        yield from _page(options, options.assets[start : start + PAGE])
    return ""


def history(options: PollOptions, since: int, until: int) -> Poll:
    """A row for each coin and hour of [since, until), microseconds, with two requests per coin."""
    for asset in options.assets:
        usd = yield from _chart(options, asset, "usd", since, until)
        aud = yield from _chart(options, asset, "aud", since, until)
        points = yield from sliced(_points(asset, usd, aud))
        yield within(points, since, until)
    return ""


class _Columns:
    """The points of a chart that can be read, and the others."""

    def __init__(self, chart: _Chart, received_at: int) -> None:
        self.malformed: list[Malformed] = []
        self._received_at = received_at
        self.prices = self._read(chart.prices, price)
        self.market_caps = self._read(chart.market_caps, total)
        self.total_volumes = self._read(chart.total_volumes, total)

    def _read(self, raws: list[Raw], check: Callable[[Decimal], str]) -> _Column:
        points, malformed = split(elements(raws, _POINT, partial(self._point, check)))
        self.malformed += malformed
        return sorted(points, key=itemgetter(0))

    def _point(self, check: Callable[[Decimal], str], point: _Point) -> Iterator[tuple[int, Decimal | None]]:
        at, value = point
        if value:  # 0 or null: the coin was not traded
            check(value)
        yield time_of(at, 1000, self._received_at) // 1000, value


def _chart(options: PollOptions, asset: Asset, currency: str, since: int, until: int) -> Part[_Columns]:
    query = {"vs_currency": currency, "from": str(since // SECOND), "to": str(until // SECOND)}
    answer = yield from answer_to(_request(options, f"/coins/{asset.coingecko_id}/market_chart/range", query))
    chart = decoded(answer, _ChartDecoder)
    if until - since >= DAY:
        must_have(chart.prices, f"{asset.symbol} in {currency}")
    return _Columns(chart, answer.received_at)


def _points(asset: Asset, usd: _Columns, aud: _Columns) -> Iterator[Price | Malformed | Filtered]:
    yield from (*usd.malformed, *aud.malformed)
    if idle := sum(not value for _, value in usd.prices):
        yield Filtered(IDLE, idle)
    caps, volumes = dict(usd.market_caps), dict(usd.total_volumes)
    for at, value in usd.prices:
        if not value:
            continue
        time = at * 1000
        price_aud, cap_aud, volume_aud = (_nearest(column, at) for column in (aud.prices, aud.market_caps, aud.total_volumes))
        yield Price(
            asset_id=asset.id,
            source=NAME,
            time=time - time % MINUTE,
            price_usd=f"{value:f}",
            price_aud=to_digits(price_aud or None),
            market_cap_usd=to_digits(caps.get(at)),
            market_cap_aud=to_digits(cap_aud),
            volume_24h_usd=to_digits(volumes.get(at)),
            volume_24h_aud=to_digits(volume_aud),
            change_1h=None,
            change_24h=None,
            change_7d=None,
            high_24h=None,
            low_24h=None,
            received_at=time,
        )


def _nearest(points: _Column, at: int) -> Decimal | None:
    """The value of the nearest point within half an hour, because the points of two currencies are seconds apart."""
    after = bisect_left(points, at, key=itemgetter(0))
    near = min(points[max(0, after - 1) : after + 1], key=lambda point: abs(point[0] - at), default=None)
    return near[1] if near is not None and abs(near[0] - at) <= HALF_HOUR else None


def _page(options: PollOptions, assets: tuple[Asset, ...]) -> Poll:
    by_id = {asset.coingecko_id: asset for asset in assets}
    ids = ",".join(by_id)
    query = {"vs_currency": "usd", "ids": ids, "price_change_percentage": "1h,24h,7d", "per_page": str(PAGE), "page": "1"}
    answer = yield from answer_to(_request(options, "/coins/markets", query))
    markets = decoded(answer, _Markets)
    aud = {"vs_currencies": "aud", "ids": ids, "include_market_cap": "true", "include_24hr_vol": "true"}
    simple = decoded((yield from answer_to(_request(options, "/simple/price", aud))), _Simple)
    pairs, malformed = split(members(simple, _OTHERS, lambda coin, values: [(coin, values)]))
    others = dict(pairs)
    known: set[str] = set()

    def read(market: _Market) -> Iterator[Price | Filtered]:
        known.add(market.id)
        return _prices(market, others.get(market.id, {}), by_id.get(market.id), answer.received_at)

    yield [*elements(markets, _MARKET, read), *malformed]
    if len(known) == len(markets):  # else one of the others is in an element that cannot be read
        yield [Missed(asset.symbol, _unknown(asset)) for asset in assets if asset.coingecko_id not in known]
    return ""


def _unknown(asset: Asset) -> Reject:
    return Reject(
        f"no coin has the id '{asset.coingecko_id}'; right would be one of /coins/list (pollers.{NAME}.ids.{asset.symbol})",
        reason="unknown",
    )


def _request(options: PollOptions, path: str, query: dict[str, str]) -> Request:
    return Request(f"{options.base_url}{path}?{urlencode(query, safe=',')}", headers=options.headers)


def _prices(market: _Market, aud: _Others, asset: Asset | None, received_at: int) -> Iterator[Price | Filtered]:
    if asset is None:
        raise Reject(f"{shown(market.id)} is not a coin that was requested", reason="value")
    if not market.current_price or market.last_updated is None:
        yield Filtered(IDLE, 1)
        return
    time = time_of(to_micros(market.last_updated), 1, received_at)
    yield Price(
        asset_id=asset.id,
        source=NAME,
        time=time - time % MINUTE,
        price_usd=price(market.current_price),
        price_aud=optional(price, aud.get("aud") or None),
        market_cap_usd=optional(total, market.market_cap),
        market_cap_aud=optional(total, aud.get("aud_market_cap")),
        volume_24h_usd=optional(total, market.total_volume),
        volume_24h_aud=optional(total, aud.get("aud_24h_vol")),
        change_1h=optional(change, market.change_1h),
        change_24h=optional(change, market.change_24h),
        change_7d=optional(change, market.change_7d),
        high_24h=optional(price, market.high_24h or None),
        low_24h=optional(price, market.low_24h or None),
        received_at=received_at,
    )
