"""The backups that are kept: list them, look into one, thin them out, write one as readable SQL."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lawsker_db import processes
from lawsker_db.errors import BackupFailed, Refused
from lawsker_db.postgres.tools import find_tool
from lawsker_db.record.manifest import MANIFEST, Manifest, check_files, read_manifest

BACKUP = "backup"  # the folder of a backup within the folder of its run
REFERRING = ("outcome unknown", "committed, not proven", "rolled back")  # verdicts whose backup may still be wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One backup on disk. `wanted_by` says which run still refers to it, empty when none does."""

    folder: Path
    manifest: Manifest
    wanted_by: str

    @property
    def taken_at(self) -> datetime:
        """Pure. When it was taken, aware."""
        return datetime.fromisoformat(self.manifest.taken_at)


def list_backups(runs: Path) -> tuple[tuple[Kept, ...], tuple[str, ...]]:
    """Backups below the runs folder, oldest first, and sentences about folders that hold none that can be read."""
    kept: list[Kept] = []
    unreadable: list[str] = []
    for path in sorted(runs.glob(f"*/{BACKUP}")):
        if path.is_symlink() or path.parent.is_symlink() or not (path / MANIFEST).exists():
            unreadable.append(f"{path} holds no finished backup")
            continue
        try:
            kept.append(Kept(folder=path, manifest=read_manifest(path), wanted_by=_wanted_by(path.parent)))
        except BackupFailed as failed:
            unreadable.append(failed.message)
    return tuple(sorted(kept, key=lambda backup: backup.taken_at)), tuple(unreadable)


def find_backup(runs: Path, name: str) -> Path:
    """The folder of a backup by its run's id, or by its path. Names with `..` or links are refused. Raises `Refused`."""
    given = Path(name)
    if given.is_dir() and (given / MANIFEST).is_file():
        return given
    if given.is_dir() and (given / BACKUP / MANIFEST).is_file():
        return given / BACKUP
    inside = runs / name / BACKUP
    plain = given.name == name and name not in (".", "..")
    if plain and (inside / MANIFEST).is_file() and not inside.is_symlink() and not inside.parent.is_symlink():
        return inside
    raise Refused(f"There is no backup {name!r} in {runs}.", hint="lawsker-db backup list")


def to_remove(kept: tuple[Kept, ...], *, keep_last: int, keep_days: int, now: datetime) -> tuple[Kept, ...]:
    """Pure. Backups that may go: not among the newest `keep_last`, older than `keep_days`, no longer wanted by a run, and
    never the newest proven one of its database."""
    by_database: dict[tuple[str, str], list[Kept]] = {}
    for backup in kept:
        server = backup.manifest.server
        by_database.setdefault((str(server["system_identifier"]), str(server["database"])), []).append(backup)
    going: list[Kept] = []
    for backups in by_database.values():
        newest_first = sorted(backups, key=lambda backup: backup.taken_at, reverse=True)
        proven = next((backup for backup in newest_first if backup.manifest.proof), None)
        limit = now - timedelta(days=keep_days)
        going += [
            backup
            for backup in newest_first[keep_last:]
            if backup.taken_at < limit and not backup.wanted_by and backup is not proven
        ]
    return tuple(sorted(going, key=lambda backup: backup.taken_at))


def prune(runs: Path, *, keep_last: int, keep_days: int, dry_run: bool = False) -> tuple[Kept, ...]:
    """Remove the backups that `to_remove` names, and nothing else of their runs. Returns them. Touches no database.

    The manifest goes first: a removal that is cut short leaves no backup that looks whole.
    """
    kept, _ = list_backups(runs)
    going = to_remove(kept, keep_last=keep_last, keep_days=keep_days, now=datetime.now(UTC))
    for backup in () if dry_run else going:
        (backup.folder / MANIFEST).unlink()
        shutil.rmtree(backup.folder)
    return going


def write_sql(folder: Path, to: Path) -> None:
    """Write a backup as the SQL that would make the database, by pg_restore. Reads the archive; no database.

    The file is for reading: restore with pg_restore, which stops at the first error and needs no psql. Raises
    `BackupFailed` when the archive is not what was written, `Refused` when the file exists already.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    if to.exists() or to.is_symlink():
        raise Refused(f"{to} exists already.", hint="name a file that does not")
    tool = find_tool("pg_restore", manifest.client_major)
    said = processes.run([str(tool.path), "--create", f"--file={to}", str(folder / manifest.archive)])
    if said.exit_code != 0:
        raise BackupFailed(
            f"{tool.label} failed: {said.stderr.strip()[:400]}", hint="free disk space, or take another backup"
        )
    to.chmod(0o600)


def _wanted_by(run_folder: Path) -> str:
    """The run that a backup belongs to, when it ended in a way after which somebody may want to go back."""
    try:
        report = json.loads((run_folder / "report.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return run_folder.name if report.get("verdict") in REFERRING else ""
