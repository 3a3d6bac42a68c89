"""How far the server's long commands are, by its own progress views. For a monitor; nothing is locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text

from lawsker_db.postgres.session import server_major

Unit = Literal["blocks", "rows", "bytes"]
# View, since which major, and the SQL of command, relation, phase, done, total, unit. A role without pg_read_all_stats
# sees of others nothing but that they are there: their phase is NULL, and they are left out.
_HERE = "p.datname = current_database()"
_VIEWS: tuple[tuple[str, int, str, str], ...] = (
    (
        "pg_stat_progress_create_index",
        12,
        _HERE,
        "p.command, p.relid, p.phase, CASE WHEN p.blocks_total > 0 THEN p.blocks_done ELSE p.tuples_done END,"
        " CASE WHEN p.blocks_total > 0 THEN p.blocks_total ELSE p.tuples_total END,"
        " CASE WHEN p.blocks_total > 0 THEN 'blocks' ELSE 'rows' END",
    ),
    (
        "pg_stat_progress_vacuum",
        12,
        _HERE,
        "'VACUUM', p.relid, p.phase, p.heap_blks_scanned, p.heap_blks_total, 'blocks'",
    ),
    (
        "pg_stat_progress_cluster",
        12,
        _HERE,
        "p.command, p.relid, p.phase, p.heap_blks_scanned, p.heap_blks_total, 'blocks'",
    ),
    (
        "pg_stat_progress_analyze",
        13,
        _HERE,
        "'ANALYZE', p.relid, p.phase, p.sample_blks_scanned, p.sample_blks_total, 'blocks'",
    ),
    (
        "pg_stat_progress_basebackup",
        13,
        "true",
        "'BASE BACKUP', 0::oid, p.phase, p.backup_streamed, p.backup_total, 'bytes'",
    ),
    (
        "pg_stat_progress_copy",
        14,
        _HERE,
        "p.command, p.relid, p.type, CASE WHEN p.bytes_total > 0 THEN p.bytes_processed ELSE p.tuples_processed END,"
        " CASE WHEN p.bytes_total > 0 THEN p.bytes_total END, CASE WHEN p.bytes_total > 0 THEN 'bytes' ELSE 'rows' END",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a command of the server is: `done` of `total` in `unit` (blocks are of block_size bytes); `total` None where
    nobody knows it. `relation` is empty where it has none; `phase` is the server's own word. `running_s`: seconds since
    the command began."""

    pid: int
    command: str
    relation: str
    phase: str
    done: int
    total: int | None
    unit: Unit
    running_s: float | None

    @property
    def share(self) -> float | None:
        """Pure. The part that is done of this phase, 0 to 1; None where nobody knows."""
        return min(1.0, self.done / self.total) if self.total else None


def read_progress(conn: Connection) -> tuple[Progress, ...]:
    """The commands that the server tells the progress of, which this role may see. Reads progress views."""
    major = server_major(conn)
    parts = [
        f"SELECT p.pid, {columns} FROM {view} p WHERE {condition}"
        for view, since, condition, columns in _VIEWS
        if major >= since
    ]
    rows = conn.execute(
        text(
            "SELECT q.pid, q.command, CASE WHEN q.relid = 0 THEN '' ELSE q.relid::regclass::text END AS relation,"
            " q.phase, coalesce(q.done, 0)::bigint AS done, nullif(q.total, 0)::bigint AS total, q.unit,"
            " extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS running_s"
            f" FROM ({' UNION ALL '.join(parts)}) q (pid, command, relid, phase, done, total, unit)"
            " LEFT JOIN pg_stat_activity a ON a.pid = q.pid WHERE q.phase IS NOT NULL ORDER BY q.pid"
        )
    )
    return tuple(Progress(**row) for row in rows.mappings())
