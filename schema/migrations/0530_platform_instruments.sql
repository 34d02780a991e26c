-- A platform queries by symbol (BTCUSDT), without an exchange. This table maps each symbol to one instrument: that of the first exchange in
-- platform_exchanges that lists it; without a list that of Binance, then of the others by name. It is a table, and not a view, because
-- every query of a platform begins with it.

CREATE TABLE IF NOT EXISTS platform_instruments (
    platform      text        NOT NULL,
    symbol        varchar(20) NOT NULL,
    instrument_id int         NOT NULL,
    PRIMARY KEY (platform, symbol)
);
COMMENT ON TABLE platform_instruments IS 'the instrument that a symbol means on a platform';

-- SECURITY DEFINER: the role that writes instruments may not write here. The lock serializes two daemons that start together.
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
REVOKE EXECUTE ON FUNCTION choose_platform_instruments FROM PUBLIC;
CREATE OR REPLACE TRIGGER choose_platform_instruments AFTER INSERT OR UPDATE OR DELETE ON instruments
    FOR EACH STATEMENT EXECUTE FUNCTION choose_platform_instruments();
CREATE OR REPLACE TRIGGER choose_platform_instruments AFTER INSERT OR UPDATE OR DELETE ON platform_exchanges
    FOR EACH STATEMENT EXECUTE FUNCTION choose_platform_instruments();
UPDATE instruments SET id = id WHERE false;  -- fires the trigger for the instruments that exist already
