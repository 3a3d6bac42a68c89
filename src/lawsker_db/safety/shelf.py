"""The backups that are kept: list them, find one, thin them out, write one as readable SQL."""

from __future__ import annotations

import difflib
import errno
import json
import os
import shlex
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from lawsker_db import processes
from lawsker_db.errors import BackupFailed, Refused
from lawsker_db.phrases import Phrase, first_of, told_by
from lawsker_db.postgres.tools import Tool, bare_environment, find_tools
from lawsker_db.record.journal import NEW_FILE, PRIVATE_FILE, sync_folder
from lawsker_db.record.manifest import MANIFEST, Manifest, check_files, read_manifest, swappable

BACKUP = "backup"  # the folder of a backup within the folder of its run
GOING = "backup.going"  # what `prune` has begun to remove
# Verdicts whose backup may still be wanted.
REFERRING = ("outcome unknown", "committed, not proven", "rolled back", "interrupted")
LAST = "last"
NEAREST = 5  # ids in an error
COMPLAINT_BYTES = 64 << 10
LISTING = Phrase("look what there is: lawsker-db backup list --runs FOLDER")


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

    @property
    def database(self) -> tuple[str, ...]:
        """Pure. Which database it is of, so that no other one is taken for the same."""
        server = self.manifest.server
        identifier = str(server["system_identifier"])
        known = (
            (identifier,) if identifier != "unknown" else (str(server.get("address")), str(server.get("database_oid")))
        )
        return (*known, str(server["database"]))


def list_backups(runs: Path) -> tuple[tuple[Kept, ...], tuple[str, ...]]:
    """Backups below the runs folder, oldest first, and sentences about what stands there in the place of one.

    Folders and files of others are passed over. Raises `Refused` when there is no such folder to look into.
    """
    kept: list[Kept] = []
    unreadable: list[str] = []
    for run_folder in _run_folders(runs):
        path = run_folder / BACKUP
        if os.path.lexists(run_folder / GOING):
            unreadable.append(
                Phrase(
                    "{path} is what a prune left that was cut short; the next one removes it",
                    path=str(run_folder / GOING),
                )
            )
        if not os.access(run_folder, os.R_OK | os.X_OK):
            unreadable.append(Phrase("{folder} may not be looked into", folder=str(run_folder)))
        elif not os.path.lexists(path):
            continue
        elif run_folder.is_symlink() or path.is_symlink():
            unreadable.append(Phrase("{folder} holds no backup: a symbolic link stands there", folder=str(run_folder)))
        elif not os.path.lexists(path / MANIFEST):
            unreadable.append(Phrase("{folder} holds no finished backup", folder=str(path)))
        else:
            try:
                kept.append(Kept(folder=path, manifest=read_manifest(path), wanted_by=_wanted_by(run_folder)))
            except BackupFailed as failed:
                unreadable.append(failed.message)
    return tuple(sorted(kept, key=lambda backup: backup.taken_at)), tuple(unreadable)


def newest_proven(kept: tuple[Kept, ...]) -> tuple[Kept, ...]:
    """Pure. The newest proven backup of each database, oldest first."""
    proven = {backup.database: backup for backup in sorted(kept, key=_age) if backup.manifest.proof}
    return tuple(sorted(proven.values(), key=_age))


def find_backup(runs: Path, name: str) -> Path:
    """The folder of a backup by its run's id, a part that only one has, `last` (the newest proven one), or its path. No
    link is followed at its end. Raises `Refused`."""
    plain = Path(name).name == name and name not in ("", ".", "..")
    inside = runs / name / BACKUP
    places = [inside] if plain else []
    if name:
        places += [Path(name), Path(name) / BACKUP]
    for place in places:
        if not _stands(place / MANIFEST):
            continue
        for link in (place, place.parent) if place.name == BACKUP else (place,):
            if link.is_symlink():
                leads = shlex.quote(str(link.resolve()))
                raise Refused(
                    Phrase("{link} is a symbolic link: it may be planted.", link=str(link)),
                    hint=Phrase("name what it leads to: {path}", path=str(leads)),
                )
        if place is inside:
            _require_private(runs)
        return place
    unfinished = next(
        (
            Phrase("; {place} holds no finished one", place=str(place))
            for place in places
            if place.name == BACKUP and place.is_dir()
        ),
        "",
    )
    kept = _kept(runs)
    meant = _meant(kept, name) if plain and not unfinished else ()
    if len(meant) == 1:
        return find_backup(runs, meant[0])
    raise _not_found(runs, name, tuple(backup.folder.parent.name for backup in kept), meant, unfinished)


def _kept(runs: Path) -> tuple[Kept, ...]:
    """The backups that a name may mean, none where the folder cannot be looked into. Reads the disk."""
    try:
        return list_backups(runs)[0]
    except Refused:
        return ()


def _meant(kept: tuple[Kept, ...], name: str) -> tuple[str, ...]:
    """Pure. The ids that a name may mean which is not one itself."""
    if name == LAST:
        return tuple(backup.folder.parent.name for backup in newest_proven(kept)[-1:])
    return tuple(backup.folder.parent.name for backup in kept if name in backup.folder.parent.name)


def _not_found(runs: Path, name: str, known: tuple[str, ...], meant: tuple[str, ...], unfinished: str) -> Refused:
    """Pure. That nobody can tell which backup is meant, with those that may be."""
    if meant:
        listed = first_of(meant, NEAREST)
        return Refused(
            Phrase("{name} is a part of {count} backups: {listed}.", name=name, count=len(meant), listed=listed),
            hint=Phrase("type more of it, or the whole id"),
        )
    if name == LAST and known and not unfinished:
        return Refused(
            Phrase("None of the backups in {runs} is proven.", runs=str(runs)),
            hint=f"lawsker-db backup verify {known[-1]}",
        )
    near = difflib.get_close_matches(name, known, n=NEAREST, cutoff=0.4) or known[-NEAREST:]
    return Refused(
        Phrase("There is no backup {name!r} in {runs}{unfinished}.", name=name, runs=str(runs), unfinished=unfinished),
        hint=Phrase("the nearest: {listed}; all of them: lawsker-db backup list --runs FOLDER", listed=", ".join(near))
        if near
        else LISTING,
    )


def to_remove(kept: tuple[Kept, ...], *, keep_last: int, keep_days: int, now: datetime) -> tuple[Kept, ...]:
    """Pure. Backups that may go: not among the newest `keep_last`, older than `keep_days`, no longer wanted by a run, and
    never the newest proven one of its database."""
    by_database: dict[tuple[str, ...], list[Kept]] = {}
    for backup in kept:
        by_database.setdefault(backup.database, []).append(backup)
    stays = newest_proven(kept)
    limit = now - timedelta(days=keep_days)
    going = [
        backup
        for backups in by_database.values()
        for backup in sorted(backups, key=_age, reverse=True)[keep_last:]
        if backup.taken_at < limit and not backup.wanted_by and backup not in stays
    ]
    return tuple(sorted(going, key=_age))


def prune(runs: Path, *, keep_last: int, keep_days: int, dry_run: bool = False) -> tuple[tuple[Kept, str], ...]:
    """Remove the backups that `to_remove` names, and nothing else of their runs. Touches no database.

    Returns each with the reason why it could not be removed, empty where it was; one that someone else has removed
    meanwhile is not among them. What an earlier removal left, which was cut short, goes too. Raises `Refused` when
    others may write into the runs folder.
    """
    kept, _ = list_backups(runs)
    _require_private(runs)
    going = to_remove(kept, keep_last=keep_last, keep_days=keep_days, now=datetime.now(UTC))
    if dry_run:
        return tuple((backup, "") for backup in going)
    for run_folder in _run_folders(runs):
        if os.path.lexists(run_folder / GOING) and not run_folder.is_symlink():
            shutil.rmtree(run_folder / GOING, ignore_errors=True)
    removed = ((backup, _remove(backup.folder)) for backup in going)
    return tuple((backup, why) for backup, why in removed if why is not None)


def write_sql(folder: Path, to: Path) -> None:
    """Write a backup as the SQL that would make the database, by pg_restore. Reads the archive; no database.

    The file is for reading: restore with pg_restore, which stops at the first error and needs no psql. It is private
    from its first byte, and under its name only when it is whole. Raises `BackupFailed` when the archive is not what
    was written, `Refused` when the file exists already or cannot be written.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    tool = _find_reader(manifest.client_major)
    if to.resolve().is_relative_to(folder.resolve()):
        raise Refused(
            Phrase("{file} would stand within the backup and spoil it.", file=str(to)),
            hint=Phrase("name a file elsewhere"),
        )
    partial = to.with_name(f"{to.name}.partial")
    for path in (to, partial):
        if os.path.lexists(path):
            raise Refused(
                Phrase("{path} exists already.", path=str(path)),
                hint=Phrase("name a file that does not, or remove that one"),
            )
    try:
        with os.fdopen(os.open(partial, NEW_FILE, PRIVATE_FILE), "wb") as file:
            try:
                _print_archive(tool, folder / manifest.archive, file)
                os.fsync(file.fileno())
                if os.path.lexists(to):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(to))
                partial.rename(to)
            finally:
                partial.unlink(missing_ok=True)
        sync_folder(to.absolute().parent)
    except OSError as failed:
        raise Refused(
            Phrase("{file} cannot be written: {why}.", file=str(to), why=str(failed.strerror)),
            hint=Phrase("name a file where there is room"),
        ) from failed


def _print_archive(tool: Tool, archive: Path, file: IO[bytes]) -> None:
    """Have pg_restore write an archive as SQL into an open file. Raises `BackupFailed` with what it said."""
    command = [str(tool.path), "--create", "--file=-", str(archive)]
    with tempfile.TemporaryFile() as complaints:
        with processes.started(command, env=bare_environment(), stdout=file, stderr=complaints) as child:
            exit_code = child.wait()
        complaints.seek(0)
        said = complaints.read(COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
    if exit_code != 0:
        raise BackupFailed(
            Phrase(
                "{tool} could not write the backup as SQL: {said}",
                tool=tool.label,
                said=said[0] if said else Phrase("it said nothing"),
            ),
            hint=Phrase(
                "name a file where there is room; if that is not it: lawsker-db backup verify {folder}",
                folder=shlex.quote(str(archive.parent)),
            ),
        )


def _find_reader(client_major: int) -> Tool:
    """The pg_restore that reads an archive of this major: the nearest that is not older. Raises `Refused`."""
    tools = find_tools("pg_restore")
    reading = [tool for tool in tools if tool.version[0] >= client_major]
    if reading:
        return min(reading, key=lambda tool: (tool.version[0], -tool.version[1]))
    found = ", ".join(sorted({tool.label for tool in tools})) or Phrase("no pg_restore at all")
    raise Refused(
        Phrase(
            "An archive by pg_dump {major} needs pg_restore {major} or newer; found {found}.",
            major=client_major,
            found=found,
        ),
        hint=Phrase(
            "apt-get install postgresql-client-{major}, or set LAWSKER_PG_BIN to the folder that has it",
            major=client_major,
        ),
    )


def _remove(folder: Path) -> str | None:
    """Remove one backup: out of sight first, so that a removal cut short leaves nothing that looks whole.

    Returns why it could not be removed, empty when it was, None when it was gone already.
    """
    going = folder.with_name(GOING)
    try:
        folder.rename(going)
        sync_folder(folder.parent)
        shutil.rmtree(going)
        with suppress(OSError):  # the run's folder, where nothing else is in it
            folder.parent.rmdir()
    except FileNotFoundError:
        return None
    except OSError as failed:
        return f"{failed.strerror}: {failed.filename}"
    return ""


def _run_folders(runs: Path) -> list[Path]:
    try:
        return sorted(entry for entry in runs.iterdir() if entry.is_dir())
    except OSError as failed:
        raise Refused(
            Phrase("The runs folder {runs} cannot be looked into: {why}.", runs=str(runs), why=str(failed.strerror)),
            hint=Phrase("name the folder of your runs: --runs FOLDER; lawsker-db backup create makes a first one"),
        ) from failed


def _require_private(runs: Path) -> None:
    if swappable(runs):
        raise Refused(
            Phrase("Others may write into {folder}: a backup there could be swapped.", folder=str(runs)),
            hint=f"chmod go-w {shlex.quote(str(runs))}",
        )


def _stands(path: Path) -> bool:
    """Whether something has this name. Raises `Refused` when that cannot be told."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as failed:
        said = str(failed.strerror) if isinstance(failed, OSError) else told_by(failed)
        raise Refused(
            Phrase("There is no backup that can be looked at under {path!r}: {why}.", path=str(path), why=said),
            hint=LISTING,
        ) from failed
    return True


def _wanted_by(run_folder: Path) -> str:
    """The run that a backup belongs to, when somebody may want to go back: how it ended says so, or nothing tells.

    A run without a report goes on at this moment, was killed, or had no room to write one. (`backup create` has no
    journal: nobody refers to what it takes.)
    """
    try:
        report = json.loads((run_folder / "report.json").read_bytes())
        return run_folder.name if report["verdict"] in REFERRING else ""
    except FileNotFoundError:
        return run_folder.name if os.path.lexists(run_folder / "journal.jsonl") else ""
    except (OSError, ValueError, KeyError, TypeError):
        return run_folder.name


def _age(backup: Kept) -> datetime:
    return backup.taken_at
