-- Creates the five roles of least privilege. A superuser runs it once on the database, before or after `ingest migrate`:
--     psql -d market -f schema/roles.sql
-- It sets no passwords and does not change pg_hba.conf, which decides who may log in and how. It is idempotent. Run it again after an
-- upgrade of TimescaleDB, which lets everyone add jobs again.
--
-- ingest_owner    owns everything. It needs LOGIN because TimescaleDB's jobs run as the owner of their table; give it no password.
-- ingest_migrate  becomes the owner at login: migrations and maintenance (`admin_dsn`).
-- ingest_writer   inserts rows, and updates them where a table has revisions (`dsn`).
-- ingest_reader   reads the data, the views and the coverage.
-- ingest_metrics  reads jobs, sizes and statistics.

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
    -- Only the writer needs temporary tables: it stages rows in them.
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO ingest_writer', current_database());
END
$$;
GRANT ingest_owner TO ingest_migrate;
GRANT pg_monitor TO ingest_metrics;
ALTER ROLE ingest_migrate SET role = 'ingest_owner';
ALTER SCHEMA public OWNER TO ingest_owner;

-- For tables of later migrations, and for views, which are recreated when their text changes.
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner GRANT SELECT ON TABLES TO ingest_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner GRANT USAGE ON SCHEMAS TO ingest_reader;
-- PUBLIC may not execute a new function; repeatable/grants.sql grants EXECUTE.
ALTER DEFAULT PRIVILEGES FOR ROLE ingest_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- TimescaleDB lets everyone add jobs, which run in the background until somebody deletes them; PostgreSQL lets everyone create large
-- objects, which no other role can see or delete.
CREATE EXTENSION IF NOT EXISTS timescaledb;
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid FROM pg_proc p
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'timescaledb'
         WHERE p.proname = 'add_job'  -- to alter, run or delete a job is for its owner only
    LOOP
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', routine);
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO ingest_owner', routine);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea) FROM PUBLIC;

-- If migrations ran before this file, ingest_owner becomes the owner of their relations, and the grants run now.
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
