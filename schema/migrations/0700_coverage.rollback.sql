DELETE FROM coverage WHERE state = 'unverifiable';
DROP INDEX IF EXISTS coverage_claims;
CREATE UNIQUE INDEX IF NOT EXISTS coverage_claims ON coverage (source, instrument_id, channel, writer, since) WHERE state = 'covered';
ALTER TABLE coverage DROP CONSTRAINT IF EXISTS coverage_state_check;
ALTER TABLE coverage ADD CONSTRAINT coverage_state_check CHECK (state IN ('covered', 'open', 'healed', 'unrecoverable'));
COMMENT ON TABLE coverage IS 'time ranges that are covered, and gaps with their reasons';
