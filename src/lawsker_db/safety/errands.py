"""`backup create` and `backup verify`, each with a journal of its own, and what killed runs left behind.

A run that is killed leaves its scratch database behind. Its journal, which nobody holds any more, names it: from that
`recover` knows what is ours and may go.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, Proof, Server, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.databases import SCRATCH_NAME, drop_scratch, stands
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.session import UNKNOWN, identify, pinned
from lawsker_db.record.journal import (
    JOURNAL,
    Journal,
    create_run_folder,
    find_journals,
    new_run_id,
    read_journal,
    write_atomically,
)
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
DROPPED = "dropped.json"  # scratch databases of another server that recover found gone, or dropped
RECOVER = "lawsker-db recover"
PHASES = (Phase.PREFLIGHT, Phase.BACKUP, Phase.PROOF, Phase.HANDOVER)  # of `backup create`
PROVING = (Phase.PROOF,)  # of `backup verify`


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A scratch database that a run of ours created and did not drop, and the journal that says so."""

    database: str
    journal: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """A scratch database that a run of ours left on another server (--proof-server): a copy of this database. `place` is
    that server for people, without a password."""

    database: str
    place: str
    system_identifier: str
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


def count_journals(runs: Path) -> int:
    """How many runs and errands have a journal below `runs`, whether or not it may be read. Reads the disk."""
    found = find_journals(runs, JOURNAL, ERRAND)
    return len(found.alive) + len(found.ended) + len(found.hidden)


def find_leftovers(conn: Connection, runs: Path) -> tuple[Leftover, ...]:
    """Scratch databases on this server that a journal below `runs` names, whose run has ended. Reads."""
    standing = set(conn.execute(text("SELECT datname FROM pg_database")).scalars())
    found: list[Leftover] = []
    for path in find_journals(runs, JOURNAL, ERRAND).ended:
        found += [Leftover(database=name, journal=path) for name in scratches_left(path) if name in standing]
    return tuple(found)


def find_away(runs: Path, server: Server, ours: frozenset[tuple[str, int]]) -> tuple[Away, ...]:
    """Copies of this database, by which names (`ours`) it ever went, that an ended run left on another server. Reads the
    disk: nobody asks that server."""
    return tuple(
        Away(database=name, place=str(facts["place"]), system_identifier=there["system_identifier"], journal=path)
        for path in find_journals(runs, JOURNAL, ERRAND).ended
        for name, facts in _created(path).items()
        if (there := facts.get("server")) and _origin(facts) in ours and not _same_server(there, server)
    )


def _origin(facts: dict[str, Any]) -> tuple[str, int]:
    """Pure. Of which database a copy is."""
    of = facts.get("of", {})
    return str(of.get("system_identifier", UNKNOWN)), int(of.get("database_oid", 0))


def _same_server(there: dict[str, str], here: Server) -> bool:
    """Pure. Whether a copy was made on this server: by its identifier, by its address where nobody may read that."""
    if UNKNOWN in (there["system_identifier"], here.system_identifier):
        return there["address"] == here.address
    return there["system_identifier"] == here.system_identifier


def drop_away(proof_server: Target, away: tuple[Away, ...]) -> tuple[Away, ...]:
    """Drop those of these copies that are of the server of `proof_server`, and note in the folders of their runs that they
    are gone. Returns them: also those that somebody had dropped already.

    Where its identifier may not be read, one that stands there by its name is of it. Raises `Refused`.
    """
    gone = []
    with proof_server.connect(autocommit=True) as conn:
        here = identify(conn, sized=False).system_identifier
        for left in away:
            known = UNKNOWN not in (here, left.system_identifier)
            if here == left.system_identifier if known else stands(conn, left.database):
                drop_scratch(conn, left.database)
                _note_dropped(left)
                gone.append(left)
    return tuple(gone)


def _note_dropped(left: Away) -> None:
    names = sorted({*_dropped_later(left.journal), left.database})
    try:
        write_atomically(left.journal.with_name(DROPPED), json.dumps(names).encode())
    except OSError as failed:
        raise disk_failed(left.journal.parent, failed) from failed


def _dropped_later(journal: Path) -> tuple[str, ...]:
    """What a recover has noted beside a journal as dropped. Reads the disk."""
    try:
        return tuple(map(str, json.loads(journal.with_name(DROPPED).read_bytes())))
    except (OSError, ValueError, TypeError):
        return ()


def find_unfinished(runs: Path) -> tuple[Path, ...]:
    """Folders of backups that a run below `runs` began and did not finish, and whose run has ended. Reads the disk."""
    found = []
    for path in find_journals(runs, JOURNAL, ERRAND).ended:
        backup = path.parent / BACKUP
        if backup.is_dir() and not backup.is_symlink() and not (backup / MANIFEST).exists():
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
    return tuple(_created(journal))


def _created(journal: Path) -> dict[str, dict[str, Any]]:
    """Those, each with what the journal says of where it is and of what."""
    left: dict[str, dict[str, Any]] = {}
    for event in read_journal(journal):
        facts = event.get("facts", {})
        name = str(facts.get("database", ""))
        if event.get("name") == "scratch" and SCRATCH_NAME.fullmatch(name):
            left[name] = facts
        if event.get("name") == "dropped":
            left.pop(name, None)
    for name in _dropped_later(journal):
        left.pop(name, None)
    return left


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
