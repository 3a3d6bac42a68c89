"""What a server only prints anew after a dump and a restore is told from what was changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text

from lawsker_db.postgres.catalog import Difference, read_catalog
from lawsker_db.postgres.session import find_schema, pin_session, server_major
from lawsker_db.postgres.spelling import PROBE, TRIED, without_spelling
from lawsker_db.safety.errands import take_proven_backup
from lawsker_db.target import parse_target

# Every expression holds a list of varchar, whose casts wander into the ARRAY when it is read back.
LISTED = "s IN ('a', 'b') AND n BETWEEN 1 AND 3"
ODD = (
    f'CREATE TABLE "o.dd" (n int, s varchar(9), "a b" bool GENERATED ALWAYS AS ({LISTED}) STORED)',
    'CREATE TABLE log (LIKE "o.dd")',
    """CREATE RULE "r u" AS ON INSERT TO "o.dd" WHERE NEW.s IN ('a', 'b') AND NEW.n >= 1"""
    " DO ALSO INSERT INTO log VALUES (NEW.n, NEW.s)",
    f"CREATE TABLE parted (n int, s varchar(9)) PARTITION BY LIST (({LISTED}))",
    "CREATE TABLE parted_true PARTITION OF parted FOR VALUES IN (true)",
    "CREATE FUNCTION same(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n'",
    "CREATE DOMAIN flag AS bool DEFAULT ('x'::varchar IN ('a', 'b') AND same(1) >= 1)",
    "CREATE FUNCTION plain(f bool DEFAULT ('x'::varchar IN ('a', 'b') AND 2 >= 1)) RETURNS int LANGUAGE sql"
    " AS 'SELECT 1'",
)
FROM_14 = (
    f'CREATE STATISTICS st ON ({LISTED}), s FROM "o.dd"',
    f'CREATE FUNCTION "f (x"(n int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC'
    f""" SELECT count(*) FROM parted WHERE {LISTED} AND parted.n > "f (x".n; END""",
    f"CREATE PROCEDURE proc(a int) LANGUAGE sql BEGIN ATOMIC INSERT INTO log SELECT n, s FROM parted WHERE {LISTED}; END",
)
FROM_18 = (f"CREATE TABLE seeming (n int, s varchar(9), v bool GENERATED ALWAYS AS ({LISTED}) VIRTUAL)",)
# What is printed of each kind, and since which major there is such a thing.
KINDS = (
    ("column", 'public."o.dd"."a b"', "default", 12),
    ("rule", 'public."o.dd"."r u"', "definition", 12),
    ("table", "public.parted", "partition_key", 12),
    ("type", "public.flag", "default", 12),
    ("function", "public.plain(f boolean)", "definition", 12),
    ("statistics", "public.st", "definition", 14),
    ("function", 'public."f (x"(n integer)', "definition", 14),
    ("function", "public.proc(IN a integer)", "definition", 14),
    ("column", "public.seeming.v", "default", 18),
)


@pytest.fixture
def odd_url(sample_url: str) -> str:
    with psycopg.connect(sample_url, autocommit=True) as conn:
        major = conn.info.server_version // 10000
        for statement in (*ODD, *(FROM_14 if major >= 14 else ()), *(FROM_18 if major >= 18 else ())):
            conn.execute(statement.encode())
    return sample_url


@pytest.fixture
def conn(odd_url: str) -> Iterator[Connection]:
    with parse_target(odd_url).connect() as connection:
        pin_session(connection, find_schema(connection))
        yield connection
        connection.rollback()


def shown(conn: Connection) -> list[Difference]:
    """What is printed of each object, as something that was expected, beside what is printed of it once it is read back."""
    objects, major = read_catalog(conn).objects, server_major(conn)
    found = []
    for kind, name, attribute, since in KINDS:
        if major >= since:
            expected = str(objects[kind, name][attribute])
            bare = Difference(kind=kind, name=name, attribute=attribute, expected=expected, found="")
            found.append(replace(bare, found=read_back(conn, bare)))
    return found


def read_back(conn: Connection, difference: Difference) -> str:
    with conn.begin_nested() as savepoint:
        conn.execute(text("SET LOCAL search_path = ''"))
        printed = TRIED[difference.kind, difference.attribute](conn, difference)
        savepoint.rollback()
    return printed


def test_whatever_a_restore_spells_anew_is_proven_equal(odd_url: str, tmp_path: Path) -> None:
    assert take_proven_backup(parse_target(odd_url), tmp_path / "backup", "b").proven


def test_what_is_only_spelled_anew_is_no_difference(conn: Connection) -> None:
    differences = shown(conn)
    assert [found.name for found in differences if found.expected == found.found] == []
    assert without_spelling(conn, tuple(differences)) == ()


def test_what_was_changed_remains_a_difference_however_it_is_spelled(conn: Connection) -> None:
    """The change is small, and the probe reads it: that it could not be tried is not why it remains."""
    for found in shown(conn):
        assert found.expected.count(">= 1") == 1, found
        changed = replace(found, expected=found.expected.replace(">= 1", ">= 2"))
        assert read_back(conn, changed) == found.found.replace(">= 1", ">= 2")
        assert without_spelling(conn, (changed,)) == (changed,)
        for broken in ("nothing", "", "SELECT 1", found.expected[:-9]):
            unread = replace(found, expected=broken)
            assert without_spelling(conn, (unread,)) == (unread,)


def test_a_change_beside_the_expression_remains_a_difference(conn: Connection) -> None:
    """Names, events and options of what a probe bears another name for."""
    differences = shown(conn)
    for name, before, after in (
        ("r u", 'RULE "r u"', 'RULE "r v"'),
        ("r u", "ON INSERT", "ON DELETE"),
        ("r u", 'TO public."o.dd"', "TO public.log"),
        ("plain", "public.plain(", "public.plane("),
        ("plain", "LANGUAGE sql", "LANGUAGE sql STABLE"),
        ("plain", "public.plain(", "audit.plain("),
        ("public.st", "public.st ", "audit.st "),
        ("public.st", 'FROM public."o.dd"', "FROM public.parted"),
        ("public.st", " ON s,", " (mcv) ON s,"),
        ("parted", "LIST (", "RANGE ("),
    ):
        for found in differences:
            if name in found.name:
                changed = replace(found, expected=found.expected.replace(before, after))
                assert changed != found, before
                assert without_spelling(conn, (changed,)) == (changed,)


def test_trying_needs_no_more_than_to_read_what_stands_and_leaves_nothing_behind(
    odd_url: str, conn: Connection
) -> None:
    differences = tuple(shown(conn))
    conn.rollback()
    pin_session(conn, find_schema(conn))
    with psycopg.connect(odd_url) as other:  # nothing but a reader comes past this lock
        other.execute('LOCK TABLE "o.dd", parted IN EXCLUSIVE MODE')
        assert without_spelling(conn, differences) == ()
    locks = conn.execute(
        text(
            "SELECT l.relation::regclass::text, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE l.pid = pg_backend_pid() AND l.mode <> 'AccessShareLock' AND l.relation >= 16384"
        )
    ).all()
    assert locks == []
    left = "SELECT count(*) FROM pg_class, pg_namespace WHERE relname LIKE :probe OR nspname LIKE :probe"
    assert conn.execute(text(left), {"probe": f"{PROBE}%"}).scalar_one() == 0
