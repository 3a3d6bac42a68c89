"""`backup create` and `backup verify`, each with a journal of its own, and what killed runs left behind.

A run that is killed leaves its scratch database behind. Its journal, which nobody holds any more, names it: from that
`recover` knows what is ours and may go.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, Proof, Server, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.databases import SCRATCH_NAME, drop_scratch
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.session import identify, pinned
from lawsker_db.record.journal import JOURNAL, Journal, create_run_folder, goes_on, new_run_id, read_journal
from lawsker_db.record.log import forget_log, log_event
from lawsker_db.record.manifest import MANIFEST, read_manifest
from lawsker_db.safety.archive import disk_failed
from lawsker_db.safety.backup import BackupOptions, hand_over, take_backup
from lawsker_db.safety.pace import Errand, Pace, Timed, looking, timed
from lawsker_db.safety.precedent import pace_of, pace_of_restore
from lawsker_db.safety.preflight import refuse_standby, refuse_unless
from lawsker_db.safety.proof import verify_backup
from lawsker_db.safety.provisions import backup_checks, proof_checks
from lawsker_db.safety.shelf import BACKUP
from lawsker_db.target import Target

ERRAND = "errand.jsonl"  # of what is no run: it goes when the errand has ended and left nothing
RECOVER = "lawsker-db recover"
PHASES = (Phase.PREFLIGHT, Phase.BACKUP, Phase.PROOF, Phase.HANDOVER)  # of `backup create`
PROVING = (Phase.PROOF,)  # of `backup verify`


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A scratch database that a run of ours created and did not drop, and the journal that says so."""

    database: str
    journal: Path


def create_backup(
    target: Target,
    runs: Path,
    *,
    options: BackupOptions,
    proven: bool = True,
    proof_server: Target | None = None,
    on_event: OnEvent = ignore,
) -> BackupReceipt:
    """Look whether it can be, take a backup into a new folder below `runs`, and prove it, on `proof_server` if one is given.

    Changes nothing in the database; locks as take_backup. Raises `Refused` before it begins, `BackupFailed` and
    `BackupUnproven`, whose field `folder` names what was kept all the same.
    """
    times = Errand(pace=Pace(phases=_phases(options, proven=proven)))
    with looking(times, on_event, Phrase("whether a backup can be taken")):
        server = _look(target, runs, prove=proven and proof_server is None)
    times.pace = pace_of(times.pace.phases, runs, server)
    target = pinned(target, server)
    run_id = new_run_id("backup")
    folder = create_run_folder(runs.absolute(), run_id)
    try:
        with journalled(folder, on_event, times.told) as tell:
            place = folder / BACKUP
            if proven:
                return take_proven_backup(
                    target, place, run_id, options=options, proof_server=proof_server, times=times, on_event=tell
                )
            with timed(times, Phase.BACKUP, tell, Phrase("pg_dump into {folder}", folder=str(place))):
                return take_backup(target, place, run_id, options=options, on_event=tell)
    except LawskerError as failed:
        if (folder / BACKUP).is_dir():
            failed.fields = {**failed.fields, "folder": str(folder / BACKUP)}
        raise
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _phases(options: BackupOptions, *, proven: bool) -> tuple[Phase, ...]:
    """Pure. The phases of a backup with these options."""
    wanted = {Phase.PROOF: proven, Phase.HANDOVER: bool(options.after)}
    return tuple(phase for phase in PHASES if wanted.get(phase, True))


def _look(target: Target, runs: Path, *, prove: bool) -> Server:
    """The server of a backup that is to be taken. Reads only. Raises `Refused` with all that stands against it."""
    require_direct(target)
    with target.connect() as conn:
        refuse_standby(server := identify(conn), target)
        checks = backup_checks(conn, server, runs)
        if prove:
            checks += proof_checks(conn, server, warning=False)
        conn.rollback()
    refuse_unless(tuple(checks), what=Phrase("No backup can be taken"))
    return server


def take_proven_backup(
    target: Target,
    folder: Path,
    backup_id: str,
    *,
    options: BackupOptions | None = None,
    proof_server: Target | None = None,
    times: Timed | None = None,
    on_event: OnEvent = ignore,
) -> BackupReceipt:
    """Take a backup, prove it by a trial restore into a scratch database, hand it over. Changes nothing in the database.

    Raises `BackupUnproven` or `BackupFailed`; what was written whole stays in `folder`.
    """
    options = options or BackupOptions()
    times = times or Errand(pace=Pace(phases=_phases(options, proven=True)[1:]))
    with timed(times, Phase.BACKUP, on_event, Phrase("pg_dump into {folder}", folder=str(folder))):
        receipt = take_backup(target, folder, backup_id, options=options, on_event=on_event)
    with timed(times, Phase.PROOF, on_event, Phrase("trial restore and comparison")):
        verify_backup(proof_server or target, folder, jobs=options.jobs, on_event=on_event)
    if options.after:
        with timed(times, Phase.HANDOVER, on_event, Phrase("the command after the backup")):
            hand_over(options.after, folder, on_event)
    return replace(receipt, proven=True)


def verify_kept(
    target: Target, backup: Path, runs: Path, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> Proof:
    """Prove a backup that is kept, on the server of `target`, with a journal below `runs` as long as it takes.

    Raises what verify_backup raises.
    """
    folder = create_run_folder(runs.absolute(), new_run_id("verify"))
    try:
        times = Errand(pace=pace_of_restore(PROVING, read_manifest(backup)))
        with (
            journalled(folder, on_event) as tell,
            timed(times, Phase.PROOF, tell, Phrase("trial restore and comparison")),
        ):
            return verify_backup(target, backup, jobs=jobs, on_event=tell)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def find_leftovers(conn: Connection, runs: Path) -> tuple[Leftover, ...]:
    """Scratch databases on this server that a journal below `runs` names, whose run has ended. Reads."""
    standing = set(conn.execute(text("SELECT datname FROM pg_database")).scalars())
    found: list[Leftover] = []
    for path in sorted((*runs.glob(f"*/{JOURNAL}"), *runs.glob(f"*/{ERRAND}"))):
        if path.is_symlink() or path.parent.is_symlink() or goes_on(path):
            continue
        found += [Leftover(database=name, journal=path) for name in scratches_left(path) if name in standing]
    return tuple(found)


def find_unfinished(runs: Path) -> tuple[Path, ...]:
    """Folders of backups that a run below `runs` began and did not finish, and whose run has ended. Reads the disk."""
    found = []
    for path in sorted((*runs.glob(f"*/{JOURNAL}"), *runs.glob(f"*/{ERRAND}"))):
        backup = path.parent / BACKUP
        ours = not any(place.is_symlink() for place in (path, path.parent, backup)) and backup.is_dir()
        if ours and not goes_on(path) and not (backup / MANIFEST).exists():
            found.append(backup)
    return tuple(found)


def remove_unfinished(runs: Path) -> tuple[Path, ...]:
    """Remove the backups of killed runs that were never finished: without a manifest they are none. Returns them."""
    unfinished = find_unfinished(runs)
    for folder in unfinished:
        shutil.rmtree(folder)
    return unfinished


def drop_leftovers(target: Target, runs: Path) -> tuple[str, ...]:
    """Drop the scratch databases of ended runs below `runs`, and whoever is connected to them. Returns their names.

    Drops nothing that no journal of ours names. Raises `Refused` when the server does not let it.
    """
    with target.connect(autocommit=True) as conn:
        leftovers = find_leftovers(conn, runs)
        for leftover in leftovers:
            drop_scratch(conn, leftover.database)
            if leftover.journal.name == ERRAND:
                leftover.journal.unlink(missing_ok=True)
    return tuple(leftover.database for leftover in leftovers)


def scratches_left(journal: Path) -> tuple[str, ...]:
    """The scratch databases that a journal names as created and not as dropped. Reads the file."""
    left: dict[str, None] = {}
    for event in read_journal(journal):
        name = str(event.get("facts", {}).get("database", ""))
        if event.get("name") == "scratch" and SCRATCH_NAME.fullmatch(name):
            left[name] = None
        if event.get("name") == "dropped":
            left.pop(name, None)
    return tuple(left)


@contextmanager
def journalled(folder: Path, on_event: OnEvent, told: Iterable[Event] = ()) -> Iterator[Callable[[Event], None]]:
    """The journal first, then whoever watches. It is removed at the end, unless it names something that was left."""
    try:
        with Journal(folder, ERRAND) as journal:

            def keep(event: Event) -> None:
                try:
                    journal.write(event)
                except OSError as failed:
                    raise disk_failed(folder, failed) from failed
                log_event(folder, event)

            def tell(event: Event) -> None:
                keep(event)
                on_event(event)

            for event in told:
                keep(event)
            yield tell
    finally:
        path = folder / ERRAND
        if path.exists() and not scratches_left(path):
            path.unlink()
            forget_log(folder)
