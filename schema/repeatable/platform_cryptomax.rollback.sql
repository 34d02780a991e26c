DROP VIEW IF EXISTS cryptomax.crypto_news_feed, cryptomax.market_data_history, cryptomax.market_data_cache;
