-- Back to recent_candles, as 20261121002034_recent_candles.sql makes it.

DROP VIEW IF EXISTS ai_trading.market_data, mastertrade.market_data;
DROP TRIGGER IF EXISTS keep_newest_candle ON candles;
DROP FUNCTION IF EXISTS keep_newest_candle, newest_candle, newest_since, set_newest_since;
DROP TABLE IF EXISTS newest_candles;

CREATE TABLE IF NOT EXISTS recent_candles (
    instrument_id          int           NOT NULL,
    time                   timestamptz   NOT NULL,
    interval               varchar(10)   NOT NULL,
    id                     bigint        NOT NULL,
    open                   numeric(20,8),   -- NULL, here and below, where the number is too large for the type
    high                   numeric(20,8),
    low                    numeric(20,8),
    close                  numeric(20,8),
    volume                 numeric(20,8),
    quote_volume           numeric(20,8),
    trades_count           int,
    taker_buy_volume       numeric(20,8),
    taker_buy_quote_volume numeric(20,8),
    received_at            timestamptz   NOT NULL,
    PRIMARY KEY (instrument_id, time, interval) INCLUDE (
        id, open, high, low, close, volume, quote_volume, trades_count, taker_buy_volume, taker_buy_quote_volume, received_at)
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,  -- an index answers alone for what is vacuumed
        autovacuum_vacuum_scale_factor = 0.02);

CREATE OR REPLACE FUNCTION recent_candle(candle candles) RETURNS recent_candles LANGUAGE sql IMMUTABLE AS $$
    SELECT candle.instrument_id, candle.time, candle.interval::varchar(10),
           candle_id(candle.instrument_id, array_position(ARRAY['1m', '5m', '15m', '1h', '4h', '1d'], candle.interval), candle.time),
           decimal_20_8(candle.open)::numeric(20, 8), decimal_20_8(candle.high)::numeric(20, 8),
           decimal_20_8(candle.low)::numeric(20, 8), decimal_20_8(candle.close)::numeric(20, 8),
           decimal_20_8(candle.volume)::numeric(20, 8), decimal_20_8(candle.quote_volume)::numeric(20, 8), candle.trades_count,
           decimal_20_8(candle.taker_buy_volume)::numeric(20, 8), decimal_20_8(candle.taker_buy_quote_volume)::numeric(20, 8),
           candle.received_at
$$;

-- Runs as the owner: who writes candles writes nothing else. Who writes the same candle waits at `candles` already.
CREATE OR REPLACE FUNCTION keep_recent_candle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    one recent_candles := recent_candle(NEW);  -- `SELECT (recent_candle(NEW)).*` would make it anew for each column: 80 times as slow
BEGIN
    INSERT INTO recent_candles AS t VALUES (one.*)
    ON CONFLICT (instrument_id, time, interval) DO UPDATE
       SET (open, high, low, close, volume, quote_volume, trades_count, taker_buy_volume, taker_buy_quote_volume, received_at)
         = (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume, EXCLUDED.quote_volume, EXCLUDED.trades_count,
            EXCLUDED.taker_buy_volume, EXCLUDED.taker_buy_quote_volume, EXCLUDED.received_at);
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER keep_recent_candle AFTER INSERT OR UPDATE ON candles
    FOR EACH ROW WHEN (NEW.time > now() - interval '8 days') EXECUTE FUNCTION keep_recent_candle();

INSERT INTO recent_candles
SELECT r.* FROM candles c, recent_candle(c) r WHERE c.time > now() - interval '8 days'
ON CONFLICT DO NOTHING;
