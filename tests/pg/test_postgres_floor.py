"""What is asked of the server: fingerprints, what was written, locks, snapshots, the catalog, and the seal."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from wire import wire

from lawsker_db.demo.sample import load_sample
from lawsker_db.errors import Busy, GateRefused, LockNotObtained
from lawsker_db.evidence import Fingerprint, Verdict
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import Blocker
from lawsker_db.postgres.catalog import compare_catalogs, hold_definitions, read_catalog
from lawsker_db.postgres.fingerprint import column_names, fingerprint_table
from lawsker_db.postgres.seal import SEALED, Seal, create_seal, no_transaction_control
from lawsker_db.postgres.session import literal, pin_session, server_major
from lawsker_db.postgres.snapshot import hold_snapshot
from lawsker_db.postgres.tools import tool_access
from lawsker_db.postgres.touched import read_relations, written_relations
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target, session_mark


@pytest.fixture(scope="module")
def shared_url(server: Any, sample_template: str) -> Iterator[str]:
    """The sample, for tests that roll back all they do."""
    name = f"floor_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {sample_template}")
    yield server.url(name)
    server.run(f"DROP DATABASE {name}")


@contextmanager
def pinned(url: str) -> Iterator[Connection]:
    """A connection as the product pins it; what is done on it is rolled back."""
    with parse_target(url).connect() as conn:
        pin_session(conn, "public")
        yield conn
        conn.rollback()


@pytest.fixture
def conn(shared_url: str) -> Iterator[Connection]:
    with pinned(shared_url) as connection:
        do(connection, "SET LOCAL lock_timeout = '60s'")  # autovacuum gives way after a second, but not before
        yield connection


def do(conn: Connection, statements: str) -> None:
    conn.execute(literal(statements))


# Fingerprints.

ODD = '"100% :a ""b""\n表"'
DOUBLED = ODD.replace("%", "%%")  # as psycopg takes it beside parameters
POOLS = {
    '"%s"': ("numeric", ["0", "1", "1.0", "1.00", "10", "1e1000", "1e-1000", "NaN", "-1"]),
    '":double"': ("double precision", ["0", "-0", "1", "NaN", "Infinity", "5e-324", "1.7976931348623157e308"]),
    '"real ""r"""': ("real", ["0", "-0", "1e-45", "3.4028235e38"]),
    '"select"': ("text", None),
    '"Größe"': ("varchar", None),
    "code": ("char(4)", ["ab", "AB", "abc", ""]),
    "doc": ("json", ['{"a":1}', '{"a": 1}', '{"a":1.0}', '{"a":1,"a":1}', "null", " null"]),
    "docb": ("jsonb", ['{"a":1}', '{"a":1.0}', '{"a":null}', "null", "[]", '"-0"']),
    "price": ("money", ["1.00", "1.01", "-1.00", "0"]),
    "numbers": ("int[]", ["{}", "{1,2}", "[0:1]={1,2}", "{1,NULL}", "{{1,2}}", "{NULL}"]),
    "mood": ("alert_level", ["info", "Warning", 'it\'s "critical"']),
    "moods": ("alert_level[]", ["{}", "{info}", "{info,info}", "{NULL}"]),
    "pay": ("money_amount", ["(1,CNY)", "(2,CNY)", "(,)", "(1.0,USD)"]),
    "mail": ("email_address", ["a@b", "A@b", "a@b "]),
    "span": ("interval", ["1 month", "30 days", "720:00:00", "0", "-1 year", "00:00:00.000001"]),
    "moment": ("timestamptz", ["2021-03-28 02:30:00+00", "2021-03-28 02:30:00.000001+00", "infinity", "-infinity"]),
    "payload": ("bytea", ["\\x", "\\x00", "\\x0000", "\\x5c2e"]),
    "address": ("inet", ["10.0.0.1", "10.0.0.1/8", "::1"]),
    "numberline": ("int4range", ["empty", "[1,5)", "(,)", "[1,)"]),
    "bits": ("bit varying(8)", ["", "0", "00", "1"]),
    "words": ("tsvector", ["a:1", "a:2", "a", ""]),
    "place": ("point", ["(0,0)", "(-0,0)", "(NaN,1)"]),
    "yes": ("boolean", ["true", "false"]),
}  # fmt: skip
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
EDGES = ["", " ", "NULL", "null", "\\N", "a", "A", "é", "e\u0301", "\n", "\r\n", "\\", "'", '"', ","]


def cell(column: str) -> st.SearchStrategy[str | None]:
    pool = POOLS[column][1]
    return st.none() | (st.sampled_from(pool) if pool is not None else st.sampled_from(EDGES) | TEXTS)


ROWS = st.lists(st.fixed_dictionaries({column: cell(column) for column in POOLS}), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def odd(shared_url: str) -> Iterator[Connection]:
    """A transaction with a table of odd names and types; `fill` brings it to what an example wants."""
    with pinned(shared_url) as connection:
        columns = ", ".join(f"{column} {kind}" for column, (kind, _) in POOLS.items())
        do(connection, f"CREATE TABLE {ODD} (id int, {columns}); SAVEPOINT empty")
        yield connection


def raw(conn: Connection) -> psycopg.Connection[Any]:
    driver = conn.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


def fill(conn: Connection, rows: list[dict[str, str | None]]) -> None:
    raw(conn).execute(b"ROLLBACK TO SAVEPOINT empty")
    places = ", ".join(f"%s::text::{kind}" for kind, _ in POOLS.values())
    for number, row in enumerate(rows):
        values = [number, *(row[column] for column in POOLS)]
        raw(conn).execute(f"INSERT INTO {DOUBLED} VALUES (%s, {places})".encode(), values)


def print_of(conn: Connection, columns: tuple[str, ...] | None = None) -> tuple[int, tuple[str, str]]:
    found = fingerprint_table(conn, ODD, columns)
    return found.rows, found.sums


MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(data=st.data(), rows=ROWS)
def test_a_change_of_one_cell_is_always_seen(odd: Connection, data: st.DataObject, rows: list[Any]) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(sorted(POOLS)))
    value = data.draw(cell(column).filter(lambda found: found != rows[row][column]))
    fill(odd, rows)
    before = print_of(odd)
    change = f"UPDATE {DOUBLED} SET {column.replace('%', '%%')} = %s::text::{POOLS[column][0]} WHERE id = %s"
    raw(odd).execute(change.encode(), (value, row))
    assert print_of(odd) != before


@MANY
@given(rows=ROWS)
def test_new_versions_of_rows_another_order_and_a_rewrite_are_never_seen(odd: Connection, rows: list[Any]) -> None:
    fill(odd, rows)
    columns = column_names(odd, ODD)
    before = print_of(odd)
    do(odd, f"UPDATE {ODD} SET code = code")
    assert print_of(odd) == before
    do(odd, f"WITH gone AS (DELETE FROM {ODD} RETURNING *) INSERT INTO {ODD} SELECT * FROM gone ORDER BY id DESC")
    assert print_of(odd) == before
    do(odd, f"ALTER TABLE {ODD} ADD COLUMN extra double precision DEFAULT random()")
    assert print_of(odd, columns) == before
    do(odd, f"ALTER TABLE {ODD} DROP COLUMN extra")
    assert print_of(odd) == before


@MANY
@given(rows=ROWS, again=ROWS)
def test_a_row_more_a_row_less_and_a_row_twice_are_seen(odd: Connection, rows: list[Any], again: list[Any]) -> None:
    fill(odd, rows)
    one = print_of(odd)
    fill(odd, [*rows, again[0]])
    more = print_of(odd)
    assert more != one
    do(odd, f"INSERT INTO {ODD} SELECT * FROM {ODD}")
    assert print_of(odd) not in (one, more)


@pytest.mark.parametrize("column", POOLS)
def test_values_that_are_stored_differently_have_different_fingerprints(column: str, odd: Connection) -> None:
    values = [None, *(POOLS[column][1] or EDGES)]
    prints = {}
    for value in values:
        fill(odd, [{**dict.fromkeys(POOLS), column: value}])
        prints[value] = print_of(odd)
    assert len(set(prints.values())) == len(values), prints


def test_pairs_of_equal_rows_do_not_cancel(odd: Connection) -> None:
    empty: dict[str, str | None] = dict.fromkeys(POOLS)
    prints = []
    for value in ("a", "b"):
        fill(odd, [{**empty, '"select"': value}])
        do(odd, f"UPDATE {ODD} SET id = 1; INSERT INTO {ODD} SELECT * FROM {ODD}")
        prints.append(print_of(odd))
    assert prints[0] != prints[1]
    assert prints[0][0] == prints[1][0] == 2


def test_cells_swapped_between_rows_or_columns_are_seen(odd: Connection) -> None:
    empty: dict[str, str | None] = dict.fromkeys(POOLS)
    first, second = {**empty, '"select"': "x"}, {**empty, '"Größe"': "x"}
    prints = set()
    for rows in ([first, second], [second, first], [first, first], [second, second]):
        fill(odd, rows)
        prints.add(print_of(odd))
    assert len(prints) == 4


def test_a_fingerprint_does_not_depend_on_the_settings_of_a_session(shared_url: str) -> None:
    tables = ["public.users", "public.payment_orders", 'public."Quoted ""Name""\n"', "public.attachments"]
    with pinned(shared_url) as conn:
        plain = [fingerprint_table(conn, table) for table in tables]
    with parse_target(shared_url).connect() as conn:
        do(
            conn,
            "SET DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard';"
            " SET bytea_output = 'escape'; SET extra_float_digits = -10; SET lc_monetary = 'C'; SET search_path = audit",
        )
        pin_session(conn, "audit")
        assert [fingerprint_table(conn, table) for table in tables] == plain


def test_a_fingerprint_of_a_parent_leaves_its_children_out(conn: Connection) -> None:
    before = fingerprint_table(conn, "public.alert_events")
    assert before.rows == 50
    do(conn, "DELETE FROM archived_alert_events")
    assert fingerprint_table(conn, "public.alert_events") == before


def test_a_column_that_is_gone_makes_a_fingerprint_differ(conn: Connection) -> None:
    columns = column_names(conn, "public.wallets")
    before = fingerprint_table(conn, "public.wallets", columns)
    do(conn, "ALTER TABLE wallets DROP COLUMN last_commission_at")
    assert not before.same_content(fingerprint_table(conn, "public.wallets", columns))


def test_an_empty_table_and_a_table_without_columns_have_fingerprints(conn: Connection) -> None:
    do(conn, "CREATE TABLE hollow (); CREATE TABLE thin (a int)")
    empty = Fingerprint(table="public.thin", columns=("a",), rows=0, sums=("0", "0"))
    assert fingerprint_table(conn, "public.thin") == empty
    bare = fingerprint_table(conn, "public.hollow")
    do(conn, "INSERT INTO hollow DEFAULT VALUES")
    assert not bare.same_content(fingerprint_table(conn, "public.hollow"))


def test_a_copy_whose_types_have_other_oids_has_the_same_fingerprints(shared_url: str, empty_url: str) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE TYPE filler AS ENUM ('a'); CREATE TABLE fillers (a filler)")
        connection.execute("DROP TABLE fillers; DROP TYPE filler")
    load_sample(empty_url, users=120)
    found = []
    for url in (shared_url, empty_url):
        with pinned(url) as conn:
            tables = [r.name for r in read_relations(conn) if r.kind == "r" and r.name != "pg_catalog.pg_largeobject"]
            oid = conn.execute(text("SELECT 'alert_level'::regtype::oid::bigint")).scalar_one()
            prints = {name: fingerprint_table(conn, name) for name in tables if "pg_catalog" not in name}
            found.append((oid, prints, read_catalog(conn)))
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]
    # A template's settings stay with it (pg_db_role_setting hangs on its OID): the clone that we compare with has none.
    assert [d for d in compare_catalogs(found[0][2], found[1][2]) if d.kind != "setting"] == []


# What this transaction has written.

SETUP = """
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
    INSERT INTO parent VALUES (1), (2);
    INSERT INTO child VALUES (1);
    CREATE TABLE bell (a int);
    CREATE FUNCTION ring() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN UPDATE wallets SET balance = 0 WHERE false; RETURN NEW; END';
    CREATE TRIGGER ring AFTER INSERT ON bell FOR EACH ROW EXECUTE FUNCTION ring();
    CREATE TABLE ruled (a int);
    CREATE RULE instead AS ON INSERT TO ruled DO INSTEAD DELETE FROM tenants WHERE false;
    CREATE FUNCTION meddle() RETURNS void LANGUAGE sql AS 'DELETE FROM public.tenants WHERE false';
"""
WAYS = {
    "insert": ("INSERT INTO session_cache VALUES ('new', '{}')", "public.session_cache"),
    "update": ("UPDATE profiles SET bio = bio", "public.profiles"),
    "update of no row": ("UPDATE profiles SET bio = bio WHERE false", "public.profiles"),
    "delete": ("DELETE FROM case_logs", "public.case_logs"),
    "truncate": ("TRUNCATE session_cache", "public.session_cache"),
    "view": ("UPDATE users_overview SET last_login = NULL", "public.users"),
    "cascade": ("DELETE FROM parent WHERE id = 1", "public.child"),
    "cascade of an update": ("UPDATE parent SET id = 3 WHERE id = 1", "public.child"),
    "trigger": ("INSERT INTO bell VALUES (1)", "public.wallets"),
    "rule": ("INSERT INTO ruled VALUES (1)", "public.tenants"),
    "partition": (
        "INSERT INTO system_logs (id, logged_at, level) VALUES (0, '2021-06-01', 'x')",
        "public.system_logs_2021",
    ),
    "inner partition": (
        "INSERT INTO system_logs (id, logged_at, level) VALUES (0, '2023-06-01', 'error')",
        "public.system_logs_2023_error",
    ),
    "inheritance child": ("UPDATE alert_events SET message = message", "public.archived_alert_events"),
    "function": ("SELECT meddle()", "public.tenants"),
    "large object": ("SELECT lo_put(1300001, 0, 'x')", "pg_catalog.pg_largeobject"),
    "new large object": ("SELECT lo_from_bytea(0, 'x')", "pg_catalog.pg_largeobject"),
    "empty large object": ("SELECT lo_create(0)", "pg_catalog.pg_largeobject_metadata"),
    "large object dropped": ("SELECT lo_unlink(1300001)", "pg_catalog.pg_largeobject"),
    "large object granted": ("GRANT SELECT ON LARGE OBJECT 1300001 TO PUBLIC", "pg_catalog.pg_largeobject_metadata"),
    "materialized view": ("REFRESH MATERIALIZED VIEW user_statistics", "public.user_statistics"),
    "rewrite": ("ALTER TABLE wallets ALTER balance TYPE numeric(19,3)", "public.wallets"),
}
HARMLESS = {
    "reading": "SELECT * FROM profiles",
    "row locks": "SELECT * FROM profiles FOR UPDATE",
    "foreign key to it": "CREATE TABLE pointing (id uuid REFERENCES profiles (user_id))",
    "SHARE": "LOCK TABLE profiles IN SHARE MODE",
    "SHARE ROW EXCLUSIVE": "LOCK TABLE profiles IN SHARE ROW EXCLUSIVE MODE",
    "ANALYZE": "ANALYZE profiles",
    "a trigger on it": "CREATE TRIGGER t BEFORE UPDATE ON profiles FOR EACH ROW EXECUTE FUNCTION ring()",
    "a comment": "COMMENT ON TABLE profiles IS 'x'",
}


@pytest.fixture
def ways(conn: Connection) -> Connection:
    """A connection in whose transaction nothing that stood before was written; SETUP was committed before."""
    if conn.execute(text("SELECT to_regclass('public.parent')")).scalar_one() is None:
        do(conn, SETUP)
        conn.commit()
        pin_session(conn, "public")
    return conn


def written(conn: Connection) -> set[str]:
    oids = written_relations(conn)
    return {relation.name for relation in read_relations(conn) if relation.oid in oids}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_writing_shows(way: str, ways: Connection) -> None:
    statement, table = WAYS[way]
    assert written(ways) == set()
    do(ways, statement)
    assert table in written(ways)


@pytest.mark.parametrize("way", [way for way in WAYS if "large object" not in way])
def test_what_was_rolled_back_to_a_savepoint_does_not_show(way: str, ways: Connection) -> None:
    savepoint = ways.begin_nested()
    do(ways, WAYS[way][0])
    savepoint.rollback()
    assert written(ways) == set()


def test_writing_by_copy_shows(ways: Connection) -> None:
    with raw(ways).cursor().copy("COPY session_cache FROM STDIN") as copy:
        copy.write(b"copied\t{}\n")
    assert written(ways) == {"public.session_cache"}


def test_writing_by_merge_shows(ways: Connection) -> None:
    if server_major(ways) < 15:
        with pytest.raises(DBAPIError):
            do(ways, "MERGE INTO session_cache USING (SELECT 1) AS s ON false WHEN MATCHED THEN DELETE")
        return
    do(ways, "MERGE INTO session_cache USING (SELECT 1) AS s ON false WHEN MATCHED THEN DELETE")
    assert written(ways) == {"public.session_cache"}


@pytest.mark.parametrize("function", ["nextval('invoice_number')", "setval('invoice_number', 4717)"])
def test_drawing_from_or_setting_a_sequence_shows(function: str, ways: Connection) -> None:
    do(ways, f"SELECT {function}")
    assert written(ways) == {"public.invoice_number"}


@pytest.mark.parametrize("way", HARMLESS)
def test_what_writes_no_row_does_not_show(way: str, ways: Connection) -> None:
    do(ways, HARMLESS[way])
    assert written(ways) - {"public.pointing"} == set()


def test_what_another_session_writes_does_not_show(ways: Connection, shared_url: str) -> None:
    with psycopg.connect(shared_url) as other:
        other.execute("UPDATE profiles SET bio = bio")
        assert written(ways) == set()
        other.rollback()


# Locks.


def held(url: str, pid: int, table: str) -> set[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT mode FROM pg_locks WHERE pid = %s AND relation = %s::regclass AND granted", (pid, table)
        )
        return {row[0] for row in found}


def pid_of(conn: Connection) -> int:
    return int(conn.execute(text("SELECT pg_backend_pid()")).scalar_one())


MODES = {
    "ACCESS EXCLUSIVE": "AccessExclusiveLock",
    "SHARE ROW EXCLUSIVE": "ShareRowExclusiveLock",
    "SHARE": "ShareLock",
}


def test_tables_are_locked_directly_at_their_strength_and_in_the_order_given(conn: Connection, shared_url: str) -> None:
    wanted = dict(zip(("public.users", "public.cases", "public.roles"), MODES, strict=True))
    granted = locks.lock_tables(conn, wanted)
    assert [(lock.table, lock.mode, lock.attempts) for lock in granted] == [(t, m, 1) for t, m in wanted.items()]
    assert [lock.granted_at for lock in granted] == sorted(lock.granted_at for lock in granted)
    for table, mode in wanted.items():
        assert held(shared_url, pid_of(conn), table) == {MODES[mode]}


def test_a_lock_that_is_not_obtained_names_the_blocker_and_holds_nothing(conn: Connection, shared_url: str) -> None:
    do(conn, "CREATE TABLE built (a int); INSERT INTO built VALUES (1)")
    pid, seen = pid_of(conn), []

    def look(blockers: tuple[Blocker, ...], attempt: int) -> None:
        waiting = {table: held(shared_url, pid, table) for table in ("public.roles", "public.users")}
        seen.append(([blocker.pid for blocker in blockers], attempt, waiting))

    with psycopg.connect(shared_url, application_name="a long report") as other:
        other.execute("SELECT FROM users LIMIT 1")
        with pytest.raises(LockNotObtained) as caught:
            locks.lock_tables(
                conn,
                {"public.roles": "SHARE", "public.users": "ACCESS EXCLUSIVE"},
                patience_s=0.8,
                on_wait=look,
            )
        assert f"pid {other.info.backend_pid}" in str(caught.value)
        assert "a long report" in str(caught.value)
        found = caught.value.fields["blockers"]
        named = [blocker.pid for blocker in found if blocker.kind == "client backend"]  # type: ignore[attr-defined]
        assert named == [other.info.backend_pid]  # and autovacuum, when it comes by
    nothing: dict[str, set[str]] = {"public.roles": set(), "public.users": set()}
    assert len(seen) >= 2
    assert [entry[2] for entry in seen] == [nothing] * len(seen)
    assert [entry[1] for entry in seen] == list(range(1, len(seen) + 1))
    assert conn.execute(text("SELECT a FROM built")).scalar_one() == 1


def test_a_lock_is_obtained_once_the_blocker_has_ended_and_what_was_built_is_kept(
    conn: Connection, shared_url: str
) -> None:
    do(conn, "CREATE TABLE built (a int)")
    with psycopg.connect(shared_url) as other:
        other.execute("UPDATE profiles SET bio = bio")
        granted = locks.lock_tables(
            conn, {"public.profiles": "ACCESS EXCLUSIVE"}, on_wait=lambda blockers, attempt: other.rollback()
        )
    assert granted[0].attempts == 2
    assert conn.execute(text("SELECT count(*) FROM built")).scalar_one() == 0


def test_others_are_let_through_between_the_attempts(conn: Connection, shared_url: str) -> None:
    answers: list[Any] = []

    def write(blockers: tuple[Blocker, ...], attempt: int) -> None:
        with psycopg.connect(shared_url, autocommit=True) as third:
            third.execute("SET lock_timeout = '5s'")
            answers.append(third.execute("UPDATE roles SET name = name").statusmessage)

    with psycopg.connect(shared_url) as other:
        other.execute("SELECT FROM users LIMIT 1")
        with pytest.raises(LockNotObtained):
            locks.lock_tables(
                conn, {"public.roles": "SHARE", "public.users": "ACCESS EXCLUSIVE"}, patience_s=0, on_wait=write
            )
    assert len(answers) == 1


def test_an_error_that_is_no_lock_time_out_is_not_tried_again(conn: Connection) -> None:
    told: list[int] = []
    with pytest.raises(DBAPIError) as caught:
        locks.lock_tables(conn, {"public.nobody": "SHARE"}, on_wait=lambda blockers, attempt: told.append(attempt))
    assert (locks.sqlstate(caught.value), told) == ("42P01", [])


def test_a_second_run_is_busy_and_names_the_first(shared_url: str) -> None:
    target = parse_target(shared_url)
    with locks.run_lock(target):
        with pytest.raises(Busy) as caught, locks.run_lock(target):
            raise AssertionError("both have the lock")
        assert caught.value.exit_code == 15
        assert "lawsker-db" in str(caught.value)
        assert "pid " in str(caught.value)
    with locks.run_lock(target):
        pass


def test_the_run_lock_of_one_database_leaves_others_alone(shared_url: str, empty_url: str) -> None:
    with locks.run_lock(parse_target(shared_url)), locks.run_lock(parse_target(empty_url)):
        pass


def test_the_run_lock_holds_back_no_vacuum(shared_url: str) -> None:
    with locks.run_lock(parse_target(shared_url)), psycopg.connect(shared_url) as other:
        found = other.execute(
            "SELECT a.state, a.backend_xmin, a.backend_xid FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database()"
        ).fetchall()
    assert found == [("idle", None, None)]


def test_the_migration_lock_lasts_as_long_as_its_transaction(conn: Connection, shared_url: str) -> None:
    locks.take_migration_lock(conn)
    with pinned(shared_url) as other:
        with pytest.raises(Busy, match="Another run is going on"):
            locks.take_migration_lock(other)
        conn.rollback()
        locks.take_migration_lock(other)


# Snapshots.


def test_who_joins_a_held_snapshot_sees_the_database_as_it_was(adopted_url: str) -> None:
    target = parse_target(adopted_url)
    with hold_snapshot(target) as snapshot, psycopg.connect(adopted_url) as joining:
        with psycopg.connect(adopted_url) as writer:
            writer.execute("DELETE FROM case_logs")
        joining.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        joining.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'".encode())
        seen = joining.execute("SELECT count(*) FROM case_logs").fetchone()
        joining.rollback()
        holder = joining.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation"
            " WHERE a.application_name = 'lawsker-db' AND a.datname = current_database()"
            " AND c.relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert (seen, holder) == ((600,), (0,))


def test_the_server_is_told_to_look_for_the_machine_of_a_program_unless_it_is_its_own(adopted_url: str) -> None:
    with wire(adopted_url, tcp=True) as between:
        between.tool = os.getpid()
        for url, told in ((between.url, True), (adopted_url, False)):
            with parse_target(url).connect() as conn, tool_access(conn) as (where, _):
                assert ("-c tcp_keepalives_idle=30" in where) is told
                with psycopg.connect(where) as program:
                    name = program.execute("SHOW application_name").fetchone()
                assert name == (f"lawsker-db {session_mark()}",)


def test_a_snapshot_is_gone_with_its_block(shared_url: str) -> None:
    with hold_snapshot(parse_target(shared_url)) as snapshot:
        pass
    with psycopg.connect(shared_url) as late:
        late.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.Error):
            late.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'".encode())


@pytest.mark.parametrize("kind", ["REPEATABLE READ", pytest.param("open cursor", marks=pytest.mark.long)])
def test_an_older_snapshot_makes_the_upgrade_give_way_and_name_it(kind: str, adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    options = UpgradeOptions(runs=tmp_path, patience_s=5, prove=False, chain_options={"users": "rewrite"})
    with psycopg.connect(adopted_url, application_name="night report") as old:
        if kind == "REPEATABLE READ":
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            old.execute("SELECT FROM tenants LIMIT 1")
        else:
            old.execute("DECLARE c CURSOR FOR SELECT * FROM tenants")
        with pytest.raises(LockNotObtained) as caught:
            safe_upgrade(parse_target(adopted_url), options=options)
        assert caught.value.exit_code == 11
        assert f"pid {old.info.backend_pid}" in str(caught.value)
        assert "night report" in str(caught.value)
        assert oracle.picture(adopted_url) == before
    assert safe_upgrade(parse_target(adopted_url), options=options).verdict is Verdict.DONE


# The catalog.

SEEN = """
    CREATE TABLE t (); DROP TABLE session_cache; ALTER TABLE wallets RENAME TO purses; CREATE VIEW v AS SELECT 1;
    CREATE UNLOGGED TABLE u (); ALTER TABLE session_cache SET LOGGED; ALTER TABLE wallets SET (fillfactor = 50);
    ALTER TABLE wallets ADD COLUMN a int; ALTER TABLE wallets DROP COLUMN last_commission_at;
    ALTER TABLE wallets ALTER balance TYPE numeric(20,2); ALTER TABLE wallets ALTER balance SET DEFAULT 1;
    ALTER TABLE wallets ALTER balance DROP NOT NULL; ALTER TABLE wallets ALTER balance SET STATISTICS 10;
    ALTER TABLE profiles ALTER bio SET STORAGE EXTERNAL; ALTER TABLE profiles ALTER bio TYPE text COLLATE "C";
    ALTER TABLE wallets ALTER balance SET (n_distinct = 5); ALTER TABLE wallets RENAME balance TO money;
    ALTER TABLE payment_orders ALTER line_total DROP EXPRESSION; ALTER TABLE alert_events ALTER id DROP IDENTITY;
    ALTER TABLE alert_events ALTER id SET GENERATED BY DEFAULT;
    ALTER TABLE archived_alert_events NO INHERIT alert_events;
    ALTER TABLE system_logs DETACH PARTITION system_logs_2021; ALTER TABLE wallets OWNER TO lawsker_report;
    CREATE TABLE p PARTITION OF system_logs FOR VALUES FROM ('2030-01-01') TO ('2031-01-01');
    GRANT SELECT ON wallets TO PUBLIC; REVOKE SELECT ON wallets FROM lawsker_report;
    GRANT SELECT (id) ON users TO PUBLIC;
    ALTER TABLE wallets ENABLE ROW LEVEL SECURITY; ALTER TABLE clients FORCE ROW LEVEL SECURITY;
    ALTER TABLE wallets REPLICA IDENTITY FULL; COMMENT ON TABLE wallets IS 'x';
    COMMENT ON COLUMN wallets.balance IS 'x';
    ALTER TABLE wallets ADD CONSTRAINT k CHECK (balance <> 7) NOT VALID;
    ALTER TABLE wallets DROP CONSTRAINT wallets_pkey;
    ALTER TABLE wallets RENAME CONSTRAINT wallets_pkey TO k;
    ALTER TABLE users ALTER CONSTRAINT users_tenant_id_fkey DEFERRABLE;
    COMMENT ON CONSTRAINT wallets_pkey ON wallets IS 'x'; ALTER TABLE wallets DISABLE TRIGGER ALL;
    CREATE INDEX i ON wallets (balance); DROP INDEX ix_profiles_id_card_number;
    ALTER INDEX ix_users_email RENAME TO i;
    ALTER TABLE wallets CLUSTER ON wallets_pkey; ALTER INDEX ix_users_email SET (fillfactor = 50);
    ALTER INDEX idx_users_email_lower ALTER COLUMN 1 SET STATISTICS 10; COMMENT ON INDEX ix_users_email IS 'x';
    CREATE TRIGGER t BEFORE UPDATE ON wallets FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    ALTER TABLE users DISABLE TRIGGER update_users_updated_at;
    ALTER TABLE users ENABLE ALWAYS TRIGGER update_users_updated_at;
    DROP TRIGGER update_users_updated_at ON users; COMMENT ON TRIGGER update_users_updated_at ON users IS 'x';
    CREATE RULE r AS ON INSERT TO wallets DO ALSO SELECT 1; DROP POLICY tenant_isolation ON clients;
    ALTER POLICY tenant_isolation ON clients USING (true); COMMENT ON POLICY tenant_isolation ON clients IS NULL;
    CREATE POLICY p ON wallets; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE OR REPLACE FUNCTION calculate_commission(amount numeric, share numeric DEFAULT 0.5) RETURNS numeric
        LANGUAGE sql IMMUTABLE STRICT AS 'SELECT round(amount * share, 3)';
    ALTER FUNCTION calculate_commission SECURITY DEFINER; ALTER FUNCTION calculate_commission SET work_mem = '1MB';
    ALTER FUNCTION calculate_commission STABLE; GRANT EXECUTE ON FUNCTION calculate_commission TO PUBLIC;
    COMMENT ON FUNCTION calculate_commission IS NULL; CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1';
    CREATE AGGREGATE total (int) (sfunc = int4pl, stype = int, initcond = '0');
    CREATE OR REPLACE VIEW active_users AS SELECT id, username, email, status, created_at, ''::varchar(255) AS tenant
        FROM users;
    ALTER VIEW active_users RESET (security_barrier); DROP MATERIALIZED VIEW user_statistics;
    REFRESH MATERIALIZED VIEW user_statistics WITH NO DATA; ALTER SEQUENCE invoice_number INCREMENT 8;
    ALTER SEQUENCE invoice_number NO CYCLE; ALTER SEQUENCE invoice_number OWNED BY wallets.balance; CREATE SEQUENCE s;
    GRANT USAGE ON SEQUENCE invoice_number TO PUBLIC; COMMENT ON SEQUENCE reserved_number IS NULL;
    CREATE TYPE y AS ENUM ('a'); ALTER TYPE alert_level RENAME VALUE 'info' TO 'note';
    CREATE DOMAIN d AS int CHECK (VALUE > 1);
    ALTER TYPE money_amount ADD ATTRIBUTE a int;
    ALTER DOMAIN email_address SET DEFAULT 'a@b'; ALTER DOMAIN email_address DROP CONSTRAINT email_address_check;
    CREATE TYPE r AS RANGE (subtype = int2); REVOKE USAGE ON TYPE casestatus FROM lawsker_report;
    COMMENT ON TYPE alert_level IS 'x';
    CREATE COLLATION c (locale = 'C'); CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
    CREATE STATISTICS s ON balance, user_id FROM wallets; DROP STATISTICS users_tenant_status;
    COMMENT ON STATISTICS users_tenant_status IS 'x'; CREATE CAST (money_amount AS text) WITH INOUT;
    CREATE SCHEMA s; GRANT USAGE ON SCHEMA audit TO PUBLIC; COMMENT ON SCHEMA audit IS 'x';
    ALTER SCHEMA audit RENAME TO a;
    COMMENT ON EXTENSION plpgsql IS 'x'; CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION event();
    CREATE PUBLICATION p; CREATE PUBLICATION p FOR TABLE wallets; CREATE FOREIGN DATA WRAPPER w;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; CREATE TEXT SEARCH CONFIGURATION c (COPY = simple);
    CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple); CREATE OPERATOR FAMILY f USING btree;
    CREATE DEFAULT CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    COMMENT ON LARGE OBJECT 1300001 IS NULL;
    CREATE LANGUAGE l HANDLER plpgsql_call_handler; CREATE ACCESS METHOD m TYPE TABLE HANDLER heap_tableam_handler;
    CREATE TABLE audit.users_too (); COMMENT ON COLUMN active_users.id IS 'x'; DROP TABLE audit.users
"""
STEPS = {  # DDL that needs something before it
    "CREATE SERVER s FOREIGN DATA WRAPPER w": "CREATE FOREIGN DATA WRAPPER w",
    "CREATE FOREIGN TABLE f () SERVER s": "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w",
    "CREATE USER MAPPING FOR PUBLIC SERVER s": "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w",
    "ALTER DOMAIN d SET NOT NULL": "CREATE DOMAIN d AS int",
    "ALTER TABLE fresh VALIDATE CONSTRAINT k": "CREATE TABLE fresh (a int); ALTER TABLE fresh ADD CONSTRAINT k CHECK"
    " (a > 0) NOT VALID",
    "ALTER TEXT SEARCH CONFIGURATION c DROP MAPPING FOR word": "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
    "CREATE OR REPLACE AGGREGATE g (int) (sfunc = int4pl, stype = int, initcond = '1')": "CREATE AGGREGATE g (int)"
    " (sfunc = int4pl, stype = int, initcond = '0')",
    "ALTER EVENT TRIGGER e DISABLE": "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION event()",
    "DROP TABLE a": "CREATE TABLE a (); CREATE TABLE b ()",
}
UNSEEN = (
    "INSERT INTO session_cache VALUES ('x', '{}')",
    "ANALYZE profiles",
    "CREATE TEMPORARY TABLE t (a int); CREATE INDEX ON t (a)",
    "CREATE SCHEMA lawsker_db; CREATE TABLE lawsker_db.mine (a int PRIMARY KEY)",
    "REINDEX TABLE profiles",
    "REFRESH MATERIALIZED VIEW user_statistics",
    "SELECT setval('invoice_number', 4717)",
    "ALTER TABLE profiles RENAME bio TO life; ALTER TABLE profiles RENAME life TO bio",
    "CREATE TABLE t (); DROP TABLE t",
    "TRUNCATE session_cache",
)


def statements() -> list[str]:
    return [" ".join(statement.split()) for statement in SEEN.split(";") if statement.strip()]


def prepare(conn: Connection, before: str = "") -> None:
    do(conn, "CREATE FUNCTION event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
    if before:
        do(conn, before)


@pytest.mark.parametrize("ddl", statements())
def test_each_kind_of_ddl_is_seen(ddl: str, conn: Connection) -> None:
    prepare(conn)
    before = read_catalog(conn)
    if "DROP EXPRESSION" in ddl and server_major(conn) < 13:  # came with 13
        with pytest.raises(DBAPIError):
            do(conn, ddl)
        return
    do(conn, ddl)
    differences = compare_catalogs(before, read_catalog(conn))
    assert differences
    assert all(difference.label for difference in differences)


@pytest.mark.parametrize("ddl", STEPS)
def test_ddl_on_what_was_just_made_is_seen(ddl: str, conn: Connection) -> None:
    prepare(conn, STEPS[ddl])
    before = read_catalog(conn)
    do(conn, ddl)
    assert compare_catalogs(before, read_catalog(conn))


@pytest.mark.parametrize("statement", UNSEEN)
def test_what_changes_no_definition_is_not_seen(statement: str, conn: Connection) -> None:
    before = read_catalog(conn)
    do(conn, statement)
    assert compare_catalogs(before, read_catalog(conn)) == ()


def test_a_setting_of_the_database_is_seen(conn: Connection) -> None:
    before = read_catalog(conn)
    do(conn, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$")
    assert [d.kind for d in compare_catalogs(before, read_catalog(conn))] == ["setting"]


def test_reading_the_catalog_leaves_the_search_path(conn: Connection) -> None:
    do(conn, "SET LOCAL search_path = audit, public")
    read_catalog(conn)
    assert conn.execute(text("SELECT current_setting('search_path')")).scalar_one() == "audit, public"


def test_reading_the_catalog_holds_nothing_afterwards_but_what_was_held_before(conn: Connection) -> None:
    do(conn, "LOCK TABLE wallets IN SHARE MODE")
    held = "SELECT relation::regclass::text, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384"
    before = conn.exec_driver_sql(held).all()
    read_catalog(conn)
    assert conn.exec_driver_sql(held).all() == before
    hold_definitions(conn, "1s")
    assert ("user_statistics", "AccessShareLock") in [tuple(row) for row in conn.exec_driver_sql(held)]


def test_names_with_percent_colon_quotes_and_newlines_are_read_and_told_apart(conn: Connection) -> None:
    before = read_catalog(conn)
    do(conn, 'CREATE TABLE "a%s:b""c\n" ("%(x)s" int, ":y" int); CREATE TABLE "a%s:b""c" ("x.y" int)')
    added = {d.name for d in compare_catalogs(before, read_catalog(conn))}
    assert {'public."a%s:b""c\n"', 'public."a%s:b""c\n"."%(x)s"', 'public."a%s:b""c"."x.y"'} <= added


# The seal.


@pytest.fixture
def sealed(shared_url: str) -> Iterator[tuple[Connection, Seal]]:
    with parse_target(shared_url).connect() as conn:
        create_seal(conn)
        pin_session(conn, "public")
        seal = Seal(conn)
        seal.arm()
        do(conn, "CREATE TABLE made_under_seal ()")
        yield conn, seal


def stands(url: str) -> bool:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regclass('public.made_under_seal')").fetchone()
    return found != (None,)


@pytest.mark.parametrize(
    "before", ["SELECT 1", "SET LOCAL session_replication_role = replica", "SET ROLE lawsker_report"]
)
def test_a_commit_of_a_sealed_transaction_fails_and_rolls_back(
    before: str, sealed: tuple[Connection, Seal], shared_url: str
) -> None:
    conn, _ = sealed
    do(conn, before)
    with pytest.raises(psycopg.Error) as caught:
        raw(conn).commit()
    assert caught.value.sqlstate == SEALED
    assert not stands(shared_url)


def test_making_constraints_immediate_breaks_on_the_seal(sealed: tuple[Connection, Seal]) -> None:
    with pytest.raises(DBAPIError) as caught:
        do(sealed[0], "SET CONSTRAINTS ALL IMMEDIATE")
    assert locks.sqlstate(caught.value) == SEALED


def test_a_transaction_that_was_opened_commits(sealed: tuple[Connection, Seal], shared_url: str) -> None:
    conn, seal = sealed
    seal.open()
    raw(conn).commit()
    assert stands(shared_url)
    with psycopg.connect(shared_url) as other:
        other.execute("DROP TABLE made_under_seal")


@pytest.mark.parametrize("before", ["SELECT 1", "SET LOCAL session_replication_role = replica"])
def test_forced_constraints_leave_the_transaction_sealed(
    before: str, sealed: tuple[Connection, Seal], shared_url: str
) -> None:
    conn, seal = sealed
    do(conn, before)
    for _ in range(2):
        seal.force_constraints()
    with pytest.raises(psycopg.Error) as caught:
        raw(conn).commit()
    assert caught.value.sqlstate == SEALED
    assert not stands(shared_url)


def test_a_transaction_that_is_another_one_is_refused(sealed: tuple[Connection, Seal]) -> None:
    conn, seal = sealed
    seal.require_same_transaction()
    raw(conn).rollback()
    with pytest.raises(GateRefused):
        seal.require_same_transaction()


def test_what_follows_a_rollback_can_write_nothing(sealed: tuple[Connection, Seal], shared_url: str) -> None:
    raw(sealed[0]).rollback()
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        raw(sealed[0]).execute("CREATE TABLE made_under_seal ()")
    raw(sealed[0]).commit()
    assert not stands(shared_url)


def test_statements_that_end_the_transaction_are_refused_before_they_are_sent(sealed: tuple[Connection, Seal]) -> None:
    conn, seal = sealed
    sent: list[str] = []
    with no_transaction_control(conn, sent.append):
        for statement in ("COMMIT", "ROLLBACK", "SELECT 1; END", "BEGIN"):
            with pytest.raises(GateRefused, match="inside the guarded transaction"):
                do(conn, statement)
        do(conn, "SAVEPOINT s; ROLLBACK TO s")
        seal.require_same_transaction()
        with pytest.raises(GateRefused):
            conn.commit()
    assert sent[0] == "SAVEPOINT s; ROLLBACK TO s"


def test_nothing_of_the_seal_outlives_its_session(shared_url: str) -> None:
    with parse_target(shared_url).connect() as conn:
        create_seal(conn)
    with psycopg.connect(shared_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname = 'lawsker_seal' AND pg_my_temp_schema() = relnamespace"
        ).fetchone()
    assert found == (0,)
