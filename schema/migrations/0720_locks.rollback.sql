CREATE OR REPLACE FUNCTION choose_platform_instruments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('platform_instruments'));
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
    PERFORM pg_advisory_xact_lock(hashtext(changed.blockchain), hashtext(changed.hash));
    DELETE FROM whale_totals WHERE blockchain = changed.blockchain AND hash = changed.hash;
    INSERT INTO whale_totals SELECT * FROM whale_of_transfers(changed.blockchain, changed.hash, changed.time);
    RETURN NULL;
END
$$;
DROP TABLE IF EXISTS locks;
