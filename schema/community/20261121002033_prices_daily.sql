-- Days of prices. `volume_usd` is what had been traded in 24 hours at the day's last price: a sum over its samples would mean nothing.
-- Only days that are over are read from it, so nothing is made live.

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
