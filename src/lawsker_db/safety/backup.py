"""Take a backup: a pg_dump archive under an exported snapshot, hashed while it is written, with a manifest beside it.

What is taken here was not restored, and so is called unproven.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from lawsker_db import __version__, processes
from lawsker_db.errors import BackupFailed
from lawsker_db.evidence import BackupReceipt, Event, OnEvent, Phase, Server, ignore
from lawsker_db.postgres.session import identify
from lawsker_db.postgres.snapshot import Snapshot, hold_snapshot
from lawsker_db.postgres.tools import Tool, compression, find_tool, tool_access
from lawsker_db.record.journal import (
    NEW_FILE,
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    as_json,
    sync_folder,
    write_atomically,
)
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.target import Target

CHUNK_BYTES = 1 << 20
LOCK_WAIT = "30s"  # pg_dump waits for ACCESS SHARE behind somebody's DDL this long, then gives up: we start nothing
PROGRESS_S = 1.0
ARCHIVE = "database.dump"
MANIFEST = "manifest.json"
MAGIC = b"PGDMP"  # the first bytes of every custom-format archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The archive file as it went to disk."""

    bytes: int
    sha256: str


def take_backup(target: Target, folder: Path, backup_id: str, *, on_event: OnEvent = ignore) -> BackupReceipt:
    """Dump the database into `folder` (created, 0700) and write its manifest. Changes nothing in the database.

    pg_dump takes ACCESS SHARE on every table until it ends: nobody who reads or writes waits; DDL does. The snapshot is
    held by a connection of its own as long. Raises `BackupFailed`; no half archive is left under its final name.
    """
    began = time.monotonic()
    try:
        folder.mkdir(mode=PRIVATE_FOLDER)
    except OSError as failed:
        raise _disk(folder, failed) from failed
    try:
        return _take(target, folder, backup_id, began, on_event)
    except BaseException:
        with suppress(OSError):  # only when it is empty: what was written is kept
            folder.rmdir()
        raise


def _take(target: Target, folder: Path, backup_id: str, began: float, on_event: OnEvent) -> BackupReceipt:
    with target.connect() as conn:
        server = identify(conn)
        conn.rollback()
        refuse_standby(server, target)
        tool = find_tool("pg_dump", server.major)
        with tool_access(conn) as (where, environment), hold_snapshot(target) as snapshot:
            on_event(_event("snapshot", f"{tool.label} under snapshot {snapshot.name}", snapshot=snapshot.name))
            command = [
                str(tool.path),
                "--format=custom",
                f"--compress={compression(tool, environment)}",
                f"--snapshot={snapshot.name}",
                f"--lock-wait-timeout={LOCK_WAIT}",
                "--no-password",
                f"--dbname={where}",
            ]
            written = _dump(command, environment, folder, _progress(server, on_event))
    receipt = BackupReceipt(
        backup_id=backup_id,
        folder=str(folder),
        bytes=written.bytes,
        sha256=written.sha256,
        snapshot=snapshot.name,
        client_version=tool.label,
        duration_s=round(time.monotonic() - began, 3),
    )
    _write_manifest(folder, receipt, server, snapshot, tool)
    on_event(
        _event(
            "done",
            f"{written.bytes / 1e6:.1f} MB, SHA-256 {written.sha256[:16]}…",
            **as_json(asdict(receipt)),
        )
    )
    return receipt


def _dump(command: list[str], environment: dict[str, str], folder: Path, on_bytes: Callable[[int], None]) -> Written:
    """Run pg_dump, hash what it writes while it goes to `ARCHIVE.partial`, and rename that when all is well."""
    partial = folder / f"{ARCHIVE}.partial"
    with tempfile.TemporaryFile() as complaints:
        try:
            with os.fdopen(os.open(partial, NEW_FILE, PRIVATE_FILE), "wb") as file:
                with processes.started(command, env=environment, stdout=processes.PIPE, stderr=complaints) as child:
                    written = _stream(child.stdout, file, on_bytes)
                    exit_code = child.wait()
                file.flush()
                os.fsync(file.fileno())
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()
            _require_whole(partial, written, exit_code, said, command[0])
            partial.rename(folder / ARCHIVE)
            sync_folder(folder)
        except OSError as failed:
            raise _disk(folder, failed) from failed
        finally:
            partial.unlink(missing_ok=True)
    return written


def _stream(source: IO[bytes] | None, file: IO[bytes], on_bytes: Callable[[int], None]) -> Written:
    """Copy to the file in chunks (memory stays flat) and hash on the way."""
    digest = hashlib.sha256()
    total = 0
    while source is not None and (chunk := source.read(CHUNK_BYTES)):
        digest.update(chunk)
        file.write(chunk)
        total += len(chunk)
        on_bytes(total)
    return Written(bytes=total, sha256=digest.hexdigest())


def _require_whole(partial: Path, written: Written, exit_code: int, said: str, program: str) -> None:
    """Refuse an archive of a pg_dump that failed, or that is no archive (a stand-in that exits 0 at once)."""
    if exit_code != 0:
        how = f"failed with exit code {exit_code}" if exit_code > 0 else f"was ended by signal {-exit_code}"
        raise BackupFailed(
            f"{program} {how}: {_last_line(said)}",
            hint="mend what it names, then type it again",
            said=said,
        )
    with partial.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise BackupFailed(
            f"{program} ended well but wrote no archive ({written.bytes} bytes).",
            hint="look what that program is; LAWSKER_PG_BIN names the folder to take it from",
        )


def _progress(server: Server, on_event: OnEvent) -> Callable[[int], None]:
    """Say about once a second how much is written. A dump is smaller than its database; how much is not known."""
    last = time.monotonic()

    def tell(total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            words = f"{total / 1e6:.0f} MB written (database: {server.data_bytes / 1e6:.0f} MB)"
            on_event(_event("progress", words, lasting=False, bytes=total))

    return tell


def _write_manifest(folder: Path, receipt: BackupReceipt, server: Server, snapshot: Snapshot, tool: Tool) -> None:
    manifest = {
        "format": 1,
        "receipt": asdict(receipt),
        "archive": ARCHIVE,
        "server": asdict(server),
        "snapshot": asdict(snapshot),
        "client": {"program": tool.label},
        "tool_version": __version__,
        "written_at": datetime.now(UTC),
    }
    try:
        write_atomically(folder / MANIFEST, json.dumps(as_json(manifest), ensure_ascii=False, indent=2).encode())
        write_atomically(folder / "SHA256SUMS", f"{receipt.sha256}  {ARCHIVE}\n".encode())
    except OSError as failed:
        raise _disk(folder, failed) from failed


def _disk(folder: Path, failed: OSError) -> BackupFailed:
    return BackupFailed(
        f"The backup cannot be written to {folder}: {failed.strerror or failed}.",
        hint="free disk space there, or name another folder: --runs FOLDER",
    )


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _event(name: str, words: str, *, lasting: bool = True, **facts: object) -> Event:
    return Event(phase=Phase.BACKUP, name=name, text=words, facts=facts, lasting=lasting)
