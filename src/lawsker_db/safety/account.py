"""The account of a run: what it has to tell so far, and the report that is made from it however it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from lawsker_db import __version__
from lawsker_db.changes import Promised, SizeChange, TableChange
from lawsker_db.errors import (
    UNTOUCHED,
    ChangedOutside,
    CommittedUnproven,
    Interrupted,
    LawskerError,
    OutcomeUnknown,
    Refused,
    RolledBack,
)
from lawsker_db.evidence import (
    BackupReceipt,
    Check,
    Direction,
    Event,
    LockHeld,
    OnEvent,
    Phase,
    Proof,
    Rehearsal,
    Reinstated,
    RestorePoint,
    RunReport,
    Server,
    Timing,
    Verdict,
)
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.locks import RunLock, run_lock
from lawsker_db.record.journal import Journal, create_run_folder, mending, new_run_id
from lawsker_db.record.log import log_event, log_outcome
from lawsker_db.record.report import write_report
from lawsker_db.revisions import Plan
from lawsker_db.safety.commit import Guarded, unknown_outcome
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.pace import Errand, Pace
from lawsker_db.safety.precedent import pace_of
from lawsker_db.safety.promises import changed_tables, kept_promises
from lawsker_db.safety.reinstatement import back_notes
from lawsker_db.target import Target

NOTED = ("left", "unnoted", "blocker")  # what could not be cleared away, not be written down; what was done to others
NOT_RESTORED = Phrase(
    "the backup was not restored: that its files are what pg_dump wrote is known, that they restore is not"
)
NOT_REHEARSED = Phrase("the migration was not rehearsed on a restored copy")
VERIFY, VERIFY_BACK = "lawsker-db verify", "lawsker-db rollback --verify"
BACK = Phrase("The rollback is committed.")
PROVEN = Phrase("The migration is committed and proven.")
PROVEN_BACK = Phrase("The rollback is committed and proven.")
UNKNOWN_BACK = Phrase("It is not known whether the rollback was committed.")
SAFE_UPGRADE = "lawsker-db safe-upgrade"
# How a run ended, by the exit code of what it raised. (Whether an interrupt rolled anything back, its state says.)
VERDICTS = {
    10: Verdict.REFUSED,
    11: Verdict.ROLLED_BACK,
    12: Verdict.UNKNOWN,
    13: Verdict.COMMITTED_UNPROVEN,
    15: Verdict.REFUSED,
    130: Verdict.INTERRUPTED,
}


@dataclass(slots=True, kw_only=True)
class Account:
    """What a run has to tell so far; the report is made from it, also when the run fails."""

    run_id: str
    target: Target
    plan: Plan
    folder: Path
    began: float
    started_at: datetime
    server: Server
    pace: Pace = field(default_factory=Pace)
    backup: BackupReceipt | None = None
    proof: Proof | None = None
    rehearsal: Rehearsal | None = None
    restore_point: RestorePoint | None = None
    skipped: list[str] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    confirmed: tuple[Check, ...] = ()
    verified: tuple[Check, ...] = ()
    figures: dict[str, int] = field(default_factory=dict)
    sizes: tuple[SizeChange, ...] = ()
    notes: list[str] = field(default_factory=list)
    before: Catalog | None = None
    guarded: Guarded | None = None
    ended_at: datetime | None = None

    @property
    def committed(self) -> bool:
        """Whether COMMIT was answered."""
        return self.guarded is not None and self.guarded.committed

    @property
    def reinstated(self) -> tuple[Reinstated, ...]:
        """What came back from archives, once that is committed."""
        back = self.guarded.gate.reinstating if self.guarded is not None else None
        return tuple(back.told) if back is not None and self.committed else ()

    @property
    def in_doubt(self) -> bool:
        """Whether COMMIT was sent and its answer is not known."""
        return self.guarded is not None and self.guarded.in_doubt


def open_account(
    target: Target, plan: Plan, server: Server, checks: tuple[Check, ...], runs: Path, looked: Errand
) -> Account:
    """Begin the account of a run that goes on from its preflight (`looked`): id, folder (0700), and what earlier runs
    say of the phases that lie before it. Raises `Refused` when the folder cannot be made."""
    run_id = new_run_id("_".join(plan.goal))
    steps = tuple(step.revision for step in plan.steps)
    return Account(
        run_id=run_id,
        target=target,
        plan=plan,
        folder=create_run_folder(runs.absolute(), run_id),
        began=time.monotonic(),
        started_at=datetime.now(UTC),
        server=server,
        pace=pace_of(looked.pace.phases, runs, server, plan.direction, steps),
        timings=list(looked.timings),
        told=list(looked.told),
        checks=list(checks),
    )


@contextmanager
def opened(account: Account, tell: OnEvent) -> Iterator[RunLock]:
    """The RUN lock for the block, after the journal says of which database this run is; then, who holds the lock.

    From that `recover` knows what was a run's own when the run is no more. Raises `Busy` also where a program migrates on a
    connection of its own: the lock that keeps it out is taken hours later, behind backup, proof and rehearsal.
    """
    facts = {**asdict(account.server), "process": os.getpid()}
    tell(Event(phase=Phase.PLAN, name="opened", text="", facts=facts))
    with run_lock(account.target) as lock:
        tell(Event(phase=Phase.PLAN, name="session", text="", facts={"whose": "run lock", **asdict(lock.session)}))
        lock.require_alone()
        yield lock


def nothing_to_do(target: Target, plan: Plan, server: Server, *, hint: str) -> RunReport:
    """Pure but for the clock. The report of a plan without steps, for which no run was begun."""
    return RunReport(
        run_id="",
        verdict=Verdict.NOTHING_TO_DO,
        target=target.label,
        tool_version=__version__,
        started_at=datetime.now(UTC),
        duration_s=0.0,
        direction=plan.direction,
        from_revisions=plan.start,
        to_revisions=plan.goal,
        steps=(),
        server=server,
        message=Phrase(
            "The database is at revision {revision} already.", revision=", ".join(plan.start) or Phrase("base")
        ),
        state=Phrase("Nothing was done."),
        hint=hint,
    )


@dataclass(slots=True, kw_only=True)
class Said:
    """How a run ended, and its report once that is written."""

    verdict: Verdict = Verdict.ROLLED_BACK
    report: RunReport = field(init=False)


@contextmanager
def reported(account: Account) -> Iterator[Said]:
    """Write the report when the block ends, well or not. A report that cannot be written changes no outcome."""
    said = Said()
    failed: LawskerError | None = None
    try:
        yield said
    except LawskerError as error:
        failed = _told_truly(account, error)
        if failed is error:
            raise
        raise failed from error
    except KeyboardInterrupt:
        failed = _interrupted(account)
        raise failed from None
    except Exception as bug:
        failed = _bug(account, bug)
        if account.committed or account.in_doubt:
            raise failed from bug
        raise
    finally:
        if failed is not None:
            if isinstance(failed, OutcomeUnknown) and account.plan.direction is Direction.DOWNGRADE:
                failed.state = UNKNOWN_BACK
            outside = isinstance(failed, ChangedOutside)
            said.verdict = Verdict.ROLLED_BACK if outside else VERDICTS.get(failed.exit_code, Verdict.ROLLED_BACK)
            known = {"run_id": account.run_id, "folder": str(account.folder), "from_revisions": account.plan.start}
            failed.fields = {**failed.fields, **known}
        said.report = _report(account, said.verdict, failed)
        problem = write_report(said.report, account.folder)
        if problem:
            said.report = replace(said.report, notes=(*said.report.notes, problem))
        log_outcome(said.report, failed=failed is not None)


def _told_truly(account: Account, error: LawskerError) -> LawskerError:
    """Whatever goes wrong after COMMIT must not be told in the words of an error that was raised before it."""
    if account.guarded is not None and account.in_doubt and not isinstance(error, OutcomeUnknown):
        return unknown_outcome(account.guarded.attempt, error.message, journalled=True)
    if account.committed and not isinstance(error, (CommittedUnproven, OutcomeUnknown)):
        return _committed(account, Phrase("After COMMIT: {message}", message=error.message))
    return error


def _committed(account: Account, message: str) -> CommittedUnproven:
    """Pure. What stands when something goes wrong after COMMIT: a migration up, or one that was taken back."""
    if account.plan.direction is Direction.DOWNGRADE:
        return CommittedUnproven(message, hint=VERIFY_BACK, state=BACK)
    return CommittedUnproven(message, hint=VERIFY)


def _interrupted(account: Account) -> LawskerError:
    """What an interrupt left behind: nothing, a committed migration that was not looked at again, or a doubt."""
    if account.committed:
        return _committed(account, Phrase("Interrupted after COMMIT; the look afterwards was not made."))
    if account.guarded is not None and account.in_doubt:
        return unknown_outcome(
            account.guarded.attempt, Phrase("interrupted while the server was asked"), journalled=True
        )
    begun = account.guarded is not None
    return Interrupted(
        Phrase("Interrupted by the operator."),
        hint=Phrase("type the same command again"),
        state=Interrupted.default_state if begun else UNTOUCHED,
    )


def _bug(account: Account, bug: Exception) -> LawskerError:
    """A bug of ours: what the database's state is all the same. Values stay out."""
    message = Phrase("a bug in lawsker-db: {kind}", kind=type(bug).__name__)
    if account.committed:
        return _committed(account, message)
    if account.guarded is not None and account.in_doubt:
        return unknown_outcome(account.guarded.attempt, message, journalled=True)
    return RolledBack(message, hint=Phrase("lawsker-db status, then report this"))


def _report(account: Account, verdict: Verdict, failed: LawskerError | None) -> RunReport:
    gate = account.guarded.gate if account.guarded else None
    notes = account.guarded.warnings if account.guarded else []
    rehearsed = verdict is Verdict.REHEARSED
    back = account.plan.direction is Direction.DOWNGRADE
    promised, changes = _comparison(account, gate)
    again = Phrase("{verify} looks again at any time", verify=VERIFY_BACK if back else VERIFY)
    proven = PROVEN_BACK if back else PROVEN
    return RunReport(
        run_id=account.run_id,
        verdict=verdict,
        target=account.target.label,
        tool_version=__version__,
        started_at=account.started_at,
        duration_s=round(time.monotonic() - account.began, 3),
        direction=account.plan.direction,
        from_revisions=account.plan.start,
        to_revisions=account.plan.goal,
        steps=tuple(step.revision for step in account.plan.steps),
        server=account.server,
        backup=account.backup,
        proof=account.proof,
        rehearsal=account.rehearsal,
        restore_point=account.restore_point,
        timings=tuple(account.timings),
        locks=_locks(account, gate),
        checks=(*account.checks, *(gate.checks if gate else ()), *account.confirmed, *account.verified),
        contents=gate.contents if gate else (),
        promised=promised,
        changes=changes,
        sizes=account.sizes,
        rows_made=dict(gate.rows_made) if gate else {},
        reinstated=account.reinstated,
        archive=gate.keeping.schema if gate and gate.keeping and gate.keeping.kept else "",
        kept={kept.place: kept.fingerprint.rows for kept in gate.keeping.kept} if gate and gate.keeping else {},
        figures=account.figures,
        not_proven=tuple(account.skipped),
        notes=(*notes, *(note for back in account.reinstated for note in back_notes(back)), *account.notes),
        message=failed.message if failed else _message(account, verdict),
        state=failed.state if failed else UNTOUCHED if rehearsed else proven,
        hint=failed.hint if failed else SAFE_UPGRADE if rehearsed else again,
        folder=str(account.folder),
    )


def _comparison(account: Account, gate: Gate | None) -> tuple[tuple[Promised, ...], tuple[TableChange, ...]]:
    """What was promised beside what was found, and the tables before and after. Where that breaks, a note: a report without
    it is still the truth, and the run it tells of may have committed."""
    try:
        return _promised(account, gate), _changes(account, gate)
    except Exception as bug:  # noqa: BLE001
        words = Phrase("a bug in lawsker-db: {kind}", kind=type(bug).__name__)
        account.notes.append(Phrase("what was promised is not set beside what was found: {why}", why=words))
        return (), ()


def _promised(account: Account, gate: Gate | None) -> tuple[Promised, ...]:
    """Pure. What the contracts promise, beside what the gate has found of it."""
    contracts, direction = account.plan.contracts, account.plan.direction
    if gate is None:
        return kept_promises(contracts, {}, None, direction, ())
    seen = None if gate.seen is gate.began_with else gate.seen
    return kept_promises(contracts, gate.promises, seen, direction, tuple(gate.checks))


def _changes(account: Account, gate: Gate | None) -> tuple[TableChange, ...]:
    """Pure. What the contracts make of tables, as far as somebody has read those that stood before."""
    contracts, direction = account.plan.contracts, account.plan.direction
    schema = next((promise.schema for promise in gate.promises.values()), "") if gate else ""
    return changed_tables(contracts, gate.began_with if gate else account.before, direction, schema)


def _message(account: Account, verdict: Verdict) -> str:
    """Pure. What was done, in a sentence."""
    goal = ", ".join(account.plan.goal) or Phrase("base")
    if verdict is Verdict.REHEARSED:
        return Phrase("The upgrade to {goal} was rehearsed on a restored copy: go.", goal=goal)
    return Phrase("The database is at revision {goal}.", goal=goal)


def _locks(account: Account, gate: Gate | None) -> tuple[LockHeld, ...]:
    """The strong locks, with how long they were held: to COMMIT or ROLLBACK."""
    ended_at = account.ended_at or datetime.now(UTC)
    return tuple(
        replace(lock, held_s=round((ended_at - lock.granted_at).total_seconds(), 3))
        for lock in (gate.locks if gate else ())
    )


def teller(account: Account, journal: Journal, on_event: OnEvent) -> OnEvent:
    """The journal first (on disk before the step), then whoever watches.

    What cannot be journalled is not begun. After COMMIT a full disk changes nothing any more: it becomes a note, and so
    does what a run had to leave behind or could not note. A display that fails never matters.
    """

    def keep(event: Event) -> None:
        if event.name in NOTED:
            account.notes.append(event.text)
        try:
            journal.write(event)
        except OSError as failed:
            if not account.committed:
                error = Refused if account.guarded is None else RolledBack
                words = Phrase("The journal cannot be written: {failed}", failed=str(failed))
                raise error(words, hint=mending(failed)) from failed
            account.notes.append(Phrase("the journal could not be written after COMMIT: {failed}", failed=str(failed)))
        log_event(account.folder, event)

    def tell(event: Event) -> None:
        keep(event)
        with suppress(OSError):
            on_event(event)

    for event in account.told:
        keep(event)
    return tell


@contextmanager
def ending(account: Account) -> Iterator[None]:
    """Note when the migration's transaction was over."""
    try:
        yield
    finally:
        account.ended_at = datetime.now(UTC)
