-- What is known to be there and what is known to be missing, by stretch of time: [since, until), until NULL while it goes on.

CREATE TABLE IF NOT EXISTS coverage (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text        NOT NULL,   -- an exchange or a poller
    instrument_id int,
    channel       text        NOT NULL,
    interval      text,
    trade_kind    text,
    writer        text        NOT NULL,
    state         text        NOT NULL CHECK (state IN ('covered', 'open', 'healed', 'unrecoverable')),
    reason        text        NOT NULL,
    since         timestamptz NOT NULL,
    until         timestamptz CHECK (until >= since),
    first_id      bigint,                 -- where the exchange's ids are dense: the first and the last of the stretch
    last_id       bigint,
    expected      bigint,                 -- rows that the stretch should hold, and holds
    stored        bigint,
    noted_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS coverage_stream ON coverage (instrument_id, channel, since);
CREATE INDEX IF NOT EXISTS coverage_open ON coverage (source, since) WHERE state = 'open';
