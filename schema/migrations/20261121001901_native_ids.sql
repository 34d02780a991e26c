-- With which time a fact was first stored whose source may say another one later; hypertables need the time in their key.

CREATE TABLE IF NOT EXISTS native_ids (
    table_name text        NOT NULL,
    native_id  text[]      NOT NULL,   -- the table's key without time
    time       timestamptz NOT NULL,
    PRIMARY KEY (table_name, native_id)
);
