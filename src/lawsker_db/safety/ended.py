"""Runs whose process is no more, as their journals tell of them: which database and sessions, what was about to happen."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from lawsker_db.evidence import Phase, Server, Verdict
from lawsker_db.postgres.session import UNKNOWN, Session
from lawsker_db.postgres.swap import Swap
from lawsker_db.record.journal import JOURNAL, goes_on, read_journal
from lawsker_db.record.report import read_verdict
from lawsker_db.safety.doubt import Attempt

SETTLED = "settled.json"
OPENED, SESSION, ASKED = "opened", "session", "about to commit"
GATE_CLOSED, GATE_OPENED = "gate closed", "gate opened"
NAMING = "about to name"
KEPT_OPENED, KEPT_CLOSED = "damaged opened", "damaged closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """What the journal of a run says whose process is no more. `closed` are OIDs of databases behind a closed gate, `opened`
    those of damaged ones that were to be closed again; `swap` is what a restore was about to rename, `named` a copy that was
    about to get its name.
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
    readable: bool = True

    @property
    def told(self) -> bool:
        """Whether the run, or a recover after it, has said how it ended. Reads the disk."""
        return (self.folder / SETTLED).exists() or read_verdict(self.folder) not in (None, Verdict.UNKNOWN)


def read_ended(runs: Path) -> tuple[EndedRun, ...]:
    """The runs below a folder whose process is no more, oldest first. Reads the disk."""
    found = []
    for path in sorted(runs.glob(f"*/{JOURNAL}")):
        if path.is_symlink() or path.parent.is_symlink() or goes_on(path):
            continue
        run = _read(path)
        if run is not None:
            found.append(run)
    return tuple(found)


def _read(path: Path) -> EndedRun | None:
    """What a journal says; None for one that does not say which database it is about. One that another version of this
    package wrote in words of its own is there, and not readable."""
    events = read_journal(path)
    try:
        return _understood(path, [(event["name"], event["phase"], event["facts"]) for event in events])
    except (KeyError, TypeError, ValueError):
        return EndedRun(
            run_id=path.parent.name,
            folder=path.parent,
            system_identifier=UNKNOWN,
            database_oid=0,
            sessions=(),
            attempt=None,
            closed=(),
            readable=False,
        )


def _understood(path: Path, facts: list[tuple[str, str, dict[str, Any]]]) -> EndedRun | None:
    opened = next((given for name, _, given in facts if name == OPENED), None)
    if opened is None:
        return None
    asked = next((given for name, phase, given in facts if (name, phase) == (ASKED, Phase.COMMIT)), None)
    about = next((given for name, _, given in facts if name == GATE_CLOSED and "copy_oid" in given), None)
    return EndedRun(
        run_id=path.parent.name,
        folder=path.parent,
        system_identifier=str(opened["system_identifier"]),
        database_oid=int(opened["database_oid"]),
        sessions=tuple(_session(given) for name, phase, given in facts if name == SESSION and phase != Phase.REHEARSAL),
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


def _session(facts: dict[str, Any]) -> Session:
    return Session(pid=int(facts["pid"]), start=datetime.fromisoformat(facts["start"]))


def _attempt(facts: dict[str, Any]) -> Attempt:
    server = Server(**{**facts["server"], "started_at": datetime.fromisoformat(facts["server"]["started_at"])})
    start = datetime.fromisoformat(facts["backend_start"])
    return Attempt(**{**facts, "backend_start": start, "server": server})
