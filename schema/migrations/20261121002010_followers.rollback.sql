ALTER TABLE sentiment_posts DROP COLUMN IF EXISTS followers;
