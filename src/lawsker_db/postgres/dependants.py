"""What of others hangs on objects that are to go: read from pg_depend, each with the statement that takes it away.

A part of a table that goes (an index, a check, a policy on it) is none: it goes along. Statistics objects are, because
they stay in their own schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.kept import qualified_names


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependant:
    """Something of others that hangs on what would go. `kind` and `name` as the catalog has them, `way_out` is SQL."""

    kind: str
    name: str
    on: str
    label: str
    way_out: str


# What goes: the tables with their row types and sequences, the columns, the functions. Then what hangs on it, each with the
# relation that it is a part of. A view's rule stands for its view, a default for its column; up to 14 a generated column
# hangs on others by itself, from 15 on by its expression.
_DEPENDANTS = """
    WITH tables AS (SELECT to_regclass(t)::oid AS oid FROM unnest(:tables ::text[]) AS t),
    columns AS (SELECT a.attrelid, a.attnum FROM unnest(:of ::text[], :columns ::text[]) AS c(of, name)
        JOIN pg_attribute a ON a.attrelid = to_regclass(c.of) AND a.attname = c.name AND NOT a.attisdropped),
    going AS (
        SELECT 'pg_class'::regclass::oid AS classid, oid AS objid, NULL::int AS subid FROM tables
        UNION ALL SELECT 'pg_type'::regclass, y.oid, NULL FROM pg_type y JOIN tables t ON t.oid = y.typrelid
        UNION ALL SELECT 'pg_type'::regclass, y.typarray, NULL FROM pg_type y JOIN tables t ON t.oid = y.typrelid
        UNION ALL SELECT 'pg_class'::regclass, d.objid, NULL FROM pg_depend d JOIN tables t ON t.oid = d.refobjid
            JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' WHERE d.classid = 'pg_class'::regclass
            AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM columns
        UNION ALL SELECT 'pg_proc'::regclass, to_regprocedure(f)::oid, NULL FROM unnest(:functions ::text[]) AS f
    ),
    hanging AS (
        SELECT DISTINCT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END AS subid,
            pg_describe_object(g.classid, g.objid, coalesce(g.subid, 0)) AS going
        FROM going g JOIN pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid
            AND (g.subid IS NULL OR d.refobjsubid = g.subid)
        WHERE d.deptype IN ('n', 'a') AND NOT EXISTS (SELECT FROM going o
            WHERE o.classid = d.classid AND o.objid = d.objid AND (o.subid IS NULL OR o.subid = d.objsubid))
    ),
    homes AS (
        SELECT h.*, e.adnum, c.relkind,
            coalesce(k.conrelid, i.indrelid, t.tgrelid, p.polrelid, r.ev_class, e.adrelid) AS home
        FROM hanging h
        LEFT JOIN pg_constraint k ON h.classid = 'pg_constraint'::regclass AND k.oid = h.objid
        LEFT JOIN pg_class c ON h.classid = 'pg_class'::regclass AND c.oid = h.objid
        LEFT JOIN pg_index i ON i.indexrelid = c.oid
        LEFT JOIN pg_trigger t ON h.classid = 'pg_trigger'::regclass AND t.oid = h.objid
        LEFT JOIN pg_policy p ON h.classid = 'pg_policy'::regclass AND p.oid = h.objid
        LEFT JOIN pg_rewrite r ON h.classid = 'pg_rewrite'::regclass AND r.oid = h.objid
        LEFT JOIN pg_attrdef e ON h.classid = 'pg_attrdef'::regclass AND e.oid = h.objid
        WHERE coalesce(k.contype <> 'n', true) AND coalesce(NOT t.tgisinternal, true)
    ),
    named AS (
        SELECT h.going, h.relkind, h.adnum, h.subid, o.type, o.identity,
            coalesce(h.home, n.attrelid)::regclass::text AS of, v.relkind AS view_kind, n.attname AS column_name,
            y.name AS bare, e.relation, coalesce(g.attgenerated, n.attgenerated) AS attgenerated
        FROM homes h LEFT JOIN pg_class v ON v.oid = h.home AND v.relkind IN ('v', 'm')
        LEFT JOIN pg_attribute n ON n.attrelid = h.objid AND n.attnum = h.subid AND h.subid > 0
        LEFT JOIN pg_attribute g ON g.attrelid = h.home AND g.attnum = h.adnum
        LEFT JOIN LATERAL (SELECT attrelid::regclass::text AS relation FROM columns
            WHERE attrelid = h.home AND attnum = h.adnum) AS e ON true,
        LATERAL pg_identify_object(h.classid, h.objid, h.subid) AS o,
        LATERAL (SELECT coalesce((SELECT conname FROM pg_constraint WHERE oid = h.objid),
            (SELECT tgname FROM pg_trigger WHERE oid = h.objid), (SELECT polname FROM pg_policy WHERE oid = h.objid),
            (SELECT rulename FROM pg_rewrite WHERE oid = h.objid), g.attname,
            CASE WHEN n.attgenerated <> '' THEN n.attname END)::text AS name) AS y
        WHERE (h.home IS NULL OR h.home NOT IN (SELECT oid FROM tables)) AND e.relation IS NULL
    )
    SELECT DISTINCT * FROM (SELECT CASE WHEN view_kind = 'v' THEN 'view' WHEN view_kind = 'm' THEN 'materialized view'
            WHEN attgenerated <> '' THEN 'generated column' WHEN type = 'default value' THEN 'default'
            WHEN type = 'table constraint' THEN 'constraint' WHEN type = 'statistics object' THEN 'statistics'
            WHEN type LIKE 'publication%' THEN 'publication' ELSE type END AS kind,
        CASE WHEN view_kind IS NOT NULL THEN of WHEN bare IS NOT NULL THEN of || '.' || quote_ident(bare)
            ELSE identity END AS name, going,
        CASE WHEN view_kind = 'v' THEN format('DROP VIEW %s', of)
            WHEN view_kind = 'm' THEN format('DROP MATERIALIZED VIEW %s', of)
            WHEN attgenerated <> '' AND current_setting('server_version_num')::int < 130000
                THEN format('ALTER TABLE %s DROP COLUMN %I', of, bare)
            WHEN attgenerated <> '' THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION', of, bare)
            WHEN type = 'default value' THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', of, bare)
            WHEN type = 'table constraint' THEN format('ALTER TABLE %s DROP CONSTRAINT %I', of, bare)
            WHEN type = 'trigger' THEN format('DROP TRIGGER %I ON %s', bare, of)
            WHEN type = 'policy' THEN format('DROP POLICY %I ON %s', bare, of)
            WHEN type = 'rule' THEN format('DROP RULE %I ON %s', bare, of)
            WHEN type = 'index' THEN format('DROP INDEX %s', identity)
            WHEN type = 'statistics object' THEN format('DROP STATISTICS %s', identity)
            WHEN type IN ('function', 'procedure', 'aggregate') THEN format('DROP ROUTINE %s', identity)
            WHEN type LIKE 'publication%' THEN format('ALTER PUBLICATION %s DROP TABLE %s',
                split_part(identity, ' in publication ', 2), split_part(identity, ' in publication ', 1))
            WHEN relkind IN ('r', 'p', 'f') AND column_name IS NULL THEN
                format('ALTER TABLE %s NO INHERIT %s', identity, replace(going, 'table ', ''))
            WHEN column_name IS NOT NULL THEN format('ALTER TABLE %s', regexp_replace(identity, '[.]([^.]*)$',
                ' DROP COLUMN \\1'))
            ELSE format('drop %s %s', type, identity) END AS way_out
    FROM named) AS n ORDER BY 1, 2, 3
"""
# Inheritance is written down with the child: a table that goes and is one, or one that would lose its columns with its
# parent. In an archive it would go on being read, and emptied, through its parent. An index that goes would leave its table
# without a replica identity: its updates would fail where they are published.
_FAMILY = """
    WITH tables AS (SELECT to_regclass(t)::oid AS oid FROM unnest(:tables ::text[]) AS t),
    parents AS (SELECT to_regclass(c.of)::oid AS oid, c.name FROM unnest(:of ::text[], :columns ::text[]) AS c(of, name))
    SELECT 'parent table', i.inhparent::regclass::text, 'table ' || i.inhrelid::regclass, CASE p.relkind
            WHEN 'p' THEN format('ALTER TABLE %s DETACH PARTITION %s', i.inhparent::regclass, i.inhrelid::regclass)
            ELSE format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass) END
        FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
        WHERE i.inhrelid IN (SELECT oid FROM tables) AND i.inhparent NOT IN (SELECT oid FROM tables WHERE oid IS NOT NULL)
    UNION ALL SELECT 'inheriting table', i.inhrelid::regclass::text, format('column %s of table %s', s.name,
            i.inhparent::regclass), CASE p.relkind
            WHEN 'p' THEN format('ALTER TABLE %s DETACH PARTITION %s', i.inhparent::regclass, i.inhrelid::regclass)
            ELSE format('ALTER TABLE %s NO INHERIT %s', i.inhrelid::regclass, i.inhparent::regclass) END
        FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN parents s ON s.oid = i.inhparent
        JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = s.name AND NOT a.attisdropped
        WHERE i.inhparent NOT IN (SELECT oid FROM tables WHERE oid IS NOT NULL)
    UNION ALL SELECT 'replica identity', i.indrelid::regclass::text, format('column %s of table %s', s.name,
            i.indrelid::regclass), format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', i.indrelid::regclass)
        FROM parents s JOIN pg_index i ON i.indrelid = s.oid AND i.indisreplident
        JOIN pg_attribute a ON a.attrelid = s.oid AND a.attname = s.name AND a.attnum = ANY (i.indkey)
        WHERE s.oid NOT IN (SELECT oid FROM tables WHERE oid IS NOT NULL)
    ORDER BY 1, 2, 3
"""


def find_dependants(
    conn: Connection, tables: tuple[str, ...], columns: tuple[tuple[str, str], ...], functions: tuple[str, ...]
) -> tuple[Dependant, ...]:
    """Everything that hangs on these tables, columns (of which table, unquoted name) and functions, and is no part of them.

    Tables and functions quoted and qualified; what is not there counts for nothing. The schema's own parts of what goes are
    among them, where they hang on a column: the caller knows its own. Reads the catalog.
    """
    values = {
        "tables": list(tables),
        "of": [table for table, _ in columns],
        "columns": [name for _, name in columns],
        "functions": list(functions),
    }
    with qualified_names(conn):
        rows = conn.execute(text(_DEPENDANTS), values).all()
        family = {name: values[name] for name in ("tables", "of", "columns")}
        rows = [*rows, *conn.execute(text(_FAMILY), family).all()]
    return tuple(
        Dependant(
            kind=str(kind),
            name=str(name),
            on=str(on),
            label=Phrase("{kind} {name} on {on}", kind=Phrase(str(kind)), name=str(name), on=str(on)),
            way_out=str(way_out),
        )
        for kind, name, on, way_out in rows
    )
