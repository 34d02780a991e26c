DROP VIEW IF EXISTS catalyst.news_catalysts;
DROP TRIGGER IF EXISTS keep_catalysts ON news;
DROP FUNCTION IF EXISTS keep_catalysts, catalysts_of;
DROP TABLE IF EXISTS catalysts;
CREATE INDEX IF NOT EXISTS news_categories_idx ON news USING gin (categories);
