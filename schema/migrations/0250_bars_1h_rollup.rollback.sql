DROP TABLE IF EXISTS bars_1h_rollup;
