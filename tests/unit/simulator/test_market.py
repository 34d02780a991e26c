"""The simulated market is consistent: trades, bars, books and diffs agree."""

from __future__ import annotations

import msgspec

from ingest.simulator import wire
from ingest.simulator.listener import Command
from ingest.simulator.market import MINUTE_MS, SPECS, UNIT, Bar, Deal, Market
from ingest.simulator.oracle import Oracle, OracleTrade

BTC = SPECS[0]
T0 = 1_672_515_780_000  # a full minute


def test_past_trades_are_reproduced_exactly() -> None:
    market = Market(BTC, seed=7, now=T0)
    happened = [market.trade(T0 + 37 * number) for number in range(5000)]
    assert list(market.deals()) == happened
    assert list(market.deals(1_000_101, 1_000_103)) == happened[100:103]
    assert list(market.deals(1_005_000)) == happened[-1:]
    assert [deal.id for deal in happened] == list(range(1_000_001, 1_005_001))


def test_a_market_is_determined_by_its_seed() -> None:
    first, same, other = (Market(BTC, seed=seed, now=T0).deal(1_000_001, T0) for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_prices_and_sizes_stay_plausible() -> None:
    for spec in SPECS:
        deals = [Market(spec, seed=1, now=T0).deal(number, T0) for number in range(1, 200_000, 997)]
        assert all(abs(deal.price - spec.price) < spec.price // 500 and deal.price % spec.price_step == 0 for deal in deals)
        assert all(0 < deal.size <= 2 * spec.size and deal.size % spec.size_step == 0 for deal in deals)
        assert {deal.maker for deal in deals} == {True, False}


def test_minutes_close_in_order_and_empty_minutes_have_the_last_price() -> None:
    market = Market(BTC, seed=1, now=T0)
    deals = [market.trade(T0 + number) for number in range(100)]
    assert market.close_bars(T0 + MINUTE_MS - 1) == []
    closed = market.close_bars(T0 + 3 * MINUTE_MS)
    worth = [deal.price * deal.size // UNIT for deal in deals]
    taker = [index for index, deal in enumerate(deals) if not deal.maker]
    prices = [deal.price for deal in deals]
    assert closed[0] == Bar(
        T0,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        first=deals[0].id,
        last=deals[-1].id,
        volume=sum(deal.size for deal in deals),
        quote_volume=sum(worth),
        taker_volume=sum(deals[index].size for index in taker),
        taker_quote_volume=sum(worth[index] for index in taker),
    )
    last = prices[-1]
    assert closed[1:] == [Bar(T0 + MINUTE_MS, last, last, last, last), Bar(T0 + 2 * MINUTE_MS, last, last, last, last)]
    assert market.bar.time == T0 + 3 * MINUTE_MS


def test_diffs_are_consecutive_and_add_up_to_the_book() -> None:
    market = Market(BTC, seed=3, now=T0)
    market.diff()
    start = market.last_update
    bids, asks = market.book()
    known = {start: (dict(bids), dict(asks))}
    after = start
    for number in range(300):
        market.trade(T0 + number)
        market.move_book()
        if number % 3:
            continue
        diff = market.diff()
        assert diff is not None
        assert diff.first == after + 1
        after = diff.last
        for side, changes in ((bids, diff.bids), (asks, diff.asks)):
            side.update(changes)
            for price in [price for price, size in side.items() if size == 0]:
                del side[price]
        assert max(bids) < min(asks)
        known[after] = (dict(bids), dict(asks))
    for update, sides in known.items():
        assert market.book(update) == sides


def test_events_are_spelled_as_documented() -> None:
    """The shapes of binance-spot-api-docs/web-socket-streams.md, with the same names and order of fields."""
    deal = Deal(12345, 1672515782136, 100_000, 100 * UNIT, maker=True)
    assert wire.trade("BNBBTC", deal) == (
        b'{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.00100000","q":"100.00000000","T":1672515782136,"m":true,"M":true}'
    )
    assert wire.agg_trade("BNBBTC", deal) == (
        b'{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12345,"p":"0.00100000","q":"100.00000000","f":12345,"l":12345,'
        b'"T":1672515782136,"m":true,"M":true}'
    )
    bar = Bar(1672515780000, 100_000, 250_000, 150_000, 200_000, 100, 199, 1000 * UNIT, UNIT, 500 * UNIT, UNIT // 2)
    assert wire.kline("BNBBTC", bar, 1672515782136, closed=False) == (
        b'{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,'
        b'"L":199,"o":"0.00100000","c":"0.00200000","h":"0.00250000","l":"0.00150000","v":"1000.00000000","n":100,"x":false,'
        b'"q":"1.00000000","V":"500.00000000","Q":"0.50000000","B":"0"}}'
    )
    assert wire.book_ticker("BNBUSDT", 400900217, (2535190000, 3121000000, 2536520000, 4066000000)) == (
        b'{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}'
    )


def test_frames_of_every_length_have_the_right_header() -> None:
    """RFC 6455, 5.2: 7, 7+16 or 7+64 bits of length."""
    assert wire.text_frame(b"a" * 125)[:2] == bytes((0x81, 125))
    assert wire.text_frame(b"a" * 126)[:4] == bytes((0x81, 126, 0, 126))
    assert wire.text_frame(b"a" * 65536)[:10] == bytes((0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0))


def test_the_oracle_has_the_values_of_the_wire() -> None:
    market = Market(BTC, seed=1, now=T0)
    deal = market.trade(T0 + 5)
    oracle = Oracle({"BTCUSDT": market})
    event = msgspec.json.decode(wire.trade("BTCUSDT", deal))
    side = "sell" if event["m"] else "buy"
    assert list(oracle.trades("BTCUSDT")) == [OracleTrade(event["t"], event["T"], event["p"], event["q"], side)]
    assert msgspec.json.decode(b'{"method":"SUBSCRIBE","params":["a"],"id":1}', type=Command) == Command("SUBSCRIBE", ["a"], 1)
