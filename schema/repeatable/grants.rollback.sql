DO $$
DECLARE
    grantee text;
BEGIN
    FOREACH grantee IN ARRAY ARRAY['ingest_writer', 'ingest_reader', 'ingest_metrics'] LOOP
        IF to_regrole(grantee) IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public, market FROM %I', grantee);
            EXECUTE format('REVOKE ALL ON SCHEMA public, market FROM %I', grantee);
        END IF;
    END LOOP;
END
$$;
