"""The folders of runs: find one by what somebody types, and tell by its journal what a run that wrote no report has done."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lawsker_db.errors import UsageError
from lawsker_db.phrases import Phrase
from lawsker_db.record.document import JSON_REPORT
from lawsker_db.record.journal import JOURNAL, goes_on, read_journal, told_to_people

LAST = "last"
NEAREST = 5  # ids in an error: a day's runs
ABOUT_TO_COMMIT, COMMITTED = "about to commit", "committed"  # as safety names the two events around COMMIT


def list_runs(root: Path) -> tuple[str, ...]:
    """The ids of the runs in a folder, oldest first: an id begins with its time. Reads the disk; none where it cannot."""
    try:
        return tuple(sorted(entry.name for entry in root.iterdir() if _is_run(entry)))
    except OSError:
        return ()


def find_run(root: Path, asked: str) -> Path:
    """The folder of a run: by its id, a part that only one has, the path of the folder, or `last`. Reads the disk.

    Raises `UsageError`, which names the nearest ones, where none is meant or several are.
    """
    known = list_runs(root)
    if asked == LAST and known:
        return root / known[-1]
    if asked in known:
        return root / asked
    if os.sep in asked and "\0" not in asked and _is_run(Path(asked)):
        return Path(asked)
    found = [run_id for run_id in known if asked and asked in run_id]
    if len(found) == 1:
        return root / found[0]
    raise not_found(root, asked, known, tuple(found))


def told_by_journal(folder: Path) -> tuple[Phrase, ...]:
    """What the journal of a run says that wrote no report, in sentences. Reads the disk; what is damaged is said."""
    path = folder / JOURNAL
    try:
        if path.is_symlink() or not path.is_file():
            return (Phrase("There is no journal in {folder} either.", folder=str(folder)),)
        whole, size = read_journal(path), path.stat().st_size
        return tuple(_told(whole, read=_length(path, len(whole)), size=size, alive=goes_on(path)))
    except (OSError, ValueError, RecursionError) as failed:
        return (Phrase("Its journal cannot be read: {why}.", why=str(failed)),)


def _told(events: tuple[Any, ...], *, read: int, size: int, alive: bool) -> Iterator[Phrase]:
    known = [event for event in events if isinstance(event, dict)]
    if known:
        first, last = (str(event.get("at", ""))[:19] for event in (known[0], known[-1]))
        yield Phrase(
            "Its journal has {count} entries, from {first} to {last} UTC.", count=len(known), first=first, last=last
        )
    else:
        yield Phrase("Its journal has no entry that is whole.")
    if read < size:
        yield Phrase("Behind them {count} bytes are damaged, and nothing in them can be trusted.", count=size - read)
    spoken = [event for event in known if event.get("text")]
    if spoken:
        phase, text = str(spoken[-1].get("phase", "")), told_to_people(spoken[-1])
        yield Phrase("The last that it says is of the phase {phase}: {text}", phase=Phrase(phase), text=text)
    names = {str(event.get("name", "")) for event in known}
    if COMMITTED in names:
        yield Phrase("It committed.")
    elif ABOUT_TO_COMMIT in names:
        yield Phrase("It sent COMMIT, and does not know what became of it.")
    elif known:
        yield Phrase("It says nothing of a COMMIT.")
    if alive:
        yield Phrase("It goes on at this moment.")


def _is_run(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(os.path.lexists(folder / name) for name in (JOURNAL, JSON_REPORT))
    except OSError:
        return False


def _length(path: Path, lines: int) -> int:
    """How many bytes the first lines of a file have, and the rest where it is nothing but their end."""
    content = path.read_bytes()
    at = 0
    for _ in range(lines):
        end = content.find(b"\n", at)
        at = len(content) if end < 0 else end + 1
    return at


def not_found(root: Path, asked: str, known: tuple[str, ...], found: tuple[str, ...]) -> UsageError:
    """Pure. That nobody can tell which run is meant, with those that may be."""
    if not known:
        message = Phrase("There is no run in {folder}.", folder=str(root))
        return UsageError(message, hint=Phrase("name the folder of your runs: --runs FOLDER"))
    if found:
        listed = ", ".join(found[-NEAREST:])
        message = Phrase("{asked} is a part of {count} runs: {listed}", asked=asked, count=len(found), listed=listed)
        return UsageError(message, hint=Phrase("type more of it, or the whole id"))
    near = difflib.get_close_matches(asked, known, n=NEAREST, cutoff=0.4) or known[-NEAREST:]
    message = Phrase("There is no run {asked} in {folder}.", asked=asked, folder=str(root))
    return UsageError(message, hint=Phrase("the nearest: {listed}; or type last", listed=", ".join(near)))
