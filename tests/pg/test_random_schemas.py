"""Random schemas and data: a change of one cell anywhere is always seen by the gate's observation, a no-op never is.

Each example builds tables of random columns in one transaction, some of them partitioned, with children or generated
columns, all with odd names; observes them as the gate does; does one thing; and is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from lawsker_db.evidence import failures
from lawsker_db.postgres.session import literal, pin_session, quoted, server_major
from lawsker_db.safety.observation import Observation
from lawsker_db.target import parse_target

# Pairs of literals, of which one becomes the other: those that are equal by =, look alike or differ in a byte at the end.
PAIRS = {
    "integer": ("7", "8"),
    "bigint": ("9223372036854775806", "9223372036854775807"),
    "smallint": ("-1", "1"),
    "numeric": ("1.0", "1.00"),
    "numeric(20,5)": ("1.00000", "1.00001"),
    "real": ("0", "-0"),
    "double precision": ("0.1", "0.10000000000000002"),
    "boolean": ("true", "false"),
    "text": ("a", "a "),
    "varchar(40)": ("é", "e\u0301"),
    "char(5)": ("ab", "Ab"),
    '"char"': ("a", "b"),
    "name": ("a", "b"),
    "bytea": ("\\x00", "\\x0000"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001"),
    "date": ("2024-02-29", "2024-03-01"),
    "time": ("23:59:59.999999", "24:00:00"),
    "timetz": ("12:00+00", "13:00+01"),
    "timestamp": ("2024-01-01 00:00:00", "2024-01-01 00:00:00.000001"),
    "timestamptz": ("infinity", "-infinity"),
    "interval": ("1 day", "24:00:00"),
    "json": ('{"a":1}', '{"a": 1}'),
    "jsonb": ('{"a":1}', '{"a":1.0}'),
    "xml": ("<a/>", "<a></a>"),
    "inet": ("10.0.0.1", "10.0.0.1/8"),
    "cidr": ("10.0.0.0/8", "10.0.0.0/9"),
    "macaddr": ("08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "bit(3)": ("101", "100"),
    "varbit": ("0", "00"),
    "money": ("1.00", "1.01"),
    "point": ("(0,0)", "(-0,0)"),
    "box": ("(1,1),(0,0)", "(1,1),(0,-0)"),
    "path": ("[(0,0),(1,1)]", "((0,0),(1,1))"),
    "tsvector": ("a:1", "a:2"),
    "tsquery": ("a & b", "a | b"),
    "int4range": ("[1,5)", "[1,6)"),
    "numrange": ("[1.0,2)", "[1,2)"),
    "integer[]": ("{1,2}", "[0:1]={1,2}"),
    "text[]": ("{a,NULL}", "{a,\"NULL\"}"),
    "pg_lsn": ("0/0", "0/1"),
    "regclass": ("pg_class", "pg_type"),
}  # fmt: skip
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=15).filter(
    lambda name: len(name.encode()) <= 50
) | st.sampled_from(["select", 'a"b', "%s", ":x", "Größe", "表", "a.b", " ", "\n", "$1", "ctid_"])
SYSTEM = ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid")


@dataclass(frozen=True)
class Layout:
    """A table of an example: its form, its columns (name, type), rows as choices between the two literals or NULL."""

    name: str
    form: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[int | None, ...], ...]

    @property
    def place(self) -> str:
        return f"random.{quoted(self.name)}"


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    names = draw(
        st.lists(NAMES.filter(lambda n: n not in (*SYSTEM, "key", "made")), min_size=1, max_size=5, unique=True)
    )
    columns = tuple((name, draw(st.sampled_from(sorted(PAIRS)))) for name in names)
    cells = st.tuples(*(st.sampled_from([0, 1, None]) for _ in columns))
    rows = draw(st.lists(cells, min_size=1, max_size=6))
    form = draw(st.sampled_from(["plain", "partitioned", "nested", "parent", "generated", "unlogged", "toasted"]))
    return Layout(name=draw(NAMES), form=form, columns=columns, rows=tuple(rows))


def build(conn: Connection, layout: Layout, number: int) -> None:
    """Make the table of an example, with a key column of ours, and fill it."""
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in layout.columns)
    generated = ", made text GENERATED ALWAYS AS ('n' || key) STORED" if layout.form == "generated" else ""
    unlogged = "UNLOGGED " if layout.form == "unlogged" else ""
    by = " PARTITION BY RANGE (key)" if layout.form in ("partitioned", "nested") else ""
    do(conn, f"CREATE {unlogged}TABLE {layout.place} (key bigint, {columns}{generated}){by}")
    if by:
        below = " PARTITION BY LIST (key)" if layout.form == "nested" else ""
        do(conn, f"CREATE TABLE random.low{number} PARTITION OF {layout.place} FOR VALUES FROM (0) TO (2){below}")
        do(conn, f"CREATE TABLE random.rest{number} PARTITION OF {layout.place} DEFAULT")
        if below:
            do(conn, f"CREATE TABLE random.lowest{number} PARTITION OF random.low{number} DEFAULT")
    if layout.form == "parent":
        do(conn, f"CREATE TABLE random.child{number} (extra text) INHERITS ({layout.place})")
    for key, row in enumerate(layout.rows):
        child = layout.form == "parent" and key % 2
        into = f"random.child{number}" if child else layout.place
        names = ", ".join(["key", *(quoted(name) for name, _ in layout.columns)])
        values = ", ".join(value(kind, cell) for (_, kind), cell in zip(layout.columns, row, strict=True))
        do(conn, f"INSERT INTO {into} ({names}) VALUES ({key}, {values})")


def value(kind: str, cell: int | None) -> str:
    return "NULL" if cell is None else "'" + PAIRS[kind][cell].replace("'", "''") + f"'::{kind}"


def do(conn: Connection, statement: str) -> None:
    conn.execute(literal(statement))


@pytest.fixture(scope="module")
def ground(server: object, sample_template: str) -> Iterator[Connection]:
    """One connection, with an empty schema for examples, all of it rolled back at the end."""
    with parse_target(server.url("postgres")).connect() as conn:  # type: ignore[attr-defined]
        pin_session(conn, "public")
        do(conn, "CREATE SCHEMA random")
        yield conn
        conn.rollback()


@contextmanager
def observed(conn: Connection, tables: list[Layout]) -> Iterator[Observation]:
    """The tables, built and observed as the gate does it; gone after the block."""
    savepoint = conn.begin_nested()
    try:
        for number, layout in enumerate(tables):
            build(conn, layout, number)
        observation = Observation(conn, own="")
        observation.begin()
        for layout in tables:
            name = conn.exec_driver_sql("SELECT quote_ident(%s)", (layout.name,)).scalar_one()
            observation.observe(f"random.{name}", frozenset(), lambda print_: None)
        yield observation
    finally:
        savepoint.rollback()


def changed(observation: Observation) -> list[str]:
    checks, _ = observation.judge(frozenset())
    return [check.name for check in failures(tuple(checks))]


TABLES = st.lists(layouts(), min_size=1, max_size=3, unique_by=lambda layout: layout.name)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(data=st.data(), tables=TABLES)
def test_a_change_of_one_cell_in_one_of_some_random_tables_is_always_seen(
    data: st.DataObject, tables: list[Layout], ground: Connection
) -> None:
    with observed(ground, tables) as observation:
        layout = data.draw(st.sampled_from(tables))
        key = data.draw(st.integers(0, len(layout.rows) - 1))
        place = data.draw(st.integers(0, len(layout.columns) - 1))
        name, kind = layout.columns[place]
        other = data.draw(st.sampled_from([cell for cell in (0, 1, None) if cell != layout.rows[key][place]]))
        do(ground, f"UPDATE {layout.place} SET {quoted(name)} = {value(kind, other)} WHERE key = {key}")
        assert len(changed(observation)) == 1


@MANY
@given(data=st.data(), tables=TABLES)
def test_a_row_that_comes_goes_or_moves_is_always_seen(
    data: st.DataObject, tables: list[Layout], ground: Connection
) -> None:
    with observed(ground, tables) as observation:
        layout = data.draw(st.sampled_from(tables))
        statement = data.draw(
            st.sampled_from(
                [
                    "DELETE FROM {} WHERE key = 0",
                    "INSERT INTO {} (key) VALUES (0)",
                    "UPDATE {} SET key = 1000 WHERE key = 0",
                    "TRUNCATE {}",
                ]
            )
        )
        do(ground, statement.format(layout.place))
        assert changed(observation)


@MANY
@given(data=st.data(), tables=TABLES)
def test_what_changes_no_value_is_never_seen(data: st.DataObject, tables: list[Layout], ground: Connection) -> None:
    with observed(ground, tables) as observation:
        layout = data.draw(st.sampled_from(tables))
        name = quoted(layout.columns[0][0])
        statement = data.draw(
            st.sampled_from(
                [
                    "UPDATE {place} SET {name} = {name}",
                    "UPDATE {place} SET key = key + 1000; UPDATE {place} SET key = key - 1000",
                    "UPDATE {place} SET {name} = NULL; UPDATE {place} SET {name} = k.{name} FROM kept k WHERE"
                    " k.key = {target}.key",
                    "TRUNCATE {place}; INSERT INTO {place} (key, {names}) SELECT key, {names} FROM kept"
                    " ORDER BY key DESC",
                    "SAVEPOINT s; DELETE FROM {place}; ROLLBACK TO SAVEPOINT s",
                    "ALTER TABLE {place} ALTER COLUMN key TYPE bigint USING key + 0",
                    "ALTER TABLE {place} ADD COLUMN added int DEFAULT 7",
                ]
            )
        )
        of_rows = layout.form in ("parent", "partitioned", "nested") and "FROM kept" in statement
        of_type = layout.form in ("parent", "partitioned", "nested", "generated") and "USING" in statement
        if of_rows or of_type:  # a child's rows would come back in the parent; a key is not altered
            statement = "UPDATE {place} SET {name} = {name}"
        names = ", ".join(quoted(column) for column, _ in layout.columns)
        do(ground, f"CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE {layout.place}")
        do(ground, statement.format(place=layout.place, target=quoted(layout.name), name=name, names=names))
        assert changed(observation) == []


def test_every_type_of_the_server_that_tables_use_is_among_the_random_ones_or_has_no_values_of_its_own(
    ground: Connection,
) -> None:
    rows = ground.exec_driver_sql(
        "SELECT format_type(oid, NULL) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b'"
        " AND typcategory NOT IN ('A', 'Z') AND oid < 10000 AND typname !~ '^(reg|pg_|_)'"
    )
    used = {kind.split("(")[0] for kind in PAIRS}
    spelled = {"bit varying": "varbit", "character varying": "varchar", "character": "char", "bpchar": "char"}
    zones = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}
    zones |= {"time with time zone": "timetz", "time without time zone": "time"}
    names = {(spelled | zones).get(row[0], row[0]) for row in rows}
    assert server_major(ground) >= 12
    assert names - used <= LIKE_OTHERS


# Of the same form as one above, or identities of the server that no application stores.
LIKE_OTHERS = {
    "circle", "line", "lseg", "polygon", "macaddr8", "refcursor", "xid", "xid8", "cid", "tid", "oid", "oidvector",
    "int2vector", "aclitem", "gtsvector", "txid_snapshot", "jsonpath", "smgr", "timestamp", "varbit",
}  # fmt: skip
