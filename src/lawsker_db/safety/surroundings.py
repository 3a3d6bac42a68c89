"""What surrounds the promised tables: their names, owners and grants, and what was left over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Row, text

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.catalog import Catalog, Identity
from lawsker_db.postgres.databases import SCRATCH_PREFIX
from lawsker_db.postgres.indexes import index_shape
from lawsker_db.postgres.scratch import promised_identities
from lawsker_db.safety.checklist import not_run, passed, violated
from lawsker_db.safety.errands import find_leftovers, find_unfinished
from lawsker_db.safety.expectation import CHILD_KINDS, Promise
from lawsker_db.safety.structure import of_tables, promised_tables

# Made under savepoints that are rolled back; the seal's table is a temporary one. Seen by others, they were left.
OURS = "^lawsker_((scratch|probe)_[0-9a-f]{8}|spelling_probe|seal)"
# fmt: off
STORED = (
    "options", "toast_options", "replica_identity", "tablespace", "clustered", "local", "storage", "compression",
    "statistics", "unseen",
)
# fmt: on

_NAMES = """
    SELECT t AS name, to_regclass(quote_ident(t))::text AS first, to_regclass(quote_ident(t)) AS oid,
        to_regclass(quote_ident(:schema) || '.' || quote_ident(t)) AS own
    FROM unnest(:tables ::text[]) AS t ORDER BY t"""
_STAMPS = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'alembic_version' AND n.nspname = ANY (current_schemas(true)) ORDER BY 1"""
_OWNERS = """
    SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner), pg_get_userbyid(m.relowner)
    FROM pg_class m, pg_class c
    WHERE m.oid = to_regclass(:like) AND c.relowner <> m.relowner AND c.oid = ANY
        (SELECT to_regclass(t)::oid FROM unnest(:relations ::text[]) AS t)
    UNION ALL SELECT p.oid::regprocedure::text, pg_get_userbyid(p.proowner), pg_get_userbyid(m.relowner)
    FROM pg_class m, pg_proc p
    WHERE m.oid = to_regclass(:like) AND p.proowner <> m.relowner AND p.oid = ANY
        (SELECT to_regprocedure(f)::oid FROM unnest(:functions ::text[]) AS f)
    ORDER BY 1"""
# Who holds a right on the model by a grant of its own and not on some tables. Grantee 0 is PUBLIC.
_LACKING = """
    WITH model AS (SELECT relowner, relacl FROM pg_class WHERE oid = to_regclass(:like)),
    rights AS (SELECT DISTINCT g.grantee, g.privilege_type AS privilege FROM model, aclexplode(model.relacl) AS g
        WHERE g.grantee <> model.relowner),
    tables AS (SELECT c.oid, c.relname, c.relacl FROM pg_class c
        WHERE c.oid = ANY (SELECT to_regclass(t)::oid FROM unnest(:tables ::text[]) AS t)),
    lacking AS (SELECT r.grantee, r.privilege, string_agg(t.relname, ', ' ORDER BY t.relname) AS names
        FROM rights r, tables t
        WHERE CASE r.grantee WHEN 0 THEN NOT EXISTS (SELECT FROM aclexplode(t.relacl) AS g
            WHERE g.grantee = 0 AND g.privilege_type = r.privilege)
            ELSE NOT has_table_privilege(r.grantee, t.oid, r.privilege) END
        GROUP BY r.grantee, r.privilege)
    SELECT CASE WHEN l.grantee <> 0 THEN pg_get_userbyid(l.grantee) END,
        string_agg(l.privilege, ', ' ORDER BY l.privilege), :like, l.names
    FROM lacking l GROUP BY l.grantee, l.names ORDER BY 1, 2, 3, 4"""
# The other way: who was given more than it may on the model. A number is drawn by whoever inserts; a right on a new column
# of the model is one on the model, or one that an older column gives too.
_MORE = """
    WITH model AS (SELECT oid, relowner, relacl FROM pg_class WHERE oid = to_regclass(:like)),
    given AS (SELECT c.relname::text AS name, c.relkind AS kind, g.grantee, g.privilege_type AS privilege,
            CASE WHEN c.relkind = 'S' AND g.privilege_type <> 'SELECT' THEN 'INSERT' ELSE g.privilege_type END AS needs
        FROM pg_class c, aclexplode(c.relacl) AS g
        WHERE g.grantee <> c.relowner AND c.oid = ANY (SELECT to_regclass(t)::oid FROM unnest(:given ::text[]) AS t)
        UNION ALL SELECT m.oid::regclass || '.' || quote_ident(a.attname), 'c', g.grantee, g.privilege_type, g.privilege_type
        FROM model m JOIN pg_attribute a ON a.attrelid = m.oid, aclexplode(a.attacl) AS g
        WHERE a.attname = ANY (:columns) AND g.grantee <> m.relowner)
    SELECT CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END,
        string_agg(DISTINCT privilege, ', ' ORDER BY privilege), name, :like
    FROM given, model
    WHERE CASE grantee WHEN 0 THEN NOT EXISTS (SELECT FROM aclexplode(model.relacl) AS g
            WHERE g.grantee = 0 AND g.privilege_type = needs)
            ELSE NOT has_table_privilege(grantee, model.oid, needs) END
        AND NOT (kind = 'c' AND EXISTS (SELECT FROM pg_attribute a, aclexplode(a.attacl) AS g
            WHERE a.attrelid = model.oid AND a.attname <> ALL (:columns) AND g.grantee = given.grantee
            AND g.privilege_type = needs))
    GROUP BY grantee, name ORDER BY 1, 2, 3, 4"""
# A number is drawn by whoever inserts, so who may insert into the model needs the sequence too.
_SEQUENCES = """
    SELECT pg_get_userbyid(g.grantee), s.oid::regclass::text
    FROM pg_class m, aclexplode(m.relacl) AS g, pg_class s
    WHERE m.oid = to_regclass(:like) AND g.privilege_type = 'INSERT' AND g.grantee NOT IN (0, m.relowner)
        AND s.oid = ANY (SELECT to_regclass(q)::oid FROM unnest(:sequences ::text[]) AS q)
        AND NOT has_sequence_privilege(g.grantee, s.oid, 'USAGE')
    ORDER BY 1, 2"""
_SCRATCH = f"""
    SELECT 'schema ' || quote_ident(nspname) FROM pg_namespace WHERE nspname ~ '{OURS}'
    UNION ALL SELECT 'relation ' || c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname ~ '{OURS}' AND n.nspname !~ '^pg_(temp|toast)' AND c.relkind IN ('r', 'v', 'S')
    ORDER BY 1"""
# A database of ours that no journal here names: perhaps of a run with another folder, so only when nobody works in it.
_DATABASES = f"""
    SELECT 'database ' || d.datname FROM pg_database d
    WHERE d.datname ~ '^{SCRATCH_PREFIX}[0-9a-f]{{12}}$' AND d.datname <> current_database()
        AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)
    ORDER BY 1"""
# What a failed CREATE or REINDEX CONCURRENTLY leaves; one that is under way is none. A partitioned index may be invalid for
# long: until every partition has its own.
_INVALID = """
    SELECT 'index ' || i.indexrelid::regclass::text || ' (invalid)'
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND x.relkind = 'i'
        AND NOT EXISTS (SELECT FROM unnest(:tables ::text[]) AS t WHERE to_regclass(t) = i.indrelid)
        AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
            WHERE p.datname = current_database() AND p.relid IN (i.indrelid, i.indexrelid))
    ORDER BY 1"""


def check_stamp(conn: Connection, current: tuple[str, ...], path: str) -> Check:
    """S01: one stamp, and one table that it stands in on the session's own `path`. Reads the catalog."""
    keys = (
        [Phrase("{number} rows: {revisions}", number=len(current), revisions=", ".join(current))]
        if len(current) != 1
        else []
    )
    with _on_path(conn, path):
        tables = _texts(conn, _STAMPS)
    if len(tables) > 1:
        keys.append(Phrase("alembic_version stands in several schemas of the path: {tables}", tables=", ".join(tables)))
    return violated("S01", tuple(keys), warning=len(current) == 1) if keys else passed("S01", ", ".join(current))


def check_names(conn: Connection, promise: Promise, schema: str, path: str) -> Check:
    """S03: on the session's own `path` each promised table is found by its bare name. Reads the catalog."""
    names = [table.name for table in promise.contract.tables]
    if not names:
        return not_run("S03", Phrase("revision {revision} promises no table", revision=promise.contract.revision))
    with _on_path(conn, path):
        rows = conn.execute(text(_NAMES), {"schema": schema, "tables": names}).all()
    keys = tuple(_found_first(row) for row in rows if row.own is not None and row.oid != row.own)
    return (
        violated("S03", keys)
        if keys
        else passed("S03", Phrase("{names} names lead to {schema}", names=len(rows), schema=schema))
    )


def check_owners(conn: Connection, promise: Promise, now: Catalog) -> Check:
    """S21: owners and grants of the promised tables beside those of the table that the revision extends. Reads the
    catalog. Roles whose rights come from being a superuser or a member are asked for what they may, not why."""
    if not promise.contract.extensions:
        return not_run(
            "S21", Phrase("revision {revision} extends no table to compare with", revision=promise.contract.revision)
        )
    tables = promised_tables(promise)
    like = f"{promise.schema}.{promise.contract.extensions[0].table}"
    identities = promised_identities(promise.contract, promise.schema)
    sequences = [name for kind, name in identities if kind == "sequence"]
    asked = {
        "like": like,
        "tables": sorted(tables),
        "sequences": sequences,
        "relations": [*sorted(tables), *sequences],
        "functions": [name for kind, name in identities if kind == "function"],
        "given": _given(promise, now, identities),
        "columns": [column.name for column in promise.contract.extensions[0].columns],
    }
    owners = [
        Phrase("{table} belongs to {owner}, not to {other}", table=row[0], owner=row[1], other=row[2])
        for row in conn.execute(text(_OWNERS), asked)
    ]
    grants = [
        Phrase(
            "{who} may {rights} on {table}, not on {others}",
            who=Phrase("everybody") if row[0] is None else row[0],
            rights=row[1],
            table=row[2],
            others=row[3],
        )
        for query in (_LACKING, _MORE)
        for row in conn.execute(text(query), asked)
    ]
    grants += [
        Phrase("{who} may INSERT on {table}, not use {sequence}", who=row[0], table=like, sequence=row[1])
        for row in conn.execute(text(_SEQUENCES), asked)
    ]
    hidden = [
        Phrase("row security on {table}", table=name)
        for (kind, name), facts in sorted(now.objects.items())
        if kind == "table" and name in tables and (facts.get("row_security") or facts.get("forced"))
    ]
    keys = (*owners, *grants, *hidden)
    return (
        violated("S21", keys)
        if keys
        else passed("S21", Phrase("{tables} tables like {like}", tables=len(tables), like=like))
    )


def _given(promise: Promise, now: Catalog, identities: frozenset[Identity]) -> list[str]:
    """Pure. Promised tables and sequences that have other grants than the role that made them gives by default, or are open
    to everybody."""
    found = []
    for kind, name in sorted(identities):
        acl = now.objects.get((kind, name), {}).get("acl")
        default = promise.built.objects.get((kind, name), {}).get("acl")
        public = isinstance(acl, list) and any(str(item).startswith("=") for item in acl)
        if kind in ("table", "sequence") and (acl != default or public):
            found.append(name)
    return found


def check_leftovers(conn: Connection, promise: Promise, now: Catalog, runs: Path, *, alone: bool) -> Check:
    """S23: scratch objects here and on the server, invalid indexes, extras on promised tables. Reads catalog and disk.

    `alone` looks at this database only: what is under way on the server is none of its business.
    """
    keys = [*_texts(conn, _SCRATCH), *_texts(conn, _INVALID, {"tables": sorted(promised_tables(promise))})]
    if not alone:
        named = [Phrase("database {database}", database=leftover.database) for leftover in find_leftovers(conn, runs)]
        keys += named + [found for found in _texts(conn, _DATABASES) if found not in named]
        keys += [Phrase("unfinished backup {path}", path=str(path)) for path in find_unfinished(runs)]
    keys += sorted(_extras(promise, now))
    return violated("S23", tuple(keys)) if keys else passed("S23", Phrase("nothing"))


def _extras(promise: Promise, now: Catalog) -> Iterator[str]:
    """Pure. What hangs on a promised table and nobody promised, unless it does the work of what is promised."""
    tables, promised = promised_tables(promise), promise.built.objects
    gone = [
        shape
        for identity, facts in promised.items()
        if identity[0] == "index" and identity not in now.objects
        for shape in (index_shape(str(facts.get("definition"))),)
        if shape is not None
    ]
    for (kind, name), facts in now.objects.items():
        if kind != "index" or facts.get("table") not in tables:
            continue
        shape = index_shape(str(facts.get("definition")))
        if (kind, name) not in promised and not (shape and any(shape.does_the_work_of(other) for other in gone)):
            yield Phrase("index {name}", name=name)
    for kind in CHILD_KINDS:
        for name, facts in of_tables(now, kind, tables):
            if (kind, name) not in promised:
                yield Phrase("{kind} {name}", kind=Phrase(kind), name=name)
            elif kind == "column" and facts.get("acl"):
                yield Phrase("column {name}: grants of its own", name=name)
    for kind, name in promised:
        stands, built = now.objects.get((kind, name)), promised[kind, name]
        for attribute in STORED if stands is not None else ():
            if stands is not None and stands.get(attribute) != built.get(attribute):
                yield Phrase(
                    "{kind} {name}: {attribute} is {value}",
                    kind=Phrase(kind),
                    name=name,
                    attribute=attribute,
                    value=str(stands.get(attribute)),
                )


def _found_first(row: Row[tuple[object, ...]]) -> str:
    """Pure. What is found in the place of a promised table."""
    return (
        Phrase("{table} is not found on the path", table=row.name)
        if row.first is None
        else Phrase("{table} leads to {first}", table=row.name, first=row.first)
    )


@contextmanager
def _on_path(conn: Connection, path: str) -> Iterator[None]:
    """Look names up as the session did before its settings were pinned."""
    pinned = str(conn.execute(text("SELECT current_setting('search_path')")).scalar_one())
    set_path = text("SELECT set_config('search_path', :path, true)")
    conn.execute(set_path, {"path": path})
    yield
    conn.execute(set_path, {"path": pinned})


def _texts(conn: Connection, query: str, asked: Mapping[str, object] | None = None) -> list[str]:
    """The one column of a query, as text."""
    return [str(row[0]) for row in conn.execute(text(query), dict(asked or {}))]
