"""`lawsker-db restore` and `drill`: the way back to a backup, and its rehearsal on a quiet day."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import (
    Accept,
    Direct,
    DryRun,
    Jobs,
    Json,
    Notify,
    Reconnect,
    Runs,
    Url,
    as_question,
    plain,
    require_utf8,
)
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from lawsker_db.safety.drill import Drilled
    from lawsker_db.safety.restore import Prospect

Backup = Annotated[
    str,
    typer.Argument(
        help="Id of the run that took it, a part that only one has, last (the newest proven one), or its folder.",
        show_default=False,
    ),
]
To = Annotated[
    str | None,
    typer.Option("--to", help="Make a whole copy under this new name; nothing is swapped.", show_default=False),
]
Into = Annotated[
    str,
    typer.Option("--into", help="Name of the database that a backup of another one shall replace.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; only together with the full id of a run.")]
Newest = Annotated[
    str,
    typer.Argument(
        help="Id of the run that took it, a part that only one has, last (the newest proven one), or its folder; default: "
        "the newest one of this database.",
        show_default=False,
    ),
]
History = Annotated[bool, typer.Option("--history", help="Only show the drills that were made. Asks no database.")]


def restore(
    backup: Backup,
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    to: To = None,
    into: Into = "",
    jobs: Jobs = None,
    accept_unproven_backup: Accept = "",
    reconnect: Reconnect = 60.0,
    notify: Notify = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Put the database back to a backup. That is restored beside it and proven equal; then the two change names.

    The damaged database is kept under another name, closed. For a moment nobody can connect, and every session is ended.
    Exits 10 when it cannot begin, 14 when the restore failed, 11 when the swap was given up, each with the database as it
    was; 12 when that cannot be told yet, 13 when it was swapped and a later check failed.
    """
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.cli.notices import notified
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import say, show_report
    from lawsker_db.safety.restore import RestoreOptions, agree, restore_to
    from lawsker_db.safety.restore import restore as put_back
    from lawsker_db.safety.shelf import find_backup
    from lawsker_db.target import find_target

    require_utf8("--to", to or "")
    target = find_target(database_url, direct_url)
    options = RestoreOptions(
        runs=runs,
        jobs=jobs,
        accept_unproven=accept_unproven_backup.strip(),
        into=into,
        reconnect_s=reconnect,
        dry_run=dry_run,
    )
    silent = dry_run or yes or to is not None  # an empty name is no copy, and no swap either
    with notified(notify, "restore", target, as_json=as_json) as notices:
        folder = find_backup(runs, backup)
        if not silent or yes:
            _require_answer(folder, backup, yes=yes)
        if backup != folder.parent.name and not as_json:
            say(Phrase("Backup:   {folder}", folder=str(folder)))
        with progress(as_json=as_json) as on_event:
            telling = notices.beside(on_event)
            if to is not None:
                report = restore_to(target, folder, to, options=options, on_event=telling)
            else:
                confirm = agree if silent else _ask
                report = put_back(target, folder, options=options, confirm=confirm, on_event=telling)
        settle()
        notices.succeed(report)
        show_report(report, as_json=as_json)


def drill(
    backup: Newest = "",
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    jobs: Jobs = None,
    history: History = False,
    notify: Notify = "",
    as_json: Json = False,
) -> None:
    """Restore the newest backup into a scratch database, prove it, time it, drop it, and keep the time. For cron.

    The database itself is not touched. Exits 0, 10 when no drill can be made here, 14 when the backup does not restore.
    """
    from lawsker_db.cli.notices import notified
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.safety.drill import drill as rehearse_restore
    from lawsker_db.safety.drill import read_drills
    from lawsker_db.target import find_target

    if history:
        made = read_drills(runs)
        if as_json:
            print_json({"drills": [plain(asdict(one)) for one in made]})
            return
        for one in made:
            state = Phrase("restored and equal") if one.ok else Phrase("FAILED: {said}", said=one.said)
            made_at = f"{one.at[:19].replace('T', ' ')} UTC {one.whole_s:9.1f} s"
            tell(joined((made_at, one.database, one.backup_id, state), "  "))
        tell(Phrase("{number} drills. Next: lawsker-db drill", number=len(made)))
        return
    target = find_target(database_url, direct_url)
    with notified(notify, "drill", target, as_json=as_json) as notices:
        with progress(as_json=as_json) as on_event:
            found = rehearse_restore(target, runs, backup, jobs=jobs, on_event=notices.beside(on_event))
        made = plain(asdict(found.drill))
        notices.notice("success", "The newest backup restores and is equal.", exit_code=0, drill=made)
    if as_json:
        print_json(
            {"drill": plain(asdict(found.drill)), "median_s": found.median_s, "drills": len(found.history)}
            | ({"not_noted": found.note} if found.note else {})
        )
        return
    _show(found)


def _show(found: Drilled) -> None:
    from lawsker_db.cli.render import tell

    made = found.drill
    tell(
        Phrase(
            "RESTORED AND EQUAL: backup {backup_id} of {database}, {rows} rows, in {whole_s:.1f} s",
            backup_id=made.backup_id,
            database=made.database,
            rows=made.rows,
            whole_s=made.whole_s,
        )
    )
    times = Phrase(
        "this one {whole_s:.1f} s, median {median_s:.1f} s of {drills} drills",
        whole_s=made.whole_s,
        median_s=found.median_s,
        drills=len(found.history),
    )
    tell(Phrase("Times: {times}, statistics and comparison included", times=times))
    if found.note:
        tell(Phrase("Note: {note}", note=found.note))
    tell(Phrase("Next: nothing; again when the next backup was taken (cron)"))


def _require_answer(folder: Path, typed: str, *, yes: bool) -> None:
    """Refuse before anything begins what could not be answered at the end."""
    from lawsker_db.errors import UsageError

    run_id = folder.parent.name
    if yes and typed != run_id:
        raise UsageError(
            Phrase(
                "--yes goes only together with the full id of a run: a folder may hold another backup than one thinks."
            ),
            hint=Phrase("lawsker-db restore {run_id} --yes, or answer the question on a terminal", run_id=run_id),
        )
    if not yes and not sys.stdin.isatty():
        raise UsageError(
            Phrase("There is no terminal to ask on."),
            hint=Phrase(
                "lawsker-db restore {run_id} --yes if you mean it; --dry-run does all but the swap", run_id=run_id
            ),
        )


def _ask(prospect: Prospect) -> None:
    """Show what is ready and what it costs; have the database's name typed."""
    from lawsker_db.cli.progress import question
    from lawsker_db.cli.render import say
    from lawsker_db.errors import Interrupted

    manifest = prospect.manifest
    revision = ", ".join(manifest.revision) or Phrase("none")
    say(
        Phrase(
            "Ready:    {database} as of {at} UTC, revision {revision}",
            database=prospect.database,
            at=manifest.taken_at[:19].replace("T", " "),
            revision=revision,
        )
    )
    for line in prospect.omitted:
        say(Phrase("Not in it: {line}", line=line))
    for check in prospect.warnings:
        say(Phrase("Note:     {name}: {found}", name=check.name, found=check.found))
    for line in prospect.rescue:
        say(Phrase("Since:    {line}", line=line))
    say(
        Phrase(
            "Then:     every session in {database} is ended; it is kept as {damaged}, closed.",
            database=prospect.database,
            damaged=prospect.damaged,
        )
    )
    try:
        with question():
            typed = typer.prompt(
                as_question(Phrase("Type the name of the database to swap it")),
                err=True,
                default="",
                show_default=False,
            )
    except typer.Abort:
        typed = ""
    if typed.strip() != prospect.database:
        raise Interrupted(
            Phrase(
                "{typed!r} is not {database}: stopped at the question.", typed=typed.strip(), database=prospect.database
            ),
            state=Phrase("Nothing was renamed; the copy that was made for this is gone."),
            hint=Phrase("type the same command again if you mean it"),
        )
