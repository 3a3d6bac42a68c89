"""What a revision promises, as frozen values. Standard library only: revision files import this module.

A contract is closed-world: what the gate finds and the contract does not name is refused. It is double entry: it shares
no constant with `upgrade()`. Types, defaults and expressions are SQL; the gate has the server build them in a scratch
schema and compares what was built with what was built, never text with text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `default` is an SQL expression; a column is NOT NULL unless `nullable`."""

    name: str
    type: str
    default: str | None = None
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Unique:
    """A UNIQUE constraint (its index comes with it)."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key to `references` (a table name, in the same schema) and its columns."""

    name: str
    columns: tuple[str, ...]
    references: str
    referenced_columns: tuple[str, ...] = ("id",)
    on_delete: str = "NO ACTION"


@dataclass(frozen=True, slots=True)
class Check:
    """A CHECK constraint; `expression` is SQL over the columns of its table."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Index:
    """A b-tree index; `where` makes it partial."""

    name: str
    columns: tuple[str, ...]
    unique: bool = False
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A row trigger BEFORE UPDATE that calls `function` (a function of the same contract)."""

    name: str
    function: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function without arguments that returns trigger, in PL/pgSQL; `body` is its source text."""

    name: str
    body: str


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum type and its labels in order."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that the revision creates, whole.

    `primary_key` is named `<table>_pkey`. `serial` names the column with a sequence `<table>_<column>_seq` of its own.
    `rows` is how many rows stand in it at COMMIT: a number, an SQL query that computes it from other tables, or None where
    an invariant says row by row which ones (the gate then asks that once, and not the number besides). `group`
    is the step of the revision that makes it; an event is sent when a group stands.
    """

    name: str
    group: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    serial: str | None = None
    unique: tuple[Unique, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()
    indexes: tuple[Index, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    rows: int | str | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What the revision adds to a table that stands already."""

    table: str
    columns: tuple[Column, ...] = ()
    unique: tuple[Unique, ...] = ()
    checks: tuple[Check, ...] = ()
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query whose every row is a violation when the run commits: its key, what was found, and when it was written.

    `code` is that of verification's list, `name` tells several of one code apart. Key and found are text, and never
    personal data. The third value is when applications last wrote what offends (created_at, updated_at), NULL when
    nobody can tell: a violation that is younger than the run is theirs, and only information. `at_gate` is False for what
    the gate need not ask, because constraints that it has seen already imply it, or because it may be so. One pass may
    prove several promises: with `also`, the query gives each row's own code as its fourth value.
    """

    code: str
    name: str
    says: str
    query: str
    at_gate: bool = True
    also: tuple[str, ...] = ()


Row = tuple[tuple[str, str], ...]  # columns and the SQL of their values


def row(**values: str) -> Row:
    """Pure. A row, or a part of one: the SQL of each column's value."""
    return tuple(values.items())


def rows(column: str, *values: str) -> tuple[Row, ...]:
    """Pure. Rows that differ in one column."""
    return tuple(((column, value),) for value in values)


@dataclass(frozen=True, slots=True)
class Sample:
    """A row that its table accepts, for verification to try: inserted, and rolled back.

    `<name>` in the SQL of a value is the uuid that is drawn for the sample of that name, this one or another, which is
    then inserted before it. Every key is given, so that no sequence is asked. A sample of a table that stood before is
    written as the applications of then write it: without the columns that the revision adds.
    """

    name: str
    table: str
    values: Row


@dataclass(frozen=True, slots=True)
class Trial:
    """What one CHECK does to a sample: with each of the changes `good` it is accepted, with each of `bad` refused by it.

    `code` is another one of verification's list that this proves as well.
    """

    constraint: str
    sample: str
    good: tuple[Row, ...]
    bad: tuple[Row, ...]
    code: str = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """What one UNIQUE or primary key refuses: behind the sample changed as `first`, the sample changed as `second`.

    `<second>` is one more uuid. `standing`, a condition, is for tables that have room for no sample: there the row that
    it finds is changed instead.
    """

    constraint: str
    sample: str
    second: Row
    first: Row = ()
    standing: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Writes:
    """An older table whose rows the revision updates: values of `columns` may change, every other one and the number of
    rows stay. Without columns an update may be made that changes nothing. The gate locks the table before the revision
    begins, SHARE ROW EXCLUSIVE, or ACCESS EXCLUSIVE where the contract `alters` it.

    Of a sequence: numbers are drawn from it, or it is set forwards.
    """

    table: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loss:
    """What a downgrade would destroy that the upgrade did not make: a query that returns the keys of such rows.

    `:made_at` in the query is the time of the upgrade's transaction, which is what now() gave in its rows.
    """

    where: str
    says: str
    query: str


@dataclass(frozen=True, slots=True)
class Required:
    """What must stand before the revision starts: a query that returns one row of one text, NULL when it is so.

    The text says what is missing, in a sentence for the operator.
    """

    says: str
    query: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that the report states, whatever it is: a query that returns one count."""

    name: str
    says: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """Everything one revision changes, and nothing else.

    `reads` are the tables it looks at to fill its own; `alters` those it changes the shape of, `locks` those it takes
    stronger locks on (foreign keys) without changing them. No row of any table that stood before may change, but as
    `writes` says. With `samples` verification tries what the constraints do; each foreign key is then tried on the first
    sample of its table.
    """

    revision: str
    follows: str | None
    tables: tuple[Table, ...] = ()
    extensions: tuple[Extension, ...] = ()
    functions: tuple[Function, ...] = ()
    enums: tuple[Enum, ...] = ()
    reads: tuple[str, ...] = ()
    alters: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    writes: tuple[Writes, ...] = ()
    required: tuple[Required, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    losses: tuple[Loss, ...] = ()
    figures: tuple[Figure, ...] = ()
    samples: tuple[Sample, ...] = ()
    trials: tuple[Trial, ...] = ()
    twins: tuple[Twin, ...] = ()
    may_install: tuple[str, ...] = ()  # extensions of the server that it may create and leaves on downgrade

    @property
    def constraints(self) -> frozenset[str]:
        """Pure. The names of all its constraints and indexes."""
        found = {f"{table.name}_pkey" for table in self.tables}
        parts: tuple[Table | Extension, ...] = (*self.tables, *self.extensions)
        for part in parts:
            found |= {unique.name for unique in part.unique} | {check.name for check in part.checks}
            found |= {index.name for index in part.indexes}
        return frozenset(found | {key.name for table in self.tables for key in table.foreign_keys})


def contract_digest(contracts: tuple[Contract, ...]) -> str:
    """Pure. SHA-256 over the contracts as Python prints them: frozen values of text and numbers."""
    return hashlib.sha256(repr(contracts).encode()).hexdigest()
