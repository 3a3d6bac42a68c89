"""Rehearse a migration on the restored copy: up, look, down, compare, up again, and foretell what production will feel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, event, text

from lawsker_db.errors import LawskerError, RehearsalFailed
from lawsker_db.evidence import Event, LockForecast, OnEvent, Phase, Rehearsal, StatementCost, failures, ignore
from lawsker_db.postgres.catalog import Catalog, compare_catalogs, read_catalog
from lawsker_db.postgres.content import Content, read_content
from lawsker_db.postgres.session import find_schema, pin_session
from lawsker_db.postgres.touched import read_relations
from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import Chain, Plan, current_revisions, plan_downgrade, run_steps
from lawsker_db.safety.expectation import alembics_own
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.safety.verification import verify
from lawsker_db.target import Target

MAX_LOCK_S = 5.0  # how long everybody may wait for a table, when the operator has not said otherwise
SLOWEST = 12  # statements that the report shows
SHOWN = 5
STRONG = ("ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE")


@dataclass(slots=True)
class _Measured:
    """What one way through the revisions cost."""

    statements: list[StatementCost] = field(default_factory=list)
    locks: tuple[LockForecast, ...] = ()
    rewritten: tuple[str, ...] = ()
    wal_bytes: int = 0
    growth_bytes: int = 0
    duration_s: float = 0.0


def rehearse(
    copy: Target, chain: Chain, plan: Plan, *, max_lock_s: float = MAX_LOCK_S, on_event: OnEvent = ignore
) -> Rehearsal:
    """Run the plan on the copy: upgrade, verify, downgrade, compare with before, upgrade again.

    Changes the copy alone; its marker rows carry the copy's own database OID. Production is not touched and not locked.
    Raises `RehearsalFailed` with what would have happened, or when a table would be locked longer than `max_lock_s`.
    """
    before = _picture(copy)
    try:
        measured = _pass(copy, chain, plan, "upgrade", on_event)
        _verify(copy, chain, on_event)
        back = plan_downgrade(chain, _current(copy), plan.start[0] if plan.start else "base")
        _pass(copy, chain, back, "downgrade", on_event)
        _compare(before, _picture(copy))
        on_event(_event("equal", "after the downgrade catalog and content are as before"))
        again = _pass(copy, chain, plan, "upgrade again", on_event)
    except RehearsalFailed:
        raise
    except LawskerError as failed:
        raise RehearsalFailed(
            f"The rehearsal on the restored copy failed, so production was not touched: {failed.message}",
            hint=failed.hint,
            checks=failed.fields.get("checks", ()),
        ) from failed
    rehearsal = _result(measured, again, max_lock_s)
    on_event(_event("forecast", forecast_text(rehearsal), go=rehearsal.go))
    if not rehearsal.go:
        raise RehearsalFailed(
            rehearsal.reason,
            hint="choose a quieter hour and say --max-lock-s, or wait for the online way",
            rehearsal=rehearsal,
        )
    return rehearsal


def forecast_text(rehearsal: Rehearsal) -> str:
    """Pure. The forecast in a line."""
    strongest = max(rehearsal.locks, key=lambda lock: (lock.mode == STRONG[0], lock.held_s), default=None)
    lock = (
        f"{strongest.table} is locked {strongest.mode} for {strongest.held_s:.2f} s" if strongest else "no strong lock"
    )
    wal = f"{rehearsal.wal_bytes / 1e6:.1f} MB of WAL, {rehearsal.growth_bytes / 1e6:+.1f} MB"
    return f"in production: {rehearsal.duration_s:.1f} s, {lock}, {wal}: {'go' if rehearsal.go else 'no go'}"


def _result(first: _Measured, again: _Measured, max_lock_s: float) -> Rehearsal:
    """Pure. The forecast from the first way up; the second one, on a warm and grown copy, bounds it from above."""
    second = {lock.table: lock.held_s for lock in again.locks}
    locks = tuple(
        LockForecast(table=lock.table, mode=lock.mode, held_s=max(lock.held_s, second.get(lock.table, 0.0)))
        for lock in first.locks
    )
    too_long = [lock for lock in locks if lock.mode == STRONG[0] and lock.held_s > max_lock_s]
    reason = "; ".join(
        f"{lock.table} would be locked {lock.mode} for {lock.held_s:.1f} s, longer than {max_lock_s:g} s (--max-lock-s)"
        for lock in too_long
    )
    slowest = sorted(first.statements, key=lambda statement: -statement.duration_s)[:SLOWEST]
    return Rehearsal(
        go=not too_long,
        reason=reason or "go",
        duration_s=first.duration_s,
        locks=locks,
        rewritten=first.rewritten,
        wal_bytes=first.wal_bytes,
        growth_bytes=first.growth_bytes,
        statements=tuple(slowest),
    )


def _pass(copy: Target, chain: Chain, plan: Plan, word: str, on_event: OnEvent) -> _Measured:
    """One way through the plan in a guarded transaction on the copy, measured."""
    measured = _Measured()
    began = time.monotonic()
    with copy.connect() as conn:
        wal, size, files = _meter(conn)
        run = RunOptions(
            run_id=new_run_id(f"rehearsal_{'_'.join(plan.goal)}"), via="rehearsal", on_event=_progress(on_event)
        )
        with _timed_statements(conn, measured.statements), migration_transaction(conn, copy, plan, run) as guarded:
            run_steps(conn, chain, plan, guarded.gate)
        ended = time.time()
        measured.locks = tuple(
            LockForecast(table=lock.table, mode=lock.mode, held_s=round(ended - lock.granted_at.timestamp(), 3))
            for lock in guarded.gate.locks
        )
        wal_after, size_after, files_after = _meter(conn)
    measured.wal_bytes, measured.growth_bytes = wal_after - wal, size_after - size
    measured.rewritten = tuple(sorted(name for name, node in files.items() if files_after.get(name, node) != node))
    measured.duration_s = round(time.monotonic() - began, 3)
    on_event(_event(word, f"{word}: {measured.duration_s:.2f} s", duration_s=measured.duration_s))
    return measured


def _meter(conn: Connection) -> tuple[int, int, dict[str, int]]:
    """Bytes of WAL so far, the database's size, and each relation's file node. Reads; rolls back."""
    row = conn.execute(
        text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), pg_database_size(current_database())")
    ).one()
    files = {relation.name: relation.filenode for relation in read_relations(conn) if relation.kind == "r"}
    conn.rollback()
    return int(row[0]), int(row[1]), files


@contextmanager
def _timed_statements(conn: Connection, found: list[StatementCost]) -> Iterator[None]:
    """Note each statement of the block and how long the server took for it."""
    began: list[float] = []

    def before(*_given: object) -> None:
        began.append(time.monotonic())

    def after(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        words = " ".join(statement.split())[:200]
        found.append(StatementCost(statement=words, duration_s=round(time.monotonic() - began.pop(), 4)))

    event.listen(conn, "before_cursor_execute", before)
    event.listen(conn, "after_cursor_execute", after)
    try:
        yield
    finally:
        event.remove(conn, "before_cursor_execute", before)
        event.remove(conn, "after_cursor_execute", after)


def _verify(copy: Target, chain: Chain, on_event: OnEvent) -> None:
    checks = verify(copy, chain)
    failed = failures(checks)
    if failed:
        shown = "; ".join(f"{check.name}: {check.found}" for check in failed[:SHOWN])
        raise RehearsalFailed(
            f"Verification of the upgraded copy failed: {shown}.", hint="mend the revision", checks=failed
        )
    on_event(_event("verified", f"{len(checks)} checks on the upgraded copy"))


def _picture(copy: Target) -> tuple[Catalog, Content]:
    with copy.connect() as conn:
        pin_session(conn, find_schema(conn))
        catalog = read_catalog(conn)
        conn.rollback()
    return catalog, read_content(copy)


def _compare(before: tuple[Catalog, Content], after: tuple[Catalog, Content]) -> None:
    """The copy after the downgrade against the copy before the upgrade, Alembic's table and our history apart."""
    structure = [d.label for d in compare_catalogs(before[0], after[0]) if not alembics_own(d)]
    old = {table.table: table for table in before[1].tables}
    new = {table.table: table for table in after[1].tables}
    content = [
        f"content of {name}"
        for name in sorted(old.keys() | new.keys())
        if not name.startswith("lawsker_db.")
        and not name.endswith(".alembic_version")
        and (name not in old or name not in new or not old[name].same_content(new[name]))
    ]
    if structure or content:
        shown = "; ".join([*structure, *content][:SHOWN])
        raise RehearsalFailed(f"After the downgrade the copy is not as before: {shown}.", hint="mend the downgrade")


def _current(copy: Target) -> tuple[str, ...]:
    with copy.connect() as conn:
        pin_session(conn, find_schema(conn))
        current = current_revisions(conn)
        conn.rollback()
    return current


def _progress(on_event: OnEvent) -> OnEvent:
    """Events of the rehearsed transaction, as mere progress of the rehearsal."""

    def tell(inner: Event) -> None:
        on_event(Event(phase=Phase.REHEARSAL, name=inner.name, text=inner.text, lasting=False))

    return tell


def _event(name: str, words: str, **facts: object) -> Event:
    return Event(phase=Phase.REHEARSAL, name=name, text=words, facts=facts)
