"""Make, find and drop whole databases: scratch copies under names of ours."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError, Refused
from lawsker_db.evidence import Server
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import identify, literal, pinned, quoted, server_major
from lawsker_db.postgres.tools import is_local
from lawsker_db.target import Target

SCRATCH_PREFIX = "lawsker_scratch_"
SCRATCH_NAME = re.compile(rf"{SCRATCH_PREFIX}[0-9a-f]{{12}}")
FORCED_DROP_MAJOR = 13  # DROP DATABASE ... WITH (FORCE)
PROVIDER_MAJOR = 15  # LOCALE_PROVIDER
EVERYBODY = "*"
BESIDE = ("postgres", "template1")  # databases from which another one can be closed, renamed and opened
# DROP DATABASE waits for a checkpoint, and from 15 on for every server process to take note: one that is stopped (SIGSTOP,
# a frozen disk) never does. So long is more than a checkpoint takes; what is left then is said.
DROP_LIMIT = "5min"
NAME_BYTES = 63  # NAMEDATALEN - 1
# Settings whose value is a list of names: given as one text they would be one name (GUC_LIST_QUOTE in guc_tables.c).
LISTS = ("local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces")
SPARE_BYTES = 64 << 20
# pg_database.datlocprovider: its name in CREATE DATABASE, and how its locale is given
PROVIDERS = {"c": ("libc", ""), "i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseProperties:
    """What a dump without --create does not carry of a database. `settings`: role (or EVERYBODY), "name=value"."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str
    locale: str
    rules: str
    tablespace: str
    connection_limit: int
    acl: tuple[str, ...]
    comment: str
    settings: tuple[tuple[str, str], ...]


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
                " coalesce(to_jsonb(d) ->> 'daticurules', '') AS rules,"
                " (SELECT spcname FROM pg_tablespace WHERE oid = d.dattablespace) AS tablespace,"
                " d.datconnlimit AS connection_limit, coalesce(d.datacl::text[], '{}') AS acl,"
                " coalesce(shobj_description(d.oid, 'pg_database'), '') AS comment,"
                " (SELECT coalesce(jsonb_agg(jsonb_build_array("
                " coalesce(pg_get_userbyid(nullif(s.setrole, 0)), :everybody), c) ORDER BY s.setrole, c), '[]')"
                " FROM pg_db_role_setting s, unnest(s.setconfig) AS c WHERE s.setdatabase = d.oid) AS settings"
                " FROM pg_database d WHERE d.datname = current_database()"
            ),
            {"everybody": EVERYBODY},
        )
        .mappings()
        .one()
    )
    settings = tuple((str(role), str(setting)) for role, setting in row["settings"])
    return DatabaseProperties(**{**row, "acl": tuple(row["acl"]), "settings": settings})


def create_scratch(conn: Connection, name: str, like: DatabaseProperties) -> None:
    """Create an empty database with the encoding and locale of another. `conn` is in autocommit. Needs CREATEDB.

    From template0: template1 may hold anything. In the other's tablespace where this role may use it: there is the room
    for a second one. Only this role and superusers may connect: a copy is as secret as its original, which PUBLIC could
    otherwise read there, and a stranger's session would keep an ordinary role from dropping it.
    """
    _without_limits(conn)
    parts = [f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {_text(like.encoding)} ALLOW_CONNECTIONS false"]
    parts.append(f"LC_COLLATE {_text(like.collate)} LC_CTYPE {_text(like.ctype)}")
    if server_major(conn) >= PROVIDER_MAJOR:  # else it is the template's
        provider, locale = PROVIDERS[like.provider]
        parts.append(f"LOCALE_PROVIDER {provider}")
        parts += [f"{locale} {_text(like.locale)}"] if locale else []
    if like.rules:
        parts.append(f"ICU_RULES {_text(like.rules)}")
    if _may_use(conn, like.tablespace):
        parts.append(f"TABLESPACE {quoted(like.tablespace)}")
    conn.execute(literal(" ".join(parts)))
    conn.execute(literal(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC"))
    conn.execute(literal(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))


def apply_settings(
    conn: Connection, name: str, settings: tuple[tuple[str, str], ...], *, of_all_roles: bool = False
) -> tuple[str, ...]:
    """Give a scratch database the settings that hung on the one that it copies: for everybody, and for this role, or for
    every role.

    The caller commits. FROM CURRENT lets the server quote lists (search_path) as it does itself. Returns the settings
    that could not be given, with the reason.
    """
    user = conn.execute(text("SELECT current_user")).scalar_one()
    failed: list[str] = []
    for role, setting in settings:
        if role not in (EVERYBODY, user) and not of_all_roles:
            continue
        whose = f"DATABASE {quoted(name)}" if role == EVERYBODY else f"ROLE {quoted(role)} IN DATABASE {quoted(name)}"
        refused = _apply_setting(conn, whose, setting)
        if refused:
            parameter = setting.partition("=")[0]
            failed.append(
                Phrase("setting {parameter}: {refused}", parameter=parameter, refused=refused)
                if role in (EVERYBODY, user)
                else Phrase(
                    "setting {parameter} of role {role}: {refused}", parameter=parameter, role=role, refused=refused
                )
            )
    return tuple(failed)


def _apply_setting(conn: Connection, whose: str, setting: str) -> str:
    """Give one setting under a savepoint; returns why it could not be given, empty when it was.

    What names something that is gone (a tablespace) cannot be made current first, and is given as it is written.
    """
    parameter, _, value = setting.partition("=")
    said = ""
    for current in (True, False):
        if not current and parameter in LISTS:
            break
        savepoint = conn.begin_nested()
        try:
            if current:
                taken = {"parameter": parameter, "value": value}
                conn.execute(text("SELECT set_config(:parameter, :value, true)"), taken)
            given = "FROM CURRENT" if current else f"TO {_text(value)}"
            conn.execute(literal(f"ALTER {whose} SET {_parameter(parameter)} {given}"))
        except DBAPIError as refused:
            if refused.connection_invalidated:
                raise
            savepoint.rollback()
            said = said or str(refused.orig).splitlines()[0]
        else:
            savepoint.commit()
            return ""
    return said


def drop_scratch(conn: Connection, name: str) -> None:
    """Drop a scratch database of ours and whoever is connected to it. `conn` is in autocommit. Absent is fine.

    Gives up after `DROP_LIMIT` (57014). Refuses (ValueError) any name that is not one of ours: this is the one place that
    drops a database.
    """
    if not SCRATCH_NAME.fullmatch(name):
        raise ValueError(f"{name} is not a scratch database")
    _without_limits(conn)
    conn.execute(literal(f"SET statement_timeout = '{DROP_LIMIT}'"))
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


def beside(target: Target, server: Server | None = None) -> Target:
    """The first database on the same server that lets us in and is not the one that is meant: from there that one can be
    renamed. With `server`, only on that server, and each connection must lead there.

    Opens a connection to each. Raises `Unreachable` where none lets this role in, `Refused` for another server.
    """
    failed: LawskerError | None = None
    names = [name for name in BESIDE if server is None or name != server.database]
    for name in names:
        place = Target(parameters={**target.parameters, "dbname": name})
        try:
            with place.connect() as conn:
                there = identify(conn, sized=False)
                conn.rollback()
        except LawskerError as refused:
            failed = failed or refused
            continue
        if server is None:
            return place
        if (there.system_identifier, there.started_at) == (server.system_identifier, server.started_at):
            return pinned(place, there)
        failed = failed or Refused(
            Phrase("{target} leads to another server.", target=place.label),
            hint=Phrase("find out where the address leads"),
        )
    raise failed or Refused(
        Phrase("No database beside this one can be reached."), hint=Phrase("name one with DATABASE_URL")
    )


def stands(conn: Connection, name: str) -> bool:
    """Whether there is a database of this name. Reads."""
    return bool(
        conn.execute(text("SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name)"), {"name": name}).scalar_one()
    )


def shortened(name: str, suffix: str) -> str:
    """Pure. A name with a suffix, cut before it so that both together are as long as a name may be, in whole characters."""
    room = NAME_BYTES - len(suffix.encode())
    return name.encode()[:room].decode(errors="ignore") + suffix


def may_create_databases(conn: Connection) -> bool:
    """Whether the current role has CREATEDB or is a superuser. Reads."""
    return bool(
        conn.execute(text("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")).scalar_one()
    )


def disk_of(conn: Connection) -> Path | None:
    """The folder on the server's disk that holds the current database; None where that disk cannot be seen from here.

    Reads. The path needs pg_read_all_settings.
    """
    place = conn.execute(
        text(
            "SELECT coalesce(nullif(pg_tablespace_location(d.dattablespace), ''),"
            " (SELECT setting FROM pg_settings WHERE name = 'data_directory'))"
            " FROM pg_database d WHERE d.datname = current_database()"
        )
    ).scalar_one_or_none()
    if place is None or not is_local(conn) or not os.access(place, os.F_OK):
        return None
    return Path(str(place))


def room_beside(conn: Connection) -> int | None:
    """Bytes free on the disk that holds the current database; None where the server's disk cannot be seen from here."""
    place = disk_of(conn)
    return None if place is None else shutil.disk_usage(place).free


def room_needed(data_bytes: int) -> int:
    """Pure. Bytes that must be free for a copy of a database of this size, and for the WAL of making it.

    The WAL is about as large as the copy (measured: 184 MB for 205 MB), and stays where a slot lags or archiving fails; a
    full disk would stop the original too.
    """
    return 2 * data_bytes + SPARE_BYTES


def _without_limits(conn: Connection) -> None:
    """No time-out of the role ends CREATE or DROP DATABASE, which may wait for a checkpoint."""
    conn.execute(text("SET statement_timeout = 0"))
    conn.execute(text("SET lock_timeout = 0"))


def _may_use(conn: Connection, tablespace: str) -> bool:
    """Whether there is this tablespace here, other than the default one, and this role may put something into it."""
    return bool(
        conn.execute(
            text(
                "SELECT EXISTS (SELECT FROM pg_tablespace WHERE spcname = :name AND spcname <> 'pg_default'"
                " AND has_tablespace_privilege(oid, 'CREATE'))"
            ),
            {"name": tablespace},
        ).scalar_one()
    )


def _parameter(name: str) -> str:
    """Pure. A setting's name; one of an extension has a dot, whose two parts are quoted apart."""
    return ".".join(quoted(part) for part in name.split("."))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
