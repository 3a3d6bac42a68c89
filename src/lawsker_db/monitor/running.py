"""The run that goes on, and those that have ended without a word, as their folders tell it. Asks no server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from lawsker_db.evidence import Phase, Server, Verdict
from lawsker_db.postgres.session import UNKNOWN
from lawsker_db.record.journal import JOURNAL, RUN_FOLDER, goes_on, read_journal, told_to_people
from lawsker_db.record.report import read_verdict
from lawsker_db.safety.ended import OPENED, SETTLED
from lawsker_db.safety.errands import ERRAND
from lawsker_db.safety.shelf import BACKUP

NEWEST = 10  # folders that are looked into: run ids begin with the time, and who is older has been told of long since
BEGIN = "begin"  # the event of a phase whose facts say where it stands: see evidence.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run below the folder of the runs, by its journal.

    `alive`: its process lives (it holds the lock on its journal). `told`: it has said how it ended, or `recover` has.
    `here`: it is of the database that is watched; None where that cannot be told. `phase` and `doing` (a `Phrase`) are
    those of the last event, `since` is when that phase began, `heard_at` when the event was written (aware UTC). `step` of
    `steps`: which of the run's phases this is. `estimate_s`: how long the phase is expected to take, in seconds; `left_s`:
    what is left of it, `run_left_s` of the whole run. `bytes_done` of `bytes_total`, an expectation too. None, or empty, is
    what the journal does not say.
    """

    run_id: str
    folder: str
    alive: bool
    told: bool
    here: bool | None
    phase: str
    doing: str
    since: datetime | None
    heard_at: datetime | None
    step: int | None = None
    steps: int | None = None
    estimate_s: float | None = None
    left_s: float | None = None
    run_left_s: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


def find_runs(runs: Path, server: Server | None, now: datetime) -> tuple[RunView, ...]:
    """The runs and errands below a folder that go on, newest first, and the runs that ended without a word. Reads the disk.

    A folder that cannot be read, and links, are passed over: so are runs that have told how they ended.
    """
    return tuple(islice((view for path in _journals(runs) if (view := _view(path, server, now)) is not None), NEWEST))


def _journals(runs: Path) -> Iterator[Path]:
    """Journals below the newest folders, newest first."""
    try:
        folders = sorted((entry for entry in runs.iterdir() if RUN_FOLDER.fullmatch(entry.name)), reverse=True)
    except OSError:
        return
    for folder in [entry for entry in folders if not entry.is_symlink()][:NEWEST]:
        yield from (path for name in (JOURNAL, ERRAND) if (path := folder / name).is_file() and not path.is_symlink())


def _view(path: Path, server: Server | None, now: datetime) -> RunView | None:
    """One journal as a view; None where there is nothing to tell. An errand that ended has nobody who waits for its end."""
    try:
        alive = goes_on(path)
        told = not alive and _told(path)
        if told or not (alive or path.name == JOURNAL):
            return None
        events = read_journal(path)
    except (OSError, ValueError):
        return None
    return _seen(path, events, alive=alive, here=_is_here(events, server), now=now)


def _written(backup: Path) -> int | None:
    """Bytes of a backup that is being written. Its progress is not journalled, but its files grow."""
    try:
        return sum(file.stat().st_size for file in backup.rglob("*") if not file.is_symlink() and file.is_file())
    except OSError:  # one was renamed meanwhile
        return None


def _told(path: Path) -> bool:
    return (path.parent / SETTLED).exists() or read_verdict(path.parent) not in (None, Verdict.UNKNOWN)


def _is_here(events: tuple[dict[str, Any], ...], server: Server | None) -> bool | None:
    """Pure. Whether a run is of this database, by what its journal says when it opens."""
    facts = next((_facts(event) for event in events if event.get("name") == OPENED), None)
    if facts is None or server is None:
        return None
    if facts.get("database_oid") != server.database_oid:
        return False
    known = facts.get("system_identifier"), server.system_identifier
    return None if UNKNOWN in known else known[0] == known[1]


def _seen(path: Path, events: tuple[dict[str, Any], ...], *, alive: bool, here: bool | None, now: datetime) -> RunView:
    """What the events of a journal say of where the run is; those of other versions say less. Looks at files."""
    last: dict[str, Any] = events[-1] if events else {}
    phase = str(last.get("phase", ""))
    # The events of this phase, without those of an earlier visit to it.
    current: list[dict[str, Any]] = []
    for event in reversed(events):
        if event.get("phase") != phase:
            break
        current.append(event)
    begun = next((_facts(event) for event in current if event.get("name") == BEGIN), {})
    since = _moment(current[-1].get("at")) if current else None
    spent_s = (now - since).total_seconds() if since else 0.0
    return RunView(
        run_id=path.parent.name,
        folder=str(path.parent),
        alive=alive,
        told=False,
        here=here,
        phase=phase,
        doing=next((told_to_people(event) for event in current if event.get("text")), ""),
        since=since,
        heard_at=_moment(last.get("at")),
        step=_whole(begun, "number"),
        steps=_whole(begun, "of"),
        estimate_s=_number(begun, "estimate_s"),
        left_s=_less(_number(begun, "estimate_s"), spent_s),
        run_left_s=_less(_number(begun, "left_s"), spent_s),
        bytes_done=_written(path.parent / BACKUP) if phase == Phase.BACKUP else None,
        bytes_total=_whole(begun, "expected_bytes"),
    )


def _facts(event: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = event.get("facts")
    return facts if isinstance(facts, Mapping) else {}


def _number(facts: Mapping[str, Any], name: str) -> float | None:
    """Pure. A number of a journal, None where it is none."""
    found = facts.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _whole(facts: Mapping[str, Any], name: str) -> int | None:
    number = _number(facts, name)
    return None if number is None else int(number)


def _less(expected_s: float | None, spent_s: float) -> float | None:
    """Pure. What is left of an estimate; nothing where it was too short."""
    return None if expected_s is None else max(0.0, expected_s - spent_s)


def _moment(written: object) -> datetime | None:
    """Pure. A time of a journal, None where it is none."""
    try:
        moment = datetime.fromisoformat(str(written))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
