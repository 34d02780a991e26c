DO $$
DECLARE
    grantee text;
    ours text;  -- schemas that exist
BEGIN
    SELECT string_agg(quote_ident(nspname), ', ') INTO ours FROM pg_namespace
     WHERE nspname IN ('public', 'market', 'ai_trading', 'catalyst', 'cryptomax', 'cryptosense', 'mastertrade');
    FOREACH grantee IN ARRAY ARRAY['ingest_writer', 'ingest_reader', 'ingest_metrics'] LOOP
        IF to_regrole(grantee) IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM %I', ours, grantee);
            EXECUTE format('REVOKE ALL ON SCHEMA %s FROM %I', ours, grantee);
        END IF;
    END LOOP;
END
$$;
