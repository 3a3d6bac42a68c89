"""Hold an exported snapshot, so that a dump and our own reads see the same database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lawsker_db.postgres.session import server_major
from lawsker_db.target import Target

TRANSACTION_TIMEOUT_MAJOR = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An exported snapshot: usable by others while its session lives, never after."""

    name: str
    taken_at: datetime
    lsn: str


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
        if server_major(conn) >= TRANSACTION_TIMEOUT_MAJOR:
            conn.execute(text("SET LOCAL transaction_timeout = 0"))
        row = conn.execute(text("SELECT pg_export_snapshot(), pg_current_wal_lsn()::text")).one()
        yield Snapshot(name=row[0], lsn=row[1], taken_at=datetime.now(UTC))
        with suppress(DBAPIError):  # what was read under it is whole; that the session is gone by now harms nothing
            conn.rollback()
