"""A Lawsker database as it is before revision 013: plain SQL, independent of Alembic, not stamped.

The same seed and number of users give the same content, on every major version. Each function works in the
caller's transaction, and leaves search_path, time zone and the like pinned until that transaction ends.
"""

from __future__ import annotations

from importlib.resources import files
from typing import LiteralString

import psycopg
from psycopg import sql

Connection = psycopg.Connection[tuple[object, ...]]

SEED = 20130113
FEWEST_USERS = 20  # with fewer, some enum label or some pattern of roles would not occur
REPORT_ROLE = "lawsker_report"
DEFAULT_PRIVILEGES = "95_default_privileges"  # asked for by name: it changes what 013's own tables look like
PINNED: LiteralString = """
    SET LOCAL client_encoding = 'UTF8';
    SET LOCAL search_path = public;
    SET LOCAL timezone = 'UTC';
    SET LOCAL datestyle = 'ISO, MDY';
    SET LOCAL intervalstyle = 'postgres';
    SET LOCAL standard_conforming_strings = on;
    SET LOCAL client_min_messages = warning;
    SET LOCAL maintenance_work_mem = '256MB';
"""


def load_sample(
    database: str | Connection,
    *,
    users: int = 200,
    seed: int = SEED,
    extras: bool = True,
    role: str = REPORT_ROLE,
) -> tuple[str, ...]:
    """Make and fill the sample in an empty database; return the names of the extras that were left out.

    With a URL it commits and vacuums; with a connection the caller commits.
    """
    if isinstance(database, str):
        url = database.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url) as conn:
            left_out = load_sample(conn, users=users, seed=seed, extras=extras, role=role)
            conn.commit()
            conn.autocommit = True
            conn.execute("VACUUM (ANALYZE)")  # or autovacuum would do it in the middle of a measurement
        return left_out
    create_schema(database, keys=False)
    fill(database, users=users, seed=seed)
    add_keys(database)
    return add_extras(database, role=role) if extras else ()


def create_schema(conn: Connection, *, keys: bool = True) -> None:
    """Create the 10 enum types and 13 tables of the baseline; without `keys`, `add_keys` must follow."""
    _run(conn, "tables.sql")
    if keys:
        add_keys(conn)


def add_keys(conn: Connection) -> None:
    """Create the baseline's primary keys, unique constraints, indexes and foreign keys."""
    _run(conn, "keys.sql")


def fill(conn: Connection, *, users: int = 200, seed: int = SEED) -> None:
    """Insert the sample's rows: 2 cases and 5 log rows for each user, and what belongs to them."""
    if users < FEWEST_USERS:
        raise ValueError(f"the sample needs at least {FEWEST_USERS} users")
    numbers = {"seed": seed, "users": users, "tenants": 5 + users // 2000, "clients": 2 + users // 10}
    numbers |= {"cases": 2 * users, "logs": 5 * users}
    _run(conn, "fill.sql", **{word: str(int(number)) for word, number in numbers.items()})


def add_extras(conn: Connection, *, role: str = REPORT_ROLE, default_privileges: bool = False) -> tuple[str, ...]:
    """Create what live databases carry beside the 13 tables; return the names of what was left out.

    `role`, cluster-wide, is created when it is missing. Left out is what our own role may not do or what this
    build of the server cannot do.
    """
    quoted = sql.Identifier(role).as_string(conn)
    names = sorted(path.name for path in (files(__package__) / "sample" / "extras").iterdir())
    left_out = []
    _pin(conn)  # also begins the transaction, so that the blocks below are savepoints
    has_role = _ensure_role(conn, role)
    for name in names:
        piece = name.removesuffix(".sql")
        if piece == DEFAULT_PRIVILEGES and not default_privileges:
            continue
        if piece >= "90" and not has_role:
            left_out.append(piece)
            continue
        try:
            with conn.transaction():
                _run(conn, f"extras/{name}", role=quoted)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
            left_out.append(piece)
    return tuple(left_out)


def _ensure_role(conn: Connection, role: str) -> bool:
    """Create the role when it is missing; return whether it is there."""
    if conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None:
        return True
    try:
        with conn.transaction():
            conn.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return True  # another session was faster
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _pin(conn: Connection) -> None:
    """Set what the SQL's meaning depends on, for the rest of the transaction."""
    if conn.autocommit:
        raise ValueError("the sample needs a connection with autocommit off")
    conn.execute(PINNED)


def _run(conn: Connection, name: str, **words: str) -> None:
    """Run one of the SQL files, with the words in braces replaced."""
    text = (files(__package__) / "sample" / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    _pin(conn)
    conn.execute(text.encode())
