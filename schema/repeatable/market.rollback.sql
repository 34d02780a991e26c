DROP VIEW IF EXISTS market.prices, market.indicators, market.whale_transactions, market.onchain_metrics;
DROP VIEW IF EXISTS market.sentiment_posts, market.sentiment_scores, market.news, market.stock_indices;
DROP VIEW IF EXISTS market.gaps, market.daily_ohlcv, market.bars_1h, market.bars_1m;
DROP VIEW IF EXISTS market.order_books, market.quotes, market.candles, market.trades;
