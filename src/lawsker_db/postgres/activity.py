"""What goes on in a live server: sessions, transactions, who waits for whom, and its counters. For a monitor.

Every question is cheap, reads statistics and catalogs alone, opens no table and so waits for no lock of others. What this
role may not see is None or counted as hidden, never zero. Query text, which may hold personal data, is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.blockers import AT_WORK, PREPARED, WHAT, Blocker, find_sessions

SHOWN = 20  # transactions, and waiting sessions, that are looked at one by one: more than a page of either is a storm
IDLE_IN_TRANSACTION = "idle in transaction"
NOT_SHOWN = "not shown"

# A role without pg_read_all_stats sees of others that they are there, in which database, and under what name.
_CLIENTS = "(a.backend_type = 'client backend' OR a.backend_type IS NULL AND a.datid IS NOT NULL)"
_SESSIONS = f"""
    SELECT coalesce(a.state, '{NOT_SHOWN}') AS state, a.datname = current_database() AS here, count(*) AS sessions
    FROM pg_stat_activity a WHERE {_CLIENTS} AND a.pid <> pg_backend_pid() GROUP BY 1, 2"""
_LIMITS = """
    SELECT sum(setting::int) FILTER (WHERE name = 'max_connections') AS most,
        sum(setting::int) FILTER (WHERE name <> 'max_connections') AS reserved
    FROM pg_settings WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')"""
_TRANSACTIONS = f"""
    SELECT a.pid, '' AS gid, coalesce(a.usename, '?') AS user, coalesce(a.application_name, '') AS application,
        coalesce(a.state, '') AS state, a.xact_start AS since,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS age_s,
        CASE WHEN a.state LIKE '{IDLE_IN_TRANSACTION}%'
            THEN extract(epoch FROM clock_timestamp() - a.state_change)::float8 END AS idle_s, {WHAT} AS what
    FROM {AT_WORK}
    WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.xact_start IS NOT NULL
        AND a.pid <> pg_backend_pid()
    ORDER BY a.xact_start LIMIT {SHOWN}"""
_PREPARED = f"""
    SELECT NULL::int AS pid, p.gid, p.owner AS user, '' AS application, 'prepared' AS state, p.prepared AS since,
        extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS age_s, NULL::float8 AS idle_s
    FROM pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared LIMIT {SHOWN}"""
# pg_locks shows everybody who waits, and for what; since when, from 14 on. pg_blocking_pids holds up all lock traffic for
# a moment, so it is asked of those alone who wait. A prepared transaction is a blocker without a pid: 0.
_WAITS = f"""
    SELECT w.pid, w.mode, w.place, w.since, extract(epoch FROM clock_timestamp() - w.since)::float8 AS waited_s,
        pg_blocking_pids(w.pid) AS blocking
    FROM (
        SELECT l.pid, (to_jsonb(l) ->> 'waitstart')::timestamptz AS since,
            l.mode, CASE WHEN l.relation IS NULL THEN l.locktype ELSE l.relation::regclass::text END AS place
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE NOT l.granted AND a.datname = current_database() ORDER BY 2, 1 LIMIT {SHOWN}
    ) w"""
_PREPARED_BLOCKERS = """
    SELECT DISTINCT w.pid, p.gid, p.owner AS user, p.prepared AS since,
        extract(epoch FROM clock_timestamp() - p.prepared)::bigint AS age_s
    FROM pg_locks w JOIN pg_locks h ON h.granted AND h.pid IS NULL AND h.locktype = w.locktype
        AND (h.database, h.relation, h.transactionid, h.classid, h.objid)
            IS NOT DISTINCT FROM (w.database, w.relation, w.transactionid, w.classid, w.objid)
    JOIN pg_locks x ON x.virtualtransaction = h.virtualtransaction AND x.locktype = 'transactionid' AND x.granted
    JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE NOT w.granted AND w.pid = ANY (:pids)"""
# WAL as a number of bytes since the server was made; a standby's is what it has replayed.
_COUNTERS = """
    SELECT clock_timestamp() AS at, d.stats_reset, d.xact_commit AS commits, d.xact_rollback AS rollbacks,
        d.blks_hit AS blocks_hit, d.blks_read AS blocks_read, d.deadlocks, d.temp_bytes,
        (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::bigint
            AS wal_bytes
    FROM pg_stat_database d WHERE d.datname = current_database()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What this role may see. `stats`: the sessions of others (pg_read_all_stats); `settings`: where the data lies
    (pg_read_all_settings). pg_monitor has both."""

    user: str
    stats: bool
    settings: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Clients, without the monitor itself. `by_state`: sessions of this database by state, "not shown" for those that the
    server hides from this role. `everywhere`: of all databases together, of which there may be `limit` (max_connections),
    `reserved` of these for superusers."""

    by_state: Mapping[str, int]
    everywhere: int
    limit: int
    reserved: int

    @property
    def here(self) -> int:
        """Pure. Sessions of this database."""
        return sum(self.by_state.values())

    @property
    def hidden(self) -> int:
        """Pure. How many of them hide what they do from this role."""
        return self.by_state.get(NOT_SHOWN, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """An open transaction of this database: of a session (`pid`), or a prepared one (`pid` None, `gid` its name).

    `age_s`: seconds since it began or was prepared; `idle_s`: for how long its session has been waiting for its client,
    None while it works. `what`: its kind of work, as of a `Blocker`.
    """

    pid: int | None
    gid: str
    user: str
    application: str
    state: str
    since: datetime
    age_s: float
    idle_s: float | None
    what: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A session that waits for a lock: what it wants ("ShareLock on users"), who it is, and who keeps it waiting.

    `waited_s` is exact from PostgreSQL 14 on; before, for as long as the monitor has seen it (0 when seen first).
    """

    waiter: Blocker
    wanted: str
    since: datetime | None
    waited_s: float
    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Counters of this database since `stats_reset` (None: never), at the server's time `at`. Blocks are those that were
    found in shared buffers, and those that were not; `wal_bytes`: all WAL that the server ever wrote, None when unknown."""

    at: datetime
    stats_reset: datetime | None
    commits: int
    rollbacks: int
    blocks_hit: int
    blocks_read: int
    deadlocks: int
    temp_bytes: int
    wal_bytes: int | None


def read_sight(conn: Connection) -> Sight:
    """What this role may see. Reads."""
    row = conn.execute(
        text(
            "SELECT current_user AS user, pg_has_role('pg_read_all_stats', 'USAGE') AS stats,"
            " pg_has_role('pg_read_all_settings', 'USAGE') AS settings"
        )
    )
    return Sight(**row.mappings().one())


def read_sessions(conn: Connection) -> Sessions:
    """Clients by state, and how many there may be. Reads pg_stat_activity and pg_settings."""
    rows = conn.execute(text(_SESSIONS)).all()
    limits = conn.execute(text(_LIMITS)).one()
    return Sessions(
        by_state={str(state): int(count) for state, here, count in rows if here},
        everywhere=sum(int(row.sessions) for row in rows),
        limit=int(limits.most),
        reserved=int(limits.reserved),
    )


def read_transactions(conn: Connection) -> tuple[OpenTransaction, ...]:
    """Open transactions of this database that this role may see, oldest first, SHOWN at most. Reads pg_stat_activity."""
    return tuple(OpenTransaction(**row) for row in conn.execute(text(_TRANSACTIONS)).mappings())


def read_prepared(conn: Connection) -> tuple[OpenTransaction, ...]:
    """Prepared transactions of this database, oldest first, SHOWN at most. Reads pg_prepared_xacts."""
    return tuple(OpenTransaction(**row) for row in conn.execute(text(_PREPARED)).mappings())


def read_waits(conn: Connection) -> tuple[Wait, ...]:
    """Sessions of this database that wait for a lock, each with its blockers. Reads pg_locks; waits for nothing."""
    rows = conn.execute(text(_WAITS)).mappings().all()
    if not rows:
        return ()
    pids = {int(pid) for row in rows for pid in (row["pid"], *row["blocking"])}
    known = {session.pid: session for session in find_sessions(conn, "a.pid = ANY (:pids)", {"pids": list(pids)})}
    prepared = _prepared_blockers(conn, [int(row["pid"]) for row in rows if 0 in row["blocking"]])
    return tuple(
        Wait(
            waiter=known[row["pid"]],
            wanted=Phrase("{mode} on {table}", mode=row["mode"], table=row["place"]),
            since=row["since"],
            waited_s=float(row["waited_s"] or 0.0),
            blockers=(*_named(known, row["blocking"]), *prepared.get(row["pid"], ())),
        )
        for row in rows
        if row["pid"] in known  # else it has ended since
    )


def _named(known: Mapping[int | None, Blocker], pids: list[int]) -> tuple[Blocker, ...]:
    """Pure. The sessions of these processes (one that waits for several locks of the same may name it twice)."""
    return tuple(known[pid] for pid in dict.fromkeys(pids) if pid in known)


def _prepared_blockers(conn: Connection, pids: list[int]) -> Mapping[int, tuple[Blocker, ...]]:
    """Of those that a prepared transaction keeps waiting, which ones do. Reads pg_locks and pg_prepared_xacts."""
    found: dict[int, tuple[Blocker, ...]] = {}
    for row in conn.execute(text(_PREPARED_BLOCKERS), {"pids": pids}).mappings() if pids else ():
        facts = {name: value for name, value in row.items() if name != "pid"}
        found[row["pid"]] = (*found.get(row["pid"], ()), Blocker(pid=None, kind=PREPARED, **facts))
    return found


def read_counters(conn: Connection) -> Counters:
    """The counters of this database. Reads pg_stat_database."""
    return Counters(**conn.execute(text(_COUNTERS)).mappings().one())
