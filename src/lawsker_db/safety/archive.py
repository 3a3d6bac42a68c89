"""Write an archive with pg_dump, and read one with pg_restore: what they are told, what they say, when they have failed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import IO

from sqlalchemy import Connection

from lawsker_db import processes
from lawsker_db.errors import BackupFailed, Refused
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.content import LOCK_WAIT
from lawsker_db.postgres.session import server_major
from lawsker_db.postgres.snapshot import Snapshot
from lawsker_db.postgres.tools import (
    LIST_FILE,
    Tool,
    bare_environment,
    compression,
    find_tool,
    is_local,
    own_file,
    tool_access,
)
from lawsker_db.record.journal import NEW_FILE, PRIVATE_FILE, PRIVATE_FOLDER, sync_folder
from lawsker_db.record.manifest import file_digest

GLOBALS = "globals.sql"
MAGIC = b"PGDMP"  # the first bytes of every custom archive, and of the table of contents of a directory
POLL_S = 1.0
CHUNK_BYTES = 1 << 20
COMPLAINT_BYTES = 64 << 10
NO_ROOM_BYTES = 1 << 20  # less than that free after a failure: the disk is full, whatever the program said

COMPLAINT = re.compile(r"\S+: (?:error|fatal): ")  # how PostgreSQL's programs begin one, in the language C
# What libpq and the programs put below an error: DETAIL and CONTEXT quote whole rows.
EXPLANATION = re.compile(r"(?:\S+: )?(?:DETAIL|CONTEXT|HINT|detail|hint|Command was|Query was):? ")
MARK = re.compile(r'["«»„“”]')  # with which servers quote, in their languages
# What servers and programs quote behind these words is a name or a path; behind others it may be a value of somebody's row.
NAMED = re.compile(
    r"\b(?:table|relation|index|constraint|column|database|schema|role|user|type|function|procedure|extension|tablespace"
    r"|language|sequence|view|trigger|operator|collation|parameter|file|directory|archive|library|server at|socket"
    r'|host name) "[^"]*"'
)

OnBytes = Callable[[int], None]


class Form(StrEnum):
    """The form of an archive: a folder that several workers write, or one file that is hashed while it is written."""

    DIRECTORY = "directory"
    CUSTOM = "custom"


# The name of the archive in the backup's folder.
NAMES: Mapping[Form, str] = {Form.DIRECTORY: "database", Form.CUSTOM: "database.dump"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An archive on disk: its name in the folder, and the SHA-256 of each of its files by their path in the folder."""

    archive: str
    client: Tool
    files: Mapping[str, str]


def write_archive(
    conn: Connection, snapshot: Snapshot, folder: Path, *, form: Form, jobs: int, on_bytes: OnBytes
) -> Written:
    """Run pg_dump under a snapshot into `folder`: `.partial` first, its final name when all is well and on disk.

    Changes nothing in the database; pg_dump holds ACCESS SHARE on every table until it ends. `conn` must be in no
    transaction: it tells where to connect and nothing else. Raises `BackupFailed`.
    """
    server = server_major(conn)
    conn.rollback()
    tool = find_tool("pg_dump", server, local=is_local(conn))
    archive = NAMES[form]
    partial = folder / f"{archive}.partial"
    with tool_access(conn) as (where, environment), _complaints() as complaints:
        command = [
            *(str(tool.path), f"--format={form.value}", f"--compress={compression(tool, environment)}"),
            *(f"--snapshot={snapshot.name}", f"--lock-wait-timeout={LOCK_WAIT}", "--no-password", f"--dbname={where}"),
        ]
        try:
            if form is Form.CUSTOM:
                digest = _stream(command, environment, partial, complaints, tool, on_bytes)
                files = {archive: digest}
            else:
                command += [f"--jobs={jobs}", f"--file={partial}"]
                _watch(command, environment, partial, complaints, tool, on_bytes)
                _settle(partial)
                files = {f"{archive}/{path.name}": file_digest(path) for path in sorted(partial.iterdir())}
            partial.rename(folder / archive)
            sync_folder(folder)
        except OSError as failed:
            raise disk_failed(folder, failed) from failed
    return Written(archive=archive, client=tool, files=files)


def write_globals(conn: Connection, folder: Path) -> str:
    """Write roles (without passwords), their memberships, and tablespaces into GLOBALS with pg_dumpall.

    Changes nothing. Returns why there is no such file, empty when there is one: a backup of the database is whole
    without it. Raises `BackupFailed` only when the disk does not take it.
    """
    server = server_major(conn)
    conn.rollback()
    try:
        tool = find_tool("pg_dumpall", server, local=is_local(conn))
    except Refused as missing:
        return missing.message
    partial = folder / f"{GLOBALS}.partial"
    with tool_access(conn) as (where, environment), _complaints() as complaints:
        options = ("--globals-only", "--no-role-passwords", "--no-password", f"--database={where}")
        try:
            with os.fdopen(os.open(partial, NEW_FILE, PRIVATE_FILE), "wb") as file:
                command = [str(tool.path), *options]
                with processes.started(command, env=environment, stdout=file, stderr=complaints) as child:
                    exit_code = child.wait()
                os.fsync(file.fileno())
            if exit_code != 0:
                partial.unlink()
                return _failed(tool, exit_code, complaints)
            partial.rename(folder / GLOBALS)
        except OSError as failed:
            partial.unlink(missing_ok=True)
            raise disk_failed(folder, failed) from failed
    return ""


def restore_archive(
    conn: Connection,
    tool: Tool,
    archive: Path,
    entries: tuple[str, ...],
    *,
    options: tuple[str, ...],
    jobs: int,
    on_wait: Callable[[], None],
) -> str:
    """Run pg_restore with errors fatal into the database of `conn`, for these entries of the archive's list.

    `conn` tells where to connect and nothing else. Returns what went wrong, empty when nothing did.
    """
    listing = "\n".join(entries) + "\n"
    with own_file(LIST_FILE, listing) as listed, tool_access(conn) as (where, environment), _complaints() as complaints:
        command = [
            *(str(tool.path), "--exit-on-error", f"--jobs={jobs}", "--no-password", f"--use-list={listed}", *options),
            *(f"--dbname={where}", str(archive)),
        ]
        with processes.started(command, env=environment, stdout=complaints, stderr=complaints) as child:
            while not processes.ended(child, within_s=POLL_S):
                on_wait()
            exit_code = child.returncode
        return "" if exit_code == 0 else _failed(tool, exit_code, complaints)


def find_restorer(conn: Connection, client_major: int) -> Tool:
    """The pg_restore that fits the server of `conn` and an archive of this pg_dump. Raises `Refused`."""
    major = server_major(conn)
    conn.rollback()
    return find_tool("pg_restore", major, local=is_local(conn), at_least=client_major)


def list_entries(tool: Tool, archive: Path, *options: str) -> tuple[str, ...]:
    """The table of contents of an archive, a line an entry, in the form that pg_restore takes back. Reads the archive.

    `options` narrow it (`--section=post-data`). Raises `BackupFailed` when pg_restore cannot read it.
    """
    done = processes.run([str(tool.path), "--list", *options, str(archive)], env=bare_environment())
    if done.exit_code != 0:
        raise BackupFailed(
            Phrase("{program} cannot read the archive: {said}", program=tool.label, said=_gist(done.stderr)),
            hint=Phrase("do not rely on this backup; take another: lawsker-db backup create"),
        )
    # not splitlines(): a name may hold one of the other characters that it takes for the end of a line
    return tuple(line for line in done.stdout.split("\n") if line and not line.startswith(";"))


def disk_failed(folder: Path, failed: OSError) -> BackupFailed:
    """Pure. The disk does not take the backup."""
    return BackupFailed(
        Phrase(
            "The backup cannot be written to {folder}: {why}.", folder=str(folder), why=failed.strerror or str(failed)
        ),
        hint=Phrase("free disk space there, or name another folder: --runs FOLDER"),
    )


def ended_how(exit_code: int) -> str:
    """Pure. "failed with exit code 1", "was ended by signal 9"."""
    if exit_code < 0:
        return Phrase("was ended by signal {signal}", signal=-exit_code)
    return Phrase("failed with exit code {exit_code}", exit_code=exit_code)


def _failed(tool: Tool, exit_code: int, complaints: IO[bytes]) -> Phrase:
    """How a program ended that failed, and what it complained of."""
    ended = ended_how(exit_code)
    return Phrase("{program} {ended}: {said}", program=tool.label, ended=ended, said=said(complaints))


def said(complaints: IO[bytes]) -> str:
    """What a program complained of: its first error (what follows explains it or follows from it), else the last line
    before an explanation. Without what may be personal data, as `target.said_by_server` of the driver's errors.

    For people alone: nothing is decided by it.
    """
    complaints.seek(0)
    return _gist(complaints.read(COMPLAINT_BYTES).decode(errors="replace"))


def _gist(text: str) -> str:
    lines = text.strip().splitlines()
    plain = list(takewhile(lambda line: not EXPLANATION.match(line), lines))
    told = next((line for line in lines if COMPLAINT.match(line)), plain[-1] if plain else "")
    return _without_values(told) if told else Phrase("it said nothing")


def _without_values(line: str) -> str:
    """Pure. A line without what stands in quotation marks, but for names.

    A value may hold quotation marks itself, or go on in the next line: from the first mark to the last one, or to the end.
    """
    first = MARK.search(NAMED.sub(lambda name: " " * len(name[0]), line))
    if first is None:
        return line
    last = max(found.start() for found in MARK.finditer(line))
    return f"{line[: first.start()]}…{line[last + 1 :] if last > first.start() else ''}"


@contextmanager
def _complaints() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as complaints:
        yield complaints


def _stream(
    command: list[str],
    environment: Mapping[str, str],
    partial: Path,
    complaints: IO[bytes],
    tool: Tool,
    on_bytes: OnBytes,
) -> str:
    """Hash what pg_dump writes while it goes to the file. Memory stays flat. Returns the SHA-256. Raises `OSError`."""
    digest = hashlib.sha256()
    total = 0
    with os.fdopen(os.open(partial, NEW_FILE, PRIVATE_FILE), "wb") as file:
        with processes.started(command, env=environment, stdout=processes.PIPE, stderr=complaints) as child:
            while child.stdout is not None and (chunk := child.stdout.read(CHUNK_BYTES)):
                digest.update(chunk)
                file.write(chunk)
                total += len(chunk)
                on_bytes(total)
            exit_code = child.wait()
        file.flush()
        os.fsync(file.fileno())
    _require_whole(partial, partial, exit_code, complaints, tool)
    return digest.hexdigest()


def _watch(
    command: list[str],
    environment: Mapping[str, str],
    partial: Path,
    complaints: IO[bytes],
    tool: Tool,
    on_bytes: OnBytes,
) -> None:
    """Wait for pg_dump's workers, and say about once a second how much they have written."""
    with processes.started(command, env=environment, stdout=complaints, stderr=complaints) as child:
        while not processes.ended(child, within_s=POLL_S):
            on_bytes(sum(path.stat().st_size for path in partial.glob("*")))
        exit_code = child.returncode
    _require_whole(partial, partial / "toc.dat", exit_code, complaints, tool)


def _require_whole(partial: Path, head: Path, exit_code: int, complaints: IO[bytes], tool: Tool) -> None:
    """Refuse the archive of a pg_dump that failed, or that is no archive (a stand-in that exits 0 at once)."""
    if exit_code != 0:
        if shutil.disk_usage(partial.parent).free < NO_ROOM_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise BackupFailed(
            _failed(tool, exit_code, complaints),
            hint=Phrase("mend what it names, then type it again"),
        )
    magic = b""
    if head.is_file():
        with head.open("rb") as file:
            magic = file.read(len(MAGIC))
    if magic != MAGIC:
        raise BackupFailed(
            Phrase("{path} ended well but wrote no archive.", path=str(tool.path)),
            hint=Phrase("look what that program is; LAWSKER_PG_BIN names the folder to take it from"),
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
