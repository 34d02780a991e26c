-- What ../../README.md calls the platform catalyst: one row for each symbol that an article mentions.

CREATE VIEW catalyst.news_catalysts AS
SELECT platform_id(n.source, n.id, m.symbol) AS catalyst_id,
       m.symbol::varchar(10) AS symbol,
       n.title AS headline,
       n.summary,
       n.source::varchar(100) AS source,
       n.url,
       (CASE WHEN n.sentiment >= 0.05 THEN 'positive' WHEN n.sentiment <= -0.05 THEN 'negative' WHEN n.sentiment IS NOT NULL THEN 'neutral' END
       )::varchar(20) AS sentiment,
       n.sentiment::numeric(3, 2) AS sentiment_score,
       n.relevance::numeric(3, 2) AS relevance_score,
       n.impact_level::varchar(20) AS impact_level,
       n.categories,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('type', 'symbol', 'name', mentioned)), '[]') FROM unnest(n.symbols) mentioned) AS entities,
       n.time AS published_at,
       n.received_at AS processed_at,
       n.received_at AS created_at
FROM news n
CROSS JOIN LATERAL unnest(n.symbols) m (symbol);

SELECT refuse_writes('catalyst');
