"""One database in three spellings: for SQLAlchemy, for libpq's own tools, and for people (without the password)."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache

import psycopg
from psycopg import conninfo
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ResourceClosedError
from sqlalchemy.pool import NullPool

from lawsker_db.errors import Refused, Unreachable, UsageError
from lawsker_db.phrases import Phrase, joined

APPLICATION = "lawsker-db"
CONNECT_TIMEOUT_S = 10  # a dead host otherwise takes the kernel's two minutes; the user's own setting wins
# libpq, "Parameter Key Words": without keepalives a silently dropped connection is noticed after two hours, and while
# something is sent it is the kernel's retransmissions that count (15 minutes), not they. The time-out, in milliseconds,
# ends both after 30 + 3 * 10 s.
KEEPALIVES = {
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
PG_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")
SCHEMES = ("postgres", "postgresql")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")  # RFC 3986, 3.1
DIVISION_BY_ZERO = "22012"
LOCAL_SOCKET = Phrase("local socket")
HOW_TO_NAME_IT = Phrase("set DATABASE_URL=postgresql://user@host:5432/database (or PGHOST, PGDATABASE, PGSERVICE …)")
HOW_TO_ENCODE = Phrase("percent-encode special characters in the password (@ is %40, / is %2F, : is %3A, % is %25)")
VALUES = "22"  # class "data exception": its sentences quote the value
DATABASE_URL = "DATABASE_URL"
DIRECT_URL = "LAWSKER_DIRECT_URL"
LACKING = "42501"  # insufficient_privilege
LOST = ("57P01", "57P02", "57P03", "25P03", "25P04")  # terminated, crashed, starting, idle or transaction time-out


RawConnection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A database by its libpq parameters. The password, if one was given, never shows in repr or `label`.

    `application` is the address that the application uses, where that is another one (it leads through a pooler).
    `admit` looks at each new connection, outside of any transaction, and raises where it leads astray.
    """

    parameters: Mapping[str, str] = field(repr=False)
    application: Target | None = field(default=None, repr=False, compare=False)
    admit: Callable[[RawConnection], None] | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Pure. `user@host:port/database` as far as it was given; never the password."""
        given = self.parameters
        host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST", "")
        port = given.get("port") or os.environ.get("PGPORT", "")
        user = given.get("user") or os.environ.get("PGUSER", "")
        service = given.get("service") or os.environ.get("PGSERVICE", "")
        name = (
            given.get("dbname")
            or os.environ.get("PGDATABASE", "")
            or (Phrase("service {service}", service=service) if service else "")
        )
        values = {"user": user, "host": host or LOCAL_SOCKET, "port": port, "name": name or user}
        place = "{host}:{port}" if port else "{host}"
        template = f"{{user}}@{place}/{{name}}" if user else f"{place}/{{name}}"
        return Phrase(template, **values)

    def raw_connection(self) -> RawConnection:
        """Open a connection. READ COMMITTED and read-write (but on a standby) whatever the role's defaults are.

        Raises `Unreachable`, with what the server said and without the password, and what `admit` raises.
        """
        try:
            connection = psycopg.connect(**_with_defaults(self.parameters), prepare_threshold=None)  # type: ignore[arg-type]
        except psycopg.OperationalError as failed:
            raise _unreachable(self, failed) from None
        if self.admit is not None:
            _admitted(connection, self.admit)
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = None if _is_standby(connection) else False  # there BEGIN READ WRITE is an error
        return connection

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """Open a SQLAlchemy connection for the block and close it after. What was not committed is rolled back.

        A database error that leaves the block becomes `Unreachable` (the connection was lost) or `Refused`: whoever has
        changed something has turned it into an error that says so before.
        """
        engine = create_engine(
            "postgresql+psycopg://", creator=self.raw_connection, poolclass=NullPool, use_native_hstore=False
        )
        if autocommit:
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection = engine.connect()
        except (OperationalError, InterfaceError) as failed:
            raise _unreachable(self, failed.orig) from None
        except DBAPIError as failed:
            raise _refused(self, failed) from failed
        try:
            if autocommit:  # no BEGIN READ WRITE there, and the role or the database may be set to read-only
                connection.exec_driver_sql("SET default_transaction_read_only = off")
                connection.exec_driver_sql("SET DateStyle = 'ISO, YMD'")  # no driver reads the others
            yield connection
        except DBAPIError as failed:
            raise _refused(self, failed) from failed
        finally:
            close_quietly(connection)
            engine.dispose()


def session_mark() -> str:
    """Pure but for our process and chance. What stands in the names of its sessions that others open for it, of programs and
    readers: whoever finds the journal of a killed run knows them by that."""
    return _mark_of(os.getpid())


@cache
def _mark_of(_process: int) -> str:
    return secrets.token_hex(4)


def find_target(url: str | None, direct_url: str | None = None) -> Target:
    """Pure but for the environment. The database that a URL names, else DATABASE_URL, else the PG* variables.

    Where that leads through a pooler, `direct_url` (else LAWSKER_DIRECT_URL, beside a DATABASE_URL or PG* variables)
    leads there without it, and is the target; the other one becomes its `application`. Raises `UsageError` when none
    names a database or a URL cannot be read.
    """
    named = os.environ.get(DATABASE_URL, "")
    given = url or named
    # What is typed wins: a direct way of the environment belongs to the database of the environment, and to no other.
    direct = direct_url or (os.environ.get(DIRECT_URL, "") if given == named else "")
    if given.strip():
        target = parse_target(given)
    elif any(os.environ.get(name) for name in PG_VARIABLES):
        target = Target(parameters={})
    else:
        raise UsageError(Phrase("No database was named."), hint=HOW_TO_NAME_IT)
    return replace(parse_target(direct, DIRECT_URL), application=target) if direct.strip() else target


def parse_target(url: str, variable: str = DATABASE_URL) -> Target:
    """Pure. Read a postgres://, postgresql:// or postgresql+driver:// URL, or a libpq conninfo string.

    `variable` is what people know it by. Raises `UsageError`; its text never repeats the URL, which may hold a password.
    """
    naming = (
        HOW_TO_NAME_IT
        if variable == DATABASE_URL
        else Phrase("give {variable} a postgresql://user@host:5432/database", variable=variable)
    )
    scheme, found, rest = url.strip().partition("://")
    is_url = bool(found and SCHEME.fullmatch(scheme))  # :// may stand in the password of a conninfo string
    if is_url:
        dialect = scheme.lower().split("+")[0]
        if dialect not in SCHEMES:
            raise UsageError(
                Phrase(
                    "{variable} starts with {scheme}://, which is not PostgreSQL.", variable=variable, scheme=scheme
                ),
                hint=naming,
            )
        if _misleading(rest):
            raise _unreadable(variable, naming)
        url = f"postgresql://{rest}"
    try:
        parameters = {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except (psycopg.ProgrammingError, UnicodeError):  # bytes that are not UTF-8, as they are or percent-encoded
        raise _unreadable(variable, naming) from None
    if is_url and not parameters.get("dbname") and "?" not in rest:
        raise UsageError(Phrase("{variable} names no database.", variable=variable), hint=naming)
    return Target(parameters=parameters)


def _unreadable(variable: str, naming: str) -> UsageError:
    """Pure. That a URL is none, without the URL."""
    return UsageError(
        Phrase("{variable} cannot be read as a PostgreSQL URL.", variable=variable),
        hint=joined((HOW_TO_ENCODE, naming), "; "),
    )


def said_by_server(failed: BaseException | None) -> str | None:
    """Pure. What the server says of an error, without what may be personal data: its DETAIL, and the value that it could
    not take (class 22), which stands within the sentence. None where it is not the server that speaks."""
    if not isinstance(failed, psycopg.Error):
        return None
    state = failed.sqlstate or ""
    if state.startswith(VALUES) and state != DIVISION_BY_ZERO:  # whose sentence has no value in it
        return Phrase("a value was refused: {kind}", kind=type(failed).__name__)
    return failed.diag.message_primary


def words_of(failed: DBAPIError) -> str:
    """Pure. What `said_by_server` has of a database error, or that there is no server any more."""
    return said_by_server(failed.orig) or Phrase("the connection was lost")


def close_quietly(connection: Connection) -> None:
    """Close a connection that may be broken; a broken one has nothing left to lose, and no ROLLBACK can be sent on it."""
    try:
        if not connection.closed and not connection.invalidated and _is_broken(connection):
            connection.invalidate()
        connection.close()
    except (DBAPIError, ResourceClosedError):
        return


def _is_broken(connection: Connection) -> bool:
    raw = connection.connection.driver_connection
    return isinstance(raw, psycopg.Connection) and raw.closed


def _admitted(connection: RawConnection, admit: Callable[[RawConnection], None]) -> None:
    """Let `admit` look at a new connection; close it where it raises."""
    connection.autocommit = True
    try:
        admit(connection)
    except BaseException:
        connection.close()
        raise
    connection.autocommit = False


def _is_standby(connection: RawConnection) -> bool:
    """Whether the server is in recovery. It says so by itself from version 14 on; older ones are asked."""
    told = connection.info.parameter_status("in_hot_standby")
    if told:
        return told == "on"
    connection.autocommit = True
    found = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    connection.autocommit = False
    return found is not None and bool(found[0])


def _misleading(rest: str) -> bool:
    """Pure. Whether a raw @, / or : in a password would make libpq take a part of it for host, port or database.

    It ends the user's part at the first @ or /, whichever comes first, and would show the rest as a name. For that @ it
    looks past the ?, behind which a password may stand.
    """
    before, at, _ = rest.partition("/")[0].partition("@")
    if at and "?" in before:
        return True
    authority, _, path = rest.partition("?")[0].partition("/")
    user, at, places = authority.rpartition("@")
    ports = (place.rpartition("]")[2].partition(":")[2] for place in places.split(","))
    return "@" in path or "@" in (user if at else "") or any(port and not port.isdigit() for port in ports)


def _with_defaults(parameters: Mapping[str, str]) -> dict[str, str]:
    """Pure. What we add where the user has not said otherwise."""
    ours = {"application_name": APPLICATION, "connect_timeout": str(CONNECT_TIMEOUT_S), **KEEPALIVES}
    if "PGCONNECT_TIMEOUT" in os.environ:
        del ours["connect_timeout"]
    return {**ours, **parameters, "client_encoding": "UTF8"}


def _refused(target: Target, failed: DBAPIError) -> Refused:
    """Pure. A database error outside of any migration. The server's DETAIL, which may hold personal data, stays out."""
    original = failed.orig
    said = said_by_server(original)
    state = original.sqlstate if isinstance(original, psycopg.Error) else None
    if failed.connection_invalidated or state is None or state in LOST:
        return Unreachable(
            Phrase(
                "The connection to {target} was lost: {said}.",
                target=target.label,
                said=said or Phrase("the server went away"),
            ),
            hint=Phrase("when the server is back, type it again"),
            sqlstate=state,
        )
    return Refused(
        Phrase("The server refused a statement ({state}): {said}.", state=state, said=str(said)),
        hint=Phrase("lawsker-db grants --role NAME prints the rights that a role needs; then type it again")
        if state == LACKING
        else Phrase("mend what it names (a standby, a full disk), then type it again"),
        sqlstate=state,
    )


def _unreachable(target: Target, failed: BaseException | None) -> Unreachable:
    """Pure. A failed start-up as a sentence. libpq reports no SQLSTATE here, so its own words are passed on."""
    said = " ".join(str(failed).split())
    secret = target.parameters.get("password")
    if secret:
        said = said.replace(secret, "***")
    return Unreachable(
        Phrase("No connection to {target}: {said}", target=target.label, said=said),
        hint=Phrase(
            "check host, port, role, database and password (psql with the same settings must work), then type it again"
        ),
    )
