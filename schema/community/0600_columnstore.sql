-- How the chunks of each hypertable are compressed. The setting `compress_after` is the age at which they are.
-- segmentby and orderby cover the primary key, so that the conflict check of a late row skips batches by minimum and maximum instead of
-- decompressing them.

ALTER TABLE trades SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, trade_id');
ALTER TABLE candles SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id, interval', timescaledb.orderby = 'time');
ALTER TABLE quotes SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, writer');
ALTER TABLE order_books SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, writer');
ALTER TABLE prices SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'asset_id, source', timescaledb.orderby = 'time');
ALTER TABLE whale_transactions SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'blockchain', timescaledb.orderby = 'time, hash, token, index');
ALTER TABLE onchain_metrics SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'asset, metric, source', timescaledb.orderby = 'time');
ALTER TABLE sentiment_posts SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'platform', timescaledb.orderby = 'time, post_id, symbol');
ALTER TABLE sentiment_scores SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'symbol, platform, interval', timescaledb.orderby = 'time');
ALTER TABLE news SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'source', timescaledb.orderby = 'time, id');
ALTER TABLE stock_indices SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'index_name, source', timescaledb.orderby = 'time');
ALTER TABLE indicators SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id, interval, name', timescaledb.orderby = 'time');
