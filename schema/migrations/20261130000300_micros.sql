-- A time as a part of a platform's `id`. As text it would be another one for each time zone that a reader has set.

CREATE OR REPLACE FUNCTION micros("time" timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT _timescaledb_functions.to_unix_microseconds("time")::text $$;
