DROP TABLE IF EXISTS sentiment_dirty;
