"""The run lock, table locks with short time-outs and bounded retries, and who stands in the way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from lawsker_db.errors import Busy, LockNotObtained
from lawsker_db.evidence import LockHeld
from lawsker_db.postgres.session import VIGILANT, Session, own_session, server_major
from lawsker_db.target import Target

# Advisory keys are two int4: ours ("LAWS") and which lock. They are per database by nature (pg_locks.database).
KEY_SPACE = 0x4C415753
RUN = 1
MIGRATION = 2
IDLE_SESSION_MAJOR = 14
GRACE_S = 3.0  # a server notices at once that an idle client is gone, and ends its session

# A client that waits for us finds a deadlock after its deadlock_timeout (1 s by default) and dies of it. One attempt
# over all tables together therefore lasts less, and gives back every lock when it fails.
ATTEMPT_S = 0.5
YIELD_S = 0.5  # for autovacuum to notice that it was cancelled and to end
PATIENCE_S = 600.0
PAUSE_S = (0.2, 1.5)  # jittered, so that we do not march in step with a job that comes every second
POLL_S = 0.25
STRONGEST = "ACCESS EXCLUSIVE"  # keeps readers out too
LOCK_NOT_AVAILABLE = "55P03"
_OTHER_SNAPSHOT = (
    "a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.backend_xmin IS NOT NULL"
    " AND a.backend_type = 'client backend'"
)
_SERIALIZABLE = "a.pid IN (SELECT pid FROM pg_locks WHERE mode = 'SIReadLock')"
DEADLOCK_DETECTED = "40P01"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """A session that holds what we want."""

    pid: int
    user: str
    application: str
    address: str
    state: str
    since: datetime
    doing: str
    kind: str = "client backend"

    @property
    def label(self) -> str:
        """Pure. One line for people. `doing` is a command tag or wait, never query text: that may hold personal data."""
        start = self.since.strftime("%Y-%m-%d %H:%M:%S UTC")
        who = f"pid {self.pid}, user {self.user}, {self.application or 'no application name'}"
        if self.kind != "client backend":
            return f"pid {self.pid}, {self.kind}, since {start}{self.doing}"
        return f"{who}, from {self.address}, {self.state} since {start}{self.doing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLock:
    """The RUN lock while it is held: by which server process, and a look that raises `Busy` when it is lost."""

    session: Session
    require_held: Callable[[], None]


@contextmanager
def run_lock(target: Target) -> Iterator[RunLock]:
    """Hold the RUN lock of the database on a connection of its own; released when the block ends.

    Asked for again and again for GRACE_S, while a run that was killed is noticed by its server. Raises `Busy` with the
    holder when another run has it. A session lock, so an autocommit connection: in a transaction it would hold back the
    horizon of vacuum for the whole run.
    """
    with target.connect(autocommit=True) as conn:
        conn.execute(text("SET statement_timeout = 0"))
        for name, value in VIGILANT.items():  # when this machine vanishes, its lock goes within a minute or so
            conn.execute(text(f"SET {name} = {value}"))
        if server_major(conn) >= IDLE_SESSION_MAJOR:  # a role's own would end the session, and the lock with it
            conn.execute(text("SET idle_session_timeout = 0"))
        _poll(conn, "pg_try_advisory_lock", RUN)
        yield RunLock(session=own_session(conn), require_held=lambda: _require_held(conn))


def _require_held(conn: Connection) -> None:
    try:
        held = conn.execute(
            text(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid()"
                " AND classid::bigint = :space AND objid::bigint = :key)"
            ),
            {"space": KEY_SPACE, "key": RUN},
        ).scalar_one()
    except DBAPIError:
        held = False
    if not held:
        raise Busy(
            "The lock that keeps a second run out was lost.", hint="look who ended our session, then type it again"
        )


def take_migration_lock(conn: Connection) -> None:
    """Take the MIGRATION lock until the end of this transaction, asking for GRACE_S. Raises `Busy` with the holder."""
    _poll(conn, "pg_try_advisory_xact_lock", MIGRATION)


def busy(conn: Connection, key: int) -> Busy:
    """Say who holds an advisory lock of ours. Reads pg_locks and pg_stat_activity."""
    found = holders(conn, key)
    who = "; ".join(holder.label for holder in found) or "a session that has just ended"
    return Busy(
        f"Another run is going on in this database: {who}.",
        hint="wait for it to end, or ask whoever runs it, then type it again (a run that was killed: lawsker-db recover)",
        blockers=found,
    )


def holders(conn: Connection, key: int) -> tuple[Blocker, ...]:
    """The sessions that hold an advisory lock of ours. Reads pg_locks and pg_stat_activity."""
    return _sessions(
        conn,
        "a.pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid::bigint = :space"
        " AND objid::bigint = :key AND objsubid = 2 AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database()))",
        {"space": KEY_SPACE, "key": key},
    )


def lock_tables(
    conn: Connection,
    tables: Mapping[str, str],
    *,
    patience_s: float = PATIENCE_S,
    on_wait: Callable[[tuple[Blocker, ...], int], None] = lambda blockers, attempt: None,
) -> tuple[LockHeld, ...]:
    """Take table locks directly at their final strength, in the order given, all or none, until the transaction ends.

    `tables` maps a quoted name to a lock mode. Each attempt runs under a savepoint and gives up after ATTEMPT_S; between
    attempts nothing is held, and what the transaction built before is kept. Other sessions wait for us ATTEMPT_S at most
    while we try. `on_wait` is told the blockers. Raises `LockNotObtained` when `patience_s` is over.
    """
    deadline = time.monotonic() + patience_s
    attempt, within_s = 0, ATTEMPT_S
    while True:
        attempt += 1
        try:
            with conn.begin_nested():
                granted = _attempt(conn, tables, within_s)
            return tuple(
                LockHeld(table=name, mode=tables[name], granted_at=at, attempts=attempt) for name, at in granted.items()
            )
        except OperationalError as failed:
            if sqlstate(failed) not in (LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED):
                raise
        in_the_way = blockers(conn, tuple(tables))
        on_wait(in_the_way, attempt)
        within_s = _deadlock_timeout_s(conn) + YIELD_S if _only_autovacuum(in_the_way) else ATTEMPT_S
        if time.monotonic() >= deadline:
            raise _not_obtained(tables, in_the_way, patience_s)
        time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - jitter, not a secret


def blockers(conn: Connection, tables: tuple[str, ...]) -> tuple[Blocker, ...]:
    """Sessions that hold any lock on these tables now. Reads pg_locks and pg_stat_activity; waits for nothing."""
    return _sessions(
        conn,
        "a.pid <> pg_backend_pid() AND a.pid IN (SELECT pid FROM pg_locks WHERE granted AND locktype = 'relation'"
        " AND relation = ANY (SELECT to_regclass(t)::oid FROM unnest(:tables ::text[]) AS t))",
        {"tables": list(tables)},
    )


def older_snapshots(conn: Connection) -> tuple[Blocker, ...]:
    """Other sessions of this database that hold a snapshot now, but for those that wait for a lock, which may be ours.

    Counts READ COMMITTED statements under way too: their snapshot ends with the statement. SERIALIZABLE transactions are
    known by their predicate locks, so they count also while they wait. Reads pg_stat_activity and pg_locks.
    """
    return _sessions(conn, f"{_OTHER_SNAPSHOT} AND (a.wait_event_type IS DISTINCT FROM 'Lock' OR {_SERIALIZABLE})", {})


def lasting_snapshots(conn: Connection) -> tuple[Blocker, ...]:
    """Other sessions whose snapshot may last: idle in a transaction and still holding one (REPEATABLE READ, or an open
    cursor), SERIALIZABLE ones, and dumps, which are REPEATABLE READ also while they wait for a lock of ours."""
    return _sessions(
        conn,
        f"{_OTHER_SNAPSHOT} AND (a.state = 'idle in transaction' OR a.application_name = 'pg_dump' OR {_SERIALIZABLE})",
        {},
    )


def wait_for_snapshots(
    conn: Connection,
    find: Callable[[Connection], tuple[Blocker, ...]],
    *,
    patience_s: float,
    on_wait: Callable[[tuple[Blocker, ...], int], None] = lambda blockers, attempt: None,
) -> None:
    """Wait until every transaction that `find` finds now has ended or let go of its snapshot. Called behind the lock.

    To an older snapshot a table that is rewritten looks empty for ever (manual, "Caveats" of MVCC). Sessions that come
    later are not waited for, or a busy server would never be done. Raises `LockNotObtained` after `patience_s`: others
    queue behind our lock meanwhile, so this is short.
    """
    deadline = time.monotonic() + patience_s
    older = find(conn)
    attempt = 0
    while older:
        attempt += 1
        on_wait(older, attempt)
        if time.monotonic() >= deadline:
            raise snapshot_in_the_way(older)
        time.sleep(POLL_S)
        holding = {(session.pid, session.since) for session in find(conn)}
        older = tuple(session for session in older if (session.pid, session.since) in holding)


def snapshot_in_the_way(sessions: tuple[Blocker, ...]) -> LockNotObtained:
    """Pure. The refusal that names sessions whose snapshot would see a rewritten table empty."""
    who = "; ".join(session.label for session in sessions)
    return LockNotObtained(
        "A session holds an older snapshot; if it is REPEATABLE READ, the rewritten table would look empty to it:"
        f" {who}.",
        hint="let that transaction end (a report, a dump), then type it again",
        blockers=sessions,
    )


def sqlstate(failed: BaseException) -> str | None:
    """Pure. The SQLSTATE of a database error, whether SQLAlchemy wrapped it or not."""
    original = getattr(failed, "orig", None) or failed
    return original.sqlstate if isinstance(original, psycopg.Error) else None


def _poll(conn: Connection, function: str, key: int) -> None:
    """Never by a call that waits: a session that waits for an advisory lock holds a snapshot, for which CREATE INDEX
    CONCURRENTLY waits in turn."""
    deadline = time.monotonic() + GRACE_S
    while not _try_lock(conn, function, key):
        if time.monotonic() >= deadline:
            raise busy(conn, key)
        time.sleep(POLL_S)


def _try_lock(conn: Connection, function: str, key: int) -> bool:
    return bool(conn.execute(text(f"SELECT {function}(:space, :key)"), {"space": KEY_SPACE, "key": key}).scalar_one())


def _only_autovacuum(in_the_way: tuple[Blocker, ...]) -> bool:
    """Pure. Whether nobody but autovacuum is in the way, which yields to whoever waits for deadlock_timeout (manual,
    "Routine Vacuuming"), so never to our short attempts; it does not when it prevents wraparound."""
    return bool(in_the_way) and all(blocker.kind == "autovacuum worker" for blocker in in_the_way)


def _deadlock_timeout_s(conn: Connection) -> float:
    value = conn.execute(text("SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")).scalar_one()
    return int(value) / 1000


def _attempt(conn: Connection, tables: Mapping[str, str], within_s: float) -> dict[str, datetime]:
    """Lock table after table within so many seconds altogether. Raises the server's 55P03 when that is over."""
    end = time.monotonic() + within_s
    granted: dict[str, datetime] = {}
    for table, mode in tables.items():
        left_ms = max(1, int((end - time.monotonic()) * 1000))
        conn.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{left_ms}ms"})
        conn.execute(text(f"LOCK TABLE {table} IN {mode} MODE"))
        granted[table] = datetime.now(UTC)
    conn.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{int(ATTEMPT_S * 1000)}ms"})
    return granted


def _sessions(conn: Connection, condition: str, values: Mapping[str, object]) -> tuple[Blocker, ...]:
    conn.execute(text("SELECT pg_stat_clear_snapshot()"))  # else a transaction sees pg_stat_activity as it first did
    rows = conn.execute(
        text(
            "SELECT a.pid, coalesce(a.usename, '?') AS user, coalesce(a.application_name, '') AS application,"
            " coalesce(host(a.client_addr), a.client_hostname, 'this host') AS address,"
            " coalesce(a.state, a.backend_type, '?') AS state,"
            " coalesce(a.xact_start, a.state_change, a.backend_start) AS since,"
            " CASE WHEN a.wait_event IS NULL THEN '' ELSE ', waiting for ' || a.wait_event END AS doing,"
            " coalesce(a.backend_type, '?') AS kind"
            f" FROM pg_stat_activity a WHERE {condition} ORDER BY since, a.pid"
        ),
        dict(values),
    ).mappings()
    return tuple(Blocker(**row) for row in rows)


def _not_obtained(tables: Mapping[str, str], in_the_way: tuple[Blocker, ...], patience_s: float) -> LockNotObtained:
    who = "; ".join(blocker.label for blocker in in_the_way) or "sessions that come and go"
    wanted = ", ".join(f"{mode} on {table}" for table, mode in tables.items())
    return LockNotObtained(
        f"Not obtained within {patience_s:g} s: {wanted}. In the way: {who}.",
        hint="end that session or wait for it, then type it again (or give it longer: --lock-patience)",
        blockers=in_the_way,
    )
