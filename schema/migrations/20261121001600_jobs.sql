-- Historical ranges that were asked for, and how far each is: a backfill that is killed goes on at the chunk where it was.

CREATE TABLE IF NOT EXISTS jobs (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source        text        NOT NULL,   -- an exchange or a poller
    instrument_id int         NOT NULL,
    channel       text        NOT NULL,
    trade_kind    text        NOT NULL,   -- '' where the channel has none
    via           text        NOT NULL,   -- rest, archive
    since         timestamptz NOT NULL,
    until         timestamptz NOT NULL CHECK (until > since),
    created_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (source, instrument_id, channel, trade_kind, via, since, until)
);
CREATE TABLE IF NOT EXISTS job_chunks (
    job_id      bigint      NOT NULL REFERENCES jobs ON DELETE CASCADE,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    state       text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'failed')),
    written     bigint      NOT NULL DEFAULT 0,
    revised     bigint      NOT NULL DEFAULT 0,
    duplicate   bigint      NOT NULL DEFAULT 0,
    rejected    bigint      NOT NULL DEFAULT 0,
    verdict     text,                     -- why it failed, or what the exchange did not have
    finished_at timestamptz,
    PRIMARY KEY (job_id, since)
);
