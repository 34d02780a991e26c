-- What ../../README.md calls the platform catalyst: one row for each symbol that an article mentions.

CREATE VIEW catalyst.news_catalysts AS
SELECT catalyst_id, symbol, headline, summary, source, url, sentiment, sentiment_score, relevance_score, impact_level, categories,
       entities, published_at, processed_at, processed_at AS created_at
FROM catalysts;

SELECT refuse_writes('catalyst');
