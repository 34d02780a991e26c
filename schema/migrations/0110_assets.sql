-- A symbol does not identify a coin, because several coins can have the same symbol. `coingecko_id` does.

CREATE TABLE IF NOT EXISTS assets (
    id           int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol       text        NOT NULL UNIQUE,
    coingecko_id text        NOT NULL,
    name         text        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE assets IS 'coins whose prices are polled, with their CoinGecko ids';
