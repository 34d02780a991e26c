-- The daemon fills this table on the Apache edition, with days that are over. Queries read the view prices_daily (../bars).

CREATE TABLE IF NOT EXISTS prices_daily_rollup (
    asset_id   int         NOT NULL,
    source     text        NOT NULL,
    time       timestamptz NOT NULL,
    open       numeric     NOT NULL,
    high       numeric     NOT NULL,
    low        numeric     NOT NULL,
    close      numeric     NOT NULL,
    avg_price  numeric     NOT NULL,
    volume_usd numeric,
    PRIMARY KEY (asset_id, source, time)
);
SELECT create_hypertable('prices_daily_rollup', by_range('time', interval '364 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE prices_daily_rollup IS 'daily prices of coins, where there are no continuous aggregates';
