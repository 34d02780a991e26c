-- The newest candles once more, in the platforms' types, instead of recent_candles: a week of one market, which MasterTrade wants in 5 ms,
-- is 13,000 rows. Two things are otherwise:
--   Which candles are the newest is said by `newest_since()`, whose body is a constant. The planner puts it into the views, so that a query
--   of the last days leaves out the hypertable while it is planned, however many chunks that has, and one of the past leaves out
--   this table; to replace the function plans anew whatever had the old constant. The daemon moves it once a day, and removes what is
--   older after that (ingest/store/platforms.py).
--   The index has no column that MasterTrade does not show: two more cost its query a tenth. Who asks for those reads the table. In its
--   key stands `id`, a number that says the interval too, and before all text: what stands at a fixed place is found sooner.

DROP VIEW IF EXISTS ai_trading.market_data, mastertrade.market_data;  -- made again by ../repeatable

CREATE OR REPLACE FUNCTION set_newest_since(since timestamptz) RETURNS void LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE OR REPLACE FUNCTION newest_since() RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS %L',
                   format('SELECT %L::timestamptz', to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"+00"')));
END
$$;
SELECT set_newest_since(date_trunc('day', now() - interval '7 days 4 hours', 'UTC'));

CREATE TABLE IF NOT EXISTS newest_candles (
    instrument_id          int           NOT NULL,
    time                   timestamptz   NOT NULL,
    id                     bigint        NOT NULL,
    received_at            timestamptz   NOT NULL,
    trades_count           int,
    interval               varchar(10)   NOT NULL,
    open                   numeric(20,8),   -- NULL, here and below, where the number is too large for the type
    high                   numeric(20,8),
    low                    numeric(20,8),
    close                  numeric(20,8),
    volume                 numeric(20,8),
    quote_volume           numeric(20,8),
    taker_buy_volume       numeric(20,8),
    taker_buy_quote_volume numeric(20,8),
    PRIMARY KEY (instrument_id, time, id) INCLUDE (received_at, trades_count, interval, open, high, low, close, volume, quote_volume)
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,  -- an index answers alone for what is vacuumed
        autovacuum_vacuum_scale_factor = 0.02);

CREATE OR REPLACE FUNCTION newest_candle(candle candles) RETURNS newest_candles LANGUAGE sql IMMUTABLE AS $$
    SELECT candle.instrument_id, candle.time,
           candle_id(candle.instrument_id, array_position(ARRAY['1m', '5m', '15m', '1h', '4h', '1d'], candle.interval), candle.time),
           candle.received_at, candle.trades_count, candle.interval::varchar(10),
           decimal_20_8(candle.open)::numeric(20, 8), decimal_20_8(candle.high)::numeric(20, 8),
           decimal_20_8(candle.low)::numeric(20, 8), decimal_20_8(candle.close)::numeric(20, 8),
           decimal_20_8(candle.volume)::numeric(20, 8), decimal_20_8(candle.quote_volume)::numeric(20, 8),
           decimal_20_8(candle.taker_buy_volume)::numeric(20, 8), decimal_20_8(candle.taker_buy_quote_volume)::numeric(20, 8)
$$;

-- Runs as the owner: who writes candles writes nothing else. Who writes the same candle waits at `candles` already.
CREATE OR REPLACE FUNCTION keep_newest_candle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    one newest_candles := newest_candle(NEW);  -- `SELECT (newest_candle(NEW)).*` would make it anew for each column: 80 times as slow
BEGIN
    INSERT INTO newest_candles AS t VALUES (one.*)
    ON CONFLICT (instrument_id, time, id) DO UPDATE
       SET (received_at, trades_count, open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume)
         = (EXCLUDED.received_at, EXCLUDED.trades_count, EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume,
            EXCLUDED.quote_volume, EXCLUDED.taker_buy_volume, EXCLUDED.taker_buy_quote_volume);
    RETURN NULL;
END
$$;

-- Writers wait from here on; what recent_candles has need not be made again.
DROP TRIGGER IF EXISTS keep_recent_candle ON candles;
INSERT INTO newest_candles
SELECT instrument_id, time, id, received_at, trades_count, interval, open, high, low, close, volume, quote_volume, taker_buy_volume,
       taker_buy_quote_volume
  FROM recent_candles WHERE time >= newest_since()
ON CONFLICT DO NOTHING;
INSERT INTO newest_candles
SELECT n.* FROM candles c, newest_candle(c) n WHERE c.time >= newest_since() AND c.time < now() - interval '7 days 23 hours'
ON CONFLICT DO NOTHING;
CREATE OR REPLACE TRIGGER keep_newest_candle AFTER INSERT OR UPDATE ON candles
    FOR EACH ROW WHEN (NEW.time >= newest_since()) EXECUTE FUNCTION keep_newest_candle();

DROP FUNCTION IF EXISTS keep_recent_candle, recent_candle;
DROP TABLE IF EXISTS recent_candles;
