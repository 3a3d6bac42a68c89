"""`lawsker-db rollback`: the way back, with an archive of all that goes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import (
    Blockers,
    Blocking,
    Config,
    Direct,
    DryRun,
    EvenDumps,
    Json,
    LockPatience,
    LockTimeout,
    Notify,
    Reconnect,
    Runs,
    Url,
    Yes,
    as_question,
    blocker_policy,
    first_hint,
    plain,
    require_utf8,
)
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from lawsker_db.cli.notices import Notices
    from lawsker_db.evidence import Check
    from lawsker_db.safety.rollback import Retrospect, RollbackOptions
    from lawsker_db.target import Target

Where = Annotated[
    str | None,
    typer.Argument(
        help="Where to go back to (default: where the last upgrade came from); with --verify, the run.",
        show_default=False,
    ),
]
Prove = Annotated[bool, typer.Option("--verify", help="Prove a rollback that was made; change nothing.")]
Discard = Annotated[bool, typer.Option("--discard", help="Keep no archive: throw away what goes. Needs --reason.")]
Reason = Annotated[str, typer.Option("--reason", help="Why it is thrown away, for journal, report and history.")]
Confirm = Annotated[str, typer.Option("--confirm", help="The database's name, for --discard with --yes.")]


def rollback(
    revision: Where = None,
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    config: Config = None,
    lock_patience: LockPatience = 600.0,
    lock_timeout: LockTimeout = 0.5,
    on_blocker: Blockers = Blocking.WAIT,
    even_dumps: EvenDumps = False,
    reconnect: Reconnect = 60.0,
    discard: Discard = False,
    reason: Reason = "",
    confirm: Confirm = "",
    verify: Prove = False,
    notify: Notify = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take the last upgrade back in one guarded transaction, and keep all that goes in an archive, a schema of its own.

    Tells first what was written since, table by table. The database is then as its older revision promises, or as it was.
    """
    from lawsker_db.cli.notices import notice_words, notified
    from lawsker_db.evidence import failures
    from lawsker_db.safety.rollback import RollbackOptions, look_back
    from lawsker_db.target import find_target

    require_utf8("--reason", reason)
    target = find_target(database_url, direct_url)
    if verify:
        _prove(target, revision, config, as_json=as_json)
        return
    options = RollbackOptions(
        runs=runs,
        config=config,
        patience_s=lock_patience,
        attempt_s=lock_timeout,
        blockers=blocker_policy(on_blocker, even_dumps=even_dumps),
        reconnect_s=reconnect,
        discard=discard,
        reason=reason.strip(),
    )
    if notify:
        notice_words(notify)
    if dry_run:
        _require_word(target, options, confirm, yes=False)
        outlook = look_back(target, revision, options)
        _preview(target, outlook, options, as_json=as_json, final=True)
        raise typer.Exit(10 if failures(outlook.checks) else 0)

    def agreed() -> Retrospect:
        _require_word(target, options, confirm, yes=yes)
        return _agreed(target, revision, options, yes=yes, as_json=as_json)

    shown = None if yes else agreed()
    with notified(notify, "rollback", target, as_json=as_json) as notices:
        shown = shown or agreed()  # where nobody is asked, what is refused is told as well
        _carry_out(target, revision, options, shown, notices, as_json=as_json)


def _agreed(target: Target, revision: str | None, options: RollbackOptions, *, yes: bool, as_json: bool) -> Retrospect:
    """Look, show what would go, refuse what cannot be done, and ask unless `yes`."""
    from lawsker_db.safety.preflight import refuse_unless
    from lawsker_db.safety.rollback import look_back

    outlook = look_back(target, revision, options)
    if not (yes and as_json):
        _preview(target, outlook, options, as_json=as_json, final=False)
    refuse_unless(outlook.checks, what=Phrase("The rollback was not begun"))
    if outlook.plan.steps and not yes:
        _ask_name(outlook.server.database, discard=options.discard)
    return outlook


def _carry_out(
    target: Target,
    revision: str | None,
    options: RollbackOptions,
    outlook: Retrospect,
    notices: Notices,
    *,
    as_json: bool,
) -> None:
    """Roll back as it was shown, and report."""
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import show_report
    from lawsker_db.safety.rollback import roll_back

    with progress(as_json=as_json) as on_event:
        telling = notices.beside(on_event)
        report = roll_back(target, revision, options=options, shown=outlook.plan, on_event=telling)
        settle()
    notices.succeed(report)
    show_report(report, as_json=as_json)


def _preview(target: Target, outlook: Retrospect, options: RollbackOptions, *, as_json: bool, final: bool) -> None:
    """Show the plan and what was written since. With `final` it is the result, else talk."""
    from lawsker_db.cli.render import print_json, say, show_checks, tell
    from lawsker_db.evidence import failures

    ready = not failures(outlook.checks)
    if as_json and final:
        steps = [{"revision": step.revision, "title": step.title} for step in outlook.plan.steps]
        found = {"checks": _listed(outlook.checks), "written": plain([asdict(since) for since in outlook.written])}
        print_json({"verdict": "dry run", "ready": ready, "steps": steps, **found})
        return
    speak = tell if final else say
    speak(Phrase("Database: {label}, PostgreSQL {major}", label=target.label, major=outlook.server.major))
    for step in outlook.plan.steps:
        named = {"revision": step.revision, "title": Phrase(step.title)}
        would = Phrase("Would take back: {revision}  {title}", **named)
        speak(would if final else Phrase("Will take back: {revision}  {title}", **named))
    if not outlook.plan.steps:
        start = ", ".join(outlook.plan.start) or Phrase("base")
        speak(Phrase("Nothing to take back: the database is at {start}.", start=start))
        return
    for line in _written_lines(outlook):
        speak(line)
    speak(
        Phrase("Nothing is kept of it.")
        if options.discard
        else Phrase("All of it is kept in an archive, a schema of its own.")
    )
    if final:
        show_checks(outlook.checks)
        tell(Phrase("Ready. Nothing was changed.") if ready else Phrase("Not ready. Nothing was changed."))
        tell(Phrase("Next: {hint}", hint="lawsker-db rollback" if ready else first_hint(outlook.checks)))


def _written_lines(outlook: Retrospect) -> list[Phrase]:
    """Pure. What was written since, a line a table; those that are as made in one."""
    changed = [joined(("  ", since.words), "") for since in outlook.written if since.says]
    as_made = [
        Phrase("{table} ({rows} rows)", table=since.table, rows=since.rows)
        for since in outlook.written
        if not since.says
    ]
    lines = [Phrase("Written since the upgrade:"), *(changed or [Phrase("  nothing")])]
    lines += [Phrase("As the upgrade made them: {tables}", tables=joined(as_made))] if as_made else []
    return lines + [
        Phrase("No run on record has made {revision}: what was written since is not known.", revision=revision)
        for revision in outlook.unknown
    ]


def _ask_name(database: str, *, discard: bool) -> None:
    """Have the name of the database typed; refuse where there is no terminal. Raises `UsageError` for another name."""
    from lawsker_db.errors import UsageError

    if not sys.stdin.isatty():
        also = f" --confirm {database}" if discard else ""
        raise UsageError(
            Phrase("There is no terminal to ask on."), hint=Phrase("type it with --yes{also} if you mean it", also=also)
        )
    what = Phrase("THROW AWAY what was written since") if discard else Phrase("roll back")
    question = Phrase("To {what}, type the name of the database ({database})", what=what, database=database)
    typed = typer.prompt(as_question(question), err=True)
    if typed.strip() != database:
        raise UsageError(
            Phrase("{typed} is not {database}: nothing was begun.", typed=typed.strip(), database=database),
            hint=Phrase("type the same command again"),
        )


def _require_word(target: Target, options: RollbackOptions, confirm: str, *, yes: bool) -> None:
    """Raise `UsageError` for --discard without a reason, or, where nobody is asked, without the database's name; and
    for another database's name in any case."""
    from lawsker_db.errors import UsageError

    if options.discard and not options.reason:
        raise UsageError(
            Phrase("--discard throws away what was written: it needs a reason."),
            hint='--discard --reason "why"',
        )
    if options.reason and not options.discard:
        raise UsageError(
            Phrase("--reason is for --discard: an archive needs none."), hint=Phrase("leave it out, or add --discard")
        )
    if not confirm and not (options.discard and yes):
        return
    from lawsker_db.safety.rollback import database_name

    name = database_name(target)
    if confirm and confirm != name:
        raise UsageError(
            Phrase("This is {name}, not {confirm}: nothing was begun.", name=name, confirm=confirm),
            hint=Phrase("look where DATABASE_URL leads to"),
        )
    if not confirm:
        raise UsageError(Phrase("--discard with --yes needs the name of the database."), hint=f"--confirm {name}")


def _prove(target: Target, run_id: str | None, config: Path | None, *, as_json: bool) -> None:
    """Look whether a rollback is what it says. Exit code 13 when it is not."""
    from lawsker_db.cli.render import print_json, show_checks, tell
    from lawsker_db.evidence import failures
    from lawsker_db.revisions import load_chain
    from lawsker_db.safety.returned import check_returned

    checks = check_returned(target, load_chain(config), run_id)
    failed = failures(checks)
    if as_json:
        print_json({"ok": not failed, "checks": _listed(checks)})
    else:
        show_checks(checks)
        label = target.label
        tell(Phrase("NOT PROVEN: {label}", label=label) if failed else Phrase("PROVEN: {label}", label=label))
    raise typer.Exit(13 if failed else 0)


def _listed(checks: tuple[Check, ...]) -> object:
    return plain([asdict(check) for check in checks])
