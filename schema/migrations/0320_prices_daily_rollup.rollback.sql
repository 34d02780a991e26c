DROP TABLE IF EXISTS prices_daily_rollup;
