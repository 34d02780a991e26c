-- What an article means for each symbol that it mentions, as Catalyst shows it and in its types: one row each, kept beside the news by a
-- trigger, since an article may come some hundred times a day. Sought in the articles themselves, a symbol that few of them mention
-- would take reading all of them, whose arrays no order by time and symbol can index.

CREATE TABLE IF NOT EXISTS catalysts (
    news_source     text         NOT NULL,
    news_id         text         NOT NULL,
    symbol          varchar(10)  NOT NULL,
    catalyst_id     bigint       NOT NULL,
    headline        text         NOT NULL,
    summary         text,
    source          varchar(100) NOT NULL,
    url             text         NOT NULL,
    sentiment       varchar(20),
    sentiment_score numeric(3,2),
    relevance_score numeric(3,2),
    impact_level    varchar(20),
    categories      text[]       NOT NULL,
    entities        jsonb        NOT NULL,
    published_at    timestamptz  NOT NULL,
    processed_at    timestamptz  NOT NULL,
    PRIMARY KEY (news_source, news_id, symbol)
);
CREATE INDEX IF NOT EXISTS catalysts_symbol ON catalysts (symbol, published_at DESC);
CREATE INDEX IF NOT EXISTS catalysts_categories ON catalysts USING gin (categories);
CREATE INDEX IF NOT EXISTS catalysts_time ON catalysts (published_at);

CREATE OR REPLACE FUNCTION catalysts_of(article news) RETURNS SETOF catalysts LANGUAGE sql IMMUTABLE AS $$
    SELECT DISTINCT ON (m.symbol::varchar(10)) article.source, article.id, m.symbol::varchar(10), platform_id(article.source, article.id, m.symbol),
           article.title, article.summary, article.source::varchar(100), article.url,
           (CASE WHEN article.sentiment >= 0.05 THEN 'positive' WHEN article.sentiment <= -0.05 THEN 'negative'
                 WHEN article.sentiment IS NOT NULL THEN 'neutral' END)::varchar(20),
           article.sentiment::numeric(3, 2), article.relevance::numeric(3, 2), article.impact_level::varchar(20), article.categories,
           (SELECT jsonb_agg(jsonb_build_object('type', 'symbol', 'name', mentioned)) FROM unnest(article.symbols) mentioned),
           article.time, article.received_at
      FROM unnest(article.symbols) WITH ORDINALITY m (symbol, place)
     ORDER BY m.symbol::varchar(10), m.place
$$;

-- Runs as the owner: who writes news writes nothing else.
CREATE OR REPLACE FUNCTION keep_catalysts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM catalysts WHERE news_source = OLD.source AND news_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO catalysts SELECT * FROM catalysts_of(NEW) ON CONFLICT DO NOTHING;  -- told again under another time, after years
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER keep_catalysts AFTER INSERT OR UPDATE OR DELETE ON news FOR EACH ROW EXECUTE FUNCTION keep_catalysts();

INSERT INTO catalysts SELECT c.* FROM news n CROSS JOIN LATERAL catalysts_of(n) c ON CONFLICT DO NOTHING;

DROP VIEW IF EXISTS catalyst.news_catalysts;
DROP INDEX IF EXISTS news_categories_idx;  -- that was for it
