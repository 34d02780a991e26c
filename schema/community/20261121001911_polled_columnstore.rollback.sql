-- As in 20261121001200_columnstore.rollback.sql.

CALL remove_columnstore_policy('prices', if_exists => true);
CALL remove_columnstore_policy('whale_transactions', if_exists => true);
CALL remove_columnstore_policy('onchain_metrics', if_exists => true);
CALL remove_columnstore_policy('sentiment_posts', if_exists => true);
CALL remove_columnstore_policy('sentiment_scores', if_exists => true);
CALL remove_columnstore_policy('news', if_exists => true);
CALL remove_columnstore_policy('stock_indices', if_exists => true);
CALL remove_columnstore_policy('indicators', if_exists => true);
SELECT decompress_chunk(chunk, if_compressed => true)
FROM unnest(ARRAY[
    'prices', 'whale_transactions', 'onchain_metrics', 'sentiment_posts', 'sentiment_scores', 'news', 'stock_indices', 'indicators'
]::regclass[]) AS table_name, show_chunks(table_name) AS chunk;
ALTER TABLE prices SET (timescaledb.enable_columnstore = false);
ALTER TABLE whale_transactions SET (timescaledb.enable_columnstore = false);
ALTER TABLE onchain_metrics SET (timescaledb.enable_columnstore = false);
ALTER TABLE sentiment_posts SET (timescaledb.enable_columnstore = false);
ALTER TABLE sentiment_scores SET (timescaledb.enable_columnstore = false);
ALTER TABLE news SET (timescaledb.enable_columnstore = false);
ALTER TABLE stock_indices SET (timescaledb.enable_columnstore = false);
ALTER TABLE indicators SET (timescaledb.enable_columnstore = false);
