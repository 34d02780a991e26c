DROP VIEW IF EXISTS mastertrade.stock_indices, mastertrade.social_sentiment, mastertrade.onchain_metrics, mastertrade.whale_transactions, mastertrade.technical_indicators, mastertrade.market_data;
