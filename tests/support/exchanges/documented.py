"""The documented messages of the seven exchanges with a test's own values, for tests of what holds for every exchange.

A value is given as JSON text without quotes; those of Kraken and Deribit are JSON numbers, the others are in quotes. The market is
that of `SYMBOLS`, its id is 1.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ingest import registry
from ingest.marketdata.rest import Rows
from ingest.protocol.exchange import ExchangeOptions
from ingest.protocol.http import Response
from ingest.protocol.session import ChannelName, Session, Subscription
from ingest.records import MINUTE, SECOND, Instrument

NOW = 1_790_000_000 * SECOND
SYMBOLS = {
    "binance": "BTCUSDT",
    "coinbase": "BTC-USD",
    "deribit": "BTC-PERPETUAL",
    "gate": "BTC_USDT",
    "kraken": "BTC/USD",
    "kucoin": "BTC-USDT",
    "okx": "BTC-USDT",
}
EXCHANGES = sorted(SYMBOLS)


def options(name: str, depth: int = 10) -> ExchangeOptions:
    kind = registry.exchanges()[name].TRADE_KINDS[0]
    return ExchangeOptions(ws_url="wss://test", rest_url="https://test", trade_kind=kind, book_depth=depth, writer="here")


def open_session(name: str, *channels: ChannelName, symbols: tuple[str, ...] = ()) -> Session:
    """A session that has subscribed to the channels."""
    exchange = registry.exchanges()[name]
    markets = [
        Instrument(name, symbol, symbol, "", "", "spot", "trading", "0.01", "0.00000001", id=number)
        for number, symbol in enumerate(symbols or (SYMBOLS[name],), 1)
    ]
    subscriptions = [Subscription(market, channel) for market in markets for channel in channels]
    session = exchange.session(exchange.connections(subscriptions, options(name))[0], options(name))
    list(session.start(NOW))
    if name == "kucoin":
        session.feed(b'{"id":"x","type":"welcome"}', NOW)
    return session


def text_time(time: int) -> str:
    moment = datetime(1970, 1, 1) + timedelta(microseconds=time)
    return f"{moment.isoformat(timespec='microseconds')}Z"


TRADES = {
    "binance": '{"stream":"btcusdt@trade","data":{"e":"trade","t":ID,"p":"PRICE","q":"SIZE","T":MS,"m":true}}',
    "coinbase": '{"type":"match","product_id":"BTC-USD","trade_id":ID,"price":"PRICE","size":"SIZE","side":"buy","time":"TEXT"}',
    "deribit": '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":['
    '{"trade_seq":ID,"trade_id":"ID","timestamp":MS,"price":PRICE,"amount":SIZE,"direction":"buy"}]}}',
    "gate": '{"channel":"spot.trades","event":"update","result":{"id":ID,"id_market":ID,"create_time_ms":"MS.0","side":"buy",'
    '"currency_pair":"BTC_USDT","amount":"SIZE","price":"PRICE"}}',
    "kraken": '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":PRICE,"qty":SIZE,'
    '"ord_type":"limit","trade_id":ID,"timestamp":"TEXT"}]}',
    "kucoin": '{"type":"message","topic":"/market/match:BTC-USDT","data":{"sequence":"ID","price":"PRICE","size":"SIZE",'
    '"side":"buy","time":"MS000000"}}',
    "okx": '{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":['
    '{"tradeId":"ID","px":"PRICE","sz":"SIZE","side":"buy","ts":"MS"}]}',
}
QUOTES = {  # bid and ask have the same size; Binance's has no time
    "binance": '{"stream":"btcusdt@bookTicker","data":{"u":9,"b":"PRICE","B":"SIZE","a":"70000","A":"SIZE"}}',
    "coinbase": '{"type":"ticker","sequence":9,"product_id":"BTC-USD","price":"PRICE","best_bid":"PRICE",'
    '"best_bid_size":"SIZE","best_ask":"70000","best_ask_size":"SIZE","time":"TEXT"}',
    "deribit": '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":'
    '{"timestamp":MS,"best_bid_price":PRICE,"best_bid_amount":SIZE,"best_ask_price":70000,"best_ask_amount":SIZE}}}',
    "gate": '{"channel":"spot.book_ticker","event":"update","result":{"t":MS,"u":9,"s":"BTC_USDT","b":"PRICE","B":"SIZE",'
    '"a":"70000","A":"SIZE"}}',
    "kraken": '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":PRICE,"bid_qty":SIZE,"ask":70000,'
    '"ask_qty":SIZE,"timestamp":"TEXT"}]}',
    "kucoin": '{"type":"message","topic":"/market/ticker:BTC-USDT","data":{"sequence":"9","time":MS,"bestBid":"PRICE",'
    '"bestBidSize":"SIZE","bestAsk":"70000","bestAskSize":"SIZE"}}',
    "okx": '{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":['
    '{"bidPx":"PRICE","bidSz":"SIZE","askPx":"70000","askSz":"SIZE","ts":"MS"}]}',
}
BARS = {  # closed, where the exchange says so; PRICE is the close
    "binance": '{"stream":"btcusdt@kline_1m","data":{"e":"kline","k":{"t":MS,"o":"62345","h":"62345","l":"62345","c":"PRICE",'
    '"v":"SIZE","q":"1","n":1,"V":"0","Q":"0","f":1,"L":1,"x":true}}}',
    "deribit": '{"jsonrpc":"2.0","method":"subscription","params":{"channel":"chart.trades.BTC-PERPETUAL.1","data":'
    '{"tick":MS,"open":62345,"high":62345,"low":62345,"close":PRICE,"volume":SIZE,"cost":1}}}',
    "gate": '{"channel":"spot.candlesticks","event":"update","result":{"t":"SECONDS","v":"1","c":"PRICE","h":"62345",'
    '"l":"62345","o":"62345","n":"1m_BTC_USDT","a":"SIZE","w":true}}',
    "kraken": '{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD","open":62345,"high":62345,"low":62345,'
    '"close":PRICE,"volume":SIZE,"trades":1,"interval_begin":"TEXT","interval":1}]}',
    "kucoin": '{"type":"message","topic":"/market/candles:BTC-USDT_1min","data":{"candles":['
    '"SECONDS","62345","PRICE","62345","62345","SIZE","1"]}}',
    "okx": '{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["MS","62345","62345","62345","PRICE","SIZE","1","1","1"]]}',
}


def message(form: str, **values: str | int) -> bytes:
    """A message in that form, with these values, and with a time in microseconds in each of its spellings."""
    time = int(values.pop("TIME"))
    values |= {"MS": time // 1000, "SECONDS": time // SECOND, "TEXT": text_time(time)}
    for word, value in values.items():
        form = form.replace(word, str(value))
    return form.encode()


def trade(name: str, price: str = "62345.1", size: str = "0.5", trade_id: str | int = 7, time: int = NOW) -> bytes:
    return message(TRADES[name], PRICE=price, SIZE=size, ID=trade_id, TIME=time)


def quote(name: str, bid: str = "62345.1", size: str = "0.5", time: int = NOW) -> bytes:
    return message(QUOTES[name], PRICE=bid, SIZE=size, TIME=time)


def bar(name: str, close: str = "62345.1", volume: str = "0.5", time: int = NOW // MINUTE * MINUTE) -> bytes:
    return message(BARS[name], PRICE=close, SIZE=volume, TIME=time)


LISTED = {  # one row of a listing, by exchange; `STEP` stands for the smallest price change
    "binance": '{"symbol":"NAME","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","filters":['
    '{"filterType":"PRICE_FILTER","tickSize":STEP},{"filterType":"LOT_SIZE","stepSize":"0.001"}]}',
    "coinbase": '{"id":"NAME","base_currency":"BTC","quote_currency":"USD","status":"online","quote_increment":STEP,'
    '"base_increment":"0.0001"}',
    "deribit": '{"instrument_name":"NAME","kind":"future","base_currency":"BTC","quote_currency":"USD","is_active":true,'
    '"state":"open","tick_size":STEP,"min_trade_amount":10,"expiration_timestamp":EXPIRY,"counter_currency":"USD",'
    '"settlement_currency":"BTC","settlement_period":"month","option_type":"","strike":0}',
    "gate": '{"id":"NAME","base":"BTC","quote":"USDT","precision":STEP,"amount_precision":4,"trade_status":"tradable"}',
    "kraken": '{"pair_decimals":2,"lot_decimals":8,"wsname":"NAME/USD","status":"online","tick_size":STEP}',
    "kucoin": '{"symbol":"NAME","name":"BTC-USDT","priceIncrement":STEP,"baseIncrement":"0.001","enableTrading":true}',
    "okx": '{"instId":"NAME","baseCcy":"BTC","quoteCcy":"USDT","state":"live","tickSz":STEP,"lotSz":"0.001"}',
}
STEPS = dict.fromkeys(EXCHANGES, '"0.1"') | {"deribit": "0.1", "gate": "1"}  # of a good row


def listed(name: str, symbol: str = "GOOD", step: str = "", expiry: str = "1798617600000") -> str:
    """One row of a listing; `step` is JSON."""
    row = LISTED[name].replace("STEP", step or STEPS[name]).replace("EXPIRY", expiry)
    return row.replace("NAME", symbol)


def listing(name: str, *rows: str) -> Rows[Instrument]:
    """What the exchange's module reads from a listing of these rows."""
    elements = ",".join(rows)
    bodies = {
        "binance": f'{{"symbols":[{elements}]}}',
        "deribit": f'{{"result":[{elements}]}}',
        "kraken": '{"error":[],"result":{' + ",".join(f'"{number}":{row}' for number, row in enumerate(rows)) + "}}",
        "kucoin": f'{{"code":"200000","data":[{elements}]}}',
        "okx": f'{{"code":"0","msg":"","data":[{elements}]}}',
    }
    flow = registry.exchanges()[name].listing(options(name))
    next(flow)
    try:
        flow.send(Response(200, bodies.get(name, f"[{elements}]").encode()))
    except StopIteration as end:
        read: Rows[Instrument] = end.value
        return read
    raise AssertionError(f"{name}: the listing asks for more")
