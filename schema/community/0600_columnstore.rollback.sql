-- Compressed chunks are decompressed first: the option cannot be turned off while there are any.

CALL remove_columnstore_policy('trades', if_exists => true);
CALL remove_columnstore_policy('candles', if_exists => true);
CALL remove_columnstore_policy('quotes', if_exists => true);
CALL remove_columnstore_policy('order_books', if_exists => true);
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
    'trades', 'candles', 'quotes', 'order_books',
    'prices', 'whale_transactions', 'onchain_metrics', 'sentiment_posts', 'sentiment_scores', 'news', 'stock_indices', 'indicators'
]::regclass[]) AS table_name, show_chunks(table_name) AS chunk;
ALTER TABLE trades SET (timescaledb.enable_columnstore = false);
ALTER TABLE candles SET (timescaledb.enable_columnstore = false);
ALTER TABLE quotes SET (timescaledb.enable_columnstore = false);
ALTER TABLE order_books SET (timescaledb.enable_columnstore = false);
ALTER TABLE prices SET (timescaledb.enable_columnstore = false);
ALTER TABLE whale_transactions SET (timescaledb.enable_columnstore = false);
ALTER TABLE onchain_metrics SET (timescaledb.enable_columnstore = false);
ALTER TABLE sentiment_posts SET (timescaledb.enable_columnstore = false);
ALTER TABLE sentiment_scores SET (timescaledb.enable_columnstore = false);
ALTER TABLE news SET (timescaledb.enable_columnstore = false);
ALTER TABLE stock_indices SET (timescaledb.enable_columnstore = false);
ALTER TABLE indicators SET (timescaledb.enable_columnstore = false);
