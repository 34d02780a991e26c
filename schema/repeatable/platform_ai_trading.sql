-- The platform AI Trading. No view applies an expression to a time: that disables chunk exclusion.

-- A union of older and newest candles: see platform_mastertrade.sql.
CREATE VIEW ai_trading.market_data AS
SELECT candle_id(c.instrument_id, i.code, c.time) AS id,
       p.symbol,
       c.time AS timestamp,
       i.interval AS timeframe,
       decimal_20_8(c.open)::numeric(20, 8) AS open,
       decimal_20_8(c.high)::numeric(20, 8) AS high,
       decimal_20_8(c.low)::numeric(20, 8) AS low,
       decimal_20_8(c.close)::numeric(20, 8) AS close,
       decimal_20_8(c.volume)::numeric(20, 8) AS volume,
       decimal_20_8(c.quote_volume)::numeric(20, 8) AS quote_volume,
       c.trades_count,
       decimal_20_8(c.taker_buy_volume)::numeric(20, 8) AS taker_buy_volume,
       decimal_20_8(c.taker_buy_quote_volume)::numeric(20, 8) AS taker_buy_quote_volume,
       c.received_at AS created_at
FROM platform_instruments p
CROSS JOIN (VALUES ('1m'::varchar(10), 1), ('5m'::varchar(10), 2), ('15m'::varchar(10), 3),
                   ('1h'::varchar(10), 4), ('4h'::varchar(10), 5), ('1d'::varchar(10), 6)) i (interval, code)
JOIN candles c ON c.instrument_id = p.instrument_id AND c.interval = i.interval AND c.interval = ANY ('{1m,5m,15m,1h,4h,1d}')
WHERE p.platform = 'ai_trading' AND c.time < newest_since()
UNION ALL
SELECT n.id, p.symbol, n.time AS timestamp, n.interval AS timeframe,
       n.open, n.high, n.low, n.close, n.volume, n.quote_volume, n.trades_count, n.taker_buy_volume, n.taker_buy_quote_volume,
       n.received_at AS created_at
FROM platform_instruments p
JOIN newest_candles n ON n.instrument_id = p.instrument_id
WHERE p.platform = 'ai_trading' AND n.time >= newest_since();
COMMENT ON VIEW ai_trading.market_data IS 'candles of all intervals';

-- Where an exchange gives no event time, each writer stores its own row: the view shows the row of the first writer by name.
CREATE VIEW ai_trading.order_book_snapshots AS
SELECT platform_id(p.symbol, micros(b.time)) AS id,
       p.symbol,
       b.time AS timestamp,
       coalesce((SELECT jsonb_agg(jsonb_build_array(l.price::text, l.size::text) ORDER BY l.place)
                   FROM unnest(b.bid_prices, b.bid_sizes) WITH ORDINALITY l (price, size, place)), '[]') AS bids,
       coalesce((SELECT jsonb_agg(jsonb_build_array(l.price::text, l.size::text) ORDER BY l.place)
                   FROM unnest(b.ask_prices, b.ask_sizes) WITH ORDINALITY l (price, size, place)), '[]') AS asks,
       b.sequence AS last_update_id
FROM platform_instruments p
JOIN order_books b ON b.instrument_id = p.instrument_id
WHERE p.platform = 'ai_trading'
  AND (b.writer = '' OR NOT EXISTS (
      SELECT FROM order_books o WHERE o.instrument_id = b.instrument_id AND o.time = b.time AND o.writer < b.writer));
COMMENT ON VIEW ai_trading.order_book_snapshots IS 'order books with bids and asks as JSON arrays of [price, size], best level first';

CREATE VIEW ai_trading.trades AS
SELECT platform_id(p.symbol, micros(t.time), t.trade_id::text) AS id,
       p.symbol,
       t.time AS timestamp,
       t.trade_id,
       decimal_20_8(t.price)::numeric(20, 8) AS price,
       decimal_20_8(t.size)::numeric(20, 8) AS quantity,
       decimal_20_8(t.price * t.size)::numeric(20, 8) AS quote_quantity,
       t.side = 'sell' AS is_buyer_maker
FROM platform_instruments p
JOIN trades t ON t.instrument_id = p.instrument_id
WHERE p.platform = 'ai_trading';
COMMENT ON VIEW ai_trading.trades IS 'trades';

CREATE VIEW ai_trading.technical_indicators AS
SELECT platform_id(p.symbol, micros(n.time), n.interval, n.name) AS id,
       p.symbol,
       n.interval::varchar(10) AS timeframe,
       n.time AS timestamp,
       n.name::varchar(50) AS indicator_name,
       signed_20_8(n.value)::numeric(20, 8) AS value,
       n.metadata AS additional_values
FROM platform_instruments p
JOIN indicators n ON n.instrument_id = p.instrument_id
WHERE p.platform = 'ai_trading';
COMMENT ON VIEW ai_trading.technical_indicators IS 'technical indicators of closed candles';

-- A past day is its 1d candle. Today, and yesterday until its candle exists, is computed from the 15m candles and the 1m candles after them:
-- a hundred rows per symbol, at most a minute behind. The condition `now() - interval '3 days'` is redundant, but lets the planner exclude
-- all older chunks. A day is `interval '24 hours'`, because `interval '1 day'` depends on the time zone of the session.
CREATE VIEW ai_trading.daily_ohlcv AS
SELECT p.symbol, c.time AS date, c.open, c.high, c.low, c.close, c.volume
FROM platform_instruments p
JOIN candles c ON c.instrument_id = p.instrument_id AND c.interval = '1d'
WHERE p.platform = 'ai_trading'
UNION ALL
SELECT p.symbol, d.date, coalesce(q.open, m.open), greatest(q.high, m.high), least(q.low, m.low), coalesce(m.close, q.close),
       coalesce(q.volume, 0) + coalesce(m.volume, 0)
FROM platform_instruments p
CROSS JOIN (VALUES (date_trunc('day', now(), 'UTC')), (date_trunc('day', now() - interval '24 hours', 'UTC'))) d (date)
CROSS JOIN LATERAL (
      SELECT first(c.open, c.time) AS open, max(c.high) AS high, min(c.low) AS low, last(c.close, c.time) AS close, sum(c.volume) AS volume,
             coalesce(max(c.time) + interval '15 minutes', d.date) AS until
        FROM candles c
       WHERE c.instrument_id = p.instrument_id AND c.interval = '15m' AND c.time > now() - interval '3 days'
         AND c.time >= d.date AND c.time < d.date + interval '24 hours') q
CROSS JOIN LATERAL (
      SELECT first(c.open, c.time) AS open, max(c.high) AS high, min(c.low) AS low, last(c.close, c.time) AS close, sum(c.volume) AS volume
        FROM candles c
       WHERE c.instrument_id = p.instrument_id AND c.interval = '1m' AND c.time > now() - interval '3 days'
         AND c.time >= q.until AND c.time < d.date + interval '24 hours') m
WHERE p.platform = 'ai_trading' AND coalesce(q.open, m.open) IS NOT NULL
  AND (SELECT c.time FROM candles c
        WHERE c.instrument_id = p.instrument_id AND c.interval = '1d' AND c.time > now() - interval '3 days' AND c.time = d.date) IS NULL;
COMMENT ON VIEW ai_trading.daily_ohlcv IS 'one row per symbol and day (UTC), today included';

SELECT refuse_writes('ai_trading');
