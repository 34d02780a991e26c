-- Catalysts are sought by category (`categories && ARRAY['regulation']`), in all that is kept.

CREATE INDEX IF NOT EXISTS news_categories_idx ON news USING gin (categories);
