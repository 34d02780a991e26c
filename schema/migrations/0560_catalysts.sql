-- One row per article and symbol, in the types of Catalyst. A trigger keeps the table up to date; articles arrive some hundred times a
-- day. A query of `news` for a symbol that few articles mention would read all of them: no index orders the symbols of an array by time.

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
COMMENT ON TABLE catalysts IS 'articles, one row per symbol that an article mentions';

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

-- SECURITY DEFINER: the role that writes news may not write here.
CREATE OR REPLACE FUNCTION keep_catalysts() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        DELETE FROM catalysts WHERE news_source = OLD.source AND news_id = OLD.id;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO catalysts SELECT * FROM catalysts_of(NEW) ON CONFLICT DO NOTHING;  -- the article may be stored with another time, too
    END IF;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION keep_catalysts FROM PUBLIC;
CREATE OR REPLACE TRIGGER keep_catalysts AFTER INSERT OR UPDATE OR DELETE ON news FOR EACH ROW EXECUTE FUNCTION keep_catalysts();

INSERT INTO catalysts SELECT c.* FROM news n CROSS JOIN LATERAL catalysts_of(n) c ON CONFLICT DO NOTHING;
