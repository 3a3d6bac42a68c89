"""The sample database: repeatable, complete, and as awkward as a live one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from lawsker_db.demo import sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server

STAMPED = ["tenants", "roles", "system_configs", "users", "clients", "profiles", "wallets", "cases"]
STAMPED += ["insurances", "transactions"]  # have updated_at
BASELINE = [*STAMPED, "user_roles", "case_logs", "commission_splits"]
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ThrowawayServer]:
    with throwaway_server() as running:
        yield running


@pytest.fixture(scope="module")
def loaded(server: ThrowawayServer) -> str:
    """The URL of a database with the sample and all extras; nobody writes to it."""
    url = new_database(server, "loaded")
    assert set(sample.load_sample(url)) <= {"60_xml"}  # only what this build of the server cannot do
    return url


@pytest.fixture
def conn(loaded: str) -> Iterator[Connection]:
    with psycopg.connect(loaded) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        yield connection


def new_database(server: ThrowawayServer, name: str, owner: str = "postgres") -> str:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
    return server.url(name)


def digests(url: str) -> dict[str, str]:
    """SHA-256 of the sorted COPY output of every table, materialized view and sequence."""
    with psycopg.connect(url) as connection:
        relations = connection.execute(
            "SELECT oid::regclass::text, CASE relkind WHEN 'S' THEN 'last_value, is_called' ELSE '*' END"
            " FROM pg_class WHERE relkind IN ('r', 'm', 'S')"
            " AND relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'audit'))"
        ).fetchall()
        found = {name: digest(connection, f"SELECT {what} FROM ONLY {name}") for name, what in relations}
        return {**found, "": digest(connection, "SELECT loid, pageno, data FROM pg_largeobject")}


def digest(connection: Connection, query: str) -> str:
    with connection.cursor().copy(f"COPY ({query}) TO STDOUT".encode()) as copy:
        lines = sorted(b"".join(copy).splitlines())
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def catalog(url: str) -> list[tuple[str, ...]]:
    """Every column, constraint, index and enum label, as text."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT attrelid::regclass::text, attnum::text, attname, format_type(atttypid, atttypmod),
                   attnotnull::text
            FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind = 'r') AND attnum > 0
            UNION ALL
            SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
            UNION ALL
            SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'public'
            UNION ALL SELECT enumtypid::regtype::text, enumlabel, enumsortorder::text, '', '' FROM pg_enum
            ORDER BY 1, 2, 3, 4, 5
            """
        ).fetchall()


def one(connection: Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_the_same_seed_and_size_give_the_same_content(server: ThrowawayServer, loaded: str) -> None:
    again = new_database(server, "again")
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("ALTER DATABASE again SET timezone = 'Asia/Kathmandu'")
        admin.execute("ALTER DATABASE again SET datestyle = 'German'")
        admin.execute("ALTER DATABASE again SET standard_conforming_strings = off")
    sample.load_sample(again)
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("ALTER DATABASE again RESET ALL")
    first, second = digests(loaded), digests(again)
    assert first == second
    assert len(first) > 13


def test_another_seed_gives_other_content(server: ThrowawayServer, loaded: str) -> None:
    other = new_database(server, "other")
    sample.load_sample(other, seed=7, extras=False)
    first, second = digests(loaded), digests(other)
    assert not [table for table in BASELINE if first[table] == second[table]]


def test_keys_before_or_after_the_rows_make_the_same_schema(server: ThrowawayServer) -> None:
    before, after = new_database(server, "keys_before"), new_database(server, "keys_after")
    with psycopg.connect(before) as connection:
        sample.create_schema(connection)
        sample.fill(connection, users=sample.FEWEST_USERS)
    sample.load_sample(after, users=sample.FEWEST_USERS, extras=False)
    assert catalog(before) == catalog(after)
    assert digests(before) == digests(after)


@pytest.mark.parametrize("users", [sample.FEWEST_USERS, 200])
def test_every_table_is_filled_and_every_enum_label_used(server: ThrowawayServer, users: int) -> None:
    url = new_database(server, f"labels_{users}")
    sample.load_sample(url, users=users, extras=False)
    with psycopg.connect(url) as connection:
        for table in BASELINE:
            assert one(connection, f"SELECT count(*) FROM {table}") > 0, table
        assert one(connection, "SELECT count(*) FROM users") == users
        assert one(connection, "SELECT count(*) FROM cases") == 2 * users
        assert one(connection, "SELECT count(*) FROM case_logs") == 5 * users
        columns = connection.execute(
            "SELECT attrelid::regclass::text, attname, atttypid::regtype::text FROM pg_attribute"
            " WHERE atttypid IN (SELECT enumtypid FROM pg_enum) AND attrelid IN"
            " (SELECT oid FROM pg_class WHERE relkind = 'r')"
        ).fetchall()
        assert len(columns) == 10
        for table, column, enum in columns:
            unused = f"SELECT unnest(enum_range(NULL::{enum})) EXCEPT SELECT {column} FROM {table}"
            assert connection.execute(unused.encode()).fetchall() == [], column


def test_fewer_users_than_role_patterns_are_refused(server: ThrowawayServer) -> None:
    with psycopg.connect(server.url()) as connection, pytest.raises(ValueError, match="at least 20"):
        sample.fill(connection, users=19)


def test_users_hold_no_role_several_roles_and_the_same_role_twice(conn: Connection) -> None:
    held = "FROM users AS u LEFT JOIN user_roles ON user_id = u.id LEFT JOIN roles AS r ON r.id = role_id"
    assert one(conn, f"SELECT count(*) {held} WHERE r.id IS NULL") > 0
    for name in ("lawyer", "user"):
        twice = f"SELECT u.id {held} WHERE lower(r.name) = '{name}' GROUP BY u.id HAVING count(*) > 1"
        assert conn.execute(twice.encode()).fetchall()
    both = "HAVING bool_or(lower(r.name) = 'lawyer') AND bool_or(lower(r.name) = '{}')"
    for other in ("user", "super_admin", "sales"):
        assert conn.execute(f"SELECT u.id {held} GROUP BY u.id {both.format(other)}".encode()).fetchall()
    two_tenants = "SELECT u.id {} WHERE r.name ILIKE 'lawyer' GROUP BY u.id HAVING count(DISTINCT r.tenant_id) > 1"
    assert conn.execute(two_tenants.format(held).encode()).fetchall()
    names = {name for (name,) in conn.execute("SELECT name FROM roles WHERE tenant_id IS NULL")}
    assert names >= {"Lawyer", "ADMIN", "super_admin", "user", "institution", "sales", "lawyer "}
    spellings = {name for (name,) in conn.execute("SELECT name FROM roles WHERE lower(name) = 'lawyer'")}
    assert spellings == {"Lawyer", "lawyer", "LAWYER"}


def test_values_at_the_edges_are_there(conn: Connection) -> None:
    assert (
        one(
            conn,
            "SELECT count(*) FROM cases WHERE case_amount IN (9999999999999999.99, -9999999999999999.99)",
        )
        == 2
    )
    assert one(conn, "SELECT count(*) FROM cases WHERE NOT isfinite(debt_creation_date)") == 2
    assert one(conn, "SELECT count(*) FROM cases WHERE debt_creation_date < '0001-01-01'::date") == 3
    assert one(conn, "SELECT count(*) FROM users WHERE NOT isfinite(last_login)") == 2
    assert one(conn, "SELECT count(*) FROM users WHERE extract(microseconds FROM created_at)::bigint % 1000 <> 0") > 0
    assert one(conn, "SELECT max(length(bio)) FROM profiles") > 10_000
    assert one(conn, "SELECT count(*) FROM cases WHERE debtor_info ->> 'minus_zero' = '-0.0'") > 0
    odd = "FROM cases WHERE debtor_info ? 'huge'"
    assert one(conn, f"SELECT debtor_info ->> 'one' || ' ' || (debtor_info ->> 'one_too') {odd}") == "1.0 1.00"
    assert one(conn, f"SELECT length(debtor_info ->> 'huge') {odd}") == 309


def test_hostile_text_of_every_kind_is_there(conn: Connection) -> None:
    texts = {text for (text,) in conn.execute("SELECT user_agent FROM case_logs UNION SELECT address FROM clients")}
    everything = "\x00".join(text for text in texts if text)
    pieces = [
        "\n",
        "\t",
        "\\",
        "'",
        '"',
        "\r",
        "\x1b",
        "🏛️",
        "\u202e",
        "\u05e2",
        "\ufeff",
        "律师",
        "DROP TABLE",
    ]
    for piece in pieces:
        assert piece in everything, piece
    assert {"", " ", "NULL", "\\N", "\\."} <= texts


def test_columns_that_may_be_null_are_null_somewhere_and_filled_elsewhere(conn: Connection) -> None:
    columns = conn.execute(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE NOT attnotnull AND attnum > 0"
        " AND attrelid = ANY (%s::regclass[])",
        (BASELINE,),
    ).fetchall()
    assert len(columns) > 60
    constant = [
        f"{table}.{column}"
        for table, column in columns
        if not one(conn, f"SELECT count(*) > count({column}) AND count({column}) > 0 FROM {table}")
    ]
    assert constant == []


def test_nothing_of_the_load_shows_when_it_was_made(conn: Connection) -> None:
    for table in BASELINE:
        column = "assigned_at" if table == "user_roles" else "created_at"
        assert one(conn, f"SELECT count(*) FROM {table} WHERE abs(extract(epoch FROM now() - {column})) < 86400") == 0


def test_it_is_not_stamped(conn: Connection) -> None:
    assert one(conn, "SELECT to_regclass('alembic_version')") is None


def test_the_extras_of_live_databases_are_there(conn: Connection) -> None:
    assert one(conn, "SELECT count(user_hash) BETWEEN 100 AND 199 FROM users")
    triggers = conn.execute(
        "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = 'update_updated_at_column'::regproc"
    ).fetchall()
    assert sorted(table for (table,) in triggers) == sorted([*STAMPED, "payment_orders"])
    assert one(conn, "SELECT count(*) FROM users_overview") == 200
    assert one(conn, "SELECT relispopulated FROM pg_class WHERE relname = 'user_statistics'")
    assert one(conn, "SELECT sum(users) FROM user_statistics") == 200
    assert one(conn, "SELECT last_value FROM invoice_number") == 4717
    partitions = conn.execute(
        "SELECT tableoid::regclass::text FROM system_logs GROUP BY tableoid ORDER BY 1"
    ).fetchall()
    assert len(partitions) == 5
    assert one(conn, "SELECT sum(octet_length(data)) FROM pg_largeobject WHERE loid = 1300001") == 16_000
    assert one(conn, "SELECT relrowsecurity AND NOT relforcerowsecurity FROM pg_class WHERE relname = 'clients'")
    assert one(conn, "SELECT count(*) FROM clients") == 22
    assert one(conn, f"SELECT has_table_privilege('{sample.REPORT_ROLE}', 'users', 'SELECT')")
    assert one(conn, f"SELECT has_column_privilege('{sample.REPORT_ROLE}', 'users', 'email', 'UPDATE')")
    assert one(conn, "SELECT count(*) FROM pg_description WHERE objoid = 'users'::regclass") == 2
    assert one(conn, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'alert_events'::regclass") == 1
    assert one(conn, "SELECT count(*) FROM pg_class WHERE relname = E'Quoted \"Name\"\\n'") == 1
    assert one(conn, 'SELECT ("Größe"::text) FROM U&"Quoted ""Name""\\000A" WHERE "select" = 1') == "-0"
    assert one(conn, "SELECT count(*) FROM pg_default_acl") == 0


def test_default_privileges_come_only_when_asked_for(server: ThrowawayServer) -> None:
    url = new_database(server, "default_privileges")
    with psycopg.connect(url) as connection:
        sample.create_schema(connection)
        sample.add_extras(connection, default_privileges=True)
        assert one(connection, "SELECT count(*) FROM pg_default_acl") == 1


def test_a_role_without_special_rights_loads_owns_everything_and_hears_what_was_left_out(
    server: ThrowawayServer,
) -> None:
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("CREATE ROLE app LOGIN")
    url = new_database(server, "of_app", owner="app").replace("user=postgres", "user=app")
    left_out = sample.load_sample(url, role="nobody made this role")
    assert set(left_out) - {"60_xml"} == {"90_grants", "91_role_settings"}
    with psycopg.connect(url) as connection:
        owners = connection.execute(
            "SELECT DISTINCT relowner::regrole::text FROM pg_class"
            " WHERE relnamespace IN ('public'::regnamespace, 'audit'::regnamespace)"
        ).fetchall()
        assert owners == [("app",)]
        assert one(connection, "SELECT count(*) FROM clients") == 22


def test_an_autocommit_connection_is_refused_before_anything_is_made(server: ThrowawayServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        with pytest.raises(ValueError, match="autocommit"):
            sample.load_sample(connection)
        assert one(connection, "SELECT to_regclass('public.users')") is None


def test_a_load_over_a_connection_is_the_callers_to_commit(server: ThrowawayServer) -> None:
    with psycopg.connect(server.url()) as connection:
        sample.load_sample(connection, users=sample.FEWEST_USERS)
        assert one(connection, "SELECT count(*) FROM users") == sample.FEWEST_USERS
        connection.rollback()
        assert one(connection, "SELECT to_regclass('public.users')") is None
