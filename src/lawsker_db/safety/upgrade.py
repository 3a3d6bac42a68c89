"""safe-upgrade: backup, one guarded transaction, proof before COMMIT, a look afterwards, and a report whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db import __version__
from lawsker_db.errors import CommittedUnproven, Interrupted, LawskerError, RolledBack
from lawsker_db.evidence import (
    BackupReceipt,
    Check,
    Event,
    LockHeld,
    OnEvent,
    Phase,
    RunReport,
    Server,
    Timing,
    Verdict,
    failures,
    ignore,
)
from lawsker_db.postgres import locks
from lawsker_db.postgres.catalog import Catalog, compare_catalogs, read_catalog
from lawsker_db.postgres.session import find_schema, identify, pin_session
from lawsker_db.record.history import has_committed
from lawsker_db.record.journal import Journal, create_run_folder, new_run_id
from lawsker_db.record.report import write_report
from lawsker_db.revisions import Chain, Plan, current_revisions, load_chain, plan_upgrade, run_steps
from lawsker_db.safety.backup import take_backup
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.guard import Guarded, RunOptions, migration_transaction
from lawsker_db.safety.preflight import preflight, refuse_unless
from lawsker_db.target import Target

NOT_RESTORED = "the backup was not restored: that the file is what pg_dump wrote is known, that it restores is not"
CONFIRM_HINT = "lawsker-db verify lists what differs; the backup of this run stands in its folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """What an operator may choose."""

    runs: Path = Path("lawsker-runs")
    config: Path | None = None
    chain_options: dict[str, str] = field(default_factory=dict)
    patience_s: float = locks.PATIENCE_S


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
    backup: BackupReceipt | None = None
    timings: list[Timing] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    confirmed: tuple[Check, ...] = ()
    notes: list[str] = field(default_factory=list)
    guarded: Guarded | None = None
    ended_at: datetime | None = None

    @property
    def committed(self) -> bool:
        """Whether COMMIT was answered."""
        return self.guarded is not None and self.guarded.committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What safe-upgrade would do: the plan, and how the preflight stands."""

    server: Server
    plan: Plan
    checks: tuple[Check, ...]


def look_ahead(target: Target, revision: str, options: UpgradeOptions) -> Outlook:
    """Plan and preflight in a READ ONLY transaction. Changes nothing, takes no lock beyond catalog look-ups.

    Raises `Refused` when the chain and the database do not go together.
    """
    chain = load_chain(options.config, options.chain_options)
    with _reading(target) as conn:
        server = identify(conn)
        plan = plan_upgrade(chain, current_revisions(conn), revision)
        return Outlook(server=server, plan=plan, checks=preflight(conn, plan, options.runs) if plan.steps else ())


def safe_upgrade(
    target: Target, revision: str = "head", *, options: UpgradeOptions, on_event: OnEvent = ignore
) -> RunReport:
    """Bring the database to `revision`: complete and proven, or as it was, or an error that says where it stands.

    Locks: RUN (advisory) throughout; ACCESS SHARE while the dump runs; in the migration what the revisions take, until
    COMMIT. Raises a `LawskerError`, whose class tells the state; the run's folder has a report in every case.
    """
    outlook = look_ahead(target, revision, options)
    plan = outlook.plan
    if not plan.steps:
        return _nothing_to_do(target, outlook)
    refuse_unless(outlook.checks)
    account = _open_account(target, outlook, options)
    with Journal(account.folder) as journal, _reported(account) as said:
        tell = _teller(account, journal, on_event)
        with locks.run_lock(target):
            with _timed(account, Phase.BACKUP, tell, f"pg_dump to {account.folder / 'backup'}"):
                account.backup = take_backup(target, account.folder / "backup", account.run_id, on_event=tell)
            expected = _migrate(account, options, tell)
            with _timed(account, Phase.CONFIRM, tell, "look again on a fresh connection"):
                _confirm(account, expected)
        said.verdict = Verdict.DONE
    return said.report


def confirm(target: Target, run_id: str, plan: Plan, expected: Catalog) -> tuple[Check, ...]:
    """On a fresh connection: the stamp, the marker, and the catalog exactly as the gate saw it. Reads only.

    DDL that another session committed meanwhile, or a revision over a second connection, shows here.
    """
    with _reading(target) as conn:
        stamped, marked = current_revisions(conn), has_committed(conn, run_id)
        differences = compare_catalogs(expected, read_catalog(conn))
    shown = "; ".join(difference.label for difference in differences[:5])
    return (
        Check(name="stamp", ok=stamped == plan.goal, expected=", ".join(plan.goal), found=", ".join(stamped)),
        Check(name="marker", ok=marked, expected="the run's marker row", found="there" if marked else "missing"),
        Check(
            name="catalog after COMMIT",
            ok=not differences,
            expected="as the gate saw it",
            found=shown or "so it is",
            detail="\n".join(difference.label for difference in differences),
        ),
    )


def _confirm(account: Account, expected: Catalog) -> None:
    """Look again after COMMIT. Raises `CommittedUnproven` when something differs, or when nobody can look."""
    try:
        account.confirmed = confirm(account.target, account.run_id, account.plan, expected)
    except (LawskerError, DBAPIError) as failed:
        said = failed.message if isinstance(failed, LawskerError) else "the connection was lost"
        raise CommittedUnproven(f"The look afterwards could not be made: {said}", hint=CONFIRM_HINT) from failed
    failed_checks = failures(account.confirmed)
    if failed_checks:
        raise CommittedUnproven(_listed(failed_checks), hint=CONFIRM_HINT, checks=failed_checks)


def _migrate(account: Account, options: UpgradeOptions, tell: OnEvent) -> Catalog:
    """The guarded transaction. Returns the catalog as the gate saw it last, for the look afterwards."""
    plan, target = account.plan, account.target
    chain: Chain = load_chain(options.config, options.chain_options)
    run = RunOptions(
        run_id=account.run_id,
        via="safe-upgrade",
        backup_id=account.backup.backup_id if account.backup else None,
        patience_s=options.patience_s,
        on_event=tell,
    )
    steps = ", ".join(step.revision for step in plan.steps)
    words = f"revision {steps} in one transaction"
    with _timed(account, Phase.MIGRATION, tell, words), _ending(account), target.connect() as conn:
        with migration_transaction(conn, target, plan, run) as guarded:
            account.guarded = guarded
            run_steps(conn, chain, plan, guarded.gate)
            expected = read_catalog(conn)
        tell(Event(phase=Phase.COMMIT, name="committed", text="committed", facts={"run_id": account.run_id}))
    return expected


@contextmanager
def _ending(account: Account) -> Iterator[None]:
    """Note when the migration's transaction was over."""
    try:
        yield
    finally:
        account.ended_at = datetime.now(UTC)


@contextmanager
def _reading(target: Target) -> Iterator[Connection]:
    """A READ ONLY transaction with pinned settings and the application's schema on the path."""
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, find_schema(conn))
        yield conn
        conn.rollback()


@dataclass(slots=True, kw_only=True)
class _Said:
    """How a run ended, and its report once that is written."""

    verdict: Verdict = Verdict.ROLLED_BACK
    report: RunReport = field(init=False)


@contextmanager
def _reported(account: Account) -> Iterator[_Said]:
    """Write the report when the block ends, well or not. A report that cannot be written changes no outcome."""
    said = _Said()
    failed: LawskerError | None = None
    try:
        yield said
    except LawskerError as error:
        failed = error
        raise
    except KeyboardInterrupt:
        failed = _interrupted(account)
        raise failed from None
    finally:
        if said.verdict is not Verdict.DONE and account.committed:
            said.verdict = Verdict.COMMITTED_UNPROVEN
        if failed is not None:
            said.verdict = VERDICTS.get(failed.exit_code, Verdict.ROLLED_BACK)
            failed.fields = {**failed.fields, "run_id": account.run_id, "folder": str(account.folder)}
        said.report = _report(account, said.verdict, failed)
        problem = write_report(said.report, account.folder)
        if problem:
            said.report = replace(said.report, not_proven=(*said.report.not_proven, problem))


# How a run ended, by the exit code of what it raised; an interrupt is told apart by `_interrupted`.
VERDICTS = {
    10: Verdict.REFUSED,
    11: Verdict.ROLLED_BACK,
    12: Verdict.UNKNOWN,
    13: Verdict.COMMITTED_UNPROVEN,
    15: Verdict.REFUSED,
}


def _interrupted(account: Account) -> LawskerError:
    """What an interrupt left behind: nothing, or a committed migration that was not looked at again."""
    if account.committed:
        return CommittedUnproven(
            "Interrupted after COMMIT; the look afterwards was not made.", hint="lawsker-db verify"
        )
    return Interrupted("Interrupted by the operator.", hint="type the same command again")


def _report(account: Account, verdict: Verdict, failed: LawskerError | None) -> RunReport:
    gate = account.guarded.gate if account.guarded else None
    notes = account.guarded.warnings if account.guarded else []
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
        timings=tuple(account.timings),
        locks=_locks(account, gate),
        checks=(*account.checks, *(gate.checks if gate else ()), *account.confirmed),
        contents=gate.contents if gate else (),
        rows_made=dict(gate.rows_made) if gate else {},
        figures=dict(gate.figures) if gate else {},
        not_proven=(*((NOT_RESTORED,) if account.backup else ()), *notes, *account.notes),
        message=failed.message if failed else f"The database is at revision {', '.join(account.plan.goal)}.",
        state=failed.state if failed else "The migration is committed and proven.",
        hint=failed.hint if failed else "lawsker-db verify looks again at any time",
        folder=str(account.folder),
    )


def _locks(account: Account, gate: Gate | None) -> tuple[LockHeld, ...]:
    """The strong locks, with how long they were held: to COMMIT or ROLLBACK."""
    ended_at = account.ended_at or datetime.now(UTC)
    return tuple(
        replace(lock, held_s=round((ended_at - lock.granted_at).total_seconds(), 3))
        for lock in (gate.locks if gate else ())
    )


def _nothing_to_do(target: Target, outlook: Outlook) -> RunReport:
    return RunReport(
        run_id="",
        verdict=Verdict.NOTHING_TO_DO,
        target=target.label,
        tool_version=__version__,
        started_at=datetime.now(UTC),
        duration_s=0.0,
        direction=outlook.plan.direction,
        from_revisions=outlook.plan.start,
        to_revisions=outlook.plan.goal,
        steps=(),
        server=outlook.server,
        message=f"The database is at revision {', '.join(outlook.plan.start)} already.",
        state="Nothing was done.",
        hint="lawsker-db verify checks what is there",
    )


def _open_account(target: Target, outlook: Outlook, options: UpgradeOptions) -> Account:
    run_id = new_run_id("_".join(outlook.plan.goal))
    account = Account(
        run_id=run_id,
        target=target,
        plan=outlook.plan,
        folder=create_run_folder(options.runs.absolute(), run_id),
        began=time.monotonic(),
        started_at=datetime.now(UTC),
        server=outlook.server,
    )
    account.checks += outlook.checks
    return account


def _teller(account: Account, journal: Journal, on_event: OnEvent) -> OnEvent:
    """The journal first (on disk before the step), then whoever watches.

    What cannot be journalled is not begun. After COMMIT a full disk changes nothing any more: it becomes a note. A
    display that fails never matters.
    """

    def tell(event: Event) -> None:
        try:
            journal.write(event)
        except OSError as failed:
            if not account.committed:
                hint = "free disk space, then type it again"
                raise RolledBack(f"The journal cannot be written: {failed}", hint=hint) from failed
            account.notes.append(f"the journal could not be written after COMMIT: {failed}")
        with suppress(OSError):
            on_event(event)

    return tell


@contextmanager
def _timed(account: Account, phase: Phase, tell: Callable[[Event], None], words: str) -> Iterator[None]:
    """Announce a phase, and note how long it took when it ends, well or not."""
    tell(Event(phase=phase, name="begin", text=words))
    began, started_at = time.monotonic(), datetime.now(UTC)
    try:
        yield
    finally:
        duration_s = round(time.monotonic() - began, 3)
        account.timings.append(Timing(phase=phase, started_at=started_at, duration_s=duration_s))


def _listed(failed: tuple[Check, ...]) -> str:
    return "; ".join(f"{check.name}: expected {check.expected}, found {check.found}" for check in failed)
