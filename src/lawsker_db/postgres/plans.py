"""Plans of queries as comparable values, by EXPLAIN without ANALYZE: nothing that is explained is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import literal, server_major
from lawsker_db.target import said_by_server

GENERIC_MAJOR = 16  # EXPLAIN (GENERIC_PLAN), which takes $1
PARAMETER = re.compile(r"\$\d")
SELECT = re.compile(r"\s*(?:SELECT|WITH|VALUES|TABLE)\b", re.IGNORECASE)
TOP = 20  # statements of pg_stat_statements: what most of the time goes to, and few enough to plan in a moment
# The planner's cost is an estimate: with statistics that differ by chance it moves by tens of percent. Twice as much is more
# than new columns or a sample of ANALYZE explain.
WORSE = 2.0
FLOOR = 100.0  # cost units, a hundred pages read in order: what is cheaper than that, nobody feels at twice its cost
SEQUENTIAL = "Seq Scan"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """The plan of one query. `shape`: a line a node, as deep as it stands, without costs. `problem`: why there is none."""

    query: str
    shape: tuple[str, ...] = ()
    cost: float = 0.0
    problem: str = ""


def read_plans(conn: Connection, queries: Iterable[str]) -> tuple[QueryPlan, ...]:
    """The plans of queries, each asked for under a savepoint. Takes ACCESS SHARE on their tables until then; runs none.

    The planner evaluates immutable functions in what it is given, so queries must come from somebody who is trusted.
    """
    generic = server_major(conn) >= GENERIC_MAJOR
    return tuple(_plan(conn, query.strip().rstrip(";"), generic=generic) for query in queries)


def explain(conn: Connection, query: str, *, generic: bool = False) -> dict[str, Any]:
    """The root node of a query's plan. Raises what the server raises."""
    options = "GENERIC_PLAN, FORMAT JSON" if generic else "FORMAT JSON"
    found: dict[str, Any] = conn.execute(literal(f"EXPLAIN ({options}) {query}")).scalar_one()[0]["Plan"]
    return found


def nodes(plan: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Pure. All nodes of a plan, each with its depth, from the root down."""
    yield depth, plan
    for child in plan.get("Plans", ()):
        yield from nodes(child, depth + 1)


def compare_plans(before: tuple[QueryPlan, ...], after: tuple[QueryPlan, ...]) -> tuple[str, ...]:
    """Pure. Sentences on queries whose plan is worse: a table read from end to end where an index was used, or more than
    twice the cost. Queries that only one of them has, or that could not be planned before, do not count."""
    was = {plan.query: plan for plan in before}
    worse = []
    for now in after:
        old = was.get(now.query)
        if old is None or old.problem:
            continue
        short = " ".join(now.query.split())
        lost = _tables_read(now.shape) & _tables_indexed(old.shape) - _tables_read(old.shape)
        if now.problem:
            worse.append(Phrase("{query}: cannot be planned any more ({problem})", query=short, problem=now.problem))
        elif lost and now.cost > max(old.cost, FLOOR):
            worse.append(
                Phrase(
                    "{query}: {tables} read from end to end, by an index before",
                    query=short,
                    tables=", ".join(sorted(lost)),
                )
            )
        elif now.cost > max(old.cost * WORSE, FLOOR):
            worse.append(
                Phrase("{query}: cost {now:.0f}, {before:.0f} before", query=short, now=now.cost, before=old.cost)
            )
    return tuple(worse)


def split_queries(written: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pure. The statements of a file, one up to each semicolon: those that are explained, and sentences on the others.

    No statement has a semicolon in it then, not even in quotes, so that none can hide a second one.
    """
    pieces = [piece.strip() for piece in re.sub(r"(?m)^\s*--.*$", "", written).split(";")]
    queries = tuple(piece for piece in pieces if piece and SELECT.match(piece))
    refused = tuple(
        Phrase("not a SELECT, so it is not explained: {query}", query=" ".join(piece.split())[:60])
        for piece in pieces
        if piece and not SELECT.match(piece)
    )
    return queries, refused


def top_statements(conn: Connection, table: str) -> tuple[str, ...]:
    """The SELECTs that most time goes to by pg_stat_statements, where it is installed and readable, else none. Reads.

    Only those of this role and of the owner of `table`: planning runs immutable functions with our rights, and somebody
    else could have written his into a query for us to plan. None that holds a literal text, which may be personal data.
    """
    schema = conn.execute(
        text("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_stat_statements'")
    ).scalar_one_or_none()
    if schema is None:
        return ()
    savepoint = conn.begin_nested()
    try:
        rows = conn.execute(
            literal(
                f"SELECT s.query FROM {schema}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid"
                " WHERE d.datname = current_database() AND s.query !~ '[;'']' AND s.query ~* '^\\s*select\\s'"
                " AND s.userid IN (SELECT oid FROM pg_roles WHERE rolname = current_user UNION ALL"
                f" SELECT relowner FROM pg_class WHERE oid = to_regclass('{table}'))"
                " GROUP BY s.query ORDER BY sum(coalesce(to_jsonb(s) ->> 'total_exec_time',"
                f" to_jsonb(s) ->> 'total_time')::float8) DESC LIMIT {TOP}"
            )
        ).all()
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        rows = []
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()
    return tuple(str(row[0]) for row in rows)


def _plan(conn: Connection, query: str, *, generic: bool) -> QueryPlan:
    with_parameters = bool(PARAMETER.search(query))
    if ";" in query or not SELECT.match(query):
        return QueryPlan(query=query, problem=Phrase("not one SELECT"))
    if with_parameters and not generic:
        return QueryPlan(
            query=query,
            problem=Phrase("it has parameters: servers below {major} cannot plan it", major=GENERIC_MAJOR),
        )
    savepoint = conn.begin_nested()
    try:
        root = explain(conn, query, generic=with_parameters)
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        said = said_by_server(failed.orig)
        return QueryPlan(query=query, problem=said or Phrase("the server refused it"))
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()
    shape = tuple("  " * depth + _node(node) for depth, node in nodes(root))
    return QueryPlan(query=query, shape=shape, cost=float(root["Total Cost"]))


def _node(node: Mapping[str, Any]) -> str:
    """Pure. One node: what it is, on which table, by which index."""
    words = [str(node["Node Type"]), node.get("Relation Name"), node.get("Index Name")]
    return " / ".join(str(word) for word in words if word)


def _tables_read(shape: tuple[str, ...]) -> set[str]:
    """Pure. Tables that are read from end to end."""
    parts = [line.strip().split(" / ") for line in shape]
    return {part[1] for part in parts if part[0] == SEQUENTIAL and len(part) > 1}


def _tables_indexed(shape: tuple[str, ...]) -> set[str]:
    """Pure. Tables that are read by an index; of a bitmap the heap scan tells which table."""
    parts = [line.strip().split(" / ") for line in shape]
    return {part[1] for part in parts if part[0].startswith(("Index", "Bitmap Heap")) and len(part) > 1}
