"""Make, find and drop whole databases: scratch copies under names of ours."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.postgres.session import literal, server_major

SCRATCH_PREFIX = "lawsker_scratch_"
SCRATCH_NAME = re.compile(rf"{SCRATCH_PREFIX}[0-9a-f]{{12}}")
FORCED_DROP_MAJOR = 13  # DROP DATABASE ... WITH (FORCE)
PROVIDER_MAJOR = 15  # LOCALE_PROVIDER


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseProperties:
    """What a dump without --create does not carry of a database."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str
    connection_limit: int
    acl: tuple[str, ...]
    comment: str
    settings: tuple[str, ...]


def new_scratch_name() -> str:
    """Pure but for chance. `lawsker_scratch_` and 12 hex digits: nobody else's database is called so."""
    return SCRATCH_PREFIX + secrets.token_hex(6)


def read_properties(conn: Connection) -> DatabaseProperties:
    """The properties of the current database, and the settings that hang on it. Reads the catalog."""
    row = (
        conn.execute(
            text(
                "SELECT d.datname AS name, pg_get_userbyid(d.datdba) AS owner, pg_encoding_to_char(d.encoding) AS encoding,"
                " d.datcollate AS collate, d.datctype AS ctype, coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,"
                " coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '') AS locale,"
                " d.datconnlimit AS connection_limit, coalesce(d.datacl::text[], '{}') AS acl,"
                " coalesce(shobj_description(d.oid, 'pg_database'), '') AS comment,"
                " ARRAY(SELECT coalesce(pg_get_userbyid(nullif(s.setrole, 0)), '*') || ' ' || c FROM pg_db_role_setting s,"
                " unnest(s.setconfig) AS c WHERE s.setdatabase = d.oid ORDER BY 1) AS settings"
                " FROM pg_database d WHERE d.datname = current_database()"
            )
        )
        .mappings()
        .one()
    )
    lists = {"acl": tuple(row["acl"]), "settings": tuple(row["settings"])}
    return DatabaseProperties(**{**row, **lists})


def create_scratch(conn: Connection, name: str, like: DatabaseProperties) -> None:
    """Create an empty database with the encoding and locale of another. `conn` is in autocommit. Needs CREATEDB.

    From template0: template1 may hold anything. ALLOW_CONNECTIONS stays on, for pg_restore; nobody else knows the name.
    """
    parts = [f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {_quoted(like.encoding)}"]
    parts.append(f"LC_COLLATE {_quoted(like.collate)} LC_CTYPE {_quoted(like.ctype)}")
    if server_major(conn) >= PROVIDER_MAJOR and like.provider == "i":
        parts.append(f"LOCALE_PROVIDER icu ICU_LOCALE {_quoted(like.locale)}")
    if like.provider == "b":
        parts.append(f"LOCALE_PROVIDER builtin BUILTIN_LOCALE {_quoted(like.locale)}")
    conn.execute(literal(" ".join(parts)))


def drop_scratch(conn: Connection, name: str) -> None:
    """Drop a scratch database of ours and whoever is connected to it. `conn` is in autocommit. Absent is fine.

    Refuses (ValueError) any name that is not one of ours: this is the one place that drops a database.
    """
    if not SCRATCH_NAME.fullmatch(name):
        raise ValueError(f"{name} is not a scratch database")
    if server_major(conn) >= FORCED_DROP_MAJOR:
        conn.execute(literal(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        return
    conn.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
        ),
        {"name": name},
    )
    conn.execute(literal(f"DROP DATABASE IF EXISTS {name}"))


def may_create_databases(conn: Connection) -> bool:
    """Whether the current role has CREATEDB or is a superuser. Reads."""
    return bool(
        conn.execute(text("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")).scalar_one()
    )


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
