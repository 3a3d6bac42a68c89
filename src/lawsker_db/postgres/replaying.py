"""Put staged rows back into a table: which stand there already, which may go, which may not, and why.

The rows of a file are staged as text in a temporary table, with a number and a verdict each. They are settled in batches,
each under a savepoint; a batch that the server refuses is halved until the rows that it refuses stand alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.differing import CHANGED, DELETED, INSERTED, copying, raw
from lawsker_db.postgres.fingerprint import SEEDS
from lawsker_db.postgres.rescuing_sql import text_literal
from lawsker_db.postgres.rows import Column, Shape, row_bytes
from lawsker_db.postgres.session import literal, quoted

BATCH = 1_000
PIECE_BYTES = 1 << 20
TAKEN = "23505"
# What another row, of this or another table, may mend: it is tried again when more rows have gone in.
MENDABLE = ("23503", "23505", "23P01")
# Classes of SQLSTATE that are a verdict about a row: values, constraints, what functions of people raise, a row of a
# parent that somebody else holds. All others (rights, room, a lost connection, a mistake of ours) end the replay.
VERDICTS = ("21", "22", "23", "27", "38", "39", "44", "55", "P0")
LOSSY_STATE = "LAW01"  # of our own making, to halve a batch
_Refusal = tuple[int, str, str]  # number of the row, SQLSTATE, constraint or reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A staged file: its temporary table, the table it belongs to, and what of a row is compared and written.

    `columns` as they stand in the file. `before`: the columns and forms of which the exported hash of the restored row was
    made; `equals`: the operator that tells keys apart, by column.
    """

    stage: str
    shape: Shape
    columns: tuple[str, ...]
    key: tuple[str, ...]
    before: dict[str, str]
    equals: dict[str, str]
    rows: int
    major: int

    @property
    def written(self) -> tuple[Column, ...]:
        """Pure. The columns of the file that the table takes."""
        return tuple(c for c in self.shape.columns if c.name in self.columns and not c.generated)


def equality_operators(conn: Connection, shape: Shape, key: tuple[str, ...]) -> dict[str, str]:
    """The operator by which a unique index of the key tells two values of a column apart. Reads the catalog."""
    rows = conn.execute(
        text(
            "SELECT DISTINCT ON (a.attname) a.attname::text, quote_ident(n.nspname), p.oprname::text FROM pg_index i,"
            " unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY AS k(number, class, place)"
            " JOIN pg_opclass c ON c.oid = k.class JOIN pg_amop o ON o.amopfamily = c.opcfamily"
            " AND o.amopstrategy = 3 AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype"
            " JOIN pg_operator p ON p.oid = o.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace"
            " JOIN pg_attribute a ON a.attrelid = :oid AND a.attnum = k.number"
            " WHERE i.indrelid = :oid AND i.indisunique AND k.place <= i.indnkeyatts AND a.attname = ANY (:key ::text[])"
            " ORDER BY a.attname, i.indisprimary DESC"
        ),
        {"oid": shape.oid, "key": list(key)},
    )
    return {str(column): f"OPERATOR({schema}.{operator})" for column, schema, operator in rows}


def stage_file(conn: Connection, stage: str, columns: tuple[str, ...], path: Path) -> int:
    """Load a CSV file into a temporary table of text columns, streamed. Returns its rows. Raises what the server says."""
    listed = "".join(f", v{number} text" for number in range(1, len(columns) + 1))
    conn.execute(
        text(
            f"CREATE TEMPORARY TABLE {stage} (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, verdict text, state text,"
            f" said text, change text, before text{listed}) ON COMMIT DROP"
        )
    )
    taken = ", ".join(("change", "before", *(f"v{number}" for number in range(1, len(columns) + 1))))
    question = f"COPY {stage} ({taken}) FROM STDIN (FORMAT csv, HEADER)".encode()
    with copying(), path.open("rb") as file, raw(conn).cursor() as cursor, cursor.copy(question) as copy:
        while piece := file.read(PIECE_BYTES):
            copy.write(piece)
    conn.execute(text(f"UPDATE {stage} SET verdict = 'left' WHERE change = '{DELETED}'"))
    conn.execute(text(f"ANALYZE {stage}"))
    return int(conn.execute(text(f"SELECT count(*) FROM {stage}")).scalar_one())


def settle(conn: Connection, staged: Staged) -> None:
    """Give every row without a verdict one, and write those that may go. Row locks, and what the inserts take.

    All at once if they can go so: rows of one statement may refer to each other. Else in batches. Raises only what is no
    verdict about a row: a lost connection, an interrupt, a right that is missing.
    """
    if staged.rows and _try(conn, staged, 1, staged.rows) is not None:
        for low in range(1, staged.rows + 1, BATCH):
            _settle_batch(conn, staged, low, min(low + BATCH - 1, staged.rows))


def _settle_batch(conn: Connection, staged: Staged, low: int, high: int) -> None:
    """Find the rows of a batch that are refused, take all of it back, and write the others together.

    A savepoint that is kept holds a lock to the end of the transaction, and the server has room for some thousands: only
    where the others cannot go together are they left as they went, one by one.
    """
    if _try(conn, staged, low, high) is None:
        return
    trial = conn.begin_nested()
    refused = _halved(conn, staged, low, high)
    trial.rollback()
    _refuse(conn, staged, refused)
    if _try(conn, staged, low, high) is not None:
        _refuse(conn, staged, _halved(conn, staged, low, high))


def _halved(conn: Connection, staged: Staged, low: int, high: int) -> list[_Refusal]:
    """Write the rows of a batch in ever smaller parts. Returns those that were refused alone."""
    refused: list[_Refusal] = []
    pending = [(low, high)]
    while pending:
        first, last = pending.pop()
        said = _try(conn, staged, first, last)
        if said is not None and first == last:
            refused.append((first, *said))
        elif said is not None:
            middle = (first + last) // 2
            pending += [(middle + 1, last), (first, middle)]
    return refused


def try_again(conn: Connection, staged: Staged) -> None:
    """Take the verdict back from rows that another row kept out, and settle them anew."""
    states = ", ".join(text_literal(state) for state in MENDABLE)
    conn.execute(text(f"UPDATE {staged.stage} SET verdict = NULL WHERE verdict = 'refused' AND state IN ({states})"))
    settle(conn, staged)


def verdicts(conn: Connection, staged: Staged) -> dict[tuple[str, str], int]:
    """How many rows have which verdict, by what had happened to them. Reads."""
    found = conn.execute(text(f"SELECT change, verdict, count(*) FROM {staged.stage} GROUP BY 1, 2"))
    return {(str(change), str(verdict)): int(rows) for change, verdict, rows in found}


def refused_rows(staged: Staged) -> str:
    """Pure. A COPY that gives the rows that could not go: table, line of the file, change, key, SQLSTATE, reason."""
    place = {name: number for number, name in enumerate(staged.columns, 1)}
    pairs = ", ".join(f"{text_literal(name)}, s.v{place[name]}" for name in staged.key)
    key = f"json_build_object({pairs})::text" if staged.key else "NULL"
    return (
        f"COPY (SELECT {text_literal(staged.shape.label)}, s.n, s.change, {key}, s.state, s.said FROM {staged.stage} AS s"
        " WHERE s.verdict = 'refused' ORDER BY s.n) TO STDOUT (FORMAT csv)"
    )


def _try(conn: Connection, staged: Staged, low: int, high: int) -> tuple[str, str] | None:
    """Settle some rows under a savepoint. Returns SQLSTATE and constraint of what the server refused, None if nothing."""
    savepoint = conn.begin_nested()
    try:
        for statement in _steps(staged, f"s.n BETWEEN {low} AND {high}"):
            conn.execute(literal(statement))
        lossy = staged.key and conn.execute(literal(_altered(staged, f"s.n BETWEEN {low} AND {high}"))).scalar_one()
    except DBAPIError as failed:
        state = getattr(failed.orig, "sqlstate", None)
        if state is None or state[:2] not in VERDICTS:
            raise
        savepoint.rollback()
        named = failed.orig.diag.constraint_name if isinstance(failed.orig, psycopg.Error) else None
        return str(state), named or type(failed.orig).__name__
    if lossy:
        savepoint.rollback()
        return LOSSY_STATE, "a column here is narrower: the row would stand there altered"
    savepoint.commit()
    return None


def _refuse(conn: Connection, staged: Staged, refused: list[_Refusal]) -> None:
    if not refused:
        return
    conn.execute(
        text(f"UPDATE {staged.stage} SET verdict = 'refused', state = :state, said = :said WHERE n = :n"),
        [{"n": number, "state": state, "said": said} for number, state, said in refused],
    )


def _steps(staged: Staged, span: str) -> Iterator[str]:
    """Pure. The statements that settle the rows of a span that have no verdict: classify, insert, update, note."""
    stage, open_rows = staged.stage, f"{span} AND s.verdict IS NULL"
    if staged.key:
        yield _classified(staged, open_rows)
        yield (
            f"UPDATE {stage} AS s SET verdict = 'refused', state = '', said = 'no row has this key any more'"
            f" WHERE {open_rows} AND s.change = '{CHANGED}'"
        )
    yield f"UPDATE {stage} AS s SET verdict = 'insert' WHERE {open_rows} AND s.change = '{INSERTED}'"
    yield _inserted(staged, f"{span} AND s.verdict = 'insert'")
    if staged.key and (setting := _set(staged)):
        yield (
            f"UPDATE {staged.shape.source} AS t SET {setting} FROM {stage} AS s"
            f" WHERE {span} AND s.verdict = 'update' AND {_same_key(staged)}"
        )
    yield f"UPDATE {stage} AS s SET verdict = 'placed' WHERE {span} AND s.verdict IN ('insert', 'update')"


def _classified(staged: Staged, open_rows: str) -> str:
    """Pure. A verdict for each row whose key stands in the table: there already, may be overwritten, or refused."""
    unchanged = f"s.before = {_hashed(staged)}"
    return (
        f"UPDATE {staged.stage} AS s SET verdict = CASE WHEN {_same_row(staged)} THEN 'already'"
        f" WHEN s.change = '{CHANGED}' AND {unchanged} THEN 'update' ELSE 'refused' END,"
        f" state = CASE WHEN s.change = '{CHANGED}' THEN '' ELSE '{TAKEN}' END,"
        f" said = CASE WHEN s.change = '{CHANGED}' THEN 'the row is no longer what the backup had'"
        " ELSE 'another row has this key' END"
        f" FROM {staged.shape.source} AS t WHERE {open_rows} AND {_same_key(staged)}"
    )


def _altered(staged: Staged, span: str) -> str:
    """Pure. Whether a row that was written does not stand in the table as it was exported."""
    identities = "" if _set_all(staged) else f" AND s.change = '{INSERTED}'"
    return (
        f"SELECT EXISTS (SELECT FROM {staged.stage} AS s WHERE {span} AND s.verdict = 'placed'{identities} AND NOT EXISTS"
        f" (SELECT FROM {staged.shape.source} AS t WHERE {_same_key(staged)} AND {_same_row(staged)}))"
    )


def _inserted(staged: Staged, rows: str) -> str:
    columns = staged.written
    overriding = " OVERRIDING SYSTEM VALUE" if any(column.identity for column in columns) else ""
    names = ", ".join(quoted(column.name) for column in columns)
    if not columns:
        return f"INSERT INTO {staged.shape.label} SELECT FROM {staged.stage} AS s WHERE {rows}"
    values = ", ".join(_typed(staged, column) for column in columns)
    return (
        f"INSERT INTO {staged.shape.label} ({names}){overriding} SELECT {values} FROM {staged.stage} AS s WHERE {rows}"
        " ORDER BY s.n"
    )


def _set(staged: Staged) -> str:
    columns = (c for c in staged.written if c.name not in staged.key and not c.identity)
    return ", ".join(f"{quoted(column.name)} = {_typed(staged, column)}" for column in columns)


def _set_all(staged: Staged) -> bool:
    return all(column.name in staged.key or not column.identity for column in staged.written)


def _typed(staged: Staged, column: Column) -> str:
    """Pure. A staged value as the column's type without its length: a cast would cut silently where storing refuses."""
    return f"(s.v{staged.columns.index(column.name) + 1})::{column.type}"


def _same_key(staged: Staged) -> str:
    """Pure. The table's row `t` has the key of the staged row `s`, as its unique index would have it."""
    types = {column.name: column for column in staged.shape.columns}
    return " AND ".join(
        f"t.{quoted(name)} {staged.equals.get(name, '=')} {_typed(staged, types[name])}" for name in staged.key
    )


def _same_row(staged: Staged) -> str:
    """Pure. `t` holds what was exported, byte for byte, on the columns that the file writes."""
    forms = {column.name: column.form for column in staged.written}
    form, function = row_bytes(forms, tuple(forms), staged.major)
    hashes = ", ".join(f"{function}({form}, {seed})" for seed in SEEDS)
    typed = ", ".join(f"{_typed(staged, column)} AS {quoted(column.name)}" for column in staged.written)
    return f"({hashes}) = (SELECT {hashes} FROM (SELECT {typed}) AS t)"


def _hashed(staged: Staged) -> str:
    """Pure. The hash of `t` as the export noted that of the restored row."""
    form, function = row_bytes(staged.before, tuple(staged.before), staged.major)
    halves = (f"lpad(to_hex({function}({form}, {seed})), 16, '0')" for seed in SEEDS)
    return " || ".join(halves).join("()")


@contextmanager
def sleeping_triggers(conn: Connection, shapes: tuple[Shape, ...]) -> Iterator[None]:
    """For the block, the triggers of people on these tables sleep: what they did when the rows were written is in the
    rows. Foreign keys and constraints stay awake.

    Takes SHARE ROW EXCLUSIVE until the transaction ends, and needs the tables' owner. Raises `Refused` when one does not
    wake up as it was.
    """
    before = _triggers(conn, shapes)
    for relation, name, _ in before:
        conn.execute(literal(f"ALTER TABLE ONLY {relation} DISABLE TRIGGER {quoted(name)}"))
    yield
    for relation, name, mode in before:
        always = "ALWAYS " if mode == "A" else ""
        conn.execute(literal(f"ALTER TABLE ONLY {relation} ENABLE {always}TRIGGER {quoted(name)}"))
    if _triggers(conn, shapes) != before:
        raise Refused(
            Phrase("A trigger did not wake up as it was before."),
            hint=Phrase("type it again when no one alters the tables"),
        )


def _triggers(conn: Connection, shapes: tuple[Shape, ...]) -> list[tuple[str, str, str]]:
    rows = conn.execute(
        text(
            "SELECT c.oid::regclass::text, g.tgname::text, g.tgenabled::text FROM pg_trigger g"
            " JOIN pg_class c ON c.oid = g.tgrelid LEFT JOIN pg_constraint k ON k.oid = g.tgconstraint"
            " WHERE g.tgrelid IN (SELECT coalesce(p.relid, o.oid) FROM unnest(:oids ::oid[]) AS o(oid)"
            " LEFT JOIN LATERAL pg_partition_tree(o.oid) AS p ON true)"
            " AND g.tgenabled IN ('O', 'A') AND (k.oid IS NULL OR k.contype = 't') ORDER BY 1, 2"
        ),
        {"oids": [shape.oid for shape in shapes]},
    )
    return [(str(relation), str(name), str(mode)) for relation, name, mode in rows]
