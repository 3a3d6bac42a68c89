"""The history of a database, and whether it is whole: its hash chain, and the folders of runs that say they committed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from lawsker_db.errors import Refused
from lawsker_db.evidence import Server, Verdict
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import find_schema, identify, pin_session, quoted
from lawsker_db.record.history import PastRun, Replaced, may_read_history, read_history, read_replaced
from lawsker_db.safety.doubt import Outcome
from lawsker_db.safety.ended import EndedRun, read_ended
from lawsker_db.safety.leftovers import begun_at, runs_of, told_as
from lawsker_db.target import Target

COMMITTED = (Verdict.DONE.value, Verdict.COMMITTED_UNPROVEN.value, Outcome.COMMITTED.value)


class Kind(StrEnum):
    """What can be wrong with a history."""

    ALTERED = "altered"
    GAP = "gap"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong: at which run's row, and in words. Of a gap it is the row behind it."""

    kind: Kind
    run_id: str
    at: datetime | None
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The history, oldest first, and what is wrong with it. `folders`: of how many of its runs a folder was found."""

    server: Server
    runs: tuple[PastRun, ...]
    flaws: tuple[Flaw, ...]
    folders: int


def audit(target: Target, runs: Path) -> Audit:
    """Read the history of a database, check its hash chain, and compare it with the folders below `runs`. Reads only.

    A chain shows that a row was changed, or that one is missing between two others. Rows that were cut off at its end leave
    no trace in it: those only the folder of a run can tell of. Raises `Refused` where this role may not read the history.
    """
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, find_schema(conn))
        server = identify(conn, sized=False)
        if not may_read_history(conn):
            grant = f"GRANT USAGE ON SCHEMA lawsker_db TO {quoted(server.user)}"
            raise Refused(
                Phrase("{user} may not read the history of this database.", user=server.user),
                hint=f"{grant}; GRANT SELECT ON lawsker_db.migration_run TO {quoted(server.user)}",
            )
        history, replaced = read_history(conn, server), read_replaced(conn, server)
        conn.rollback()
    ended = runs_of(read_ended(runs), server, replaced)
    found = {past.run_id for past in history}
    return Audit(
        server=server,
        runs=history,
        flaws=(*chain_flaws(history), *_missing(ended, found, replaced)),
        folders=sum(run.run_id in found for run in ended),
    )


def chain_flaws(history: Iterable[PastRun]) -> Iterator[Flaw]:
    """Pure. What the hash chain says of each row, oldest first."""
    before = ""
    for past in history:
        if past.gap:
            place = Phrase("between it and run {run}", run=before) if before else Phrase("before it")
            said = Phrase("{place} a row is missing, or was replaced", place=place)
            yield Flaw(kind=Kind.GAP, run_id=past.run_id, at=past.made_at, says=said)
        if past.altered:
            said = Phrase("its row is not what was written")
            yield Flaw(kind=Kind.ALTERED, run_id=past.run_id, at=past.made_at, says=said)
        before = past.run_id


def _missing(ended: Iterable[EndedRun], found: set[str], replaced: tuple[Replaced, ...]) -> Iterator[Flaw]:
    """Runs whose folder says that they committed here, and which have no row. Reads the disk.

    A run in a database that had lost its history when it was replaced has none rightly.
    """
    lost = {(one.system_identifier, one.database_oid) for one in replaced if not one.known}
    for run in ended:
        asked = run.attempt is not None or run.swap is not None
        if not asked or run.run_id in found or (run.system_identifier, run.database_oid) in lost:
            continue
        if told_as(run) in COMMITTED:
            said = Phrase("{folder} says that it committed, and no row tells of it", folder=str(run.folder))
            yield Flaw(kind=Kind.MISSING, run_id=run.run_id, at=begun_at(run.run_id), says=said)
