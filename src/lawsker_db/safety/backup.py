"""Take a backup: a pg_dump and a fingerprint of every table under one exported snapshot, and a manifest.

A backup is proven only when it was restored and found equal: that is `safety/proof.py`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from lawsker_db import __version__, processes
from lawsker_db.errors import BackupFailed, UsageError
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, RestorePoint, Server, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.catalog import Catalog, catalog_digest, read_catalog
from lawsker_db.postgres.content import (
    Content,
    Sequence,
    Tally,
    end_readers,
    mark_readers,
    read_content,
    read_sequences,
    read_sequences_under,
)
from lawsker_db.postgres.databases import DatabaseProperties, read_properties
from lawsker_db.postgres.session import find_schema, identify, literal, pin_session
from lawsker_db.postgres.snapshot import Snapshot, hold_snapshot, mark_restore_point
from lawsker_db.postgres.tools import bare_environment
from lawsker_db.record.journal import NEW_FILE, PRIVATE_FILE, PRIVATE_FOLDER
from lawsker_db.record.manifest import CATALOG, MANIFEST, Manifest, file_digest, write_catalog, write_manifest
from lawsker_db.revisions import current_revisions
from lawsker_db.safety.archive import (
    GLOBALS,
    POLL_S,
    Form,
    Written,
    disk_failed,
    ended_how,
    write_archive,
    write_globals,
)
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.target import Target, session_mark

PROGRESS_S = 1.0
MOST_JOBS = 4  # beyond it the disk is the limit on most machines, and the application needs its share of the cores
PATH = "{path}"
HOOK_LOG = "after-backup.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    """How a backup is taken. `jobs` None: by the machine's cores. `after`: a command for each proven one, empty for none."""

    form: Form = Form.DIRECTORY
    jobs: int | None = None
    after: str = ""

    @property
    def workers(self) -> int:
        """Pure but for the machine. How many tables pg_dump and pg_restore work on at once."""
        return self.jobs or max(1, min(MOST_JOBS, os.cpu_count() or 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a database under the snapshot of its dump."""

    server: Server
    properties: DatabaseProperties
    revision: tuple[str, ...]
    catalog: Catalog
    content: Content


def take_backup(
    target: Target,
    folder: Path,
    backup_id: str,
    *,
    options: BackupOptions | None = None,
    on_event: OnEvent = ignore,
) -> BackupReceipt:
    """Dump the database into `folder` (created, 0700), fingerprint its tables meanwhile, and write the manifest.

    Changes nothing in the database (where the role may, a named restore point goes into the WAL). pg_dump and the
    fingerprints take ACCESS SHARE on every table until they end: nobody who reads or writes waits; DDL does. The snapshot
    is held by a connection of its own as long. Raises `BackupFailed`; no half backup is left.
    """
    began = time.monotonic()
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    try:
        return _take(target, folder, backup_id, options or BackupOptions(), began, on_event)
    except BaseException:
        if not (folder / MANIFEST).exists():  # what lacks it is no backup, and would fill the disk for ever
            shutil.rmtree(folder, ignore_errors=True)
        raise


def hand_over(command: str, folder: Path, on_event: OnEvent = ignore) -> None:
    """Run the operator's own command on a proven backup, `{path}` in it being the folder: to carry it elsewhere.

    Touches no database. No shell reads it. What it says goes into a file (0600) beside the backup and nowhere else: it may
    name secrets of its own. Raises `UsageError` for a command that is none, `BackupFailed` when it fails:
    whoever wants a copy elsewhere wants it before the migration.
    """
    words = [word.replace(PATH, str(folder)) for word in after_words(command)]
    on_event(_event("handing over", f"--after-backup: {words[0]}"))
    log = folder.parent / HOOK_LOG
    try:
        with (
            os.fdopen(os.open(log, NEW_FILE, PRIVATE_FILE), "wb") as said,
            processes.started(words, env=bare_environment(), stdout=said, stderr=said) as child,
        ):
            exit_code = child.wait()
    except OSError as failed:
        raise BackupFailed(
            Phrase(
                "The command after the backup cannot be run: {program}: {why}.",
                program=words[0],
                why=str(failed.strerror),
            ),
            hint=Phrase("mend --after-backup, or leave it out; the backup itself is proven"),
        ) from failed
    if exit_code != 0:
        raise BackupFailed(
            Phrase(
                "The command after the backup {ended}; what it said is in {log}.",
                ended=ended_how(exit_code),
                log=str(log),
            ),
            hint=Phrase("mend what it names, or leave out --after-backup; the backup itself is proven"),
        )
    on_event(_event("handed over", Phrase("{program} ended well", program=words[0])))


def after_words(command: str) -> tuple[str, ...]:
    """Pure. The words of an --after-backup. Raises `UsageError` when there are none or a quotation does not end."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as failed:
        raise UsageError(
            Phrase("--after-backup cannot be read: {why}.", why=str(failed)),
            hint=Phrase("for example 'rclone copy {path} far:'"),
        ) from None
    if not words or PATH not in command:
        raise UsageError(
            Phrase("--after-backup names no {path}."), hint=Phrase("for example 'rclone copy {path} far:backups'")
        )
    return words


def _take(
    target: Target, folder: Path, backup_id: str, options: BackupOptions, began: float, on_event: OnEvent
) -> BackupReceipt:
    with target.connect() as conn:
        refuse_standby(server := identify(conn), target)
        point = mark_restore_point(conn, f"lawsker_{backup_id}")
        conn.rollback()
    with hold_snapshot(target) as snapshot, ThreadPoolExecutor(max_workers=1) as aside:
        facts = {"whose": "snapshot", "mark": session_mark(), **asdict(snapshot.holder)}
        on_event(_event("session", "", **facts))
        sequences = read_sequences_under(target, snapshot)
        marked = mark_readers(target)
        seeing = aside.submit(_see, marked, snapshot, tally := Tally())
        try:
            written = _dump(target, snapshot, folder, options, server, seeing, on_event)
            dump_s = round(time.monotonic() - began, 3)
            while wait((seeing,), timeout=POLL_S).not_done:
                reading = Phrase("fingerprinting: {done} of {whole} tables", done=tally.done, whole=tally.whole)
                on_event(_event("progress", reading, lasting=False, tables=tally.done, of=tally.whole))
            seen = seeing.result()
        except BaseException:
            end_readers(target, marked, seeing.done)
            raise
    with target.connect() as conn:
        sequences_after = read_sequences(conn)
        conn.rollback()
        without_globals = write_globals(conn, folder)
    try:
        write_catalog(folder, seen.catalog)
        files = dict(written.files)
        for name in (GLOBALS, CATALOG):
            if (folder / name).exists():
                files[name] = file_digest(folder / name)
        size = sum((folder / name).stat().st_size for name in files)
        manifest = _manifest(
            backup_id,
            written,
            snapshot,
            seen,
            (sequences, sequences_after),
            files=files,
            size=size,
            dump_s=dump_s,
            point=point,
            without_globals=without_globals,
        )
        write_manifest(folder, manifest)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    receipt = BackupReceipt(
        backup_id=backup_id,
        folder=str(folder),
        bytes=size,
        sha256=file_digest(folder / "SHA256SUMS"),
        snapshot=snapshot.name,
        client_version=written.client.label,
        duration_s=round(time.monotonic() - began, 3),
    )
    on_event(_event("taken", _taken(size, len(files), seen.content), **asdict(receipt)))
    return receipt


def _taken(size: int, files: int, content: Content) -> Phrase:
    """Pure. A backup in a line."""
    return Phrase(
        "{size:.1f} MB in {files} files; {tables} tables, {rows} rows",
        size=size / 1e6,
        files=files,
        tables=len(content.tables),
        rows=content.rows,
    )


def _dump(
    target: Target,
    snapshot: Snapshot,
    folder: Path,
    options: BackupOptions,
    server: Server,
    seeing: Future[Seen],
    on_event: OnEvent,
) -> Written:
    last = time.monotonic()

    def tell(written: int) -> None:
        """About once a second. A dump is smaller than its database; how much is not known.

        Fingerprints that have failed end the dump too: it may go on for hours, and would be no backup.
        """
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            if seeing.done():
                seeing.result()
            words = Phrase(
                "{written:.0f} MB written (database: {database:.0f} MB)",
                written=written / 1e6,
                database=server.data_bytes / 1e6,
            )
            on_event(_event("progress", words, lasting=False, bytes=written))

    jobs = options.workers
    together = Phrase("{jobs} at once", jobs=jobs) if options.form is Form.DIRECTORY else Phrase("one worker")
    words = Phrase(
        "pg_dump, {form} format, {together}, under snapshot {snapshot}",
        form=options.form.value,
        together=together,
        snapshot=snapshot.name,
    )
    on_event(_event("snapshot", words))
    with target.connect() as conn:
        return write_archive(conn, snapshot, folder, form=options.form, jobs=jobs, on_bytes=tell)


def _see(target: Target, snapshot: Snapshot, tally: Tally) -> Seen:
    """Content, catalog, properties and revision under the snapshot, on connections of their own.

    The catalog first: what a server prints of a definition is not under the snapshot, but as it is now.
    """
    with target.connect() as conn:
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        conn.execute(literal(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'"))
        pin_session(conn, find_schema(conn))
        server, properties = identify(conn), read_properties(conn)
        revision, catalog = current_revisions(conn), read_catalog(conn)
        conn.rollback()
    content = read_content(target, snapshot, tally=tally)
    return Seen(server=server, properties=properties, revision=revision, catalog=catalog, content=content)


def _manifest(
    backup_id: str,
    written: Written,
    snapshot: Snapshot,
    seen: Seen,
    sequences: tuple[tuple[Sequence, ...], tuple[Sequence, ...]],
    *,
    files: dict[str, str],
    size: int,
    dump_s: float,
    point: RestorePoint,
    without_globals: str,
) -> Manifest:
    before, after = sequences
    return Manifest(
        backup_id=backup_id,
        tool_version=__version__,
        taken_at=datetime.now(UTC).isoformat(),
        revision=seen.revision,
        server=asdict(seen.server),
        properties=asdict(seen.properties),
        snapshot={"name": snapshot.name, "taken_at": snapshot.taken_at, "lsn": snapshot.lsn},
        client=written.client.label,
        client_major=written.client.version[0],
        archive=written.archive,
        files=files,
        bytes=size,
        dump_s=dump_s,
        tables=seen.content.tables,
        large_objects=seen.content.large_objects,
        sequences=tuple(asdict(sequence) for sequence in before),
        sequences_after=tuple(asdict(sequence) for sequence in after),
        left_out=seen.content.left_out,
        without_globals=without_globals,
        catalog_digest=catalog_digest(seen.catalog),
        restore_point=point,
    )


def _event(name: str, words: str, *, lasting: bool = True, **facts: object) -> Event:
    return Event(phase=Phase.BACKUP, name=name, text=words, facts=facts, lasting=lasting)
