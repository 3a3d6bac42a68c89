"""Reinstate: an upgrade brings back what the last downgrade of its revision has kept, and proves that it is there.

It happens in the upgrade's own transaction, after the gate has judged the revision as its contract promises, and the gate
judges once more behind it. The archive is read and never written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, Extension, ForeignKey, Table
from lawsker_db.errors import RolledBack
from lawsker_db.evidence import Check, Event, Fingerprint, OnEvent, Phase, Reinstated, TableBack
from lawsker_db.phrases import Phrase, first_of, joined
from lawsker_db.postgres.kept import Archive, Kept
from lawsker_db.postgres.locks import sqlstate
from lawsker_db.postgres.reinstating import (
    Found,
    Owners,
    Parent,
    Part,
    bring_back,
    comes_back,
    loses_parent,
    read_keys,
    read_part,
    read_table,
)
from lawsker_db.postgres.scratch import additions
from lawsker_db.postgres.session import quoted
from lawsker_db.safety.choice import Choice, kept_of
from lawsker_db.safety.since import made_prints
from lawsker_db.target import said_by_server

KEYS_TOLD = 1000  # of rows that stay in the archive, in report.json: 36 KB of uuids; docs/reinstate.md lists them all
SHOWN = 5
CONSTRAINT = "23"  # class of SQLSTATE: integrity constraint violation
# Connections, transactions, locks, operators: guard.py has the words for them.
NOT_OURS = ("08", "25", "40", "55", "57")


class Reinstating:
    """What one run brings back, and what it has to tell of that."""

    def __init__(self, conn: Connection, schema: str, choices: tuple[Choice, ...], on_event: OnEvent) -> None:
        """Remember; `follow` does the work. `schema` is the chain's, quoted."""
        self._conn = conn
        self._schema = schema
        self._chosen = {c.contract.revision: (c.contract, c.archive) for c in choices if c.archive is not None}
        self._on_event = on_event
        self.told: list[Reinstated] = []
        self.prints: list[Fingerprint] = []  # of what the run itself made, for its marker

    def follow(self, revision: str, *, rewrites: bool = False) -> tuple[Check, ...]:
        """Bring back what was chosen for a revision that has just been judged, and prove it; nothing for any other one.

        `rewrites` as in `reinstate`, which says what is raised.
        """
        if revision not in self._chosen:
            return ()
        contract, archive = self._chosen[revision]
        self.prints += made_prints(self._conn, (contract,), self._schema)
        back, checks = reinstate(self._conn, self._schema, contract, archive, rewrites=rewrites)
        self.told.append(back)
        facts = {"archive": back.archive, "revision": revision, "duration_s": back.duration_s}
        self._on_event(Event(phase=Phase.MIGRATION, name="reinstated", text=back_text(back), facts=facts))
        return checks

    def made(self, contracts: tuple[Contract, ...]) -> tuple[Fingerprint, ...]:
        """Fingerprints of what the run made of these contracts, before anything came back: with them a later downgrade tells
        what it would take away. Reads what the contracts made, unless something came back for each of them."""
        if all(contract.revision in self._chosen for contract in contracts):
            return tuple(self.prints)
        known = {(print_.table, print_.columns): print_ for print_ in self.prints}
        prints = made_prints(self._conn, contracts, self._schema)
        return tuple(known.get((print_.table, print_.columns), print_) for print_ in prints)


def reinstate(
    conn: Connection, schema: str, contract: Contract, archive: Archive, *, rewrites: bool = False
) -> tuple[Reinstated, tuple[Check, ...]]:
    """Bring back what an archive has of a revision, which has just been run, into the chain's `schema`; and compare.

    The tables are new in this transaction or under ACCESS EXCLUSIVE in it; `rewrites` says that older snapshots were waited
    for, so that those that stood before may be rewritten. Takes ACCESS SHARE on the archive, and on the parents of foreign
    keys what those take. Raises `RolledBack` where a constraint refuses a row.
    """
    began = time.monotonic()
    parts = plan_parts(contract, kept_of(archive, contract.revision), schema)
    made = {part.table: read_table(conn, part)[1] for part in parts if part.owners is not None}
    for part in parts:
        try:
            bring_back(conn, part, rewrites=rewrites)
        except DBAPIError as failed:
            raise _not_taken(part, archive, failed) from failed
    found = [(part, read_part(conn, part)) for part in parts]
    checks = tuple(check for part, now in found for check in compare_part(part, now, made.get(part.table)))
    tables = tuple(_told(conn, part, now) for part, now in found)
    took = round(time.monotonic() - began, 3)
    name, revision = archive.schema, contract.revision
    return Reinstated(revision=revision, archive=name, made_at=archive.made_at, tables=tables, duration_s=took), checks


def plan_parts(contract: Contract, kept: tuple[Kept, ...], schema: str) -> tuple[Part, ...]:
    """Pure. How each kept thing comes back, in order: values into tables that stood before, then tables, parents first."""
    by_name = {entry.original: entry for entry in kept if entry.kind == "table"}
    lists = {entry.original: entry for entry in kept if entry.kind == "columns"}
    parts = [_values_part(contract, entry, schema) for entry in kept if entry.kind == "columns"]
    for table in parents_first(contract.tables):
        if table.name in by_name:
            parts.append(_rows_part(table, by_name[table.name], lists, schema))
    return tuple(parts)


def parents_first(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """Pure. Tables in an order in which each comes behind those that it refers to. `circles` must be empty."""
    left, ordered = list(tables), []
    while left:
        names = {table.name for table in left}
        free = [t for t in left if not names & {key.references for key in t.foreign_keys if key.references != t.name}]
        ordered += free or left
        left = [table for table in left if table not in ordered]
    return tuple(ordered)


def compare_part(part: Part, found: Found, made: Fingerprint | None) -> tuple[Check, ...]:
    """Pure. The proof of one part: the archive is as recorded, what was to come back is there bit for bit, and beside it
    stands what the run made for newcomers and nothing else."""
    archive = Check(
        name=Phrase("archive of {table}", table=part.name),
        ok=found.intact,
        expected=Phrase("{rows} rows, as recorded", rows=part.recorded.rows),
        found=Phrase("so it is") if found.intact else Phrase("other rows than its record says"),
    )
    back = _same_rows(found.back, found.known)
    content = Check(
        name=Phrase("reinstated {table}", table=part.name),
        ok=back,
        expected=Phrase("{rows} rows, as archived", rows=found.back.rows),
        found=_rows_text(found.known.rows, same=back),
    )
    before = made if made is not None else Fingerprint(table=part.table, columns=part.printed, rows=0, sums=("0", "0"))
    kept = _same_rows(before, found.others)
    others = Check(
        name=Phrase("rows made of {table}", table=part.name),
        ok=kept,
        expected=Phrase("{rows} rows for newcomers, as made", rows=before.rows),
        found=_rows_text(found.others.rows, same=kept),
    )
    return archive, content, others


def _rows_text(rows: int, *, same: bool) -> Phrase:
    """Pure. Whether rows are those that were expected."""
    return Phrase("{rows} rows, the same", rows=rows) if same else Phrase("{rows} rows, other content", rows=rows)


def back_text(back: Reinstated) -> str:
    """Pure. What came back, in a line."""
    tables = sum(not table.columns for table in back.tables)
    rows = sum(table.back for table in back.tables if not table.columns)
    values = joined(
        (
            Phrase(", values of {rows} rows of {table}", rows=table.back, table=table.table)
            for table in back.tables
            if table.columns
        ),
        "",
    )
    left = sum(table.left for table in back.tables)
    stays = Phrase("; {rows} rows stay in it: their parents are gone", rows=left) if left else ""
    return Phrase(
        "from {archive}: {rows} rows of {tables} tables{values}{stays}, in {duration_s:.2f} s",
        archive=back.archive,
        rows=rows,
        tables=tables,
        values=values,
        stays=stays,
        duration_s=back.duration_s,
    )


def back_notes(back: Reinstated) -> tuple[str, ...]:
    """Pure. What did not come back as it was, a sentence for each table."""
    notes = []
    for table in back.tables:
        if table.left:
            keys = first_of(table.left_keys, SHOWN, "; ", number=table.left)
            notes.append(
                Phrase(
                    "{rows} rows of {table} stay in {archive}, because a parent is gone: {keys}",
                    rows=table.left,
                    table=table.table,
                    archive=back.archive,
                    keys=keys,
                )
            )
        if table.without_parent:
            keys = first_of(table.without_parent_keys, SHOWN, "; ", number=table.without_parent)
            notes.append(
                Phrase(
                    "{rows} rows of {table} came back without a parent that is gone: {keys}",
                    rows=table.without_parent,
                    table=table.table,
                    keys=keys,
                )
            )
    return tuple(notes)


def _same_rows(one: Fingerprint, other: Fingerprint) -> bool:
    """Pure. The same rows, in whichever table."""
    return (one.rows, one.sums) == (other.rows, other.sums)


def _told(conn: Connection, part: Part, found: Found) -> TableBack:
    """What came back into one table, for the report. Reads the keys of what did not."""
    stays = f"NOT ({comes_back(part, 't')})"
    left, left_keys = read_keys(conn, part, stays, KEYS_TOLD) if found.left.rows else (0, ())
    alone = f"{comes_back(part, 't')} AND ({loses_parent(part, 't')})"
    nulls = any(parent.nulls for parent in part.parents)
    lost, lost_keys = read_keys(conn, part, alone, KEYS_TOLD) if nulls else (0, ())
    return TableBack(
        table=part.name,
        columns=() if part.whole else part.columns,
        archived=part.recorded.rows,
        back=found.back.rows,
        kept_as_made=found.others.rows,
        left=left,
        left_keys=left_keys,
        without_parent=lost,
        without_parent_keys=lost_keys,
    )


def _values_part(contract: Contract, kept: Kept, schema: str) -> Part:
    """Pure. Values come back into the rows that still stand. A key that another table refers to stays on."""
    table = f"{schema}.{quoted(kept.original)}"
    loose = [_loosened(e, contract) for e in contract.extensions if e.table == kept.original]
    return Part(
        name=kept.original,
        table=table,
        place=kept.place,
        whole=False,
        key=kept.key,
        columns=kept.columns,
        recorded=kept.fingerprint,
        parents=(Parent(columns=kept.key, table=table, keys=kept.key),),
        owners=Owners(place=kept.place, keys=kept.key, columns=kept.key),
        off=tuple(statement for extension in loose for statement in _taken_off(extension, table, schema)),
        on=tuple(s for e in loose for s in additions(table, e.unique, e.checks, e.indexes)),
    )


def _loosened(extension: Extension, contract: Contract) -> Extension:
    """Pure. An extension without the unique constraints that foreign keys of the contract lead to."""
    led = {
        key.referenced_columns for t in contract.tables for key in t.foreign_keys if key.references == extension.table
    }
    return replace(extension, unique=tuple(key for key in extension.unique if key.columns not in led))


def _taken_off(extension: Extension, table: str, schema: str) -> Iterator[str]:
    """Pure. What takes an extension's constraints and indexes off its table."""
    for name in (*(key.name for key in extension.unique), *(check.name for check in extension.checks)):
        yield f"ALTER TABLE {table} DROP CONSTRAINT {quoted(name)}"
    for index in extension.indexes:
        yield f"DROP INDEX {schema}.{quoted(index.name)}"


def _rows_part(table: Table, kept: Kept, lists: dict[str, Kept], schema: str) -> Part:
    """Pure. Rows come back as far as their parents stand. A foreign key that does nothing about NULL keeps its rows back."""
    nullable = {column.name for column in table.columns if column.nullable}
    parents = tuple(
        Parent(
            columns=key.columns,
            table=f"{schema}.{quoted(key.references)}",
            keys=key.referenced_columns,
            nulls=key.on_delete == "SET NULL" and set(key.columns) <= nullable,
            nullable=tuple(name for name in key.columns if name in nullable),
        )
        for key in table.foreign_keys
    )
    return Part(
        name=table.name,
        table=f"{schema}.{quoted(table.name)}",
        place=kept.place,
        whole=True,
        key=table.primary_key,
        columns=kept.columns,
        recorded=kept.fingerprint,
        parents=parents,
        owners=None if isinstance(table.rows, int) else _owners(table, kept, lists),
    )


def _owners(table: Table, kept: Kept, lists: dict[str, Kept]) -> Owners:
    """Pure. Of whose rows the archive speaks, in a table that the run fills from older ones: of theirs whom it lists,
    because columns of their table were kept too. Where no table is listed, of theirs who have archived rows; where the
    table refers to none, of the rows with an archived key."""
    for key in sorted(table.foreign_keys, key=lambda key: not set(key.columns) <= set(table.primary_key)):
        listed = lists.get(key.references)
        if listed is not None and key.referenced_columns == listed.key:
            return Owners(place=listed.place, keys=listed.key, columns=key.columns)
    own: tuple[ForeignKey, ...] = table.foreign_keys
    columns = own[0].columns if own else table.primary_key
    return Owners(place=kept.place, keys=columns, columns=columns)


def _not_taken(part: Part, archive: Archive, failed: DBAPIError) -> Exception:
    """Pure. What to say of archived rows that the server did not take. Its DETAIL, which may hold values, stays out."""
    state = sqlstate(failed) or ""
    if not state or state.startswith(NOT_OURS):
        return failed
    constraint = getattr(getattr(failed.orig, "diag", None), "constraint_name", None)
    refused = (
        Phrase("constraint {constraint} refuses them", constraint=constraint)
        if constraint and state.startswith(CONSTRAINT)
        else ""
    )
    return RolledBack(
        Phrase(
            "What {archive} keeps of {table} cannot come back: {why}.",
            archive=archive.schema,
            table=part.name,
            why=refused or str(said_by_server(failed.orig)),
        ),
        hint=Phrase(
            "mend what stands in the way, or leave it in {archive}: --reinstate never, -x reinstate=never",
            archive=archive.schema,
        ),
        sqlstate=state,
    )
