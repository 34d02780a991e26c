DROP VIEW IF EXISTS ai_trading.daily_ohlcv, ai_trading.technical_indicators, ai_trading.trades, ai_trading.order_book_snapshots, ai_trading.market_data;
