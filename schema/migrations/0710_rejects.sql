-- Of a flood of rejects only a sample is stored: one row then stands for many. A row of stage `flag` was stored in its table although it
-- contradicts itself.

ALTER TABLE rejects ADD COLUMN IF NOT EXISTS rows int NOT NULL DEFAULT 1 CHECK (rows > 0);
ALTER TABLE rejects DROP CONSTRAINT IF EXISTS rejects_stage_check;
ALTER TABLE rejects ADD CONSTRAINT rejects_stage_check CHECK (stage IN ('decode', 'write', 'flag'));
COMMENT ON COLUMN rejects.rows IS 'the number of frames or rows for which this one stands';
COMMENT ON TABLE rejects IS 'frames that could not be decoded, rows that the database refused, and odd rows, with the reason';
