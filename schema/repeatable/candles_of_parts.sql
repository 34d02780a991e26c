-- Candles of the buckets in [since, until), made from shorter candles; an empty bucket has no row. A sum of which a part is unknown is NULL.
-- The first and last trade ids come from the parts that have trades.

CREATE FUNCTION candles_of_parts(
    instrument int, target text, since timestamptz, until timestamptz, part text, length interval
)
RETURNS SETOF candles LANGUAGE sql STABLE AS $$
    SELECT
        instrument,
        target,
        time_bucket(length, time),
        first(open, time),
        max(high),
        min(low),
        last(close, time),
        sum(volume),
        CASE WHEN count(quote_volume) = count(*) THEN sum(quote_volume) END,
        CASE WHEN count(trades_count) = count(*) THEN sum(trades_count)::int END,
        CASE WHEN count(taker_buy_volume) = count(*) THEN sum(taker_buy_volume) END,
        CASE WHEN count(taker_buy_quote_volume) = count(*) THEN sum(taker_buy_quote_volume) END,
        CASE WHEN bool_and(first_trade_id IS NOT NULL OR trades_count IS NOT DISTINCT FROM 0)
             THEN first(first_trade_id, time) FILTER (WHERE first_trade_id IS NOT NULL) END,
        CASE WHEN bool_and(last_trade_id IS NOT NULL OR trades_count IS NOT DISTINCT FROM 0)
             THEN last(last_trade_id, time) FILTER (WHERE last_trade_id IS NOT NULL) END,
        sum(parts)::int,
        (ARRAY['trades', 'ws', 'rest', 'archive'])[min(array_position(ARRAY['trades', 'ws', 'rest', 'archive'], origin))],
        max(received_at)
    FROM candles
    WHERE instrument_id = instrument AND interval = part AND time >= since AND time < until
    GROUP BY time_bucket(length, time)
$$;

CREATE FUNCTION candle_of_parts(instrument int, target text, bucket timestamptz, part text, length interval)
RETURNS SETOF candles LANGUAGE sql STABLE AS $$
    SELECT * FROM candles_of_parts(instrument, target, bucket, bucket + length, part, length)
$$;
