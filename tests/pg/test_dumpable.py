"""What a dump silently misses is told before one is taken: each way is made on a real server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from lawsker_db.evidence import Check, failures
from lawsker_db.postgres.dumpable import client_check, dump_checks
from lawsker_db.postgres.session import pin_session
from lawsker_db.postgres.tools import Tool
from lawsker_db.target import Target, parse_target

QUESTIONS = (
    "rows of extensions",
    "foreign tables",
    "unlogged tables",
    "invalid indexes",
    "large objects",
    "row-level security",
    "subscriptions",
    "invalid databases",
)


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def asked(target: Target | str) -> dict[str, Check]:
    """The answers by question, in the session that the preflight asks them in."""
    target = parse_target(target) if isinstance(target, str) else target
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, "public")
        checks = dump_checks(conn)
        conn.rollback()
    assert [check.name for check in checks] == [f"dump: {name}" for name in QUESTIONS]
    return {check.name.removeprefix("dump: "): check for check in checks}


def told(target: Target | str) -> dict[str, str]:
    """Only what was found."""
    return {name: check.found for name, check in asked(target).items() if not check.ok}


@pytest.fixture
def clerk(server: Server, empty_url: str) -> Iterator[Target]:
    """An ordinary role that may read every table of the empty database, and nothing else."""
    role = f"clerk_{secrets.token_hex(4)}"
    execute(empty_url, f"CREATE ROLE {role} LOGIN PASSWORD 'x'", f"GRANT USAGE ON SCHEMA public TO {role}")
    execute(empty_url, f"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {role}")
    yield Target(parameters={**parse_target(empty_url).parameters, "user": role, "password": "x"})
    execute(empty_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_nothing_is_said_of_a_plain_database_and_of_the_sample_only_its_oddities(
    adopted_url: str, empty_url: str
) -> None:
    assert told(empty_url) == {}
    assert set(told(adopted_url)) == {"unlogged tables"}
    assert told(adopted_url)["unlogged tables"].startswith("session_cache: ")


def test_each_thing_that_a_dump_misses_is_named_with_what_becomes_of_it(server: Server, empty_url: str) -> None:
    execute(
        empty_url,
        "CREATE TABLE owned (n int)",
        "CREATE TABLE owned_and_empty (n int)",
        "INSERT INTO owned VALUES (1)",
        "ALTER EXTENSION plpgsql ADD TABLE owned",
        "ALTER EXTENSION plpgsql ADD TABLE owned_and_empty",
        "CREATE FOREIGN DATA WRAPPER nowhere",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
        'CREATE FOREIGN TABLE "far \x1b away" (n int) SERVER elsewhere',
        "CREATE UNLOGGED TABLE fleeting (n int)",
        "CREATE SUBSCRIPTION follower CONNECTION 'dbname=nowhere' PUBLICATION news WITH (connect = false)",
    )
    try:
        found = told(empty_url)
        assert found.keys() == {"rows of extensions", "foreign tables", "unlogged tables", "subscriptions"}
        assert found["rows of extensions"] == "owned: their rows are dumped only where the extension says so"
        assert found["foreign tables"].startswith('"far \x1b away": their rows are on another server')
        assert found["unlogged tables"].startswith("fleeting: ")
        assert found["subscriptions"].startswith("follower: ")
        assert not failures(tuple(asked(empty_url).values()))  # a dump can be taken all the same
        assert "subscriptions" not in told(server.url("postgres"))  # it is another database's
    finally:
        execute(empty_url, "ALTER SUBSCRIPTION follower SET (slot_name = NONE)", "DROP SUBSCRIPTION follower")


def test_only_five_are_named_and_the_rest_counted(empty_url: str) -> None:
    execute(empty_url, *(f"CREATE UNLOGGED TABLE fleeting_{n} (n int)" for n in range(8)))
    found = told(empty_url)["unlogged tables"]
    assert found.count("fleeting_") == 5
    assert " (and 3 more): " in found


def test_a_database_that_an_interrupted_drop_left_is_named(server: Server, empty_url: str) -> None:
    name = f"halfGone_{secrets.token_hex(4)}"
    server.run(f'CREATE DATABASE "{name}"')
    try:
        server.run(
            f"UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{name}'"
        )  # what DROP DATABASE sets first
        check = asked(empty_url)["invalid databases"]
        assert check.found.startswith(f'"{name}": an interrupted DROP DATABASE left them')
        assert check.warning
    finally:
        server.run(f'DROP DATABASE "{name}"')
    assert name not in told(empty_url).get("invalid databases", "")


def test_what_pg_dump_would_end_at_is_a_failure(clerk: Target, empty_url: str) -> None:
    """Large objects of others, and tables whose policies hide rows from this role; not so for whoever may see all."""
    assert told(clerk) == {}
    execute(
        empty_url,
        "SELECT lo_from_bytea(0, '\\x00')",
        "CREATE TABLE hidden (n int)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
    )
    assert set(told(clerk)) == {"large objects", "row-level security"}
    assert "hidden" in told(clerk)["row-level security"]
    checks = tuple(asked(clerk).values())
    assert {check.name for check in failures(checks)} == {"dump: large objects", "dump: row-level security"}
    assert all("superuser" in check.detail for check in failures(checks))
    assert told(empty_url) == {}
    role = clerk.parameters["user"]
    with psycopg.connect(empty_url, autocommit=True) as conn:
        for (oid,) in conn.execute("SELECT oid FROM pg_largeobject_metadata").fetchall():
            conn.execute(f"GRANT SELECT ON LARGE OBJECT {oid} TO {role}".encode())
        conn.execute(f"ALTER ROLE {role} BYPASSRLS".encode())
    assert told(clerk) == {}


# ---- the client ------------------------------------------------------------------------------------------------------

SIX = {
    "CVE-2024-7348": "12.20 13.16 14.13 15.8 16.4",
    "CVE-2025-8714": "13.22 14.19 15.14 16.10 17.6",
    "CVE-2025-8715": "13.22 14.19 15.14 16.10 17.6",
    "CVE-2026-6477": "14.23 15.18 16.14 17.10 18.4",
    "CVE-2026-18408": "14.24 15.19 16.15 17.11 18.6",
    "CVE-2026-116314": "14.25 15.20 16.16 17.12 18.7",
}
OF_BOTH = {"CVE-2025-8714", "CVE-2025-8715", "CVE-2026-18408"}
OF_ONE = {"CVE-2024-7348": "pg_dump", "CVE-2026-6477": "pg_dump", "CVE-2026-116314": "pg_restore"}


def said_of(program: str, major: int, minor: int) -> str:
    return client_check(Tool(path=Path("/usr/bin") / program, version=(major, minor))).found


@pytest.mark.parametrize("cve", SIX)
def test_a_client_is_said_to_have_a_hole_up_to_the_minor_release_that_closed_it(cve: str) -> None:
    """The releases as the advisories name them, written down a second time."""
    for program in ("pg_dump", "pg_restore"):
        concerned = cve in OF_BOTH or OF_ONE[cve] == program
        fixes = [tuple(int(part) for part in version.split(".")) for version in SIX[cve].split()]
        for major, minor in fixes:
            assert (cve in said_of(program, major, minor - 1)) is concerned
            assert cve not in said_of(program, major, minor)
        assert (cve in said_of(program, fixes[0][0] - 1, 99)) is concerned  # too old to be mended
        assert cve not in said_of(program, fixes[-1][0] + 1, 0)  # too new to have had it


def test_a_client_with_a_hole_is_a_warning_that_says_what_to_install() -> None:
    old = client_check(Tool(path=Path("/usr/bin/pg_restore"), version=(15, 17)))
    assert (old.ok, old.warning, old.fails) == (False, True, False)
    assert old.detail == "upgrade the client to 15.20 or newer"
    assert (
        client_check(Tool(path=Path("/usr/bin/pg_dump"), version=(12, 22))).detail == "use the client of a newer major"
    )
    whole = client_check(Tool(path=Path("/usr/bin/pg_dump"), version=(18, 7)))
    assert (whole.ok, whole.detail) == (True, "")
