-- The schemas of the five platforms that read this data; their views are in ../repeatable/platform_*.sql.
-- A platform knows a symbol (BTCUSDT) and no exchange. Which exchange answers is decided here once, for each symbol: the first of the
-- platform's list (`platforms.NAME.exchanges`) that has the market; without a list Binance, then the others by their names.

CREATE SCHEMA IF NOT EXISTS ai_trading;
CREATE SCHEMA IF NOT EXISTS catalyst;
CREATE SCHEMA IF NOT EXISTS cryptomax;
CREATE SCHEMA IF NOT EXISTS cryptosense;
CREATE SCHEMA IF NOT EXISTS mastertrade;

CREATE TABLE IF NOT EXISTS platform_exchanges (
    platform text NOT NULL CHECK (platform IN ('ai_trading', 'mastertrade')),
    exchange text NOT NULL,
    rank     int  NOT NULL,   -- the lowest answers
    PRIMARY KEY (platform, exchange)
);

-- What of that comes out: one instrument for each symbol. A table, because every query of a platform begins with it.
CREATE TABLE IF NOT EXISTS platform_instruments (
    platform      text        NOT NULL,
    symbol        varchar(20) NOT NULL,
    instrument_id int         NOT NULL,
    PRIMARY KEY (platform, symbol)
);

-- Runs as the owner: who lists instruments may not write here. The lock puts two daemons that start together in a row.
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
CREATE OR REPLACE TRIGGER choose_platform_instruments AFTER INSERT OR UPDATE OR DELETE ON instruments
    FOR EACH STATEMENT EXECUTE FUNCTION choose_platform_instruments();
CREATE OR REPLACE TRIGGER choose_platform_instruments AFTER INSERT OR UPDATE OR DELETE ON platform_exchanges
    FOR EACH STATEMENT EXECUTE FUNCTION choose_platform_instruments();
UPDATE instruments SET id = id WHERE false;  -- a statement: the markets that are there already are chosen from

-- A number in a platform's type: NULL where it is too large for it, so that one cheap coin does not end a query. They are plain SQL so
-- that the planner puts them into the query; the limit is the first number that would be rounded up beyond the type.
CREATE OR REPLACE FUNCTION decimal_20_8(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN value < 999999999999.999999995 THEN value::numeric(20, 8) ELSE NULL::numeric(20, 8) END $$;  -- never negative
CREATE OR REPLACE FUNCTION signed_20_8(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 999999999999.999999995 THEN value::numeric(20, 8) ELSE NULL::numeric(20, 8) END $$;
CREATE OR REPLACE FUNCTION signed_30_8(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 9999999999999999999999.999999995 THEN value::numeric(30, 8) ELSE NULL::numeric(30, 8) END $$;
CREATE OR REPLACE FUNCTION signed_20_2(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 999999999999999999.995 THEN value::numeric(20, 2) ELSE NULL::numeric(20, 2) END $$;
CREATE OR REPLACE FUNCTION signed_12_2(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 9999999999.995 THEN value::numeric(12, 2) ELSE NULL::numeric(12, 2) END $$;
CREATE OR REPLACE FUNCTION signed_10_4(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 999999.99995 THEN value::numeric(10, 4) ELSE NULL::numeric(10, 4) END $$;
CREATE OR REPLACE FUNCTION signed_10_2(value numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 99999999.995 THEN value::numeric(10, 2) ELSE NULL::numeric(10, 2) END $$;
CREATE OR REPLACE FUNCTION whole_number(value numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(value) < 9223372036854775807 THEN value::bigint END $$;

-- What a platform calls `id`: made of the row's key, so that the same row always shows the same one.
CREATE OR REPLACE FUNCTION platform_id(VARIADIC key text[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || left(md5(array_to_string(key, chr(10))), 16))::bit(64)::bigint $$;
CREATE OR REPLACE FUNCTION platform_uuid(VARIADIC key text[]) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT md5(array_to_string(key, chr(10)))::uuid $$;
-- ... of a candle, of which a query shows thousands: instrument, minute since 1970 and interval side by side in the bits of a number.
CREATE OR REPLACE FUNCTION candle_id(instrument int, length_code int, "time" timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT (instrument::bigint << 31) + ((_timescaledb_functions.to_unix_microseconds("time") / 60000000) << 3) + length_code $$;

-- A platform reads. A view over one table would take an INSERT and pass it on.
CREATE OR REPLACE FUNCTION refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is read-only: what the daemon stores is what it shows', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE OR REPLACE FUNCTION refuse_writes(platform regnamespace) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    view_name name;
BEGIN
    FOR view_name IN SELECT relname FROM pg_class WHERE relnamespace = platform AND relkind = 'v' LOOP
        EXECUTE format('CREATE TRIGGER read_only INSTEAD OF INSERT OR UPDATE OR DELETE ON %s.%I'
                       ' FOR EACH ROW EXECUTE FUNCTION refuse_write()', platform, view_name);
    END LOOP;
END
$$;
