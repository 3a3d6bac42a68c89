"""The archive of a downgrade: a schema of its own in which stands what the downgrade took away, and what it says of itself.

Two tables of ours stand in each such schema: `archive`, one row that names the run, and `contents`, one row for each thing
that is kept. Whole tables were moved there, without their triggers and outgoing foreign keys: else the application's
DELETE of a user would empty the archive, or be stopped by it. Columns were copied there beside the key of their table.
Nothing is written into an archive after the transaction that made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, RowMapping, text

from lawsker_db.errors import RolledBack
from lawsker_db.evidence import Fingerprint
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.fingerprint import column_names, fingerprint_table
from lawsker_db.postgres.session import CATALOG_PATH, literal, quoted

PREFIX = "lawsker_archive_"
LONGEST_NAME = 63  # bytes of an identifier (NAMEDATALEN - 1)
CHANCE = 7  # the end of a run's id, "_a1b2c3", which tells runs of one second apart
FORMAT = 1
ARCHIVE, CONTENTS = "archive", "contents"
_ARCHIVE_COLUMNS = {
    "format": "integer",
    "run_id": "text",
    "made_at": "timestamp with time zone",
    "chain_schema": "text",
}
_CONTENTS_COLUMNS = {
    "position": "integer",
    "revision": "text",
    "contract_digest": "text",
    "kind": "text",
    "original": "text",
    "kept_as": "text",
    "key": "text[]",
    "columns": "text[]",
    "printed": "text[]",
    "rows": "bigint",
    "sums": "text[]",
    "definitions": "text[]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing in an archive: a whole table, or columns of a table that stayed, beside its key.

    `original` is the table's name in the chain's schema and `kept_as` its name in the archive, both unquoted. `columns`
    are all columns of a table that was kept whole, else those that were taken off. `definitions` is SQL, names qualified
    as they stood: triggers and their functions, foreign keys, sequences' values; of columns also defaults, checks, indexes.
    `fingerprint` is of the table in the archive, by the name that it has there.
    """

    revision: str
    contract_digest: str
    kind: Literal["table", "columns"]
    original: str
    kept_as: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    fingerprint: Fingerprint
    definitions: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Pure. The quoted and qualified name of the table in the archive."""
        return self.fingerprint.table


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A schema of kept things, the run that made it, and the schema (unquoted) that they were taken from."""

    schema: str
    run_id: str
    made_at: datetime
    chain_schema: str
    kept: tuple[Kept, ...]


def archive_schema(run_id: str) -> str:
    """Pure. The schema in which a run keeps what it takes away. It needs no quotes."""
    name = PREFIX + run_id.lower().replace("-", "_")
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - CHANCE] + name[-CHANCE:]


def find_archives(conn: Connection) -> tuple[Archive, ...]:
    """The archives in this database that this session may read, newest first. Reads only.

    A schema counts when it has both tables with exactly our columns, and bears the name of the run that it tells of. Who
    builds on what an archive says looks besides whether the history has that run.
    """
    found = [_read_archive(conn, schema) for schema, ours in _named_so(conn) if ours]
    known = [archive for archive in found if archive is not None]
    return tuple(sorted(known, key=lambda archive: (archive.made_at, archive.run_id), reverse=True))


def unknown_archives(conn: Connection) -> tuple[str, ...]:
    """Schemas that bear such a name and are no archive, or none that this session may read. Reads only."""
    known = {archive.schema for archive in find_archives(conn)}
    return tuple(schema for schema, _ in _named_so(conn) if schema not in known)


def begin_archive(conn: Connection, run_id: str, chain_schema: str) -> str:
    """Create the schema of a run's archive with its two tables, and give its name.

    Nobody but its owner, the role of this session, gets any right on it. Raises the server's errors without CREATE on the
    database.
    """
    schema = archive_schema(run_id)
    conn.execute(literal(f"CREATE SCHEMA {schema}"))
    _revoke_defaults(conn, schema)
    for table, columns, key in ((ARCHIVE, _ARCHIVE_COLUMNS, "run_id"), (CONTENTS, _CONTENTS_COLUMNS, "position")):
        listed = ", ".join(f"{quoted(name)} {type_} NOT NULL" for name, type_ in columns.items())
        named = f"CONSTRAINT {PREFIX}{table}_pkey PRIMARY KEY ({key})"  # a table that is kept may be called as ours
        conn.execute(literal(f"CREATE TABLE {schema}.{table} ({listed}, {named})"))
    conn.execute(
        text(f"INSERT INTO {schema}.{ARCHIVE} VALUES (:format, :run_id, now(), :chain_schema)"),
        {"format": FORMAT, "run_id": run_id, "chain_schema": chain_schema},
    )
    conn.execute(literal(f"COMMENT ON SCHEMA {schema} IS 'What a rollback by lawsker-db took away. Do not edit.'"))
    return schema


def keep_table(
    conn: Connection,
    schema: str,
    table: str,
    *,
    chain_schema: str,
    revision: str,
    digest: str,
    observed: Fingerprint | None = None,
) -> Kept:
    """Move a table of the chain's schema into the archive `schema`: its triggers and outgoing foreign keys are dropped,
    its indexes, constraints, grants, comments and owned sequences go along.

    Takes ACCESS EXCLUSIVE on it, and SHARE ROW EXCLUSIVE on what its foreign keys point to. `observed` is its content behind
    that lock, for the record, by somebody who compares it later; else it is read here. All names unquoted.
    """
    place = f"{quoted(chain_schema)}.{quoted(table)}"
    with qualified_names(conn):
        definitions = _ask(conn, _DEFINITIONS_OF_TABLE, place)
        dropped = _ask(conn, _DROPS_OF_TABLE, place)
    key = primary_key(conn, place)
    for statement in dropped:
        conn.execute(literal(statement))
    kept_as = _free_name(conn, schema, table, table)
    if kept_as != table:
        conn.execute(literal(f"ALTER TABLE {place} RENAME TO {quoted(kept_as)}"))
        place = f"{quoted(chain_schema)}.{quoted(kept_as)}"
    conn.execute(literal(f"ALTER TABLE {place} SET SCHEMA {schema}"))
    now = f"{schema}.{quoted(kept_as)}"
    kept = Kept(
        revision=revision,
        contract_digest=digest,
        kind="table",
        original=table,
        kept_as=kept_as,
        key=key,
        columns=column_names(conn, now),
        fingerprint=replace(observed, table=now) if observed else fingerprint_table(conn, now),
        definitions=definitions,
    )
    _note(conn, schema, kept)
    return kept


def keep_columns(
    conn: Connection,
    schema: str,
    table: str,
    columns: tuple[str, ...],
    *,
    chain_schema: str,
    revision: str,
    digest: str,
    observed: Fingerprint | None = None,
) -> Kept:
    """Copy columns of a table of the chain's schema into the archive `schema`, beside the table's primary key.

    Takes ACCESS SHARE on the table, whose rows the caller keeps as they are by its lock; `observed` as in `keep_table`.
    Raises `RolledBack` for a table without a primary key: nobody could tell later whose values they were. All names
    unquoted.
    """
    place = f"{quoted(chain_schema)}.{quoted(table)}"
    key = primary_key(conn, place)
    if not key or set(key) & set(columns):
        raise RolledBack(
            Phrase("Columns of {place} cannot be kept: it has no primary key that stays.", place=place),
            hint=Phrase(
                "copy them aside by hand, then throw them away by word: alembic -x discard=yes downgrade … ({place})",
                place=place,
            ),
        )
    with qualified_names(conn):
        definitions = _ask(conn, _DEFINITIONS_OF_COLUMNS, place, columns)
    kept_as = _free_name(conn, schema, f"{table}_columns", table)
    now = f"{schema}.{quoted(kept_as)}"
    chosen = [quoted(name) for name in column_names(conn, place) if name in (*key, *columns)]
    conn.execute(literal(f"CREATE TABLE {now} AS SELECT {', '.join(chosen)} FROM ONLY {place}"))
    conn.execute(literal(f"ALTER TABLE {now} ADD PRIMARY KEY ({', '.join(quoted(name) for name in key)})"))
    kept = Kept(
        revision=revision,
        contract_digest=digest,
        kind="columns",
        original=table,
        kept_as=kept_as,
        key=key,
        columns=columns,
        fingerprint=replace(observed, table=now) if observed else fingerprint_table(conn, now),
        definitions=definitions,
    )
    _note(conn, schema, kept)
    return kept


def primary_key(conn: Connection, table: str) -> tuple[str, ...]:
    """The columns of a table's primary key in its order, none without one. `table` is quoted and qualified. Reads only."""
    rows = conn.execute(
        text(
            "SELECT a.attname FROM pg_constraint k, unnest(k.conkey) WITH ORDINALITY AS c(number, place), pg_attribute a"
            " WHERE k.conrelid = to_regclass(:name) AND k.contype = 'p'"
            " AND a.attrelid = k.conrelid AND a.attnum = c.number ORDER BY c.place"
        ),
        {"name": table},
    )
    return tuple(str(name) for name in rows.scalars())


def _named_so(conn: Connection) -> list[tuple[str, bool]]:
    """Schemas whose name is an archive's, and whether each has our two tables and this session may read them."""
    columns = {ARCHIVE: _ARCHIVE_COLUMNS, CONTENTS: _CONTENTS_COLUMNS}
    wanted = {table: [f"{name} {type_}" for name, type_ in expected.items()] for table, expected in columns.items()}
    rows = conn.execute(
        text(
            "SELECT n.nspname, n.nspname ~ '^[a-z0-9_]+$' AND has_schema_privilege(n.oid, 'USAGE') AND (SELECT count(*) = 2"
            " AND bool_and(has_table_privilege(c.oid, 'SELECT')) FROM pg_class c"
            " WHERE c.relnamespace = n.oid AND c.relkind = 'r' AND (SELECT"
            " array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum) FROM pg_attribute a"
            " WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"
            " = CASE c.relname WHEN 'archive' THEN :archive ::text[] WHEN 'contents' THEN :contents ::text[] END)"
            " FROM pg_namespace n WHERE starts_with(n.nspname, :prefix) ORDER BY 1"
        ),
        {"prefix": PREFIX, **wanted},
    )
    return [(str(name), bool(ours)) for name, ours in rows]


def _read_archive(conn: Connection, schema: str) -> Archive | None:
    """What an archive says of itself; None when it bears another run's name, or is of a format to come."""
    told = conn.execute(literal(f"SELECT * FROM {schema}.{ARCHIVE}")).mappings().all()
    if len(told) != 1 or told[0]["format"] != FORMAT or archive_schema(str(told[0]["run_id"])) != schema:
        return None
    rows = conn.execute(literal(f"SELECT * FROM {schema}.{CONTENTS} ORDER BY position")).mappings().all()
    if any(value is None for row in (*told, *rows) for value in row.values()):  # ours are NOT NULL: not ours
        return None
    return Archive(
        schema=schema,
        run_id=told[0]["run_id"],
        made_at=told[0]["made_at"],
        chain_schema=told[0]["chain_schema"],
        kept=tuple(_read_kept(schema, row) for row in rows),
    )


def _read_kept(schema: str, row: RowMapping) -> Kept:
    """Pure. One row of `contents`."""
    return Kept(
        revision=row["revision"],
        contract_digest=row["contract_digest"],
        kind=row["kind"],
        original=row["original"],
        kept_as=row["kept_as"],
        key=tuple(row["key"]),
        columns=tuple(row["columns"]),
        fingerprint=Fingerprint(
            table=f"{schema}.{quoted(row['kept_as'])}",
            columns=tuple(row["printed"]),
            rows=row["rows"],
            sums=tuple(row["sums"]),
        ),
        definitions=tuple(row["definitions"]),
    )


def _note(conn: Connection, schema: str, kept: Kept) -> None:
    """Write the row that tells of a kept thing."""
    values = ", ".join(f"CAST(:{name} AS {type_})" for name, type_ in list(_CONTENTS_COLUMNS.items())[1:])
    print_ = kept.fingerprint
    conn.execute(
        text(f"INSERT INTO {schema}.{CONTENTS} SELECT count(*) + 1, {values} FROM {schema}.{CONTENTS}"),
        {
            **{name: getattr(kept, name) for name in ("revision", "contract_digest", "kind", "original", "kept_as")},
            **{name: list(getattr(kept, name)) for name in ("key", "columns", "definitions")},
            "printed": list(print_.columns),
            "rows": print_.rows,
            "sums": list(print_.sums),
        },
    )


def _revoke_defaults(conn: Connection, schema: str) -> None:
    """Take back what default privileges gave to others on a new schema."""
    grantees = conn.execute(
        text(
            "SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END"
            " FROM pg_namespace n, aclexplode(n.nspacl) AS g WHERE n.nspname = :schema AND g.grantee <> n.nspowner"
        ),
        {"schema": schema},
    )
    for grantee in grantees.scalars().all():
        conn.execute(literal(f"REVOKE ALL ON SCHEMA {schema} FROM {grantee}"))


def _free_name(conn: Connection, schema: str, wanted: str, original: str) -> str:
    """A name that no relation of the archive has yet: the wanted one, else the original's with a number behind."""
    names = text("SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema)")
    taken = set(conn.execute(names, {"schema": schema}).scalars())
    number = 1
    while wanted in taken or len(wanted.encode()) > LONGEST_NAME:
        number += 1
        wanted = f"{original[: LONGEST_NAME // 4]}_{number}"  # a character has up to four bytes
    return wanted


def _ask(conn: Connection, query: str, table: str, columns: tuple[str, ...] = ()) -> tuple[str, ...]:
    values = {"table": table, "columns": list(columns)}
    used = {name: value for name, value in values.items() if f":{name}" in query}
    return tuple(str(row) for row in conn.execute(text(query), used).scalars())


@contextmanager
def qualified_names(conn: Connection) -> Iterator[None]:
    """For the block, have the server print every name of ours with its schema."""
    path = conn.execute(text("SELECT current_setting('search_path')")).scalar_one()
    put = text("SELECT set_config('search_path', :path, true)")
    conn.execute(put, {"path": CATALOG_PATH})
    yield
    conn.execute(put, {"path": path})


# pg_get_functiondef and its like end no statement, so each row is one statement.
_TRIGGERS = "pg_trigger t WHERE t.tgrelid = to_regclass(:table) AND NOT t.tgisinternal"
_STATES = "CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END"
_FOREIGN_KEYS = "pg_constraint k WHERE k.conrelid = to_regclass(:table) AND k.contype = 'f'"
_DEFINITIONS_OF_TABLE = f"""
    SELECT definition FROM (
        SELECT DISTINCT 1 AS place, pg_get_functiondef(f.oid) AS definition FROM pg_proc f WHERE f.oid IN
            (SELECT t.tgfoid FROM {_TRIGGERS}) AND f.pronamespace <> 'pg_catalog'::regnamespace
        UNION ALL SELECT 2, pg_get_triggerdef(t.oid) FROM {_TRIGGERS}
        UNION ALL SELECT 3, format('ALTER TABLE %s %s TRIGGER %I', t.tgrelid::regclass, {_STATES}, t.tgname)
            FROM {_TRIGGERS} AND t.tgenabled <> 'O'
        UNION ALL SELECT 4, format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname,
            pg_get_constraintdef(k.oid)) FROM {_FOREIGN_KEYS}
        UNION ALL SELECT 5, format('SELECT setval(%L, %s, %L)', s.oid::regclass, v.at, v.called)
            FROM pg_class s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid
                AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'),
            LATERAL (SELECT coalesce(pg_sequence_last_value(s.oid), q.seqstart) AS at,
                pg_sequence_last_value(s.oid) IS NOT NULL AS called FROM pg_sequence q WHERE q.seqrelid = s.oid) AS v
            WHERE s.relkind = 'S' AND d.refobjid = to_regclass(:table)
        UNION ALL SELECT 6, format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.tgrelid::regclass, c.said)
            FROM (SELECT oid AS of, obj_description(oid, 'pg_trigger') AS said FROM pg_trigger) AS c, {_TRIGGERS}
            AND c.of = t.oid AND c.said IS NOT NULL
    ) AS d ORDER BY place, definition"""
_DROPS_OF_TABLE = f"""
    SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) FROM {_TRIGGERS}
    UNION ALL SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', k.conrelid::regclass, k.conname) FROM {_FOREIGN_KEYS}
    ORDER BY 1"""
_ON_COLUMNS = (
    "ARRAY(SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = to_regclass(:table) AND NOT a.attisdropped"
    " AND a.attname = ANY (:columns ::text[]))"
)
_DEFINITIONS_OF_COLUMNS = f"""
    SELECT definition FROM (
        SELECT 1 AS place, format('ALTER TABLE %s ADD COLUMN %I %s%s%s', a.attrelid::regclass, a.attname,
            format_type(a.atttypid, a.atttypmod), ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid),
            CASE WHEN a.attnotnull THEN ' NOT NULL' END) AS definition
            FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = to_regclass(:table) AND a.attnum = ANY ({_ON_COLUMNS})
        UNION ALL SELECT 2, format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.conrelid::regclass, k.conname,
            pg_get_constraintdef(k.oid)) FROM pg_constraint k
            WHERE k.conrelid = to_regclass(:table) AND k.contype <> 'n' AND k.conkey && {_ON_COLUMNS}
        UNION ALL SELECT 3, pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = to_regclass(:table)
            AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = i.indrelid)
            AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                AND d.refobjid = i.indrelid AND d.refobjsubid = ANY ({_ON_COLUMNS}))
        UNION ALL SELECT 4, format('COMMENT ON COLUMN %s.%I IS %L', a.attrelid::regclass, a.attname, c.said)
            FROM pg_attribute a, col_description(a.attrelid, a.attnum) AS c(said)
            WHERE c.said IS NOT NULL AND a.attrelid = to_regclass(:table) AND a.attnum = ANY ({_ON_COLUMNS})
    ) AS d ORDER BY place, definition"""
