"""Prove a backup: restore it into a scratch database and compare content and catalog with what was dumped.

The copy stays for the block that asked for it, because a rehearsal stands on the same ground; then it is dropped.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from lawsker_db import processes
from lawsker_db.errors import BackupFailed, BackupUnproven, LawskerError
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, Proof, ignore
from lawsker_db.postgres.catalog import Difference, compare_catalogs, read_catalog
from lawsker_db.postgres.content import Content, Sequence, compare_content, read_content
from lawsker_db.postgres.databases import (
    DatabaseProperties,
    create_scratch,
    drop_scratch,
    may_create_databases,
    new_scratch_name,
)
from lawsker_db.postgres.session import find_schema, identify, pin_session
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.postgres.tools import find_tool, is_local, tool_access
from lawsker_db.record.manifest import (
    ARCHIVE,
    Manifest,
    check_files,
    read_catalog_of,
    read_manifest,
    write_manifest,
)
from lawsker_db.safety.backup import COMPLAINT_BYTES, DISK_FULL, default_jobs, disk_failed, take_backup
from lawsker_db.target import Target

SHOWN = 5
ACCEPT = "--accept-unproven-backup 'reason'"
# What a dump of one database does not carry: it hangs on the database, and stands in the manifest's properties.
OUTSIDE = ("database", "setting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A restored copy: the scratch database, and how long the restore took."""

    target: Target
    name: str
    restore_s: float


@contextmanager
def restored_copy(
    target: Target, folder: Path, manifest: Manifest, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> Iterator[Copy]:
    """Restore a backup into a scratch database on the server of `target`, for the block; dropped when the block ends.

    The event that names the scratch database comes before it is created, so that a journal leads to it after a crash.
    Raises `BackupUnproven` when the server does not allow it, `BackupFailed` when the archive does not restore.
    """
    check_files(folder, manifest)
    _require_right(target)
    name = new_scratch_name()
    copy = Target(parameters={**target.parameters, "dbname": name})
    try:
        _create(target, name, manifest, on_event)
        began = time.monotonic()
        _restore(copy, folder, jobs or default_jobs(), on_event)
        yield Copy(target=copy, name=name, restore_s=round(time.monotonic() - began, 3))
    finally:
        _drop(target, name, on_event)


def take_proven_backup(
    target: Target, folder: Path, backup_id: str, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> BackupReceipt:
    """Take a backup and prove it by a trial restore into a scratch database. Changes nothing in the database.

    Raises `BackupUnproven` or `BackupFailed`; what was written whole stays in `folder`.
    """
    receipt, _ = take_backup(target, folder, backup_id, jobs=jobs, on_event=on_event)
    verify_backup(target, folder, jobs=jobs, on_event=on_event)
    return replace(receipt, proven=True)


def verify_backup(target: Target, folder: Path, *, jobs: int | None = None, on_event: OnEvent = ignore) -> Proof:
    """Prove a backup from its folder alone, on the server of `target`: files, trial restore, content, catalog.

    The database that the backup was taken from is not asked and need not exist. Raises `BackupFailed` naming what is
    wrong, `BackupUnproven` when this server does not allow a trial restore.
    """
    manifest = read_manifest(folder)
    with restored_copy(target, folder, manifest, jobs=jobs, on_event=on_event) as copy:
        return prove(copy, folder, manifest, on_event=on_event)


def prove(copy: Copy, folder: Path, manifest: Manifest, *, on_event: OnEvent = ignore) -> Proof:
    """Compare a restored copy with what was seen under the dump's snapshot, and write the proof into the manifest.

    Reads the whole copy. Content must be equal; of the catalog, what a dump of one database carries. Raises
    `BackupFailed` naming what differs.
    """
    began = time.monotonic()
    found = read_content(copy.target)
    with copy.target.connect() as conn:
        pin_session(conn, find_schema(conn))
        version = identify(conn).version
        differences = compare_catalogs(read_catalog_of(folder), read_catalog(conn))
        structure = without_spelling(conn, comparable(differences))
        conn.rollback()
    expected = Content(
        tables=manifest.tables,
        large_objects=manifest.large_objects,
        sequences=tuple(Sequence(**sequence) for sequence in manifest.sequences),
        left_out=manifest.left_out,
    )
    after = tuple(Sequence(**sequence) for sequence in manifest.sequences_after)
    content = compare_content(expected, found, after)
    if content or structure:
        labels = [difference.label for difference in content] + [difference.label for difference in structure]
        shown = "; ".join(labels[:SHOWN])
        raise BackupFailed(
            f"The restored backup is not equal to what was dumped: {shown}.",
            hint="do not rely on this backup; report this with the run's folder",
        )
    proof = Proof(
        proven_at=datetime.now(UTC).isoformat(),
        server_version=version,
        tables=len(found.tables),
        rows=found.rows,
        omitted=tuple(f"{name}: {why}" for name, why in manifest.left_out),
        restore_s=copy.restore_s,
        compare_s=round(time.monotonic() - began, 3),
    )
    try:
        write_manifest(folder, replace(manifest, proof=proof))
    except OSError as failed:
        raise disk_failed(folder, failed) from failed
    words = f"restored and equal: {proof.tables} tables, {proof.rows} rows"
    on_event(_event("proven", words, tables=proof.tables, rows=proof.rows))
    return proof


def comparable(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Pure. Without what a dump of one database never carries."""
    return tuple(difference for difference in differences if difference.kind not in OUTSIDE)


def _require_right(target: Target) -> None:
    with target.connect() as conn:
        may = may_create_databases(conn)
        conn.rollback()
    if not may:
        raise BackupUnproven(
            "The backup cannot be proven: the role may not create the scratch database of a trial restore.",
            hint=f"ALTER ROLE … CREATEDB, or {ACCEPT}",
        )


def _create(target: Target, name: str, manifest: Manifest, on_event: OnEvent) -> None:
    """Create the scratch database; the event that names it comes first."""
    with target.connect(autocommit=True) as admin:
        on_event(_event("scratch", f"trial restore into scratch database {name}", database=name))
        try:
            create_scratch(admin, name, _properties(manifest))
        except DBAPIError as failed:
            raise BackupUnproven(
                f"The backup cannot be proven: no scratch database can be created: {failed.orig}",
                hint=f"mend that, or {ACCEPT}",
            ) from failed


def _drop(target: Target, name: str, on_event: OnEvent) -> None:
    """Drop the scratch database on a connection of its own: the one that made it may be long gone.

    A server that is lost must not hide what went wrong before: then the event says what is left and how it goes.
    """
    try:
        with target.connect(autocommit=True) as admin:
            drop_scratch(admin, name)
    except (DBAPIError, LawskerError):
        on_event(_event("left", f"scratch database {name} could not be dropped: DROP DATABASE {name}", database=name))
        return
    on_event(_event("dropped", f"scratch database {name} dropped", database=name))


def _restore(copy: Target, folder: Path, jobs: int, on_event: OnEvent) -> None:
    """pg_restore with errors fatal. A server without disk space for it is no fault of the backup."""
    with copy.connect() as conn, tempfile.TemporaryFile() as complaints:
        major = identify(conn).major
        conn.rollback()
        tool = find_tool("pg_restore", major, local=is_local(conn))
        with tool_access(conn) as (where, environment):
            command = [str(tool.path), "--exit-on-error", f"--jobs={jobs}", "--no-password", f"--dbname={where}"]
            command.append(str(folder / ARCHIVE))
            on_event(_event("restoring", f"{tool.label} -j {jobs}"))
            with processes.started(command, env=environment, stdout=complaints, stderr=complaints) as child:
                while not processes.ended(child, within_s=1.0):
                    on_event(_event("progress", "restoring", lasting=False))
                exit_code = child.returncode
        if exit_code != 0:
            complaints.seek(0)
            said = complaints.read(COMPLAINT_BYTES).decode(errors="replace").strip().splitlines()
            if any(DISK_FULL in line for line in said):
                raise BackupUnproven(
                    "The backup cannot be proven: the server's disk has no room for the trial restore.",
                    hint=f"free disk space there, or {ACCEPT}",
                )
            raise BackupFailed(
                f"{tool.label} could not restore the backup: {said[0] if said else 'it said nothing'}",
                hint="do not rely on this backup; mend what it names and take another",
            )


def _properties(manifest: Manifest) -> DatabaseProperties:
    facts: dict[str, Any] = dict(manifest.properties)
    facts |= {name: tuple(facts[name]) for name in ("acl", "settings")}
    return DatabaseProperties(**facts)


def _event(name: str, words: str, *, lasting: bool = True, **facts: object) -> Event:
    return Event(phase=Phase.PROOF, name=name, text=words, facts=facts, lasting=lasting)
