-- A row with the state 'unverifiable' is a claim too: its writer has committed every row that it received in the range. Nothing shows
-- that the exchange sent every row: no id, no sequence, no heartbeat of that subscription. 'covered' says that there is such evidence.

ALTER TABLE coverage DROP CONSTRAINT IF EXISTS coverage_state_check;
ALTER TABLE coverage ADD CONSTRAINT coverage_state_check
    CHECK (state IN ('covered', 'unverifiable', 'open', 'healed', 'unrecoverable'));
DROP INDEX IF EXISTS coverage_claims;
CREATE UNIQUE INDEX IF NOT EXISTS coverage_claims ON coverage (source, instrument_id, channel, writer, since, state)
    WHERE state IN ('covered', 'unverifiable');
COMMENT ON TABLE coverage IS 'time ranges that are covered or unverifiable, and gaps with their reasons';
