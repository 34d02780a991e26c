-- Bars made from trades. Trades of one instant are put in order by their id: both numbers as bytes, because first() and last() fail
-- on a row of two as soon as they are aggregated in parts. The hours are made from the minutes: 0.13 s instead of 0.8 s for two
-- million trades. `materialized_only` is stated, because its default has changed between versions.

CREATE MATERIALIZED VIEW IF NOT EXISTS bars_1m_cagg WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    instrument_id,
    time_bucket('1 minute', time) AS time,
    first(price, timestamptz_send(time) || int8send(trade_id)) AS open,
    max(price) AS high,
    min(price) AS low,
    last(price, timestamptz_send(time) || int8send(trade_id)) AS close,
    sum(size) AS volume,
    sum(price * size) AS quote_volume,
    count(*) AS trades_count,
    sum(CASE side WHEN 'buy' THEN size ELSE 0 END) AS buy_volume,
    first(trade_id, timestamptz_send(time) || int8send(trade_id)) AS first_trade_id,
    last(trade_id, timestamptz_send(time) || int8send(trade_id)) AS last_trade_id
FROM trades
GROUP BY 1, 2
WITH NO DATA;

CREATE MATERIALIZED VIEW IF NOT EXISTS bars_1h_cagg WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    instrument_id,
    time_bucket('1 hour', time) AS time,
    first(open, time) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, time) AS close,
    sum(volume) AS volume,
    sum(quote_volume) AS quote_volume,
    sum(trades_count)::bigint AS trades_count,
    sum(buy_volume) AS buy_volume,
    first(first_trade_id, time) AS first_trade_id,
    last(last_trade_id, time) AS last_trade_id
FROM bars_1m_cagg
GROUP BY 1, 2
WITH NO DATA;
