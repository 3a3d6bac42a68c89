"""Tell a changed definition from one that the server merely spells anew.

What a server prints of an expression is not always what it prints after reading that back: `(a AND b) AND c` becomes
`a AND b AND c`, and casts wander into an ARRAY. So a database that was dumped and restored prints some checks, indexes
and views differently and means the same. To tell, the expected definition is given to the server once more, beside the
real object, and what it prints then is compared with what was found.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.postgres.catalog import Difference
from lawsker_db.postgres.session import literal

PROBE = "lawsker_spelling_probe"


def without_spelling(conn: Connection, differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences that remain when what is only spelled anew is taken out.

    Tries each expected definition under a savepoint that is rolled back: on the real table as NOT VALID, on an empty
    table of the same shape, or as a view; takes no longer than DDL on empty tables. Needs the rights of the owner; what
    cannot be tried remains a difference.
    """
    path = conn.execute(text("SELECT current_setting('search_path')")).scalar_one()
    conn.execute(text("SELECT set_config('search_path', '', true)"))
    left = tuple(difference for difference in differences if not _same_once_read(conn, difference))
    conn.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
    return left


def _same_once_read(conn: Connection, difference: Difference) -> bool:
    tried = {
        ("constraint", "definition"): _constraint,
        ("index", "definition"): _index,
        ("table", "definition"): _view,
        ("column", "default"): _default,
    }.get((difference.kind, difference.attribute))
    if tried is None:
        return False
    savepoint = conn.begin_nested()
    try:
        return tried(conn, difference) == difference.found
    except DBAPIError:
        return False
    finally:
        savepoint.rollback()


def _constraint(conn: Connection, difference: Difference) -> str:
    table = _parent(difference.name)
    not_valid = "" if difference.expected.endswith("NOT VALID") else " NOT VALID"
    conn.execute(literal(f"ALTER TABLE {table} ADD CONSTRAINT {PROBE} {difference.expected}{not_valid}"))
    printed = conn.execute(
        text(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
        ),
        {"table": table, "name": PROBE},
    ).scalar_one()
    return str(printed).removesuffix(not_valid)


def _index(conn: Connection, difference: Difference) -> str:
    """The index on an empty table of the same shape, printed with the real names."""
    match = re.match(
        r"(CREATE (?:UNIQUE )?INDEX )(.+?)( ON (?:ONLY )?)(.+?)( USING .*)", difference.expected, re.DOTALL
    )
    if match is None:
        return ""
    start, name, on, table, rest = match.groups()
    schema = _parent(table)
    conn.execute(literal(f"CREATE TABLE {schema}.{PROBE} (LIKE {table})"))
    conn.execute(literal(f"{start}{PROBE}_index ON {schema}.{PROBE}{rest}"))
    printed = conn.execute(
        text("SELECT pg_get_indexdef(to_regclass(:name))"), {"name": f"{schema}.{PROBE}_index"}
    ).scalar_one()
    return str(printed).replace(f"{start}{PROBE}_index ON {schema}.{PROBE} ", f"{start}{name}{on}{table} ")


def _view(conn: Connection, difference: Difference) -> str:
    schema = _parent(difference.name)
    conn.execute(literal(f"CREATE VIEW {schema}.{PROBE} AS {difference.expected}"))
    printed = conn.execute(
        text("SELECT pg_get_viewdef(to_regclass(:name))"), {"name": f"{schema}.{PROBE}"}
    ).scalar_one()
    return str(printed)


def _default(conn: Connection, difference: Difference) -> str:
    table, column = _parent(difference.name), difference.name.removeprefix(_parent(difference.name) + ".")
    schema = _parent(table)
    conn.execute(literal(f"CREATE TABLE {schema}.{PROBE} (LIKE {table})"))
    conn.execute(literal(f"ALTER TABLE {schema}.{PROBE} ALTER COLUMN {column} SET DEFAULT {difference.expected}"))
    printed = conn.execute(
        text("SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = to_regclass(:table)"),
        {"table": f"{schema}.{PROBE}"},
    ).scalar_one()
    return str(printed)


def _parent(name: str) -> str:
    """Pure. A qualified name without its last part: `a."b.c".d` gives `a."b.c"`."""
    parts = re.findall(r'"(?:[^"]|"")*"|[^.]+', name)
    return ".".join(parts[:-1])
