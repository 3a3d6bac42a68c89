"""`lawsker-db backup …`: take, prove, list, show, thin out, read."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lawsker_db.cli.options import (
    After,
    Direct,
    DryRun,
    Form,
    Format,
    Jobs,
    Json,
    Notify,
    ProofServer,
    Runs,
    Url,
    Yes,
    proof_target,
)
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from lawsker_db.evidence import BackupReceipt
    from lawsker_db.safety.shelf import Kept

backup_app = typer.Typer(
    help="Take backups that are proven by a trial restore; list, look into, thin out and read them.",
    no_args_is_help=True,
)
RUNS = Path("lawsker-runs")
SHOWN = 20
Name = Annotated[
    str,
    typer.Argument(
        help="Id of the run that took it, a part that only one has, last (the newest proven one), or its folder.",
        show_default=False,
    ),
]


@backup_app.command()
def create(
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = RUNS,
    form: Format = Form.DIRECTORY,
    jobs: Jobs = None,
    after_backup: After = "",
    proof_server: ProofServer = None,
    no_proof: Annotated[bool, typer.Option("--no-proof", help="Do not restore it; it is called unproven.")] = False,
    notify: Notify = "",
    as_json: Json = False,
) -> None:
    """Dump the database, and prove the dump by restoring it into a scratch database. DDL of others waits for the dump.

    Changes nothing in the database.
    """
    from lawsker_db.cli.notices import notified
    from lawsker_db.cli.progress import progress
    from lawsker_db.errors import UsageError
    from lawsker_db.safety.archive import Form as ArchiveForm
    from lawsker_db.safety.backup import BackupOptions, after_words
    from lawsker_db.safety.errands import create_backup
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    if after_backup:
        after_words(after_backup)
    if no_proof and (after_backup or proof_server):
        raise UsageError(
            Phrase("--no-proof leaves nothing to hand over, and no server to prove on."), hint=Phrase("leave one out")
        )
    options = BackupOptions(form=ArchiveForm(form.value), jobs=jobs, after=after_backup)
    with notified(notify, "backup create", target, as_json=as_json) as notices:
        with progress(as_json=as_json) as on_event:
            receipt = create_backup(
                target,
                runs,
                options=options,
                proven=not no_proof,
                proof_server=proof_target(proof_server),
                on_event=notices.beside(on_event),
            )
        notices.folder = receipt.folder
        notices.notice("success", "The backup was taken.", exit_code=0, backup=asdict(receipt))
    if as_json:
        _print(asdict(receipt))
        return
    _tell_taken(receipt)


def _tell_taken(receipt: BackupReceipt) -> None:
    """Where the backup is, whether it is proven, and what to type next."""
    from lawsker_db.cli.render import tell

    size = Phrase(
        "{size:.1f} MB, {client}, {took_s:.1f} s",
        size=receipt.bytes / 1e6,
        client=receipt.client_version,
        took_s=receipt.duration_s,
    )
    tell(Phrase("Backup: {folder} ({size})", folder=str(receipt.folder), size=size))
    tell(
        Phrase("Proven: restored and found equal.")
        if receipt.proven
        else Phrase("It was not restored, so it is not proven.")
    )
    hint = "lawsker-db backup list" if receipt.proven else f"lawsker-db backup verify {receipt.folder}"
    tell(Phrase("Next: {hint}", hint=hint))


@backup_app.command()
def verify(
    name: Name,
    proof_server: ProofServer = None,
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = RUNS,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Check a backup's files, restore it into a scratch database, and compare. The scratch database is dropped.

    Works from the backup's folder alone: the database that it was taken from is not asked.
    """
    from lawsker_db.cli.progress import progress
    from lawsker_db.cli.render import tell
    from lawsker_db.safety.errands import verify_kept
    from lawsker_db.safety.shelf import find_backup
    from lawsker_db.target import find_target

    folder = find_backup(runs, name)
    here = proof_target(proof_server) or find_target(database_url, direct_url)
    with progress(as_json=as_json) as on_event:
        proof = verify_kept(here, folder, runs, jobs=jobs, on_event=on_event)
    if as_json:
        _print({"folder": str(folder), "proven": True, "proof": asdict(proof)})
        return
    tell(
        Phrase(
            "Proven: {folder} restores to {tables} tables with {rows} rows, equal to what was dumped.",
            folder=str(folder),
            tables=proof.tables,
            rows=proof.rows,
        )
    )
    for omitted in proof.omitted:
        tell(Phrase("Not compared: {omitted}", omitted=omitted))


@backup_app.command("list")
def list_(
    runs: Runs = RUNS,
    everything: Annotated[bool, typer.Option("--all", help="All of them, not only the newest 20.")] = False,
    as_json: Json = False,
) -> None:
    """List the backups in the runs folder, oldest first, and say which is the newest proven one. Asks no database."""
    from lawsker_db.cli.render import age_text, tell
    from lawsker_db.safety.shelf import list_backups, newest_proven

    kept, unreadable = list_backups(runs)
    if as_json:
        newest = [str(backup.folder) for backup in newest_proven(kept)]
        _print({"backups": [_summary(backup) for backup in kept], "newest_proven": newest, "unreadable": unreadable})
        return
    now = datetime.now(UTC)
    shown = len(kept) if everything else SHOWN
    if len(kept) > shown:
        tell(Phrase("... {number} older ones: --all lists them", number=len(kept) - shown))
    for backup in kept[-shown:]:
        tell(_line(backup, age_text(backup.taken_at, now)))
    for line in unreadable[:shown]:
        tell(Phrase("WARN     {line}", line=line))
    if len(unreadable) > shown:
        tell(Phrase("WARN     and {number} more", number=len(unreadable) - shown))
    for backup in newest_proven(kept):
        name, age = backup.folder.parent.name, age_text(backup.taken_at, now)
        tell(
            Phrase(
                "Newest proven one of {database}: {name}, {age}",
                database=backup.manifest.server["database"],
                name=name,
                age=age,
            )
        )
    tell(Phrase("Backups in {folder}: {number}", folder=str(runs), number=len(kept)))
    if kept and not newest_proven(kept):
        tell(
            Phrase(
                "None of them is proven. Next: lawsker-db backup verify {folder}",
                folder=shlex.quote(str(kept[-1].folder)),
            )
        )


@backup_app.command()
def show(name: Name, runs: Runs = RUNS, as_json: Json = False) -> None:
    """Show what a backup holds and how to restore it, and check that its files are what was written. Asks no database."""
    from lawsker_db.cli.describing import described
    from lawsker_db.cli.render import tell
    from lawsker_db.record.manifest import check_files, read_manifest
    from lawsker_db.safety.shelf import find_backup

    folder = find_backup(runs, name)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if as_json:
        _print({"folder": str(folder), "files_intact": True, "manifest": asdict(manifest)})
        return
    for line in described(folder, manifest, datetime.now(UTC)):
        tell(line)


@backup_app.command()
def prune(
    keep_last: Annotated[int, typer.Option("--keep-last", help="Newest ones to keep, of each database.", min=1)] = 5,
    keep_days: Annotated[int, typer.Option("--keep-days", help="Keep what is younger than so many days.", min=0)] = 30,
    runs: Runs = RUNS,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove old backups; never the newest proven one of a database, nor one that its run may still need.

    Asks no database. Journals and reports stay.
    """
    from lawsker_db.cli.render import tell
    from lawsker_db.errors import Refused, UsageError
    from lawsker_db.safety.shelf import prune as thin_out

    if not dry_run and not yes:
        raise UsageError(
            Phrase("This removes backups."), hint=Phrase("look first with --dry-run, then type it with --yes")
        )
    going = thin_out(runs, keep_last=keep_last, keep_days=keep_days, dry_run=dry_run)
    gone = [backup for backup, why in going if not why]
    stuck = [joined((str(backup.folder), why), ": ") for backup, why in going if why]
    if not as_json:
        for backup in gone:
            done = Phrase("Would remove") if dry_run else Phrase("Removed")
            tell(Phrase("{done}: {folder}", done=done, folder=str(backup.folder)))
        size = sum(backup.manifest.bytes for backup in gone) / 1e6
        done = Phrase("would go") if dry_run else Phrase("removed")
        tell(Phrase("{number} backups {done}, {size:.1f} MB.", number=len(gone), done=done, size=size))
    removed = [] if dry_run else [_summary(backup) for backup in gone]
    if stuck:
        raise Refused(
            Phrase(
                "{stuck} of {all} backups could not be removed: {reasons}.",
                stuck=len(stuck),
                all=len(going),
                reasons=joined(stuck, "; "),
            ),
            hint=Phrase("mend what is named, then type it again"),
            removed=removed,
            not_removed=stuck,
        )
    if as_json:
        _print({"removed": removed, "would_remove": len(gone)})


@backup_app.command()
def sql(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.", show_default=False)],
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Write a backup as readable SQL. To restore, use pg_restore on the backup itself. Asks no database."""
    from lawsker_db.cli.render import tell
    from lawsker_db.safety.shelf import find_backup, write_sql

    folder = find_backup(runs, name)
    write_sql(folder, file)
    if as_json:
        _print({"folder": str(folder), "file": str(file), "bytes": file.stat().st_size})
        return
    tell(
        Phrase(
            "Written: {file} ({size:.1f} MB). It is for reading: restore with pg_restore.",
            file=str(file),
            size=file.stat().st_size / 1e6,
        )
    )


def _summary(backup: Any) -> dict[str, Any]:
    return {
        "name": backup.folder.parent.name,
        "folder": str(backup.folder),
        "taken_at": backup.manifest.taken_at,
        "database": backup.manifest.server["database"],
        "revision": list(backup.manifest.revision),
        "bytes": backup.manifest.bytes,
        "proven": backup.manifest.proof is not None,
        "wanted": bool(backup.wanted_by),
    }


def _line(backup: Kept, age: str) -> str:
    """Pure. One backup in the list."""
    told = _summary(backup)
    state = Phrase("proven") if told["proven"] else Phrase("not proven")
    wanted = Phrase(", kept for its run") if told["wanted"] else ""
    revision = ", ".join(told["revision"]) or Phrase("none")
    when = f"{backup.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    size = f"{told['bytes'] / 1e6:9.1f} MB"
    return Phrase(
        "{when}  {age:>12} {size}  {state:<10}  {database} at {revision}  {name}{wanted}",
        when=when,
        age=age,
        size=size,
        state=state,
        database=told["database"],
        revision=revision,
        name=told["name"],
        wanted=wanted,
    )


def _print(value: object) -> None:
    from lawsker_db.cli.render import print_json
    from lawsker_db.record.journal import as_json

    print_json(as_json(value))
