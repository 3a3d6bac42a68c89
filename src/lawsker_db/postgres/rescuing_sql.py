"""The SQL that writes rows as CSV and as statements: every value is quoted by the server itself."""

from __future__ import annotations

from lawsker_db.postgres.differing import INSERTED, Places
from lawsker_db.postgres.rows import Column, Shape
from lawsker_db.postgres.session import quoted

MARKS = ("lawsker_change", "lawsker_before")  # the first two columns of each file


def csv_header(shape: Shape) -> str:
    """Pure. A COPY that gives the header alone: the names quoted as COPY quotes them."""
    listed = ", ".join(f"NULL::text AS {quoted(name)}" for name in (*MARKS, *(c.name for c in shape.columns)))
    return f"COPY (SELECT {listed} LIMIT 0) TO STDOUT (FORMAT csv, HEADER)"


def csv_rows(shape: Shape, standing: Shape, source: str) -> str:
    """Pure. A COPY of rows with the columns of `shape`; those that `standing`, where they are read, lacks are NULL."""
    there = {column.name for column in standing.columns}
    listed = [f"t.{quoted(c.name)}" if c.name in there else "NULL::text" for c in shape.columns]
    return f"COPY (SELECT {', '.join(('c.change', 'c.before', *listed))} FROM {source}) TO STDOUT (FORMAT csv)"


def put_back(shape: Shape, restored: Shape | None, key: tuple[str, ...], source: str) -> str:
    """Pure. A binary COPY of one column: for each row of the damaged database the statement that puts it back."""
    forms = f"CASE c.change WHEN '{INSERTED}' THEN {_insert(shape, restored)} ELSE {_update(shape, restored, key)} END"
    return f"COPY (SELECT {forms} FROM {source}) TO STDOUT (FORMAT binary)"


def deletions(restored: Shape, key: tuple[str, ...], source: str) -> str:
    """Pure. The same of rows that only the restored database has: statements that would delete them, as comments."""
    form = f"{text_literal(f'DELETE FROM {restored.source}')} || {_where(key)}" if key else _row(restored, "deleted: ")
    return f"COPY (SELECT {_comment(form)} FROM {source}) TO STDOUT (FORMAT binary)"


def places_source(places: Places, leaf: str) -> str:
    """Pure. Those rows of a relation as `t`, with `c`, behind FROM: each is fetched by its place, in the order given."""
    row = f"SELECT u.* FROM ONLY {leaf} AS u WHERE u.ctid = c.place OFFSET 0"
    return f"{places.source} CROSS JOIN LATERAL ({row}) AS t"


def whole_source(shape: Shape) -> str:
    """Pure. All rows of a table as `t`, with `c`, behind FROM: one that was made since the backup."""
    return f"{shape.source} AS t CROSS JOIN (VALUES ('{INSERTED}', NULL::text)) AS c(change, before)"


def writable(shape: Shape, restored: Shape | None) -> tuple[Column, ...]:
    """Pure. The columns that the restored table takes: it has them, and does not compute them."""
    generated = {column.name for column in (restored or shape).columns if column.generated}
    there = {column.name for column in (restored or shape).columns}
    return tuple(c for c in shape.columns if c.name in there and c.name not in generated)


def text_literal(value: str) -> str:
    """Pure. A string as SQL; standard_conforming_strings is pinned."""
    return "'" + value.replace("'", "''") + "'"


def commented(value: str) -> str:
    """Pure. Text as a comment whatever line ends are in it: what follows one would else be run."""
    return "-- " + value.replace("\r", "\r-- ").replace("\n", "\n-- ")


def _insert(shape: Shape, restored: Shape | None) -> str:
    columns = writable(shape, restored)
    if not columns:
        return text_literal(f"INSERT INTO {shape.label} DEFAULT VALUES;")
    always = {c.name for c in (restored or shape).columns if c.identity}
    overriding = " OVERRIDING SYSTEM VALUE" if any(c.name in always for c in columns) else ""
    names = ", ".join(quoted(c.name) for c in columns)
    start = text_literal(f"INSERT INTO {shape.label} ({names}){overriding} VALUES (")
    values = ", ".join(_value(c.name) for c in columns)
    return f"{start} || array_to_string(ARRAY[{values}], ', ') || ') ON CONFLICT DO NOTHING;'"


def _update(shape: Shape, restored: Shape | None, key: tuple[str, ...]) -> str:
    always = {c.name for c in (restored or shape).columns if c.identity}
    columns = [c for c in writable(shape, restored) if c.name not in key and c.name not in always]
    if not columns or not key:
        return _comment(_row(shape, "nothing to set: "))
    pairs = ", ".join(f"{text_literal(quoted(c.name) + ' = ')} || {_value(c.name)}" for c in columns)
    start = text_literal(f"UPDATE {shape.source} SET ")
    return f"{start} || array_to_string(ARRAY[{pairs}], ', ') || {_where(key)}"


def _row(shape: Shape, words: str) -> str:
    values = ", ".join(_value(c.name) for c in shape.columns) or "NULL"
    return f"{text_literal(words)} || array_to_string(ARRAY[{values}]::text[], ', ')"


def _where(key: tuple[str, ...]) -> str:
    pairs = ", ".join(f"{text_literal(quoted(name) + ' = ')} || {_value(name)}" for name in key)
    return f"' WHERE ' || array_to_string(ARRAY[{pairs}], ' AND ') || ';'"


def _comment(expression: str) -> str:
    """Pure. SQL that makes comments of a statement: each of its lines, for a value may hold line ends."""
    lines = f"replace({expression}, chr(13), chr(13) || '-- ')"
    return f"'-- ' || replace({lines}, chr(10), chr(10) || '-- ')"


def _value(name: str) -> str:
    """Pure. A value of `t` as a literal: %L shows it by its type's own output function, whatever casts there are."""
    return f"format('%L', t.{quoted(name)})"
