-- The five roles of least privilege. A person runs this once on the database, as a superuser, before or after `ingest migrate`:
--     psql -d market -f schema/roles.sql
-- It sets no password and touches no pg_hba.conf: who may log in, and how, is decided there. Running it again changes nothing.
--
-- ingest_owner    owns everything. TimescaleDB's jobs run as the owner, who therefore must have LOGIN; give it no password.
-- ingest_migrate  becomes the owner when it logs in: migrations and maintenance (`admin_dsn`).
-- ingest_writer   adds rows, and revises them where a table has revisions (`dsn`).
-- ingest_reader   reads.
-- ingest_metrics  sees jobs, sizes and statistics.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['ingest_owner', 'ingest_migrate', 'ingest_writer', 'ingest_reader', 'ingest_metrics'] LOOP
        IF to_regrole(name) IS NULL THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
    EXECUTE format('ALTER DATABASE %I OWNER TO ingest_owner', current_database());
    -- The writer stages rows in temporary tables; nobody else needs any.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO ingest_writer', current_database());
END
$$;
GRANT ingest_owner TO ingest_migrate;
GRANT pg_monitor TO ingest_metrics;
ALTER ROLE ingest_migrate SET role = 'ingest_owner';
ALTER SCHEMA public OWNER TO ingest_owner;

-- Views are made anew when their text changes, and tables by later migrations: readers shall not lose sight of them.
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner GRANT SELECT ON TABLES TO ingest_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner GRANT USAGE ON SCHEMAS TO ingest_reader;
-- A new function is closed to PUBLIC; repeatable/grants.sql says who may execute it.
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Where migrations ran before this file, what they made goes to the owner, and the grants that they could not give are given.
DO $$
DECLARE
    statement text;
    ours CONSTANT name[] := '{public, market, ai_trading, catalyst, cryptomax, cryptosense, mastertrade}';
BEGIN
    IF to_regclass('schema_migrations') IS NULL THEN
        RETURN;
    END IF;
    FOR statement IN
        SELECT format(CASE WHEN a.view_name IS NULL THEN 'ALTER TABLE %s OWNER TO ingest_owner'
                           ELSE 'ALTER MATERIALIZED VIEW %s OWNER TO ingest_owner' END, c.oid::regclass)
        FROM pg_class c
        LEFT JOIN timescaledb_information.continuous_aggregates a ON to_regclass(format('%I.%I', a.view_schema, a.view_name)) = c.oid
        WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname = ANY (ours)) AND c.relkind IN ('r', 'v')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO ingest_owner', p.oid::regprocedure)
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT format('ALTER SCHEMA %I OWNER TO ingest_owner', nspname) FROM pg_namespace WHERE nspname = ANY (ours)
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
SELECT to_regclass('schema_migrations') IS NOT NULL AS migrated \gset
\if :migrated
    \ir repeatable/grants.sql
\endif
