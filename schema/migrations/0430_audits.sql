-- `judged` has whole minutes. A minute that is covered, settled and not in `judged` is due for the audit.

CREATE TABLE IF NOT EXISTS audits (
    source        text           NOT NULL,
    instrument_id int            NOT NULL,
    trade_kind    text           NOT NULL,   -- '' where only candles are compared
    reason        text           NOT NULL CHECK (reason IN ('ids', 'bucket', 'count', 'bars')),   -- the comparison
    judged        tstzmultirange NOT NULL,
    PRIMARY KEY (source, instrument_id, trade_kind, reason)
);
COMMENT ON TABLE audits IS 'time ranges that the audit has examined, per instrument and comparison';
