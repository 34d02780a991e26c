DROP TABLE IF EXISTS sentiment_posts;
