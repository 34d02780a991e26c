-- A backfill that was killed continues at the chunk where it was (job_chunks).

CREATE TABLE IF NOT EXISTS jobs (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text        NOT NULL,   -- an exchange or a poller
    instrument_id int         NOT NULL,   -- 0 for a provider
    channel       text        NOT NULL,
    trade_kind    text        NOT NULL,   -- '' where the channel has none
    via           text        NOT NULL,   -- rest, archive
    since         timestamptz NOT NULL,
    until         timestamptz NOT NULL CHECK (until > since),
    created_at    timestamptz NOT NULL DEFAULT now(),
    symbol        text        NOT NULL DEFAULT '',   -- the coin of a provider's job; '' for an instrument, or for no single coin
    CONSTRAINT jobs_stream_key UNIQUE (source, instrument_id, channel, trade_kind, via, symbol, since, until)
);
COMMENT ON TABLE jobs IS 'historical ranges that a backfill was asked for';
