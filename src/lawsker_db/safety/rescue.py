"""Rescue: the rows that exist or differ in a damaged database against the restored one beside it, found and exported.

Neither database is changed. The damaged one is read in a READ ONLY transaction; the hashes that are compared go into
temporary tables of the restored one, which end with the transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import Refused
from lawsker_db.evidence import Event, OnEvent, Phase, ignore
from lawsker_db.phrases import Phrase
from lawsker_db.postgres import rescuing_sql as sql
from lawsker_db.postgres.content import read_sequences
from lawsker_db.postgres.differing import (
    Counts,
    Places,
    broken,
    count_rows,
    find_differing,
    found_places,
    prepare,
)
from lawsker_db.postgres.fingerprint import hashed_form
from lawsker_db.postgres.rows import Pair, Shape, begin_reading, new_columns, pair
from lawsker_db.postgres.session import server_major
from lawsker_db.record.history import swapped_in
from lawsker_db.safety.rescue_files import (
    RESCUE,
    STATE,
    Index,
    TableFiles,
    copy_lines,
    copy_rows,
    disk,
    file_name,
    new_file,
    new_rescue_folder,
    preamble,
    write_index,
)
from lawsker_db.target import Target

LARGE_OBJECTS = Phrase("large objects")
MADE_SINCE = Phrase("was made since: the restored database has no such table, so these statements need it first")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRescue:
    """One table whose rows differ. `key`: the columns that tell rows apart, empty where whole rows are counted.

    `inserted`: rows only in the damaged database; `changed`: the same key with other content; `deleted`: only in the
    restored one. A changed key shows as one deleted and one inserted. `only_damaged` and `only_restored`: columns that the
    other one lacks; the former's values come along with the rows that are exported. `made_since`: only the damaged
    database has the table.
    """

    table: str
    key: tuple[str, ...]
    inserted: int
    changed: int
    deleted: int
    only_damaged: tuple[str, ...] = ()
    only_restored: tuple[str, ...] = ()
    made_since: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """What a damaged database holds beyond the restored one. `equal` tables were compared and hold the same rows.

    `only_restored`: tables that the damaged one no longer has. `left_out`: what is not compared row by row, and why.
    `unread`: tables whose file is broken, which nobody can compare, and what the server says.
    """

    tables: tuple[TableRescue, ...]
    equal: tuple[str, ...]
    only_restored: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    unread: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> int:
        """Pure. Rows that would be lost without the damaged database: inserted and changed ones."""
        return sum(table.inserted + table.changed for table in self.tables)

    @property
    def deleted(self) -> int:
        """Pure. Rows that the restored database brings back."""
        return sum(table.deleted for table in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class RescueExport:
    """A rescue on disk: its folder, and per table the files and how many rows of each kind stand in them."""

    folder: str
    tables: tuple[TableFiles, ...]

    @property
    def rows(self) -> int:
        """Pure. Inserted and changed rows in the files."""
        return sum(table.inserted + table.changed for table in self.tables)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Both databases under their snapshots, and what of them belongs together."""

    damaged: Connection
    restored: Connection
    names: tuple[str, str]
    major: int
    pairs: tuple[Pair, ...]
    made_since: tuple[Shape, ...]
    only_restored: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    since: int | None


def find_rescue(damaged: Target, restored: Target, *, on_event: OnEvent = ignore) -> Rescue:
    """Count, per table, the rows that exist or differ in the damaged database against the restored one. Changes neither.

    Takes ACCESS SHARE on every table of both until it ends, and temporary tables in the restored one. Both stand on one
    server. Time is that of reading what differs twice; memory is flat. Raises `Refused` where a table may not be read.
    """
    with _both(damaged, restored) as sides:
        tables: list[TableRescue] = []
        equal: list[str] = []
        unread: list[tuple[str, str]] = []
        for compared in sides.pairs:
            try:
                with sides.damaged.begin_nested(), sides.restored.begin_nested():
                    counts = find_differing(sides.damaged, sides.restored, compared, sides.major, sides.since)
            except DBAPIError as failed:
                unread.append((compared.damaged.label, broken(failed)))
                continue
            if counts.any:
                tables.append(_differing(compared, counts))
                _tell(on_event, tables[-1])
            else:
                equal.append(compared.damaged.label)
        left_out = [*sides.left_out, *_beside_tables(sides), *new_columns(sides.pairs)]
        for shape in sides.made_since:
            if rows := count_rows(sides.damaged, shape):
                tables.append(_made_since(shape, rows))
                _tell(on_event, tables[-1])
            else:
                left_out.append((shape.label, Phrase("was made since, and is empty")))
        return Rescue(
            tables=tuple(sorted(tables, key=lambda table: table.table)),
            equal=tuple(equal),
            only_restored=sides.only_restored,
            left_out=tuple(sorted(left_out)),
            unread=tuple(unread),
        )


def export_rescue(
    damaged: Target, restored: Target, rescue: Rescue, folder: Path, *, on_event: OnEvent = ignore
) -> RescueExport:
    """Write the rows of the tables that a rescue names into `folder`/rescue: as CSV, and as SQL that puts them back.

    Changes neither database; locks as `find_rescue`. What is written is what stands there now, under one snapshot: on a
    database that is frozen, what the rescue has counted. The files are personal data, private (0700, 0600), and there
    whole or not at all. Raises `Refused` where the disk or a database does not let it.
    """
    with _both(damaged, restored) as sides, new_rescue_folder(folder) as place:
        named = {table.table for table in rescue.tables}
        shapes = {compared.damaged.label: compared for compared in sides.pairs if compared.damaged.label in named}
        new = {shape.label: shape for shape in sides.made_since if shape.label in named}
        gone = sorted(named - shapes.keys() - new.keys())
        if gone:
            raise Refused(
                Phrase("{table} is gone since its rows were counted.", table=gone[0]),
                hint=Phrase("type it again"),
                state=STATE,
            )
        written = []
        for label in _parents_first(sides.damaged, sorted(named)):
            written.append(
                _write_pair(sides, shapes[label], place) if label in shapes else _write_new(sides, new[label], place)
            )
            facts = {"table": label, "inserted": written[-1].inserted, "changed": written[-1].changed}
            words = Phrase("{table} written", table=label)
            on_event(Event(phase=Phase.RESCUE, name="exported", text=words, facts=facts, lasting=False))
        index = Index(
            damaged=sides.names[0],
            restored=sides.names[1],
            made_at=datetime.now(UTC).isoformat(),
            hashed=hashed_form("", sides.major)[1],
            tables=tuple(written),
        )
        write_index(place, index)
    return RescueExport(folder=str(folder / RESCUE), tables=index.tables)


@contextmanager
def _both(damaged: Target, restored: Target) -> Iterator[_Sides]:
    """Open both databases and sort their tables. Everything is rolled back at the end."""
    with damaged.connect() as one, restored.connect() as other:
        names = tuple(str(conn.execute(text("SELECT current_database()")).scalar_one()) for conn in (one, other))
        if _server(one) != _server(other):
            raise Refused(
                Phrase("The two databases stand on different servers."),
                hint=Phrase("name two of one server"),
                state=STATE,
            )
        theirs = {shape.label: shape for shape in begin_reading(one)}
        ours = {shape.label: shape for shape in begin_reading(other, writable=True)}
        prepare(other)
        left_out = {s.label: s.left_out for s in (*ours.values(), *theirs.values()) if s.left_out}
        compared = [name for name in theirs if name not in left_out]
        yield _Sides(
            damaged=one,
            restored=other,
            names=(names[0], names[1]),
            major=server_major(one),
            pairs=tuple(pair(theirs[name], ours[name]) for name in compared if name in ours),
            made_since=tuple(theirs[name] for name in compared if name not in ours),
            only_restored=tuple(name for name in ours if name not in theirs and name not in left_out),
            left_out=tuple(left_out.items()),
            since=swapped_in(one, other),
        )
        other.rollback()
        one.rollback()


def _server(conn: Connection) -> tuple[object, ...]:
    """Which server this is, as far as everybody may ask: when it was started, and where it listens."""
    started = "extract(epoch FROM pg_postmaster_start_time())"  # the two may be set to show times otherwise
    question = f"SELECT {started}, current_setting('port'), current_setting('server_version_num')"
    return tuple(conn.execute(text(question)).one())


def _differing(compared: Pair, counts: Counts) -> TableRescue:
    names = {column.name for column in compared.damaged.columns}
    theirs = {column.name for column in compared.restored.columns}
    return TableRescue(
        table=compared.damaged.label,
        key=compared.key,
        inserted=counts.inserted,
        changed=counts.changed,
        deleted=counts.deleted,
        only_damaged=tuple(c.name for c in compared.damaged.columns if c.name not in theirs),
        only_restored=tuple(c.name for c in compared.restored.columns if c.name not in names),
    )


def _made_since(shape: Shape, rows: int) -> TableRescue:
    key = shape.keys[0] if shape.keys else ()
    return TableRescue(table=shape.label, key=key, inserted=rows, changed=0, deleted=0, made_since=True)


def _tell(on_event: OnEvent, found: TableRescue) -> None:
    said = Phrase(
        "{table}: {inserted} inserted, {changed} changed, {deleted} deleted",
        table=found.table,
        inserted=found.inserted,
        changed=found.changed,
        deleted=found.deleted,
    )
    facts = {"table": found.table, "inserted": found.inserted, "changed": found.changed, "deleted": found.deleted}
    on_event(Event(phase=Phase.RESCUE, name="differs", text=said, facts=facts, lasting=False))


def _beside_tables(sides: _Sides) -> Iterator[tuple[str, str]]:
    """What no table holds: sequences that stand elsewhere, large objects. Named, not compared by row."""
    ours = {sequence.name: sequence for sequence in read_sequences(sides.restored)}
    for sequence in read_sequences(sides.damaged):
        other = ours.get(sequence.name)
        if other != sequence:
            there = (
                Phrase("{value} in the restored one", value=str(other.last_value))
                if other
                else Phrase("the restored one has none")
            )
            yield (
                sequence.name,
                Phrase(
                    "a sequence: at {value} in the damaged database, {there}",
                    value=str(sequence.last_value),
                    there=there,
                ),
            )
    count = text("SELECT count(*) FROM pg_largeobject_metadata")
    theirs, here = (int(conn.execute(count).scalar_one()) for conn in (sides.damaged, sides.restored))
    if theirs or here:
        yield (
            LARGE_OBJECTS,
            Phrase(
                "not compared: {damaged} in the damaged database, {restored} in the restored one",
                damaged=theirs,
                restored=here,
            ),
        )


def _parents_first(damaged: Connection, tables: list[str]) -> list[str]:
    """The tables in an order that respects foreign keys; where they go round in a circle, as it comes. Reads."""
    rows = damaged.execute(
        text(
            "SELECT DISTINCT coalesce(pg_partition_root(f.conrelid), f.conrelid)::regclass::text,"
            " coalesce(pg_partition_root(f.confrelid), f.confrelid)::regclass::text"
            " FROM pg_constraint f WHERE f.contype = 'f'"
        )
    ).all()
    parents: dict[str, set[str]] = {}
    for child, parent in rows:
        parents.setdefault(child, set()).add(parent)
    order: dict[str, None] = {}
    seen: set[str] = set()
    for table in tables:
        pending = [(table, False)]
        while pending:  # no recursion: a chain of foreign keys may be long
            name, done = pending.pop()
            if done:
                order[name] = None
            elif name not in seen:
                seen.add(name)
                pending += [(name, True), *((parent, False) for parent in sorted(parents.get(name, ())))]
    return [name for name in order if name in tables]


def _write_pair(sides: _Sides, compared: Pair, place: Path) -> TableFiles:
    """Find the rows of one table anew and write them: those of the damaged database, then those that it deleted."""
    counts = find_differing(sides.damaged, sides.restored, compared, sides.major, sides.since)
    damaged, restored = compared.damaged, compared.restored
    files = _files(damaged, compared, counts)
    with _opened(sides, damaged, place, files, note="") as (csv, script):
        for places in found_places(sides.restored):
            conn, standing = (sides.restored, restored) if places.deleted else (sides.damaged, damaged)
            source = sql.places_source(places, _relation(conn, places))
            copy_rows(conn, sql.csv_rows(damaged, standing, source), csv, rows=len(places.rows))
            if places.deleted:
                copy_lines(conn, sql.deletions(restored, compared.key, source), script)
            else:
                copy_lines(conn, sql.put_back(damaged, restored, compared.key, source), script)
    return files


def _write_new(sides: _Sides, shape: Shape, place: Path) -> TableFiles:
    """Write all rows of a table that was made since the backup."""
    rows = count_rows(sides.damaged, shape)
    files = replace(_files(shape, None, Counts(inserted=rows)), made_since=True)
    source = sql.whole_source(shape)
    with _opened(sides, shape, place, files, note=MADE_SINCE) as (csv, script):
        copy_rows(sides.damaged, sql.csv_rows(shape, shape, source), csv, rows=rows)
        copy_lines(sides.damaged, sql.put_back(shape, None, files.key, source), script)
    return files


def _files(shape: Shape, compared: Pair | None, counts: Counts) -> TableFiles:
    """Pure. How a table's files are called, and what the index says of them."""
    name = file_name(shape.schema, shape.name)
    forms = compared.forms if compared else {}
    key = compared.key if compared else shape.keys[0] if shape.keys else ()
    return TableFiles(
        table=shape.label,
        csv=f"{name}.csv",
        sql=f"{name}.replay.sql",
        key=key,
        columns=tuple(column.name for column in shape.columns),
        compared=tuple(forms),
        as_text=tuple(c.name for c in shape.columns if c.name in forms and forms[c.name] != c.form),
        made_since=False,
        inserted=counts.inserted,
        changed=counts.changed,
        deleted=counts.deleted,
    )


@contextmanager
def _opened(
    sides: _Sides, shape: Shape, place: Path, files: TableFiles, *, note: str
) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The two files of a table, begun with a header and a transaction, and ended when the block has ended well."""
    with disk(place), new_file(place / files.csv) as csv, new_file(place / files.sql) as script:
        copy_rows(sides.damaged, sql.csv_header(shape), csv, rows=None)
        script.write(preamble(files, sides.names, note).encode())
        yield csv, script
        script.write(b"COMMIT;\n")


def _relation(conn: Connection, places: Places) -> str:
    return str(conn.execute(text("SELECT (:oid ::oid)::regclass::text"), {"oid": places.leaf}).scalar_one())
