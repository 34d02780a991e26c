-- The statements of volume.py, by section; {since} and {until} are the bounds of a time range.

--- functions
-- Functions and tables that the other sections use. The price of a symbol is its level, changed by waves of a week, a day, hours and
-- minutes, and by noise. `step` is the number of decimals of a price, `lot` that of a size.
CREATE TABLE bench_symbols AS
SELECT n AS id, CASE n WHEN 1 THEN 'BTC' WHEN 2 THEN 'ETH' WHEN 3 THEN 'SOL' ELSE 'C' || n END AS base,
       CASE n WHEN 1 THEN 60000 WHEN 2 THEN 3000 ELSE power(10, 2.5 - n * 7.0 / {symbols}) END::float8 AS level,
       least(8, CASE n WHEN 1 THEN 2 WHEN 2 THEN 2 ELSE greatest(0, 4 - floor(2.5 - n * 7.0 / {symbols})) END)::int AS step,
       CASE WHEN n <= 2 THEN 5 ELSE greatest(0, least(2, floor(2.5 - n * 7.0 / {symbols}) + 1)) END::int AS lot,
       (2e6 / n)::float8 AS turnover
FROM generate_series(1, {symbols}) n;
ANALYZE bench_symbols;
CREATE FUNCTION bench_noise(place int, moment bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
$$ SELECT (hashint8extended(moment, place) & 16777215) / 16777216.0::float8 $$;
CREATE FUNCTION bench_price(n int, level float8, m bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
$$ SELECT level * exp(0.08 * sin(m / 9700.0 + n) + 0.02 * sin(m / 1310.0 + 2 * n) + 0.005 * sin(m / 173.0 + 3 * n)
                      + 0.0012 * sin(m / 23.0 + 5 * n) + 0.0008 * bench_noise(n, m)) $$;
CREATE FUNCTION bench_minute(at timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT (date_part('epoch', at) / 60)::bigint $$;
CREATE FUNCTION bench_text(place int, moment bigint, words int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg((ARRAY['bitcoin','price','to','the','moon','ether','sold','all','of','my','bags','today','market','is','looking',
        'weak','strong','rally','again','after','news','about','etf','inflows','whales','are','moving','coins','support','resistance','at',
        'level','broke','out','chart','volume','low','liquidity','hodl','never','selling','fees','mining','hash','rate','record','high',
        'dump','incoming','buy','dip','macro','fed','rates','week','watch','this','space','not','advice'])
        [1 + (bench_noise(place * 31 + w, moment) * 59)::int] || CASE WHEN w % 9 = 0 THEN ' ' || (moment * w % 9973)::text ELSE '' END, ' ')
      FROM generate_series(1, words) w $$;
INSERT INTO instruments (id, exchange, symbol, instrument, base, quote, kind, status)
SELECT id, 'binance', base || 'USDT', base || '/USDT', base, 'USDT', 'spot', 'trading' FROM bench_symbols
UNION ALL SELECT id + {symbols}, 'kraken', base || '/USDT', base || '/USDT', base, 'USDT', 'spot', 'trading' FROM bench_symbols;
INSERT INTO assets (symbol, coingecko_id, name) SELECT base, lower(base), base FROM bench_symbols ORDER BY id;
CREATE TABLE bench_indicators AS SELECT n, (ARRAY['SMA_20','SMA_50','SMA_200','EMA_12','EMA_26','RSI_14','MACD','BBANDS_20','ATR_14','ADX_14',
    'STOCH','CCI_20','MFI_14','OBV','VWAP','WILLR_14','ROC_10','MOM_10','TRIX_30','NATR_14'])[n] AS name FROM generate_series(1, {indicators}) n;
CREATE TABLE bench_size AS SELECT {symbols} AS symbols, {chain_assets} AS chain_assets, {post_symbols} AS post_symbols, {posts} AS posts,
    {whales} AS whales, {articles} AS articles, {fills} AS fills;

--- candles
INSERT INTO candles
SELECT s.id, '1m', t, o, greatest(o, c) + wick_up, least(o, c) - least(wick_down, least(o, c) / 2), c, v, round(v * c, least(8, s.step + s.lot)),
       n, tv, round(tv * c, least(8, s.step + s.lot)), first_id, first_id + n - 1, 1, 'ws',
       t + interval '1 minute' + bench_noise(4, m * 131 + s.id) * interval '300 ms'
FROM generate_series({since}, {until} - interval '1 minute', interval '1 minute') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN bench_symbols s
CROSS JOIN LATERAL (
    SELECT round(bench_price(s.id, s.level, m)::numeric, s.step) AS o, round(bench_price(s.id, s.level, m + 1)::numeric, s.step) AS c,
           round((s.level * 0.0006 * bench_noise(s.id + 1000, m))::numeric, s.step) AS wick_up,
           round((s.level * 0.0006 * bench_noise(s.id + 2000, m))::numeric, s.step) AS wick_down,
           round((s.turnover / s.level * exp(3 * (bench_noise(s.id + 3000, m) + bench_noise(s.id + 4000, m) - 1)))::numeric, s.lot)
             + round(power(10::numeric, -s.lot), s.lot) AS v,
           (5 + 600 / sqrt(s.id) * bench_noise(s.id + 5000, m))::int AS n,
           m * 620 - (bench_noise(s.id + 6000, m) * 300)::bigint AS first_id
    OFFSET 0) bar
CROSS JOIN LATERAL (SELECT round(v * (0.3 + 0.4 * bench_noise(s.id + 7000, m))::numeric, s.lot) AS tv OFFSET 0) taken

--- rolled_up
-- Candles of longer intervals, with the values that the daemon would compute. A bucket that has not ended is left out.
INSERT INTO candles
SELECT instrument_id, '{target}', time_bucket('{length}', time) AS bucket, first(open, time), max(high), min(low), last(close, time), sum(volume),
       sum(quote_volume), sum(trades_count)::int, sum(taker_buy_volume), sum(taker_buy_quote_volume), first(first_trade_id, time),
       last(last_trade_id, time), sum(parts)::int, 'ws', max(received_at)
FROM candles
WHERE interval = '{part}' AND time >= time_bucket('{length}', {since} + interval '{length}' - interval '1 minute') AND time < time_bucket('{length}', {until})
GROUP BY 1, 3 ORDER BY 3, 1

--- indicators
-- Twelve significant digits, as in the daemon.
INSERT INTO indicators
SELECT s.id, '1m', i.name, t, round(x::numeric, 11 - floor(log(abs(x)))::int), NULL, t + interval '61 seconds' + m % 997 * interval '1 ms'
FROM generate_series({since}, {until} - interval '1 minute', interval '1 minute') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN bench_symbols s
CROSS JOIN bench_indicators i
CROSS JOIN LATERAL (SELECT bench_price(s.id + i.n, CASE WHEN i.n < 6 THEN s.level ELSE 50 END, m) AS x OFFSET 0) made

--- trades
INSERT INTO trades
SELECT s.id, date_trunc('milliseconds', t), m, round(bench_price(s.id, s.level, m / 173)::numeric, s.step),
       round((s.turnover / s.level / 170 * exp(4 * (bench_noise(s.id, m) - 1)))::numeric, s.lot) + round(power(10::numeric, -s.lot), s.lot),
       CASE WHEN bench_noise(7, m) < 0.5 THEN 'buy' ELSE 'sell' END, t + bench_noise(8, m) * interval '80 ms', NULL
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '1 day' / fills) t
CROSS JOIN LATERAL (SELECT (date_part('epoch', t) * 173 / 60)::bigint AS m OFFSET 0) at
JOIN bench_symbols s ON s.id = 1 + floor(symbols * power(bench_noise(9, m), 2))::int
ON CONFLICT DO NOTHING

--- books
INSERT INTO order_books
SELECT s.id, date_trunc('second', t), '', side.bids, side.sizes, side.asks, side.sizes, m, t + interval '70 ms'
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '10 days' / fills) t
CROSS JOIN LATERAL (SELECT (date_part('epoch', t) * 10)::bigint AS m OFFSET 0) at
JOIN bench_symbols s ON s.id = 1 + m % symbols
CROSS JOIN LATERAL (
    SELECT array_agg(round((p * (1 - 0.0001 * l))::numeric, s.step)) AS bids, array_agg(round((p * (1 + 0.0001 * l))::numeric, s.step)) AS asks,
           array_agg(round((s.turnover / s.level / 50 * bench_noise(l, m))::numeric, s.lot) + round(power(10::numeric, -s.lot), s.lot)) AS sizes
      FROM (SELECT bench_price(s.id, s.level, m / 600) AS p) at_price, generate_series(1, 20) l) side
ON CONFLICT DO NOTHING

--- quotes
INSERT INTO quotes
SELECT s.id, date_trunc('second', t), '', round(p::numeric, s.step), round((s.turnover / s.level / 50 * bench_noise(1, m))::numeric, s.lot),
       round((p * 1.0001)::numeric, s.step), round((s.turnover / s.level / 50 * bench_noise(2, m))::numeric, s.lot), m, t + interval '70 ms'
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '10 days' / fills) t
CROSS JOIN LATERAL (SELECT (date_part('epoch', t) * 10)::bigint AS m OFFSET 0) at
JOIN bench_symbols s ON s.id = 1 + m % symbols
CROSS JOIN LATERAL (SELECT bench_price(s.id, s.level, m / 600) AS p OFFSET 0) made
ON CONFLICT DO NOTHING

--- prices
INSERT INTO prices
SELECT a.id, 'coingecko', t, p, round(p * 1.53, s.step), round(p * 19e6), round(p * 29e6), round(traded), round(traded * 1.53),
       round((bench_noise(1, m + a.id) - 0.5)::numeric, 5), round((6 * bench_noise(2, m / 12 + a.id) - 3)::numeric, 5),
       round((20 * bench_noise(3, m / 12 + a.id) - 10)::numeric, 5), round(p * 1.02, s.step), round(p * 0.98, s.step), t + interval '9 seconds'
FROM generate_series(time_bucket('5 minutes', {since} + interval '4 minutes'), {until} - interval '1 minute', interval '5 minutes') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN assets a JOIN bench_symbols s ON s.base = a.symbol
CROSS JOIN LATERAL (SELECT round(bench_price(s.id, s.level, m)::numeric, s.step) AS p,
                           (s.turnover * 1440 * (1 + 0.1 * sin(m / 900.0)))::numeric AS traded OFFSET 0) made

--- onchain
INSERT INTO onchain_metrics
SELECT s.base, 'metric_' || n, 'blockchain_com', t, round((bench_price(n, 1e5, m + s.id))::numeric, n % 4), t + interval '40 seconds'
FROM generate_series(time_bucket('5 minutes', {since} + interval '4 minutes'), {until} - interval '1 minute', interval '5 minutes') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN bench_size JOIN bench_symbols s ON s.id <= chain_assets
CROSS JOIN generate_series(1, 20) n

--- posts
INSERT INTO sentiment_posts (platform, post_id, symbol, time, text, author, score, label, engagement, received_at)
SELECT CASE WHEN k % 3 = 0 THEN 'reddit' ELSE 'mastodon' END, (115000000000000000 + m * 1000 + s.id)::text, s.base, t, bench_text(s.id, m, 18),
       'user' || k % 4999, round((2 * bench_noise(1, m) - 1)::numeric, 4), CASE WHEN k % 2 = 0 THEN 'positive' ELSE 'neutral' END,
       (20 * bench_noise(2, m))::int, t + interval '5 minutes'
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '1 day' / posts) t
CROSS JOIN LATERAL (SELECT m, (1e6 * bench_noise(11, m))::int AS k FROM (SELECT date_part('epoch', t)::bigint AS m) s OFFSET 0) at
JOIN bench_symbols s ON s.id <= post_symbols
ON CONFLICT DO NOTHING

--- scores
INSERT INTO sentiment_scores
SELECT s.base, 'all', '1h', t, round((50 + 40 * sin(m / 700.0 + s.id) + bench_noise(1, m + s.id))::numeric, 2), 'positive', (20 + m % 7)::int,
       round((100 * x)::numeric, 2), round((60 * (1 - x))::numeric, 2), round((40 * (1 - x))::numeric, 2), (m % 3)::int, t + interval '61 minutes'
FROM generate_series(date_trunc('hour', {since} + interval '59 minutes'), {until} - interval '1 minute', interval '1 hour') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN bench_symbols s
CROSS JOIN LATERAL (SELECT bench_noise(s.id, m) AS x OFFSET 0) made

--- whales
INSERT INTO whale_transactions
SELECT CASE WHEN s.id = 1 THEN 'bitcoin' ELSE 'ethereum' END, encode(sha256(int8send(m)), 'hex'), s.base, n, t,
       '0x' || left(encode(sha256(int8send(k % 2999)), 'hex'), 40), CASE WHEN k % 5 = 0 THEN 'binance_exchange' END,
       '0x' || left(encode(sha256(int8send(k % 4999 + n)), 'hex'), 40), CASE WHEN k % 7 = 0 THEN 'coinbase_exchange' END,
       round((usd / s.level)::numeric, 8), round(usd::numeric, 2),
       CASE WHEN usd >= 1e8 THEN 'critical' WHEN usd >= 5e7 THEN 'high' WHEN usd >= 1e7 THEN 'medium' ELSE 'low' END,
       900000 + m / 600, encode(sha256(int8send(m / 600)), 'hex'), 'mempool_space', t + interval '3 minutes'
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '1 day' / whales) t
CROSS JOIN LATERAL (SELECT m, (1e6 * bench_noise(11, m))::int AS k FROM (SELECT date_part('epoch', t)::bigint AS m) s OFFSET 0) at
JOIN bench_symbols s ON s.id = 1 + floor(least(symbols, 20) * power(bench_noise(9, m), 2))::int
CROSS JOIN generate_series(0, CASE WHEN k % 4 = 0 THEN 2 ELSE 0 END) n
CROSS JOIN LATERAL (SELECT 1e6 * exp(5 * power(bench_noise(8, m + n), 3)) AS usd OFFSET 0) made

--- whale_totals
INSERT INTO whale_totals
SELECT DISTINCT ON (blockchain, hash) blockchain, hash, token, time, from_address, from_label, to_address, to_label,
       sum(amount_token) OVER w, sum(amount_usd) OVER w, alert_level, received_at
  FROM whale_transactions WINDOW w AS (PARTITION BY blockchain, hash) ORDER BY blockchain, hash, amount_usd DESC

--- news
INSERT INTO news
SELECT (ARRAY['coindesk','cointelegraph','decrypt','theblock'])[1 + k % 4], md5(m::text), t, bench_text(1, m, 9), bench_text(2, m, 40),
       'https://example.org/news/' || md5(m::text), 'Author ' || k % 97, 'https://example.org/image/' || md5((m + 1)::text),
       CASE WHEN x < 0.4 THEN ARRAY['BTC'] WHEN x < 0.6 THEN ARRAY['BTC', 'ETH']
            ELSE ARRAY(SELECT base FROM bench_symbols WHERE id = 1 + floor(symbols * power(bench_noise(5, m), 2))::int) END,
       CASE WHEN n % 20 = 0 THEN ARRAY['regulation', 'policy'] ELSE ARRAY['markets', 'topic' || k % 40] END,
       round((2 * bench_noise(6, m) - 1)::numeric, 4), round(bench_noise(7, m)::numeric, 2),
       CASE WHEN n = 20 THEN 'critical' ELSE (ARRAY['low','medium','high','critical'])[1 + floor(4 * power(bench_noise(8, m), 2))::int] END, t + interval '4 minutes'
FROM bench_size CROSS JOIN LATERAL generate_series({since}, {until} - interval '1 second', interval '1 day' / articles) WITH ORDINALITY AS one(t, n)
CROSS JOIN LATERAL (SELECT m, (1e6 * bench_noise(11, m))::int AS k FROM (SELECT date_part('epoch', t)::bigint AS m) s OFFSET 0) at
CROSS JOIN LATERAL (SELECT bench_noise(4, m) AS x OFFSET 0) made

--- indices
INSERT INTO stock_indices
SELECT name, 'yahoo', t, p, p + 9, p - 9, p + 1, 3000000000 + m % 100000 * 1000, t + interval '22 hours'
FROM generate_series(date_trunc('day', {since} + interval '1 day'), {until}, interval '1 day') t
CROSS JOIN LATERAL (SELECT bench_minute(t) AS m OFFSET 0) at
CROSS JOIN unnest(ARRAY['SPX', 'NASDAQ', 'VIX']) name
CROSS JOIN LATERAL (SELECT round(bench_price(length(name), 5000, m)::numeric, 2) AS p OFFSET 0) made
ON CONFLICT DO NOTHING

--- newest_candles
INSERT INTO newest_candles
SELECT n.* FROM candles c, newest_candle(c) n WHERE c.time >= newest_since() ORDER BY c.time, c.instrument_id

--- catalysts
INSERT INTO catalysts SELECT c.* FROM news n CROSS JOIN LATERAL catalysts_of(n) c ORDER BY n.time

--- compress
-- The statements that compress the chunks which the policy of a table would compress.
SELECT format('SELECT compress_chunk(%L)', format('%I.%I', chunk_schema, chunk_name)) FROM timescaledb_information.chunks
 WHERE hypertable_name = $1 AND range_end < now() - $2::interval AND NOT is_compressed ORDER BY range_start
