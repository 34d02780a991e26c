-- A provider's past is asked for coin by coin: whoever adds a coin asks for its past alone.

ALTER TABLE jobs ADD COLUMN IF NOT EXISTS symbol text NOT NULL DEFAULT '';   -- '' where it is an instrument's, or not of one coin
ALTER TABLE jobs
    DROP CONSTRAINT IF EXISTS jobs_source_instrument_id_channel_trade_kind_via_since_unti_key,
    DROP CONSTRAINT IF EXISTS jobs_stream_key;
ALTER TABLE jobs ADD CONSTRAINT jobs_stream_key UNIQUE (source, instrument_id, channel, trade_kind, via, symbol, since, until);
