"""What tests of backups and their copies share: the server, whose scratch databases stand on it, a database of a role."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg

from lawsker_db.demo.sample import load_sample
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import Target, parse_target


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


def scratch_databases(server: Server) -> set[str]:
    with psycopg.connect(server.url("postgres")) as conn:
        rows = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'").fetchall()
    return {str(row[0]) for row in rows}


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


@contextmanager
def owned_by(server: Server, role: str, rights: str) -> Iterator[Target]:
    """An adopted sample database that an ordinary role owns, as that role."""
    server.run(f"CREATE ROLE {role} LOGIN PASSWORD 'x' {rights}")
    server.run(f"CREATE DATABASE {role} OWNER {role} TEMPLATE template0 ENCODING 'UTF8'")
    given = parse_target(server.url(role)).parameters
    target = Target(parameters={**given, "user": role, "password": "x"})
    try:
        with target.raw_connection() as conn:
            load_sample(conn, users=30)
        adopt(target)
        yield target
    finally:
        server.run(f"DROP DATABASE {role}")
        server.run(f"DROP ROLE {role}")
