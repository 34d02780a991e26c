DROP TRIGGER IF EXISTS keep_newest_candle ON candles;
DROP FUNCTION IF EXISTS keep_newest_candle, newest_candle, newest_since, set_newest_since;
DROP TABLE IF EXISTS newest_candles;
