-- What each role of ../roles.sql may do; a role that is not there is passed over. A new table says here who may write it.
-- ON CONFLICT with a target reads the table, so the writer has SELECT exactly where rows are revised.

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
        ['ingest_writer',  'DELETE ON whale_transactions, native_ids'],  -- of blocks that their chain has no more
        ['ingest_writer',  'SELECT, INSERT, UPDATE, DELETE ON leases'],
        ['ingest_writer',  'SELECT ON schema_migrations, jobs, job_chunks'],  -- the healer asks what is covered
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
END
$$;
