-- The views bars_1m, bars_1h, daily_ohlcv and prices_daily on the Community edition, created after the continuous aggregates are filled. They
-- also show the rows of the roll-up tables whose source is past retention, which cannot be computed again. The other rows are deleted.

DELETE FROM bars_1m_rollup WHERE time >= (
    SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = 'trades'
);
DELETE FROM bars_1h_rollup WHERE time >= (
    SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = 'trades'
);
DELETE FROM daily_ohlcv_rollup WHERE time >= (
    SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = 'candles'
);
DELETE FROM prices_daily_rollup WHERE time >= (
    SELECT min(range_start) FROM timescaledb_information.chunks WHERE hypertable_name = 'prices'
);
DELETE FROM rollup_dirty WHERE target IN ('bars_1m', 'bars_1h', 'daily_ohlcv');

CREATE OR REPLACE VIEW bars_1m AS SELECT * FROM bars_1m_cagg UNION ALL SELECT * FROM bars_1m_rollup;
CREATE OR REPLACE VIEW bars_1h AS SELECT * FROM bars_1h_cagg UNION ALL SELECT * FROM bars_1h_rollup;
CREATE OR REPLACE VIEW daily_ohlcv AS SELECT * FROM daily_ohlcv_cagg UNION ALL SELECT * FROM daily_ohlcv_rollup;
CREATE OR REPLACE VIEW prices_daily AS SELECT * FROM prices_daily_cagg UNION ALL SELECT * FROM prices_daily_rollup;
-- The comment on bars_1m is not set here: `ingest migrate` stores in it which of the two files created the views.
COMMENT ON VIEW bars_1h IS '1h bars made from 1m bars';
COMMENT ON VIEW daily_ohlcv IS 'daily bars made from 1m candles';
COMMENT ON VIEW prices_daily IS 'daily prices of coins';

DROP FUNCTION IF EXISTS bar_1m_of_trades, bar_1h_of_minutes, day_of_candles, roll_up_prices;
