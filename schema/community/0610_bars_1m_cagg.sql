-- Trades of the same time are ordered by their id. Both are passed as bytes, because first() and last() fail on a composite value as soon
-- as they are aggregated in parts. `materialized_only` is explicit because its default differs between versions.

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
COMMENT ON VIEW bars_1m_cagg IS '1m bars made from trades';
