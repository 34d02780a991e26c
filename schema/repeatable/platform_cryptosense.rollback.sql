DROP VIEW IF EXISTS cryptosense.social_sentiment_history, cryptosense.price_history_daily, cryptosense.price_history;
