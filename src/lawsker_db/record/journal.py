"""The folder of a run and its journal: one JSON line an event, each with a checksum, on disk before the step it announces.

A journal may end anywhere, after a crash or on a full disk: `read_journal` gives the lines that are whole.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from lawsker_db.errors import Refused
from lawsker_db.evidence import Event
from lawsker_db.phrases import Phrase, from_spelt, spelt

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
JOURNAL = "journal.jsonl"
ESCAPED = "backslashreplace"  # a name of a file that is not UTF-8: what this writes is JSON's own escape for it
RUN_FOLDER = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_-]+")  # as new_run_id makes them
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def new_run_id(goal: str) -> str:
    """Pure but for clock and chance. `20261122T090501Z-013-a1b2c3`, which sorts by time."""
    safe_goal = re.sub(r"[^A-Za-z0-9_]+", "_", goal)[:32] or "base"
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{safe_goal}-{secrets.token_hex(3)}"


def create_run_folder(root: Path, run_id: str) -> Path:
    """Create `root/run_id`, 0700. Raises `Refused` when it cannot be, or when others may write into `root`."""
    folder = root / run_id
    try:
        root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        mode = root.stat().st_mode
        folder.mkdir(mode=PRIVATE_FOLDER)
    except OSError as failed:
        raise Refused(
            Phrase(
                "The folder for the run cannot be made: {folder}: {why}.", folder=str(folder), why=str(failed.strerror)
            ),
            hint=Phrase("name one that you may write to: --runs FOLDER"),
        ) from failed
    if mode & 0o022 and not mode & 0o1000:
        folder.rmdir()
        raise Refused(
            Phrase("Others may write into {folder}: a backup there could be swapped.", folder=str(root)),
            hint=f"chmod go-w '{root}'",
        )
    return folder


def write_atomically(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Write a file so that it is there whole or not at all: `.partial`, fsync, rename, fsync of the folder. 0600, unless
    another `mode` is wanted, which then holds whatever the umask is."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)  # of somebody who was killed while he wrote it
    handle = os.open(partial, NEW_FILE, PRIVATE_FILE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if mode != PRIVATE_FILE:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journals:
    """The journals below a folder of runs, oldest first: of runs that live, of runs that have ended, and those that nobody
    here may read, of whose runs nothing is known."""

    alive: tuple[Path, ...] = ()
    ended: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()


class Journal:
    """The open journal of one run. Lasting events are on disk when `write` returns; mere progress is not written.

    It is locked (flock) as long as its run lives: whoever finds it unlocked knows that nobody goes on with it.
    """

    def __init__(self, folder: Path, name: str = JOURNAL) -> None:
        """Create the journal in the folder. Raises `Refused` when the disk does not take it."""
        self.path = folder / name
        try:
            # Unbuffered: what a full disk refuses must not wait for the close, and fail there once more.
            self._file = os.fdopen(os.open(self.path, NEW_FILE | os.O_APPEND, PRIVATE_FILE), "ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)  # waits for nobody but a look, which lasts a moment
            sync_folder(folder)
        except OSError as failed:
            raise Refused(
                Phrase("The journal cannot be written: {why}", why=str(failed)), hint=Phrase("free disk space")
            ) from failed

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._file.close()

    def write(self, event: Event) -> None:
        """Append one event and fsync. Raises `OSError` when the disk does not take it: the step must not begin.

        So too when the file is not under its name any more: a journal that nobody can find is none.
        """
        if not event.lasting:
            return
        if not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "another file stands in its place", str(self.path))
        body = json.dumps(as_json({**asdict(event), **_words(event.text)}), ensure_ascii=False, sort_keys=True)
        line = f"{checksum(body)} {body}\n".encode(errors=ESCAPED)
        _append(self._file.fileno(), line)


def mending(failed: OSError) -> Phrase:
    """Pure. What to do about a journal that cannot be written any more."""
    if isinstance(failed, FileNotFoundError):
        return Phrase("leave the folder of a run as it is while the run goes on; type it again")
    return Phrase("free disk space, then type it again")


def _words(text: str) -> dict[str, object]:
    """Pure. What a text with values is made of, so that whoever reads along has it in a language; one without is its own."""
    return {"words": spelt(text)} if isinstance(text, Phrase) and text.values else {}


def _append(handle: int, line: bytes) -> None:
    """Write a line to the end of a file, and have it on disk; or leave the file as it was and raise `OSError`.

    A disk that is full takes a part of it: behind a torn line nothing would be read any more.
    """
    whole = os.fstat(handle).st_size
    try:
        left = line
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, whole)
        raise


def find_journals(runs: Path, *names: str) -> Journals:
    """The journals of these names below a folder of runs; none where there is no such folder. Reads the disk.

    Raises `Refused`, which names the whole path, where the folder is there and may not be read: in silence it would look
    like one in which nothing is left.
    """
    alive: list[Path] = []
    ended: list[Path] = []
    hidden: list[Path] = []
    for path in (folder / name for folder in _folders(runs) for name in names):
        try:
            if not path.parent.is_symlink() and stat.S_ISREG(path.lstat().st_mode):
                (alive if goes_on(path) else ended).append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            if RUN_FOLDER.fullmatch(path.parent.name):  # a folder of others is none of our business
                hidden.append(path)
    return Journals(alive=tuple(alive), ended=tuple(ended), hidden=tuple(hidden))


def _folders(runs: Path) -> list[Path]:
    try:
        return sorted(runs.iterdir())
    except FileNotFoundError:
        return []
    except OSError as failed:
        raise Refused(
            Phrase(
                "The folder of runs cannot be read: {folder}: {why}.",
                folder=str(runs.absolute()),
                why=str(failed.strerror),
            ),
            hint=Phrase("type it as the user who made the runs, or name another folder: --runs FOLDER"),
        ) from failed


def goes_on(path: Path) -> bool:
    """Whether the run of a journal lives: then it holds the lock on it. Kernels release it when a process ends.

    One that has gone meanwhile was taken away by its own run, which has cleared up behind itself. Raises `PermissionError`
    where the journal may not be read.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return True
    return False


def read_journal(path: Path) -> tuple[dict[str, Any], ...]:
    """The whole lines of a journal, in order. A torn or altered line ends it: nothing after it can be trusted."""
    found: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n"):
        total, _, body = line.decode(errors="replace").partition(" ")
        if not body or checksum(body) != total:
            break
        found.append(json.loads(body))
    return tuple(found)


def told_to_people(event: Mapping[str, Any]) -> Phrase:
    """Pure. The text of an event that was read, as the phrase that it was; that of an older journal can be said in English
    alone where it has values. Empty where it has none."""
    text = Phrase(str(event.get("text") or ""))
    try:
        phrase = from_spelt(event["words"])
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return text
    return phrase if phrase == text else text


def checksum(body: str) -> str:
    """Pure. The first 16 hex digits of SHA-256: enough to see a torn line."""
    return hashlib.sha256(body.encode(errors=ESCAPED)).hexdigest()[:16]


def as_json(value: object) -> Any:
    """Pure. A value as JSON takes it: times in ISO 8601, paths and everything unknown as text."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
