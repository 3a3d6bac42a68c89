"""restore: the backup restored beside the damaged database and proven; then the two change names, and nothing is destroyed.

`--to` makes the same copy under a name of its own, without a swap.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import CommittedUnproven, LawskerError, RestoreFailed, Unreachable
from lawsker_db.evidence import Check, Direction, Event, OnEvent, Phase, RunReport, Server, Verdict, ignore
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres import locks
from lawsker_db.postgres.databases import NAME_BYTES, SCRATCH_NAME, beside, new_scratch_name, stands
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.session import find_schema, identify, pin_session, pinned, quoted
from lawsker_db.postgres.statistics import analyze_all
from lawsker_db.postgres.swap import Swap, damaged_name, hand_settings, read_belongings, rename
from lawsker_db.record.history import has_committed
from lawsker_db.record.journal import Journal
from lawsker_db.record.manifest import Manifest, check_files, read_manifest
from lawsker_db.revisions import current_revisions
from lawsker_db.safety.backup import BackupOptions
from lawsker_db.safety.exchange import SETTLE_S, swap_in
from lawsker_db.safety.leftover_rows import first_look, last_look
from lawsker_db.safety.pace import Errand, Pace, looking, timed
from lawsker_db.safety.precedent import pace_of, pace_of_restore
from lawsker_db.safety.preflight import refuse_standby, refuse_unless
from lawsker_db.safety.proof import Copy, drop_copy, make_copy, prove
from lawsker_db.safety.restore_account import RestoreAccount, by_hand, open_restore, reported, teller
from lawsker_db.safety.restore_checks import copy_checks, swap_checks
from lawsker_db.target import Target, words_of

STATUS = "lawsker-db status"
COPIED = (Phase.PREFLIGHT, Phase.RESTORE)
TRIED = (*COPIED, Phase.RESCUE)
PHASES = (*TRIED, Phase.SWAP, Phase.CONFIRM, Phase.RESCUE)
VERIFY = "lawsker-db verify"
READY = Phrase("whether the restore may begin, and whether the backup's files are what was written")
UNNAMED = Phrase("Nothing was renamed; the copy that was made for this is gone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreOptions:
    """What an operator may choose. `accept_unproven`: why a backup will do that was never proven, empty for never. `into`:
    the name of the database that a backup of another one shall replace. `reconnect_s`: how long a server that is lost at the
    swap is waited for."""

    runs: Path = Path("lawsker-runs")
    jobs: int | None = None
    accept_unproven: str = ""
    into: str = ""
    reconnect_s: float = SETTLE_S
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What stands ready before the names are swapped: what an operator should know when he is asked."""

    database: str
    damaged: str
    manifest: Manifest
    omitted: tuple[str, ...]
    warnings: tuple[Check, ...]
    rescue: tuple[str, ...]


Confirm = Callable[[Prospect], None]


def agree(prospect: Prospect) -> None:
    """Ask nobody."""


def restore(
    target: Target,
    backup: Path,
    *,
    options: RestoreOptions,
    confirm: Confirm = agree,
    on_event: OnEvent = ignore,
) -> RunReport:
    """Put the database of `target` back to a backup: restored beside it, proven equal, then the two names are swapped.

    The damaged database stays under another name, closed. Locks: RUN (advisory) until the swap; for it nobody may connect
    for a moment, and every session is ended. `confirm` is asked when all is ready, and raises to stop. With `dry_run` the
    copy is dropped in place of a swap. Raises `Refused` before anything begins, `RestoreFailed` when the copy cannot be
    made, `RolledBack` when the swap was given up; `OutcomeUnknown`, `CommittedUnproven` after it.
    """
    manifest = read_manifest(backup)
    looked = Errand(pace=Pace(phases=TRIED if options.dry_run else PHASES))
    with looking(looked, on_event, READY):
        server, checks = _look(target, manifest, options)
        refuse_unless(checks, what=Phrase("The restore cannot begin"))
        check_files(backup, manifest)
    target = pinned(target, server)
    account = open_restore(target, server, backup, manifest, checks, options.runs)
    _set_pace(account, looked, options)
    with Journal(account.folder) as journal, reported(account) as told:
        tell, name = teller(account, journal, on_event), new_scratch_name()
        with _dropped(account, name, tell), ExitStack() as held:
            lock = held.enter_context(_opened(account, tell))
            copy = _copied(account, target, name, options, tell)
            account.swap = swap = _named(account, copy)
            prospect = _prospect(account, swap, first_look(account, copy, tell))
            if options.dry_run:
                told.verdict = Verdict.DRY_RUN
                told.message = Phrase(
                    "The backup restores and is equal; {database} could be swapped now.", database=prospect.database
                )
                told.state, told.hint = UNNAMED, f"lawsker-db restore {manifest.backup_id}"
            else:
                confirm(prospect)
                lock.require_held()
                with timed(account, Phase.SWAP, tell, Phrase("gate closed, sessions ended, names swapped")):
                    swap_in(account, swap, copy, lock, held, tell, settle_s=options.reconnect_s)
        if account.swapped:
            with timed(account, Phase.CONFIRM, tell, Phrase("look from a fresh connection, as applications come")):
                _confirm(account, swap)
            last_look(account, swap, tell)
            told.verdict, told.state = Verdict.DONE, account.names
            told.message = _done(account)
            told.hint = Phrase(
                "{command}; when nobody needs the damaged one any more: DROP DATABASE {damaged}",
                command=VERIFY,
                damaged=quoted(prospect.damaged),
            )
    return told.report


def restore_run(target: Target, folder: Path, options: RestoreOptions, on_event: OnEvent = ignore) -> RunReport:
    """Restore the backup of a run of ours, whose folder this is, without a question: the run's operator has answered it.

    The caller holds no session in the database, the RUN lock neither. Raises what restore raises.
    """
    return restore(target, folder / "backup", options=options, on_event=on_event)


def restore_to(
    target: Target, backup: Path, name: str, *, options: RestoreOptions, on_event: OnEvent = ignore
) -> RunReport:
    """Restore a backup into a new database of this name on the server of `target`, proven equal. No other is touched.

    It gets its name when it is whole; only this role and superusers may connect. Raises `Refused`, `RestoreFailed`.
    """
    manifest = read_manifest(backup)
    looked = Errand(pace=Pace(phases=COPIED))
    with looking(looked, on_event, READY):
        place, server, checks = _look_for_place(target, manifest, name, options)
        refuse_unless(checks, what=Phrase("The copy cannot be made"))
        check_files(backup, manifest)
    account = open_restore(place, server, backup, manifest, checks, options.runs)
    _set_pace(account, looked, options)
    with Journal(account.folder) as journal, reported(account) as told:
        tell, scratch = teller(account, journal, on_event), new_scratch_name()
        tell(_opening(account))
        with _dropped(account, scratch, tell):
            copy = _copied(account, place, scratch, options, tell)
            if options.dry_run:
                told.verdict, told.message = Verdict.DRY_RUN, Phrase("The backup restores here and is equal.")
                told.state, told.hint = (
                    UNNAMED,
                    f"lawsker-db restore {manifest.backup_id} --to NAME",
                )
            else:
                _rename(place, copy, name, tell)
                told.verdict = Verdict.DONE
                told.message = Phrase("The backup was restored as {database}, and is equal.", database=name)
                told.state = Phrase("No other database was changed. Only this role and superusers may connect to it.")
                told.hint = Phrase("when nobody needs it any more: DROP DATABASE {database}", database=quoted(name))
    return told.report


def _look(target: Target, manifest: Manifest, options: RestoreOptions) -> tuple[Server, tuple[Check, ...]]:
    """Everything that a swap needs, told together. Reads only."""
    road = require_direct(target)
    with target.connect() as conn:
        refuse_standby(server := identify(conn), target)
        copying = copy_checks(conn, server, manifest, options.accept_unproven)
        checks = (*road, *copying, *swap_checks(conn, target, server, manifest, options.into))
        conn.rollback()
    return server, checks


def _look_for_place(
    target: Target, manifest: Manifest, name: str, options: RestoreOptions
) -> tuple[Target, Server, tuple[Check, ...]]:
    """Everything that a copy needs. A database that lets nobody in must not keep one from that: then from beside it."""
    try:
        with target.connect() as conn:
            conn.rollback()
        place = target
    except Unreachable:
        place = beside(target)
    with place.connect() as conn:
        refuse_standby(server := identify(conn), place)
        checks = (
            _name_check(name, taken=stands(conn, name)),
            *copy_checks(conn, server, manifest, options.accept_unproven),
        )
        conn.rollback()
    return pinned(place, server), server, checks


def _name_check(name: str, *, taken: bool) -> Check:
    fits = 0 < len(name.encode()) <= NAME_BYTES and "\0" not in name and not SCRATCH_NAME.fullmatch(name)
    untaken = Phrase("free") if fits else Phrase("no name for a copy")
    return Check(
        name=Phrase("name of the copy"),
        ok=fits and not taken,
        expected=Phrase("1 to {bytes} bytes, and no database of that name", bytes=NAME_BYTES),
        found=Phrase("taken: there is such a database") if taken else untaken,
        detail="" if fits and not taken else Phrase("name another one: --to NAME"),
    )


def _set_pace(account: RestoreAccount, looked: Errand, options: RestoreOptions) -> None:
    """What a restore has behind it, and what earlier ones and the backup's own proof say of what lies before it."""
    known = pace_of(looked.pace.phases, options.runs, account.server, Direction.RESTORE)
    account.pace = pace_of_restore(known.phases, account.manifest, known)
    account.timings += looked.timings
    account.told += looked.told


def _opening(account: RestoreAccount) -> Event:
    facts = {**asdict(account.server), "process": os.getpid()}
    return Event(phase=Phase.PLAN, name="opened", text="", facts=facts)


@contextmanager
def _opened(account: RestoreAccount, tell: OnEvent) -> Iterator[locks.RunLock]:
    """The RUN lock for the block, after the journal says of which database this run is; then, who holds the lock."""
    tell(_opening(account))
    with locks.run_lock(account.target) as lock:
        tell(Event(phase=Phase.PLAN, name="session", text="", facts={"whose": "run lock", **asdict(lock.session)}))
        yield lock


@contextmanager
def _dropped(account: RestoreAccount, name: str, tell: OnEvent) -> Iterator[None]:
    """Drop the copy when the block ends, unless it bears another name by then, or nobody can tell."""
    try:
        yield
    finally:
        if account.swapped is False:
            with suppress(RestoreFailed):  # a journal that is full must not hide what went wrong
                drop_copy(Target(parameters=account.target.parameters), name, tell)


def _copied(account: RestoreAccount, place: Target, name: str, options: RestoreOptions, tell: OnEvent) -> Copy:
    """The copy, with statistics, and proven equal to what was dumped. Raises `RestoreFailed`."""
    manifest, workers = account.manifest, BackupOptions(jobs=options.jobs).workers
    try:
        words = Phrase(
            "the backup of {taken} UTC into {database}", taken=manifest.taken_at[:19].replace("T", " "), database=name
        )
        with timed(account, Phase.RESTORE, tell, words):
            copy = make_copy(place, name, account.backup, manifest, jobs=options.jobs, on_event=tell)
            tell(Event(phase=Phase.RESTORE, name="statistics", text=Phrase("gathering statistics"), lasting=False))
            analyze_all(copy.target, connections=workers)
            account.proof = prove(copy, account.backup, manifest, on_event=tell)
    except DBAPIError as failed:
        raise RestoreFailed(
            Phrase("The copy cannot be made: {why}", why=words_of(failed)), hint=Phrase("mend that, then type it again")
        ) from failed
    except LawskerError as failed:
        if isinstance(failed, RestoreFailed):
            raise
        raise RestoreFailed(failed.message, hint=failed.hint, said_by=type(failed).__name__) from failed
    account.not_proven += account.proof.omitted
    return copy


def _named(account: RestoreAccount, copy: Copy) -> Swap:
    """What the two databases are to be called; and the copy gets the settings that hang on the live one's OID."""
    account.from_revisions = _revisions(account.target)
    with account.target.connect() as live, copy.target.connect() as inside:
        unset = hand_settings(inside, copy.name, read_belongings(live).settings)
        inside.commit()
        account.not_proven += [line for line in unset if line not in account.not_proven]
        return Swap(
            live=account.server.database,
            damaged=damaged_name(live, account.server.database, account.run_id),
            copy=copy.name,
            live_oid=account.server.database_oid,
            copy_oid=identify(inside, sized=False).database_oid,
        )


def _prospect(account: RestoreAccount, swap: Swap, rescue: tuple[str, ...]) -> Prospect:
    account.first = rescue
    account.notes += rescue
    return Prospect(
        database=swap.live,
        damaged=swap.damaged,
        manifest=account.manifest,
        omitted=tuple(account.not_proven),
        warnings=tuple(check for check in account.checks if check.warning and check.ok is not True),
        rescue=rescue,
    )


def _rename(place: Target, copy: Copy, name: str, tell: OnEvent) -> None:
    """Give a copy its name. Raises `RestoreFailed` when the server refuses: somebody has made one of that name meanwhile."""
    with copy.target.connect() as inside:
        oid = identify(inside, sized=False).database_oid
        inside.rollback()
    facts = {"copy_oid": oid, "name": name}
    tell(Event(phase=Phase.RESTORE, name="about to name", text="", facts=facts))
    with place.connect(autocommit=True) as conn:
        try:
            rename(conn, copy.name, name)
        except DBAPIError as failed:
            raise RestoreFailed(
                Phrase("The copy cannot be called {name}: {why}", name=name, why=words_of(failed)),
                hint=Phrase("--to another NAME"),
            ) from failed
    words = Phrase("the copy is called {name}", name=name)
    tell(Event(phase=Phase.RESTORE, name="dropped", text=words, facts={"database": copy.name}))


def _confirm(account: RestoreAccount, swap: Swap) -> None:
    """Look from a fresh connection, as applications come: the restored database, and its row in it.

    Raises `CommittedUnproven`.
    """
    try:
        with Target(parameters=account.target.parameters).connect() as conn:
            oid, marked = identify(conn, sized=False).database_oid, has_committed(conn, account.run_id)
            conn.rollback()
    except LawskerError as failed:
        raise CommittedUnproven(
            Phrase(
                "The look afterwards could not be made, and the rows written since were not exported: {why}",
                why=failed.message,
            ),
            state=Phrase("{names} The rows are in it.", names=account.names),
            hint=Phrase("{command}; when that is mended: {next}", command=STATUS, next=by_hand(swap)),
        ) from failed
    revision = _revisions(Target(parameters=account.target.parameters))
    found = (
        Check(name=Phrase("name"), ok=oid == swap.copy_oid, expected=f"OID {swap.copy_oid}", found=f"OID {oid}"),
        Check(
            name=Phrase("history"),
            ok=marked,
            expected=Phrase("the row of this restore"),
            found=Phrase("there") if marked else Phrase("missing"),
        ),
        Check(
            name=Phrase("revision"),
            ok=revision == account.manifest.revision,
            expected=", ".join(account.manifest.revision) or Phrase("none"),
            found=", ".join(revision) or Phrase("none"),
        ),
    )
    account.checks += found
    wrong = [check.contrast for check in found if check.fails]
    if wrong:
        raise CommittedUnproven(joined(wrong, "; "), state=account.names, hint=STATUS)


def _revisions(target: Target) -> tuple[str, ...]:
    """Where a database stands; nowhere, when it is too damaged to say."""
    with suppress(LawskerError), target.connect() as conn:
        pin_session(conn, find_schema(conn))
        return current_revisions(conn)
    return ()


def _done(account: RestoreAccount) -> str:
    taken, revision = (
        account.manifest.taken_at[:19].replace("T", " "),
        ", ".join(account.manifest.revision) or Phrase("none"),
    )
    return Phrase(
        "{database} is as it was in the backup of {taken} UTC, at revision {revision}; nobody could "
        "connect for {closed_s:.2f} s.",
        database=account.server.database,
        taken=taken,
        revision=revision,
        closed_s=account.figures["gate closed, ms"] / 1000,
    )
