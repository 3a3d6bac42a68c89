"""Where a database stands: its revision, what is pending, its last run, backup and left-overs, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection

from lawsker_db.errors import Busy, OutcomeUnknown, Refused, Unreachable
from lawsker_db.evidence import Server, Verdict
from lawsker_db.phrases import Phrase
from lawsker_db.postgres import locks
from lawsker_db.postgres.session import find_schema, identify, pin_session
from lawsker_db.record.history import PastRun, Replaced, may_read_history, read_history, read_replaced
from lawsker_db.revisions import OTHER_CHAIN, Chain, current_revisions, load_chain, plan_upgrade
from lawsker_db.safety.ended import EndedRun, left_closed, read_ended
from lawsker_db.safety.errands import count_journals
from lawsker_db.safety.leftovers import (
    RUNS,
    Kind,
    Leftover,
    begun_at,
    doubtful,
    find_left,
    recovering,
    runs_of,
    told_as,
)
from lawsker_db.safety.needs import is_bare
from lawsker_db.safety.shelf import list_backups
from lawsker_db.target import Target


class Word(StrEnum):
    """Where a database stands, in a word; the first that is true of it."""

    STANDBY = "standby"
    AT_WORK = "run at work"
    UNKNOWN = "outcome unknown"
    LEFT_OVERS = "left-overs to settle"
    STRANGE = "unknown revision"
    NOT_STAMPED = "not stamped"
    PENDING = "pending"
    AT_HEAD = "at head"


# What `status --exit-code` ends with: as the command that one would type next would end.
CODES = {Word.AT_HEAD: 0, Word.AT_WORK: Busy.exit_code, Word.UNKNOWN: OutcomeUnknown.exit_code}


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest run of this database that history or folder know of. `committed`: its row is in the history; `verdict`
    is that of its report, empty where there is none that can be read."""

    run_id: str
    at: datetime | None
    committed: bool
    verdict: str
    folder: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestBackup:
    """The newest proven backup of this database in the folder of runs."""

    backup_id: str
    folder: str
    taken_at: datetime
    proven_at: str
    revision: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a database stands: its revision, what is pending, and its runs, oldest first. `titles` are those of what is
    pending; `runs_read`: how many runs have a journal in the folder; without `history_told` this role may not read the
    history, and there may be runs."""

    server: Server
    current: tuple[str, ...]
    head: str
    pending: tuple[str, ...]
    titles: Mapping[str, str]
    history: tuple[PastRun, ...]
    history_told: bool
    last: LastRun | None
    backup: NewestBackup | None
    leftovers: tuple[Leftover, ...]
    runs_read: int
    at_work: tuple[str, ...]
    word: Word
    hint: str

    @property
    def exit_code(self) -> int:
        """Pure. 0 at head with nothing to settle, 15 while a run is at work, 12 while an outcome is not known, else 10."""
        return CODES.get(self.word, Refused.exit_code)


def look(target: Target, config: Path | None = None, runs: Path = RUNS) -> Standing:
    """Where the database stands in the chain of `config` (the shipped one by default), what the runs below `runs` have
    left, and what to type next. Reads only.

    Raises `Unreachable`; where a run may have closed the database, its hint is to settle that.
    """
    chain = load_chain(config)
    try:
        with target.connect() as conn:
            conn.exec_driver_sql("SET TRANSACTION READ ONLY")
            pin_session(conn, find_schema(conn))
            standing = _read(conn, chain, config, runs)
            conn.rollback()
    except Unreachable as failed:
        if left_closed(runs):
            failed.hint = recovering(runs)
        raise
    return standing


def _read(conn: Connection, chain: Chain, config: Path | None, runs: Path) -> Standing:
    server = identify(conn)
    # Asked before the history: whoever has committed by then is in it.
    at_work = tuple(
        dict.fromkeys(one.label for key in (locks.RUN, locks.MIGRATION) for one in locks.holders(conn, key))
    )
    current = current_revisions(conn)
    told = may_read_history(conn)
    history = read_history(conn, server) if told else ()
    replaced = read_replaced(conn, server) if told else ()
    leftovers = find_left(conn, runs, server, replaced, history)
    pending = _pending(chain, current)
    bare = not current and is_bare(conn, plan_upgrade(chain, ()))
    word = _word(server, at_work, leftovers, stamped=bool(current), pending=pending)
    return Standing(
        server=server,
        current=current,
        head=chain.head,
        pending=tuple(pending or ()),
        titles=pending or {},
        history=history,
        history_told=told,
        last=_last(history, runs_of(read_ended(runs), server, replaced)),
        backup=_newest(runs, server, replaced),
        leftovers=leftovers,
        runs_read=count_journals(runs),
        at_work=at_work,
        word=word,
        hint=_next(word, config, runs, bare=bare),
    )


def _pending(chain: Chain, current: tuple[str, ...]) -> Mapping[str, str] | None:
    """What would be run, in order, with its titles; None where the chain does not know where the database is."""
    if not current or not chain.knows(current):
        return None
    upward = reversed(list(chain.scripts.iterate_revisions(chain.head, current[0])))
    return {script.revision: script.doc for script in upward}


def _word(
    server: Server,
    at_work: tuple[str, ...],
    leftovers: tuple[Leftover, ...],
    *,
    stamped: bool,
    pending: Mapping[str, str] | None,
) -> Word:
    """Pure. The first word that is true: what must be settled comes before what could be run."""
    if server.in_recovery:
        return Word.STANDBY
    if at_work:
        return Word.AT_WORK
    if any(left.kind is Kind.COMMIT for left in leftovers):
        return Word.UNKNOWN
    if any(left.to_settle for left in leftovers):
        return Word.LEFT_OVERS
    if pending is None:
        return Word.STRANGE if stamped else Word.NOT_STAMPED
    return Word.PENDING if pending else Word.AT_HEAD


def _next(word: Word, config: Path | None, runs: Path, *, bare: bool) -> str:
    """Pure. What to type next. A chain of others is named again: without it the shipped one would be meant. Where it is
    `bare` there is nothing to adopt."""
    chain = "" if config is None else f" --config {shlex.quote(str(config))}"
    upgrade, again = f"lawsker-db safe-upgrade{chain}", f"lawsker-db status{chain}"
    settle = recovering(runs)
    hints = {
        Word.STANDBY: Phrase("ask the primary: this is a standby, which takes no writes and may be behind"),
        Word.AT_WORK: Phrase("when it has ended: {command}", command=again),
        Word.UNKNOWN: settle,
        Word.LEFT_OVERS: settle,
        Word.STRANGE: OTHER_CHAIN,
        Word.NOT_STAMPED: upgrade if chain or bare else "lawsker-db adopt --dry-run",
        Word.PENDING: upgrade,
        Word.AT_HEAD: f"alembic -c {shlex.quote(str(config))} check" if chain else "lawsker-db verify",
    }
    return hints[word]


def _last(history: tuple[PastRun, ...], ended: tuple[EndedRun, ...]) -> LastRun | None:
    """The newest run: of the history, or one that left a folder and no row. Reads the disk."""
    rows = {past.run_id: past for past in history}
    folders = {run.run_id: run for run in ended}
    newest = history[-1] if history else None
    without = [run for run in ended if run.run_id not in rows and begun_at(run.run_id)]
    later = max(without, key=lambda run: run.run_id, default=None)
    if later is not None and (newest is None or _after(later.run_id, newest)):
        return _of_folder(later)
    if newest is None:
        return None
    own = folders.get(newest.run_id)
    return LastRun(
        run_id=newest.run_id,
        at=newest.made_at,
        committed=True,
        verdict=told_as(own) if own else "",
        folder=str(own.folder) if own else "",
        what=newest.direction,
    )


def _after(run_id: str, past: PastRun) -> bool:
    begun = begun_at(run_id)
    return begun is not None and begun > past.made_at.astimezone(UTC)


def _of_folder(run: EndedRun) -> LastRun:
    """The last run by its folder alone. Reads the disk."""
    verdict = told_as(run) if run.told else Verdict.UNKNOWN.value if doubtful(run) else ""
    return LastRun(
        run_id=run.run_id, at=begun_at(run.run_id), committed=False, verdict=verdict, folder=str(run.folder), what=""
    )


def _newest(runs: Path, server: Server, replaced: tuple[Replaced, ...]) -> NewestBackup | None:
    """The newest proven backup of this database, or of one that a restore has put it in the place of. Reads the disk."""
    if not runs.is_dir():
        return None
    ours = {(server.system_identifier, server.database_oid)}
    ours |= {(one.system_identifier, one.database_oid) for one in replaced}
    for kept in reversed(list_backups(runs)[0]):
        of, proof = kept.manifest.server, kept.manifest.proof
        if proof is not None and (of.get("system_identifier"), of.get("database_oid")) in ours:
            return NewestBackup(
                backup_id=kept.manifest.backup_id,
                folder=str(kept.folder),
                taken_at=kept.taken_at,
                proven_at=proof.proven_at,
                revision=kept.manifest.revision,
                bytes=kept.manifest.bytes,
            )
    return None
