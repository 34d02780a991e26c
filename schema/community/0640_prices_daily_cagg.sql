-- `volume_usd` is the 24-hour volume at the last price of the day: a sum over the samples would mean nothing.
-- Only past days are read from it, so it has no real-time part.

CREATE MATERIALIZED VIEW IF NOT EXISTS prices_daily_cagg WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
SELECT
    asset_id,
    source,
    time_bucket('1 day', time) AS time,
    first(price_usd, time) AS open,
    max(price_usd) AS high,
    min(price_usd) AS low,
    last(price_usd, time) AS close,
    avg(price_usd) AS avg_price,
    last(volume_24h_usd, time) FILTER (WHERE volume_24h_usd IS NOT NULL) AS volume_usd
FROM prices
GROUP BY 1, 2, 3
WITH NO DATA;
COMMENT ON VIEW prices_daily_cagg IS 'daily prices of coins';
