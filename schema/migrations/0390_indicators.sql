-- `time` is the open of the candle.

CREATE TABLE IF NOT EXISTS indicators (
    instrument_id int NOT NULL,
    interval      text NOT NULL CHECK (interval IN ('1m', '5m', '15m', '1h', '4h', '1d')),
    name          text NOT NULL,
    time          timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    value         numeric NOT NULL CHECK (value > -1e36 AND value < 1e36),
    metadata      jsonb,
    received_at   timestamptz NOT NULL,
    PRIMARY KEY (instrument_id, interval, name, time)
);
SELECT create_hypertable('indicators', by_range('time', interval '1 day'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE indicators IS 'technical indicators of closed candles';
