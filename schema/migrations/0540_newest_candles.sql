-- The newest candles in the types of the platforms. MasterTrade requires a week of one market, 13,000 rows, in 5 ms. A query of `candles`
-- takes four times as long: half of that to read rows that lie a minute apart on disk, half to cast 78,000 numbers. Here both are done once,
-- when a candle is stored, and the index alone answers the query.
-- The body of newest_since() is a constant, which the planner inlines into the views. So a query of the last days excludes the hypertable
-- at plan time, however many chunks it has, and a query of the past excludes this table. Replacing the function invalidates cached plans.
-- The daemon moves the constant once a day and deletes the rows before it (ingest/store/platforms.py).
-- The index has only columns that MasterTrade shows: two more columns make its query a tenth slower. Other queries read the table. The key
-- has `id`, which contains the interval, in place of the interval's text, and fixed-width columns come first: PostgreSQL finds them faster.

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
) WITH (autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,  -- index-only scans need vacuumed pages
        autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE newest_candles IS 'candles of the last days in the types of the platforms';

CREATE OR REPLACE FUNCTION newest_candle(candle candles) RETURNS newest_candles LANGUAGE sql IMMUTABLE AS $$
    SELECT candle.instrument_id, candle.time,
           candle_id(candle.instrument_id, array_position(ARRAY['1m', '5m', '15m', '1h', '4h', '1d'], candle.interval), candle.time),
           candle.received_at, candle.trades_count, candle.interval::varchar(10),
           decimal_20_8(candle.open)::numeric(20, 8), decimal_20_8(candle.high)::numeric(20, 8),
           decimal_20_8(candle.low)::numeric(20, 8), decimal_20_8(candle.close)::numeric(20, 8),
           decimal_20_8(candle.volume)::numeric(20, 8), decimal_20_8(candle.quote_volume)::numeric(20, 8),
           decimal_20_8(candle.taker_buy_volume)::numeric(20, 8), decimal_20_8(candle.taker_buy_quote_volume)::numeric(20, 8)
$$;

-- SECURITY DEFINER: the role that writes candles may not write here. Two writers of the same candle wait for each other in `candles`.
CREATE OR REPLACE FUNCTION keep_newest_candle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    one newest_candles := newest_candle(NEW);  -- `SELECT (newest_candle(NEW)).*` calls it once per column: 80 times as slow
BEGIN
    INSERT INTO newest_candles AS t VALUES (one.*)
    ON CONFLICT (instrument_id, time, id) DO UPDATE
       SET (received_at, trades_count, open, high, low, close, volume, quote_volume, taker_buy_volume, taker_buy_quote_volume)
         = (EXCLUDED.received_at, EXCLUDED.trades_count, EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.volume,
            EXCLUDED.quote_volume, EXCLUDED.taker_buy_volume, EXCLUDED.taker_buy_quote_volume);
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION keep_newest_candle FROM PUBLIC;
CREATE OR REPLACE TRIGGER keep_newest_candle AFTER INSERT OR UPDATE ON candles
    FOR EACH ROW WHEN (NEW.time >= newest_since()) EXECUTE FUNCTION keep_newest_candle();

INSERT INTO newest_candles
SELECT n.* FROM candles c, newest_candle(c) n WHERE c.time >= newest_since()
ON CONFLICT DO NOTHING;
