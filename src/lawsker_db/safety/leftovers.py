"""What earlier runs have left: what `recover` settles, and what is kept on purpose until somebody lets it go. Only looks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Server
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.databases import SCRATCH_NAME
from lawsker_db.postgres.kept import find_archives, unknown_archives
from lawsker_db.postgres.session import identify
from lawsker_db.record.history import PastRun, Replaced, may_read_history, read_history, read_replaced
from lawsker_db.record.report import read_verdict
from lawsker_db.safety.ended import MARKED_UNASKED, SETTLED, EndedRun, read_ended
from lawsker_db.safety.errands import RECOVER, Away, find_away, find_leftovers, find_unfinished

RUNS = Path("lawsker-runs")
STAMP = "%Y%m%dT%H%M%SZ"  # how the id of a run begins (record.journal.new_run_id)
MAY_SIZE = "has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')"


class Kind(StrEnum):
    """What is left. `recover` settles the first four; the rest stays until somebody drops it."""

    COMMIT = "run, outcome unknown"
    RUN = "run, not told"
    SCRATCH = "scratch database"
    BACKUP = "unfinished backup"
    STRANGER = "scratch database of nobody here"
    ARCHIVE = "archive"
    DAMAGED = "damaged database"


TO_SETTLE = (Kind.COMMIT, Kind.RUN, Kind.SCRATCH, Kind.BACKUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that is left: since when and how large, None where that cannot be told cheaply."""

    kind: Kind
    name: str
    since: datetime | None = None
    bytes: int | None = None
    says: str = ""

    @property
    def to_settle(self) -> bool:
        """Pure. Whether `recover` is what it waits for."""
        return self.kind in TO_SETTLE


def find_left(
    conn: Connection, runs: Path, server: Server, replaced: tuple[Replaced, ...], history: tuple[PastRun, ...]
) -> tuple[Leftover, ...]:
    """Everything that runs have left of this database, what is to be settled first. Reads the catalog and the folder of
    runs; what cannot be looked at within the session's lock_timeout is told as such."""
    return (
        *_untold(runs_of(read_ended(runs), server, replaced), {past.run_id for past in history}),
        *_scratches(conn, runs),
        *_elsewhere(find_away(runs, server, names_of(server, replaced))),
        *(
            Leftover(kind=Kind.BACKUP, name=str(path), since=begun_at(path.parent.name))
            for path in find_unfinished(runs)
        ),
        *_archives(conn),
        *_damaged(conn, replaced, history),
    )


def runs_of(ended: Iterable[EndedRun], server: Server, replaced: Iterable[Replaced]) -> tuple[EndedRun, ...]:
    """Pure. Those runs that are of this database, or of one that a restore has put it in the place of. Of a run whose
    journal cannot be read nobody knows, so it counts."""
    ours = names_of(server, replaced)
    return tuple(run for run in ended if not run.readable or (run.system_identifier, run.database_oid) in ours)


def names_of(server: Server, replaced: Iterable[Replaced]) -> frozenset[tuple[str, int]]:
    """Pure. This database and those that restores have put it in the place of: server and OID of each."""
    here = (server.system_identifier, server.database_oid)
    return frozenset((here, *((one.system_identifier, one.database_oid) for one in replaced)))


def unsettled_check(conn: Connection, runs: Path) -> Check:
    """Whether an earlier run left something that `recover` would settle, in the words of `status`. Reads."""
    server = identify(conn, sized=False)
    told = may_read_history(conn)
    replaced = read_replaced(conn, server) if told else ()
    committed = {past.run_id for past in read_history(conn, server)} if told else set()
    found: str
    try:
        untold = _untold(runs_of(read_ended(runs), server, replaced), committed)
        left: list[str] = [Phrase("run {run_id}: {says}", run_id=one.name, says=one.says) for one in untold]
        left += [leftover.database for leftover in find_leftovers(conn, runs)]
        away = find_away(runs, server, names_of(server, replaced))
        left += [Phrase("{database} at {place}", database=one.database, place=one.place) for one in away]
        left += [str(path) for path in find_unfinished(runs)]
        found, mend = joined(left), recovering(runs)
    except Refused as failed:
        found, mend = failed.message, failed.hint
    return Check(
        name=Phrase("left-overs of earlier runs"),
        ok=not found,
        expected=Phrase("every run told how it ended; no scratch database, no unfinished backup"),
        found=found or Phrase("none"),
        detail=mend if found else "",
        warning=True,
    )


def recovering(runs: Path) -> str:
    """Pure. How `recover` is typed for this folder of runs: of runs elsewhere it would know nothing."""
    return RECOVER if runs == RUNS else f"{RECOVER} --runs {shlex.quote(str(runs))}"


def begun_at(run_id: str) -> datetime | None:
    """Pure. When a run began, by its id; None for what is no id of ours."""
    try:
        return datetime.strptime(run_id.partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def told_as(run: EndedRun) -> str:
    """How a run ended, by what `recover` has noted in its folder, else by its own report; empty where neither says so.
    Reads the disk."""
    try:
        return str(json.loads((run.folder / SETTLED).read_bytes())["outcome"])
    except (OSError, ValueError, KeyError, TypeError):
        return read_verdict(run.folder) or ""


def doubtful(run: EndedRun) -> bool:
    """Pure. Whether a run whose end nobody has told may have committed, or swapped names."""
    return run.attempt is not None or run.swap is not None or run.named is not None or not run.readable


def _untold(runs: Iterable[EndedRun], committed: set[str]) -> Iterator[Leftover]:
    """Runs whose end nobody has told. One that had come to COMMIT, or cannot be read, may have committed; one whose row
    is in the history has, and only could not write it down."""
    for run in runs:
        if run.told:
            continue
        kind, said = _end_of(run, marked=run.run_id in committed)
        yield Leftover(kind=kind, name=run.run_id, since=begun_at(run.run_id), says=said)


def _end_of(run: EndedRun, *, marked: bool) -> tuple[Kind, Phrase]:
    """Pure. How a run ended whose end nobody has told, as `recover` will find it."""
    if run.unread is not None:
        return Kind.COMMIT, run.unread
    if marked and run.attempt is not None and run.swap is None:
        return Kind.RUN, Phrase("it committed, and its folder does not say so")
    if marked and run.swap is None:
        return Kind.COMMIT, MARKED_UNASKED
    if doubtful(run):
        return Kind.COMMIT, Phrase("nobody has told yet whether it committed")
    return Kind.RUN, Phrase("it ended before COMMIT")


def _scratches(conn: Connection, runs: Path) -> Iterator[Leftover]:
    """Scratch databases on this server: those that an ended run here names, and those of which nobody here knows."""
    rows = conn.execute(
        text(
            f"SELECT d.datname, CASE WHEN {MAY_SIZE} THEN pg_database_size(d.oid) END"
            " FROM pg_database d WHERE d.datname ~ :name ORDER BY 1"
        ),
        {"name": f"^{SCRATCH_NAME.pattern}$"},
    )
    ours = {left.database: left.journal.parent.name for left in find_leftovers(conn, runs)}
    for name, size in rows:
        run_id = ours.get(name, "")
        if run_id:
            yield Leftover(kind=Kind.SCRATCH, name=name, since=begun_at(run_id), bytes=size, says=run_id)
        else:
            said = Phrase("no ended run in {runs} names it: it may be in use", runs=str(runs))
            yield Leftover(kind=Kind.STRANGER, name=name, bytes=size, says=said)


def _elsewhere(away: Iterable[Away]) -> Iterator[Leftover]:
    """Copies of this database on other servers."""
    for one in away:
        run_id = one.journal.parent.name
        said = Phrase("at {place}, of {run_id}", place=one.place, run_id=run_id)
        yield Leftover(kind=Kind.SCRATCH, name=one.database, since=begun_at(run_id), says=said)


def _archives(conn: Connection) -> tuple[Leftover, ...]:
    """Archives of rollbacks. Somebody may be dropping one at this moment: then they are named as not looked at."""
    sized = text(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = :schema AND c.relkind IN ('r', 'm', 'S')"
    )
    try:
        with conn.begin_nested():
            found = [
                Leftover(
                    kind=Kind.ARCHIVE,
                    name=one.schema,
                    since=one.made_at,
                    bytes=conn.execute(sized, {"schema": one.schema}).scalar_one(),
                    says=one.run_id,
                )
                for one in find_archives(conn)
            ]
            said = Phrase("no archive that this role may read")
            found += [Leftover(kind=Kind.ARCHIVE, name=name, says=said) for name in unknown_archives(conn)]
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        said = Phrase("archives could not be looked at: somebody holds a lock on one")
        return (Leftover(kind=Kind.ARCHIVE, name="?", says=said),)
    return tuple(found)


def _damaged(conn: Connection, replaced: tuple[Replaced, ...], history: tuple[PastRun, ...]) -> Iterator[Leftover]:
    """Databases that restores have replaced, and which still stand, under whatever name."""
    rows = conn.execute(
        text(
            f"SELECT d.oid::bigint, d.datname, CASE WHEN {MAY_SIZE} THEN pg_database_size(d.oid) END"
            " FROM pg_database d WHERE d.oid = ANY(CAST(:oids AS bigint[]))"
        ),
        {"oids": [one.database_oid for one in replaced]},
    )
    standing = {int(oid): (str(name), size) for oid, name, size in rows}
    when = {run.run_id: run.made_at for run in history}
    for one in replaced:
        if one.database_oid in standing:
            name, size = standing[one.database_oid]
            yield Leftover(kind=Kind.DAMAGED, name=name, since=when.get(one.run_id), bytes=size, says=one.run_id)
