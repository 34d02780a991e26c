ALTER TABLE native_ids ADD COLUMN IF NOT EXISTS same_as text[];  -- so that it can run twice
DELETE FROM native_ids WHERE same_as IS NOT NULL;
ALTER TABLE native_ids DROP COLUMN same_as;
