"""Plain `alembic upgrade`, `downgrade` and `stamp` through the same guard. Called by alembic/env.py and nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.contract import Loss
from lawsker_db.errors import Refused
from lawsker_db.evidence import Direction
from lawsker_db.postgres import locks
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.seal import create_seal_here
from lawsker_db.postgres.session import find_schema, identify, pin_session, pinned
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
from lawsker_db.safety.confirmation import require_confirmed
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.guard import RunOptions, guarded_steps, migration_transaction
from lawsker_db.safety.preflight import refuse_unless, required_checks
from lawsker_db.target import Target, find_target

DISCARD = "discard"


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
    safe-upgrade, without backup and report. Raises as `migration_transaction`, `Refused` before anything is changed, and
    `CommittedUnproven` when the look afterwards finds something.
    """
    target = find_target(url)
    require_direct(target)
    with target.connect() as conn:
        target = pinned(target, identify(conn))
    with locks.run_lock(target), target.connect() as conn:
        plan = _plan(conn, target, config, wish)
        if not plan.steps and plan.direction is not Direction.STAMP:
            yield conn, None
            conn.rollback()
            return
        run = RunOptions(run_id=new_run_id("_".join(plan.goal)), via="alembic")
        with migration_transaction(conn, target, plan, run) as guarded:
            _watch_for_loss(conn, plan, wish, guarded.gate)
            yield conn, guarded.gate
        require_confirmed(target, run.run_id, plan, guarded.gate.catalog)


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
    run = RunOptions(run_id=new_run_id("_".join(plan.goal)), via="alembic, on a connection handed over")
    with guarded_steps(conn, plan, run, server=server, schema=schema) as guarded:
        _watch_for_loss(conn, plan, wish, guarded.gate)
        yield guarded.gate


def _watch_for_loss(conn: Connection, plan: Plan, wish: Wish, gate: Gate) -> None:
    """On the way down: look for what would be lost now, which refuses soon, and again behind the locks, when nobody can
    write any more."""
    if plan.direction is Direction.DOWNGRADE:
        refuse_loss(conn, plan, wish.options)
        gate.behind_lock = lambda revision: refuse_loss(conn, plan, wish.options, only=revision)


def refuse_loss(conn: Connection, plan: Plan, options: Mapping[str, str], *, only: str | None = None) -> None:
    """Raise `Refused` when a downgrade would throw away what the run that upgraded did not write itself.

    Reads the tables that would go. `-x discard=yes` is the operator's word that they may.
    """
    if options.get(DISCARD) == "yes":
        return
    history = read_history(conn, identify(conn))
    for contract in plan.contracts:
        if only is not None and contract.revision != only:
            continue
        made = _made_by(history, contract.revision)
        if made is None and contract.losses:
            raise Refused(
                f"No run of this database is on record as having made revision {contract.revision}, so what was written"
                " since cannot be told from what it made.",
                hint=f"take a backup, then: alembic -x {DISCARD}=yes downgrade …",
            )
        losses = [] if made is None else _losses(conn, contract.losses, made) + _changed_seeds(conn, made)
        if losses:
            raise Refused(
                f"The downgrade of {contract.revision} would throw away what was written since: {'; '.join(losses)}.",
                hint=f"keep the data, or take a backup and say so: alembic -x {DISCARD}=yes downgrade …",
            )


def _losses(conn: Connection, losses: tuple[Loss, ...], made: PastRun) -> list[str]:
    found: list[str] = []
    for loss in losses:
        counted = text(f"SELECT count(*) FROM ({loss.query}) AS lost")
        rows = conn.execute(counted, {"made_at": made.made_at}).scalar_one()
        if rows:
            found.append(f"{loss.where}: {rows} {loss.says}")
    return found


def _changed_seeds(conn: Connection, made: PastRun) -> list[str]:
    """Seed tables whose content is not what the run made."""
    changed: list[str] = []
    for print_ in made.fingerprints:
        stands = conn.execute(text("SELECT to_regclass(:name)"), {"name": print_.table}).scalar_one()
        if stands is not None and not print_.same_content(fingerprint_table(conn, print_.table, print_.columns)):
            changed.append(f"{print_.table}: changed since the upgrade")
    return changed


def _made_by(history: tuple[PastRun, ...], revision: str) -> PastRun | None:
    """Pure. The last run here that upgraded to this revision."""
    for past in reversed(history):
        if past.here and past.direction == Direction.UPGRADE and revision in past.steps:
            return past
    return None


def _plan(conn: Connection, target: Target, config: Path, wish: Wish) -> Plan:
    """Plan what was typed and look whether the guarded transaction can carry it. Reads only; rolls back."""
    pin_session(conn, find_schema(conn))
    plan = _planned(conn, config, wish)
    if identify(conn).in_recovery:
        raise Refused(f"{target.label} is a standby.", hint="connect to the primary")
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
