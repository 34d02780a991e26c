DROP TABLE IF EXISTS sentiment_scores;
