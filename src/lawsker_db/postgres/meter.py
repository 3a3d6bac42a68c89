"""Meter the statements of a connection: time, rows, locks on what stood before, new files, WAL and growth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row
from sqlalchemy import Connection, event

from lawsker_db.evidence import LockForecast, StatementCost
from lawsker_db.postgres import blockers

MODES = blockers.MODES[1:]  # without ACCESS SHARE, which every reader takes
STRONG = MODES[3:]  # they conflict with ROW EXCLUSIVE: whoever writes waits; for the last one, whoever reads does too
_AS_SHOWN = {mode.title().replace(" ", "") + "Lock": mode for mode in MODES}
_COUNTED = ("INSERT", "UPDATE", "DELETE", "MERGE")
# Command tags after which there is nothing to ask. To ask after SET TRANSACTION would also take the snapshot that a
# second one must precede.
_QUIET = ("SET", "SHOW", "SAVEPOINT", "RELEASE")
# The server looks at every file for the size of a database (0.7 ms for the sample's 500, longer than most statements
# take). So it is asked after what took a few times as long, other than to read, and after eight pages of WAL.
_WORTH_S = 0.003
_WORTH_BYTES = 65536
_WORDS = 200  # characters of a statement that are kept

# Whatever may be locked: tables, partitioned and foreign ones, views, sequences. An index counts as its table, because
# nobody can plan a query on a table without a lock on each of its indexes.
_STANDING = """
    SELECT c.oid::bigint, quote_ident(n.nspname) || '.' || quote_ident(t.relname),
        CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_filenode(c.oid)::bigint END
    FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
        JOIN pg_catalog.pg_class t ON t.oid = coalesce(i.indrelid, c.oid)
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    WHERE t.relkind IN ('r', 'm', 'p', 'f', 'v', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND n.nspname !~ '^pg_(temp|toast_temp)_'
"""
# No relation that stood before has a higher OID than the highest of them: that spares most rows of what was just made.
_QUESTION = """
    SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, l.relation::bigint, l.mode,
        CASE WHEN l.mode = 'AccessExclusiveLock' THEN pg_relation_filenode(l.relation)::bigint END
    FROM (VALUES (1)) AS one LEFT JOIN pg_catalog.pg_locks l ON l.pid = pg_backend_pid() AND l.locktype = 'relation'
        AND l.granted AND l.mode NOT IN ('AccessShareLock', 'SIReadLock') AND l.relation <= %s::bigint::oid
"""
_SIZE = "SELECT pg_database_size(current_database())"


@dataclass(slots=True, kw_only=True)
class _Held:
    """One lock from the start of the statement that took it; `ended` when it was given back."""

    table: str
    mode: str
    began: float
    ended: float = 0.0

    @property
    def forecast(self) -> LockForecast:
        return LockForecast(table=self.table, mode=self.mode, held_s=round(self.ended - self.began, 3))


@dataclass(slots=True, kw_only=True)
class _Noted:
    """What is known of one statement. Its locks end later."""

    words: str
    duration_s: float
    rows: int | None
    wal_bytes: int = 0
    growth_bytes: int = 0
    locks: list[_Held] = field(default_factory=list)
    rewritten: tuple[str, ...] = ()


class Meter:
    """What the statements of one block cost. Read it when the block has ended."""

    def __init__(self, raw: psycopg.Connection[object]) -> None:
        """Remember; `metered` does the work."""
        self._raw = raw
        self._tables: Mapping[int, str] = {}
        self._files: Mapping[int, int] = {}
        self._new_files: Mapping[int, int] = {}
        self._newest = 0
        self._wal = self._wal_when_sized = self._size = 0
        self._first = self._began = 0.0
        self._held: dict[tuple[str, str], _Held] = {}
        self._given_back: list[_Held] = []
        self._noted: list[_Noted] = []
        self.own_s = 0.0
        self.duration_s = 0.0
        self.wal_bytes = 0
        self.growth_bytes = 0

    @property
    def statements(self) -> tuple[StatementCost, ...]:
        """Pure. Every statement that the server answered, in order.

        Of its locks those that were new and stronger than what was held on that table, ACCESS SHARE left out, with how
        long each was then held. `rewritten`: tables that stood before and got a new file (a rewrite, or TRUNCATE).
        """
        return tuple(
            StatementCost(
                statement=noted.words,
                duration_s=round(noted.duration_s, 4),
                rows=noted.rows,
                wal_bytes=noted.wal_bytes,
                growth_bytes=noted.growth_bytes,
                locks=tuple(lock.forecast for lock in noted.locks),
                rewritten=noted.rewritten,
            )
            for noted in self._noted
        )

    @property
    def locks(self) -> tuple[LockForecast, ...]:
        """Pure. The strong locks on what stood before, strongest and longest first.

        For each table the strongest mode, and weaker ones only where they were held longer.
        """
        longest: dict[tuple[str, str], LockForecast] = {}
        for lock in (held.forecast for held in self._given_back if held.mode in STRONG):
            known = longest.get((lock.table, lock.mode))
            if known is None or known.held_s < lock.held_s:
                longest[lock.table, lock.mode] = lock
        return telling(tuple(longest.values()))

    @property
    def rewritten(self) -> tuple[str, ...]:
        """Pure. The tables that stood before and got a new file."""
        return tuple(sorted({table for noted in self._noted for table in noted.rewritten}))

    def begin(self) -> None:
        """Learn what stands now. Reads; a transaction that this opens is rolled back."""
        rows = self._ask(_STANDING)
        self._tables = {int(oid): str(name) for oid, name, _ in rows}
        self._files = {int(oid): int(node) for oid, _, node in rows if node is not None}
        self._newest = max(self._tables, default=0)
        self._wal = self._wal_when_sized = self._ask(_QUESTION, self._newest)[0][0]
        self._size = self._ask(_SIZE)[0][0]
        self.wal_bytes, self.growth_bytes = -self._wal, -self._size
        self._first = self._clock()

    def end(self) -> None:
        """Close the account: locks end here, at the latest. Reads; a transaction that this opens is rolled back."""
        ended = self._clock()
        self.duration_s = round(ended - self._first, 3)
        self._release(frozenset(), ended)
        if self._raw.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            self._wal = self._ask(_QUESTION, self._newest)[0][0]
            self._size = self._ask(_SIZE)[0][0]
        self.wal_bytes += self._wal
        self.growth_bytes += self._size

    def before_statement(self, *_given: object) -> None:
        """Start the clock. A transaction that has ended since the last statement took its locks along."""
        self._began = self._clock()
        if self._raw.info.transaction_status == TransactionStatus.IDLE:
            self._release(frozenset(), self._began)

    def after_statement(self, _conn: object, cursor: psycopg.Cursor[object], statement: str, *_rest: object) -> None:
        """Note the statement, and ask what it did. The clock stands still meanwhile."""
        ended = self._clock()
        script = ";" in statement.rstrip("; \n")  # the driver tells the tag and the rows of its first statement alone
        command = cursor.statusmessage or ""
        tag = "script" if script else command.partition(" ")[0]
        noted = _Noted(
            words=" ".join(statement.split())[:_WORDS],
            duration_s=ended - self._began,
            rows=cursor.rowcount if tag in _COUNTED else None,
        )
        self._noted.append(noted)
        silent = command in _QUIET and not script
        if not silent and self._raw.info.transaction_status == TransactionStatus.INTRANS:
            self._look(noted, ended, long=tag != "SELECT" and noted.duration_s >= _WORTH_S)
        self.own_s += self._clock() - ended

    def _look(self, noted: _Noted, ended: float, *, long: bool) -> None:
        """What the transaction holds and has written after this statement, against what was known before it."""
        rows = self._ask(_QUESTION, self._newest)
        wal = rows[0][0]
        noted.wal_bytes, self._wal = wal - self._wal, wal
        if long or wal - self._wal_when_sized >= _WORTH_BYTES:
            size = self._ask(_SIZE)[0][0]
            noted.growth_bytes, self._size, self._wal_when_sized = size - self._size, size, wal
        found = {(self._tables[oid], _AS_SHOWN[mode]) for _, oid, mode, _ in rows if oid in self._tables}
        self._release(frozenset(found), ended)
        noted.locks = self._taken(found)
        files = {oid: node for _, oid, _, node in rows if oid in self._files and node is not None}
        known = {**self._files, **self._new_files}
        noted.rewritten = tuple(sorted(self._tables[oid] for oid, node in files.items() if node != known[oid]))
        self._new_files = files  # forgotten with the lock: ROLLBACK TO has then brought the old file back

    def _taken(self, found: set[tuple[str, str]]) -> list[_Held]:
        """Note the locks that are new. Returns, for each table, the strongest one where none as strong was held."""
        before = {table: MODES.index(mode) for table, mode in sorted(self._held, key=_strength)}
        strongest: dict[str, _Held] = {}
        for table, mode in sorted(found - self._held.keys(), key=_strength):
            held = _Held(table=table, mode=mode, began=self._began)
            self._held[table, mode] = held
            if MODES.index(mode) > before.get(table, -1):
                strongest[table] = held
        return list(strongest.values())

    def _release(self, still: frozenset[tuple[str, str]], ended: float) -> None:
        """Note the end of every lock but these."""
        for key in [key for key in self._held if key not in still]:
            held = self._held.pop(key)
            held.ended = ended
            self._given_back.append(held)

    def _ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask on a cursor of our own. A transaction that this opens is rolled back."""
        idle = self._raw.info.transaction_status == TransactionStatus.IDLE
        with self._raw.cursor(row_factory=tuple_row) as cursor:
            found = cursor.execute(question, values).fetchall()
        if idle:
            self._raw.rollback()
        return found

    def _clock(self) -> float:
        """Seconds without those that were spent on questions of our own."""
        return time.monotonic() - self.own_s


@contextmanager
def metered(conn: Connection) -> Iterator[Meter]:
    """Meter every statement that SQLAlchemy sends on `conn` in the block; the figures are whole when it ended well.

    Changes nothing: between statements it asks pg_locks and, after larger ones, for the size of the database, on a cursor
    of its own in the transaction that is open. Never in an aborted one, and it leaves none open. What goes over the
    driver past SQLAlchemy (COPY) is seen with the statement that follows.

    - A lock counts from the start of the statement that took it to the end of its transaction or of the block (COMMIT).
    - WAL is how far the whole server's went from the end of the statement before to the end of this one: on a busy server
      others' is in it, so it bounds ours from above. (A backend's own counters, which PostgreSQL 18 has, stand still
      until its transaction ends.)
    - Growth is that of all the database's files. A rewrite counts with its whole new file, because the old one stays
      beside it until COMMIT; `growth_bytes` of the block is what remains. It is asked for after every statement of 3 ms that
      does more than read, and every 64 kB of WAL: what smaller ones grew by counts with the next that is asked about.
    """
    raw = conn.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("a psycopg connection is needed")
    meter = Meter(raw)
    meter.begin()
    event.listen(conn, "before_cursor_execute", meter.before_statement)
    event.listen(conn, "after_cursor_execute", meter.after_statement)
    try:
        yield meter
    finally:
        event.remove(conn, "before_cursor_execute", meter.before_statement)
        event.remove(conn, "after_cursor_execute", meter.after_statement)
    meter.end()


def telling(locks: tuple[LockForecast, ...]) -> tuple[LockForecast, ...]:
    """Pure. Strongest and longest first; of a table's weaker modes only those that were held longer than stronger ones."""
    found: list[LockForecast] = []
    longest: dict[str, float] = {}
    for lock in sorted(locks, key=lambda lock: (-MODES.index(lock.mode), -lock.held_s, lock.table)):
        if lock.held_s > longest.get(lock.table, -1.0):
            longest[lock.table] = lock.held_s
            found.append(lock)
    return tuple(found)


def _strength(lock: tuple[str, str]) -> int:
    """Pure. The place of a lock's mode among the modes."""
    return MODES.index(lock[1])


@contextmanager
def counted(conn: Connection, on_statement: Callable[[int], None]) -> Iterator[None]:
    """Say of each statement of the block, before the server gets it, the how manieth it is. Asks the server nothing."""
    number = 0

    def count(*_given: object) -> None:
        nonlocal number
        number += 1
        on_statement(number)

    event.listen(conn, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(conn, "before_cursor_execute", count)
