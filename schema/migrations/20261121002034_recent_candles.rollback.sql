DROP TRIGGER IF EXISTS keep_recent_candle ON candles;
DROP FUNCTION IF EXISTS keep_recent_candle, recent_candle;
DROP TABLE IF EXISTS recent_candles;
