"""Identity of a server and database, and sessions whose settings are ours whatever the role brings along."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import Refused, Unreachable
from lawsker_db.evidence import Server
from lawsker_db.phrases import Phrase, joined
from lawsker_db.target import APPLICATION, LOCAL_SOCKET, RawConnection, Target

OLDEST_MAJOR = 12
NEWEST_MAJOR = 18
CORE_UUID_MAJOR = 13  # gen_random_uuid() is in core from here on; before, an extension has it
APPLICATION_TABLE = "users"
# Since 1970: a date would be read in the form that the role's DateStyle gives it, which is pinned later.
STARTED = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ADDRESS = f"coalesce(host(inet_server_addr()) || ':' || inet_server_port(), '{LOCAL_SOCKET}')"
# Nothing but the catalog, and that before temporary objects: an empty path would search those first.
CATALOG_PATH = "pg_catalog, pg_temp"

UNKNOWN = "unknown"  # a system identifier that this role may not read; a value that travels, also into statements
# How long a transaction may stand idle before the server ends it. None of our statements follow one another that slowly
# (a wait asks again within 1.5 s), so an idle one belongs to a tool that was stopped or a machine that sleeps.
IDLE_LIMIT = "2min"
IDLED = "25P03"
IDLED_OUT = Phrase(
    "The transaction stood idle for longer than the server lets it ({idle_limit}, unless a revision "
    "sets it): this tool was stopped, its machine slept, or a revision was at work outside of the "
    "database. So that nobody waits for its locks for ever, the server ended it.",
    idle_limit=IDLE_LIMIT,
)
# For the server to notice within a minute that a client's machine is gone, and its locks with it: 30 s of silence, three
# questions 10 s apart; the time-out, in milliseconds, does the same where something is being sent. Each is 0 on a Unix
# socket, and where the system does not know it.
VIGILANT = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

# What a role, a database or PGOPTIONS may set, and what it would do to us. SET LOCAL for one transaction.
PINNED = {
    "row_security": "off",  # an error instead of rows that hide
    "lock_timeout": "500ms",  # we queue behind nobody for long: whoever comes after us would queue too
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "synchronous_commit": "on",  # an acknowledged COMMIT must not vanish with a crash
    "client_min_messages": "warning",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "check_function_bodies": "on",
    "default_tablespace": "",
    "default_table_access_method": "heap",
    "default_transaction_deferrable": "off",
    "enable_seqscan": "on",  # a role with it off turns our joins over whole tables into index walks
    "enable_hashjoin": "on",
    "jit": "off",  # compiling costs more than any of our statements gains
    # With the 4 MB that servers begin with, a DISTINCT over 1.4 million rows by parallel workers took 265 s in place
    # of 0.6 s by one (PostgreSQL 15.18).
    "max_parallel_workers_per_gather": "0",
}
END_S = 10.0  # a server process that was told to end does so at its next look for interrupts
POLL_S = 0.1
LEAST_WORK_MEM = "64MB"  # hashes over a million keys of 16 bytes stay in memory
NEWER_PINNED = {14: {"client_connection_check_interval": "10s"}, 17: {"transaction_timeout": "0"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A server process. Its number may be used again, so it counts together with when it started."""

    pid: int
    start: datetime


def own_session(conn: Connection) -> Session:
    """The server process of this connection. Reads."""
    start = "(extract(epoch FROM backend_start) * 1000000)::bigint"  # see STARTED
    row = conn.execute(text(f"SELECT pid, {start} FROM pg_stat_activity WHERE pid = pg_backend_pid()")).one()
    return Session(pid=row[0], start=_moment(row[1]))


def marked_sessions(conn: Connection, marks: tuple[str, ...]) -> tuple[Session, ...]:
    """The sessions, in whatever database, whose name has one of these marks (`target.session_mark`) in it. Reads."""
    rows = conn.execute(
        text(
            "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint FROM pg_stat_activity"
            " WHERE application_name LIKE :ours AND string_to_array(application_name, ' ') && CAST(:marks AS text[])"
        ),
        {"ours": f"{APPLICATION} %", "marks": list(marks)},
    )
    return tuple(Session(pid=pid, start=_moment(start)) for pid, start in rows)


def end_sessions(conn: Connection, sessions: tuple[Session, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Terminate those of these server processes that still run, and wait a moment until they have ended.

    `conn` is in autocommit. What they had open rolls back. Returns the numbers of those that are gone, and of those that are
    not. Needs their role, or pg_signal_backend.
    """
    values = {"pids": [session.pid for session in sessions], "starts": [session.start for session in sessions]}
    still = (
        " FROM pg_stat_activity a JOIN unnest(:pids ::int[], :starts ::timestamptz[]) AS s(pid, start)"
        " ON a.pid = s.pid AND a.backend_start = s.start"
    )
    found = {int(pid) for pid in conn.execute(text(f"SELECT a.pid{still}"), values).scalars()}
    with suppress(DBAPIError):  # somebody else's: told as one that is not gone
        conn.execute(text(f"SELECT pg_terminate_backend(a.pid){still}"), values).all()
    deadline, there = time.monotonic() + END_S, found
    while there and time.monotonic() < deadline:
        there = {int(pid) for pid in conn.execute(text(f"SELECT a.pid{still}"), values).scalars()}
        time.sleep(POLL_S)
    return tuple(sorted(found - there)), tuple(sorted(there))


def identify(conn: Connection, *, sized: bool = True) -> Server:
    """Read who and where we are. Reads only; takes no lock beyond catalog look-ups.

    The size takes a look at every file of the database; without `sized` it is 0.
    """
    row = (
        conn.execute(
            text(
                "SELECT current_setting('server_version_num')::int AS version,"
                " current_database() AS database, d.oid AS database_oid, current_user AS user,"
                " session_user AS session_user, r.rolsuper AS superuser, pg_is_in_recovery() AS in_recovery,"
                f" pg_encoding_to_char(d.encoding) AS encoding, {STARTED} AS started_at,"
                " CASE WHEN :sized THEN pg_database_size(d.oid) ELSE 0 END AS data_bytes,"
                f" {ADDRESS} AS address,"
                " has_function_privilege('pg_control_system()', 'EXECUTE') AS may_read_control"
                " FROM pg_database d, pg_roles r"
                " WHERE d.datname = current_database() AND r.rolname = current_user"
            ),
            {"sized": sized},
        )
        .mappings()
        .one()
    )
    facts = dict(row)
    may_read_control = facts.pop("may_read_control")
    facts["started_at"] = _moment(facts["started_at"])
    identifier = UNKNOWN
    if may_read_control:
        identifier = str(conn.execute(text("SELECT system_identifier FROM pg_control_system()")).scalar_one())
    return Server(system_identifier=identifier, **facts)


def pinned(target: Target, server: Server) -> Target:
    """Pure. The same target; each of its connections from here on must lead to that server and database.

    A host name or a list of hosts may lead elsewhere in the middle of a run. Connecting then raises `Refused`.
    """
    return replace(target, admit=partial(_admit, server, target.label))


def require_same(conn: Connection, server: Server) -> None:
    """Raise `Refused` unless the connection leads to the server and database of the start, in the same life of it.

    Stricter than `pinned`: a restart, or a standby that became the primary, may have lost what was acknowledged. Reads
    only; ends no transaction.
    """
    here = identify(conn, sized=False)
    same = _identity(here) == _identity(server) and not here.in_recovery
    if same and here.started_at == server.started_at:
        return
    why = (
        Phrase("The server was restarted, or a standby took its place")
        if same
        else Phrase("This is another server or database")
    )
    raise Refused(
        Phrase(
            "{why}, since the start: {before} then, {now} now.",
            why=why,
            before=_described(server),
            now=_described(here),
        ),
        hint=Phrase("find out where the address leads, then type the same command again"),
    )


def leads_to(connection: RawConnection, server: Server) -> bool:
    """Whether a connection, outside of any transaction, leads to this database of this server, and not to a standby.

    Where the system identifier may not be read, the moment at which the server was started stands for it. Reads only;
    raises psycopg's errors.
    """
    try:
        row = connection.execute(_whereabouts(with_identifier=server.system_identifier != UNKNOWN)).fetchone()
    except psycopg.errors.InsufficientPrivilege:  # what could be read at the start cannot be read here
        return False
    if row is None:
        return False
    _, oid, in_recovery, started_at, _, identifier = row
    if (oid, identifier) != (server.database_oid, server.system_identifier) or in_recovery:
        return False
    return server.system_identifier != UNKNOWN or _moment(started_at) == server.started_at


def whereabouts(connection: RawConnection) -> str:
    """Where a connection, outside of any transaction, leads, for people. Reads only; raises psycopg's errors."""
    try:
        row = connection.execute(_whereabouts(with_identifier=True)).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        row = connection.execute(_whereabouts(with_identifier=False)).fetchone()
    name, oid, _, _, address, identifier = row or ("?",) * 6
    return _place(str(name), str(oid), str(identifier), str(address))


def _whereabouts(*, with_identifier: bool) -> bytes:
    """Pure. The question: database, its OID, in recovery, started, address, system identifier."""
    who = "(SELECT system_identifier::text FROM pg_control_system())" if with_identifier else f"'{UNKNOWN}'"
    return (
        "SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,"
        f" pg_is_in_recovery(), {STARTED}, {ADDRESS}, {who}"
    ).encode()


def _admit(server: Server, label: str, connection: RawConnection) -> None:
    """Raise `Refused` when a new connection does not lead to the server and database of the start. Reads only."""
    try:
        if leads_to(connection, server):
            return
        there = whereabouts(connection)
    except psycopg.Error:
        raise Unreachable(
            Phrase("The connection to {target} was lost as soon as it was made.", target=label),
            hint=Phrase("look at the server, then type it again"),
        ) from None
    raise Refused(
        Phrase(
            "{target} leads to another server than at the start, or to a standby: {before} then, {there} now.",
            target=label,
            before=_described(server),
            there=there,
        ),
        hint=Phrase(
            "find out where the address leads (several hosts? a name that moves?), then type the same command again"
        ),
    )


def _moment(microseconds: object) -> datetime:
    return EPOCH + timedelta(microseconds=int(str(microseconds)))


def _identity(server: Server) -> tuple[str, int]:
    return server.system_identifier, server.database_oid


def _described(server: Server) -> str:
    """Pure. A server and database for people, as `whereabouts` has them."""
    return _place(server.database, str(server.database_oid), server.system_identifier, server.address)


def _place(database: str, oid: str, identifier: str, address: str) -> Phrase:
    return Phrase(
        "database {database} (OID {oid}) of server {identifier} at {address}",
        database=database,
        oid=oid,
        identifier=Phrase("unknown") if identifier == UNKNOWN else identifier,
        address=LOCAL_SOCKET if address == LOCAL_SOCKET else address,
    )


def find_schema(conn: Connection) -> str:
    """The schema that the application's tables live in: that of `users` on the session's path, else the first one.

    Reads only. Raises `Refused` when the path leads to no schema.
    """
    schema = conn.execute(
        text(
            "SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid = to_regclass(:table) AND n.nspname !~ '^pg_'), current_schema())"
        ),
        {"table": APPLICATION_TABLE},
    ).scalar_one()
    if schema is None:
        raise Refused(
            Phrase("The session's search_path leads to no schema."),
            hint=Phrase("set one for the role: ALTER ROLE … SET search_path = public"),
        )
    return str(schema)


def pin_session(conn: Connection, schema: str, *, idle_limit: str = "0") -> None:
    """Set every setting that could change what a statement means or shows, for this transaction only.

    Names resolve in `schema`, then in the session's temporary schema. With `idle_limit` the server ends a transaction that
    stands idle for longer (25P03): for one that holds locks which keep others out. Raises `Refused` when a setting was not
    taken, or the role is set to session_replication_role = replica (triggers and foreign keys would be silent).
    """
    version = server_major(conn)
    pins = {**PINNED, **VIGILANT, "idle_in_transaction_session_timeout": idle_limit}
    for major, more in NEWER_PINNED.items():
        if version >= major:
            pins |= more
    pins["search_path"] = f"{quoted(schema)}, pg_temp"
    if conn.execute(
        text("SELECT pg_size_bytes(current_setting('work_mem')) < pg_size_bytes(:l)"), {"l": LEAST_WORK_MEM}
    ).scalar_one():
        pins["work_mem"] = LEAST_WORK_MEM
    rows = conn.execute(
        text(
            "SELECT name, set_config(name, value, true) FROM unnest(:names ::text[], :values ::text[]) AS p(name, value)"
        ),
        {"names": list(pins), "values": list(pins.values())},
    )
    refused = [
        Phrase("{name} is {found}, not {pinned}", name=name, found=found, pinned=pins[name])
        for name, found in rows
        if found != pins[name] and not (name in VIGILANT and found == "0")
    ]
    if refused:
        raise Refused(
            Phrase(
                "The server did not take settings that the session needs: {refused}.", refused=joined(refused, "; ")
            ),
            hint=Phrase("look which extension or pooler changes them, then type it again"),
        )
    if not fires_triggers(conn):
        raise Refused(
            Phrase("The session runs with session_replication_role = replica or local: triggers would be silent."),
            hint=Phrase("ALTER ROLE … RESET session_replication_role, then type it again"),
        )


@contextmanager
def free_to_idle(conn: Connection) -> Iterator[None]:
    """For the block, let the transaction stand idle as long as it takes: others work for it meanwhile.

    What limit there was is put back when the block ends well.
    """
    name = {"name": "idle_in_transaction_session_timeout"}
    limit = conn.execute(text("SELECT current_setting(:name)"), name).scalar_one()
    put = text("SELECT set_config(:name, :limit, true)")
    conn.execute(put, {**name, "limit": "0"})
    yield
    conn.execute(put, {**name, "limit": limit})


def fires_triggers(conn: Connection) -> bool:
    """Whether ordinary triggers and foreign keys work in this session. Asks the server."""
    role = conn.execute(text("SELECT pg_catalog.current_setting('session_replication_role')")).scalar_one()
    return str(role) == "origin"


@contextmanager
def own_path(conn: Connection, schema: str) -> Iterator[None]:
    """For the block, resolve names as `pin_session` has it; what somebody has set meanwhile is put back when it ends
    well."""
    path = conn.execute(text("SELECT pg_catalog.current_setting('search_path')")).scalar_one()
    put = text("SELECT pg_catalog.set_config('search_path', :path, true)")
    conn.execute(put, {"path": f"{quoted(schema)}, pg_temp"})
    yield
    conn.execute(put, {"path": path})


def transaction_id(conn: Connection) -> int:
    """This transaction's id, 64 bits with epoch. Assigns one if there is none yet."""
    return int(conn.execute(text("SELECT txid_current()")).scalar_one())


def server_major(conn: Connection) -> int:
    """15 for a server of version 15.18. Asks the server."""
    return int(conn.execute(text("SELECT current_setting('server_version_num')")).scalar_one()) // 10000


def quoted(name: str) -> str:
    """Pure. An identifier in double quotes. (SQLAlchemy's own quoting also doubles %, which `text` then does again.)"""
    return '"' + name.replace('"', '""') + '"'


def quoted_as_read(conn: Connection, name: str) -> str:
    """An identifier as quote_ident() gives it, which is how the catalog is read. Asks the server."""
    return str(conn.execute(text("SELECT quote_ident(:name)"), {"name": name}).scalar_one())


def literal(sql: str) -> TextClause:
    """Pure. SQL without bind parameters, whatever colons the names in it hold."""
    return text(sql.replace(":", "\\:"))
