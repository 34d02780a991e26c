-- A sum of which a part is unknown is NULL, because the sum of the other parts would be too small.

CREATE MATERIALIZED VIEW IF NOT EXISTS daily_ohlcv_cagg WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS
SELECT
    instrument_id,
    time_bucket('1 day', time) AS time,
    first(open, time) AS open,
    max(high) AS high,
    min(low) AS low,
    last(close, time) AS close,
    sum(volume) AS volume,
    CASE WHEN count(quote_volume) = count(*) THEN sum(quote_volume) END AS quote_volume,
    CASE WHEN count(trades_count) = count(*) THEN sum(trades_count) END AS trades_count
FROM candles
WHERE interval = '1m'
GROUP BY 1, 2
WITH NO DATA;
COMMENT ON VIEW daily_ohlcv_cagg IS 'daily bars made from 1m candles';
