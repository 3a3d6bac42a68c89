"""Take a backup: a parallel pg_dump and a fingerprint of every table under one exported snapshot, and a manifest.

A backup is proven only when it was restored and found equal: that is `safety/proof.py`.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import text

from lawsker_db import __version__, processes
from lawsker_db.errors import BackupFailed
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, Server, ignore
from lawsker_db.postgres.catalog import Catalog, catalog_digest, read_catalog
from lawsker_db.postgres.content import (
    LOCK_WAIT,
    Content,
    Sequence,
    end_readers,
    mark_readers,
    read_content,
    read_sequences,
)
from lawsker_db.postgres.databases import DatabaseProperties, read_properties
from lawsker_db.postgres.session import find_schema, identify, literal, pin_session
from lawsker_db.postgres.snapshot import Snapshot, hold_snapshot
from lawsker_db.postgres.tools import Tool, compression, find_tool, is_local, tool_access
from lawsker_db.record.journal import PRIVATE_FILE, PRIVATE_FOLDER, sync_folder
from lawsker_db.record.manifest import ARCHIVE, CATALOG, Manifest, file_digest, write_catalog, write_manifest
from lawsker_db.revisions import current_revisions
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.target import Target

PROGRESS_S = 1.0
DISK_FULL = "No space left on device"  # strerror(ENOSPC): PostgreSQL's programs give no code of their own
MOST_JOBS = 4  # beyond it the disk is the limit on most machines, and the application needs its share of the cores
COMPLAINT_BYTES = 64 << 10
MAGIC = b"PGDMP"  # the first bytes of the table of contents of every archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a database under the snapshot of its dump."""

    server: Server
    properties: DatabaseProperties
    revision: tuple[str, ...]
    catalog: Catalog
    content: Content


def default_jobs() -> int:
    """Pure but for the machine. How many tables pg_dump reads at once."""
    return max(1, min(MOST_JOBS, os.cpu_count() or 1))


def take_backup(
    target: Target, folder: Path, backup_id: str, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> tuple[BackupReceipt, Seen]:
    """Dump the database into `folder` (created, 0700), fingerprint its tables meanwhile, and write the manifest.

    Changes nothing in the database. pg_dump and the fingerprints take ACCESS SHARE on every table until they end: nobody
    who reads or writes waits; DDL does. The snapshot is held by a connection of its own as long. Raises `BackupFailed`;
    no half archive is left under its final name.
    """
    began = time.monotonic()
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    try:
        return _take(target, folder, backup_id, jobs or default_jobs(), began, on_event)
    except BaseException:
        shutil.rmtree(folder / f"{ARCHIVE}.partial", ignore_errors=True)
        with suppress(OSError):  # only when it is empty: what was written whole is kept
            folder.rmdir()
        raise


def _take(
    target: Target, folder: Path, backup_id: str, jobs: int, began: float, on_event: OnEvent
) -> tuple[BackupReceipt, Seen]:
    with target.connect() as conn:
        refuse_standby(identify(conn), target)
        conn.rollback()
    with hold_snapshot(target) as snapshot, ThreadPoolExecutor(max_workers=1) as aside:
        marked = mark_readers(target)
        seeing = aside.submit(_see, marked, snapshot)
        try:
            tool = _dump(target, snapshot, folder, jobs, on_event)
        except BaseException:
            end_readers(target, marked, seeing.done)
            raise
        dump_s = round(time.monotonic() - began, 3)
        seen = seeing.result()
    with target.connect() as conn:
        sequences_after = read_sequences(conn)
        conn.rollback()
    try:
        write_catalog(folder, seen.catalog)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    paths = [*sorted((folder / ARCHIVE).iterdir()), folder / CATALOG]
    files = {str(path.relative_to(folder)): file_digest(path) for path in paths}
    size = sum(path.stat().st_size for path in paths)
    manifest = _manifest(backup_id, tool, snapshot, seen, sequences_after, files=files, size=size, dump_s=dump_s)
    try:
        write_manifest(folder, manifest)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    receipt = BackupReceipt(
        backup_id=backup_id,
        folder=str(folder),
        bytes=size,
        sha256=file_digest(folder / "SHA256SUMS"),
        snapshot=snapshot.name,
        client_version=tool.label,
        duration_s=round(time.monotonic() - began, 3),
    )
    words = f"{size / 1e6:.1f} MB in {len(files)} files; {len(seen.content.tables)} tables, {seen.content.rows} rows"
    on_event(_event("taken", words, **asdict(receipt)))
    return receipt, seen


def disk_failed(folder: Path, failed: OSError) -> BackupFailed:
    """Pure. The disk does not take the backup."""
    return BackupFailed(
        f"The backup cannot be written to {folder}: {failed.strerror or failed}.",
        hint="free disk space there, or name another folder: --runs FOLDER",
    )


def _see(target: Target, snapshot: Snapshot) -> Seen:
    """Content, catalog, properties and revision under the snapshot, on connections of their own."""
    content = read_content(target, snapshot)
    with target.connect() as conn:
        conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        conn.execute(literal(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'"))
        pin_session(conn, find_schema(conn))
        seen = Seen(
            server=identify(conn),
            properties=read_properties(conn),
            revision=current_revisions(conn),
            catalog=read_catalog(conn),
            content=content,
        )
        conn.rollback()
    return seen


def _dump(target: Target, snapshot: Snapshot, folder: Path, jobs: int, on_event: OnEvent) -> Tool:
    """Run pg_dump into `ARCHIVE.partial`, and rename that when all is well. Returns which pg_dump it was."""
    partial = folder / f"{ARCHIVE}.partial"
    with target.connect() as conn, tempfile.TemporaryFile() as complaints:
        server = identify(conn)
        conn.rollback()
        tool = find_tool("pg_dump", server.major, local=is_local(conn))
        with tool_access(conn) as (where, environment):
            on_event(_event("snapshot", f"{tool.label} -j {jobs} under snapshot {snapshot.name}"))
            command = [
                str(tool.path),
                "--format=directory",
                f"--jobs={jobs}",
                f"--file={partial}",
                f"--compress={compression(tool, environment)}",
                f"--snapshot={snapshot.name}",
                f"--lock-wait-timeout={LOCK_WAIT}",
                "--no-password",
                f"--dbname={where}",
            ]
            with processes.started(command, env=environment, stdout=complaints, stderr=complaints) as child:
                exit_code = _watch(child, partial, server, on_event)
        _require_whole(partial, exit_code, complaints, tool)
    try:
        _settle(partial)
        partial.rename(folder / ARCHIVE)
        sync_folder(folder)
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    return tool


def _watch(child: processes.Child, partial: Path, server: Server, on_event: OnEvent) -> int:
    """Wait for pg_dump and say about once a second how much is written."""
    while not processes.ended(child, within_s=PROGRESS_S):
        written = sum(path.stat().st_size for path in partial.glob("*"))
        words = f"{written / 1e6:.0f} MB written (database: {server.data_bytes / 1e6:.0f} MB)"
        on_event(_event("progress", words, lasting=False, bytes=written))
    return child.returncode


def _require_whole(partial: Path, exit_code: int, complaints: IO[bytes], tool: Tool) -> None:
    """Refuse the archive of a pg_dump that failed, or that is no archive (a stand-in that exits 0 at once)."""
    if exit_code != 0:
        complaints.seek(0)
        said = complaints.read(COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
        if any(DISK_FULL in line for line in said):
            raise disk_failed(partial.parent, OSError(errno.ENOSPC, DISK_FULL))
        how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
        raise BackupFailed(
            f"{tool.label} {how}: {said[-1] if said else 'it said nothing'}",
            hint="mend what it names, then type it again",
        )
    table_of_contents = partial / "toc.dat"
    if not table_of_contents.is_file() or table_of_contents.read_bytes()[: len(MAGIC)] != MAGIC:
        raise BackupFailed(
            f"{tool.path} ended well but wrote no archive.",
            hint="look what that program is; LAWSKER_PG_BIN names the folder to take it from",
        )


def _settle(partial: Path) -> None:
    """Files and folder on disk, private, before the final name is given. Raises `OSError`."""
    partial.chmod(PRIVATE_FOLDER)
    for path in partial.iterdir():
        path.chmod(PRIVATE_FILE)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_folder(partial)


def _manifest(
    backup_id: str,
    tool: Tool,
    snapshot: Snapshot,
    seen: Seen,
    sequences_after: tuple[Sequence, ...],
    *,
    files: dict[str, str],
    size: int,
    dump_s: float,
) -> Manifest:
    return Manifest(
        backup_id=backup_id,
        tool_version=__version__,
        taken_at=datetime.now(UTC).isoformat(),
        revision=seen.revision,
        server=asdict(seen.server),
        properties=asdict(seen.properties),
        snapshot=asdict(snapshot),
        client=tool.label,
        client_major=tool.version[0],
        files=files,
        bytes=size,
        dump_s=dump_s,
        tables=seen.content.tables,
        large_objects=seen.content.large_objects,
        sequences=tuple(asdict(sequence) for sequence in seen.content.sequences),
        sequences_after=tuple(asdict(sequence) for sequence in sequences_after),
        left_out=seen.content.left_out,
        catalog_digest=catalog_digest(seen.catalog),
    )


def _event(name: str, words: str, *, lasting: bool = True, **facts: object) -> Event:
    return Event(phase=Phase.BACKUP, name=name, text=words, facts=facts, lasting=lasting)
