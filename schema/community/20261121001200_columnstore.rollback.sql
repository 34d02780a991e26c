-- Chunks that are compressed are first made rows again: the option cannot be taken from a table that has any.

CALL remove_columnstore_policy('trades', if_exists => true);
CALL remove_columnstore_policy('candles', if_exists => true);
CALL remove_columnstore_policy('quotes', if_exists => true);
CALL remove_columnstore_policy('order_books', if_exists => true);
SELECT decompress_chunk(chunk, if_compressed => true)
FROM unnest(ARRAY['trades', 'candles', 'quotes', 'order_books']::regclass[]) AS table_name, show_chunks(table_name) AS chunk;
ALTER TABLE trades SET (timescaledb.enable_columnstore = false);
ALTER TABLE candles SET (timescaledb.enable_columnstore = false);
ALTER TABLE quotes SET (timescaledb.enable_columnstore = false);
ALTER TABLE order_books SET (timescaledb.enable_columnstore = false);
