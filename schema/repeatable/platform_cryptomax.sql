-- The platform CryptoMax. Prices are CoinGecko's, in USD and AUD. A price without AUD is not shown: the platform requires both.

-- The lateral join reads the newest price of each coin from the end of its index, and not all of its prices.
CREATE VIEW cryptomax.market_data_cache AS
SELECT platform_uuid(a.symbol, l.source) AS id,
       a.symbol,
       l.source AS exchange,
       signed_20_8(l.price_usd)::numeric(20, 8) AS price_usd,
       signed_20_8(l.price_aud)::numeric(20, 8) AS price_aud,
       signed_20_2(l.volume_24h_usd)::numeric(20, 2) AS volume_24h_usd,
       signed_20_2(l.volume_24h_aud)::numeric(20, 2) AS volume_24h_aud,
       signed_10_4(l.price_usd * l.change_24h / nullif(100 + l.change_24h, 0))::numeric(10, 4) AS change_24h,  -- in USD
       signed_10_4(l.change_24h)::numeric(10, 4) AS change_percentage_24h,
       signed_20_2(l.market_cap_usd)::numeric(20, 2) AS market_cap_usd,
       signed_20_2(l.market_cap_aud)::numeric(20, 2) AS market_cap_aud,
       signed_20_8(l.high_24h)::numeric(20, 8) AS high_24h,
       signed_20_8(l.low_24h)::numeric(20, 8) AS low_24h,
       l.time AS last_updated
FROM assets a
CROSS JOIN LATERAL (
      SELECT * FROM prices p
       WHERE p.asset_id = a.id AND p.source = 'coingecko' AND p.time > now() - interval '7 days' AND p.price_aud IS NOT NULL
       ORDER BY p.time DESC LIMIT 1) l;
COMMENT ON VIEW cryptomax.market_data_cache IS 'the newest price of each coin, if it is at most seven days old';

CREATE VIEW cryptomax.market_data_history AS
SELECT platform_uuid(a.symbol, p.source, micros(p.time)) AS id,
       a.symbol,
       p.source AS exchange,
       signed_20_8(p.price_usd)::numeric(20, 8) AS price_usd,
       signed_20_8(p.price_aud)::numeric(20, 8) AS price_aud,
       signed_20_2(p.volume_24h_usd)::numeric(20, 2) AS volume_24h_usd,
       p.time AS timestamp
FROM assets a
JOIN prices p ON p.asset_id = a.id AND p.source = 'coingecko' AND p.price_aud IS NOT NULL;
COMMENT ON VIEW cryptomax.market_data_history IS 'all prices of coins';

-- `content` is NULL: the text of an article belongs to its publisher and is not stored.
CREATE VIEW cryptomax.crypto_news_feed AS
SELECT platform_uuid(n.source, n.id) AS id,
       n.title,
       NULL::text AS content,
       n.summary,
       n.source,
       n.author,
       n.url,
       n.image_url,
       n.sentiment::numeric(3, 2) AS sentiment_score,
       n.symbols AS symbols_mentioned,
       n.time AS published_at,
       n.received_at AS created_at
FROM news n;
COMMENT ON VIEW cryptomax.crypto_news_feed IS 'articles: summary and link';

SELECT refuse_writes('cryptomax');
