"""Tell a changed definition from one that the server merely spells anew.

What a server prints of an expression is not always what it prints after reading that back: `(a AND b) AND c` becomes
`a AND b AND c`, and casts wander into an ARRAY. So a database that was dumped and restored prints some checks, indexes
and views differently and means the same. To tell, the expected definition is given to the server once more, beside the
real object, and what it prints then is compared with what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.postgres.catalog import Difference
from lawsker_db.postgres.session import literal

PROBE = "lawsker_spelling_probe"


def without_spelling(conn: Connection, differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences that remain when what is only spelled anew is taken out.

    Tries each expected definition on an empty table of the same shape (or as a view, or a domain) under a savepoint that
    is rolled back, so no lock stands on the real one but a moment's ACCESS SHARE. Needs CREATE on its schema; what cannot
    be tried remains a difference.
    """
    if not any((difference.kind, difference.attribute) in TRIED for difference in differences):
        return differences
    path = conn.execute(text("SELECT current_setting('search_path')")).scalar_one()
    conn.execute(text("SELECT set_config('search_path', '', true)"))
    left = tuple(difference for difference in differences if not _same_once_read(conn, difference))
    conn.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
    return left


def _same_once_read(conn: Connection, difference: Difference) -> bool:
    tried = TRIED.get((difference.kind, difference.attribute))
    if tried is None:
        return False
    savepoint = conn.begin_nested()
    try:
        return tried(conn, difference) == difference.found
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        return False
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()


def _constraint(conn: Connection, difference: Difference) -> str:
    """A check or an exclusion. A foreign key says no expression, and would lock the table that it points to."""
    if difference.expected.startswith("FOREIGN KEY"):
        return ""
    parent = _parent(difference.name)
    domain = conn.execute(
        text("SELECT format_type(typbasetype, typtypmod) FROM pg_type WHERE oid = to_regtype(:name) AND typtype = 'd'"),
        {"name": parent},
    ).scalar_one_or_none()
    probe = f"{_parent(parent)}.{PROBE}"
    if domain is not None:
        conn.execute(literal(f"CREATE DOMAIN {probe} AS {domain} CONSTRAINT {PROBE} {difference.expected}"))
    else:
        conn.execute(literal(f"CREATE TABLE {probe} (LIKE {parent})"))
        conn.execute(literal(f"ALTER TABLE {probe} ADD CONSTRAINT {PROBE} {difference.expected}"))
    printed = conn.execute(
        text(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"
            " AND (conrelid = to_regclass(:probe) OR contypid = to_regtype(:probe))"
        ),
        {"probe": probe, "name": PROBE},
    ).scalar_one()
    return str(printed)


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


def _trigger(conn: Connection, difference: Difference) -> str:
    """The trigger on an empty table of the same shape, printed with the real name."""
    table = _parent(difference.name)
    probe = f"{_parent(table)}.{PROBE}"
    conn.execute(literal(f"CREATE TABLE {probe} (LIKE {table})"))
    conn.execute(literal(difference.expected.replace(f" ON {table} ", f" ON {probe} ", 1)))
    printed = conn.execute(
        text("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = to_regclass(:probe) AND NOT tgisinternal"),
        {"probe": probe},
    ).scalar_one()
    return str(printed).replace(f" ON {probe} ", f" ON {table} ", 1)


def _policy(conn: Connection, difference: Difference) -> str:
    """The expression of a policy on an empty table of the same shape."""
    table = _parent(difference.name)
    probe = f"{_parent(table)}.{PROBE}"
    clause = "USING" if difference.attribute == "using" else "WITH CHECK"
    conn.execute(literal(f"CREATE TABLE {probe} (LIKE {table})"))
    conn.execute(literal(f"CREATE POLICY {PROBE} ON {probe} {clause} ({difference.expected})"))
    printed = conn.execute(
        text(
            "SELECT pg_get_expr(coalesce(polqual, polwithcheck), polrelid) FROM pg_policy"
            " WHERE polrelid = to_regclass(:probe)"
        ),
        {"probe": probe},
    ).scalar_one()
    return str(printed)


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


# What the server prints of an expression, by kind and attribute, and how the expected one is read once more.
TRIED: Mapping[tuple[str, str], Callable[[Connection, Difference], str]] = {
    ("constraint", "definition"): _constraint,
    ("index", "definition"): _index,
    ("trigger", "definition"): _trigger,
    ("policy", "using"): _policy,
    ("policy", "check"): _policy,
    ("table", "definition"): _view,
    ("column", "default"): _default,
}
