-- How chunks of what is polled are compressed; see 20261121001200_columnstore.sql.

ALTER TABLE prices SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'asset_id, source', timescaledb.orderby = 'time');
ALTER TABLE whale_transactions SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'blockchain', timescaledb.orderby = 'time, hash, token, index');
ALTER TABLE onchain_metrics SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'asset, metric, source', timescaledb.orderby = 'time');
ALTER TABLE sentiment_posts SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'platform', timescaledb.orderby = 'time, post_id, symbol');
ALTER TABLE sentiment_scores SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'symbol, platform, interval', timescaledb.orderby = 'time');
ALTER TABLE news SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'source', timescaledb.orderby = 'time, id');
ALTER TABLE stock_indices SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'index_name, source', timescaledb.orderby = 'time');
ALTER TABLE indicators SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id, interval, name', timescaledb.orderby = 'time');
