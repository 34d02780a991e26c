-- The platform CryptoSense. Prices are CoinGecko's.

CREATE VIEW cryptosense.price_history AS
SELECT p.time,
       a.symbol::varchar(20) AS asset_symbol,
       signed_20_8(p.price_usd)::numeric(20, 8) AS price_usd,
       signed_20_2(p.market_cap_usd)::numeric(20, 2) AS market_cap_usd,
       signed_20_2(p.volume_24h_usd)::numeric(20, 2) AS volume_24h_usd,
       signed_10_2(p.change_1h)::numeric(10, 2) AS percent_change_1h,
       signed_10_2(p.change_24h)::numeric(10, 2) AS percent_change_24h,
       signed_10_2(p.change_7d)::numeric(10, 2) AS percent_change_7d,
       p.source::varchar(50) AS data_source
FROM assets a
JOIN prices p ON p.asset_id = a.id AND p.source = 'coingecko';
COMMENT ON VIEW cryptosense.price_history IS 'all prices of coins';

-- Past days come from prices_daily. The last three are computed from the prices of the coins that a query selects, so that they never lag:
-- prices_daily has a day only some time after the midnight that ends it. The volume of a day is the 24-hour volume at its last price. A day
-- is `interval '24 hours'`, because `interval '1 day'` depends on the time zone of the session.
CREATE VIEW cryptosense.price_history_daily AS
SELECT d.time AS day, a.symbol::varchar(20) AS asset_symbol, d.open, d.high, d.low, d.close, d.avg_price, d.volume_usd AS total_volume
FROM assets a
JOIN prices_daily d ON d.asset_id = a.id AND d.source = 'coingecko'
WHERE d.time < date_trunc('day', now() - interval '48 hours', 'UTC')
UNION ALL
SELECT d.day, a.symbol::varchar(20), o.open, o.high, o.low, o.close, o.avg_price, o.volume_usd
FROM assets a
CROSS JOIN (VALUES (date_trunc('day', now(), 'UTC')), (date_trunc('day', now() - interval '24 hours', 'UTC')),
                   (date_trunc('day', now() - interval '48 hours', 'UTC'))) d (day)
CROSS JOIN LATERAL (
      SELECT first(p.price_usd, p.time) AS open, max(p.price_usd) AS high, min(p.price_usd) AS low, last(p.price_usd, p.time) AS close,
             avg(p.price_usd) AS avg_price, last(p.volume_24h_usd, p.time) FILTER (WHERE p.volume_24h_usd IS NOT NULL) AS volume_usd
        FROM prices p
       WHERE p.asset_id = a.id AND p.source = 'coingecko' AND p.time >= d.day AND p.time < d.day + interval '24 hours'
         AND p.time > now() - interval '4 days'  -- redundant, but lets the planner exclude all older chunks
      HAVING count(*) > 0) o;
COMMENT ON VIEW cryptosense.price_history_daily IS 'one row per coin and day (UTC), today included';

-- One row per coin and hour: that of LunarCrush if it exists, else the row computed from all stored posts, else another.
CREATE VIEW cryptosense.social_sentiment_history AS
SELECT s.time,
       s.symbol::varchar(20) AS asset_symbol,
       s.social_score::numeric(5, 2) AS social_score,
       s.positive::numeric(5, 2) AS sentiment_positive,
       s.negative::numeric(5, 2) AS sentiment_negative,
       s.neutral::numeric(5, 2) AS sentiment_neutral,
       s.mentions AS mentions_count,
       s.influencer_mentions AS influencer_mentions_count,
       s.platform::varchar(50) AS data_source
FROM sentiment_scores s
WHERE NOT EXISTS (
    SELECT FROM sentiment_scores o
     WHERE o.symbol = s.symbol AND o.time = s.time
       AND (coalesce(array_position(ARRAY['lunarcrush', 'all'], o.platform), 9), o.platform, o.interval)
         < (coalesce(array_position(ARRAY['lunarcrush', 'all'], s.platform), 9), s.platform, s.interval));
COMMENT ON VIEW cryptosense.social_sentiment_history IS 'one row per coin and hour';

SELECT refuse_writes('cryptosense');
