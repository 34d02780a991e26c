"""Finds the stored fact that a staged row repeats.

The table `native_ids` maps each native id of a fact to the id and the time with which the fact was first stored. An article has
three native ids: its link, its publisher's id, and its publisher's headline of the day. The strongest of them that is stored
identifies the article, and the others are added for it. An article that another source stored first keeps that source, and the row
is a duplicate. A second writer of the same facts waits in the INSERT, and its next statement sees the rows that the first writer
committed. The ids are sorted, so two writers cannot deadlock.
"""

from __future__ import annotations

from ingest.tables import Table


def resolve_native_ids(table: Table) -> tuple[str, ...]:
    """The statements, in order, that give each row of `stage` the key of its fact; none for a table without native ids."""
    if not table.native:
        return ()
    key = [name for name in table.key if name != "time"]
    own = "ARRAY[" + ", ".join(f's."{name}"' for name in key) + "]::text[]"
    aliases = _aliases(table.native_ids or (own,), own)
    lookup = _LOOKUP.format(table=table.name)
    insert = _INSERT.format(aliases=aliases, known=_FACTS.format(aliases="aliases", lookup=lookup), table=table.name)
    known = f"WITH known AS MATERIALIZED ({_FACTS.format(aliases=f'({aliases})', lookup=lookup)})"
    if not table.native_ids:
        return insert, f"{known} UPDATE stage s SET time = k.time FROM known k WHERE s.ctid = k.row AND s.time <> k.time"
    delete_duplicates = f'{known} DELETE FROM stage s USING known k WHERE s.ctid = k.row AND s."{key[0]}" <> k.fact[1]'
    moved = f"s.time <> k.time OR {own} <> k.fact"
    take_key = f"{known} UPDATE stage s SET {_assignments(key)} FROM known k WHERE s.ctid = k.row AND ({moved})"
    return insert, delete_duplicates, take_key


def _aliases(native_ids: tuple[str, ...], own: str) -> str:
    values = ", ".join(f"({rank}, {native_id})" for rank, native_id in enumerate(native_ids))
    return (
        f"SELECT s.ctid AS row, {own} AS own, s.time, c.* FROM stage s CROSS JOIN LATERAL (VALUES {values}) AS c (rank, native_id)"
    )


def _assignments(key: list[str]) -> str:
    return ", ".join([*(f'"{name}" = k.fact[{number}]' for number, name in enumerate(key, 1)), "time = k.time"])


# LIMIT makes this an index look-up for each native id. For a join, the planner has no statistics of `stage` and hashes the whole
# table (measured: 3.6 ms per article with 230,000 native ids).
_LOOKUP = """
    SELECT coalesce(i.same_as, i.native_id) AS fact, i.time FROM native_ids i
    WHERE i.table_name = '{table}' AND i.native_id = c.native_id LIMIT 1"""

# The fact of each row, by the strongest of its native ids that is stored.
_FACTS = """
        SELECT DISTINCT ON (c.row) c.row, n.fact, n.time FROM {aliases} c CROSS JOIN LATERAL ({lookup}) n ORDER BY c.row, c.rank"""

# A row without a stored native id is the same fact as the first row of the batch that shares a native id with it; a row whose fact
# is stored comes first.
_INSERT = """
    WITH aliases AS MATERIALIZED ({aliases}),
    known AS ({known}),
    alike AS (
        SELECT c.row, first_value(k.fact IS NULL) OVER shared AS new,
               first_value(coalesce(k.fact, c.own)) OVER shared AS fact, first_value(coalesce(k.time, c.time)) OVER shared AS time
        FROM aliases c LEFT JOIN known k USING (row)
        WINDOW shared AS (PARTITION BY c.native_id ORDER BY k.fact IS NULL, coalesce(k.time, c.time), coalesce(k.fact, c.own))
    ),
    facts AS (
        SELECT DISTINCT ON (a.row) a.row, coalesce(k.fact, a.fact) AS fact, coalesce(k.time, a.time) AS time
        FROM alike a LEFT JOIN known k USING (row) ORDER BY a.row, a.new, a.time, a.fact
    )
    INSERT INTO native_ids (table_name, native_id, time, same_as)
    SELECT DISTINCT ON (c.native_id) '{table}', c.native_id, f.time, nullif(f.fact, c.native_id)
    FROM aliases c JOIN facts f USING (row) ORDER BY c.native_id, f.time, f.fact ON CONFLICT DO NOTHING"""
