"""The tables whose rows can be told apart in two databases: their columns, their keys, and the SQL that reads both.

A row is known by the hash of its key and by the hash of its whole content, each 128 bits of the fingerprint's own form
(`fingerprint.py`), so that two rows are the same here exactly where a proof says that they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.fingerprint import FIRST_WITH_RECORD_HASH, SEEDS, as_hashed, column_forms, hashed_form
from lawsker_db.postgres.session import literal, pin_session, quoted
from lawsker_db.postgres.touched import OWN_SCHEMA

STAMP = "alembic_version"
NEW_COLUMNS = Phrase("columns made since: their values stand in the damaged database, and make no row a changed one")
OF_THIS_TOOL = Phrase("a record of this tool about this database alone")
OF_THE_CHAIN = Phrase("tells where the chain stands, of this database alone")
REFRESHED = Phrase("a materialized view: a refresh fills it")
ELSEWHERE = Phrase("a foreign table: its rows are elsewhere")
OF_EXTENSION = Phrase("belongs to an extension, which fills it itself")
TORN = Phrase("has a foreign partition: its other partitions are compared one by one")
WORDS = {str(why): why for why in (OF_THIS_TOOL, OF_THE_CHAIN, REFRESHED, ELSEWHERE, OF_EXTENSION, TORN)}
LOCK_WAIT = "30s"  # as the readers of a backup wait: we stand in nobody's way
# Rows are counted and summed by bucket in the first pass, and only those of buckets that differ are read again. More
# buckets single out fewer rows and cost memory, some 30 MB here (measured): of 1,000,000 rows of which 10,000 differ, 14 %
# are read again with these, and 46 % with a quarter of them, which made the whole half as long again.
BUCKETS = 65_536
# Types whose own hash is the same in every database (that of an enum is not), cheaper than hashing their bytes. Where it
# takes two keys for one, they share a bucket, and nothing else.
CHEAPLY_HASHED = (
    *("smallint", "integer", "bigint", "uuid", "text", "character varying", "date", "numeric", "boolean"),
    *("timestamp without time zone", "timestamp with time zone"),
)

_RELATIONS = f"""
    SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS label,
        n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'p' AS partitioned,
        CASE WHEN n.nspname = '{OWN_SCHEMA}' THEN '{OF_THIS_TOOL}'
            WHEN c.relname = '{STAMP}' THEN '{OF_THE_CHAIN}'
            WHEN c.relkind = 'm' THEN '{REFRESHED}'
            WHEN c.relkind = 'f' THEN '{ELSEWHERE}'
            WHEN EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                AND d.deptype = 'e') THEN '{OF_EXTENSION}'
            WHEN c.relkind = 'p' AND torn.root IS NOT NULL
                THEN '{TORN}'
            ELSE '' END AS left_out
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN (SELECT DISTINCT pg_partition_root(f.oid) AS root FROM pg_class f
            WHERE f.relkind = 'f' AND f.relispartition) torn ON torn.root = pg_partition_root(c.oid)
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND n.nspname !~ '^pg_(temp|toast_temp)_'
        AND (NOT c.relispartition OR (torn.root IS NOT NULL AND c.relkind <> 'p'))
    ORDER BY 2"""
_COLUMNS = text(
    "SELECT a.attname::text AS name, format_type(a.atttypid, -1) AS type, a.attgenerated <> '' AS generated,"
    " a.attidentity = 'a' AS identity"
    " FROM pg_attribute a WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
)
_KEYS = text(
    "SELECT (SELECT array_agg(a.attname::text ORDER BY k.place) FROM unnest(i.indkey::int2[]) WITH ORDINALITY"
    " AS k(number, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
    " WHERE k.place <= i.indnkeyatts) AS columns"
    " FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = :oid AND i.indisunique"
    " AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"
    " AND NOT EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)"
    " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number"
    " WHERE k.place <= i.indnkeyatts AND NOT a.attnotnull)"
    " ORDER BY i.indisprimary DESC, x.relname"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: its type without length, the form in which it is hashed, and what keeps it from being written: it is
    generated, or an identity that the server always gives."""

    name: str
    type: str
    form: str
    generated: bool
    identity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A table as it stands in one database; a partitioned one stands for all its partitions. `keys`: sets of columns that
    tell its rows apart, the primary key first. `left_out` says why its rows are not compared, empty where they are."""

    oid: int
    label: str
    schema: str
    name: str
    partitioned: bool
    left_out: str
    columns: tuple[Column, ...] = ()
    keys: tuple[tuple[str, ...], ...] = ()

    @property
    def source(self) -> str:
        """Pure. What stands behind FROM: its own rows, not those of tables that inherit from it."""
        return self.label if self.partitioned else f"ONLY {self.label}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A table that stands in both databases: the columns that both have, in which form each is hashed, and the key, empty
    where only whole rows can be told apart."""

    damaged: Shape
    restored: Shape
    forms: Mapping[str, str]
    key: tuple[str, ...]


def begin_reading(conn: Connection, *, writable: bool = False) -> tuple[Shape, ...]:
    """Begin a REPEATABLE READ transaction with pinned settings, and read the shape of every table. Changes nothing.

    Takes ACCESS SHARE on every table whose rows are compared, before the snapshot is taken, until the transaction ends:
    to an older snapshot a table that is truncated or rewritten meanwhile would look empty. READ ONLY unless `writable`,
    which temporary tables need.
    """
    names = [str(row.label) for row in conn.execute(literal(_RELATIONS)) if not row.left_out]
    conn.rollback()
    mode = "READ WRITE" if writable else "READ ONLY"
    conn.execute(text(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, {mode}"))
    conn.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    for name in names:
        conn.execute(literal(f"LOCK TABLE {name} IN ACCESS SHARE MODE"))
    pin_session(conn, "pg_catalog")
    conn.execute(text(f"SET LOCAL lock_timeout = '{LOCK_WAIT}'"))
    return read_shapes(conn)


def read_shapes(conn: Connection) -> tuple[Shape, ...]:
    """The shape of every table, and of what is left out by rule. Reads the catalog."""
    relations = conn.execute(literal(_RELATIONS)).mappings().all()
    return tuple(_shape(conn, dict(row)) for row in relations)


def _shape(conn: Connection, facts: dict[str, object]) -> Shape:
    facts["left_out"] = WORDS.get(str(facts["left_out"]), "")
    shape = Shape(**facts)  # type: ignore[arg-type]
    if shape.left_out:
        return shape
    forms = column_forms(conn, shape.label)
    columns = tuple(
        Column(form=forms[row["name"]], **row) for row in conn.execute(_COLUMNS, {"oid": shape.oid}).mappings()
    )
    keys = tuple(tuple(row) for row in conn.execute(_KEYS, {"oid": shape.oid}).scalars())
    return Shape(**facts, columns=columns, keys=keys)  # type: ignore[arg-type]


def pair(damaged: Shape, restored: Shape) -> Pair:
    """Pure. What of one table can be compared. A column whose type differs is compared as text.

    The key is one that both hold unique: without it in the damaged one, two rows there could have the same.
    """
    theirs = {column.name: column for column in restored.columns}
    forms = {
        column.name: column.form if _same_form(column, theirs[column.name]) else "{}::text"
        for column in damaged.columns
        if column.name in theirs
    }
    unique = {frozenset(key) for key in damaged.keys} & {frozenset(key) for key in restored.keys}
    key = next((key for key in (*restored.keys, *damaged.keys) if frozenset(key) in unique), ())
    return Pair(damaged=damaged, restored=restored, forms=forms, key=key)


def _same_form(one: Column, other: Column) -> bool:
    return (one.type, one.form) == (other.type, other.form)


def new_columns(pairs: tuple[Pair, ...]) -> Iterator[tuple[str, str]]:
    """Pure. Columns whose values no row is compared by, since only the damaged database has them."""
    for compared in pairs:
        theirs = {column.name for column in compared.restored.columns}
        new = [column.name for column in compared.damaged.columns if column.name not in theirs]
        if new:
            yield f"{compared.damaged.label} ({', '.join(new)})", NEW_COLUMNS


def row_bytes(forms: Mapping[str, str], names: tuple[str, ...], major: int) -> tuple[str, str]:
    """Pure. The bytes of some columns of `t` as SQL, and the function that hashes them."""
    return hashed_form(", ".join(as_hashed(name, forms[name]) for name in names), major)


def sums_by_bucket(compared: Pair, shape: Shape, major: int) -> str:
    """Pure. The question of the first pass: bucket, and rows with two sums as text."""
    row, function = row_bytes(compared.forms, tuple(compared.forms), major)
    bucket, inner = f"{function}(s.r, {SEEDS[0]})", f"{row} AS r"
    if compared.key:
        bucket, inner = "s.b", f"{inner}, {_key_hash(compared, major)} AS b"
    sums = " || '/' || ".join(f"sum({function}(s.r, {seed}))::text" for seed in SEEDS)
    return (
        f"SELECT ({bucket} & {BUCKETS - 1})::int, count(*)::text || '/' || {sums}"
        f" FROM (SELECT {inner} FROM {shape.source} AS t OFFSET 0) AS s GROUP BY 1"
    )


def known_rows(compared: Pair, shape: Shape, major: int, chosen: bytes | None, since: int | None = None) -> str:
    """Pure. The question of the second pass: two hashes of the key, two of the row, and where it stands.

    `chosen` has a bit for each bucket that differs; None means all. Whoever is not chosen costs the hash of its key alone.
    With `since`, the number of a transaction, it also says whether the row was written after it.
    """
    everything = tuple(compared.forms)
    row, function = row_bytes(compared.forms, everything, major)
    key, _ = row_bytes(compared.forms, compared.key or everything, major)
    bucket = f"({_key_hash(compared, major)} & {BUCKETS - 1})::int"
    where = "" if chosen is None else f" WHERE get_bit('\\x{chosen.hex()}'::bytea, {bucket}) = 1"
    # Transactions are numbered with 32 bits in rows; age() knows which of two came later.
    fresh = "" if since is None else f", age(t.xmin) < age('{since % 2**32}'::xid) AS fresh"
    found = f"{key} AS k, {row} AS r, t.ctid AS place, t.tableoid AS leaf{fresh}"
    rows = f"SELECT {found} FROM {shape.source} AS t{where} OFFSET 0"
    hashes = ", ".join(f"{function}(s.{part}, {seed})" for part in "kr" for seed in SEEDS)
    return f"SELECT {hashes}, s.place, s.leaf{', s.fresh' if fresh else ''} FROM ({rows}) AS s"


def _key_hash(compared: Pair, major: int) -> str:
    """Pure. The hash that chooses the bucket of `t`: of its key, or of the whole row where there is none."""
    types = {column.name: column.type for column in (*compared.restored.columns, *compared.damaged.columns)}
    same = all(compared.forms[name] == "{}" and types[name] in CHEAPLY_HASHED for name in compared.key)
    if compared.key and same and major >= FIRST_WITH_RECORD_HASH:
        return f"hash_record_extended(row({', '.join(f't.{quoted(name)}' for name in compared.key)}), {SEEDS[0]})"
    form, function = row_bytes(compared.forms, compared.key or tuple(compared.forms), major)
    return f"{function}({form}, {SEEDS[0]})"
