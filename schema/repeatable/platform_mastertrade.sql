-- The platform MasterTrade. Its TIMESTAMP columns are timestamptz. No view applies an expression to a time: that disables chunk exclusion.

-- A union of the candles before newest_since() and those after it (newest_candles). The hypertable comes first: only then TimescaleDB
-- recognises `timestamp > now() - ...` as a condition on a hypertable and adds a constant at plan time. With that constant and newest_since()
-- the planner excludes one of the two parts. Before TimescaleDB 2.27 a union hides the hypertable from it: the chunks are excluded only when
-- the query starts. The list of intervals lets the planner compute an expression that depends only on the interval once.
CREATE VIEW mastertrade.market_data AS
SELECT candle_id(c.instrument_id, i.code, c.time) AS id,
       p.symbol,
       c.time AS timestamp,
       i.interval,
       decimal_20_8(c.open)::numeric(20, 8) AS open,
       decimal_20_8(c.high)::numeric(20, 8) AS high,
       decimal_20_8(c.low)::numeric(20, 8) AS low,
       decimal_20_8(c.close)::numeric(20, 8) AS close,
       decimal_20_8(c.volume)::numeric(20, 8) AS volume,
       decimal_20_8(c.quote_volume)::numeric(20, 8) AS quote_volume,
       c.trades_count,
       c.received_at AS created_at
FROM platform_instruments p
CROSS JOIN (VALUES ('1m'::varchar(10), 1), ('5m'::varchar(10), 2), ('15m'::varchar(10), 3),
                   ('1h'::varchar(10), 4), ('4h'::varchar(10), 5), ('1d'::varchar(10), 6)) i (interval, code)
JOIN candles c ON c.instrument_id = p.instrument_id AND c.interval = i.interval AND c.interval = ANY ('{1m,5m,15m,1h,4h,1d}')
WHERE p.platform = 'mastertrade' AND c.time < newest_since()
UNION ALL
SELECT n.id, p.symbol, n.time AS timestamp, n.interval,
       n.open, n.high, n.low, n.close, n.volume, n.quote_volume, n.trades_count, n.received_at AS created_at
FROM platform_instruments p
JOIN newest_candles n ON n.instrument_id = p.instrument_id
WHERE p.platform = 'mastertrade' AND n.time >= newest_since();
COMMENT ON VIEW mastertrade.market_data IS 'candles of all intervals';

CREATE VIEW mastertrade.technical_indicators AS
SELECT platform_id(p.symbol, micros(n.time), n.interval, n.name) AS id,
       p.symbol,
       n.time AS timestamp,
       n.interval::varchar(10) AS interval,
       n.name::varchar(50) AS indicator_name,
       signed_20_8(n.value)::numeric(20, 8) AS value,
       n.metadata,
       n.received_at AS created_at
FROM platform_instruments p
JOIN indicators n ON n.instrument_id = p.instrument_id
WHERE p.platform = 'mastertrade';
COMMENT ON VIEW mastertrade.technical_indicators IS 'technical indicators of closed candles';

-- Columns that queries filter or sort by have the platform's types in the table: a cast here would hide them from the indexes.
CREATE VIEW mastertrade.whale_transactions AS
SELECT platform_id(w.blockchain, w.hash) AS id,
       w.hash::varchar(100) AS transaction_hash,
       w.blockchain::varchar(20) AS blockchain,
       w.token AS token_symbol,
       w.from_address::varchar(100) AS from_address,
       w.to_address::varchar(100) AS to_address,
       w.from_label::varchar(100) AS from_label,
       w.to_label::varchar(100) AS to_label,
       signed_30_8(w.amount_token)::numeric(30, 8) AS amount_token,
       w.amount_usd,
       w.time AS timestamp,
       w.alert_level::varchar(10) AS alert_level,
       w.received_at AS created_at
FROM whale_totals w;
COMMENT ON VIEW mastertrade.whale_transactions IS 'large transfers, one row per transaction hash';

-- Where several sources have a value of the same metric and time, the view shows the first in this list, else the first by name.
CREATE VIEW mastertrade.onchain_metrics AS
SELECT platform_id(m.asset, m.metric, micros(m.time)) AS id,
       m.asset::varchar(20) AS symbol,
       m.metric::varchar(50) AS metric_name,
       signed_30_8(m.value)::numeric(30, 8) AS value,
       m.time AS timestamp,
       m.source::varchar(50) AS source,
       m.received_at AS created_at
FROM onchain_metrics m
WHERE NOT EXISTS (
    SELECT FROM onchain_metrics o
     WHERE o.asset = m.asset AND o.metric = m.metric AND o.time = m.time
       AND (coalesce(array_position(ARRAY['glassnode', 'coinmetrics', 'blockchain_com', 'mempool_space'], o.source), 9), o.source)
         < (coalesce(array_position(ARRAY['glassnode', 'coinmetrics', 'blockchain_com', 'mempool_space'], m.source), 9), m.source));
COMMENT ON VIEW mastertrade.onchain_metrics IS 'metrics of blockchains, one row per metric and time';

-- A post that mentions two symbols has two rows; post_id contains the symbol to keep it unique.
CREATE VIEW mastertrade.social_sentiment AS
SELECT platform_id(s.platform, s.post_id, s.symbol) AS id,
       s.symbol::varchar(20) AS symbol,
       s.platform::varchar(20) AS platform,
       (s.post_id || ':' || s.symbol)::varchar(100) AS post_id,
       s.text AS post_text,
       s.score::numeric(5, 4) AS sentiment_score,
       s.label::varchar(20) AS sentiment_label,
       s.author::varchar(100) AS author,
       s.time AS timestamp,
       s.engagement AS engagement_score,
       s.received_at AS created_at
FROM sentiment_posts s;
COMMENT ON VIEW mastertrade.social_sentiment IS 'social posts with sentiment, one row per post and symbol';

-- Where several sources have a day, the view shows the first in this list; sources with only the close come last.
CREATE VIEW mastertrade.stock_indices AS
SELECT platform_id(x.index_name, micros(x.time)) AS id,
       x.index_name::varchar(20) AS index_name,
       x.time AS timestamp,
       signed_12_2(x.open)::numeric(12, 2) AS open,
       signed_12_2(x.high)::numeric(12, 2) AS high,
       signed_12_2(x.low)::numeric(12, 2) AS low,
       signed_12_2(x.close)::numeric(12, 2) AS close,
       whole_number(x.volume) AS volume,
       x.received_at AS created_at
FROM stock_indices x
WHERE NOT EXISTS (
    SELECT FROM stock_indices o
     WHERE o.index_name = x.index_name AND o.time = x.time
       AND (coalesce(array_position(ARRAY['cboe', 'yahoo', 'stooq', 'alphavantage', 'fred'], o.source), 4), o.source)
         < (coalesce(array_position(ARRAY['cboe', 'yahoo', 'stooq', 'alphavantage', 'fred'], x.source), 4), x.source));
COMMENT ON VIEW mastertrade.stock_indices IS 'one row per index and trading day';

SELECT refuse_writes('mastertrade');
