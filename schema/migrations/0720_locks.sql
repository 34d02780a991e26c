-- A transaction locks a row of this table, so that another one waits until it ends. Any role may take any advisory lock, and could stop
-- the writers of instruments and transfers with it; only the owner may lock a row here.

CREATE TABLE IF NOT EXISTS locks (
    name text PRIMARY KEY
);
INSERT INTO locks VALUES ('indicators'), ('platform_instruments'), ('whale_totals') ON CONFLICT DO NOTHING;
COMMENT ON TABLE locks IS 'rows that a transaction locks, so that another one waits until it ends';

-- As before, but for the lock.
CREATE OR REPLACE FUNCTION choose_platform_instruments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM locks WHERE name = 'platform_instruments' FOR UPDATE;
    WITH wanted AS (
        SELECT DISTINCT ON (p.platform, i.base || i.quote) p.platform, i.base || i.quote AS symbol, i.id
          FROM (VALUES ('ai_trading'), ('mastertrade')) p (platform)
         CROSS JOIN instruments i
          LEFT JOIN platform_exchanges e ON e.platform = p.platform AND e.exchange = i.exchange
         WHERE i.kind = 'spot' AND length(i.base || i.quote) <= 20
           AND (e.rank IS NOT NULL OR NOT EXISTS (SELECT FROM platform_exchanges any_of WHERE any_of.platform = p.platform))
         ORDER BY p.platform, i.base || i.quote, e.rank, i.exchange <> 'binance', i.exchange, i.status = 'delisted', i.id
    ), gone AS (
        DELETE FROM platform_instruments t
         WHERE NOT EXISTS (SELECT FROM wanted w WHERE (w.platform, w.symbol) = (t.platform, t.symbol))
    )
    INSERT INTO platform_instruments AS t
    SELECT * FROM wanted
    ON CONFLICT (platform, symbol) DO UPDATE SET instrument_id = EXCLUDED.instrument_id
     WHERE t.instrument_id <> EXCLUDED.instrument_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION sum_whale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed whale_transactions := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM FROM locks WHERE name = 'whale_totals' FOR UPDATE;
    DELETE FROM whale_totals WHERE blockchain = changed.blockchain AND hash = changed.hash;
    INSERT INTO whale_totals SELECT * FROM whale_of_transfers(changed.blockchain, changed.hash, changed.time);
    RETURN NULL;
END
$$;
