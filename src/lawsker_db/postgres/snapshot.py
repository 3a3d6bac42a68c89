"""Hold an exported snapshot, so that a dump and our own reads see the same database; mark a point to recover to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.evidence import RestorePoint
from lawsker_db.postgres.session import VIGILANT, Session, own_session, server_major
from lawsker_db.target import Target

TRANSACTION_TIMEOUT_MAJOR = 17
LONGEST_NAME = 63  # bytes of a restore point's name (MAXFNAMELEN in xlog_internal.h, less its end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An exported snapshot: usable by others while its session lives, never after."""

    name: str
    taken_at: datetime
    lsn: str
    holder: Session


@contextmanager
def hold_snapshot(target: Target) -> Iterator[Snapshot]:
    """Export a snapshot from a REPEATABLE READ, READ ONLY transaction of its own connection, for the block.

    The exporter reads no table, so it holds no table lock. While it is open, CREATE INDEX CONCURRENTLY anywhere in that
    database waits: close it before any such step.
    """
    with target.connect() as conn:
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        # A role's time-outs would end the session, and the snapshot with it, in the middle of a long dump.
        conn.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        for name, value in VIGILANT.items():  # when this machine vanishes, the horizon of vacuum is not held for ever
            conn.execute(text(f"SET LOCAL {name} = {value}"))
        if server_major(conn) >= TRANSACTION_TIMEOUT_MAJOR:
            conn.execute(text("SET LOCAL transaction_timeout = 0"))
        row = conn.execute(text("SELECT pg_export_snapshot(), pg_current_wal_lsn()::text")).one()
        yield Snapshot(name=row[0], lsn=row[1], taken_at=datetime.now(UTC), holder=own_session(conn))
        with suppress(DBAPIError):  # what was read under it is whole; that the session is gone by now harms nothing
            conn.rollback()


def mark_restore_point(conn: Connection, name: str) -> RestorePoint:
    """Write a named restore point into the WAL where this role may, and tell where the WAL stands.

    Changes no data and waits for nobody. Needs EXECUTE on pg_create_restore_point (superusers have it) and wal_level
    replica; without them only the position is told, and the name is empty. The caller ends the transaction.
    """
    allowed, archived, lsn, timeline = conn.execute(
        text(
            "SELECT has_function_privilege('pg_create_restore_point(text)', 'EXECUTE')"
            " AND current_setting('wal_level') <> 'minimal',"
            " current_setting('archive_mode') <> 'off', pg_current_wal_insert_lsn()::text,"
            " ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer"
        )
    ).one()
    name = name[:LONGEST_NAME] if allowed else ""
    if name:
        lsn = conn.execute(text("SELECT pg_create_restore_point(:name)::text"), {"name": name}).scalar_one()
    return RestorePoint(name=name, lsn=str(lsn), timeline=int(timeline), archived=bool(archived), at=datetime.now(UTC))
