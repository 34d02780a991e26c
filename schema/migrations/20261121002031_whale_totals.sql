-- One row a transaction, for readers to whom a hash is one whale: of its tokens the one that is worth most, summed up, and the addresses
-- of its largest transfer. Kept beside the transfers by a trigger, which is in `whale_transactions` at most some thousand times a day:
-- the largest whales of a year must not be summed up from all transfers again by each query. What is sought and sorted by has the
-- type in which MasterTrade shows it: a cast in its view would hide the column from its index.

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
    amount_usd   numeric(20,2) NOT NULL,   -- a CHECK bounds each transfer at 1e18: no sum of a hash comes near the end of the type
    alert_level  text        NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (blockchain, hash)
);
CREATE INDEX IF NOT EXISTS whale_totals_token ON whale_totals (token, time DESC);
CREATE INDEX IF NOT EXISTS whale_totals_time ON whale_totals (time);
CREATE INDEX IF NOT EXISTS whale_totals_usd ON whale_totals (amount_usd);

-- The whale of a hash as its transfers of about that time say it; no row where there are none any more. A transfer that a
-- reorganisation of the chain has moved may have another time than the rest, by hours at most.
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

-- Runs as the owner: who writes transfers writes nothing else. Two transactions with transfers of one hash wait for each other, so that
-- the second sees those of the first.
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
CREATE OR REPLACE TRIGGER sum_whale AFTER INSERT OR UPDATE OR DELETE ON whale_transactions FOR EACH ROW EXECUTE FUNCTION sum_whale();

INSERT INTO whale_totals
SELECT t.* FROM (SELECT blockchain, hash, min(time) AS time FROM whale_transactions GROUP BY blockchain, hash) w
 CROSS JOIN LATERAL whale_of_transfers(w.blockchain, w.hash, w.time) t
ON CONFLICT DO NOTHING;
