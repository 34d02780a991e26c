-- `time` is a whole minute; changes are percent.

CREATE TABLE IF NOT EXISTS prices (
    asset_id       int NOT NULL,
    source         text NOT NULL,
    time           timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    price_usd      numeric NOT NULL CHECK (price_usd > 0 AND price_usd < 1e18),
    price_aud      numeric CHECK (price_aud > 0 AND price_aud < 1e18),
    market_cap_usd numeric CHECK (market_cap_usd >= 0 AND market_cap_usd < 1e30),
    market_cap_aud numeric CHECK (market_cap_aud >= 0 AND market_cap_aud < 1e30),
    volume_24h_usd numeric CHECK (volume_24h_usd >= 0 AND volume_24h_usd < 1e30),
    volume_24h_aud numeric CHECK (volume_24h_aud >= 0 AND volume_24h_aud < 1e30),
    change_1h      numeric CHECK (change_1h >= -100 AND change_1h < 1e12),
    change_24h     numeric CHECK (change_24h >= -100 AND change_24h < 1e12),
    change_7d      numeric CHECK (change_7d >= -100 AND change_7d < 1e12),
    high_24h       numeric CHECK (high_24h > 0 AND high_24h < 1e18),
    low_24h        numeric CHECK (low_24h > 0 AND low_24h < 1e18),
    received_at    timestamptz NOT NULL,
    PRIMARY KEY (asset_id, source, time)
);
SELECT create_hypertable('prices', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE prices IS 'prices of coins across all exchanges, in USD and AUD';
