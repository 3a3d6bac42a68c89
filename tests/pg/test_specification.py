"""What the chain builds is what the specification says: built beside it by a generator that shares nothing with src/.

The reference is made from tests/spec/*.yaml as plain SQL in a database of its own, with the same reader on both sides.
Names that the specification leaves to us are left out of the comparison; what they enforce is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from alembic import command

from lawsker_db.revisions import load_chain
from lawsker_db.target import parse_target

SPEC = Path(__file__).parents[1] / "spec"
BASELINE: dict[str, Any] = yaml.safe_load((SPEC / "baseline.yaml").read_text(encoding="utf-8"))
OPTIMIZATION: dict[str, Any] = yaml.safe_load((SPEC / "revision_013.yaml").read_text(encoding="utf-8"))

READERS = {
    "columns": """SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '')
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace = 'public'::regnamespace""",
    "column order": """SELECT c.relname || ': ' || string_agg(a.attname::text, ', ' ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relkind = 'r' AND a.attnum > 0
        AND NOT a.attisdropped AND c.relnamespace = 'public'::regnamespace GROUP BY c.relname""",
    "named constraints": """SELECT conrelid::regclass || '.' || conname || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE contype IN ('p', 'u', 'f') AND connamespace = 'public'::regnamespace""",
    "checks": """SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated
        FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace""",
    "indexes": """SELECT indrelid::regclass || ' ' || regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+', 'INDEX')
        || ' ' || indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace""",
    "triggers": """SELECT tgrelid::regclass || ' ' || pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger
        WHERE NOT tgisinternal""",
    "enums": """SELECT t.typname || ': ' || string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
        FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.typname""",
    "sequences": "SELECT seqrelid::regclass || ' ' || seqtypid::regtype || ' ' || seqstart || ' ' || seqincrement"
    " FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid WHERE c.relnamespace = 'public'::regnamespace",
}


@pytest.fixture
def built(empty_url: str) -> str:
    """A database that the chain was run in, from nothing to head."""
    chain = load_chain()
    with parse_target(empty_url).connect() as connection:
        chain.config.attributes["connection"] = connection
        command.upgrade(chain.config, "head")
        connection.exec_driver_sql("DROP TABLE alembic_version")
        connection.commit()
    return empty_url


@pytest.fixture
def reference(server: Any) -> Iterator[str]:
    """A database made from the specification."""
    name = "reference_of_the_specification"
    server.run(f"DROP DATABASE IF EXISTS {name}")
    server.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    with psycopg.connect(server.url(name)) as connection:
        for statement in (*baseline_statements(), *optimization_statements()):
            connection.execute(statement.encode())
    yield server.url(name)
    server.run(f"DROP DATABASE {name}")


@pytest.mark.parametrize("reader", READERS)
def test_the_chain_builds_what_the_specification_says(reader: str, built: str, reference: str) -> None:
    assert read(built, READERS[reader]) == read(reference, READERS[reader])


def test_the_seed_rows_are_those_of_the_specification_field_by_field(built: str) -> None:
    with psycopg.connect(built) as connection:
        for table, rows in OPTIMIZATION["seed"].items():
            names = list(rows[0])
            found = connection.execute(f"SELECT {', '.join(names)} FROM {table}".encode()).fetchall()
            assert sorted(map(plain, found)) == sorted(plain(row[name] for name in names) for row in rows)


def test_the_seeded_levels_have_the_ids_one_to_ten_and_the_next_one_is_eleven(built: str) -> None:
    with psycopg.connect(built) as connection:
        ids = connection.execute("SELECT array_agg(id ORDER BY level) FROM lawyer_levels").fetchone()
        following = connection.execute("SELECT nextval('lawyer_levels_id_seq')").fetchone()
    assert ids == (list(range(1, 11)),)
    assert following == (11,)


def read(url: str, query: str) -> list[str]:
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = public")
        return sorted(str(row[0]) for row in connection.execute(query.encode()).fetchall())


def plain(values: Any) -> str:
    """Values as JSON text with numbers as floats: Decimal('5000.00') and 5000.0 are one."""
    return json.dumps([number(value) for value in values], ensure_ascii=False, sort_keys=True)


def number(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [number(item) for item in value]
    if isinstance(value, bool | str):
        return value
    return float(value)


def baseline_statements() -> Iterator[str]:
    """The 13 tables and 10 enums."""
    for name, labels in BASELINE["enums"].items():
        yield f"CREATE TYPE {name} AS ENUM ({', '.join(f'{chr(39)}{label}{chr(39)}' for label in labels)})"
    yield from table_statements(BASELINE["tables"])


def optimization_statements() -> Iterator[str]:
    """The 17 tables, the columns on users, and the trigger function."""
    function = OPTIMIZATION["trigger_function"]["name"]
    yield (
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at := now(); RETURN NEW; END'"
    )
    yield "CREATE SEQUENCE lawyer_levels_id_seq AS integer"
    tables = {name: OPTIMIZATION["tables"][name] for name in OPTIMIZATION["create_order"]}
    yield from table_statements(tables)
    for name, table in tables.items():
        if "updated_at_trigger" in table:
            yield (
                f"CREATE TRIGGER {table['updated_at_trigger']} BEFORE UPDATE ON {name} FOR EACH ROW"
                f" EXECUTE FUNCTION {function}()"
            )
    for name, column in OPTIMIZATION["users_columns"].items():
        yield f"ALTER TABLE users ADD COLUMN {name} {column['type']} DEFAULT {column['default']} NOT NULL"
        if "unique" in column:
            yield f"ALTER TABLE users ADD CONSTRAINT {column['unique']} UNIQUE ({name})"
        if "check" in column:
            yield f"ALTER TABLE users ADD CONSTRAINT {column['check_name']} CHECK ({column['check']})"
    for check in OPTIMIZATION["users_checks"]:
        yield f"ALTER TABLE users ADD CHECK ({check['expr']})"
    yield from (index_statement("users", index) for index in OPTIMIZATION["users_indexes"])


def table_statements(tables: dict[str, Any]) -> Iterator[str]:
    for name, table in tables.items():
        columns = [column_text(column, facts) for column, facts in table["columns"].items()]
        yield f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({', '.join(table['primary_key'])}))"
        for unique in table.get("unique", ()):
            yield f"ALTER TABLE {name} ADD CONSTRAINT {unique['name']} UNIQUE ({', '.join(unique['columns'])})"
        for check in table.get("checks", ()):
            yield f"ALTER TABLE {name} ADD CHECK ({check['expr']})"
        yield from (index_statement(name, index) for index in table.get("indexes", ()))
    for name, table in tables.items():
        for key in table.get("foreign_keys", ()):
            named = key.get("name", f"{name}_{'_'.join(key['columns'])}_fkey")
            yield (
                f"ALTER TABLE {name} ADD CONSTRAINT {named} FOREIGN KEY ({', '.join(key['columns'])})"
                f" REFERENCES {key['references']} ON DELETE {key.get('on_delete', 'NO ACTION')}"
            )


def column_text(name: str, facts: dict[str, Any]) -> str:
    default = f" DEFAULT {facts['default']}" if "default" in facts else ""
    return f"{name} {facts['type']}{default}{'' if facts.get('nullable') else ' NOT NULL'}"


def index_statement(table: str, index: dict[str, Any]) -> str:
    unique = "UNIQUE " if index.get("unique") else ""
    where = f" WHERE {index['where']}" if "where" in index else ""
    return f"CREATE {unique}INDEX {index.get('name', '')} ON {table} ({', '.join(index['columns'])}){where}"
