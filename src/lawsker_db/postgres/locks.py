"""The run lock, table locks with short time-outs and bounded retries, and who stands in the way."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError

from lawsker_db.errors import Busy, LockNotObtained
from lawsker_db.evidence import LockHeld
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.blockers import (
    AUTOVACUUM,
    PREPARED,
    WRAPAROUND,
    Blocker,
    Named,
    find_blockers,
    find_sessions,
    named,
    prepared_hint,
)
from lawsker_db.postgres.older_snapshots import (
    SNAPSHOT_PATIENCE_S,
    OnWait,
    let_go_of_snapshot,
    older_snapshots,
    outlast,
    snapshot_in_the_way,
    unheard,
)
from lawsker_db.postgres.session import VIGILANT, Session, literal, own_session, server_major
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
POLL_S = 0.25
YIELD_S = 0.5  # for autovacuum to notice that it was cancelled and to end
PATIENCE_S = 600.0
PUSHES = 2  # one that has not yielded by then does not: this role cannot see that it prevents wraparound
PAUSE_S = (0.2, 1.5)  # jittered, so that we do not march in step with a job that comes every second
STRONGEST = "ACCESS EXCLUSIVE"  # keeps readers out too
GIVE_WAY = ("55P03", "40P01")  # lock_not_available, deadlock_detected


class NotGranted(Exception):
    """An attempt was over, or lost a deadlock, at this table."""

    def __init__(self, table: str) -> None:
        super().__init__(table)
        self.table = table


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLock:
    """The RUN lock while it is held: by which server process, and looks that raise `Busy`: when it is lost, and when
    somebody migrates without it."""

    session: Session
    require_held: Callable[[], None]
    require_alone: Callable[[], None]


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
        yield RunLock(
            session=own_session(conn),
            require_held=lambda: _require_held(conn),
            require_alone=lambda: _require_alone(conn),
        )


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
            Phrase("The lock that keeps a second run out was lost."),
            hint=Phrase("look who ended our session, then type it again"),
        )


def _require_alone(conn: Connection) -> None:
    """A program that hands its connection to Alembic takes no RUN lock. Looked for as long as a lock is polled."""
    deadline = time.monotonic() + GRACE_S
    while holders(conn, MIGRATION):
        if time.monotonic() >= deadline:
            raise busy(conn, MIGRATION)
        time.sleep(POLL_S)


def take_migration_lock(conn: Connection) -> None:
    """Take the MIGRATION lock until the end of this transaction, asking for GRACE_S. Raises `Busy` with the holder."""
    _poll(conn, "pg_try_advisory_xact_lock", MIGRATION)


def busy(conn: Connection, key: int) -> Busy:
    """Say who holds an advisory lock of ours. Reads pg_locks and pg_stat_activity."""
    found = holders(conn, key)
    who = named(found) if found else Phrase("a session that has just ended")
    return Busy(
        Phrase("Another run is going on in this database: {who}.", who=who),
        hint=Phrase(
            "wait for it to end, or ask whoever runs it, then type it again (a run that was killed: lawsker-db recover)"
        ),
        blockers=found,
    )


def holders(conn: Connection, key: int) -> tuple[Blocker, ...]:
    """The sessions that hold an advisory lock of ours. Reads pg_locks and pg_stat_activity."""
    return find_sessions(
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
    rewrites: bool = False,
    patience_s: float = PATIENCE_S,
    attempt_s: float = ATTEMPT_S,
    on_wait: OnWait = unheard,
    on_snapshot: OnWait = unheard,
    before: Callable[[], None] = lambda: None,
) -> tuple[LockHeld, ...]:
    """Take table locks directly at their final strength, in the order given, all or none, until the transaction ends.

    `tables` maps a quoted name to a lock mode. Each attempt runs under a savepoint and gives up after `attempt_s`; between
    attempts nothing is held, and what the transaction built before is kept. Other sessions wait for us that long at most
    while we try, and not at all while somebody whom we know to be in the way still is. After a failed attempt the table
    that was not to be had comes first: an application that takes the tables in another order would make every attempt
    fail (measured: one client is enough). With `rewrites` an attempt also fails when older snapshots do not end within
    SNAPSHOT_PATIENCE_S behind the locks; they are waited for with the locks given back. `before` takes weak locks of its
    own at the beginning of each attempt. `on_wait` is told who made an attempt fail, `on_snapshot` whose snapshot is
    waited for now. Raises `LockNotObtained` when `patience_s` is over, or a session in the way waits for our own end
    (sqlstate 40P01: the transaction may be begun anew), and whatever `on_wait` raises.
    """
    deadline = time.monotonic() + patience_s
    order, known = tuple(tables), frozenset[Named]()
    attempt, pushed = 0, Counter[int | None]()
    while True:
        attempt += 1
        older: tuple[Blocker, ...] = ()
        in_the_way = _standing(conn, tables, known)
        if not in_the_way:
            tried = _try(
                conn, {table: tables[table] for table in order}, attempt_s, before, on_snapshot if rewrites else None
            )
            if tried.done:
                return tuple(
                    LockHeld(table=name, mode=tables[name], granted_at=at, attempts=attempt)
                    for name, at in tried.granted.items()
                )
            in_the_way, older = tried.in_the_way, tried.older
            order = tuple(sorted(tables, key=lambda table: table != tried.failed_at))
        on_wait(in_the_way, attempt)
        let_go_of_snapshot(conn)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise snapshot_in_the_way(older) if older else _not_obtained(tables, in_the_way, patience_s)
        known = frozenset(blocker.named for blocker in in_the_way)
        if older:
            outlast(conn, older_snapshots, these=older, patience_s=left_s, on_wait=on_snapshot)
        elif _yields(in_the_way) and max(pushed[blocker.pid] for blocker in in_the_way) < PUSHES:
            pushed.update(blocker.pid for blocker in in_the_way)
            _push_autovacuum(conn, tables)
        else:
            time.sleep(random.uniform(*PAUSE_S))  # noqa: S311 - jitter, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What became of one attempt. `older`: the snapshots that made it fail behind the locks."""

    granted: Mapping[str, datetime] = field(default_factory=dict)
    in_the_way: tuple[Blocker, ...] = ()
    older: tuple[Blocker, ...] = ()
    failed_at: str = ""

    @property
    def done(self) -> bool:
        return not self.failed_at and not self.older


def _try(
    conn: Connection,
    tables: Mapping[str, str],
    within_s: float,
    before: Callable[[], None],
    on_snapshot: OnWait | None,
) -> _Tried:
    """One attempt, under a savepoint; with `on_snapshot` older snapshots are waited for behind the locks."""
    began = _clock(conn)
    older: tuple[Blocker, ...] = ()
    try:
        with conn.begin_nested() as savepoint:
            before()
            granted = _attempt(conn, tables, within_s)
            if on_snapshot:
                older = outlast(conn, older_snapshots, patience_s=SNAPSHOT_PATIENCE_S, on_wait=on_snapshot)
            if older:
                savepoint.rollback()
    except NotGranted as failed:
        return _Tried(in_the_way=blockers(conn, tables, began), failed_at=failed.table)
    return _Tried(granted=granted, in_the_way=older, older=older)


def _standing(conn: Connection, tables: Mapping[str, str], known: frozenset[Named]) -> tuple[Blocker, ...]:
    """Those who are in the way for as long as they are there: an attempt would make others wait for nothing.

    CREATE INDEX CONCURRENTLY and autovacuum that prevents wraparound are known at sight; of others that their transaction
    has outlasted an attempt. Raises `LockNotObtained` when one of them waits for our own end.
    """
    holding = tuple(blocker for blocker in find_blockers(conn, tables) if blocker.holds)
    _require_nobody_awaits_us(conn, holding)
    return tuple(b for b in holding if b.what == WRAPAROUND or b.is_concurrent or (b.since and b.named in known))


def _require_nobody_awaits_us(conn: Connection, in_the_way: tuple[Blocker, ...]) -> None:
    """Raise `LockNotObtained` when one of them waits for this transaction to end: each would wait for the other, and it
    would lose the deadlock, having waited longer.

    It waits for our end, or for the tables that we have read: between attempts we hold nothing else that it could want.
    """
    asked = text("SELECT pid FROM unnest(:pids ::int[]) AS p(pid) WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))")
    pids = set(conn.execute(asked, {"pids": [b.pid for b in in_the_way if b.pid]}).scalars())
    waiting = tuple(blocker for blocker in in_the_way if blocker.pid in pids)
    if waiting:
        raise LockNotObtained(
            Phrase(
                "We wait for a session that waits for our transaction to end, so it was ended: {who}.",
                who=named(waiting),
            ),
            hint=Phrase("let that session end, then type it again"),
            blockers=waiting,
            sqlstate="40P01",
        )


def blockers(conn: Connection, tables: Mapping[str, str], began: datetime) -> tuple[Blocker, ...]:
    """Who stood in the way of an attempt that began then: their transactions were open before it.

    Who came later has waited behind us and is there now: nobody is to be named, or ended, for that. Reads pg_locks,
    pg_stat_activity and pg_prepared_xacts; waits for nothing.
    """
    return tuple(blocker for blocker in find_blockers(conn, tables) if blocker.began_before(began))


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


def _yields(in_the_way: tuple[Blocker, ...]) -> bool:
    """Pure. Whether nobody but autovacuum is in the way, which yields to whoever waits for deadlock_timeout (manual,
    "Routine Vacuuming"), so never to our short attempts; it does not when it prevents wraparound."""
    return bool(in_the_way) and all(b.kind == AUTOVACUUM and b.what != WRAPAROUND for b in in_the_way)


def _push_autovacuum(conn: Connection, tables: Mapping[str, str]) -> None:
    """Wait for one table after the other until autovacuum has yielded, holding none of them meanwhile.

    A session that waits for a table we hold, and holds one we wait for, would lose the deadlock after its
    deadlock_timeout: so the wait that must last longer than that is for a single table, given back at once.
    """
    within_s = _deadlock_timeout_s(conn) + YIELD_S
    for table, mode in tables.items():
        if not _yields(find_blockers(conn, {table: mode})):
            continue
        with suppress(NotGranted), conn.begin_nested() as savepoint:
            _attempt(conn, {table: mode}, within_s)
            savepoint.rollback()


def _clock(conn: Connection) -> datetime:
    """The server's clock, which its transactions' times are of."""
    moment: datetime = conn.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


def _deadlock_timeout_s(conn: Connection) -> float:
    value = conn.execute(text("SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")).scalar_one()
    return int(value) / 1000


def _attempt(conn: Connection, tables: Mapping[str, str], within_s: float) -> dict[str, datetime]:
    """Lock table after table within so many seconds altogether. Raises `NotGranted` when that is over.

    Who waits for a table that we hold would find a deadlock with our next wait after deadlock_timeout, and lose it. So
    from the first table on half of that must do for all others; until then we hold nothing.
    """
    end = time.monotonic() + within_s
    holding_s = _deadlock_timeout_s(conn) / 2
    granted: dict[str, datetime] = {}
    for table, mode in tables.items():
        left_ms = max(1, int((end - time.monotonic()) * 1000))
        conn.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{left_ms}ms"})
        try:
            conn.execute(literal(f"LOCK TABLE {table} IN {mode} MODE"))
        except OperationalError as failed:
            if sqlstate(failed) in GIVE_WAY:
                raise NotGranted(table) from failed
            raise
        if not granted:
            end = min(end, time.monotonic() + holding_s)
        granted[table] = datetime.now(UTC)
    conn.execute(
        text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{max(1, int(within_s * 1000))}ms"}
    )
    return granted


def _not_obtained(tables: Mapping[str, str], in_the_way: tuple[Blocker, ...], patience_s: float) -> LockNotObtained:
    who = named(in_the_way)
    wanted = joined(Phrase("{mode} on {table}", mode=mode, table=table) for table, mode in tables.items())
    return LockNotObtained(
        Phrase(
            "Not obtained within {patience_s:g} s: {wanted}. In the way: {who}.",
            patience_s=patience_s,
            wanted=wanted,
            who=who,
        ),
        hint=way_out(in_the_way),
        blockers=in_the_way,
    )


def way_out(in_the_way: tuple[Blocker, ...]) -> str:
    """Pure. What the operator can do about them."""
    prepared = [blocker for blocker in in_the_way if blocker.kind == PREPARED]
    if prepared:
        return Phrase("{hint}, then type it again", hint=prepared_hint(prepared[0]))
    if any(blocker.what == WRAPAROUND for blocker in in_the_way):
        return Phrase("let that VACUUM end (pg_stat_progress_vacuum shows how far it is), then type it again")
    return Phrase(
        "end that session or wait for it, then type it again (longer: --lock-patience; to end it: "
        "--on-blocker terminate)"
    )
