"""Whether the new system stands: stamp, promised tables, seed rows and invariants of the contracts. Cheap, or left out.

What it takes is ACCESS SHARE on one table after the other, never waited for longer than a moment and given back after each
question, so that nobody who wants a table for himself meets the monitor there twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, Table
from lawsker_db.evidence import Check, Server
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import literal, quoted
from lawsker_db.record.history import first_made, may_read_history, read_history
from lawsker_db.revisions import Chain, contracts_up_to, current_revisions
from lawsker_db.safety.checklist import ITEMS, Severity, When, not_run
from lawsker_db.safety.contents import check_invariant
from lawsker_db.target import said_by_server

LARGE_ROWS = 1_000_000  # a query over more rows takes seconds, and `verify` is there for that
BUDGET_S = 3.0  # of one look at the content: what has not been asked by then is left out, and said

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
    """The tables that the contracts up to the stamp promise, which of them are missing, and which this role may not
    read. `content` None: not looked at yet."""

    promised: tuple[str, ...]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]
    content: Content | None

    @property
    def present(self) -> int:
        """Pure. How many promised tables are there."""
        return len(self.promised) - len(self.missing)


def read_stamp(conn: Connection, chain: Chain) -> Stamp:
    """What alembic_version says beside the chain. Reads alembic_version and revision files. Raises `Refused` without SELECT
    on it."""
    current = current_revisions(conn)
    known = bool(current) and chain.knows(current)
    lower = current[0] if known else "base"
    pending = sum(script.revision != lower for script in chain.scripts.iterate_revisions(chain.head, lower))
    return Stamp(current=current, head=chain.head, known=known, pending=pending)


def read_integrity(conn: Connection, chain: Chain, stamp: Stamp, schema: str, content: Content | None) -> Integrity:
    """The promised tables in the catalog, beside what was found in them before (`content`). Opens no table."""
    contracts = contracts_up_to(chain, stamp.current) if stamp.known else ()
    tables = _look_up(conn, contracts, schema)
    return Integrity(
        promised=tuple(row["name"] for row in tables),
        missing=tuple(row["name"] for row in tables if not row["present"]),
        unreadable=tuple(row["name"] for row in tables if row["present"] and not row["readable"]),
        content=content,
    )


def read_content(conn: Connection, chain: Chain, stamp: Stamp, schema: str, server: Server) -> Content | None:
    """Seed rows and invariants of the newest contract; None where there is no contract to look by.

    ACCESS SHARE on one table after the other, each given back at once; the session's lock_timeout and statement_timeout
    bound every question. Tables of more than LARGE_ROWS rows are left out.
    """
    contracts = contracts_up_to(chain, stamp.current) if stamp.known else ()
    if not contracts:
        return None
    newest, began = contracts[-1], time.monotonic()
    tables = {row["name"]: row for row in _look_up(conn, contracts, schema)}
    large = max((int(row["rows"]) for row in tables.values()), default=0) > LARGE_ROWS
    asked = [table for table in newest.tables if tables[table.name]["readable"] and table.rows]
    found = [_seed_rows(conn, table) for table in asked if not (large and isinstance(table.rows, str))]
    checks = () if large else tuple(_invariants(conn, newest, server, began + BUDGET_S))
    left_out = [one for one in found if isinstance(one, str)]
    if large:
        left_out.append(Phrase("a table has more than {rows:,} rows: lawsker-db verify looks at all", rows=LARGE_ROWS))
    return Content(
        at=datetime.now(UTC),
        took_s=round(time.monotonic() - began, 3),
        rows=tuple(one for one in found if isinstance(one, SeedRows)),
        checks=checks,
        left_out=tuple(dict.fromkeys(left_out)),
    )


def _look_up(conn: Connection, contracts: tuple[Contract, ...], schema: str) -> tuple[RowMapping, ...]:
    """The promised tables by name in the catalog: to_regclass() raises an error for a schema that may not be used."""
    names = sorted({table.name for contract in contracts for table in contract.tables})
    return tuple(conn.execute(text(_TABLES), {"names": names, "schema": schema}).mappings())


def _seed_rows(conn: Connection, table: Table) -> SeedRows | str:
    """How many rows of a table there are and should be; or why that is not known. A count that is fixed is bounded: more
    than a few times as many are the applications' own."""
    fixed = isinstance(table.rows, int)
    bound = f" LIMIT {10 * int(table.rows) + 1}" if isinstance(table.rows, int) else ""
    expected = f"({table.rows})" if isinstance(table.rows, str) else str(table.rows)
    counted = f"SELECT {expected}, (SELECT count(*) FROM (SELECT FROM {quoted(table.name)}{bound}) AS t)"
    try:
        with conn.begin_nested() as savepoint:
            row = conn.execute(literal(counted)).one()
            savepoint.rollback()  # and with it the lock
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        return Phrase("{table}: {why}", table=table.name, why=said_by_server(failed.orig) or type(failed).__name__)
    return SeedRows(table=table.name, expected=int(row[0]), found=int(row[1]), fixed=fixed)


def _invariants(conn: Connection, newest: Contract, server: Server, until: float) -> Iterator[Check]:
    """What must not be broken, of the newest contract: its invariants that are errors in verification's list.

    What the applications have written since the run counts only where the list says "always". Where no run on record has
    made it, nobody can tell what they have written, so what need only hold at COMMIT is not known.
    """
    made_at = _made_at(conn, newest, server)
    for invariant in newest.invariants:
        codes = (invariant.code, *invariant.also)
        if not any(code in ITEMS and ITEMS[code].severity is Severity.ERROR for code in codes):
            continue
        if time.monotonic() > until:
            yield from (not_run(code, Phrase("the time for one look was over")) for code in codes if code in ITEMS)
            continue
        with conn.begin_nested() as savepoint:
            found = check_invariant(conn, invariant, made_at)
            savepoint.rollback()
        for check in found:
            later = check.code in ITEMS and ITEMS[check.code].when is When.GATE and made_at is None
            yield not_run(check.code, Phrase("no run on record here has made this revision")) if later else check


def _made_at(conn: Connection, newest: Contract, server: Server) -> datetime | None:
    """When the newest revision was made here, None when no run on record that this role may read has made it."""
    if not may_read_history(conn):
        return None
    history = read_history(conn, server)
    made = [
        past
        for past in history
        if past.here and not past.undone and past.direction == "upgrade" and newest.revision in past.steps
    ]
    return first_made(history, made[-1], newest.revision) if made else None
