-- What ../../README.md calls the platform cryptosense: prices are CoinGecko's.

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

-- Days that are over are kept ready; the last three are made of their prices for each coin that is asked for, so that they are never
-- behind: the third is kept ready only some time after the midnight that ends the second. The volume of a day is what had been traded
-- in 24 hours at its last price. A day is 24 hours: `interval '1 day'` would be one of the reader's time zone, whose clocks may change.
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
         AND p.time > now() - interval '4 days'  -- says nothing new, but lets the planner leave out all older chunks
      HAVING count(*) > 0) o;

-- A coin's hour is one row: LunarCrush's where there is one, then what our own posts say of it, then others.
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

SELECT refuse_writes('cryptosense');
