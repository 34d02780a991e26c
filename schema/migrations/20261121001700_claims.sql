-- Claims (state 'covered') stand beside the holes: one for each stream, writer and stretch of watching, whose `until` moves on as the
-- rows are committed. Holes get what a healer must remember: its verdict, how often it tried, and when it may try again.

ALTER TABLE coverage
    ADD COLUMN IF NOT EXISTS tries       int         NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS next_try_at timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN IF NOT EXISTS verdict     text;

UPDATE coverage SET interval = '1m' WHERE channel = 'candles' AND interval IS NULL;

CREATE UNIQUE INDEX IF NOT EXISTS coverage_claims ON coverage (source, instrument_id, channel, writer, since) WHERE state = 'covered';

-- A claim is updated each second: with room in its page and no index on what changes, that touches no index.
ALTER TABLE coverage SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
