"""The folder of a rescue: private files under names that any disk takes, there whole or not at all.

The rows in them are personal data, on purpose. They go nowhere else: to no log, journal, event or error text.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection

from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase, told_by
from lawsker_db.postgres import rescuing_sql as sql
from lawsker_db.postgres.differing import copying, raw
from lawsker_db.record.journal import NEW_FILE, PRIVATE_FILE, PRIVATE_FOLDER, sync_folder
from lawsker_db.record.manifest import swappable

RESCUE = "rescue"
PARTIAL = "rescue.partial"  # what a killed export leaves: it has no index and is none
INDEX = "rescue.json"
ORDER = "replay.txt"
FORMAT = 1
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
LONGEST = 120  # of a file's name, before its ending; a file system takes 255 bytes
STATE = Phrase("Neither database was changed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFiles:
    """What stands on disk for one table: its files, and what replaying them must know. `as_text`: columns that were
    compared as text, because their types differ."""

    table: str
    csv: str
    sql: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    compared: tuple[str, ...]
    as_text: tuple[str, ...]
    made_since: bool
    inserted: int
    changed: int
    deleted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """`rescue.json`: which databases, and the tables in the order in which they can be replayed. `hashed` names the form
    of the hashes, which is the server's."""

    damaged: str
    restored: str
    made_at: str
    hashed: str
    tables: tuple[TableFiles, ...]


def file_name(schema: str, name: str) -> str:
    """Pure. `public.users` for a plain table. What is not a small letter, digit or _ becomes %XX, so that no name leads
    elsewhere or meets another one on a disk that takes A for a; a long one is cut and told apart by its hash."""
    safe = ".".join(_safe(part) for part in (schema, name))
    if len(safe) <= LONGEST:
        return safe
    return f"{safe[:LONGEST].rstrip('%')}~{hashlib.sha256(safe.encode()).hexdigest()[:16]}"


def _safe(part: str) -> str:
    return "".join(char if char in PLAIN else "".join(f"%{byte:02X}" for byte in char.encode()) for char in part)


@contextmanager
def new_rescue_folder(folder: Path) -> Iterator[Path]:
    """Make `folder`/rescue: under another name until the block has ended well, and gone if it has not. 0700.

    Raises `Refused` where it stands already, or where the disk does not take it.
    """
    final, partial = folder / RESCUE, folder / PARTIAL
    if os.path.lexists(final):
        raise Refused(
            Phrase("{path} exists already.", path=str(final)),
            hint=Phrase("name another folder, or move that one away"),
            state=STATE,
        )
    with disk(partial):
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)  # of an export that was killed
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        partial.mkdir(mode=PRIVATE_FOLDER)
        try:
            yield partial
            sync_folder(partial)
            partial.rename(final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(folder)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a new private file for the block; on disk when it ends. No link is followed."""
    with os.fdopen(os.open(path, NEW_FILE, PRIVATE_FILE), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn what the disk says in the block into an error of ours."""
    try:
        yield
    except OSError as failed:
        raise Refused(
            Phrase("{file} cannot be written: {why}.", file=str(failed.filename or path), why=str(failed.strerror)),
            hint=Phrase("make room, or name a folder where there is some, then type it again"),
            state=STATE,
        ) from failed


def write_index(folder: Path, index: Index) -> None:
    """Write rescue.json, and replay.txt: which SQL file goes first, parents before children."""
    with new_file(folder / ORDER) as file:
        file.write("".join(f"{table.sql}\n" for table in index.tables).encode())
    with new_file(folder / INDEX) as file:
        file.write(json.dumps({"format": FORMAT, **asdict(index)}, ensure_ascii=False, indent=2).encode())


def read_index(folder: Path) -> tuple[Path, Index]:
    """The rescue in a folder (that of its run, or its own), and what it says of itself. Raises `Refused`."""
    place = folder / RESCUE if (folder / RESCUE / INDEX).is_file() else folder
    try:
        written: dict[str, Any] = json.loads(_own_text(place / INDEX))
        if written.pop("format") != FORMAT:
            raise ValueError(Phrase("it is of another version of lawsker-db"))
        tables = tuple(TableFiles(**{name: _frozen(value) for name, value in t.items()}) for t in written.pop("tables"))
        index = Index(**written, tables=tables)
        if any(Path(name).name != name for table in tables for name in (table.csv, table.sql)):
            raise ValueError(Phrase("it names a file elsewhere"))
        if swappable(place):
            raise ValueError(Phrase("others may write into it"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failed:
        said = str(failed.strerror) if isinstance(failed, OSError) else told_by(failed)
        raise Refused(
            Phrase("There is no rescue in {folder}: {why}.", folder=str(folder), why=said),
            hint="lawsker-db rescue DAMAGED RESTORED makes one",
            state=STATE,
        ) from failed
    return place, index


def _own_text(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read()


def _frozen(value: object) -> Any:
    return tuple(value) if isinstance(value, list) else value


def preamble(files: TableFiles, names: tuple[str, str], note: str) -> str:
    """Pure. What stands above the statements: what they are, and settings under which each value is read as it was."""
    said = [
        f"{files.table}: {files.inserted} inserted, {files.changed} changed, {files.deleted} deleted (comments only)",
        f"in database {names[0]} against {names[1]}. Read it, then: psql --set ON_ERROR_STOP=1 --file THIS DATABASE",
        "A changed row is overwritten whatever it holds now; lawsker-db rescue --replay looks first.",
    ]
    lines = [sql.commented(line) for line in (*said, *([f"{files.table} {note}"] if note else []))]
    settings = (
        "client_encoding = 'UTF8'",
        "standard_conforming_strings = on",
        "DateStyle = 'ISO, YMD'",
        "IntervalStyle = 'postgres'",
        "TimeZone = 'UTC'",
        "xmloption = content",
    )
    return "\n".join((*lines, "BEGIN;", *(f"SET LOCAL {setting};" for setting in settings), ""))


def copy_rows(conn: Connection, question: str, file: IO[bytes], *, rows: int | None) -> None:
    """Stream a COPY into a file. What the snapshot has found must be there."""
    with copying(), raw(conn).cursor() as cursor:
        with cursor.copy(question.encode()) as answer:
            for block in answer:
                file.write(block)
        if rows is not None and cursor.rowcount != rows:
            raise RuntimeError(f"{cursor.rowcount} rows in the place of {rows}")


def copy_lines(conn: Connection, question: str, file: IO[bytes]) -> None:
    """Stream a binary COPY of one text column into a file, a line each, as the bytes that the server gives."""
    with copying(), raw(conn).cursor() as cursor, cursor.copy(question.encode()) as answer:
        for (line,) in answer.rows():
            file.write(bytes(line))
            file.write(b"\n")
