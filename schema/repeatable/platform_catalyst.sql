-- The platform Catalyst.

CREATE VIEW catalyst.news_catalysts AS
SELECT catalyst_id, symbol, headline, summary, source, url, sentiment, sentiment_score, relevance_score, impact_level, categories,
       entities, published_at, processed_at, processed_at AS created_at
FROM catalysts;
COMMENT ON VIEW catalyst.news_catalysts IS 'articles, one row per symbol that an article mentions';

SELECT refuse_writes('catalyst');
