-- What the audit has judged, by stream and comparison, in whole minutes. What is covered, settled and not in here is judged next.

CREATE TABLE IF NOT EXISTS audits (
    source        text           NOT NULL,
    instrument_id int            NOT NULL,
    trade_kind    text           NOT NULL,   -- '' where only candles are looked at
    reason        text           NOT NULL CHECK (reason IN ('ids', 'bucket', 'count', 'bars')),
    judged        tstzmultirange NOT NULL,
    PRIMARY KEY (source, instrument_id, trade_kind, reason)
);
