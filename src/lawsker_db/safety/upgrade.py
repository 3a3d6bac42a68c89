"""safe-upgrade: backup, one guarded transaction, proof before COMMIT, a look afterwards, and a report whatever happens."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import BackupUnproven, CommittedUnproven, LawskerError, RehearsalFailed
from lawsker_db.evidence import (
    Check,
    Event,
    OnEvent,
    Phase,
    Rehearsal,
    RestorePoint,
    RunReport,
    Server,
    Verdict,
    ignore,
)
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import BlockerPolicy
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.session import find_schema, identify, pinned
from lawsker_db.postgres.snapshot import mark_restore_point
from lawsker_db.record.journal import Journal
from lawsker_db.record.manifest import read_manifest
from lawsker_db.revisions import Chain, Plan, current_revisions, load_chain, plan_newest, plan_upgrade
from lawsker_db.safety.account import (
    NOT_REHEARSED,
    NOT_RESTORED,
    VERIFY,
    Account,
    nothing_to_do,
    open_account,
    opened,
    reported,
    teller,
)
from lawsker_db.safety.afterwards import note_plans, read_sizes, refresh_statistics, verify_committed
from lawsker_db.safety.attempts import carry_out
from lawsker_db.safety.backup import BackupOptions, hand_over, take_backup
from lawsker_db.safety.choice import AUTO, Choice, choice_checks, find_choices, refuse_unasked
from lawsker_db.safety.confirmation import (
    catalog_now,
    read_figures,
    reading,
    require_confirmed,
    require_same_catalog,
)
from lawsker_db.safety.doubt import RECONNECT_S
from lawsker_db.safety.guard import SAFE_UPGRADE, RunOptions
from lawsker_db.safety.leftovers import unsettled_check
from lawsker_db.safety.pace import Errand, Pace, looking, timed
from lawsker_db.safety.preflight import hides_stamp, preflight, refuse_unless
from lawsker_db.safety.proof import Copy, prove, restored_copy
from lawsker_db.safety.rehearsal import MAX_LOCK_S, rehearse
from lawsker_db.safety.restore import RestoreOptions
from lawsker_db.safety.rollback import RollbackOptions
from lawsker_db.safety.way_back import Choose, go_back, keep
from lawsker_db.target import Target

LOOK = Phrase("{command} checks what is there", command=VERIFY)
ACCEPT = "safe-upgrade --accept-unproven-backup REASON"
REHEARSED = (Phase.PREFLIGHT, Phase.BACKUP, Phase.PROOF, Phase.REHEARSAL, Phase.HANDOVER)
PHASES = (*REHEARSED, Phase.MIGRATION, Phase.CONFIRM, Phase.VERIFY)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeOptions:
    """What an operator may choose. `accept_unproven`: why it may go on where a backup cannot be proven, empty for never.

    `proof_server` is where the copy is made, None for the database's own server. With `full` every table is locked and
    compared in the migration, touched or not: nobody writes any meanwhile. `queries` is a file of SELECTs whose plans are
    noted before the migration, for verification to compare with. `reinstate` says which archive of a downgrade is brought
    back: the last one's (auto), after a question (ask, which is the command's), none (never), or the one of that name.
    `way_back` is asked when a check fails after COMMIT.
    """

    runs: Path = Path("lawsker-runs")
    config: Path | None = None
    chain_options: dict[str, str] = field(default_factory=dict)
    patience_s: float = locks.PATIENCE_S
    attempt_s: float = locks.ATTEMPT_S
    blockers: BlockerPolicy = field(default_factory=BlockerPolicy)
    reconnect_s: float = RECONNECT_S
    backup: BackupOptions = field(default_factory=BackupOptions)
    proof_server: Target | None = None
    prove: bool = True
    accept_unproven: str = ""
    rehearsal: bool = True
    max_lock_s: float = MAX_LOCK_S
    full: bool = False
    queries: Path | None = None
    way_back: Choose = keep
    reinstate: str = AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What safe-upgrade would do: the plan, and how the preflight stands."""

    server: Server
    chain: Chain
    plan: Plan
    checks: tuple[Check, ...]
    choices: tuple[Choice, ...] = ()


def look_ahead(target: Target, revision: str, options: UpgradeOptions, *, always: bool = False) -> Outlook:
    """Plan and preflight in a READ ONLY transaction. Changes nothing, takes no lock beyond catalog look-ups.

    With `always` there is a preflight even when there is nothing to run. Raises `Refused` when the chain and the
    database do not go together.
    """
    chain = load_chain(options.config, options.chain_options)
    road = require_direct(target)
    with reading(target) as conn:
        server = identify(conn)
        # A plan by a guess is never run: the stamp that cannot be read is a check that failed.
        plan = plan_newest(chain) if hides_stamp(conn) else plan_upgrade(chain, current_revisions(conn), revision)
        accept = bool(options.accept_unproven)
        checks: tuple[Check, ...] = ()
        choices: tuple[Choice, ...] = ()
        if plan.steps or always:
            beside = options.prove and options.proof_server is None
            checks = preflight(conn, plan, options.runs, prove=beside, accept_unproven=accept)
            checks = (*road, *checks, unsettled_check(conn, options.runs))
            choices = find_choices(conn, plan.contracts, options.reinstate, find_schema(conn))
            checks += choice_checks(choices, options.reinstate)
        return Outlook(server=server, chain=chain, plan=plan, checks=checks, choices=choices)


def safe_upgrade(
    target: Target, revision: str = "head", *, options: UpgradeOptions, on_event: OnEvent = ignore
) -> RunReport:
    """Bring the database to `revision`, as `upgrade_proven`; a check that fails after COMMIT: back, as the options choose.

    Raises a `LawskerError`, whose class tells the state.
    """
    try:
        return upgrade_proven(target, revision, options=options, on_event=on_event)
    except CommittedUnproven as failed:
        ended = go_back(
            target,
            failed,
            options.way_back,
            rollback=RollbackOptions(
                runs=options.runs,
                config=options.config,
                chain_options=options.chain_options,
                patience_s=options.patience_s,
                attempt_s=options.attempt_s,
                blockers=options.blockers,
                reconnect_s=options.reconnect_s,
            ),
            restore=RestoreOptions(
                runs=options.runs,
                jobs=options.backup.jobs,
                accept_unproven=options.accept_unproven,
                reconnect_s=options.reconnect_s,
            ),
            on_event=on_event,
        )
        if ended is failed:
            raise
        raise ended from failed


def upgrade_proven(
    target: Target, revision: str = "head", *, options: UpgradeOptions, on_event: OnEvent = ignore
) -> RunReport:
    """Bring the database to `revision`: complete and proven, or as it was, or an error that says where it stands.

    Locks: RUN (advisory) throughout; ACCESS SHARE while the dump runs; none while its copy is restored, compared and
    rehearsed upon in a scratch database; in the migration what the revisions take, until COMMIT. Raises a
    `LawskerError`, whose class tells the state; the run's folder has a report in every case.
    """
    looked = Errand(pace=Pace(phases=_phases(PHASES, options)))
    outlook = _look(target, revision, options, looked, on_event)
    plan = outlook.plan
    if not plan.steps:
        return nothing_to_do(target, outlook.plan, outlook.server, hint=LOOK)
    target = pinned(target, outlook.server)
    account = open_account(target, outlook.plan, outlook.server, outlook.checks, options.runs, looked)
    with Journal(account.folder) as journal, reported(account) as said:
        tell = teller(account, journal, on_event)
        with opened(account, tell) as lock:
            _back_up(account, options, tell)
            _try_out(account, outlook.chain, options, tell)
            _carry_off(account, options, tell)
            lock.require_held()
            account.notes += filter(None, [note_plans(target, account.folder, plan.contracts, options.queries)])
            account.restore_point = _mark(account, tell)
            expected = _migrate(account, outlook.chain, options, tell)
            with timed(account, Phase.CONFIRM, tell, Phrase("look again on a fresh connection")):
                _confirm(account, expected)
            with timed(account, Phase.VERIFY, tell, Phrase("every check of the list that needs no trial")):
                _verify(account, outlook.chain, tell)
        said.verdict = Verdict.DONE
    return said.report


def rehearse_upgrade(
    target: Target, revision: str = "head", *, options: UpgradeOptions, on_event: OnEvent = ignore
) -> RunReport:
    """Back up, prove, and rehearse the upgrade to `revision` on the restored copy; the database itself is not changed.

    Locks: RUN (advisory) throughout; ACCESS SHARE while the dump runs. Raises what safe_upgrade raises before it
    migrates; the run's folder has a report in every case.
    """
    looked = Errand(pace=Pace(phases=_phases(REHEARSED, options)))
    outlook = _look(target, revision, options, looked, on_event)
    if not outlook.plan.steps:
        return nothing_to_do(target, outlook.plan, outlook.server, hint=LOOK)
    target = pinned(target, outlook.server)
    account = open_account(target, outlook.plan, outlook.server, outlook.checks, options.runs, looked)
    with Journal(account.folder) as journal, reported(account) as said:
        tell = teller(account, journal, on_event)
        with opened(account, tell):
            _back_up(account, options, tell)
            _try_out(account, outlook.chain, options, tell)
            _carry_off(account, options, tell)
        said.verdict = Verdict.REHEARSED
    return said.report


def _phases(listed: tuple[Phase, ...], options: UpgradeOptions) -> tuple[Phase, ...]:
    """Pure. The phases of a run with these options."""
    rehearsed, handed = options.prove and options.rehearsal, options.prove and bool(options.backup.after)
    wanted = {Phase.PROOF: options.prove, Phase.REHEARSAL: rehearsed, Phase.HANDOVER: handed}
    return tuple(phase for phase in listed if wanted.get(phase, True))


def _look(target: Target, revision: str, options: UpgradeOptions, looked: Errand, on_event: OnEvent) -> Outlook:
    """Plan and preflight as the first phase, which no journal knows of yet. Raises `Refused` where there is something to run
    and it must not begin."""
    with looking(looked, on_event, Phrase("whether the upgrade may begin")):
        outlook = look_ahead(target, revision, options)
        if outlook.plan.steps:
            refuse_unless(outlook.checks)
            refuse_unasked(outlook.choices, options.reinstate)
    return outlook


def _confirm(account: Account, expected: Catalog) -> None:
    """Look again after COMMIT; what was found goes into the report also when it is not as it should be."""
    try:
        account.confirmed = require_confirmed(account.target, account.run_id, account.plan, expected)
    except CommittedUnproven as failed:
        found = failed.fields.get("checks")
        account.confirmed = found if isinstance(found, tuple) else ()
        account.notes += filter(None, [refresh_statistics(account.target, account.plan.contracts)])
        raise


def _verify(account: Account, chain: Chain, tell: OnEvent) -> None:
    """Gather statistics, verify, and read the report's figures; what was found goes into the report in any case."""
    back = tuple(table.table for one in account.reinstated for table in one.tables if table.back)
    account.notes += filter(None, [refresh_statistics(account.target, account.plan.contracts, back)])
    try:
        found = verify_committed(account.target, chain, account.folder, reinstated=bool(account.reinstated))
    except CommittedUnproven as failed:
        listed = failed.fields.get("checks")
        account.verified = listed if isinstance(listed, tuple) else ()
        raise
    account.verified = found.checks
    account.notes += found.notes
    done = sum(check.ok is not None for check in found.checks)
    warned = sum(check.ok is False for check in found.checks)
    words = Phrase(
        "{made} of {checks} checks made, none failed, {warnings} warnings",
        made=done,
        checks=len(found.checks),
        warnings=warned,
    )
    tell(Event(phase=Phase.VERIFY, name="verified", text=words, facts={"made": done, "warnings": warned}))
    try:
        account.figures = read_figures(account.target, account.plan.contracts)
        account.sizes = read_sizes(account.target, account.folder, account.plan.contracts, account.server.data_bytes)
    except (LawskerError, DBAPIError):
        account.notes.append(Phrase("figures and sizes for the report could not be read after COMMIT"))


def _back_up(account: Account, options: UpgradeOptions, tell: OnEvent) -> None:
    """The backup of a run, in the run's folder."""
    folder = account.folder / "backup"
    words = Phrase("pg_dump into {run_id}/backup", run_id=account.folder.name)
    with timed(account, Phase.BACKUP, tell, words):
        account.backup = take_backup(account.target, folder, account.run_id, options=options.backup, on_event=tell)


def _try_out(account: Account, chain: Chain, options: UpgradeOptions, tell: OnEvent) -> None:
    """Restore the backup into a scratch database, compare, rehearse there; the scratch database is gone afterwards.

    Touches the database itself not at all. Raises `BackupUnproven`, unless the operator gave a reason to go on all the
    same, `BackupFailed` when the copy is not equal, `RehearsalFailed` when the rehearsal says no.
    """
    if not options.prove:
        account.skipped += [NOT_RESTORED, NOT_REHEARSED]
        return
    folder = account.folder / "backup"
    with ExitStack() as until_dropped:
        with timed(account, Phase.PROOF, tell, Phrase("trial restore and comparison")):
            manifest = read_manifest(folder)
            place = options.proof_server or account.target
            copying = restored_copy(place, folder, manifest, jobs=options.backup.jobs, on_event=tell)
            try:
                copy = until_dropped.enter_context(copying)
                account.proof = prove(copy, folder, manifest, on_event=tell)
            except BackupUnproven as unproven:
                if not options.accept_unproven:
                    unproven.hint = Phrase("{hint}, or {command}", hint=unproven.hint, command=ACCEPT)
                    raise
                accepted = options.accept_unproven
                reason = Phrase("{message} Accepted: {reason}", message=unproven.message, reason=accepted)
                account.skipped += [joined((NOT_RESTORED, reason), ". "), NOT_REHEARSED]
                tell(Event(phase=Phase.PROOF, name="accepted", text=reason))
                return
            if account.backup:
                account.backup = replace(account.backup, proven=True)
        if not options.rehearsal:
            account.skipped.append(Phrase("{what}, because the operator said so", what=NOT_REHEARSED))
            return
        words = Phrase("upgrade, verify, downgrade, compare, upgrade again on the copy")
        with timed(account, Phase.REHEARSAL, tell, words):
            account.rehearsal = _rehearse(account, chain, copy, options, tell)
        account.pace = account.pace.knowing(Phase.MIGRATION, lasts_s=account.rehearsal.duration_s)
        if options.proof_server:
            account.notes.append(
                Phrase("rehearsed on {server}: times and locks are of that server", server=place.label)
            )


def _carry_off(account: Account, options: UpgradeOptions, tell: OnEvent) -> None:
    """Hand the proven backup to the operator's command, when its copy is gone: it may take long."""
    if options.backup.after and account.proof:
        with timed(account, Phase.HANDOVER, tell, Phrase("the command after the backup")):
            hand_over(options.backup.after, account.folder / "backup", tell)


def _mark(account: Account, tell: OnEvent) -> RestorePoint:
    """The last point before the migration, for a recovery of the whole server. A moment's work in the WAL, no lock."""
    with account.target.connect() as conn:
        point = mark_restore_point(conn, f"lawsker_before_{account.run_id}")
        conn.rollback()
    name = point.name or Phrase("(not allowed to this role)")
    words = Phrase("restore point {name}, WAL at {lsn}", name=name, lsn=point.lsn)
    tell(Event(phase=Phase.MIGRATION, name="restore point", text=words, facts=asdict(point)))
    return point


def _rehearse(account: Account, chain: Chain, copy: Copy, options: UpgradeOptions, tell: OnEvent) -> Rehearsal:
    """Rehearse the run's plan on the copy. What was measured goes into the report also when it says no.

    A revision may open a connection of its own, to the production that it has the address of: so that one is looked at too.
    """
    account.before = before = catalog_now(account.target)
    try:
        found = rehearse(
            copy.target,
            copy.content,
            chain,
            account.plan,
            max_lock_s=options.max_lock_s,
            full=options.full,
            reinstate=options.reinstate,
            reconnect_s=options.reconnect_s,
            on_event=tell,
        )
    except RehearsalFailed as failed:
        measured = failed.fields.get("rehearsal")
        account.rehearsal = measured if isinstance(measured, Rehearsal) else None
        raise
    require_same_catalog(account.target, before)
    return found


def _migrate(account: Account, chain: Chain, options: UpgradeOptions, tell: OnEvent) -> Catalog:
    """The guarded transaction. Returns the catalog as the gate saw it last, for the look afterwards."""
    run = RunOptions(
        run_id=account.run_id,
        via=SAFE_UPGRADE,
        backup_id=account.backup.backup_id if account.backup else None,
        patience_s=options.patience_s,
        attempt_s=options.attempt_s,
        blockers=options.blockers,
        reconnect_s=options.reconnect_s,
        full=account.target if options.full else None,
        reinstate=options.reinstate,
        on_event=tell,
    )
    steps = ", ".join(step.revision for step in account.plan.steps)
    return carry_out(account, chain, run, Phrase("revision {steps} in one transaction", steps=steps))
