DELETE FROM jobs WHERE instrument_id = 0;   -- of providers
ALTER TABLE jobs
    DROP CONSTRAINT IF EXISTS jobs_stream_key,
    DROP CONSTRAINT IF EXISTS jobs_source_instrument_id_channel_trade_kind_via_since_unti_key;
ALTER TABLE jobs DROP COLUMN IF EXISTS symbol;
ALTER TABLE jobs ADD UNIQUE (source, instrument_id, channel, trade_kind, via, since, until);
