"""Hold an exported snapshot, so that a dump and our own reads see the same database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text

from lawsker_db.target import Target


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
        # A role's idle time-out would end the session, and the snapshot with it, in the middle of a long dump.
        conn.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        row = conn.execute(text("SELECT pg_export_snapshot(), pg_current_wal_lsn()::text")).one()
        yield Snapshot(name=row[0], lsn=row[1], taken_at=datetime.now(UTC))
        conn.rollback()
