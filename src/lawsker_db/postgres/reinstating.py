"""Bring what stands in an archive back into the table that it was taken from: conditions, one statement, and the proof.

Everything here reads an archive and never writes one. The tables that are written are new in the transaction under way,
or under ACCESS EXCLUSIVE in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.evidence import Fingerprint
from lawsker_db.postgres.content import counts_upwards, read_sequence
from lawsker_db.postgres.fingerprint import split_fingerprint
from lawsker_db.postgres.session import literal, quoted

ALL = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A foreign key: `columns` lead to `keys` of `table` (quoted and qualified). Where the parent is gone a row comes back
    with NULL in them if it `nulls`, and else stays in the archive. `nullable` are those that may hold NULL."""

    columns: tuple[str, ...]
    table: str
    keys: tuple[str, ...]
    nulls: bool = False
    nullable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whose rows an archive speaks of: those whose `columns` are found among the `keys` of `place`, a table of it."""

    place: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kept thing and where it goes. `table` and `place` (in the archive) are quoted and qualified.

    `whole`: rows are brought back, else values of `columns` into rows that stand. `printed` are the columns of `place`, in
    the order in which its record was made. `owners` None: the archive speaks of every row of the table. `off` and `on` are
    SQL that takes what the contract added to the columns off, and puts it on again.
    """

    name: str
    table: str
    place: str
    whole: bool
    key: tuple[str, ...]
    columns: tuple[str, ...]
    recorded: Fingerprint
    parents: tuple[Parent, ...] = ()
    owners: Owners | None = None
    off: tuple[str, ...] = ()
    on: tuple[str, ...] = ()

    @property
    def printed(self) -> tuple[str, ...]:
        """Pure. The columns that are fingerprinted."""
        return self.recorded.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A part as it stands: of the archive what comes back (as it comes back) and what stays in it, of the table the rows
    that the archive speaks of and the others. `intact`: the archive is what its record says."""

    back: Fingerprint
    left: Fingerprint
    known: Fingerprint
    others: Fingerprint
    intact: bool


def comes_back(part: Part, row: str) -> str:
    """Pure. The condition that a row of the archive, by the name `row`, has every parent that it cannot do without."""
    conditions = [_has_parent(parent, row) for parent in part.parents if not parent.nulls]
    return " AND ".join(conditions) or ALL


def loses_parent(part: Part, row: str) -> str:
    """Pure. The condition that a row of the archive comes back with NULL where its parent was."""
    return " OR ".join(f"NOT {_has_parent(parent, row)}" for parent in part.parents if parent.nulls) or "false"


def speaks_of(part: Part, row: str) -> str:
    """Pure. The condition that the archive speaks of a row of the table, by the name `row`."""
    if part.owners is None:
        return ALL
    owners = part.owners
    return f"EXISTS (SELECT FROM ONLY {owners.place} AS o WHERE {_same('o', owners.keys, row, owners.columns)})"


def replaced(part: Part, row: str) -> dict[str, str]:
    """Pure. What is read in place of columns whose parent may be gone: NULL then."""
    conditions: dict[str, list[str]] = {}
    for parent in part.parents:
        for column in parent.columns if parent.nulls else ():
            conditions.setdefault(column, []).append(_has_parent(parent, row))
    return {
        column: f"CASE WHEN {' AND '.join(needed)} THEN {row}.{quoted(column)} END"
        for column, needed in conditions.items()
    }


def exchange_statement(part: Part) -> str:
    """Pure. Rows of the table that the archive speaks of and has otherwise go, and those of the archive that come back and
    do not stand so are inserted: one statement, since unique values may have changed places between rows.

    The count makes the server delete before it inserts. Foreign keys without an action are checked at its end.
    """
    names = ", ".join(quoted(name) for name in part.columns)
    return (
        f"WITH gone AS (DELETE FROM ONLY {part.table} AS t WHERE {speaks_of(part, 't')}"
        f" AND NOT {_stands_so(part, 'a', part.place, comes_back(part, 'a'), 't')} RETURNING 1)"
        f" INSERT INTO {part.table} ({names}) SELECT {_values(part, 'a')} FROM ONLY {part.place} AS a"
        f" WHERE {comes_back(part, 'a')} AND (SELECT count(*) FROM gone) >= 0"
        f" AND NOT {_stands_so(part, 't', part.table, ALL, 'a')}"
    )


def update_statement(part: Part) -> str:
    """Pure. The archive's values into the rows that stand, where they differ in any bit."""
    both = [(f"t.{quoted(name)}", f"a.{quoted(name)}") for name in part.columns]
    return (
        f"UPDATE ONLY {part.table} AS t SET {', '.join(f'{quoted(name)} = a.{quoted(name)}' for name in part.columns)}"
        f" FROM ONLY {part.place} AS a WHERE {_same('a', part.key, 't', part.key)}"
        f" AND record_image_ne(ROW({', '.join(here for here, _ in both)}), ROW({', '.join(there for _, there in both)}))"
    )


def rewrite_statements(part: Part, columns: tuple[str, ...], types: Mapping[str, str]) -> tuple[str, ...]:
    """Pure. The archive's values of `columns` into the rows that stand, by one rewrite of the table: it writes no row twice,
    fires no trigger, and checks unique values when all are in place. USING takes no subquery, hence the functions."""
    keys = ", ".join(types[name] for name in part.key)
    given = " AND ".join(f"a.{quoted(name)} = ${place}" for place, name in enumerate(part.key, 1))
    made, passed = len(part.key) + 1, ", ".join(quoted(name) for name in part.key)
    functions, changes = [], []
    for number, name in enumerate(columns):
        body = (
            f"DECLARE archived {types[name]}; BEGIN SELECT a.{quoted(name)} INTO archived FROM ONLY {part.place} AS a"
            f" WHERE {given}; RETURN CASE WHEN FOUND THEN archived ELSE ${made} END; END"
        ).replace("'", "''")
        function = f"pg_temp.lawsker_archived_{number}"
        functions.append((f"{function}({keys}, {types[name]})", body, types[name]))
        using = f"{function}({passed}, {quoted(name)})"
        changes.append(f"ALTER COLUMN {quoted(name)} TYPE {types[name]} USING {using}")
    made_first = [f"CREATE FUNCTION {f} RETURNS {t} LANGUAGE plpgsql STABLE AS '{body}'" for f, body, t in functions]
    return (
        *made_first,
        f"ALTER TABLE {part.table} {', '.join(changes)}",
        *(f"DROP FUNCTION {function}" for function, _, _ in functions),
    )


def bring_back(conn: Connection, part: Part, *, rewrites: bool = False) -> None:
    """Write one part into its table, whose triggers sleep meanwhile, and set its sequences behind what came back.

    The caller holds ACCESS EXCLUSIVE on the table, and with `rewrites` has waited for older snapshots, to which a table that
    is rewritten looks empty: values then come back by a rewrite. Takes ACCESS SHARE on the archive's, and what foreign keys
    take on the parents. Raises the server's errors where a constraint refuses a row.
    """
    if not part.whole:
        _bring_values_back(conn, part, rewrites=rewrites and not _collated(conn, part))
        return
    with _asleep(conn, part.table):
        conn.execute(literal(exchange_statement(part)))
    _advance_sequences(conn, part)


def read_part(conn: Connection, part: Part) -> Found:
    """Fingerprint a part's two sides, each in one pass or two. Takes ACCESS SHARE; time grows with both tables."""
    back, left = split_fingerprint(conn, part.place, part.printed, comes_back(part, "t"))
    whole = (back.rows + left.rows, *(_sum(one, two) for one, two in zip(back.sums, left.sums, strict=True)))
    recorded = part.recorded
    intact = whole == (recorded.rows, *(_sum(one) for one in recorded.sums))
    if replaced(part, "t"):
        back, _ = split_fingerprint(conn, part.place, part.printed, comes_back(part, "t"), replaced(part, "t"))
    known, others = read_table(conn, part)
    return Found(back=back, left=left, known=known, others=others, intact=intact)


def read_table(conn: Connection, part: Part) -> tuple[Fingerprint, Fingerprint]:
    """Fingerprint the rows of the table that the archive speaks of, and the others. Takes ACCESS SHARE."""
    return split_fingerprint(conn, part.table, part.printed, speaks_of(part, "t"))


def read_keys(conn: Connection, part: Part, condition: str, most: int) -> tuple[int, tuple[str, ...]]:
    """How many rows of the archive, named `t`, a condition holds for, and the keys of the first of them. Reads only."""
    key = " || ', ' || ".join(f"t.{quoted(name)}::text" for name in part.key) or "'(no key)'"
    where = f"FROM ONLY {part.place} AS t WHERE {condition}"
    count = int(conn.execute(literal(f"SELECT count(*) {where}")).scalar_one())
    if not count:
        return 0, ()
    rows = conn.execute(literal(f"SELECT {key} {where} ORDER BY 1 LIMIT {most}"))
    return count, tuple(str(row) for row in rows.scalars())


def column_types(conn: Connection, table: str) -> dict[str, str]:
    """The columns of a table (quoted and qualified) in order, with their types as the server prints them. Reads only."""
    rows = conn.execute(
        text(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"table": table},
    )
    return {str(name): str(type_) for name, type_ in rows}


def printed_types(conn: Connection, types: frozenset[str]) -> dict[str, str]:
    """Types as the server prints them, by the way in which somebody wrote them; one that it does not know (yet) as it is
    written. Asks the server, which makes nothing for it."""
    found = {name: name for name in types}
    ordered = sorted(types)
    known = conn.execute(
        text("SELECT t FROM unnest(:types ::text[]) AS t WHERE to_regtype(t) IS NOT NULL ORDER BY 1"),
        {"types": ordered},
    )
    written = [str(name) for name in known.scalars()]
    if not written:
        return found
    cursor = conn.execute(literal(f"SELECT {', '.join(f'NULL::{name}' for name in written)}")).cursor
    result = getattr(cursor, "pgresult", None)
    if result is None:
        return found
    for place, name in enumerate(written):
        facts = {"oid": result.ftype(place), "modifier": result.fmod(place)}
        found[name] = str(conn.execute(text("SELECT format_type(:oid, :modifier)"), facts).scalar_one())
    return found


def _bring_values_back(conn: Connection, part: Part, *, rewrites: bool) -> None:
    """Values into rows that stand, by a rewrite or an UPDATE, with the constraints and indexes taken off that the contract
    put on them: values may change places, and a rewrite would spell their definitions anew."""
    changed = _changed_columns(conn, part)
    if not changed:
        return
    with _asleep(conn, part.table):
        for statement in part.off:
            conn.execute(literal(statement))
        if rewrites:
            for statement in rewrite_statements(part, changed, column_types(conn, part.table)):
                conn.execute(literal(statement))
        else:
            conn.execute(literal(update_statement(part)))
        for statement in part.on:
            conn.execute(literal(statement))


def _changed_columns(conn: Connection, part: Part) -> tuple[str, ...]:
    """The columns in which any row that the archive has stands otherwise. Reads both tables."""
    differ = ", ".join(
        f"coalesce(bool_or(record_image_ne(ROW(t.{quoted(name)}), ROW(a.{quoted(name)}))), false)"
        for name in part.columns
    )
    joined = f"ONLY {part.table} AS t JOIN ONLY {part.place} AS a ON {_same('a', part.key, 't', part.key)}"
    found = conn.execute(literal(f"SELECT {differ} FROM {joined}")).one()
    return tuple(name for name, differs in zip(part.columns, found, strict=True) if differs)


def _collated(conn: Connection, part: Part) -> bool:
    """Whether a column has a collation that is not its type's: ALTER … TYPE would take it away. Reads the catalog."""
    query = text(
        "SELECT EXISTS (SELECT FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid ="
        " to_regclass(:table) AND a.attname = ANY (:columns ::text[]) AND a.attcollation <> y.typcollation)"
    )
    return bool(conn.execute(query, {"table": part.table, "columns": list(part.columns)}).scalar_one())


def _has_parent(parent: Parent, row: str) -> str:
    """Pure. A key with a NULL in it leads nowhere and misses nothing (MATCH SIMPLE)."""
    there = f"EXISTS (SELECT FROM {parent.table} AS p WHERE {_same('p', parent.keys, row, parent.columns)})"
    if not parent.nullable:
        return there
    return f"({' OR '.join(f'{row}.{quoted(name)} IS NULL' for name in parent.nullable)} OR {there})"


def _same(one: str, names: tuple[str, ...], other: str, others: tuple[str, ...]) -> str:
    """Pure. Two rows have equal values in these columns."""
    pairs = zip(names, others, strict=True)
    return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(theirs)}" for name, theirs in pairs)


def _stands_so(part: Part, there: str, source: str, condition: str, row: str) -> str:
    """Pure. The condition that the other side has a row bit for bit, as it comes back. Without a key nobody can tell."""
    if not part.key:
        return "false"
    one, other = (f"ROW({_values(part, 'a')})", f"ROW({', '.join(f't.{quoted(name)}' for name in part.columns)})")
    return (
        f"EXISTS (SELECT FROM ONLY {source} AS {there} WHERE {_same(there, part.key, row, part.key)}"
        f" AND {condition} AND record_image_eq({one}, {other}))"
    )


def _values(part: Part, row: str) -> str:
    """Pure. The values of a row of the archive as they come back."""
    given: Mapping[str, str] = replaced(part, row)
    return ", ".join(given.get(name, f"{row}.{quoted(name)}") for name in part.columns)


def _sum(*sums: str) -> int:
    """Pure. Sums of a fingerprint added up."""
    return sum(int(one) for one in sums)


@contextmanager
def _asleep(conn: Connection, table: str) -> Iterator[None]:
    """For the block, no trigger of anybody's answers on the table: one that sets updated_at would move every stamp. Each
    wakes as it was (origin, replica, always). Takes ACCESS EXCLUSIVE, which the caller has."""
    waking = conn.execute(
        text(
            "SELECT format('ALTER TABLE %s ENABLE %sTRIGGER %I', tgrelid::regclass,"
            " CASE tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' ELSE '' END, tgname) FROM pg_trigger"
            " WHERE tgrelid = to_regclass(:table) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY tgname"
        ),
        {"table": table},
    ).scalars()
    statements = [str(statement) for statement in waking]
    if statements:
        conn.execute(literal(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
    yield
    for statement in statements:
        conn.execute(literal(statement))


def _advance_sequences(conn: Connection, part: Part) -> None:
    """Set the sequences of the table behind the archived ones and behind every key that stands."""
    query = text("SELECT pg_get_serial_sequence(:table, :column)")
    for column in part.columns:
        sequence = conn.execute(query, {"table": part.table, "column": column}).scalar_one()
        if sequence is None:
            continue
        archived = conn.execute(query, {"table": part.place, "column": column}).scalar_one()
        _advance(conn, str(sequence), archived, f"{part.table} AS t", f"t.{quoted(column)}")


def _advance(conn: Connection, sequence: str, archived: str | None, source: str, column: str) -> None:
    """Set one sequence to the furthest of where it stands, where the archived one stands, and its column's values."""
    upwards = counts_upwards(conn, sequence)
    furthest = max if upwards else min
    end = conn.execute(literal(f"SELECT {'max' if upwards else 'min'}({column}) FROM ONLY {source}")).scalar_one()
    standing = [read_sequence(conn, name) for name in (sequence, archived) if name is not None]
    given = [one.last_value for one in standing if one.is_called] + ([] if end is None else [int(end)])
    if given:
        values = {"sequence": sequence, "last": furthest(given)}
        conn.execute(text("SELECT setval(CAST(:sequence AS regclass), :last)"), values)
