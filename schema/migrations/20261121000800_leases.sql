-- Work that must happen once is done by the holder of its lease, until the database's own clock says that the lease is over.

CREATE TABLE IF NOT EXISTS leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);
