-- What ../../README.md calls the platform cryptomax: prices are CoinGecko's, USD and AUD side by side. Where CoinGecko said no AUD there
-- is no row: the platform wants both, and the row before has them.

-- The newest price of each coin, found from the end of its index, not by reading its past; a coin that nobody priced for a week has none.
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

-- The text of an article is its publisher's: there is its summary, and the link.
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

SELECT refuse_writes('cryptomax');
