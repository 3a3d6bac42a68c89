"""recover: settle what runs left that were killed or lost their server. Asks the journals what was, and the server what is.

A closed gate first (a database that lets nobody in is an outage), then each run whose outcome is not known, its sessions,
scratch databases, half backups. Nothing is touched that no journal of ours names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import OutcomeUnknown, Refused
from lawsker_db.evidence import Server
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.databases import beside
from lawsker_db.postgres.session import UNKNOWN, end_sessions, identify, marked_sessions
from lawsker_db.postgres.swap import is_swapped, let_in
from lawsker_db.postgres.tools import remove_temporary_files
from lawsker_db.record.history import Replaced, has_committed, may_read_history, read_history, read_replaced
from lawsker_db.record.journal import as_json, write_atomically
from lawsker_db.safety.doubt import RECONNECT_S, Decision, Outcome, decide_outcome
from lawsker_db.safety.ended import MARKED_UNASKED, SETTLED, EndedRun, errand_sessions, read_ended, read_living
from lawsker_db.safety.errands import (
    ERRAND,
    RECOVER,
    Away,
    drop_away,
    drop_leftovers,
    find_away,
    remove_unfinished,
)
from lawsker_db.safety.guard import JOURNALLED
from lawsker_db.safety.leftovers import names_of
from lawsker_db.safety.rescue_files import PARTIAL as RESCUE_PARTIAL
from lawsker_db.safety.rescue_files import RESCUE
from lawsker_db.safety.restore_account import by_hand
from lawsker_db.target import Target

PARTIAL = "*.partial"
NO_ROW = Phrase("recover changed no row; what it had cleared away by then stays away.")
_STANDS = "SELECT FROM pg_database WHERE oid = :oid AND datname = :name"
NOT_ASKED = Phrase("it never came to COMMIT")
NOT_SWAPPED = Phrase("the names were not swapped: this is the database that it was, and no other one took its place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of one run."""

    run_id: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What `recover` found and did, in the order in which it did it. `left`: server processes that it could not end,
    `at_standby` those of them that wait for a synchronous standby. `elsewhere`: runs of other databases, whose outcome was
    not asked for. `shut`: damaged databases closed again. `away`: copies of this database on other servers, which stay.

    `read`: how many runs there are in `folder`; `alive`: those of this database that are still at work, and were left alone;
    `absent`: runs that the database knows to have committed, and which have no folder there."""

    reopened: tuple[str, ...]
    shut: tuple[str, ...]
    runs: tuple[Settled, ...]
    ended: tuple[int, ...]
    left: tuple[int, ...]
    dropped: tuple[str, ...]
    removed: tuple[str, ...]
    elsewhere: int
    away: tuple[Away, ...]
    at_standby: tuple[int, ...]
    folder: str
    read: int
    alive: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def settled(self) -> bool:
        """Pure. Whether the outcome of every run is known."""
        return all(run.outcome in (Outcome.COMMITTED, Outcome.ROLLED_BACK) for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known before anything is settled: by the folder of runs, and by the database's own history."""

    ended: tuple[EndedRun, ...]
    living: tuple[EndedRun, ...]
    server: Server
    replaced: tuple[Replaced, ...]
    absent: tuple[str, ...]

    def is_here(self, run: EndedRun) -> bool:
        """Pure. Whether a run is of this database; of one whose journal cannot be read nobody knows, so it counts."""
        of = (run.system_identifier, run.database_oid)
        return not run.readable or of in names_of(self.server, self.replaced)


def recover(
    target: Target, runs: Path, *, proof_server: Target | None = None, reconnect_s: float = RECONNECT_S
) -> Recovered:
    """Settle what ended runs of this database left, by their journals below `runs`.

    Lets connections into a database again whose gate a run closed; ends server processes that were a run's; drops the
    scratch databases and removes the half files of every ended run below `runs`; with `proof_server` those scratch databases
    too that stand there. Writes no row. Waits up to `reconnect_s` for a COMMIT that is still under way. Raises `Refused`
    (and `Unreachable`) when the folder cannot be read or the server does not let it, and `OutcomeUnknown` when that keeps
    the outcome of a run in doubt.
    """
    ended, living = read_ended(runs), read_living(runs)
    with _told_truly(ended):
        reopened, shut = _set_gates(target, ended)
        known = _ask(target, runs, ended, living)
        here = tuple(run for run in ended if known.is_here(run))
        settled = tuple(_settle(target, run, known.replaced, reconnect_s) for run in here if not run.told)
        gone, left, at_standby = _end_sessions(target, runs, replace(known, ended=here), settled)
        removed = [*remove_unfinished(runs), *_remove_partials(ended), *remove_temporary_files()]
        dropped = drop_leftovers(target, runs)
        away = find_away(runs, known.server, names_of(known.server, known.replaced))
        dropped_away = drop_away(proof_server, away) if proof_server is not None else ()
        return Recovered(
            reopened=reopened,
            shut=shut,
            runs=settled,
            ended=gone,
            left=left,
            dropped=(*dropped, *(one.database for one in dropped_away)),
            removed=tuple(str(path) for path in removed),
            elsewhere=sum(not run.told for run in ended if run not in here),
            away=tuple(one for one in away if one not in dropped_away),
            at_standby=at_standby,
            folder=str(runs.absolute()),
            read=len(ended) + len(living),
            alive=tuple(run.run_id for run in living if known.is_here(run)),
            absent=known.absent,
        )


def _ask(target: Target, runs: Path, ended: tuple[EndedRun, ...], living: tuple[EndedRun, ...]) -> Known:
    """What the database knows of itself and its runs. Reads."""
    with target.connect() as conn:
        server = identify(conn, sized=False)
        replaced = read_replaced(conn, server)
        history = read_history(conn, server) if may_read_history(conn) else ()
        conn.rollback()
    absent = tuple(
        past.run_id
        for past in history
        if past.here and past.via.startswith(JOURNALLED) and not os.path.lexists(runs / past.run_id)
    )
    return Known(ended=ended, living=living, server=server, replaced=replaced, absent=absent)


def require_settled(found: Recovered) -> None:
    """Pure. Raise `OutcomeUnknown` when that of an earlier run is still not known: nothing is begun on top of it."""
    for run in found.runs:
        if run.outcome in (Outcome.UNKNOWN, Outcome.INCONSISTENT):
            words = Phrase(
                "The outcome of run {run_id} cannot be told yet: {reason}.", run_id=run.run_id, reason=run.reason
            )
            raise OutcomeUnknown(words, hint=RECOVER, run_id=run.run_id)


@contextmanager
def _told_truly(ended: Iterable[EndedRun]) -> Iterator[None]:
    """Turn a refusal in the block into words that are true of runs in doubt: who could not look knows nothing."""
    try:
        yield
    except Refused as failed:
        open_still = [run.run_id for run in ended if run.attempt is not None and not run.told]
        if open_still:
            raise OutcomeUnknown(
                Phrase(
                    "The outcome of run {runs} cannot be told yet: {why}",
                    runs=", ".join(open_still),
                    why=failed.message,
                ),
                hint=Phrase("when the server is back: {command}", command=RECOVER),
                run_id=open_still[0],
            ) from failed
        failed.state = NO_ROW
        raise


def _replacement(run: EndedRun, replaced: Iterable[Replaced]) -> Replaced | None:
    """Pure. The restore that has put this database in the place of the run's."""
    of = (run.system_identifier, run.database_oid)
    return next((one for one in replaced if (one.system_identifier, one.database_oid) == of), None)


def _set_gates(target: Target, ended: Iterable[EndedRun]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Let connections in again where a run has closed the gate and not opened it; after a swap that is the restored one, and
    the damaged one stays closed. Returns the names of those that were opened, and of those that were closed."""
    pending = [run for run in ended if run.closed or run.opened]
    if not pending:
        return (), ()
    opened: list[str | None] = []
    shut: list[str | None] = []
    with beside(target).connect(autocommit=True) as conn:
        here = identify(conn, sized=False).system_identifier
        for run in pending:
            if UNKNOWN in (here, run.system_identifier):  # then the names must fit the OIDs
                if run.swap is None or is_swapped(conn, run.swap) is None:
                    continue
            elif run.system_identifier != here:
                continue
            if run.closed:  # a rename of its that is under way is decided when its session has ended
                end_sessions(conn, run.sessions)
            if not (run.folder / SETTLED).exists():  # once: later on an operator may have set it otherwise
                opened += [let_in(conn, oid, allowed=True) for oid in _behind_gate(conn, run)]
                shut += [let_in(conn, oid, allowed=False) for oid in run.opened if not _bears_live_name(conn, run, oid)]
    return tuple(name for name in opened if name), tuple(name for name in shut if name)


def _behind_gate(conn: Connection, run: EndedRun) -> tuple[int, ...]:
    """The database that applications shall get into again: the one that bears the live name. Where neither of the two does,
    another restore has come since, and what was closed is a damaged database now. Reads."""
    if run.swap is None or not run.closed:
        return run.closed
    swapped = is_swapped(conn, run.swap)
    return () if swapped is None else (run.swap.copy_oid,) if swapped else run.closed


def _bears_live_name(conn: Connection, run: EndedRun, oid: int) -> bool:
    """Whether somebody has given the damaged database its old name back: then it is in use. Reads."""
    name = run.swap.live if run.swap is not None else ""
    return bool(conn.execute(text(_STANDS), {"oid": oid, "name": name}).all())


def _settle(target: Target, run: EndedRun, replaced: Iterable[Replaced], reconnect_s: float) -> Settled:
    """Find out what became of a run, and note it in its folder when it is known."""
    instead = _replacement(run, replaced)
    decision = _decide_replaced(target, run, instead) if instead else _decide(target, run, reconnect_s)
    settled = Settled(run_id=run.run_id, outcome=decision.outcome, reason=decision.reason)
    if decision.outcome in (Outcome.COMMITTED, Outcome.ROLLED_BACK):
        try:
            write_atomically(run.folder / SETTLED, json.dumps(as_json(asdict(settled))).encode())
        except OSError as failed:
            raise Refused(
                Phrase("{file} cannot be written: {why}.", file=str(run.folder / SETTLED), why=str(failed.strerror)),
                hint=RECOVER,
            ) from failed
    return settled


def _decide(target: Target, run: EndedRun, reconnect_s: float) -> Decision:
    """By the table when COMMIT was sent, or might have been; else by the journal, and the marker all the same."""
    if run.unread is not None:
        return Decision(outcome=Outcome.UNKNOWN, reason=run.unread)
    if run.attempt is not None:
        return decide_outcome(target, run.attempt, reconnect_s=reconnect_s)
    oid, name = run.named or (0, "")
    with target.connect() as conn:
        marked = has_committed(conn, run.run_id)
        whole = bool(conn.execute(text(_STANDS), {"oid": oid, "name": name}).all())
        conn.rollback()
    if whole:
        return Decision(
            outcome=Outcome.COMMITTED, reason=Phrase("its copy stands, whole and proven, as {database}", database=name)
        )
    if run.swap is not None and not marked:
        return Decision(outcome=Outcome.ROLLED_BACK, reason=NOT_SWAPPED)
    if marked:
        return Decision(outcome=Outcome.INCONSISTENT, reason=MARKED_UNASKED)
    return Decision(outcome=Outcome.ROLLED_BACK, reason=NOT_ASKED)


def _decide_replaced(target: Target, run: EndedRun, instead: Replaced) -> Decision:
    """What became of a run in a database that a restore has put this one in the place of. Its history was carried over when
    that was closed; so what is not in it had not committed by then, and could not any more."""
    if run.run_id == instead.run_id:
        words = Phrase(
            "the names were swapped: this is the restored database, the damaged one is called {database}",
            database=instead.name,
        )
        if run.swap is not None and not (run.folder / RESCUE).exists():
            rows = Phrase("what was written since the backup was not exported: {next}", next=by_hand(run.swap))
            words = joined((words, rows), "; ")
        return Decision(outcome=Outcome.COMMITTED, reason=words)
    since = Phrase("this database was restored from backup {backup_id}, taken before it", backup_id=instead.backup_id)
    if run.run_id in instead.undone:
        return Decision(
            outcome=Outcome.COMMITTED,
            reason=Phrase("committed in what is now {database}; {since}", database=instead.name, since=since),
        )
    with target.connect() as conn:
        marked = has_committed(conn, run.run_id)
        conn.rollback()
    if marked:
        return Decision(
            outcome=Outcome.COMMITTED, reason=Phrase("its marker row is there, and was in the backup already")
        )
    if not instead.known:
        words = Phrase(
            "what is now {database} had lost its history when it was replaced: look for traces of the run there",
            database=instead.name,
        )
        return Decision(outcome=Outcome.UNKNOWN, reason=words)
    words = Phrase(
        "its marker row is absent, and was so in what is now {database} when that was closed",
        database=instead.name,
    )
    return Decision(outcome=Outcome.ROLLED_BACK, reason=words)


def _end_sessions(
    target: Target, runs: Path, known: Known, settled: tuple[Settled, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """End server processes that were a run's and have not noticed: those of runs that never came to COMMIT, or whose
    outcome was found out just now, and of backups; also those of programs and readers, which bear its mark. Returns those
    that are gone, those that are not, and those of them that wait for a synchronous standby."""
    decided = {run.run_id for run in settled if run.outcome in (Outcome.COMMITTED, Outcome.ROLLED_BACK)}
    over = [run for run in known.ended if run.attempt is None or run.run_id in decided]
    theirs, marks = errand_sessions(runs, ERRAND)
    sessions = (*theirs, *(session for run in over for session in run.sessions))
    alive = {mark for run in known.living for mark in run.marks}  # one process may make several runs
    dead = {*marks, *(mark for run in over for mark in run.marks)} - alive
    if not sessions and not dead:
        return (), (), ()
    with target.connect(autocommit=True) as conn:
        gone, left = end_sessions(conn, (*sessions, *marked_sessions(conn, tuple(dead))))
        waiting = text("SELECT pid FROM pg_stat_activity WHERE pid = ANY(:left) AND wait_event = 'SyncRep' ORDER BY 1")
        return gone, left, tuple(conn.execute(waiting, {"left": list(left)}).scalars()) if left else ()


def _remove_partials(ended: Iterable[EndedRun]) -> tuple[Path, ...]:
    """Remove what was never finished: nobody reads it. What this user may not change stays."""
    ended = [run for run in ended if os.access(run.folder, os.R_OK | os.W_OK | os.X_OK)]
    halves = [run.folder / RESCUE_PARTIAL for run in ended]  # of an export that was killed
    folders = [path for path in halves if path.is_dir() and not path.is_symlink()]
    for path in folders:
        shutil.rmtree(path)
    found = [path for run in ended for path in run.folder.rglob(PARTIAL) if path.is_file() and not path.is_symlink()]
    # But a replay's list of rows that could not go is the only one while it is under way, or committed and not told.
    found = [path for path in found if path.parent.name != RESCUE]
    for path in found:
        path.unlink(missing_ok=True)
    return (*folders, *found)
