"""The guarded transaction: sealed, pinned, judged, marked, and committed once. safe-upgrade and plain Alembic share it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial

from psycopg.rows import scalar_row
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import contract_digest
from lawsker_db.errors import (
    GateRefused,
    LawskerError,
    LockNotObtained,
    Refused,
    RevisionFailed,
    RolledBack,
)
from lawsker_db.evidence import Direction, Event, OnEvent, Phase, Server, ignore
from lawsker_db.phrases import Phrase, told_by
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import BlockerPolicy
from lawsker_db.postgres.content import read_tables
from lawsker_db.postgres.differing import raw
from lawsker_db.postgres.locks import sqlstate, take_migration_lock
from lawsker_db.postgres.pulse import pulse
from lawsker_db.postgres.seal import SEALED, Seal, create_seal, no_transaction_control
from lawsker_db.postgres.session import (
    IDLE_LIMIT,
    IDLED,
    IDLED_OUT,
    Session,
    find_schema,
    identify,
    own_session,
    pin_session,
    quoted_as_read,
    transaction_id,
)
from lawsker_db.postgres.touched import require_counting
from lawsker_db.record.history import Run, recorded_via, write_marker
from lawsker_db.revisions import Plan, current_revisions
from lawsker_db.safety.choice import ALEMBICS, NEVER, OPTION, require_choices
from lawsker_db.safety.commit import Asking, Guarded, commit, roll_back
from lawsker_db.safety.confirmation import with_what_stays
from lawsker_db.safety.doubt import RECONNECT_S, Attempt, read_timeline
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.keeping import Keeping
from lawsker_db.safety.reinstatement import Reinstating
from lawsker_db.safety.waiting import Waiting
from lawsker_db.target import Target, said_by_server

SAFE_UPGRADE, ROLLBACK, REHEARSAL = "safe-upgrade", "rollback", "rehearsal"
JOURNALLED = (SAFE_UPGRADE, ROLLBACK)  # the ways in that keep a journal
STAMPING = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(?:\S+\.)?alembic_version\b")  # as Alembic writes it
STATEMENT_SHOWN = 70  # characters: one terminal line
CANCELLED = "57014"  # query_canceled; no statement_timeout of ours is set
WAITED_TOO_LONG = ("55P03", "40P01")  # lock_not_available, deadlock_detected


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a guarded transaction is told from outside."""

    run_id: str
    via: str
    recorded_as: str | None = None  # instead of the plan's direction: an adoption is a stamp
    backup_id: str | None = None
    patience_s: float = locks.PATIENCE_S
    attempt_s: float = locks.ATTEMPT_S
    blockers: BlockerPolicy = field(default_factory=BlockerPolicy)
    reconnect_s: float = RECONNECT_S
    full: Target | None = None  # lock and compare every table, touched or not, by connections to there
    archive: bool = False  # a downgrade keeps what it takes away
    reinstate: str = NEVER  # which archive an upgrade brings back: auto, ask, never, or its name
    reason: str = ""  # why a downgrade throws it away, for the record
    on_event: OnEvent = ignore


@contextmanager
def migration_transaction(conn: Connection, target: Target, plan: Plan, options: RunOptions) -> Iterator[Guarded]:
    """Open the migration's transaction on `conn`, give its gate to the block, and commit when the block ends well.

    READ COMMITTED, settings pinned, MIGRATION lock, sealed; at the end the marker row, then COMMIT. Whatever goes wrong in
    the block or the gate rolls everything back and comes through as a `LawskerError`. Raises `OutcomeUnknown` when the
    connection is lost at COMMIT and the server cannot be asked.
    """
    server = identify(conn)
    schema = find_schema(conn)
    session = own_session(conn)
    conn.rollback()
    options.on_event(_session_event("migration", session))
    guarded: Guarded | None = None
    with pulse(target, conn, session) as watch:
        if watch.session:
            options.on_event(_session_event("watch", watch.session))
        try:
            create_seal(conn)
            with guarded_steps(conn, plan, options, server=server, schema=schema) as guarded:
                yield guarded
            options.on_event(_about_to_commit(guarded.attempt))
        except DBAPIError as failed:
            roll_back(conn)
            raise _told_with_what_stays(target, guarded, _failed(failed)) from failed
        except LawskerError as failed:
            roll_back(conn)
            raise _told_with_what_stays(target, guarded, failed) from failed.__cause__
        except BaseException:
            roll_back(conn)
            raise
        journalled = options.via in JOURNALLED
        asking = Asking(pulse=watch, journalled=journalled, reconnect_s=options.reconnect_s, on_event=options.on_event)
        commit(conn, target, guarded, asking)


def _told_with_what_stays(target: Target, guarded: Guarded | None, error: LawskerError) -> LawskerError:
    if guarded is None or not isinstance(error, RolledBack):
        return error
    return with_what_stays(target, guarded.gate.began_with, error)


@contextmanager
def guarded_steps(
    conn: Connection, plan: Plan, options: RunOptions, *, server: Server, schema: str
) -> Iterator[Guarded]:
    """In the transaction that is open, with the seal's table made: lock, pin, arm, give the gate to the block, and when
    it ends well demand that every step was judged, write the marker, open the seal, and see that nothing else was written
    meanwhile. COMMIT is the caller's.

    Takes the MIGRATION lock until the transaction ends. Raises `LawskerError` and what the server raises.
    """
    take_migration_lock(conn)
    pin_session(conn, schema, idle_limit=IDLE_LIMIT)
    require_counting(conn)
    _require_start(conn, plan)
    seal = Seal(conn)
    seal.arm()
    gate = Gate(
        conn,
        seal,
        schema,
        waiting=Waiting(
            patience_s=options.patience_s,
            attempt_s=options.attempt_s,
            policy=options.blockers,
            on_event=options.on_event,
        ),
        direction=plan.direction,
        on_event=options.on_event,
        beside=partial(read_tables, options.full) if options.full else None,
        keeping=Keeping(conn, options.run_id, schema) if options.archive else None,
        reinstating=_reinstating(conn, plan, options, schema),
    )
    gate.begin(plan.contracts)
    guarded = Guarded(gate=gate, attempt=attempt_of(conn, server, options.run_id))
    looks = _before_statement(conn, options.on_event)
    with no_transaction_control(conn, looks), _revisions_own_errors():
        yield guarded
    seal.require_same_transaction()
    gate.require_judged(tuple(step.revision for step in plan.steps))
    _require_goal(conn, plan)
    gate.judge_snapshots()
    write_marker(conn, _run(conn, plan, gate, options, schema), server)
    gate.judge_ending()


def _reinstating(conn: Connection, plan: Plan, options: RunOptions, schema: str) -> Reinstating | None:
    """What an upgrade is to bring back, if anything. Reads the archives. Raises `Refused` when that cannot come back."""
    if plan.direction is not Direction.UPGRADE:
        return None
    wish, option = options.reinstate, OPTION if options.via in (SAFE_UPGRADE, REHEARSAL) else ALEMBICS
    choices = () if wish == NEVER else require_choices(conn, plan.contracts, wish, schema, option=option)
    return Reinstating(conn, quoted_as_read(conn, schema), choices, options.on_event)


def _before_statement(conn: Connection, on_event: OnEvent) -> Callable[[str], None]:
    """Say what the server is asked now, as mere progress: a long fill or rewrite is then not a silent one. Before the
    stamp see that the revision has given back the role that it began with."""
    user = _current_user(conn)

    def tell(statement: str) -> None:
        if STAMPING.match(statement) and (role := _current_user(conn)) != user:
            raise RevisionFailed(
                Phrase(
                    "The revision left SET ROLE on: the stamp would be written as {role}, not {user}.",
                    role=role,
                    user=user,
                ),
                hint=Phrase("end the revision with RESET ROLE"),
            )
        words = " ".join(statement.split())[:STATEMENT_SHOWN]
        on_event(Event(phase=Phase.MIGRATION, name="statement", text=words, lasting=False))

    return tell


def _current_user(conn: Connection) -> str:
    """Asked of the driver: what listens to the statements of a revision does not hear it."""
    row = raw(conn).cursor(row_factory=scalar_row).execute("SELECT current_user").fetchone()
    return str(row)


def attempt_of(conn: Connection, server: Server, run_id: str) -> Attempt:
    """What identifies the COMMIT of the transaction that is open, which gets an id. Reads."""
    session = own_session(conn)
    return Attempt(
        run_id=run_id,
        server=server,
        backend_pid=session.pid,
        backend_start=session.start,
        transaction_id=transaction_id(conn),
        timeline=read_timeline(conn),
    )


def _run(conn: Connection, plan: Plan, gate: Gate, options: RunOptions, schema: str) -> Run:
    kept = gate.keeping.kept if gate.keeping else []
    prints = tuple(entry.fingerprint for entry in kept)
    back = gate.reinstating.told if gate.reinstating else []
    if gate.reinstating:
        prints = gate.reinstating.made(plan.contracts)
    return Run(
        run_id=options.run_id,
        direction=options.recorded_as or plan.direction.value,
        via=recorded_via(options.via, reason=options.reason, reinstated=tuple(one.archive for one in back)),
        from_revisions=plan.start,
        to_revisions=plan.goal,
        steps=tuple(step.revision for step in plan.steps),
        contract_digest=contract_digest(plan.contracts),
        backup_id=options.backup_id,
        rows_made=gate.rows_made,
        fingerprints=prints,
    )


def _failed(failed: DBAPIError) -> LawskerError:
    """A database error inside the transaction as an error of ours. The server's DETAIL, which may hold personal data,
    stays out."""
    state = sqlstate(failed)
    said = said_by_server(failed.orig)
    if state == SEALED:
        return RevisionFailed(
            Phrase("The revision tried to end the transaction by itself (COMMIT, or SET CONSTRAINTS ALL IMMEDIATE)."),
            hint=Phrase("take it out of the revision: the tool commits, once, after the gate"),
            sqlstate=state,
        )
    if state in WAITED_TOO_LONG:
        return LockNotObtained(
            Phrase(
                "Another session held a lock for longer than this statement may wait ({state}): {statement}",
                state=state,
                statement=_first_line(failed),
            ),
            hint=Phrase("wait for that session or end it, then type the same command again"),
            sqlstate=state,
        )
    if state == IDLED:
        return RolledBack(IDLED_OUT, hint=Phrase("type the same command again"), sqlstate=state)
    if state == CANCELLED:
        return RolledBack(
            Phrase(
                "A statement was cancelled from outside ({state}): {said}. It was: {statement}",
                state=state,
                said=said or "",
                statement=_first_line(failed),
            ),
            hint=Phrase("somebody cancelled it, or a time-out that the revision sets: ask who, then type it again"),
            sqlstate=state,
        )
    if failed.connection_invalidated or state in ("57P01", "57P02", "08006", None):
        return RolledBack(
            Phrase(
                "The connection was lost inside the transaction: {why}.", why=said or Phrase("the server went away")
            ),
            hint=Phrase("type the same command again"),
            sqlstate=state,
        )
    return RevisionFailed(
        Phrase(
            "The server refused a statement ({state}): {said}. It was: {statement}",
            state=str(state),
            said=said or "",
            statement=_first_line(failed),
        ),
        hint=Phrase("mend the revision or what it stumbled over, then type it again"),
        sqlstate=state,
    )


def _first_line(failed: DBAPIError) -> str:
    return " ".join((failed.statement or "").split())[:120]


@contextmanager
def _revisions_own_errors() -> Iterator[None]:
    """Turn what a revision (or Alembic) raises in the block into an error of ours. The server's errors come later."""
    try:
        yield
    except (LawskerError, DBAPIError):
        raise
    except (Exception, SystemExit) as failed:
        raise RevisionFailed(
            Phrase(
                "The revision raised {kind}: {said}",
                kind=type(failed).__name__,
                said=said_by_server(failed) or told_by(failed),
            ),
            hint=Phrase("mend the revision or what it stumbled over, then type it again"),
        ) from failed


def _require_goal(conn: Connection, plan: Plan) -> None:
    """Raise `GateRefused` when Alembic has not arrived where the plan says, whatever it reported. Reads only."""
    current = current_revisions(conn)
    if current != plan.goal:
        raise GateRefused(
            Phrase(
                "After the revisions the database is stamped {current}, not {goal}.",
                current=", ".join(current) or Phrase("with nothing"),
                goal=", ".join(plan.goal) or Phrase("base"),
            ),
            hint=Phrase("look at the chain's env.py: it must run the revisions on the connection in config.attributes"),
        )


def _require_start(conn: Connection, plan: Plan) -> None:
    """Raise `Refused` when another run has moved the database since this one was planned. Reads only."""
    current = current_revisions(conn)
    if current != plan.start:
        none = Phrase("no revision")
        stands, planned = ", ".join(current) or none, ", ".join(plan.start) or none
        raise Refused(
            Phrase(
                "The database is at {stands}; when this run was planned it was at {planned}.",
                stands=stands,
                planned=planned,
            ),
            hint=Phrase("lawsker-db status, then type the same command again"),
        )


def _session_event(whose: str, session: Session) -> Event:
    """For whoever finds the journal of a killed run: which server processes were its own."""
    return Event(phase=Phase.MIGRATION, name="session", text="", facts={"whose": whose, **asdict(session)})


def _about_to_commit(attempt: Attempt) -> Event:
    words = Phrase("everything proven; committing")
    return Event(phase=Phase.COMMIT, name="about to commit", text=words, facts=asdict(attempt))
