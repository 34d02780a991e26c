ALTER TABLE coverage RESET (fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
DROP INDEX IF EXISTS coverage_claims;
DELETE FROM coverage WHERE state = 'covered';
ALTER TABLE coverage DROP COLUMN IF EXISTS tries, DROP COLUMN IF EXISTS next_try_at, DROP COLUMN IF EXISTS verdict;
