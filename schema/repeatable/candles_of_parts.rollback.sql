DROP FUNCTION IF EXISTS candle_of_parts;
DROP FUNCTION IF EXISTS candles_of_parts;
