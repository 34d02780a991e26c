DROP VIEW IF EXISTS daily_ohlcv, bars_1h, bars_1m;
DROP FUNCTION IF EXISTS bar_1m_of_trades, bar_1h_of_minutes, day_of_candles;
