-- The privileges of each role of ../roles.sql; a role that does not exist is skipped. This file runs last, and again after every other
-- change. A new table needs the privilege to write it here.
-- ON CONFLICT with a target reads the table, so the writer has SELECT on the tables whose rows are revised.

DO $$
DECLARE
    grants CONSTANT text[] := ARRAY[
        ['ingest_writer',  'USAGE ON SCHEMA public, market'],
        ['ingest_writer',  'INSERT ON trades, quotes, order_books, rejects'],
        ['ingest_writer',  'SELECT, INSERT, UPDATE ON candles, instruments, coverage, rollup_dirty, sentiment_dirty'],
        ['ingest_writer',  'SELECT, INSERT, UPDATE ON prices, whale_transactions, onchain_metrics, sentiment_posts, sentiment_scores'],
        ['ingest_writer',  'SELECT, INSERT, UPDATE ON news, stock_indices, indicators, assets, poll_cursors'],
        ['ingest_writer',  'SELECT, INSERT, UPDATE ON indicators_dirty'],
        ['ingest_writer',  'SELECT, INSERT ON native_ids'],
        ['ingest_writer',  'DELETE ON whale_transactions, native_ids'],  -- of blocks that their chain dropped
        ['ingest_writer',  'SELECT, INSERT, UPDATE, DELETE ON leases'],
        ['ingest_writer',  'SELECT ON schema_migrations, jobs, job_chunks'],  -- schema version, coverage_streams()
        ['ingest_reader',  'USAGE ON SCHEMA public, market'],
        ['ingest_reader',  'SELECT ON ALL TABLES IN SCHEMA public, market'],
        ['ingest_reader',  'USAGE ON SCHEMA ai_trading, catalyst, cryptomax, cryptosense, mastertrade'],
        ['ingest_reader',  'SELECT ON ALL TABLES IN SCHEMA ai_trading, catalyst, cryptomax, cryptosense, mastertrade'],
        ['ingest_metrics', 'USAGE ON SCHEMA public'],
        ['ingest_metrics', 'SELECT ON schema_migrations, coverage, leases, rollup_dirty, indicators_dirty']
    ];
BEGIN
    FOR n IN 1 .. array_length(grants, 1) LOOP
        IF to_regrole(grants[n][1]) IS NOT NULL THEN
            EXECUTE format('GRANT %s TO %I', grants[n][2], grants[n][1]);
        END IF;
    END LOOP;
    IF to_regrole('ingest_reader') IS NOT NULL THEN  -- the daemon's own: payloads that it could not read, ids, positions, locks
        REVOKE SELECT ON rejects, leases, locks, native_ids, poll_cursors, rollup_dirty, indicators_dirty, sentiment_dirty
          FROM ingest_reader;
    END IF;
END
$$;

-- PostgreSQL lets PUBLIC execute a new function. A role that may execute a SECURITY DEFINER trigger function can attach it to a table of
-- its own and make it run code as the owner. So no role may execute these functions, except that reader and writer may execute those that
-- only read: a view calls its functions with the privileges of the role that queries it.
DO $$
DECLARE
    ours    record;
    grantee text;
BEGIN
    FOR ours IN
        SELECT p.oid::regprocedure AS name, p.provolatile <> 'v' AND NOT p.prosecdef AND p.prorettype <> 'trigger'::regtype AS only_reads
          FROM pg_proc p
          JOIN pg_class c ON c.oid = 'public.schema_migrations'::regclass AND c.relowner = p.proowner
         WHERE p.pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', ours.name);
        FOREACH grantee IN ARRAY ARRAY['ingest_writer', 'ingest_reader'] LOOP
            IF to_regrole(grantee) IS NOT NULL THEN
                EXECUTE format(CASE WHEN ours.only_reads THEN 'GRANT EXECUTE ON ROUTINE %s TO %I'
                                    ELSE 'REVOKE EXECUTE ON ROUTINE %s FROM %I' END, ours.name, grantee);
            END IF;
        END LOOP;
    END LOOP;

    -- Functions that the owner creates later. A superuser's default stays: it would close the functions of extensions as well. A revoke
    -- for one schema does not override the global default, so this one is global.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    END IF;
END
$$;
