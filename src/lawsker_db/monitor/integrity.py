"""Whether the new system stands: stamp, promised tables, seed rows and invariants of the contracts. Cheap, or left out.

What it takes is ACCESS SHARE on one table after the other, never waited for longer than a moment and given back after each
question, so that nobody who wants a table for himself meets the monitor there twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lawsker_db.evidence import Check

LARGE_ROWS = 1_000_000  # counting so many takes a tenth of a second (measured), which a look every minute may cost

_TABLES = """
    SELECT w.name, c.oid IS NOT NULL AS present,
        coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false) AS readable,
        coalesce(greatest(c.reltuples, 0), 0)::bigint AS rows
    FROM unnest(CAST(:names AS text[])) AS w(name)
    LEFT JOIN pg_namespace n ON n.nspname = :schema
    LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')
    ORDER BY 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What alembic_version says (`current`, empty: not stamped), beside the chain's `head`. Not `known`: this chain has no
    such revision. `pending`: how many revisions lie between the two."""

    current: tuple[str, ...]
    head: str
    known: bool
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRows:
    """How many rows the contract says that a revision put into a table, and how many are there. Of a count that another
    table decides, `expected` is what that says now; there the applications may have moved on."""

    table: str
    expected: int
    found: int
    fixed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was found in the tables, at `at` (aware UTC), in `took_s` seconds: it is looked at more seldom than the rest.

    `checks` are invariants of the newest contract that must not be broken, as `verify` has them (`ok` None: not known).
    `left_out`: why something was not looked at, empty when everything was.
    """

    at: datetime
    took_s: float
    rows: tuple[SeedRows, ...]
    checks: tuple[Check, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """The tables that the contracts up to the stamp promise: how many, which of them are missing, and which this role may
    not read. `content` None: not looked at yet."""

    promised: int
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    content: Content | None

    @property
    def present(self) -> int:
        """Pure. How many promised tables are there."""
        return self.promised - len(self.missing)
