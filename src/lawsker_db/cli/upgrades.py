"""`lawsker-db safe-upgrade` and `rehearse`: the road up, and its rehearsal."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import (
    Accept,
    After,
    Blockers,
    Blocking,
    Chosen,
    Config,
    Direct,
    DryRun,
    EvenDumps,
    Extent,
    Form,
    Format,
    Jobs,
    Json,
    LockPatience,
    LockTimeout,
    MaxLock,
    Notify,
    ProofExtent,
    ProofServer,
    Queries,
    Reconnect,
    Recover,
    Runs,
    Url,
    Yes,
    as_question,
    ask,
    blocker_policy,
    first_hint,
    plain,
    proof_target,
)
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.errors import CommittedUnproven
    from lawsker_db.safety.backup import BackupOptions
    from lawsker_db.safety.upgrade import Outlook, UpgradeOptions
    from lawsker_db.safety.way_back import Choose
    from lawsker_db.target import Target


class OnFailure(StrEnum):
    """What to do when a check fails after COMMIT."""

    ASK = "ask"
    KEEP = "keep"
    ROLLBACK = "rollback"
    RESTORE = "restore"


Failing = Annotated[
    OnFailure,
    typer.Option(help="When a check fails after COMMIT: keep it, roll back with an archive, or restore the backup."),
]
Reinstate = Annotated[
    str,
    typer.Option(
        "--reinstate", help="What a downgrade kept comes back: auto, ask, never, or the archive of this name."
    ),
]
NoRehearsal = Annotated[bool, typer.Option("--no-rehearsal", help="Skip the rehearsal; the report says so.")]


def safe_upgrade(
    revision: Annotated[str, typer.Argument(help="Where to go.")] = "head",
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    config: Config = None,
    option: Chosen = None,
    lock_patience: LockPatience = 600.0,
    lock_timeout: LockTimeout = 0.5,
    on_blocker: Blockers = Blocking.WAIT,
    even_dumps: EvenDumps = False,
    reconnect: Reconnect = 60.0,
    on_failure: Failing = OnFailure.ASK,
    form: Format = Form.DIRECTORY,
    jobs: Jobs = None,
    after_backup: After = "",
    proof_server: ProofServer = None,
    accept_unproven_backup: Accept = "",
    no_rehearsal: NoRehearsal = False,
    max_lock_s: MaxLock = 5.0,
    reinstate: Reinstate = "auto",
    proof: ProofExtent = Extent.TOUCHED,
    queries: Queries = None,
    notify: Notify = "",
    recover: Recover = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Back up, prove, rehearse on the copy, upgrade in one guarded transaction, prove before COMMIT, look again, report.

    Changes the database as the revisions promise, or not at all.
    """
    from lawsker_db.safety.upgrade import UpgradeOptions
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    options = UpgradeOptions(
        runs=runs,
        config=config,
        chain_options=_pairs(option),
        patience_s=lock_patience,
        attempt_s=lock_timeout,
        blockers=blocker_policy(on_blocker, even_dumps=even_dumps),
        reconnect_s=reconnect,
        backup=_backup_options(form, jobs, after_backup),
        proof_server=proof_target(proof_server),
        accept_unproven=accept_unproven_backup.strip(),
        rehearsal=not no_rehearsal,
        max_lock_s=max_lock_s,
        reinstate=reinstate,
        full=proof is Extent.FULL,
        queries=_readable(queries),
        way_back=_way_back(on_failure),
    )
    if recover and not dry_run:
        _settle_first(target, runs, options.proof_server, reconnect)
    _carry_out(target, revision, options, notify, dry_run=dry_run, yes=yes, as_json=as_json)


def rehearse(
    revision: Annotated[str, typer.Argument(help="Where to go.")] = "head",
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    config: Config = None,
    option: Chosen = None,
    form: Format = Form.DIRECTORY,
    jobs: Jobs = None,
    after_backup: After = "",
    proof_server: ProofServer = None,
    max_lock_s: MaxLock = 5.0,
    reinstate: Reinstate = "auto",
    notify: Notify = "",
    as_json: Json = False,
) -> None:
    """Back up, restore the backup into a scratch database, rehearse the upgrade there, and foretell its locks.

    The database itself is not changed; the scratch database is dropped.
    """
    from lawsker_db.cli.notices import notified
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import show_report
    from lawsker_db.safety.upgrade import UpgradeOptions, rehearse_upgrade
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    options = UpgradeOptions(
        runs=runs,
        config=config,
        chain_options=_pairs(option),
        backup=_backup_options(form, jobs, after_backup),
        proof_server=proof_target(proof_server),
        max_lock_s=max_lock_s,
        reinstate=reinstate,
    )
    options = _asked(target, revision, options)
    with notified(notify, "rehearse", target, as_json=as_json) as notices:
        with progress(as_json=as_json) as on_event:
            report = rehearse_upgrade(target, revision, options=options, on_event=notices.beside(on_event))
        notices.succeed(report)
        show_report(report, as_json=as_json)


def _carry_out(
    target: Target, revision: str, options: UpgradeOptions, notify: str, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Show the plan, ask, upgrade, report."""
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.cli.notices import notice_words, notified
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import show_report
    from lawsker_db.evidence import failures
    from lawsker_db.safety.preflight import refuse_unless
    from lawsker_db.safety.upgrade import safe_upgrade as upgrade

    if notify:
        notice_words(notify)
    if dry_run or not yes:
        outlook = _preview(target, revision, options, as_json=as_json, final=dry_run)
        if dry_run:
            raise typer.Exit(10 if failures(outlook.checks) else 0)
        refuse_unless(outlook.checks)
        if outlook.plan.steps:
            ask(Phrase("Upgrade {label}?", label=target.label))
    options = _asked(target, revision, options)
    with notified(notify, "safe-upgrade", target, as_json=as_json) as notices:
        with progress(as_json=as_json) as on_event:
            report = upgrade(target, revision, options=options, on_event=notices.beside(on_event))
            settle()
        notices.succeed(report)
        show_report(report, as_json=as_json)


def _asked(target: Target, revision: str, options: UpgradeOptions) -> UpgradeOptions:
    """With --reinstate ask, ask about what there is to bring back. Raises `Refused` where there is no terminal."""
    from lawsker_db.cli.render import say
    from lawsker_db.safety.choice import ASK, AUTO, FOUND, NEVER, refuse_unasked
    from lawsker_db.safety.upgrade import look_ahead

    if options.reinstate != ASK:
        return options
    outlook = look_ahead(target, revision, options)
    found = [check for check in outlook.checks if check.name == FOUND and not check.fails]
    if not found:
        return options
    if not sys.stdin.isatty():
        refuse_unasked(outlook.choices, ASK)
    for check in found:
        say(Phrase("Archive: {found}", found=check.found))
    return replace(options, reinstate=AUTO if typer.confirm(as_question(Phrase("Bring it back?")), err=True) else NEVER)


def _settle_first(target: Target, runs: Path, proof_server: Target | None, reconnect_s: float) -> None:
    """What `lawsker-db recover` does, as talk. Raises `Refused` when the outcome of an earlier run cannot be told."""
    from lawsker_db.cli.recovering import run_text
    from lawsker_db.cli.render import say
    from lawsker_db.safety.recovery import recover, require_settled

    found = recover(target, runs, proof_server=proof_server, reconnect_s=reconnect_s)
    require_settled(found)
    for run in found.runs:
        say(run_text(run))
    say(
        Phrase(
            "Settled: {runs} runs; cleared away: {cleared}",
            runs=len(found.runs),
            cleared=len(found.ended) + len(found.dropped) + len(found.removed),
        )
    )


def _preview(target: Target, revision: str, options: UpgradeOptions, *, as_json: bool, final: bool) -> Outlook:
    """Show plan and preflight. With `final` it is the result, else talk."""
    from lawsker_db.cli.render import print_json, say, show_checks, tell
    from lawsker_db.evidence import failures
    from lawsker_db.safety.choice import FOUND, OTHER
    from lawsker_db.safety.upgrade import look_ahead

    outlook = look_ahead(target, revision, options)
    ready = not failures(outlook.checks)
    if as_json and final:
        steps = [{"revision": step.revision, "title": step.title} for step in outlook.plan.steps]
        checks = plain([asdict(check) for check in outlook.checks])
        print_json({"verdict": "dry run", "ready": ready, "steps": steps, "checks": checks})
        return outlook
    speak = tell if final else say
    speak(
        Phrase(
            "Database: {label}, PostgreSQL {major}, {size:.1f} MB",
            label=target.label,
            major=outlook.server.major,
            size=outlook.server.data_bytes / 1e6,
        )
    )
    for step in outlook.plan.steps:
        named = {"revision": step.revision, "title": Phrase(step.title)}
        would = Phrase("Would run: {revision}  {title}", **named)
        speak(would if final else Phrase("Will run: {revision}  {title}", **named))
    if not outlook.plan.steps:
        speak(Phrase("Nothing to run: the database is at {start}.", start=", ".join(outlook.plan.start)))
    for check in outlook.checks:
        if check.name in (FOUND, OTHER) and not final:
            speak(Phrase("Archive: {found}", found=check.found))
    if final:
        show_checks(outlook.checks)
        tell(Phrase("Ready. Nothing was changed.") if ready else Phrase("Not ready. Nothing was changed."))
        tell(Phrase("Next: {hint}", hint="lawsker-db safe-upgrade" if ready else first_hint(outlook.checks)))
    return outlook


def _readable(queries: Path | None) -> Path | None:
    """Raise `UsageError` for a file that is not there, before anything begins."""
    from lawsker_db.errors import UsageError

    if queries is not None and not queries.is_file():
        raise UsageError(
            Phrase("There is no file {path}.", path=str(queries)),
            hint=Phrase("name a file of SELECTs, each with a semicolon"),
        )
    return queries


def _way_back(on_failure: OnFailure) -> Choose:
    """What is chosen when a check fails after COMMIT; asked on the terminal, where there is one."""
    from lawsker_db.cli.progress import question
    from lawsker_db.cli.render import say
    from lawsker_db.safety.way_back import WayBack

    def choose(failed: CommittedUnproven) -> WayBack:
        if on_failure is not OnFailure.ASK:
            return WayBack(on_failure.value)
        if not sys.stdin.isatty():
            return WayBack.KEEP
        say(Phrase("Failed:   {message}", message=failed.message))
        say(
            Phrase("Now:      the migration is committed. rollback takes it back and keeps what it made in an archive;")
        )
        say(Phrase("          restore puts the backup from before in its place, and lists what was written since."))
        try:
            with question():
                typed = typer.prompt(
                    as_question(Phrase("Type {words}", words=", ".join(WayBack))), err=True, default="keep"
                )
        except typer.Abort:
            typed = ""
        return WayBack(typed.strip()) if typed.strip() in set(WayBack) else WayBack.KEEP

    return choose


def _backup_options(form: Form, jobs: int | None, after: str) -> BackupOptions:
    """Pure. How the backup is taken. Raises `UsageError` for a command after it that cannot be read."""
    from lawsker_db.safety.archive import Form as ArchiveForm
    from lawsker_db.safety.backup import BackupOptions, after_words

    if after:
        after_words(after)
    return BackupOptions(form=ArchiveForm(form.value), jobs=jobs, after=after)


def _pairs(given: list[str] | None) -> dict[str, str]:
    from lawsker_db.errors import UsageError

    pairs: dict[str, str] = {}
    for item in given or ():
        name, found, value = item.partition("=")
        if not found or not name:
            raise UsageError(
                Phrase("--option {item} is not NAME=VALUE.", item=item),
                hint=Phrase("for example --option email_verified=active"),
            )
        pairs[name] = value
    return pairs
