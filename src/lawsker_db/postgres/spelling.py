"""Tell a changed definition from one that the server merely spells anew.

What a server prints of an expression is not always what it prints after reading that back: `(a AND b) AND c` becomes
`a AND b AND c`, and casts wander into an ARRAY. So a database that was dumped and restored prints some checks, indexes,
views, rules and functions differently and means the same. To tell, the expected definition is given to the server once
more, beside the real object, and what it prints then is compared with what was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.postgres.catalog import Difference, parts_of
from lawsker_db.postgres.session import CATALOG_PATH, literal

PROBE = "lawsker_spelling_probe"
GENERATED = {"s": "STORED", "v": "VIRTUAL"}  # pg_attribute.attgenerated; the latter from 18


def without_spelling(conn: Connection, differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """The differences that remain when what is only spelled anew is taken out.

    Tries each expected definition on an empty table of the same shape (or as a view, a domain, or a function in a schema of
    its own) under a savepoint that is rolled back, so no lock stands on the real one but a moment's ACCESS SHARE; tables
    that a rule or a function writes to are locked for that moment as its own statements lock them. Needs CREATE on the
    schema (for a function, on the database); what cannot be tried remains a difference.
    """
    if not any((difference.kind, difference.attribute) in TRIED for difference in differences):
        return differences
    path = conn.execute(text("SELECT current_setting('search_path')")).scalar_one()
    conn.execute(text("SELECT set_config('search_path', :path, true)"), {"path": CATALOG_PATH})
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


def _like(conn: Connection, table: str, partitioned: str = "") -> str:
    """Make an empty table of the same shape beside the real one, without its constraints and defaults."""
    probe = f"{_parent(table)}.{PROBE}"
    conn.execute(literal(f"CREATE TABLE {probe} (LIKE {table}){partitioned}"))
    return probe


def _printed(conn: Connection, query: str, name: str) -> str:
    """What the server prints of a probe; `query` asks for it by :name."""
    return str(conn.execute(text(query), {"name": name}).scalar_one())


def _constraint(conn: Connection, difference: Difference) -> str:
    """A check or an exclusion. A foreign key says no expression, and would lock the table that it points to."""
    if difference.expected.startswith("FOREIGN KEY"):
        return ""
    parent = _parent(difference.name)
    base = _base_of_domain(conn, parent)
    probe = f"{_parent(parent)}.{PROBE}"
    if base is not None:
        conn.execute(literal(f"CREATE DOMAIN {probe} AS {base} CONSTRAINT {PROBE} {difference.expected}"))
    else:
        _like(conn, parent)
        conn.execute(literal(f"ALTER TABLE {probe} ADD CONSTRAINT {PROBE} {difference.expected}"))
    return _printed(
        conn,
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{PROBE}'"
        " AND (conrelid = to_regclass(:name) OR contypid = to_regtype(:name))",
        probe,
    )


def _base_of_domain(conn: Connection, name: str) -> str | None:
    return conn.execute(
        text("SELECT format_type(typbasetype, typtypmod) FROM pg_type WHERE oid = to_regtype(:name) AND typtype = 'd'"),
        {"name": name},
    ).scalar_one_or_none()


def _domain_default(conn: Connection, difference: Difference) -> str:
    base = _base_of_domain(conn, difference.name)
    if base is None:
        return ""
    probe = f"{_parent(difference.name)}.{PROBE}"
    conn.execute(literal(f"CREATE DOMAIN {probe} AS {base} DEFAULT {difference.expected}"))
    return _printed(conn, "SELECT pg_get_expr(typdefaultbin, 0) FROM pg_type WHERE oid = to_regtype(:name)", probe)


def _index(conn: Connection, difference: Difference) -> str:
    """The index on an empty table of the same shape, printed with the real names."""
    match = re.match(
        r"(CREATE (?:UNIQUE )?INDEX )(.+?)( ON (?:ONLY )?)(.+?)( USING .*)", difference.expected, re.DOTALL
    )
    if match is None:
        return ""
    start, name, on, table, rest = match.groups()
    probe = _like(conn, table)
    conn.execute(literal(f"{start}{PROBE}_index ON {probe}{rest}"))
    printed = _printed(conn, "SELECT pg_get_indexdef(to_regclass(:name))", f"{_parent(table)}.{PROBE}_index")
    return printed.replace(f"{start}{PROBE}_index ON {probe} ", f"{start}{name}{on}{table} ")


def _trigger(conn: Connection, difference: Difference) -> str:
    """The trigger on an empty table of the same shape, printed with the real name."""
    table = _parent(difference.name)
    probe = _like(conn, table)
    conn.execute(literal(difference.expected.replace(f" ON {table} ", f" ON {probe} ", 1)))
    printed = _printed(
        conn,
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = to_regclass(:name) AND NOT tgisinternal",
        probe,
    )
    return printed.replace(f" ON {probe} ", f" ON {table} ", 1)


def _rule(conn: Connection, difference: Difference) -> str:
    """The rule on an empty table of the same shape, where it may have its own name."""
    table, name = _parent(difference.name), parts_of(difference.name)[-1]
    start = rf"(CREATE RULE {re.escape(name)} AS\s+ON (?:INSERT|UPDATE|DELETE) TO ){re.escape(table)}(?=\s)"
    match = re.match(start, difference.expected)
    if match is None:
        return ""
    probe = _like(conn, table)
    conn.execute(literal(f"{match[1]}{probe}{difference.expected[match.end() :]}"))
    printed = _printed(conn, "SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = to_regclass(:name)", probe)
    return printed.replace(f" TO {probe}", f" TO {table}", 1)


def _policy(conn: Connection, difference: Difference) -> str:
    """The expression of a policy on an empty table of the same shape."""
    probe = _like(conn, _parent(difference.name))
    clause = "USING" if difference.attribute == "using" else "WITH CHECK"
    conn.execute(literal(f"CREATE POLICY {PROBE} ON {probe} {clause} ({difference.expected})"))
    return _printed(
        conn,
        "SELECT pg_get_expr(coalesce(polqual, polwithcheck), polrelid) FROM pg_policy"
        " WHERE polrelid = to_regclass(:name)",
        probe,
    )


def _view(conn: Connection, difference: Difference) -> str:
    probe = f"{_parent(difference.name)}.{PROBE}"
    conn.execute(literal(f"CREATE VIEW {probe} AS {difference.expected}"))
    return _printed(conn, "SELECT pg_get_viewdef(to_regclass(:name))", probe)


def _partition_key(conn: Connection, difference: Difference) -> str:
    probe = _like(conn, difference.name, f" PARTITION BY {difference.expected}")
    return _printed(conn, "SELECT pg_get_partkeydef(to_regclass(:name))", probe)


def _default(conn: Connection, difference: Difference) -> str:
    """A default, or what a generated column is made from; only the latter may name columns."""
    table, column = _parent(difference.name), parts_of(difference.name)[-1]
    kind, generated = conn.execute(
        text(
            "SELECT format_type(atttypid, atttypmod), attgenerated FROM pg_attribute"
            " WHERE attrelid = to_regclass(:table) AND quote_ident(attname) = :column AND NOT attisdropped"
        ),
        {"table": table, "column": column},
    ).one()
    probe = _like(conn, table)
    if generated in GENERATED:
        made = f"ADD {column} {kind} GENERATED ALWAYS AS ({difference.expected}) {GENERATED[generated]}"
        conn.execute(literal(f"ALTER TABLE {probe} DROP COLUMN {column}, {made}"))
    else:
        conn.execute(literal(f"ALTER TABLE {probe} ALTER COLUMN {column} SET DEFAULT {difference.expected}"))
    return _printed(
        conn, "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = to_regclass(:name)", probe
    )


def _statistics(conn: Connection, difference: Difference) -> str:
    """Extended statistics on an empty table of the same shape, printed with the real names."""
    start, end = f"CREATE STATISTICS {difference.name} ", " FROM "
    what, _, table = difference.expected.removeprefix(start).rpartition(end)
    if not difference.expected.startswith(start):
        return ""
    probe = _like(conn, table)
    made = f"CREATE STATISTICS {_parent(difference.name)}.{PROBE}_statistics "
    conn.execute(literal(f"{made}{what}{end}{probe}"))
    printed = _printed(
        conn, "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = to_regclass(:name)", probe
    )
    return f"{start}{printed.removeprefix(made).removesuffix(probe)}{table}"


def _function(conn: Connection, difference: Difference) -> str:
    """The function in a schema of its own, where it keeps its name, which its body may say before a parameter's."""
    match = re.match(r"CREATE OR REPLACE (?:FUNCTION|PROCEDURE) ", difference.expected)
    schema = parts_of(difference.name)[0]
    if match is None or not difference.expected.startswith(f"{match[0]}{schema}."):
        return ""
    conn.execute(literal(f"CREATE SCHEMA {PROBE}"))
    conn.execute(literal(f"{match[0]}{PROBE}{difference.expected.removeprefix(match[0] + schema)}"))
    printed = _printed(
        conn, "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = to_regnamespace(:name)", PROBE
    )
    return f"{match[0]}{schema}{printed.removeprefix(match[0] + PROBE)}"


def _parent(name: str) -> str:
    """Pure. A qualified name without its last part: `a."b.c".d` gives `a."b.c"`."""
    return ".".join(parts_of(name)[:-1])


# What the server prints of an expression, by kind and attribute, and how the expected one is read once more.
TRIED: Mapping[tuple[str, str], Callable[[Connection, Difference], str]] = {
    ("constraint", "definition"): _constraint,
    ("index", "definition"): _index,
    ("trigger", "definition"): _trigger,
    ("policy", "using"): _policy,
    ("policy", "check"): _policy,
    ("rule", "definition"): _rule,
    ("table", "definition"): _view,
    ("table", "partition_key"): _partition_key,
    ("column", "default"): _default,
    ("type", "default"): _domain_default,
    ("statistics", "definition"): _statistics,
    ("function", "definition"): _function,
}
