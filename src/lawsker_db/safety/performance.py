"""Performance after a run: indexes of use, fresh statistics, plans, growth, and how long others waited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract, Extension, Table
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog, parts_of
from lawsker_db.postgres.indexes import index_shape
from lawsker_db.postgres.plans import (
    compare_plans,
    explain,
    nodes,
    read_plans,
    split_queries,
    top_statements,
)
from lawsker_db.postgres.session import quoted
from lawsker_db.record.plans import PlansBefore, TableSize, read_plans_of
from lawsker_db.safety.checklist import not_run, passed, violated
from lawsker_db.safety.expectation import Promise

LONGEST_LOCK_S = 5.0  # how long everybody may wait for a table, when the operator has not said otherwise
LAG_BYTES = 16 << 20  # one WAL segment as built by default: a standby further back is not merely between two messages
ROOM = 2  # times the bare values of new columns: alignment, null bitmap, pages that are not full
SLACK_BYTES = 1 << 20  # beside pages that are never quite full, of a small table most of all
FEW = 1000  # dead rows: verification itself leaves a hundred, of what it tries and rolls back
NOBODY = "'00000000-0000-0000-0000-000000000000'"

# What the application looks up in the tables that stood before 013, a statement a page or more; literals that no row has.
LOOK_UPS = (
    f"SELECT * FROM users WHERE id = {NOBODY}",
    "SELECT * FROM users WHERE username = 'nobody'",
    "SELECT * FROM users WHERE email = 'nobody@example.invalid'",
    "SELECT * FROM users WHERE phone_number = '0'",
    f"SELECT * FROM users WHERE tenant_id = {NOBODY} ORDER BY created_at DESC LIMIT 20",
    f"SELECT r.* FROM user_roles x JOIN roles r ON r.id = x.role_id WHERE x.user_id = {NOBODY}",
    f"SELECT * FROM users u JOIN profiles p ON p.user_id = u.id WHERE u.id = {NOBODY}",
    f"SELECT * FROM wallets WHERE user_id = {NOBODY}",
    f"SELECT * FROM cases WHERE id = {NOBODY}",
    "SELECT * FROM cases WHERE case_number = '0'",
    f"SELECT * FROM cases WHERE assigned_to_user_id = {NOBODY} AND status = 'IN_PROGRESS'",
    f"SELECT c.*, u.username FROM cases c JOIN users u ON u.id = c.assigned_to_user_id WHERE c.id = {NOBODY}",
    f"SELECT * FROM cases WHERE tenant_id = {NOBODY} ORDER BY created_at DESC LIMIT 20",
    f"SELECT * FROM case_logs WHERE id = {NOBODY}",
    f"SELECT * FROM case_logs WHERE case_id = {NOBODY} ORDER BY created_at",
    f"SELECT * FROM insurances WHERE case_id = {NOBODY}",
    f"SELECT * FROM transactions WHERE case_id = {NOBODY}",
    f"SELECT * FROM commission_splits WHERE user_id = {NOBODY} AND status = 'PENDING'",
    "SELECT * FROM tenants WHERE tenant_code = 'nobody'",
)

_INDEX_ONLY = """
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'on', true),
        set_config('enable_indexonlyscan', 'on', true), set_config('enable_bitmapscan', 'on', true)"""
_AS_PINNED = "SELECT set_config('enable_seqscan', 'on', true)"
_TYPES = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"""
# An index over rows that were changed in the transaction that built it serves only transactions that began later; until
# the oldest of today's has ended, the planner leaves it aside.
_TOO_YOUNG = """
    SELECT DISTINCT t FROM unnest(:tables ::text[]) AS t JOIN pg_index i ON i.indrelid = to_regclass(t)
    WHERE i.indcheckxmin"""
# Statistics are stale, and missing ones are missed, when autovacuum would analyze by its own settings: it never looks at
# tables of less rows than its threshold, whose plans are good without. Where the run's own ANALYZE is the only one so far,
# the rows that it had loaded before in its transaction are counted as changed after it, and once more allowed.
_STATISTICS = """
    SELECT c.oid::regclass::text || CASE WHEN w.columns IS NOT NULL THEN ': no statistics for ' || w.columns
        ELSE ': ' || s.n_mod_since_analyze || ' rows changed since ANALYZE' END
    FROM unnest(:tables ::text[]) AS t JOIN pg_class c ON c.oid = to_regclass(t)
    LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid,
    LATERAL (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns FROM pg_attribute a
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND has_column_privilege(c.oid, a.attnum, 'SELECT') AND NOT EXISTS (SELECT FROM pg_stats p
            WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.attname = a.attname)) w
    WHERE CASE WHEN w.columns IS NULL THEN s.n_mod_since_analyze
        - (current_setting('autovacuum_analyze_scale_factor')::float8
        + CASE WHEN s.analyze_count + s.autoanalyze_count = 1 THEN 1 ELSE 0 END) * greatest(c.reltuples, 0)
        ELSE greatest(s.n_live_tup, c.reltuples) END > current_setting('autovacuum_analyze_threshold')::float8
    ORDER BY 1"""
_SIZE = f"""
    SELECT pg_total_relation_size(c.oid) AS bytes, greatest(s.n_live_tup, c.reltuples, 0)::bigint AS rows,
        coalesce(s.n_dead_tup, 0) AS dead,
        s.n_dead_tup > greatest({FEW}, current_setting('autovacuum_vacuum_threshold')::float8)
            + current_setting('autovacuum_vacuum_scale_factor')::float8 * greatest(c.reltuples, 0) AS due,
        (SELECT coalesce(sum(coalesce(p.avg_width, 8)), 0) FROM unnest(:columns ::text[]) AS a
            LEFT JOIN pg_stats p ON p.attname = a AND p.tablename = c.relname
            AND p.schemaname = c.relnamespace::regnamespace::text) AS width,
        (SELECT coalesce(sum(pg_relation_size(to_regclass(i))), 0) FROM unnest(:indexes ::text[]) AS i
            WHERE to_regclass(i) IS NOT NULL) AS index_bytes
    FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.oid = to_regclass(:table)"""
_LAG = """
    SELECT coalesce(nullif(application_name, ''), 'a standby') AS name, state,
        pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) AS behind
    FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'"""


def check_indexes_used(conn: Connection, promise: Promise, now: Catalog, *, warning: bool) -> Check:
    """P01: for each promised index a look-up by its columns, planned with no other way than an index: one that leads with
    them must be chosen. Takes ACCESS SHARE on each table; runs nothing. Settings of the planner are put back."""
    wanted = list(_look_ups(promise))
    if not wanted:
        return not_run("P01", Phrase("revision {revision} promises no index", revision=promise.contract.revision))
    tables = sorted({table for table, _, _ in wanted})
    types = {table: _types(conn, table) for table in tables}
    shapes = _shapes(now)
    conn.execute(text(_INDEX_ONLY))
    failing = [
        (
            table,
            Phrase(
                "no index serves {table} ({columns}){where}",
                table=_bare(parts_of(table)[-1]),
                columns=", ".join(columns),
                where=where and " where " + where,
            ),
        )
        for table, columns, where in wanted
        if not set(columns) <= types[table].keys() or not _is_served(conn, table, columns, where, types[table], shapes)
    ]
    conn.execute(text(_AS_PINNED))
    young = {str(row[0]) for row in conn.execute(text(_TOO_YOUNG), {"tables": tables})} if failing else set()
    keys = tuple(label for table, label in failing if table not in young)
    if keys:
        return violated("P01", keys, warning=warning)
    if failing:
        return not_run(
            "P01", Phrase("an index is too young for transactions that began before it was built; ask again")
        )
    return passed("P01", Phrase("{number} look-ups, each by an index", number=len(wanted)))


def check_statistics(conn: Connection, contract: Contract, schema: str) -> Check:
    """P02: tables that the run filled or rewrote, by what autovacuum itself goes by. Reads statistics views."""
    tables = [f"{schema}.{table.name}" for table in contract.tables if table.rows]
    tables += [f"{schema}.{extension.table}" for extension in contract.extensions]
    if not tables:
        return not_run("P02", Phrase("revision {revision} fills no table", revision=contract.revision))
    keys = tuple(str(row[0]) for row in conn.execute(text(_STATISTICS), {"tables": tables}))
    return violated("P02", keys) if keys else passed("P02", Phrase("{number} tables", number=len(tables)))


def check_plans(conn: Connection, before: PlansBefore | None, written: str | None) -> Check:
    """P03: plans now beside those before the run, of the same queries; with a file's text (`written`), of its queries.

    Takes ACCESS SHARE on their tables; runs nothing.
    """
    if before is None or not before.plans:
        return not_run("P03", Phrase("no plans were noted before the run"))
    queries, refused = (tuple(plan.query for plan in before.plans), ()) if written is None else split_queries(written)
    known = {plan.query for plan in before.plans}
    plans = read_plans(conn, [query for query in queries if query in known])
    worse = compare_plans(before.plans, plans)
    unknown = len(queries) - len(plans)
    words = [Phrase("{plans} plans no worse than before", plans=sum(not plan.problem for plan in plans))]
    words += [Phrase("{queries} queries of the file have no plan from before", queries=unknown)] if unknown else []
    if worse:
        return violated("P03", worse)
    if not any(not plan.problem for plan in plans):
        return not_run("P03", joined((*words[1:], *refused), "; ") or Phrase("none of the queries can be planned"))
    return passed("P03", joined((*words, *refused), "; "))


def check_growth(conn: Connection, contract: Contract, schema: str, before: PlansBefore | None) -> Check:
    """P04: dead rows of the extended table, and its size beside that before the run (where that was noted). Reads
    statistics views and the sizes of files. Allowed is: as many bytes a row as before, the new columns twice (`ROOM`),
    their indexes, and `SLACK_BYTES`."""
    if not contract.extensions:
        return not_run("P04", Phrase("revision {revision} extends no table", revision=contract.revision))
    extension = contract.extensions[0]
    now = conn.execute(text(_SIZE), _extended(extension, schema)).mappings().one_or_none()
    if now is None:
        return not_run("P04", Phrase("there is no table {table}", table=extension.table))
    keys = (
        [Phrase("{table}: {dead} dead rows beside {rows}", table=extension.table, dead=now["dead"], rows=now["rows"])]
        if now["due"]
        else []
    )
    was = None if before is None else before.sizes.get(extension.table)
    if was is not None:
        old_rows = was.bytes * max(1.0, now["rows"] / max(was.rows, 1))
        allowed = old_rows + ROOM * float(now["width"]) * now["rows"] + int(now["index_bytes"]) + SLACK_BYTES
        if now["bytes"] > allowed:
            keys.append(
                Phrase(
                    "{table}: {now}, {before} before, {expected} expected",
                    table=extension.table,
                    now=_mb(now["bytes"]),
                    before=_mb(was.bytes),
                    expected=_mb(allowed),
                )
            )
    if keys:
        return violated("P04", tuple(keys))
    sizes = (
        Phrase("{size} now, its size before was not noted", size=_mb(now["bytes"]))
        if was is None
        else _mb(now["bytes"])
    )
    return passed(
        "P04", Phrase("{table}: {dead} dead rows, {sizes}", table=extension.table, dead=now["dead"], sizes=sizes)
    )


def check_waits(conn: Connection, folder: Path | None, why: str) -> Check:
    """P05: how long the run held each lock, by its report in `folder`, and how far standbys are behind now. Reads."""
    lagging, standbys, hidden = [], 0, 0
    for row in conn.execute(text(_LAG)):
        standbys += 1
        hidden += row.behind is None
        if row.behind is not None and row.behind > LAG_BYTES:
            lagging.append(
                Phrase(
                    "{standby} ({state}) is {size} behind", standby=row.name, state=str(row.state), size=_mb(row.behind)
                )
            )
    held = _locks_of(folder)
    waits = [
        Phrase("{table} was locked for {held_s:.1f} s", table=table, held_s=held_s)
        for table, held_s in held or ()
        if held_s > LONGEST_LOCK_S
    ]
    if waits or lagging:
        return violated("P05", (*waits, *lagging))
    replication = Phrase("{standbys} standbys, none lags", standbys=standbys) if standbys else Phrase("no standby")
    if hidden:
        return not_run(
            "P05",
            Phrase("this role may not see how far {standbys} standbys are behind: GRANT pg_monitor", standbys=hidden),
        )
    if held is None:
        untold = Phrase("how long the run held its locks is not known: {why}; {lag}", why=why, lag=replication)
        return not_run("P05", untold)
    longest = max((held_s for _, held_s in held), default=0.0)
    return passed("P05", Phrase("longest lock {longest_s:.2f} s; {lag}", longest_s=longest, lag=replication))


def note_before(
    conn: Connection, contracts: tuple[Contract, ...], schema: str, written: str | None = None
) -> PlansBefore:
    """Plans and sizes before a run, for `write_plans`: of the queries in a file's text, else of the application's look-ups
    and the top of pg_stat_statements. Reads; runs no query, and takes ACCESS SHARE on the tables that they name."""
    tables = sorted({extension.table for contract in contracts for extension in contract.extensions})
    queries = (*LOOK_UPS, *top_statements(conn, f"{schema}.users")) if written is None else split_queries(written)[0]
    plans = [plan for plan in read_plans(conn, dict.fromkeys(queries)) if not plan.problem]
    found = {
        table: conn.execute(text(_SIZE), {"table": f"{schema}.{table}", "columns": [], "indexes": []}).one_or_none()
        for table in tables
    }
    sizes = {
        table: TableSize(bytes=int(row.bytes), rows=int(row.rows)) for table, row in found.items() if row is not None
    }
    return PlansBefore(plans=tuple(plans), sizes=sizes)


def plans_before(folder: Path | None) -> PlansBefore | None:
    """What the run in `folder` noted before it began. Reads the file."""
    return None if folder is None else read_plans_of(folder)


def _look_ups(promise: Promise) -> list[tuple[str, tuple[str, ...], str]]:
    """Pure. Table, columns and predicate of every promised index."""
    found: list[tuple[str, tuple[str, ...], str]] = []
    parts: tuple[tuple[str, Table | Extension], ...] = (
        *((table.name, table) for table in promise.contract.tables),
        *((extension.table, extension) for extension in promise.contract.extensions),
    )
    for name, part in parts:
        table = f"{promise.schema}.{name}"
        if isinstance(part, Table):
            found.append((table, part.primary_key, ""))
        found += [(table, unique.columns, "") for unique in part.unique]
        found += [(table, index.columns, index.where or "") for index in part.indexes]
    return found


def _types(conn: Connection, table: str) -> dict[str, str]:
    """The type of each column, as SQL says it."""
    return {str(row[0]): str(row[1]) for row in conn.execute(text(_TYPES), {"table": table})}


def _is_served(
    conn: Connection,
    table: str,
    columns: tuple[str, ...],
    where: str,
    types: Mapping[str, str],
    shapes: Mapping[tuple[str, str], tuple[str, ...]],
) -> bool:
    """Whether the planner finds these columns by an index: it takes one that leads with one of them, or another for as
    little (as in an empty table) while there is one that leads with all.

    The values come from sub-queries, so that it knows them as little as those of a prepared statement.
    """
    told = [f"{quoted(name)} = (SELECT NULL::{types[name]})" for name in columns]
    query = f"SELECT 1 FROM {table} WHERE {' AND '.join([*told, *([f'({where})'] if where else [])])}"
    taken = [str(node["Index Name"]) for _, node in nodes(explain(conn, query)) if "Index Name" in node]
    leading = any(shapes.get((table, name), ("",))[0] in columns for name in taken)
    return leading or (
        bool(taken)
        and any(set(keys[: len(columns)]) == set(columns) for (of, _), keys in shapes.items() if of == table)
    )


def _shapes(now: Catalog) -> dict[tuple[str, str], tuple[str, ...]]:
    """Pure. The columns of each usable index, all bare names, by table and index: EXPLAIN tells it without its schema."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for (kind, name), facts in now.objects.items():
        shape = index_shape(str(facts.get("definition"))) if kind == "index" and facts.get("valid") else None
        if shape is not None:
            keys = tuple(_bare(key.partition(" ")[0]) for key in shape.keys)
            found[shape.table, _bare(parts_of(name)[-1])] = keys
    return found


def _bare(name: str) -> str:
    """Pure. A name without its quotes."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _extended(extension: Extension, schema: str) -> dict[str, object]:
    """Pure. What `_SIZE` is asked about an extended table."""
    names = [*(unique.name for unique in extension.unique), *(index.name for index in extension.indexes)]
    return {
        "table": f"{schema}.{extension.table}",
        "columns": [column.name for column in extension.columns],
        "indexes": [f"{schema}.{name}" for name in names],
    }


def _locks_of(folder: Path | None) -> list[tuple[str, float]] | None:
    """Table and seconds of each lock that a run's report tells of, None when there is no report to read."""
    path = None if folder is None else folder / "report.json"
    if path is None or path.is_symlink() or not path.is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_bytes())
        return [(str(lock["table"]), float(lock["held_s"])) for lock in report["locks"] if lock["held_s"] is not None]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _mb(size: float) -> str:
    return f"{float(size) / 1e6:.1f} MB"
