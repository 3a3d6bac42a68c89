"""Snapshots of other sessions, to which a rewritten table would be empty: who holds one, and waiting until they do not."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from lawsker_db.errors import LockNotObtained
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.blockers import Blocker, find_sessions, named

OnWait = Callable[[tuple[Blocker, ...], int], None]  # told sessions and which try, or look, it was

SNAPSHOT_PATIENCE_S = 5.0  # others queue behind our strong lock while we wait
POLL_S = 0.25
_OTHER_SNAPSHOT = (
    "a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.backend_xmin IS NOT NULL"
    " AND a.backend_type = 'client backend'"
)
_SERIALIZABLE = "a.pid IN (SELECT pid FROM pg_locks WHERE mode = 'SIReadLock')"


def unheard(sessions: tuple[Blocker, ...], attempt: int) -> None:
    """Pure. Take note of nothing."""


def let_go_of_snapshot(conn: Connection) -> None:
    """Show no snapshot while we pause. That of a statement with parameters stays with its portal until the next statement,
    and whoever builds an index concurrently would wait for our whole transaction."""
    conn.exec_driver_sql("SELECT 1")


def older_snapshots(conn: Connection) -> tuple[Blocker, ...]:
    """Other sessions of this database that hold a snapshot now, but for those that wait for a lock, which may be ours.

    Counts READ COMMITTED statements under way too: their snapshot ends with the statement. SERIALIZABLE transactions are
    known by their predicate locks, so they count also while they wait. Reads pg_stat_activity and pg_locks.
    """
    return find_sessions(
        conn, f"{_OTHER_SNAPSHOT} AND (a.wait_event_type IS DISTINCT FROM 'Lock' OR {_SERIALIZABLE})", {}
    )


def lasting_snapshots(conn: Connection) -> tuple[Blocker, ...]:
    """Other sessions whose snapshot may last: idle in a transaction and still holding one (REPEATABLE READ, or an open
    cursor), SERIALIZABLE ones, and dumps, which are REPEATABLE READ also while they wait for a lock of ours."""
    return find_sessions(
        conn,
        f"{_OTHER_SNAPSHOT} AND (a.state = 'idle in transaction' OR a.application_name = 'pg_dump' OR {_SERIALIZABLE})",
        {},
    )


def outlast(
    conn: Connection,
    find: Callable[[Connection], tuple[Blocker, ...]],
    *,
    these: tuple[Blocker, ...] | None = None,
    patience_s: float,
    on_wait: OnWait = unheard,
) -> tuple[Blocker, ...]:
    """Wait until every transaction that `find` finds now (or `these`) has ended or let go of its snapshot; return those
    that have not after `patience_s`.

    To an older snapshot a table that is rewritten looks empty for ever (manual, "Caveats" of MVCC). Sessions that come
    later are not waited for, or a busy server would never be done. Takes no lock itself; where the caller holds one,
    others queue behind it meanwhile.
    """
    deadline = time.monotonic() + patience_s
    older = find(conn) if these is None else these
    attempt = 0
    while older and time.monotonic() < deadline:
        attempt += 1
        on_wait(older, attempt)
        let_go_of_snapshot(conn)
        time.sleep(POLL_S)
        holding = {(session.pid, session.since) for session in find(conn)}
        older = tuple(session for session in older if (session.pid, session.since) in holding)
    return older


def snapshot_in_the_way(sessions: tuple[Blocker, ...]) -> LockNotObtained:
    """Pure. The refusal that names sessions whose snapshot would see a rewritten table empty."""
    who = named(sessions)
    return LockNotObtained(
        Phrase(
            "A session holds an older snapshot; if it is REPEATABLE READ, the rewritten table would look "
            "empty to it: {who}.",
            who=who,
        ),
        hint=Phrase("let that transaction end (a report, a dump), then type it again"),
        blockers=sessions,
    )
