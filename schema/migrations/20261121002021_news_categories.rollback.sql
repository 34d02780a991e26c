DROP INDEX IF EXISTS news_categories_idx;
