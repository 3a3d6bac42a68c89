"""The archive of a downgrade as a form: it says what stands in it, is closed, and no other schema is taken for one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection

from lawsker_db.errors import RolledBack
from lawsker_db.postgres import kept
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.session import find_schema, pin_session
from lawsker_db.target import parse_target

RUN = "20261122T090501Z-012-a1b2c3"
ARCHIVE = "lawsker_archive_20261122t090501z_012_a1b2c3"
TABLES = """
    ALTER DEFAULT PRIVILEGES GRANT USAGE, CREATE ON SCHEMAS TO PUBLIC, pg_monitor;
    CREATE TABLE users (id integer PRIMARY KEY, a text DEFAULT 'x:y' NOT NULL UNIQUE, b integer CHECK (b > 0));
    CREATE INDEX by_b ON users (b);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TABLE "Odd:name" (id serial PRIMARY KEY, "u s" integer REFERENCES users (id) ON DELETE CASCADE);
    CREATE INDEX odd ON "Odd:name" ("u s");
    CREATE TRIGGER "t:1" BEFORE UPDATE ON "Odd:name" FOR EACH ROW EXECUTE FUNCTION touch();
    ALTER TABLE "Odd:name" DISABLE TRIGGER "t:1";
    COMMENT ON TRIGGER "t:1" ON "Odd:name" IS 'it''s theirs';
    COMMENT ON COLUMN users.b IS 'of a DBA';
    CREATE TABLE contents (id integer PRIMARY KEY);
    CREATE TABLE keyless (a integer, b integer);
    INSERT INTO users SELECT n, 'v' || n, n FROM generate_series(1, 9) AS n;
    INSERT INTO "Odd:name" ("u s") SELECT n FROM generate_series(1, 9) AS n;
    CREATE SCHEMA lawsker_archive_of_somebody;
    CREATE TABLE lawsker_archive_of_somebody.archive (id integer);
    CREATE TABLE lawsker_archive_of_somebody.contents (id integer);
"""


@pytest.fixture
def conn(empty_url: str) -> Iterator[Connection]:
    """A pinned connection to a database with something to keep; rolled back at the end."""
    with psycopg.connect(empty_url) as raw:
        raw.execute(TABLES.encode())
    with parse_target(empty_url).connect() as conn:
        pin_session(conn, find_schema(conn))
        yield conn
        conn.rollback()


def keep(conn: Connection, schema: str, table: str) -> kept.Kept:
    return kept.keep_table(conn, schema, table, chain_schema="public", revision="013", digest="d")


def test_what_goes_into_an_archive_is_what_it_says_of_itself(conn: Connection) -> None:
    whole = fingerprint_table(conn, 'public."Odd:name"')
    columns = fingerprint_table(conn, "public.users", ("id", "a", "b"))
    schema = kept.begin_archive(conn, RUN, "public")
    table = keep(conn, schema, "Odd:name")
    part = kept.keep_columns(conn, schema, "users", ("b", "a"), chain_schema="public", revision="013", digest="d")
    assert schema == ARCHIVE
    assert table.fingerprint.same_content(whole)
    assert part.fingerprint.same_content(columns)
    assert (table.key, part.key, part.columns) == (("id",), ("id",), ("b", "a"))
    (archive,) = kept.find_archives(conn)
    assert (archive.schema, archive.run_id, archive.chain_schema) == (ARCHIVE, RUN, "public")
    assert archive.kept == (table, part)
    for entry in archive.kept:
        assert fingerprint_table(conn, entry.place) == entry.fingerprint
    assert conn.exec_driver_sql("SELECT to_regclass('public.\"Odd:name\"')").scalar_one() is None


def test_the_definitions_bring_back_by_hand_what_was_taken_off(conn: Connection) -> None:
    schema = kept.begin_archive(conn, RUN, "public")
    table = keep(conn, schema, "Odd:name")
    part = kept.keep_columns(conn, schema, "users", ("b", "a"), chain_schema="public", revision="013", digest="d")
    triggers = f"SELECT count(*) FROM pg_trigger WHERE tgrelid = '{table.place}'::regclass"
    assert conn.exec_driver_sql(triggers).scalar_one() == 0, "the application's DELETE must not reach the archive"
    conn.exec_driver_sql(f"ALTER TABLE {table.place} SET SCHEMA public")
    conn.exec_driver_sql("ALTER TABLE users DROP COLUMN a, DROP COLUMN b; DROP FUNCTION touch()")
    added = [definition for definition in part.definitions if " ADD COLUMN " in definition]
    for definition in added:
        conn.exec_driver_sql(definition.replace(" NOT NULL", ""))  # the rows have no values yet
    conn.exec_driver_sql(f"UPDATE users SET a = k.a, b = k.b FROM {part.place} AS k WHERE k.id = users.id")
    for definition in (*table.definitions, *part.definitions[len(added) :]):
        conn.exec_driver_sql(definition)
    states = "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 't:1'"
    assert conn.exec_driver_sql(states).scalar_one() == "D"
    assert conn.exec_driver_sql("SELECT nextval('\"Odd:name_id_seq\"')").scalar_one() == 10
    assert conn.exec_driver_sql("SELECT count(*) FROM pg_constraint WHERE conname = 'users_b_check'").scalar_one() == 1
    assert conn.exec_driver_sql("SELECT to_regclass('by_b')").scalar_one() is not None
    said = "SELECT description FROM pg_description d JOIN pg_trigger t ON t.oid = d.objoid UNION ALL"
    said += " SELECT col_description('users'::regclass, attnum) FROM pg_attribute WHERE attname = 'b'"
    said += " AND attrelid = 'users'::regclass"
    assert conn.exec_driver_sql(said).scalars().all() == ["it's theirs", "of a DBA"]
    assert conn.exec_driver_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").scalar_one() == 1


def test_an_archive_is_closed_to_everybody_but_its_owner(conn: Connection) -> None:
    schema = kept.begin_archive(conn, RUN, "public")
    acl = conn.exec_driver_sql(f"SELECT nspacl::text FROM pg_namespace WHERE nspname = '{schema}'").scalar_one()
    assert acl.count("=") == 1, acl


def test_a_table_that_is_called_as_one_of_ours_is_kept_under_another_name(conn: Connection) -> None:
    schema = kept.begin_archive(conn, RUN, "public")
    entry = keep(conn, schema, "contents")
    assert (entry.original, entry.kept_as) == ("contents", "contents_2")
    assert kept.find_archives(conn)[0].kept == (entry,)


def test_columns_of_a_table_without_a_key_are_not_kept_as_if_they_could_be_brought_back(conn: Connection) -> None:
    schema = kept.begin_archive(conn, RUN, "public")
    with pytest.raises(RolledBack, match="no primary key that stays"):
        kept.keep_columns(conn, schema, "keyless", ("b",), chain_schema="public", revision="013", digest="d")
    with pytest.raises(RolledBack, match="no primary key that stays"):
        kept.keep_columns(conn, schema, "users", ("id",), chain_schema="public", revision="013", digest="d")


def test_a_schema_that_only_bears_such_a_name_is_named_and_not_trusted(conn: Connection) -> None:
    assert kept.find_archives(conn) == ()
    assert kept.unknown_archives(conn) == ("lawsker_archive_of_somebody",)
    schema = kept.begin_archive(conn, RUN, "public")
    conn.exec_driver_sql(f"ALTER SCHEMA {schema} RENAME TO lawsker_archive_of_another_run")
    assert kept.find_archives(conn) == (), "it tells of a run whose name it does not bear"


def test_a_forged_archive_with_nothing_in_it_stands_in_nobodys_way(conn: Connection) -> None:
    schema = kept.begin_archive(conn, RUN, "public")
    keep(conn, schema, "contents")
    conn.exec_driver_sql(f"ALTER TABLE {schema}.contents ALTER COLUMN key DROP NOT NULL")
    conn.exec_driver_sql(f"UPDATE {schema}.contents SET key = NULL")
    assert kept.find_archives(conn) == ()
    conn.exec_driver_sql(f"ALTER TABLE {schema}.archive DROP CONSTRAINT lawsker_archive_archive_pkey")
    conn.exec_driver_sql(f"ALTER TABLE {schema}.archive ALTER COLUMN run_id DROP NOT NULL")
    conn.exec_driver_sql(f"UPDATE {schema}.archive SET run_id = NULL")
    assert kept.find_archives(conn) == ()


def test_two_archives_come_newest_first(conn: Connection) -> None:
    older = kept.begin_archive(conn, RUN, "public")
    newer = kept.begin_archive(conn, "20261123T090501Z-012-a1b2c3", "public")
    conn.exec_driver_sql(f"UPDATE {older}.archive SET made_at = made_at - interval '1 day'")
    assert [archive.schema for archive in kept.find_archives(conn)] == [newer, older]


def test_the_name_of_an_archive_fits_however_long_the_revision_is() -> None:
    names = {kept.archive_schema(f"20261122T090501Z-{'r' * 32}-{chance}") for chance in ("a1b2c3", "d4e5f6")}
    assert len(names) == 2
    assert {len(name) for name in names} == {63}
