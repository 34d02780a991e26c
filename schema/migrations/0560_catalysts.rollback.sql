DROP TRIGGER IF EXISTS keep_catalysts ON news;
DROP FUNCTION IF EXISTS keep_catalysts, catalysts_of;
DROP TABLE IF EXISTS catalysts;
