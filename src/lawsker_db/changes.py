"""What a run changed or was to change, as values for its report: promises, tables, sizes, rows that are left behind."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """What a revision's contract promises of one kind of thing, and what the gate found: `found` is how many are so, None
    where nobody looked. `deviations` names what is not, or is there unpromised."""

    revision: str
    kind: str
    promised: int
    found: int | None
    deviations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnShape:
    """A column by name and type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key: columns of its table, and the table that they refer to."""

    columns: tuple[str, ...]
    table: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """A table before and after what the contracts promise. No columns before: it is new; none after: it goes. `before` is
    None where it was not read. `references` are those of the table that is new or goes."""

    table: str
    before: tuple[ColumnShape, ...] | None
    after: tuple[ColumnShape, ...]
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeChange:
    """Bytes on disk with indexes and TOAST before and after; None where that was not measured. An empty `table` is the
    whole database."""

    table: str
    before_bytes: int | None
    after_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedTable:
    """Rows of one table that a restore does not bring back: only in the damaged database, or with other content there; and
    how many stand only in the backup."""

    table: str
    inserted: int
    changed: int
    deleted: int
