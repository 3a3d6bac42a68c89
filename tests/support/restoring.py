"""What tests of the restore share: a shop that was upgraded by a run of ours, used, and damaged."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import psycopg
from command_line import run
from copies import Server, execute

UPGRADE = ("safe-upgrade", "--yes", "--no-rehearsal")
# What hangs on the database and not in it, and a sequence that counts downwards.
BELONGINGS = (
    "COMMENT ON DATABASE {name} IS 'the shop''s \"own\" 100%s database'",
    "ALTER DATABASE {name} CONNECTION LIMIT 40",
    'ALTER DATABASE {name} SET search_path = public, "$user"',
    "ALTER DATABASE {name} SET work_mem = '7MB'",
    "ALTER ROLE {role} IN DATABASE {name} SET statement_timeout = '7min'",
    "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
    "GRANT CONNECT ON DATABASE {name} TO {role} WITH GRANT OPTION",
)
SEQUENCES = ("CREATE SEQUENCE downwards INCREMENT -1", "CREATE SEQUENCE tickets", "SELECT nextval('tickets')")
DAMAGE = (
    "SELECT nextval('tickets'), nextval('tickets'), nextval('downwards'), nextval('downwards')",
    "INSERT INTO users (id, tenant_id, username, password_hash, status)"
    " SELECT md5('late')::uuid, tenant_id, 'late', 'x', 'ACTIVE' FROM users LIMIT 1",
    "UPDATE users SET email = 'wrong-' || id || '@shop.example'",
)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A database that a run has upgraded, and where it is: `before` is its picture when that run took its backup."""

    name: str
    url: str
    role: str
    runs: Path
    run: str
    before: tuple[str, dict[str, str]]
    oid: int

    @property
    def folder(self) -> Path:
        """The folder from which commands are typed."""
        return self.runs.parent


@contextmanager
def shop_of(server: Server, template: str, folder: Path, *, upgraded: bool = True) -> Iterator[Shop]:
    """A shop for the block; every database of its name goes afterwards, and the role."""
    name = f"shop_{secrets.token_hex(3)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {template}")
    server.run(f"CREATE ROLE {name}_role LOGIN")
    url = server.url(name)
    try:
        for statement in BELONGINGS:
            server.run(statement.format(name=name, role=f"{name}_role"))
        execute(url, *SEQUENCES)
        before = oracle.picture(url)
        typed = UPGRADE if upgraded else ("backup", "create")
        done = run(folder, *typed, url=url)
        assert done.code == 0, done.said
        (made,) = (path for path in (folder / "lawsker-runs").iterdir() if (path / "backup").is_dir())
        yield Shop(
            name=name,
            url=url,
            role=f"{name}_role",
            runs=folder / "lawsker-runs",
            run=made.name,
            before=before,
            oid=database_oid(url),
        )
    finally:
        for database in databases(server, name):
            server.run(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
            server.run(f'DROP DATABASE "{database}"')
        server.run(f"DROP ROLE {name}_role")


def databases(server: Server, prefix: str) -> list[str]:
    """Names of the databases that begin so, sorted."""
    with psycopg.connect(server.url("postgres")) as conn:
        rows = conn.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1", (prefix,)
        ).fetchall()
    return [str(row[0]) for row in rows]


def one(url: str, query: str, *values: object) -> Any:
    """The one value that a query gives."""
    with psycopg.connect(url) as conn:
        row = conn.execute(query.encode(), values).fetchone()
    return None if row is None else row[0]


def database_oid(url: str) -> int:
    return int(one(url, "SELECT oid FROM pg_database WHERE datname = current_database()"))


def belongings(server: Server, name: str) -> Any:
    """What hangs on a database, as the server tells it."""
    return one(
        server.url("postgres"),
        "SELECT jsonb_build_array(pg_get_userbyid(datdba), datconnlimit, shobj_description(oid, 'pg_database'),"
        " datallowconn,"
        " (SELECT jsonb_agg(x::text ORDER BY x::text) FROM unnest(datacl) x),"
        " (SELECT jsonb_agg(jsonb_build_array(setrole::int, setconfig) ORDER BY setrole) FROM pg_db_role_setting"
        " WHERE setdatabase = d.oid)) FROM pg_database d WHERE datname = %s",
        name,
    )


def document(folder: Path) -> dict[str, Any]:
    """The report of the one restore in a runs folder."""
    (found,) = folder.glob("*-restore-*")
    read = json.loads((found / "report.json").read_text())
    assert isinstance(read, dict)
    return read
