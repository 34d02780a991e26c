-- One row per transaction: the sum of the token that has the largest total in USD, and the addresses of its largest transfer. A trigger
-- keeps the table up to date, because a query that sums all transfers of a year is too slow. `whale_transactions` changes at most some
-- thousand times a day. Columns that queries filter or sort by have the types that MasterTrade shows: a cast in its view would hide them
-- from the indexes.

CREATE TABLE IF NOT EXISTS whale_totals (
    blockchain   text        NOT NULL,
    hash         text        NOT NULL,
    token        varchar(20) NOT NULL,
    time         timestamptz NOT NULL,
    from_address text        NOT NULL,
    from_label   text,
    to_address   text        NOT NULL,
    to_label     text,
    amount_token numeric     NOT NULL,
    amount_usd   numeric(20,2) NOT NULL,   -- cannot overflow: a CHECK bounds each transfer at 1e18
    alert_level  text        NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (blockchain, hash)
);
CREATE INDEX IF NOT EXISTS whale_totals_token ON whale_totals (token, time DESC);
CREATE INDEX IF NOT EXISTS whale_totals_time ON whale_totals (time);
CREATE INDEX IF NOT EXISTS whale_totals_usd ON whale_totals (amount_usd);
COMMENT ON TABLE whale_totals IS 'whale transactions, one row per hash';

-- The row of a hash, computed from its transfers; no row if no transfer is left. A reorganisation of the chain can move a transfer by hours,
-- so the transfers of a hash are searched within a day of one of them.
CREATE OR REPLACE FUNCTION whale_of_transfers(of_blockchain text, of_hash text, about timestamptz) RETURNS SETOF whale_totals
LANGUAGE sql STABLE AS $$
    SELECT w.blockchain, w.hash, w.token::varchar(20), min(w.time),
           (array_agg(w.from_address ORDER BY w.amount_usd DESC, w.index))[1], (array_agg(w.from_label ORDER BY w.amount_usd DESC, w.index))[1],
           (array_agg(w.to_address ORDER BY w.amount_usd DESC, w.index))[1], (array_agg(w.to_label ORDER BY w.amount_usd DESC, w.index))[1],
           sum(w.amount_token), sum(w.amount_usd)::numeric(20, 2),
           CASE WHEN sum(w.amount_usd) >= 1e8 THEN 'critical' WHEN sum(w.amount_usd) >= 5e7 THEN 'high'
                WHEN sum(w.amount_usd) >= 1e7 THEN 'medium' ELSE 'low' END,
           max(w.received_at)
      FROM whale_transactions w
     WHERE w.blockchain = of_blockchain AND w.hash = of_hash
       AND w.time >= about - interval '1 day' AND w.time <= about + interval '1 day'
     GROUP BY w.blockchain, w.hash, w.token
     ORDER BY sum(w.amount_usd) DESC, w.token
     LIMIT 1
$$;

-- SECURITY DEFINER: the role that writes transfers may not write here. Two transactions with transfers of one hash wait for each other,
-- so that the second sees the transfers of the first.
CREATE OR REPLACE FUNCTION sum_whale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed whale_transactions := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(changed.blockchain), hashtext(changed.hash));
    DELETE FROM whale_totals WHERE blockchain = changed.blockchain AND hash = changed.hash;
    INSERT INTO whale_totals SELECT * FROM whale_of_transfers(changed.blockchain, changed.hash, changed.time);
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION sum_whale FROM PUBLIC;
CREATE OR REPLACE TRIGGER sum_whale AFTER INSERT OR UPDATE OR DELETE ON whale_transactions FOR EACH ROW EXECUTE FUNCTION sum_whale();

INSERT INTO whale_totals
SELECT t.* FROM (SELECT blockchain, hash, min(time) AS time FROM whale_transactions GROUP BY blockchain, hash) w
 CROSS JOIN LATERAL whale_of_transfers(w.blockchain, w.hash, w.time) t
ON CONFLICT DO NOTHING;
