"""The file names and the page of schema/ agree with the relations that the files create, and with their comments."""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import pytest

from ingest.store.schema_files import find, read

OF_SEVERAL = {"platforms", "columnstore"}  # files that create no single relation
RELATIONS = """
    SELECT c.relnamespace::regnamespace::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
           obj_description(c.oid, 'pg_class') AS comment,
           EXISTS (SELECT FROM timescaledb_information.hypertables h
                    WHERE (h.hypertable_schema, h.hypertable_name) = (c.relnamespace::regnamespace::text, c.relname)) AS hypertable
      FROM pg_class c
     WHERE c.relnamespace::regnamespace::text !~ '^(pg_|information_schema|_?timescaledb)' AND c.relkind IN ('r', 'v')
     ORDER BY 1, 2
"""


@pytest.fixture
async def relations(market: str) -> Any:
    connection = await asyncpg.connect(market)
    yield await connection.fetch(RELATIONS)
    await connection.close()


def page() -> str:
    return (find() / "README.md").read_text()


def test_the_page_is_short() -> None:
    assert len(page().encode()) <= 12_288, "of which the generated table of roles takes a third"


async def test_a_file_is_called_after_the_relation_that_it_creates(relations: Any, edition: str) -> None:
    names = {row["name"] for row in relations} | {row["schema"] for row in relations}
    files = [file for file in read(find()).versioned if edition == "community" or not file.community_only]
    called = [re.sub(r".*/\d+_|\.sql$", "", file.name) for file in files]
    assert [name for name in called if name not in names] == [name for name in called if name in OF_SEVERAL]
    created = {row["name"] for row in relations if row["schema"] == "public" and row["kind"] == "r"}
    assert created - set(called) == {"schema_migrations"}  # which the runner creates


async def test_every_relation_has_a_comment(relations: Any) -> None:
    assert [f"{row['schema']}.{row['name']}" for row in relations if not row["comment"]] == []


async def test_the_page_has_every_table_with_its_comment(relations: Any) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (yes)? ?\|$", page(), flags=re.MULTILINE)
    tables = {row["name"]: (row["comment"], "yes" if row["hypertable"] else "") for row in relations if row["kind"] == "r"}
    assert {name: (comment, hypertable) for name, comment, hypertable in rows} == tables
    order = [re.sub(r".*/\d+_|\.sql$", "", file.name) for file in read(find()).versioned]
    listed = [name for name, _, _ in rows if name != "schema_migrations"]
    assert listed == [name for name in dict.fromkeys(order) if name in listed], "in the order of the files that create them"


async def test_the_page_has_every_view(relations: Any) -> None:
    views = {row["schema"]: set[str]() for row in relations if row["kind"] == "v"}
    for row in relations:
        if row["kind"] == "v" and not row["name"].endswith("_cagg"):
            views[row["schema"]].add(row["name"])
    section = page().partition("## Views")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)
    assert {schema: set(re.findall(r"`(\w+)`", text)) for schema, text in rows} == views
