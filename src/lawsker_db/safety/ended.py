"""Runs whose process is no more, as their journals tell of them: which database and sessions, what was about to happen."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from lawsker_db.errors import Refused
from lawsker_db.evidence import Phase, Server, Verdict
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import UNKNOWN, Session
from lawsker_db.postgres.swap import Swap
from lawsker_db.record.journal import JOURNAL, find_journals, read_journal
from lawsker_db.record.report import read_verdict
from lawsker_db.safety.doubt import Attempt

SETTLED = "settled.json"
OPENED, SESSION, ASKED = "opened", "session", "about to commit"
GATE_CLOSED, GATE_OPENED = "gate closed", "gate opened"
NAMING = "about to name"
MARKED_UNASKED = Phrase("its marker row is there, and its journal knows of no COMMIT")
KEPT_OPENED, KEPT_CLOSED = "damaged opened", "damaged closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """What the journal of a run says whose process is no more. `closed` are OIDs of databases behind a closed gate, `opened`
    those of damaged ones that were to be closed again; `swap` is what a restore was about to rename, `named` a copy that was
    about to get its name. `unread` says why its journal tells nothing, None where it does. `marks` stand in the
    names of sessions that programs and readers opened for it.
    """

    run_id: str
    folder: Path
    system_identifier: str
    database_oid: int
    sessions: tuple[Session, ...]
    attempt: Attempt | None
    closed: tuple[int, ...]
    opened: tuple[int, ...] = ()
    swap: Swap | None = None
    named: tuple[int, str] | None = None
    unread: Phrase | None = None
    marks: tuple[str, ...] = ()

    @property
    def readable(self) -> bool:
        """Pure. Whether its journal says what it was about."""
        return self.unread is None

    @property
    def told(self) -> bool:
        """Whether the run, or a recover after it, has said how it ended. Reads the disk."""
        try:
            return (self.folder / SETTLED).exists() or read_verdict(self.folder) not in (None, Verdict.UNKNOWN)
        except PermissionError:
            return False


def read_ended(runs: Path) -> tuple[EndedRun, ...]:
    """The runs below a folder whose process is no more, oldest first; whether those live that may not be read nobody can
    tell, so they are among them. Reads the disk. Raises `Refused` where the folder may not be read."""
    found = find_journals(runs, JOURNAL)
    return tuple(run for path in sorted((*found.ended, *found.hidden)) if (run := _read(path)) is not None)


def read_living(runs: Path) -> tuple[EndedRun, ...]:
    """The runs below a folder that are still at work, as far as their journals go by now. Reads the disk."""
    return tuple(run for path in find_journals(runs, JOURNAL).alive if (run := _read(path)) is not None)


def left_closed(runs: Path) -> bool:
    """Whether a run below a folder closed the gate of its database and did not open it. Reads the disk; no where it may
    not: whoever asks has an error to tell already."""
    try:
        return any(run.closed and not run.told for run in read_ended(runs))
    except Refused:
        return False


def _read(path: Path) -> EndedRun | None:
    """What a journal says; None for one that does not say which database it is about. One that may not be read, or that
    another version of this package wrote in words of its own, is there, and not readable."""
    try:
        events = read_journal(path)
        return _understood(path, [(event["name"], event["phase"], event["facts"]) for event in events])
    except (KeyError, TypeError, ValueError):
        return _unread(path, Phrase("{file} was written by another version", file=str(path)))
    except OSError as failed:
        why = str(failed.strerror)
        return _unread(path, Phrase("{file} cannot be read: {why}", file=str(path.absolute()), why=why))


def _unread(path: Path, why: Phrase) -> EndedRun:
    return EndedRun(
        run_id=path.parent.name,
        folder=path.parent,
        system_identifier=UNKNOWN,
        database_oid=0,
        sessions=(),
        attempt=None,
        closed=(),
        unread=why,
    )


def _understood(path: Path, facts: list[tuple[str, str, dict[str, Any]]]) -> EndedRun | None:
    opened = next((given for name, _, given in facts if name == OPENED), None)
    if opened is None:
        return None
    asked = next((given for name, phase, given in facts if (name, phase) == (ASKED, Phase.COMMIT)), None)
    about = next((given for name, _, given in facts if name == GATE_CLOSED and "copy_oid" in given), None)
    sessions, marks = _sessions(facts)
    return EndedRun(
        run_id=path.parent.name,
        folder=path.parent,
        system_identifier=str(opened["system_identifier"]),
        database_oid=int(opened["database_oid"]),
        sessions=sessions,
        marks=marks,
        attempt=_attempt(asked) if asked else None,
        closed=_pending(facts, GATE_CLOSED, GATE_OPENED),
        opened=_pending(facts, KEPT_OPENED, KEPT_CLOSED),
        named=next(((int(g["copy_oid"]), str(g["name"])) for name, _, g in facts if name == NAMING), None),
        swap=Swap(**{part.name: about[part.name] for part in fields(Swap)}) if about else None,
    )


def _pending(facts: list[tuple[str, str, dict[str, Any]]], begun: str, over: str) -> tuple[int, ...]:
    """Pure. OIDs of databases for which something was begun and is not over."""
    pending: dict[int, None] = {}
    for name, _, given in facts:
        if name == begun:
            pending[int(given["database_oid"])] = None
        if name == over:
            pending.pop(int(given["database_oid"]), None)
    return tuple(pending)


def errand_sessions(runs: Path, name: str) -> tuple[tuple[Session, ...], tuple[str, ...]]:
    """Server processes of what was no run and has ended, and the marks of others: by its journals of this name below a
    folder. Reads the disk."""
    events = [event for path in find_journals(runs, name).ended for event in read_journal(path)]
    return _sessions([(str(e.get("name")), str(e.get("phase")), e.get("facts", {})) for e in events])


def _sessions(facts: list[tuple[str, str, dict[str, Any]]]) -> tuple[tuple[Session, ...], tuple[str, ...]]:
    """Pure. The server processes that a journal names, but for those on a copy, and the marks of others."""
    told = [given for name, phase, given in facts if name == SESSION and phase != Phase.REHEARSAL]
    sessions = tuple(Session(pid=int(one["pid"]), start=datetime.fromisoformat(one["start"])) for one in told)
    return sessions, tuple(str(one["mark"]) for one in told if "mark" in one)


def _attempt(facts: dict[str, Any]) -> Attempt:
    server = Server(**{**facts["server"], "started_at": datetime.fromisoformat(facts["server"]["started_at"])})
    start = datetime.fromisoformat(facts["backend_start"])
    return Attempt(**{**facts, "backend_start": start, "server": server})
