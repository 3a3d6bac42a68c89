"""What a restore leaves behind in the damaged database: counted before the question, exported after the swap.

The first look may fail without stopping an emergency. The last one is made on the frozen database, so that the writes of
the last moment are in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.changes import RescuedTable
from lawsker_db.errors import CommittedUnproven, LawskerError, Refused
from lawsker_db.evidence import Event, OnEvent, Phase
from lawsker_db.phrases import Phrase, clause, joined
from lawsker_db.postgres.databases import beside
from lawsker_db.postgres.rows import NEW_COLUMNS
from lawsker_db.postgres.session import identify, pinned
from lawsker_db.postgres.swap import Swap, let_in
from lawsker_db.safety.pace import timed
from lawsker_db.safety.proof import Copy
from lawsker_db.safety.rescue import LARGE_OBJECTS, Rescue, export_rescue, find_rescue
from lawsker_db.safety.rescue_files import RESCUE
from lawsker_db.safety.restore_account import RestoreAccount, by_hand
from lawsker_db.target import Target

OPENED, CLOSED = "damaged opened", "damaged closed"


def first_look(account: RestoreAccount, copy: Copy, tell: OnEvent) -> tuple[str, ...]:
    """What the live database holds beyond the copy, in lines for the question. Reads both; locks as `find_rescue`.

    What cannot be counted is said in the same place: it will be tried again after the swap.
    """
    try:
        with timed(account, Phase.RESCUE, tell, Phrase("rows that were written since the backup")):
            found = find_rescue(account.target, copy.target, on_event=tell)
    except (LawskerError, DBAPIError) as failed:
        said = failed.message if isinstance(failed, LawskerError) else type(failed.orig).__name__
        return (Phrase("NOT COUNTED: what was written since the backup: {said}", said=said),)
    account.rescued = rescued_tables(found)
    return rescue_lines(found)


def rescued_tables(found: Rescue) -> tuple[RescuedTable, ...]:
    """Pure. What a rescue found, table by table, for the report."""
    return tuple(
        RescuedTable(table=table.table, inserted=table.inserted, changed=table.changed, deleted=table.deleted)
        for table in found.tables
    )


def rescue_lines(found: Rescue) -> tuple[str, ...]:
    """Pure. What a rescue found, a line a table, the rows that would be missed first."""
    ordered = sorted(found.tables, key=lambda table: (-(table.inserted + table.changed), table.table))
    lines = [
        Phrase(
            "{table}: {inserted} rows only in the damaged database, {changed} changed, {deleted} only in the backup",
            table=table.table,
            inserted=table.inserted,
            changed=table.changed,
            deleted=table.deleted,
        )
        for table in ordered
    ]
    gone = [Phrase("{name}: stands only in the backup", name=name) for name in found.only_restored]
    broken = [Phrase("{name}: NOT COMPARED, {why}", name=name, why=why) for name, why in found.unread]
    beside = [
        Phrase("{name}: {why}", name=name, why=why)
        for name, why in found.left_out
        if name == LARGE_OBJECTS or why == NEW_COLUMNS
    ]
    return (*broken, *lines, *gone, *beside) or (Phrase("no row was written since the backup"),)


def last_look(account: RestoreAccount, swap: Swap, tell: OnEvent) -> None:
    """Count and export what the damaged database holds beyond the restored one, which nobody writes into any more.

    It is open for that long, to those who may still connect, and closed again. Raises `CommittedUnproven` when it cannot be
    done: the rows stay where they are.
    """
    restored = Target(parameters=account.target.parameters)
    damaged = Target(parameters={**account.target.parameters, "dbname": swap.damaged})
    server = replace(account.server, database=swap.damaged)
    try:
        with (
            timed(account, Phase.RESCUE, tell, Phrase("rows that only {damaged} has", damaged=swap.damaged)),
            _open(restored, swap, tell),
        ):
            frozen = pinned(damaged, server)
            found = find_rescue(frozen, restored, on_event=tell)
            account.notes = [note for note in account.notes if note not in account.first]
            account.notes += rescue_lines(found)
            account.rescued = rescued_tables(found)
            account.figures |= {Phrase("rows rescued"): found.rows, Phrase("rows only in the backup"): found.deleted}
            if found.tables:
                export = export_rescue(frozen, restored, found, account.folder, on_event=tell)
                back = f"lawsker-db rescue --replay {account.run_id} TABLE"
                account.notes.append(
                    Phrase(
                        "the rows that only {damaged} has are in {folder}; to put back: {command}",
                        damaged=swap.damaged,
                        folder=str(export.folder),
                        command=back,
                    )
                )
            if found.unread:
                broken = joined(Phrase("{name} {why}", name=name, why=why) for name, why in found.unread)
                others = (
                    Phrase("; those of other tables are in {folder}", folder=str(account.folder / RESCUE))
                    if found.tables
                    else ""
                )
                raise Refused(joined((broken, others), ""), hint="")
    except (LawskerError, DBAPIError) as failed:
        said = failed.message if isinstance(failed, LawskerError) else type(failed.orig).__name__
        raise CommittedUnproven(
            Phrase(
                "The restore is in place; the rows written since the backup could not be exported: {said}.",
                said=clause(said),
            ),
            state=Phrase("{names} The rows are in it.", names=account.names),
            hint=Phrase("mend that; {next}", next=by_hand(swap)),
        ) from failed


@contextmanager
def _open(restored: Target, swap: Swap, tell: OnEvent) -> Iterator[None]:
    """Let connections into the damaged database for the block. The journal says so before, for `recover` to close it."""
    with beside(restored).connect(autocommit=True) as conn:
        tell(_event(OPENED, swap))
        let_in(conn, swap.live_oid, allowed=True)
        try:
            yield
        finally:
            _shut(conn, restored, swap)
            tell(_event(CLOSED, swap))


def _shut(conn: Connection, restored: Target, swap: Swap) -> None:
    """Close it again, on another connection where the first is lost."""
    try:
        let_in(conn, swap.live_oid, allowed=False)
    except DBAPIError:
        with beside(restored).connect(autocommit=True) as again:
            identify(again, sized=False)
            let_in(again, swap.live_oid, allowed=False)


def _event(name: str, swap: Swap) -> Event:
    return Event(phase=Phase.RESCUE, name=name, text="", facts={"database_oid": swap.live_oid, "name": swap.damaged})
