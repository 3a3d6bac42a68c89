"""The stage on which behaviour is tried: rows of a contract's samples, made under savepoints and rolled back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, Row, Sample, Table
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import literal, quoted

# A lock that others hold, a cancelled statement, a read-only session: what comes next would fare no better.
HOPELESS = ("55P03", "57014", "25006")
# Columns that others gave to older tables, and that an insert must fill or that would draw a number of a sequence.
FOREIGN_COLUMNS = """
    SELECT source, named, numbered
    FROM (
        SELECT c.relname AS source, a.attname AS named, a.attnotnull AND d.oid IS NULL AS empty,
               a.attidentity <> '' OR EXISTS (
                   SELECT FROM pg_depend AS n
                   JOIN pg_class AS s ON s.oid = n.refobjid AND s.relkind = 'S'
                   WHERE n.classid = 'pg_attrdef'::regclass AND n.objid = d.oid AND n.refclassid = 'pg_class'::regclass
               ) AS numbered
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.oid = ANY (SELECT to_regclass(quote_ident(t)) FROM unnest(CAST(:tables AS text[])) AS t)
    ) AS columns
    WHERE empty OR numbered
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a statement. `state` is the SQLSTATE, empty when it was accepted; `row` the first that it gave."""

    state: str = ""
    constraint: str = ""
    said: str = ""
    rows: int = 0
    row: tuple[object, ...] = ()

    @property
    def label(self) -> str:
        """Pure. What stood against it, without any value."""
        return self.constraint or self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where trials happen. `first` is the first sample of each table, `ids` are the uuids of the samples, and `foreign`
    the columns that others gave to older tables."""

    conn: Connection
    contract: Contract
    samples: Mapping[str, Sample]
    first: Mapping[str, Sample]
    ids: Mapping[str, str]
    foreign: Mapping[str, Mapping[str, str]]


class Hopeless(Exception):
    """The server refused a trial for a reason that stands against all of them."""


def prepare(conn: Connection, contract: Contract) -> Stage:
    """Draw the uuids, and see what others gave to older tables. Reads the catalog."""
    ids = {name: f"'{uuid.uuid4()}'::uuid" for name in (*(sample.name for sample in contract.samples), "second")}
    own = {table.name for table in contract.tables}
    ours = {(extension.table, column.name) for extension in contract.extensions for column in extension.columns}
    older = sorted({sample.table for sample in contract.samples} - own)
    foreign: dict[str, dict[str, str]] = {table: {} for table in older}
    for source, named, numbered in conn.execute(text(FOREIGN_COLUMNS), {"tables": older}):
        if (source, named) not in ours:
            column = quoted(named)
            value = f"coalesce(max({column}), 0) + 1" if numbered else column
            limit = "" if numbered else f" WHERE {column} IS NOT NULL LIMIT 1"
            foreign[source][named] = f"(SELECT {value} FROM {quoted(source)}{limit})"
    samples = {sample.name: sample for sample in contract.samples}
    first = {sample.table: sample for sample in reversed(contract.samples)}
    return Stage(conn=conn, contract=contract, samples=samples, first=first, ids=ids, foreign=foreign)


def needed(stage: Stage, sample: Sample, changes: Sequence[tuple[str, str]] = ()) -> tuple[Sample, ...]:
    """Pure. The samples that a row refers to, and those that these refer to, in the order in which they are made."""
    found: dict[str, Sample] = {}
    for _, value in (*sample.values, *changes):
        for name in re.findall(r"<(\w+)>", value):
            if name in stage.samples and name != sample.name:
                found |= {other.name: other for other in needed(stage, stage.samples[name])}
                found[name] = stage.samples[name]
    return tuple(found.values())


@contextmanager
def standing(stage: Stage, samples: Sequence[Sample], **stamps: str) -> Iterator[Outcome | None]:
    """Have these samples stand for the block, each once; yield what refused one of them, or None. Rolled back after."""
    savepoint = stage.conn.begin_nested()
    try:
        refused: Outcome | None = None
        last = samples[-1] if samples else None
        for sample in dict.fromkeys(samples):
            changes = tuple(stamps.items()) if sample is last else ()
            outcome = attempt(stage.conn, insertion(stage, sample, changes), keep=True)
            if outcome.state:
                refused = Outcome(
                    "02000", said=Phrase("no row of {table} can be made: {said}", table=sample.table, said=outcome.said)
                )
                break
        yield refused
    finally:
        if savepoint.is_active and not stage.conn.invalidated:
            savepoint.rollback()


def insertion(stage: Stage, sample: Sample, changes: Row = ()) -> str:
    """Pure. The statement that makes a sample, with these changes."""
    values = {**stage.foreign.get(sample.table, {}), **dict(sample.values), **dict(changes)}
    columns = ", ".join(quoted(column) for column in values)
    listed = ", ".join(filled(stage, value) for value in values.values())
    return f"INSERT INTO {quoted(sample.table)} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({listed})"


def found_by(stage: Stage, table: Table, sample: Sample) -> str:
    """Pure. The condition that finds a sample by its primary key."""
    values = dict(sample.values)
    return " AND ".join(f"{quoted(column)} = {filled(stage, values[column])}" for column in table.primary_key)


def filled(stage: Stage, value: str) -> str:
    """Pure. SQL with the samples' uuids put in."""
    return re.sub(r"<(\w+)>", lambda match: stage.ids.get(match[1], match[0]), value)


def shown(sample: Sample, row: Row) -> str:
    """Pure. A tried row for people. All of it is the contract's own."""
    values = ", ".join(f"{column} = {value}" for column, value in row)
    return Phrase("{table} with {row}", table=sample.table, row=values or Phrase("the sample"))


def attempt(conn: Connection, statement: str, *, keep: bool = False) -> Outcome:
    """Run a statement under a savepoint and tell what became of it; its effect stays only with `keep`.

    Raises `Hopeless` when what stands against it stands against every other one too.
    """
    savepoint = conn.begin_nested()
    try:
        result = conn.execute(literal(statement))
        row = result.first() if result.returns_rows else None
        outcome = Outcome(rows=result.rowcount, row=tuple(row) if row is not None else ())
    except DBAPIError as failed:
        if failed.connection_invalidated or not isinstance(failed.orig, psycopg.Error):
            raise
        savepoint.rollback()
        diag = failed.orig.diag
        said = diag.message_primary or Phrase("the server refused it")
        if failed.orig.sqlstate in HOPELESS:
            raise Hopeless(said) from None
        return Outcome(failed.orig.sqlstate or "XX000", diag.constraint_name or "", said)
    if keep:
        savepoint.commit()
    else:
        savepoint.rollback()
    return outcome
