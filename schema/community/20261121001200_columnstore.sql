-- How chunks are compressed; when, is a setting. Segment and order cover the primary key, so that a late row's
-- conflict check skips by minimum and maximum instead of decompressing.

ALTER TABLE trades SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, trade_id');
ALTER TABLE candles SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id, interval', timescaledb.orderby = 'time');
ALTER TABLE quotes SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, writer');
ALTER TABLE order_books SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'instrument_id', timescaledb.orderby = 'time, writer');
