"""Plain `alembic upgrade`, `downgrade` and `stamp` through the same guard. Called by alembic/env.py and nobody else."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from lawsker_db.contract import Contract
from lawsker_db.errors import CommittedUnproven, GateRefused, Interrupted, LawskerError, Refused
from lawsker_db.evidence import Direction
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres import locks
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.seal import create_seal_here
from lawsker_db.postgres.session import find_schema, identify, pin_session, pinned, quoted_as_read
from lawsker_db.record.history import PastRun, read_history
from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import (
    Plan,
    current_revisions,
    direction_to,
    load_chain,
    plan_checks,
    plan_downgrade,
    plan_stamp,
    plan_upgrade,
)
from lawsker_db.safety.choice import ASK, AUTO, NEVER
from lawsker_db.safety.commit import Guarded, unknown_outcome
from lawsker_db.safety.confirmation import require_confirmed
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.guard import RunOptions, guarded_steps, migration_transaction
from lawsker_db.safety.hanging import dependant_checks
from lawsker_db.safety.needs import required_checks
from lawsker_db.safety.preflight import refuse_unless
from lawsker_db.safety.since import Since, holds_anything, made_by, refuse_adopted_baseline, written_since
from lawsker_db.target import Target, find_target

ARCHIVE, DISCARD, REINSTATE = "archive", "discard", "reinstate"
KEEP = f"alembic -x {ARCHIVE}=yes downgrade …"
THROW_AWAY = f"alembic -x {DISCARD}=yes downgrade …"
ENDING = (signal.SIGTERM, signal.SIGHUP)  # what ends a process at once and says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was typed: `alembic upgrade head` is (UPGRADE, "head"). Called from a program, the direction is not said."""

    direction: Direction | None
    revision: str
    options: Mapping[str, str]


@contextmanager
def reading_connection(url: str | None) -> Iterator[Connection]:
    """A connection for commands that only look (current, history, check): no lock of ours, rolled back at the end."""
    with find_target(url).connect() as conn:
        pin_session(conn, find_schema(conn))
        yield conn
        conn.rollback()


@contextmanager
def guarded_connection(url: str | None, config: Path, wish: Wish) -> Iterator[tuple[Connection, Gate | None]]:
    """The RUN lock, a connection, and the guarded transaction in it; committed when the block ends well.

    Where nothing is to be done there is no gate and no record. The same pins, seal, gate, marker and look afterwards as
    safe-upgrade, without backup and report. Raises as `migration_transaction`, `Refused` before anything is changed,
    `CommittedUnproven` when the look afterwards finds something, and what `_interrupts_told` says of INT, TERM and HUP.
    """
    target = find_target(url)
    require_direct(target)
    with _interrupts_told() as under_way, _guarded(target, config, wish, under_way) as opened:
        yield opened


@contextmanager
def _guarded(
    target: Target, config: Path, wish: Wish, under_way: list[Guarded]
) -> Iterator[tuple[Connection, Gate | None]]:
    """What `guarded_connection` does; the transaction is in `under_way` from its beginning."""
    with target.connect() as conn:
        target = pinned(target, identify(conn))
    with locks.run_lock(target), target.connect() as conn:
        plan = _plan(conn, target, config, wish)
        if not plan.steps and plan.direction is not Direction.STAMP:
            yield conn, None
            conn.rollback()
            return
        run = RunOptions(
            run_id=new_run_id("_".join(plan.goal)), via="alembic", archive=_keeps(wish), reinstate=_reinstate(wish)
        )
        with migration_transaction(conn, target, plan, run) as guarded:
            under_way.append(guarded)
            _watch_for_loss(conn, plan, wish, guarded.gate)
            yield conn, guarded.gate
            _require_looked_at(conn, plan, wish, guarded.gate)
        require_confirmed(target, run.run_id, plan, guarded.gate.catalog)


@contextmanager
def _interrupts_told() -> Iterator[list[Guarded]]:
    """For the block, TERM and HUP cancel and roll back as Ctrl-C does, unless a program or nohup has other wishes; what an
    interrupt leaves behind is raised as the error that says it, of the transactions that the block puts into the list."""
    under_way: list[Guarded] = []
    in_main = threading.current_thread() is threading.main_thread()  # handlers are set and run in no other
    ours = [number for number in ENDING if in_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield under_way
    except KeyboardInterrupt:
        raise _interrupted(under_way) from None
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _interrupted(under_way: list[Guarded]) -> LawskerError:
    """Pure. What an interrupt left behind: nothing, what was committed, or a doubt."""
    for guarded in under_way:
        if guarded.committed:
            return CommittedUnproven(
                Phrase("Interrupted after COMMIT; the look afterwards was not made."),
                hint=Phrase("{first}, then {second}", first="lawsker-db status", second="lawsker-db verify"),
                run_id=guarded.attempt.run_id,
            )
        if guarded.in_doubt:
            return unknown_outcome(guarded.attempt, Phrase("interrupted while the server was asked"), journalled=False)
    return Interrupted(Phrase("Interrupted by the operator."), hint=Phrase("type the same command again"))


@contextmanager
def guarded_hand_over(conn: Connection, config: Path, wish: Wish) -> Iterator[Gate | None]:
    """The guard on a connection that a program handed over, in its transaction, which stays its own to end.

    MIGRATION lock, pins, seal, gate and marker; the settings stay until that transaction ends, and COMMIT passes the seal
    once the gate has judged. The RUN lock, which needs a connection of its own, is not taken. Raises as `guarded_steps`.
    """
    schema, server = find_schema(conn), identify(conn)
    pin_session(conn, schema)
    plan = _planned(conn, config, wish)
    if not plan.steps and plan.direction is not Direction.STAMP:
        yield None
        return
    create_seal_here(conn)
    run_id = new_run_id("_".join(plan.goal))
    run = RunOptions(
        run_id=run_id, via="alembic, on a connection handed over", archive=_keeps(wish), reinstate=_reinstate(wish)
    )
    with guarded_steps(conn, plan, run, server=server, schema=schema) as guarded:
        _watch_for_loss(conn, plan, wish, guarded.gate)
        yield guarded.gate
        _require_looked_at(conn, plan, wish, guarded.gate)


def _watch_for_loss(conn: Connection, plan: Plan, wish: Wish, gate: Gate) -> None:
    """On the way down: look for what hangs on what would go, and for what would be lost now, which refuses soon; and for
    that again behind the locks, when nobody can write any more."""
    if plan.direction is not Direction.DOWNGRADE:
        return
    refuse_unless(dependant_checks(conn, plan, find_schema(conn)), what=Phrase("The downgrade was not begun"))
    if not _has_word(wish):
        refuse_loss(conn, plan)
        gate.behind_lock = lambda revision: refuse_loss(conn, plan, only=revision)


def _has_word(wish: Wish) -> bool:
    """Pure. Whether the operator said what is to become of what was written since."""
    return any(wish.options.get(name) == "yes" for name in (DISCARD, ARCHIVE))


def _require_looked_at(conn: Connection, plan: Plan, wish: Wish, gate: Gate) -> None:
    """Raise `GateRefused` when a step took away what the gate had not locked before: whatever was written between the
    look and the step's own lock is seen by nobody."""
    if plan.direction is not Direction.DOWNGRADE or _has_word(wish):
        return
    schema = quoted_as_read(conn, find_schema(conn))
    closed = {lock.table for lock in gate.locks if lock.mode == locks.STRONGEST}
    for contract in plan.contracts:
        going = [table.name for table in contract.tables] + [e.table for e in contract.extensions if e.columns]
        missing = [table for table in going if f"{schema}.{table}" not in closed]
        if missing:
            raise GateRefused(
                Phrase(
                    "Revision {revision} took away what was not looked at behind a lock: {tables}.",
                    revision=contract.revision,
                    tables=", ".join(missing),
                ),
                hint=Phrase(
                    "have its downgrade use ops.drop_table and ops.drop_columns; or take a backup, then: {discard}",
                    discard=THROW_AWAY,
                ),
            )


def refuse_loss(conn: Connection, plan: Plan, *, only: str | None = None) -> None:
    """Raise `Refused` when a downgrade would throw away what the run that upgraded did not write itself.

    Reads the tables that would go, whole.
    """
    history = read_history(conn, identify(conn))
    schema = quoted_as_read(conn, find_schema(conn))
    for contract in plan.contracts:
        if only is not None and contract.revision != only:
            continue
        refuse_adopted_baseline(contract, history)
        made = made_by(history, contract.revision)
        if made is None and (contract.losses or holds_anything(conn, contract, schema)):
            raise Refused(
                Phrase(
                    "No run of this database is on record as having made revision {revision}, so what was written "
                    "since cannot be told from what it made.",
                    revision=contract.revision,
                ),
                hint=Phrase("keep it all: {keep}; or take a backup, then: {discard}", keep=KEEP, discard=THROW_AWAY),
            )
        lost = [since.words for since in _written(conn, plan, contract, made, schema)]
        if lost:
            raise Refused(
                Phrase(
                    "The downgrade of {revision} would throw away what was written since: {lost}.",
                    revision=contract.revision,
                    lost=joined(lost, "; "),
                ),
                hint=Phrase("keep it: {keep}; or take a backup and say so: {discard}", keep=KEEP, discard=THROW_AWAY),
            )


def _written(conn: Connection, plan: Plan, contract: Contract, made: PastRun | None, schema: str) -> list[Since]:
    if made is None:
        return []
    return [since for since in written_since(conn, contract, made, schema, going=plan.contracts) if since.says]


def _reinstate(wish: Wish) -> str:
    """Pure. Which archive an upgrade brings back. Raises `Refused` for the word that would have to ask: Alembic does not."""
    chosen = wish.options.get(REINSTATE, AUTO)
    if chosen == ASK:
        raise Refused(
            Phrase("-x {reinstate}={ask}: Alembic cannot ask.", reinstate=REINSTATE, ask=ASK),
            hint=Phrase("-x {reinstate}={auto}, {never}, or an archive", reinstate=REINSTATE, auto=AUTO, never=NEVER),
        )
    return chosen


def _keeps(wish: Wish) -> bool:
    """Pure. Whether the operator wants an archive. Raises `Refused` for both words at once."""
    keep, discard = (wish.options.get(name) == "yes" for name in (ARCHIVE, DISCARD))
    if keep and discard:
        raise Refused(
            Phrase("archive=yes keeps what discard=yes throws away."),
            hint=Phrase("one of them: {keep}, or {discard}", keep=KEEP, discard=THROW_AWAY),
        )
    return keep


def kept_words(schema: str) -> Phrase:
    """Pure. Where somebody finds again what a downgrade took away."""
    return Phrase("Kept in schema {schema} what the downgrade took away.", schema=schema)


def _plan(conn: Connection, target: Target, config: Path, wish: Wish) -> Plan:
    """Plan what was typed and look whether the guarded transaction can carry it. Reads only; rolls back."""
    pin_session(conn, find_schema(conn))
    plan = _planned(conn, config, wish)
    if identify(conn).in_recovery:
        raise Refused(Phrase("{database} is a standby.", database=target.label), hint=Phrase("connect to the primary"))
    conn.rollback()
    return plan


def _planned(conn: Connection, config: Path, wish: Wish) -> Plan:
    """Plan what was typed. Raises `Refused` when the guarded transaction cannot carry it. Reads only."""
    chain = load_chain(config)
    current = current_revisions(conn)
    direction = wish.direction or direction_to(chain, current, wish.revision)
    if direction is Direction.UPGRADE:
        plan = plan_upgrade(chain, current, wish.revision)
        refuse_unless((*plan_checks(plan), *required_checks(conn, plan)))
    elif direction is Direction.DOWNGRADE:
        plan = plan_downgrade(chain, current, wish.revision)
        refuse_unless(plan_checks(plan))
    else:
        plan = plan_stamp(chain, current, wish.revision)
    return plan
