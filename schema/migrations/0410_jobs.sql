-- A backfill that was killed continues with the chunks that are not done (job_chunks).

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
    symbol        text        NOT NULL DEFAULT '',   -- the coin of a provider's job; '' for an instrument, or if the provider has no coins
    CONSTRAINT jobs_stream_key UNIQUE (source, instrument_id, channel, trade_kind, via, symbol, since, until)
);
COMMENT ON TABLE jobs IS 'historical ranges that were requested as a backfill';
