"""Replay: put the rows of a rescue back into the restored database, where keys and constraints allow, in one transaction.

Inserted rows go in unless their key stands there with other content; changed ones only where the row still is what the
backup had; deletions are never repeated. Every row that could not go is written down with its reason.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import CommittedUnproven, LawskerError, OutcomeUnknown, Refused, RolledBack, UsageError
from lawsker_db.evidence import Event, OnEvent, Phase, Server, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres import replaying
from lawsker_db.postgres.differing import CHANGED, DELETED, INSERTED, copying, raw
from lawsker_db.postgres.fingerprint import hashed_form
from lawsker_db.postgres.locks import lock_tables, take_migration_lock
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.pulse import pulse
from lawsker_db.postgres.rows import Shape, read_shapes
from lawsker_db.postgres.session import IDLE_LIMIT, identify, own_session, pin_session, pinned, server_major
from lawsker_db.record.history import REPLAY, Run, write_marker
from lawsker_db.record.journal import new_run_id, sync_folder
from lawsker_db.revisions import current_revisions
from lawsker_db.safety.commit import Asking, Committing, commit, roll_back, unknown_outcome
from lawsker_db.safety.guard import attempt_of
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.safety.rescue_files import INDEX, Index, TableFiles, disk, new_file, read_index
from lawsker_db.target import Target, said_by_server

LOCK = "SHARE ROW EXCLUSIVE"  # keeps writers out, lets readers in; what putting triggers to sleep takes anyway
PATIENCE_S = 60.0
ROW_LOCK_WAIT = "10s"  # for the row of a parent that somebody else holds
PASSES = 20  # a row that waits for one of another table goes in the pass after it; chains that long are rare
HEADER = b"table,line,change,key,sqlstate,reason\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReplay:
    """One table: rows put in, rows overwritten, rows that stood there already, rows that could not go, and deletions,
    which are not repeated."""

    table: str
    inserted: int
    updated: int
    already: int
    refused: int
    deleted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A replay that is committed (or, dry, was rolled back). `refused` is the file that lists the rows that could not go."""

    run_id: str
    tables: tuple[TableReplay, ...]
    refused: str
    dry_run: bool
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Pure. Whether every inserted and changed row stands in the database now."""
        return not any(table.refused for table in self.tables)


def replay_rescue(
    restored: Target, folder: Path, tables: tuple[str, ...], *, dry_run: bool = False, on_event: OnEvent = ignore
) -> Replay:
    """Put the rows of these tables (quoted and qualified, as rescue.json has them) back into the restored database.

    One READ COMMITTED transaction with a marker row; SHARE ROW EXCLUSIVE on the tables until it ends, so their writers
    wait. Their triggers sleep, which needs their owner: what triggers did is in the rows. The RUN lock is the caller's.
    Raises `Refused` before anything is written, `RolledBack`, or `OutcomeUnknown` when COMMIT's answer is lost.
    """
    place, index = read_index(folder)
    chosen = _chosen(index, tables)
    require_direct(restored)
    run_id = new_run_id(REPLAY)
    with restored.connect() as conn:
        refuse_standby(server := identify(conn, sized=False), restored)
        revisions = current_revisions(conn)
        session = own_session(conn)
        conn.rollback()
        target = pinned(restored, server)
        report = place / f"replayed-{run_id}.csv"
        with pulse(target, conn, session) as watch, _rolled_back(conn), new_report(report) as file:
            found = _put_back(conn, place, index, chosen, file, on_event)
            if dry_run:
                roll_back(conn)
                file.unlink()
                return Replay(run_id=run_id, tables=found, refused="", dry_run=True)
            committing = Committing(attempt=attempt_of(conn, server, run_id))
            _mark(conn, server, run_id, revisions, _digest(place), found)
            words = Phrase("rows put back; committing")
            _say(on_event, Phase.COMMIT, "about to commit", words, asdict(committing.attempt))
            _commit(conn, target, committing, Asking(pulse=watch, on_event=on_event))
    warnings = (*committing.warnings, *_named(report))
    try:
        _say(on_event, Phase.COMMIT, "committed", "committed", {"run_id": run_id})
    except (LawskerError, OSError) as failed:  # of whoever listens: it is committed all the same
        warnings += (Phrase("that it is committed could not be told: {error}", error=type(failed).__name__),)
    return Replay(run_id=run_id, tables=found, refused=str(report), dry_run=False, warnings=warnings)


def _commit(conn: Connection, target: Target, committing: Committing, asking: Asking) -> None:
    """COMMIT. An interrupt that comes with it, or a bug, says what became of it."""
    try:
        commit(conn, target, committing, asking)
    except LawskerError:
        raise
    except BaseException as failed:
        if committing.committed:
            state = Phrase("The rows are put back; that is committed.")
            raise CommittedUnproven(
                Phrase("Interrupted after COMMIT."), hint="lawsker-db status", state=state
            ) from failed
        if committing.in_doubt:
            reason = Phrase("interrupted while the server was asked")
            raise unknown_outcome(committing.attempt, reason, journalled=False) from failed
        raise


def _chosen(index: Index, tables: tuple[str, ...]) -> tuple[TableFiles, ...]:
    """Pure. The tables in the order of the index: parents first. Raises `UsageError` for one that it does not have."""
    known = [table.table for table in index.tables]
    unknown = [name for name in tables if name not in known]
    if unknown or not tables:
        said = Phrase("The rescue has no table {table}", table=unknown[0]) if unknown else Phrase("No table was named")
        raise UsageError(
            Phrase("{said}; it has {tables}.", said=said, tables=", ".join(known) or Phrase("none")),
            hint=Phrase("name one as it stands there"),
        )
    return tuple(table for table in index.tables if table.table in tables)


def _put_back(
    conn: Connection, place: Path, index: Index, chosen: tuple[TableFiles, ...], file: Path, on_event: OnEvent
) -> tuple[TableReplay, ...]:
    """In a transaction that it opens and leaves open: lock, stage, settle until nothing moves any more, and report."""
    take_migration_lock(conn)
    pin_session(conn, "pg_catalog", idle_limit=IDLE_LIMIT)
    major = server_major(conn)
    shapes = _shapes(conn, index, chosen, _digest(place), major)
    lock_tables(conn, {table.table: LOCK for table in chosen}, patience_s=PATIENCE_S)
    conn.execute(text(f"SET LOCAL lock_timeout = '{ROW_LOCK_WAIT}'"))
    conn.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))  # a deferred one would refuse all rows at COMMIT, and name none
    with replaying.sleeping_triggers(conn, tuple(shapes.values())):
        every = [_stage(conn, place, table, shapes[table.table], number, major) for number, table in enumerate(chosen)]
        for staged in every:
            replaying.settle(conn, staged)
            words = Phrase("{table} settled", table=staged.shape.label)
            _say(on_event, Phase.RESCUE, "settled", words, {}, lasting=False)
        _settle_rest(conn, every)
    with disk(file), file.open("ab") as lines, copying(), raw(conn).cursor() as cursor:
        for staged in every:
            with cursor.copy(replaying.refused_rows(staged).encode()) as answer:
                lines.writelines(bytes(block) for block in answer)
        lines.flush()
        os.fsync(lines.fileno())
    return tuple(_counted(conn, staged) for staged in every)


def _settle_rest(conn: Connection, every: list[replaying.Staged]) -> None:
    """Try rows again that another row kept out, as long as that brings any of them in."""
    before = _refused(conn, every)
    for _ in range(PASSES if before else 0):
        for staged in every:
            replaying.try_again(conn, staged)
        after = _refused(conn, every)
        if after in (0, before):
            return
        before = after


def _refused(conn: Connection, every: list[replaying.Staged]) -> int:
    counts = [replaying.verdicts(conn, staged) for staged in every]
    return sum(rows for found in counts for (_, verdict), rows in found.items() if verdict == "refused")


def _shapes(
    conn: Connection, index: Index, chosen: tuple[TableFiles, ...], digest: str, major: int
) -> dict[str, Shape]:
    """The tables as they stand now. Raises `Refused` where rows could not be told apart, or would go elsewhere."""
    standing = {shape.label: shape for shape in read_shapes(conn) if not shape.left_out}
    hint = Phrase(
        "leave this table out, or put its rows back by hand: its CSV and SQL files stand in the rescue's folder"
    )
    for table in chosen:
        shape = standing.get(table.table)
        if shape is None:
            raise Refused(Phrase("There is no table {table} here.", table=table.table), hint=hint)
        lost = set(table.key) - {column.name for column in shape.columns}
        if lost or (table.key and frozenset(table.key) not in {frozenset(key) for key in shape.keys}):
            raise Refused(
                Phrase(
                    "{table} no longer has the key ({key}) that tells rows apart.",
                    table=table.table,
                    key=", ".join(table.key),
                ),
                hint=hint,
            )
        if conn.execute(
            text("SELECT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = :oid)"), {"oid": shape.oid}
        ).scalar_one():
            raise Refused(Phrase("{table} has rules, which would send rows elsewhere.", table=table.table), hint=hint)
        if not table.key and (run := _replayed_before(conn, digest, table.table)):
            raise Refused(
                Phrase("{table} has no key, and run {run} has put its rows back already.", table=table.table, run=run),
                hint=hint,
            )
    if hashed_form("", major)[1] != index.hashed:
        raise Refused(Phrase("The server was upgraded since the rescue; rows cannot be compared with it."), hint=hint)
    return {table.table: standing[table.table] for table in chosen}


def _stage(conn: Connection, place: Path, table: TableFiles, shape: Shape, number: int, major: int) -> replaying.Staged:
    """Load one table's file. Raises `Refused` when it is not what was written."""
    stage = f"pg_temp.lawsker_stage_{number}"
    hint = Phrase("do not use this rescue; lawsker-db rescue DAMAGED RESTORED makes another")
    path = place / table.csv
    if path.is_symlink() or not path.is_file():
        raise Refused(Phrase("{file} is missing, or no ordinary file.", file=str(path)), hint=hint)
    rows = replaying.stage_file(conn, stage, table.columns, path)
    forms = {column.name: column.form for column in shape.columns}
    if missing := set(table.compared) - forms.keys():
        raise Refused(
            Phrase("{table} has lost column {column} since.", table=table.table, column=min(missing)),
            hint=Phrase("put its rows back by hand, from its files"),
        )
    staged = replaying.Staged(
        stage=stage,
        shape=shape,
        columns=table.columns,
        key=table.key,
        before={name: "{}::text" if name in table.as_text else forms[name] for name in table.compared},
        equals=replaying.equality_operators(conn, shape, table.key),
        rows=rows,
        major=major,
    )
    marks = dict.fromkeys((INSERTED, CHANGED, DELETED), 0)
    for (change, _), counted in replaying.verdicts(conn, staged).items():
        marks[change] = marks.get(change, 0) + counted
    if marks != {INSERTED: table.inserted, CHANGED: table.changed, DELETED: table.deleted}:
        raise Refused(Phrase("{file} does not hold the rows that were written.", file=str(path)), hint=hint)
    return staged


def _counted(conn: Connection, staged: replaying.Staged) -> TableReplay:
    found = replaying.verdicts(conn, staged)
    both = (INSERTED, CHANGED)
    return TableReplay(
        table=staged.shape.label,
        inserted=found.get((INSERTED, "placed"), 0),
        updated=found.get((CHANGED, "placed"), 0),
        already=sum(found.get((change, "already"), 0) for change in both),
        refused=sum(found.get((change, "refused"), 0) for change in both),
        deleted=found.get((DELETED, "left"), 0),
    )


def _digest(place: Path) -> str:
    """By which the history knows this rescue again."""
    return hashlib.sha256((place / INDEX).read_bytes()).hexdigest()


def _replayed_before(conn: Connection, digest: str, table: str) -> str | None:
    """The run that has put this rescue's rows of the table back already, by the history. Reads."""
    if conn.execute(text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return None
    found = conn.execute(
        text(
            "SELECT run_id FROM lawsker_db.migration_run WHERE via = :via AND contract_digest = :digest"
            " AND jsonb_exists(rows_made, :table) LIMIT 1"
        ),
        {"via": REPLAY, "digest": digest, "table": table},
    ).scalar_one_or_none()
    return None if found is None else str(found)


def _mark(
    conn: Connection,
    server: Server,
    run_id: str,
    revisions: tuple[str, ...],
    digest: str,
    found: tuple[TableReplay, ...],
) -> None:
    """Write the marker row, by which a lost answer to COMMIT is found out."""
    run = Run(
        run_id=run_id,
        direction=REPLAY,
        via=REPLAY,
        from_revisions=revisions,
        to_revisions=revisions,
        contract_digest=digest,
        rows_made={table.table: table.inserted + table.updated for table in found},
    )
    write_marker(conn, run, server)


@contextmanager
def new_report(path: Path) -> Iterator[Path]:
    """The list of refused rows, under another name until COMMIT is known: it tells of what is committed. It goes when
    that is not; where nobody knows, it stays."""
    partial = path.with_name(path.name + ".partial")
    with disk(partial), new_file(partial) as file:
        file.write(HEADER)
    try:
        yield partial
    except (OutcomeUnknown, CommittedUnproven):
        raise
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _named(report: Path) -> tuple[str, ...]:
    """Give the list its name. What goes wrong here must not change the outcome: it is told as a warning."""
    partial = report.with_name(report.name + ".partial")
    try:
        partial.rename(report)
        sync_folder(report.parent)
    except OSError as failed:
        why = str(failed.strerror)
        return (Phrase("the list of refused rows stands in {file}: {why}", file=str(partial), why=why),)
    return ()


@contextmanager
def _rolled_back(conn: Connection) -> Iterator[None]:
    """Whatever ends the block early rolls back; the server's errors become ours, without values of rows."""
    try:
        yield
    except DBAPIError as failed:
        roll_back(conn)
        state = getattr(failed.orig, "sqlstate", None)
        raise RolledBack(
            Phrase(
                "The replay was refused ({sqlstate}): {why}.",
                sqlstate=str(state),
                why=said_by_server(failed.orig) or Phrase("the connection was lost"),
            ),
            hint=Phrase("mend what it names (42501: run it as the owner of the tables), then type it again"),
            sqlstate=state,
        ) from failed
    except (OutcomeUnknown, CommittedUnproven):
        raise
    except BaseException:
        roll_back(conn)
        raise


def _say(
    on_event: OnEvent, phase: Phase, name: str, words: str, facts: dict[str, object], *, lasting: bool = True
) -> None:
    on_event(Event(phase=phase, name=name, text=words, facts=facts, lasting=lasting))
