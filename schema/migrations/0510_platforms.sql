-- The schemas of the five platforms that read this data, and the functions that their views share (../repeatable/platform_*.sql).

CREATE SCHEMA IF NOT EXISTS ai_trading;
CREATE SCHEMA IF NOT EXISTS catalyst;
CREATE SCHEMA IF NOT EXISTS cryptomax;
CREATE SCHEMA IF NOT EXISTS cryptosense;
CREATE SCHEMA IF NOT EXISTS mastertrade;
COMMENT ON SCHEMA ai_trading IS 'views in the names and types of the platform AI Trading';
COMMENT ON SCHEMA catalyst IS 'views in the names and types of the platform Catalyst';
COMMENT ON SCHEMA cryptomax IS 'views in the names and types of the platform CryptoMax';
COMMENT ON SCHEMA cryptosense IS 'views in the names and types of the platform CryptoSense';
COMMENT ON SCHEMA mastertrade IS 'views in the names and types of the platform MasterTrade';

-- These functions return a number in the type of a platform, and NULL if it is too large for the type, so that one row does not make a query
-- fail. They are plain SQL so that the planner inlines them. The limit is the smallest number that rounds up beyond the type.
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

-- The `id` of a platform's row: a hash of the key, so that the same row always has the same id.
CREATE OR REPLACE FUNCTION platform_id(VARIADIC key text[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT ('x' || left(md5(array_to_string(key, chr(10))), 16))::bit(64)::bigint $$;
CREATE OR REPLACE FUNCTION platform_uuid(VARIADIC key text[]) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT md5(array_to_string(key, chr(10)))::uuid $$;
-- The `id` of a candle, cheaper than a hash because a query returns thousands: instrument, minute since 1970 and interval in the bits of one
-- number.
CREATE OR REPLACE FUNCTION candle_id(instrument int, length_code int, "time" timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT (instrument::bigint << 31) + ((_timescaledb_functions.to_unix_microseconds("time") / 60000000) << 3) + length_code $$;
-- A time as part of a key. A cast to text would depend on the time zone of the session.
CREATE OR REPLACE FUNCTION micros("time" timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT _timescaledb_functions.to_unix_microseconds("time")::text $$;

-- The views of a platform are read-only. PostgreSQL would pass an INSERT into a view over one table on to that table.
CREATE OR REPLACE FUNCTION refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%.% is read-only: it shows what the daemon stores', TG_TABLE_SCHEMA, TG_TABLE_NAME
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
