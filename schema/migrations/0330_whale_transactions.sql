-- A transfer is the net amount of a token that an address gains in one transaction. The block is stored so that its transfers can be removed
-- when the chain drops it.

CREATE TABLE IF NOT EXISTS whale_transactions (
    blockchain   text NOT NULL,
    hash         text NOT NULL,
    token        text NOT NULL,
    index        int NOT NULL CHECK (index >= 0),
    time         timestamptz NOT NULL CHECK (time >= '2009-01-01Z' AND time < '2100-01-01Z'),
    from_address text NOT NULL,
    from_label   text,
    to_address   text NOT NULL,
    to_label     text,
    amount_token numeric NOT NULL CHECK (amount_token > 0 AND amount_token < 1e36),
    amount_usd   numeric NOT NULL CHECK (amount_usd > 0 AND amount_usd < 1e18),
    alert_level  text NOT NULL CHECK (alert_level IN ('low', 'medium', 'high', 'critical')),
    block_height bigint CHECK (block_height >= 0),
    block_hash   text,
    source       text NOT NULL,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (blockchain, hash, token, index, time)
);
SELECT create_hypertable('whale_transactions', by_range('time', interval '7 days'), create_default_indexes => false, if_not_exists => true);
COMMENT ON TABLE whale_transactions IS 'large transfers on blockchains';
