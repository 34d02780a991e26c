-- Which coin a symbol means: symbols are not unique among coins, their provider's ids are.

CREATE TABLE IF NOT EXISTS assets (
    id           int         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol       text        NOT NULL UNIQUE,
    coingecko_id text        NOT NULL,
    name         text        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
