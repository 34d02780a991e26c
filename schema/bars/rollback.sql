DROP VIEW IF EXISTS prices_daily, daily_ohlcv, bars_1h, bars_1m;
DROP FUNCTION IF EXISTS roll_up_prices, bar_1m_of_trades, bar_1h_of_minutes, day_of_candles;
