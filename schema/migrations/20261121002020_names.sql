-- A fact goes by several names: an article by its link, its publisher's id and its title. Each leads to the id under which it was
-- first stored, in `same_as`; NULL means that it is that id. Names that are no id begin with an empty element.

ALTER TABLE native_ids ADD COLUMN IF NOT EXISTS same_as text[];

INSERT INTO native_ids (table_name, native_id, time, same_as)
SELECT DISTINCT ON (called.name) 'news', called.name, n.time, ARRAY[n.source, n.id]
FROM news n CROSS JOIN LATERAL (VALUES
    (ARRAY['', 'url', encode(sha256(convert_to(regexp_replace(n.url, '^https?://(www\.)?|/+$', '', 'g'), 'UTF8')), 'hex')]),
    (ARRAY['', 'title', n.source, to_char(n.time AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
           encode(sha256(convert_to(lower(regexp_replace(n.title, '[\s!-/:-@\[-`{-~]+', '', 'g')), 'UTF8')), 'hex')])
) AS called (name)
ORDER BY called.name, n.time
ON CONFLICT DO NOTHING;
