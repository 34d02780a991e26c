-- The key of a hypertable contains the time, but a source may later change the time of a fact (news, posts, transfers). The time that was
-- stored first stays the one in the key. An article has several names: its link, its publisher's id, its title of a day. `same_as` leads
-- from a name to the id under which the article was first stored. A name that is no id begins with an empty element.

CREATE TABLE IF NOT EXISTS native_ids (
    table_name text        NOT NULL,
    native_id  text[]      NOT NULL,   -- the key of the table without time, or another name
    time       timestamptz NOT NULL,
    same_as    text[],                 -- NULL: native_id is that id
    PRIMARY KEY (table_name, native_id)
);
COMMENT ON TABLE native_ids IS 'the first time and the other names of facts that their source may change';
