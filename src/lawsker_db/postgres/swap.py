"""Swap the names of two databases: gate closed, everybody out, both renamed in one transaction, which opens the new one.

All of it is done from a third database. What the two hold of sequences and rights is carried over here too: both hang on
what is renamed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import RolledBack
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.databases import EVERYBODY, apply_settings, read_properties, shortened, stands
from lawsker_db.postgres.session import literal, quoted
from lawsker_db.target import said_by_server

POLL_S = 0.02
# A server process that was told to end does so at its next look for interrupts, within milliseconds; what has not gone
# after so long is in the middle of something, and applications have waited long enough.
GATE_S = 5.0
# The rename waits for a session that is just being refused at the gate. Behind it everybody waits who wants to connect.
RENAME_LOCK = "2s"
RENAME_LIMIT = "8s"
SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Two databases and what they are to be called. OIDs stay what they are; the copy takes the live one's name."""

    live: str
    damaged: str
    copy: str
    live_oid: int
    copy_oid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How high a sequence has counted: nobody gets an id twice from one that stands at least there."""

    name: str
    last_value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Belongings:
    """What hangs on a database and not in it: who may what, and whose settings are which."""

    owner: str
    acl: tuple[tuple[str, str, bool], ...]
    comment: str
    connection_limit: int
    settings: tuple[tuple[str, str], ...]
    tablespace: str


def damaged_name(conn: Connection, live: str, run_id: str) -> str:
    """A name for the damaged database that nothing has yet: the live one's, cut where it is long. Reads."""
    suffix, number = f"_damaged_{run_id.rpartition('-')[2]}", 1
    name = shortened(live, suffix)
    while stands(conn, name):
        number += 1
        name = shortened(live, f"{suffix}_{number}")
    return name


def read_belongings(conn: Connection) -> Belongings:
    """Owner, rights, comment, limit and settings of the current database. Reads the catalog. Rights that were never set
    are those that everybody has."""
    like = read_properties(conn)
    rows = conn.execute(
        text(
            "SELECT coalesce(pg_get_userbyid(nullif(a.grantee, 0)), :everybody), a.privilege_type, a.is_grantable"
            " FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a"
            " WHERE d.datname = current_database() AND a.grantee <> d.datdba ORDER BY 1, 2, 3"
        ),
        {"everybody": EVERYBODY},
    )
    return Belongings(
        owner=like.owner,
        acl=tuple((str(role), str(right), bool(grantable)) for role, right, grantable in rows),
        comment=like.comment,
        connection_limit=like.connection_limit,
        settings=like.settings,
        tablespace=like.tablespace,
    )


def hand_settings(conn: Connection, name: str, settings: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Give a scratch database exactly these settings, of all roles. The caller commits. Returns what could not be given."""
    conn.execute(literal(f"ALTER DATABASE {quoted(name)} RESET ALL"))
    conn.execute(literal(f"ALTER ROLE CURRENT_USER IN DATABASE {quoted(name)} RESET ALL"))
    return apply_settings(conn, name, settings, of_all_roles=True)


def close_gate(conn: Connection, name: str) -> None:
    """Let nobody connect to a database any more, superusers neither. `conn` is in autocommit and in another database."""
    _impatient(conn)
    conn.execute(literal(f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS false"))


def end_everybody(conn: Connection, oid: int, *, keep: tuple[int, ...] = (), until: float) -> None:
    """Terminate every session in a database but those of `keep`, until none is left. Their transactions roll back.

    Autovacuum is left to the rename, which ends it. Raises `RolledBack` naming who is still there when the (monotonic)
    time is over, and at once for a prepared transaction, which no termination ends.
    """
    who = (
        "SELECT pid, coalesce(usename, backend_type), application_name FROM pg_stat_activity"
        " WHERE datid = :oid AND pid <> ALL(:keep ::int[]) AND backend_type <> 'autovacuum worker'"
    )
    while True:
        found = conn.execute(text(who), {"oid": oid, "keep": list(keep)}).all()
        prepared = prepared_in(conn, oid)
        if prepared:
            raise _given_up(Phrase("a prepared transaction came meanwhile: {prepared}", prepared=prepared[0]))
        if not found:
            return
        if time.monotonic() > until:
            told = joined(
                Phrase("{user} ({name}, process {pid})", user=str(user), name=name or Phrase("no name"), pid=pid)
                for pid, user, name in found[:SHOWN]
            )
            raise _given_up(Phrase("sessions did not end: {told}", told=told))
        for pid, _, _ in found:
            with suppress(DBAPIError):  # somebody whom this role may not end: told when the time is over
                conn.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        time.sleep(POLL_S)


def prepared_in(conn: Connection, oid: int) -> tuple[str, ...]:
    """Names of the prepared transactions of a database. Reads."""
    query = "SELECT p.gid FROM pg_prepared_xacts p JOIN pg_database d ON d.datname = p.database WHERE d.oid = :oid"
    return tuple(str(gid) for gid in conn.execute(text(f"{query} ORDER BY p.prepared"), {"oid": oid}).scalars())


def read_standings(conn: Connection) -> tuple[Standing, ...]:
    """How high each sequence of the current database has counted, also for transactions that rolled back. One query: the
    gate is closed meanwhile."""
    rows = conn.execute(
        text(
            "SELECT name, value FROM (SELECT format('%I.%I', n.nspname, c.relname) AS name,"
            " CASE WHEN c.relpersistence <> 't' THEN pg_catalog.pg_sequence_last_value(s.seqrelid) END AS value"
            " FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) AS counted WHERE value IS NOT NULL"
        )
    )
    return tuple(Standing(name=str(name), last_value=int(value)) for name, value in rows)


def lift_sequences(conn: Connection, standings: tuple[Standing, ...]) -> tuple[int, tuple[str, ...]]:
    """Set the sequences of the current database to where others stood, in the direction in which they count. Nothing is
    ever set back. Returns how many were moved, and those whose limits do not allow it. The caller commits."""
    given = {"names": [one.name for one in standings], "values": [one.last_value for one in standings]}
    behind = (
        " FROM unnest(:names ::text[], :values ::bigint[]) AS v(name, value)"
        " JOIN pg_catalog.pg_sequence s ON s.seqrelid = to_regclass(v.name)"
        " CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(s.seqrelid) AS value) AS own"
        " WHERE (own.value IS NULL OR CASE WHEN s.seqincrement > 0 THEN own.value < v.value ELSE own.value > v.value END)"
    )
    allowed = "v.value BETWEEN s.seqmin AND s.seqmax"
    stuck = conn.execute(text(f"SELECT v.name{behind} AND NOT {allowed} ORDER BY 1"), given).scalars()
    names = tuple(str(name) for name in stuck)
    moved = conn.execute(text(f"SELECT setval(s.seqrelid, v.value){behind} AND {allowed}"), given).all()
    return len(moved), names


def exchange(conn: Connection, swap: Swap, belongings: Belongings, before_commit: Callable[[], None]) -> None:
    """Rename both databases in one transaction; the copy gets the live one's rights and is open when it commits.

    `conn` is in autocommit, in a third database; nobody may be in the two. The damaged one stays closed: read-only, and
    PUBLIC may not connect. Raises `RolledBack` when the server refuses; whether a lost COMMIT took place, `is_swapped`
    tells.
    """
    _impatient(conn)
    try:
        conn.exec_driver_sql("BEGIN")
        for statement in _statements(swap, belongings):
            conn.execute(literal(statement))
        before_commit()
        conn.exec_driver_sql("COMMIT")
        renamed = is_swapped(conn, swap)
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        with suppress(DBAPIError):
            conn.exec_driver_sql("ROLLBACK")
        raise _given_up(Phrase("the server refused: {said}", said=str(said_by_server(failed.orig)))) from failed
    if not renamed:  # COMMIT of a failed transaction answers ROLLBACK, and raises nothing
        raise _given_up(Phrase("the server did not commit it"))


def is_swapped(conn: Connection, swap: Swap) -> bool | None:
    """Whether the copy bears the live name; None when neither of the two does. Reads, from a third database."""
    names = {int(oid): str(name) for oid, name in conn.execute(text("SELECT oid::bigint, datname FROM pg_database"))}
    if names.get(swap.copy_oid) == swap.live:
        return True
    return False if names.get(swap.live_oid) == swap.live else None


def let_in(conn: Connection, oid: int, *, allowed: bool) -> str | None:
    """Open or close a database by its OID. `conn` is in autocommit and in another one. Returns its name where that changed
    anything, None when it stood so already or is gone."""
    query = "SELECT datname FROM pg_database WHERE oid = :oid AND datallowconn IS DISTINCT FROM :allowed"
    name = conn.execute(text(query), {"oid": oid, "allowed": allowed}).scalar_one_or_none()
    if name is not None:
        word = "true" if allowed else "false"
        conn.execute(literal(f"ALTER DATABASE {quoted(str(name))} ALLOW_CONNECTIONS {word}"))
    return None if name is None else str(name)


def rename(conn: Connection, old: str, new: str) -> None:
    """Rename a database in which nobody is. `conn` is in autocommit and in another one."""
    _impatient(conn)
    conn.execute(literal(f"ALTER DATABASE {quoted(old)} RENAME TO {quoted(new)}"))


def hand_over(conn: Connection, name: str, belongings: Belongings) -> None:
    """Give a scratch database owner, rights, comment and limit in one transaction. `conn` is in autocommit."""
    conn.exec_driver_sql("BEGIN")
    for statement in _belonging(quoted(name), belongings):
        conn.execute(literal(statement))
    conn.exec_driver_sql("COMMIT")


def _statements(swap: Swap, belongings: Belongings) -> tuple[str, ...]:
    """Pure. The transaction of the swap."""
    live, damaged, copy = quoted(swap.live), quoted(swap.damaged), quoted(swap.copy)
    return (
        f"ALTER DATABASE {live} RENAME TO {damaged}",
        f"ALTER DATABASE {copy} RENAME TO {live}",
        f"REVOKE CONNECT ON DATABASE {damaged} FROM PUBLIC",
        f"ALTER DATABASE {damaged} SET default_transaction_read_only = on",
        *_belonging(live, belongings),
        f"ALTER DATABASE {live} ALLOW_CONNECTIONS true",
    )


def _belonging(name: str, belongings: Belongings) -> tuple[str, ...]:
    """Pure. Statements that give a database its owner, rights, comment and limit. A new owner takes the owner's rights
    along, so he comes first."""
    grants = []
    for role, right, grantable in belongings.acl:
        to = "PUBLIC" if role == EVERYBODY else quoted(role)
        grants.append(f"GRANT {right} ON DATABASE {name} TO {to}{' WITH GRANT OPTION' if grantable else ''}")
    said = belongings.comment.replace("'", "''")
    return (
        f"ALTER DATABASE {name} OWNER TO {quoted(belongings.owner)}",
        f"ALTER DATABASE {name} CONNECTION LIMIT {belongings.connection_limit}",
        *([f"COMMENT ON DATABASE {name} IS '{said}'"] if said else []),
        *grants,
    )


def _impatient(conn: Connection) -> None:
    """Behind a lock on a database everybody waits who wants to connect: so nobody waits long for one here."""
    conn.execute(literal(f"SET lock_timeout = '{RENAME_LOCK}'"))
    conn.execute(literal(f"SET statement_timeout = '{RENAME_LIMIT}'"))
    conn.execute(text("SET synchronous_commit = on"))
    conn.execute(text("SET standard_conforming_strings = on"))


def _given_up(why: str) -> RolledBack:
    """Pure. That the swap was not made. What undoes it says so once it has."""
    return RolledBack(
        Phrase("The names were not swapped: {why}.", why=why), hint=Phrase("look who that is, then type it again")
    )
