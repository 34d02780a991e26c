-- Work that must happen once is done by the holder of its lease. The clock of the database decides when a lease expires.

CREATE TABLE IF NOT EXISTS leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'which daemon does the work that must happen once';
