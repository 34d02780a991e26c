DROP TABLE IF EXISTS daily_ohlcv_rollup;
