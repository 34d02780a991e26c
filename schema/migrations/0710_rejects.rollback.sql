DELETE FROM rejects WHERE stage = 'flag';
ALTER TABLE rejects DROP CONSTRAINT IF EXISTS rejects_stage_check;
ALTER TABLE rejects ADD CONSTRAINT rejects_stage_check CHECK (stage IN ('decode', 'write'));
ALTER TABLE rejects DROP COLUMN IF EXISTS rows;
COMMENT ON TABLE rejects IS 'frames that could not be decoded and rows that the database refused, with the reason';
