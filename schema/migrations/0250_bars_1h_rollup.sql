-- The daemon fills this table on the Apache edition. Queries read the view bars_1h (../bars).

CREATE TABLE IF NOT EXISTS bars_1h_rollup (
    instrument_id  int         NOT NULL,
    time           timestamptz NOT NULL,
    open           numeric     NOT NULL,
    high           numeric     NOT NULL,
    low            numeric     NOT NULL,
    close          numeric     NOT NULL,
    volume         numeric     NOT NULL,
    quote_volume   numeric     NOT NULL,
    trades_count   bigint      NOT NULL,
    buy_volume     numeric     NOT NULL,
    first_trade_id bigint      NOT NULL,
    last_trade_id  bigint      NOT NULL,
    PRIMARY KEY (instrument_id, time)
);
SELECT create_hypertable('bars_1h_rollup', by_range('time', interval '70 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE bars_1h_rollup IS '1h bars made from 1m bars, where there are no continuous aggregates';
