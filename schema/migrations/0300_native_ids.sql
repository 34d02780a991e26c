-- The key of a hypertable contains the time, but a source may later change the time of an article, a post or a transfer. The time that was
-- stored first stays in the key. An article has three native ids: its link, its publisher's id, and its title on a day. `same_as` is the
-- id under which the article was first stored. A link and a title begin with an empty element, which no id does.

CREATE TABLE IF NOT EXISTS native_ids (
    table_name text        NOT NULL,
    native_id  text[]      NOT NULL,   -- the key of the table without time, or a link or title
    time       timestamptz NOT NULL,
    same_as    text[],                 -- NULL if native_id is that id
    PRIMARY KEY (table_name, native_id)
);
COMMENT ON TABLE native_ids IS 'native ids of news, posts and transfers, with the time that was stored first';
