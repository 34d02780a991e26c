-- The views bars_1m, bars_1h, daily_ohlcv and prices_daily where there are no continuous aggregates (Apache edition). They show the rows of
-- the roll-up tables; a bucket that is marked dirty is computed from its source instead. So bars_1m and daily_ohlcv show the running bucket
-- and late rows at once. bars_1h lacks the running minute, because an hour is marked when one of its minutes has been rolled up.

CREATE OR REPLACE FUNCTION bar_1m_of_trades(instrument int, bucket timestamptz)
RETURNS SETOF bars_1m_rollup LANGUAGE sql STABLE AS $$
    SELECT
        instrument,
        bucket,
        first(price, timestamptz_send(time) || int8send(trade_id)),
        max(price),
        min(price),
        last(price, timestamptz_send(time) || int8send(trade_id)),
        sum(size),
        sum(price * size),
        count(*),
        sum(CASE side WHEN 'buy' THEN size ELSE 0 END),
        first(trade_id, timestamptz_send(time) || int8send(trade_id)),
        last(trade_id, timestamptz_send(time) || int8send(trade_id))
    FROM trades
    WHERE instrument_id = instrument AND time >= bucket AND time < bucket + interval '1 minute'
    HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION bar_1h_of_minutes(instrument int, bucket timestamptz)
RETURNS SETOF bars_1h_rollup LANGUAGE sql STABLE AS $$
    SELECT
        instrument,
        bucket,
        first(open, time),
        max(high),
        min(low),
        last(close, time),
        sum(volume),
        sum(quote_volume),
        sum(trades_count)::bigint,
        sum(buy_volume),
        first(first_trade_id, time),
        last(last_trade_id, time)
    FROM bars_1m_rollup
    WHERE instrument_id = instrument AND time >= bucket AND time < bucket + interval '1 hour'
    HAVING count(*) > 0
$$;

CREATE OR REPLACE FUNCTION day_of_candles(instrument int, bucket timestamptz)
RETURNS SETOF daily_ohlcv_rollup LANGUAGE sql STABLE AS $$
    SELECT
        instrument,
        bucket,
        first(open, time),
        max(high),
        min(low),
        last(close, time),
        sum(volume),
        CASE WHEN count(quote_volume) = count(*) THEN sum(quote_volume) END,
        CASE WHEN count(trades_count) = count(*) THEN sum(trades_count) END
    FROM candles
    WHERE instrument_id = instrument AND interval = '1m' AND time >= bucket AND time < bucket + interval '1 day'
    HAVING count(*) > 0
$$;

CREATE OR REPLACE VIEW bars_1m AS
SELECT * FROM bars_1m_rollup r
WHERE NOT EXISTS (
    SELECT FROM rollup_dirty d WHERE d.target = 'bars_1m' AND d.instrument_id = r.instrument_id AND d.time = r.time
)
UNION ALL
SELECT live.* FROM rollup_dirty d CROSS JOIN LATERAL bar_1m_of_trades(d.instrument_id, d.time) live WHERE d.target = 'bars_1m';

CREATE OR REPLACE VIEW bars_1h AS
SELECT * FROM bars_1h_rollup r
WHERE NOT EXISTS (
    SELECT FROM rollup_dirty d WHERE d.target = 'bars_1h' AND d.instrument_id = r.instrument_id AND d.time = r.time
)
UNION ALL
SELECT live.* FROM rollup_dirty d CROSS JOIN LATERAL bar_1h_of_minutes(d.instrument_id, d.time) live WHERE d.target = 'bars_1h';

CREATE OR REPLACE VIEW daily_ohlcv AS
SELECT * FROM daily_ohlcv_rollup r
WHERE NOT EXISTS (
    SELECT FROM rollup_dirty d WHERE d.target = 'daily_ohlcv' AND d.instrument_id = r.instrument_id AND d.time = r.time
)
UNION ALL
SELECT live.* FROM rollup_dirty d CROSS JOIN LATERAL day_of_candles(d.instrument_id, d.time) live WHERE d.target = 'daily_ohlcv';

-- Computes the daily prices from the day of `since` to the day before that of `until`; unchanged days are not updated.
CREATE OR REPLACE FUNCTION roll_up_prices(since timestamptz, until timestamptz) RETURNS bigint LANGUAGE sql AS $$
    WITH made AS (
        INSERT INTO prices_daily_rollup AS t
        SELECT asset_id, source, time_bucket('1 day', time), first(price_usd, time), max(price_usd), min(price_usd), last(price_usd, time),
               avg(price_usd), last(volume_24h_usd, time) FILTER (WHERE volume_24h_usd IS NOT NULL)
        FROM prices
        WHERE time >= time_bucket('1 day', since) AND time < time_bucket('1 day', until)
        GROUP BY 1, 2, 3
        ON CONFLICT (asset_id, source, time) DO UPDATE
           SET (open, high, low, close, avg_price, volume_usd)
             = (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.avg_price, EXCLUDED.volume_usd)
         WHERE (t.open, t.high, t.low, t.close, t.avg_price, t.volume_usd) IS DISTINCT FROM
               (EXCLUDED.open, EXCLUDED.high, EXCLUDED.low, EXCLUDED.close, EXCLUDED.avg_price, EXCLUDED.volume_usd)
        RETURNING 1
    )
    SELECT count(*) FROM made
$$;

CREATE OR REPLACE VIEW prices_daily AS SELECT * FROM prices_daily_rollup;

-- The comment on bars_1m is not set here: `ingest migrate` stores in it which of the two files created the views.
COMMENT ON VIEW bars_1h IS '1h bars made from 1m bars';
COMMENT ON VIEW daily_ohlcv IS 'daily bars made from 1m candles';
COMMENT ON VIEW prices_daily IS 'daily prices of coins';
