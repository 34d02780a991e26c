DROP TABLE IF EXISTS daily_ohlcv_rollup;
DROP TABLE IF EXISTS bars_1h_rollup;
DROP TABLE IF EXISTS bars_1m_rollup;
