"""What each role of schema/roles.sql may do. `tests/database/test_role_matrix.py` runs every statement as every role.

The table in schema/README.md is generated from this module.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

WRITER, READER, METRICS = ROLES = ("ingest_writer", "ingest_reader", "ingest_metrics")


class Attempt(Struct, frozen=True):
    """One statement, in a transaction that is rolled back, and the roles that may run it."""

    statement: str
    may: tuple[str, ...] = ()
    reason: str = ""


CODE = "code of its own, as any role that may create temporary objects; nothing of the owner runs it"
MATRIX = (
    # data
    Attempt("SELECT FROM trades", (READER,)),
    Attempt("SELECT FROM market.candles", (READER,)),
    Attempt("INSERT INTO trades SELECT 1, now(), 1, 1, 1, 'buy', now()", (WRITER,)),
    Attempt("UPDATE candles SET volume = 0", (WRITER,), "its values may be revised"),
    Attempt("UPDATE trades SET price = 1"),
    Attempt("DELETE FROM candles"),
    Attempt("DELETE FROM whale_transactions", (WRITER,), "of blocks that their chain dropped"),
    Attempt("TRUNCATE candles"),
    Attempt("SELECT drop_chunks('trades', now())"),
    # the daemon's own tables
    Attempt("SELECT FROM coverage", (WRITER, READER, METRICS)),
    Attempt("SELECT FROM leases", (WRITER, METRICS)),
    Attempt("SELECT FROM poll_cursors", (WRITER,)),
    Attempt("SELECT payload FROM rejects", (), "it has what sources sent, unread"),
    Attempt("SELECT FROM locks FOR UPDATE"),
    Attempt("UPDATE schema_migrations SET status = 'skipped'"),
    # definitions
    Attempt("CREATE TABLE public.theirs ()"),
    Attempt("CREATE SCHEMA theirs"),
    Attempt("ALTER TABLE trades ADD COLUMN more int"),
    Attempt("CREATE INDEX ON trades (price)"),
    Attempt("CREATE STATISTICS theirs ON time, price FROM trades"),
    Attempt("CREATE TRIGGER theirs AFTER INSERT ON trades FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
    Attempt("CREATE FUNCTION public.theirs() RETURNS int LANGUAGE sql RETURN 1"),
    Attempt("CREATE FUNCTION market.theirs() RETURNS int LANGUAGE sql RETURN 1"),
    Attempt("CREATE CAST (text AS news) WITH INOUT AS IMPLICIT"),
    Attempt("REINDEX TABLE rejects"),
    Attempt("CREATE TEMP TABLE theirs ()", (WRITER,), "it stages rows there"),
    Attempt("CREATE FUNCTION pg_temp.theirs() RETURNS int LANGUAGE sql RETURN 1", (WRITER,), CODE),
    Attempt("DO 'BEGIN END'", ROLES, CODE),
    # the server
    Attempt("SELECT add_job('now'::regproc, '1h')"),
    Attempt("SELECT delete_job(1)"),
    Attempt("COPY (SELECT 1) TO PROGRAM 'true'"),
    Attempt("COPY (SELECT 1) TO '/tmp/theirs'"),
    Attempt("SELECT pg_read_file('/etc/hostname')"),
    Attempt("SELECT lo_import('/etc/hostname')"),
    Attempt("SELECT lo_create(0)"),
    Attempt("SELECT lo_from_bytea(0, '')"),
    Attempt("SET LOCAL session_replication_role = replica"),
    Attempt("SET ROLE ingest_owner"),
    Attempt("ALTER ROLE ingest_owner PASSWORD 'theirs'"),
    Attempt("CREATE ROLE theirs"),
    # locks
    Attempt("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE"),
    Attempt("LOCK TABLE candles IN ACCESS EXCLUSIVE MODE", (WRITER,), "UPDATE allows it; a migration that waits names the session"),
    Attempt("SELECT pg_advisory_xact_lock(1)", ROLES, "extensions need it; no writer waits for one, other waits name the session"),
    Attempt("NOTIFY theirs", ROLES, "PostgreSQL has no privilege for it"),
)

HEAD = ("statement", *(f"`{role}`" for role in ROLES), "reason")


def role_rows() -> Iterator[tuple[str, ...]]:
    """The rows of the table in schema/README.md."""
    for attempt in MATRIX:
        yield (f"`{attempt.statement}`", *("yes" if role in attempt.may else "" for role in ROLES), attempt.reason)
