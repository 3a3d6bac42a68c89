"""drill: restore a backup into a scratch database, prove it, time it, drop it; and keep how long it took.

What was restored yesterday will restore tonight, and somebody knows how long that takes.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lawsker_db.errors import BackupFailed, Refused, RestoreFailed
from lawsker_db.evidence import Event, OnEvent, Phase, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import UNKNOWN, identify
from lawsker_db.postgres.statistics import analyze_all
from lawsker_db.record.journal import PRIVATE_FILE, create_run_folder, new_run_id
from lawsker_db.record.manifest import Manifest, read_manifest
from lawsker_db.safety.backup import BackupOptions
from lawsker_db.safety.errands import journalled
from lawsker_db.safety.pace import Errand, timed
from lawsker_db.safety.precedent import pace_of_restore
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.safety.proof import prove, restored_copy
from lawsker_db.safety.shelf import Kept, find_backup, list_backups
from lawsker_db.target import Target

DRILLS = "drills.jsonl"
PHASES = (Phase.RESTORE,)
TAKE_ONE = "lawsker-db backup create"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill: which backup, whether it was restored and equal, and how long until it could have been used."""

    at: str
    backup_id: str
    taken_at: str
    database: str
    rows: int
    bytes: int
    ok: bool
    said: str
    whole_s: float
    restore_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """A drill, and all drills of the folder of that database, oldest first, this one among them. `note`: what could not be
    written down, empty when nothing."""

    drill: Drill
    history: tuple[Drill, ...]
    note: str

    @property
    def median_s(self) -> float:
        """Pure. How long a restore takes, by those that went well."""
        return statistics.median([one.whole_s for one in self.history if one.ok] or [self.drill.whole_s])


def drill(
    target: Target, runs: Path, name: str = "", *, jobs: int | None = None, on_event: OnEvent = ignore
) -> Drilled:
    """Restore the newest backup of the database of `target` (or the one that is named) into a scratch database there,
    gather statistics, prove it, drop it, and add a line to the history. The database itself is not touched.

    Raises `Refused` when no drill can be made here, `RestoreFailed` when the backup does not restore or is not equal.
    """
    backup = find_backup(runs, name) if name else newest(target, runs)
    manifest = read_manifest(backup)
    folder = create_run_folder(runs.absolute(), new_run_id("drill"))
    times, began = Errand(pace=pace_of_restore(PHASES, manifest)), time.monotonic()
    try:
        with (
            journalled(folder, on_event) as tell,
            timed(times, Phase.RESTORE, tell, Phrase("backup {backup}, restored beside", backup=manifest.backup_id)),
            restored_copy(target, backup, manifest, jobs=jobs, on_event=tell) as copy,
        ):
            tell(Event(phase=Phase.RESTORE, name="statistics", text=Phrase("gathering statistics"), lasting=False))
            analyze_all(copy.target, connections=BackupOptions(jobs=jobs).workers)
            proof = prove(copy, backup, manifest, on_event=tell)
            whole_s = time.monotonic() - began
        made = _drill(manifest, whole_s, rows=proof.rows, restore_s=proof.restore_s)
    except BackupFailed as failed:
        note = _keep(runs, _drill(manifest, time.monotonic() - began, said=failed.message))
        state = Phrase("The database was not touched; it has no backup that is known to restore.") if not name else None
        fields = {"not_noted": note} if note else {}
        raise RestoreFailed(
            Phrase("The drill failed: {why}", why=failed.message),
            state=state or Phrase("The database was not touched."),
            hint=failed.hint,
            **fields,
        ) from failed
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    note = _keep(runs, made)
    history = read_drills(runs, made.database)
    return Drilled(drill=made, history=history if not note else (*history, made), note=note)


def newest(target: Target, runs: Path) -> Path:
    """The newest backup below `runs` of the database of `target`, proven or not. Asks the server who it is. Raises
    `Refused` when there is none."""
    with target.connect() as conn:
        refuse_standby(server := identify(conn, sized=False), target)
        conn.rollback()
    kept, unreadable = list_backups(runs)

    def is_of_it(backup: Kept) -> bool:
        origin = backup.manifest.server
        known = (str(origin["system_identifier"]), server.system_identifier)
        same = known[0] == known[1] if UNKNOWN not in known else origin.get("address") == server.address
        return same and origin["database"] == server.database

    found = [backup for backup in kept if is_of_it(backup)]
    if not found:
        what = {"database": server.database, "runs": str(runs)}
        none = Phrase("There is no backup of {database} in {runs}.", **what)
        if unreadable:
            number = len(unreadable)
            none = Phrase("There is no backup of {database} in {runs}; {number} cannot be read.", **what, number=number)
        raise Refused(none, hint=TAKE_ONE)
    return found[-1].folder


def read_drills(runs: Path, database: str | None = None) -> tuple[Drill, ...]:
    """The drills that are on record below `runs`, oldest first. Lines that are torn or of another version are passed over.

    Reads the disk.
    """
    found: list[Drill] = []
    try:
        lines = (runs / DRILLS).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as failed:
        raise Refused(
            Phrase("{file} cannot be read: {why}.", file=str(runs / DRILLS), why=str(failed.strerror)),
            hint=Phrase("name it: --runs FOLDER"),
        ) from failed
    for line in lines:
        try:
            facts: dict[str, Any] = json.loads(line)
            found.append(Drill(**facts))
        except (ValueError, TypeError):
            continue
    return tuple(one for one in found if database in (None, one.database))


def _drill(manifest: Manifest, whole_s: float, *, rows: int = 0, restore_s: float = 0.0, said: str = "") -> Drill:
    return Drill(
        at=datetime.now(UTC).isoformat(),
        backup_id=manifest.backup_id,
        taken_at=manifest.taken_at,
        database=str(manifest.server["database"]),
        rows=rows,
        bytes=manifest.bytes,
        ok=not said,
        said=said,
        whole_s=round(whole_s, 3),
        restore_s=restore_s,
    )


def _keep(runs: Path, made: Drill) -> str:
    """Add a line to the history, whole or not at all as far as readers can tell. Returns what went wrong, empty when nothing
    did: it changes nothing in what the drill has found."""
    line = json.dumps(asdict(made), ensure_ascii=False).encode() + b"\n"
    try:
        handle = os.open(runs / DRILLS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, PRIVATE_FILE)
        try:
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as failed:
        return Phrase("the history of drills could not be written: {why}", why=str(failed.strerror))
    return ""
