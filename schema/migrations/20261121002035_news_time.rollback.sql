DROP INDEX IF EXISTS news_time_idx;
