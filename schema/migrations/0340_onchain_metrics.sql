CREATE TABLE IF NOT EXISTS onchain_metrics (
    asset       text NOT NULL,
    metric      text NOT NULL,
    source      text NOT NULL,
    time        timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    value       numeric NOT NULL CHECK (value > -1e36 AND value < 1e36),   -- in the unit of the source
    received_at timestamptz NOT NULL,
    PRIMARY KEY (asset, metric, source, time)
);
SELECT create_hypertable('onchain_metrics', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE onchain_metrics IS 'metrics of blockchains, in the units of their sources';
