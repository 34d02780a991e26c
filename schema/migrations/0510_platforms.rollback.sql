DROP FUNCTION IF EXISTS refuse_writes, refuse_write, micros, candle_id, platform_uuid, platform_id, whole_number;
DROP FUNCTION IF EXISTS signed_10_2, signed_10_4, signed_12_2, signed_20_2, signed_30_8, signed_20_8, decimal_20_8;
DROP SCHEMA IF EXISTS mastertrade, cryptosense, cryptomax, catalyst, ai_trading;
