"""What was written since an upgrade into what it made: by the fingerprints in its marker, and the contract's own queries.

A table that has the fingerprint which the run left is as made, whatever times its rows bear. Of any other one the
contract's losses tell the numbers; where they find nothing, that the content differs is all that is known, and enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract
from lawsker_db.errors import Refused
from lawsker_db.evidence import Direction, Fingerprint
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.fingerprint import column_names, fingerprint_table
from lawsker_db.postgres.kept import primary_key
from lawsker_db.postgres.session import literal, quoted
from lawsker_db.record.history import PastRun

UNTOLD = Phrase("what was written since is not known: the record has no fingerprint of it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What was written into one table since the upgrade. `rows_made` is None where the record has no number; `says` is
    empty when it is as made."""

    table: str
    rows: int
    rows_made: int | None
    says: tuple[str, ...]

    @property
    def words(self) -> str:
        """Pure. One line: the table, what was written, rows then and now."""
        made = (
            ""
            if self.rows_made is None
            else Phrase(" ({made} rows when made, {rows} now)", made=self.rows_made, rows=self.rows)
        )
        says = joined(self.says) or Phrase("as made")
        return Phrase("{table}: {says}{made}", table=self.table, says=says, made=made)


def made_prints(conn: Connection, contracts: tuple[Contract, ...], schema: str) -> tuple[Fingerprint, ...]:
    """Fingerprints of all that an upgrade made: each new table, and the new columns of older ones beside their key.

    Reads those; `schema` is quoted. For the marker: with them a later downgrade tells what others have written.
    """
    added = {(e.table, column.name) for contract in contracts for e in contract.extensions for column in e.columns}
    prints: list[Fingerprint] = []
    for contract in contracts:
        for place, columns in _own(conn, contract, schema):
            if columns is None and _stands(conn, place):
                # a later revision of the same run may have extended it, and is taken back before this one
                table = place.rpartition(".")[2]
                columns = tuple(name for name in column_names(conn, place) if (table, name) not in added)
            if columns:
                prints.append(fingerprint_table(conn, place, columns))
    return tuple(prints)


def made_by(history: tuple[PastRun, ...], revision: str) -> PastRun | None:
    """Pure. The last run here that upgraded to this revision or beyond it."""
    for past in reversed(history):
        if past.here and past.direction == Direction.UPGRADE and revision in past.steps:
            return past
    return None


def written_since(
    conn: Connection, contract: Contract, made: PastRun, schema: str, *, going: tuple[Contract, ...]
) -> tuple[Since, ...]:
    """What was written into each table and column of a contract since the run that made them, in the contract's order.

    Reads those tables; `schema` is quoted. `going` are all contracts that are taken back together: their columns on the
    tables of this one are told with them. Records of older versions have fingerprints of seed tables alone: of the others
    the contract's losses must tell all.
    """
    told = {(e.table, column.name) for other in going for e in other.extensions for column in e.columns}
    found = [
        _with_added(conn, place, _look(conn, place, columns, contract, made), contract, told)
        for place, columns in _own(conn, contract, schema)
        if _stands(conn, place)
    ]
    seen = {since.table for since in found}
    elsewhere = {loss.where for loss in contract.losses} - seen
    return (*found, *(_counted(conn, table, contract, made) for table in sorted(elsewhere)))


def holds_anything(conn: Connection, contract: Contract, schema: str) -> bool:
    """Whether a table of the contract has a row, or a column that it added a value. Reads only; `schema` is quoted."""
    places = [(f"{schema}.{table.name}", "true") for table in contract.tables]
    for extension in contract.extensions:
        place = f"{schema}.{extension.table}"
        there = column_names(conn, place)
        places += [(place, _any_value((c.name,))) for c in extension.columns if c.name in there]
    return any(_has_row(conn, place, which) for place, which in places if _stands(conn, place))


def _own(conn: Connection, contract: Contract, schema: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """The contract's tables whole, and the tables that it extends on key, if they have one, and new columns."""
    for table in contract.tables:
        yield f"{schema}.{table.name}", None
    for extension in contract.extensions:
        place = f"{schema}.{extension.table}"
        added = {column.name for column in extension.columns}
        there = column_names(conn, place)
        if not added.isdisjoint(there):  # else the step under way has taken them off, after they were looked at
            wanted = {*primary_key(conn, place), *added}
            yield place, tuple(name for name in there if name in wanted)


def _look(conn: Connection, place: str, columns: tuple[str, ...] | None, contract: Contract, made: PastRun) -> Since:
    """One table now against what the run left of it."""
    table = place.rpartition(".")[2]
    # by its bare name: the schema may have been renamed since
    named = [print_ for print_ in made.fingerprints if print_.table.rpartition(".")[2] == table]
    recorded = next((print_ for print_ in named if columns in (None, print_.columns)), None)
    if recorded is None:
        return _counted(conn, table, contract, made)
    now = fingerprint_table(conn, place, recorded.columns)
    if recorded.same_content(now):
        return Since(table=table, rows=now.rows, rows_made=recorded.rows, says=())
    says = _losses(conn, table, contract, made) or (Phrase("changed since the upgrade"),)
    return Since(table=table, rows=now.rows, rows_made=recorded.rows, says=says)


def _counted(conn: Connection, table: str, contract: Contract, made: PastRun) -> Since:
    """One table by the contract's queries alone."""
    rows = int(conn.execute(literal(f"SELECT count(*) FROM {table}")).scalar_one())
    says, rows_made = _losses(conn, table, contract, made), made.rows_made.get(table)
    if rows and rows_made != rows and table not in {loss.where for loss in contract.losses}:
        says = (UNTOLD,)
    return Since(table=table, rows=rows, rows_made=rows_made, says=says)


def _with_added(conn: Connection, place: str, since: Since, contract: Contract, told: set[tuple[str, str]]) -> Since:
    """The same, and the columns that others put on a table that goes, as far as they have values."""
    own = {(table.name, column.name) for table in contract.tables for column in table.columns} | told
    if since.table not in {table.name for table in contract.tables}:
        return since
    added = [name for name in column_names(conn, place) if (since.table, name) not in own]
    says = [
        Phrase("column {name} of others", name=name) for name in added if _has_row(conn, place, _any_value((name,)))
    ]
    return replace(since, says=(*since.says, *says))


def _losses(conn: Connection, table: str, contract: Contract, made: PastRun) -> tuple[str, ...]:
    """The numbers that the contract's losses give for a table, those that are not 0."""
    found: list[str] = []
    for loss in contract.losses:
        if loss.where == table:
            query = text(f"SELECT count(*) FROM ({loss.query}) AS lost")
            rows = conn.execute(query, {"made_at": made.made_at}).scalar_one()
            found += [Phrase("{what}: {rows}", what=Phrase(loss.says), rows=rows)] * bool(rows)
    return tuple(found)


def _any_value(columns: Iterable[str]) -> str:
    """Pure. SQL that is true of a row with a value in one of these columns. (A row IS NOT NULL only if all are.)"""
    return " OR ".join(f"num_nulls({quoted(name)}) = 0" for name in columns)


def _has_row(conn: Connection, place: str, which: str) -> bool:
    return bool(conn.execute(literal(f"SELECT EXISTS (SELECT FROM ONLY {place} WHERE {which})")).scalar_one())


def _stands(conn: Connection, place: str) -> bool:
    return conn.execute(text("SELECT to_regclass(:name)"), {"name": place}).scalar_one() is not None


def refuse_adopted_baseline(contract: Contract, history: tuple[PastRun, ...]) -> None:
    """Pure. Raise `Refused` when this is the lowest revision and was adopted: nobody's run has made its tables."""
    if contract.follows is None and any(past.direction == "adopt" for past in history):
        raise Refused(
            Phrase(
                "The baseline of this database was adopted, not made by this chain: its downgrade would drop "
                "live tables."
            ),
            hint=Phrase(
                "nothing overrides this; this goes as far as it can: lawsker-db rollback {revision}",
                revision=contract.revision,
            ),
        )
