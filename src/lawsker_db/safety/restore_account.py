"""The account of a restore: what it has to tell so far, and the report that is made from it however it ends."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from lawsker_db import __version__
from lawsker_db.changes import RescuedTable
from lawsker_db.errors import CommittedUnproven, Interrupted, LawskerError, OutcomeUnknown, RestoreFailed
from lawsker_db.evidence import (
    BackupReceipt,
    Check,
    Direction,
    Event,
    OnEvent,
    Proof,
    RunReport,
    Server,
    Timing,
    Verdict,
)
from lawsker_db.phrases import Phrase, clause
from lawsker_db.postgres.session import quoted
from lawsker_db.postgres.swap import Swap
from lawsker_db.record.journal import Journal, create_run_folder, mending, new_run_id
from lawsker_db.record.log import log_event, log_outcome
from lawsker_db.record.manifest import SUMS, Manifest, file_digest
from lawsker_db.record.report import write_report
from lawsker_db.safety.pace import Pace
from lawsker_db.target import Target

NOTED = ("left", "unnoted")
RECOVER = "lawsker-db recover"
AGAIN = Phrase("type the same command again")
VERDICTS = {
    10: Verdict.REFUSED,
    11: Verdict.ROLLED_BACK,
    12: Verdict.UNKNOWN,
    13: Verdict.COMMITTED_UNPROVEN,
    14: Verdict.RESTORE_FAILED,
    15: Verdict.REFUSED,
    130: Verdict.INTERRUPTED,
}


@dataclass(slots=True, kw_only=True)
class RestoreAccount:
    """What a restore has to tell so far. `swapped`: whether the copy bears the live name, None when that cannot be told.
    `first`: what was written since the backup, as it was before the question. `rescued`: the same by table, as it was last
    seen."""

    run_id: str
    target: Target
    server: Server
    folder: Path
    backup: Path
    manifest: Manifest
    began: float
    started_at: datetime
    pace: Pace = field(default_factory=Pace)
    from_revisions: tuple[str, ...] = ()
    swap: Swap | None = None
    swapped: bool | None = False
    first: tuple[str, ...] = ()
    rescued: tuple[RescuedTable, ...] | None = None
    proof: Proof | None = None
    checks: list[Check] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    figures: dict[str, int] = field(default_factory=dict)
    not_proven: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> str:
        """Pure. Which database is which after the swap."""
        if self.swap is None:
            return ""
        return Phrase(
            "{live} is the restored database; the damaged one is kept as {damaged}, closed.",
            live=self.swap.live,
            damaged=self.swap.damaged,
        )


def open_restore(
    target: Target, server: Server, backup: Path, manifest: Manifest, checks: tuple[Check, ...], runs: Path
) -> RestoreAccount:
    """Begin the account of a restore: its id and its folder (0700). Raises `Refused` when the folder cannot be made."""
    run_id = new_run_id("restore")
    return RestoreAccount(
        run_id=run_id,
        target=target,
        server=server,
        folder=create_run_folder(runs.absolute(), run_id),
        backup=backup,
        manifest=manifest,
        began=time.monotonic(),
        started_at=datetime.now(UTC),
        checks=list(checks),
    )


@dataclass(slots=True, kw_only=True)
class Told:
    """How a restore ended, in words, and its report once that is written."""

    verdict: Verdict = Verdict.RESTORE_FAILED
    message: str = ""
    state: str = ""
    hint: str = ""
    report: RunReport = field(init=False)


@contextmanager
def reported(account: RestoreAccount) -> Iterator[Told]:
    """Write the report when the block ends, well or not. A report that cannot be written changes no outcome."""
    told, failed = Told(), None
    try:
        yield told
    except LawskerError as error:
        failed = _told_truly(account, error)
        if failed is error:
            raise
        raise failed from error
    except KeyboardInterrupt:
        failed = _interrupted(account)
        raise failed from None
    except Exception as bug:
        failed = _bug(account, Phrase("a bug in lawsker-db: {error}", error=type(bug).__name__))
        if account.swapped is not False:
            raise failed from bug
        raise
    finally:
        if failed is not None:
            told.verdict = VERDICTS.get(failed.exit_code, Verdict.RESTORE_FAILED)
            told.message, told.state, told.hint = failed.message, failed.state, failed.hint
            failed.fields = {**failed.fields, "run_id": account.run_id, "folder": str(account.folder)}
        told.report = _report(account, told)
        problem = write_report(told.report, account.folder)
        if problem:
            told.report = replace(told.report, notes=(*told.report.notes, problem))
        log_outcome(told.report, failed=failed is not None)


def swap_unknown(account: RestoreAccount, why: str) -> OutcomeUnknown:
    """Pure. That nobody can tell now which database bears the name, and what tells it later."""
    swap = account.swap
    names = Phrase("{live} and {damaged}", live=swap.live, damaged=swap.damaged) if swap else account.server.database
    return OutcomeUnknown(
        Phrase("It cannot be told now whether the names were swapped: {why}.", why=clause(why)),
        state=Phrase(
            "Nothing is lost: both databases are whole. Look at {names}; the gate may still be closed.", names=names
        ),
        hint=Phrase("when the server is back: {command}", command=RECOVER),
        run_id=account.run_id,
    )


def by_hand(swap: Swap) -> str:
    """Pure. What to type where the rows could not be exported by the restore itself."""
    return Phrase(
        "in the database postgres: ALTER DATABASE {damaged} ALLOW_CONNECTIONS true; then lawsker-db "
        "rescue {typed} {live}",
        damaged=quoted(swap.damaged),
        typed=shlex.quote(swap.damaged),
        live=shlex.quote(swap.live),
    )


def _told_truly(account: RestoreAccount, error: LawskerError) -> LawskerError:
    """Whatever goes wrong after the swap must not be told in the words of an error from before it."""
    if account.swapped is None and not isinstance(error, OutcomeUnknown):
        return swap_unknown(account, error.message)
    if account.swapped and not isinstance(error, (CommittedUnproven, OutcomeUnknown)):
        return CommittedUnproven(
            Phrase("The restore is in place; afterwards: {what}", what=error.message),
            state=account.names,
            hint="lawsker-db status",
        )
    return error


def _interrupted(account: RestoreAccount) -> LawskerError:
    if account.swapped is None:
        return swap_unknown(account, Phrase("interrupted while the server was asked"))
    if account.swapped and account.swap is not None:
        said = Phrase("Interrupted after the swap; the rows written since the backup may not be exported.")
        state = Phrase("{names} The rows are in it.", names=account.names)
        return CommittedUnproven(
            said, state=state, hint=Phrase("lawsker-db status; then {next}", next=by_hand(account.swap))
        )
    return Interrupted(Phrase("Interrupted by the operator."), state=RestoreFailed.default_state, hint=AGAIN)


def _bug(account: RestoreAccount, message: str) -> LawskerError:
    """Pure. A bug of ours: which database is which all the same. Values stay out."""
    hint = Phrase("lawsker-db status, then report this")
    if account.swapped is None:
        return swap_unknown(account, message)
    if account.swapped:
        return CommittedUnproven(message, state=account.names, hint=hint)
    return RestoreFailed(message, hint=hint)


def _report(account: RestoreAccount, told: Told) -> RunReport:
    manifest = account.manifest
    return RunReport(
        run_id=account.run_id,
        verdict=told.verdict,
        target=account.target.label,
        tool_version=__version__,
        started_at=account.started_at,
        duration_s=round(time.monotonic() - account.began, 3),
        direction=Direction.RESTORE,
        from_revisions=account.from_revisions,
        to_revisions=manifest.revision,
        steps=(),
        server=account.server,
        backup=_receipt(account),
        proof=account.proof,
        timings=tuple(account.timings),
        checks=tuple(account.checks),
        rescued=account.rescued,
        figures=account.figures,
        not_proven=tuple(account.not_proven),
        notes=tuple(account.notes),
        message=told.message,
        state=told.state,
        hint=told.hint,
        folder=str(account.folder),
    )


def _receipt(account: RestoreAccount) -> BackupReceipt | None:
    manifest = account.manifest
    try:
        digest = file_digest(account.backup / SUMS)
    except LawskerError:
        return None
    return BackupReceipt(
        backup_id=manifest.backup_id,
        folder=str(account.backup),
        bytes=manifest.bytes,
        sha256=digest,
        snapshot=str(manifest.snapshot.get("name", "")),
        client_version=manifest.client,
        duration_s=manifest.dump_s,
        proven=manifest.proof is not None or account.proof is not None,
    )


def teller(account: RestoreAccount, journal: Journal, on_event: OnEvent) -> OnEvent:
    """The journal first (on disk before the step), then whoever watches.

    What cannot be journalled is not begun. After the swap a full disk changes nothing any more: it becomes a note. A
    display that fails never matters.
    """

    def keep(event: Event) -> None:
        if event.name in NOTED:
            account.notes.append(event.text)
        try:
            journal.write(event)
        except OSError as failed:
            if account.swapped is False:
                words = Phrase("The journal cannot be written: {why}", why=str(failed))
                raise RestoreFailed(words, hint=mending(failed)) from failed
            account.notes.append(Phrase("the journal could not be written at the swap: {why}", why=str(failed)))
        log_event(account.folder, event)

    def tell(event: Event) -> None:
        keep(event)
        with suppress(OSError):
            on_event(event)

    for event in account.told:
        keep(event)
    return tell
