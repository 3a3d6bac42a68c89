"""`lawsker-db backup …`: take, prove, list, show, thin out, read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from lawsker_db.cli.options import After, DryRun, Form, Format, Jobs, Json, Runs, Url, Yes

backup_app = typer.Typer(
    help="Take backups that are proven by a trial restore; list, look into, thin out and read them.",
    no_args_is_help=True,
)
RUNS = Path("lawsker-runs")
Name = Annotated[str, typer.Argument(help="Id of its run, or its folder.", show_default=False)]


@backup_app.command()
def create(
    database_url: Url = None,
    runs: Runs = RUNS,
    form: Format = Form.DIRECTORY,
    jobs: Jobs = None,
    after_backup: After = "",
    no_proof: Annotated[bool, typer.Option("--no-proof", help="Do not restore it; it is called unproven.")] = False,
    as_json: Json = False,
) -> None:
    """Dump the database, and prove the dump by restoring it into a scratch database. DDL of others waits for the dump.

    Changes nothing in the database.
    """
    from contextlib import suppress

    from lawsker_db.cli.progress import progress
    from lawsker_db.record.journal import create_run_folder, new_run_id
    from lawsker_db.safety.archive import Form as ArchiveForm
    from lawsker_db.safety.backup import BackupOptions, after_words, take_backup
    from lawsker_db.safety.proof import take_proven_backup
    from lawsker_db.target import find_target

    target = find_target(database_url)
    if after_backup:
        after_words(after_backup)
    options = BackupOptions(form=ArchiveForm(form.value), jobs=jobs, after=after_backup)
    run_id = new_run_id("backup")
    folder = create_run_folder(runs.absolute(), run_id) / "backup"
    try:
        with progress(as_json=as_json) as on_event:
            if no_proof:
                receipt = take_backup(target, folder, run_id, options=options, on_event=on_event)
            else:
                receipt = take_proven_backup(target, folder, run_id, options=options, on_event=on_event)
    except BaseException as failed:
        with suppress(OSError):
            folder.parent.rmdir()  # only where nothing was kept
        _name_folder(failed, folder)
        raise
    if as_json:
        _print(asdict(receipt))
        return
    size = f"{receipt.bytes / 1e6:.1f} MB, {receipt.client_version}, {receipt.duration_s:.1f} s"
    print(f"Backup: {receipt.folder} ({size})")
    print("Proven: restored and found equal." if receipt.proven else "It was not restored, so it is not proven.")
    print("Next: lawsker-db backup list" if receipt.proven else f"Next: lawsker-db backup verify {receipt.folder}")


@backup_app.command()
def verify(
    name: Name,
    proof_server: Annotated[
        str | None,
        typer.Option("--proof-server", help="Restore there; default: the database's own server.", show_default=False),
    ] = None,
    database_url: Url = None,
    runs: Runs = RUNS,
    jobs: Jobs = None,
    as_json: Json = False,
) -> None:
    """Check a backup's files, restore it into a scratch database, and compare. The scratch database is dropped.

    Works from the backup's folder alone: the database that it was taken from is not asked.
    """
    from lawsker_db.cli.progress import progress
    from lawsker_db.safety.proof import verify_backup
    from lawsker_db.safety.shelf import find_backup
    from lawsker_db.target import find_target

    folder = find_backup(runs, name)
    target = find_target(proof_server or database_url)
    with progress(as_json=as_json) as on_event:
        proof = verify_backup(target, folder, jobs=jobs, on_event=on_event)
    if as_json:
        _print({"folder": str(folder), "proven": True, "proof": asdict(proof)})
        return
    print(f"Proven: {folder} restores to {proof.tables} tables with {proof.rows} rows, equal to what was dumped.")
    for omitted in proof.omitted:
        print(f"Not compared: {omitted}")


@backup_app.command("list")
def list_(runs: Runs = RUNS, as_json: Json = False) -> None:
    """List the backups in the runs folder, oldest first. Asks no database."""
    from lawsker_db.safety.shelf import list_backups

    kept, unreadable = list_backups(runs)
    if as_json:
        _print({"backups": [_summary(backup) for backup in kept], "unreadable": unreadable})
        return
    for backup in kept:
        told = _summary(backup)
        wanted = ", wanted by its run" if told["wanted"] else ""
        state = "proven" if told["proven"] else "not proven"
        print(
            f"{backup.taken_at:%Y-%m-%d %H:%M:%S} UTC  {told['bytes'] / 1e6:9.1f} MB  {state}{wanted}  {told['name']}"
        )
    for line in unreadable:
        print(f"warn  {line}")
    print(f"{len(kept)} backups in {runs}")


@backup_app.command()
def show(name: Name, runs: Runs = RUNS, as_json: Json = False) -> None:
    """Show what a backup holds, and check that its files are what was written. Asks no database."""
    from lawsker_db.record.manifest import check_files, read_manifest
    from lawsker_db.safety.shelf import find_backup

    folder = find_backup(runs, name)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if as_json:
        _print({"folder": str(folder), "files_intact": True, "manifest": asdict(manifest)})
        return
    server = manifest.server
    print(f"Backup {manifest.backup_id} in {folder}: every file is what was written")
    print(f"Taken at {manifest.taken_at} from {server['database']}, revision {', '.join(manifest.revision) or 'none'}")
    print(f"By {manifest.client} at LSN {manifest.snapshot['lsn']}, {manifest.bytes / 1e6:.1f} MB")
    print(f"Proven: {manifest.proof.proven_at}" if manifest.proof else "Not proven: it was not restored")
    for table in manifest.tables:
        print(f"  {table.table}: {table.rows} rows")
    for relation, why in manifest.left_out:
        print(f"  {relation}: not compared, {why}")


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
    from lawsker_db.errors import UsageError
    from lawsker_db.safety.shelf import prune as thin_out

    if not dry_run and not yes:
        raise UsageError("This removes backups.", hint="look first with --dry-run, then type it with --yes")
    going = thin_out(runs, keep_last=keep_last, keep_days=keep_days, dry_run=dry_run)
    if as_json:
        _print({"removed": [] if dry_run else [_summary(b) for b in going], "would_remove": len(going)})
        return
    for backup in going:
        print(f"{'Would remove' if dry_run else 'Removed'}: {backup.folder}")
    print(f"{len(going)} backups {'would go' if dry_run else 'removed'}.")


@backup_app.command()
def sql(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist.", show_default=False)],
    runs: Runs = RUNS,
    as_json: Json = False,
) -> None:
    """Write a backup as readable SQL. To restore, use pg_restore on the backup itself. Asks no database."""
    from lawsker_db.safety.shelf import find_backup, write_sql

    folder = find_backup(runs, name)
    write_sql(folder, file)
    if as_json:
        _print({"folder": str(folder), "file": str(file), "bytes": file.stat().st_size})
        return
    print(f"Written: {file} ({file.stat().st_size / 1e6:.1f} MB). It is for reading: restore with pg_restore.")


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


def _name_folder(failed: BaseException, folder: Path) -> None:
    """Let an error of ours say where the backup is that was taken before it."""
    from lawsker_db.errors import LawskerError

    if isinstance(failed, LawskerError) and folder.is_dir():
        failed.fields = {**failed.fields, "folder": str(folder)}


def _print(value: object) -> None:
    from lawsker_db.cli.render import print_json
    from lawsker_db.record.journal import as_json

    print_json(as_json(value))
