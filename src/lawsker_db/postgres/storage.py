"""What a database holds and what is left to hold it: tables, indexes, dead rows, transaction ids, disk. For a monitor.

Sizes are those of the last VACUUM or ANALYZE (pg_class.relpages): the functions that measure a table open it, and would
wait behind whoever has locked it.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.postgres.databases import disk_of

SHOWN = 5  # largest tables, and those with most dead rows

_TABLES = f"""
    WITH sized AS (
        SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind, greatest(c.reltuples, 0)::bigint AS rows,
            (c.relpages + coalesce(t.relpages, 0))::bigint * current_setting('block_size')::int AS bytes
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
        WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    )
    SELECT name, rows, bytes, count(*) FILTER (WHERE relkind IN ('r', 'p', 'm')) OVER () AS tables,
        count(*) FILTER (WHERE relkind IN ('i', 'I')) OVER () AS indexes,
        coalesce(sum(bytes) FILTER (WHERE relkind IN ('i', 'I')) OVER (), 0)::bigint AS index_bytes
    FROM sized ORDER BY relkind IN ('i', 'I'), bytes DESC, name LIMIT {SHOWN}"""
# While CREATE INDEX CONCURRENTLY is at work its index is not valid yet; it holds a lock on the table that everybody sees.
_INVALID = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relname AS bare, i.indisunique AS unique,
        format('%I.%I', tn.nspname, t.relname) AS table, EXISTS (
            SELECT FROM pg_locks l WHERE l.relation = i.indrelid AND l.granted AND l.database = d.oid
                AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')
        ) AS building
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
    JOIN pg_database d ON d.datname = current_database()
    WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready AND i.indislive) ORDER BY 1"""
_NOT_VALID = """
    SELECT format('%I.%I', n.nspname, t.relname) AS table, t.relname AS bare, quote_ident(k.conname) AS name
    FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE NOT k.convalidated AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) ORDER BY 1, 2"""
# When autovacuum comes to a table: manual, "The Autovacuum Daemon". A table may have settings of its own.
_DEAD = f"""
    SELECT format('%I.%I', s.schemaname, s.relname) AS table, s.n_dead_tup AS dead, s.n_live_tup AS live,
        least(o.base + o.scale * greatest(c.reltuples, 0), o.most)::bigint AS due,
        greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed, s.last_autovacuum AS autovacuumed, o.enabled AS automatic
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    CROSS JOIN LATERAL (
        SELECT coalesce(max(x.value) FILTER (WHERE x.name = 'autovacuum_vacuum_threshold'),
                current_setting('autovacuum_vacuum_threshold'))::float8 AS base,
            coalesce(max(x.value) FILTER (WHERE x.name = 'autovacuum_vacuum_scale_factor'),
                current_setting('autovacuum_vacuum_scale_factor'))::float8 AS scale,
            coalesce(nullif(coalesce(max(x.value) FILTER (WHERE x.name = 'autovacuum_vacuum_max_threshold'),
                current_setting('autovacuum_vacuum_max_threshold', true))::float8, -1), 1e15) AS most,
            coalesce(bool_and(x.value::bool) FILTER (WHERE x.name = 'autovacuum_enabled'), true) AS enabled
        FROM (SELECT option_name AS name, option_value AS value FROM pg_options_to_table(c.reloptions)) x
    ) o
    WHERE s.n_dead_tup > 0 ORDER BY s.n_dead_tup DESC, 1 LIMIT {SHOWN}"""
_UPKEEP = """
    SELECT age(d.datfrozenxid) AS xid_age, mxid_age(d.datminmxid) AS multixact_age,
        current_setting('autovacuum_freeze_max_age')::bigint AS xid_limit,
        current_setting('autovacuum_multixact_freeze_max_age')::bigint AS multixact_limit,
        current_setting('autovacuum')::bool AND current_setting('track_counts')::bool AS autovacuum,
        (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables) AS dead,
        (SELECT max(last_autovacuum) FROM pg_stat_user_tables) AS autovacuumed
    FROM pg_database d WHERE d.datname = current_database()"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSize:
    """A table with its TOAST table, without its indexes: bytes and rows as the last VACUUM or ANALYZE counted them."""

    name: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """Tables (partitioned and materialized ones too) and indexes that are not the server's own: how many, and the largest
    tables, largest first. `index_bytes` as of the last VACUUM or ANALYZE."""

    tables: int
    indexes: int
    index_bytes: int
    largest: tuple[TableSize, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidIndex:
    """An index that is written to and not read. `building`: somebody holds a lock as one has who builds it now."""

    name: str
    bare: str
    unique: bool
    table: str
    building: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotValidated:
    """A constraint that old rows were not looked at for (NOT VALID). `bare`: the table without its schema."""

    table: str
    bare: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRows:
    """Rows of a table that no transaction needs any more: autovacuum comes at `due`, where it is `automatic`."""

    table: str
    dead: int
    live: int
    due: int
    vacuumed: datetime | None
    autovacuumed: datetime | None
    automatic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """How far vacuum is behind. Ages are counted in transactions; autovacuum comes to a table at the limits by force, even
    where `autovacuum` is off. `dead`: rows of all tables together."""

    xid_age: int
    xid_limit: int
    multixact_age: int
    multixact_limit: int
    autovacuum: bool
    dead: int
    autovacuumed: datetime | None
    worst: tuple[DeadRows, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system that a folder of the server lies on, in bytes; `free` is what its processes may still take."""

    folder: str
    total: int
    free: int


def read_database_bytes(conn: Connection) -> int:
    """The size of this database. Looks at each of its files; opens none, takes no lock on any table."""
    return int(conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def read_relations(conn: Connection) -> Relations:
    """How many tables and indexes there are, and the largest tables. Reads pg_class."""
    rows = conn.execute(text(_TABLES)).mappings().all()
    first = rows[0] if rows else {"tables": 0, "indexes": 0, "index_bytes": 0}
    return Relations(
        tables=first["tables"],
        indexes=first["indexes"],
        index_bytes=first["index_bytes"],
        largest=tuple(
            TableSize(name=row["name"], bytes=row["bytes"], rows=row["rows"]) for row in rows[: first["tables"]]
        ),
    )


def read_invalid_indexes(conn: Connection) -> tuple[InvalidIndex, ...]:
    """Indexes that are not valid. Reads pg_index and pg_locks."""
    return tuple(InvalidIndex(**row) for row in conn.execute(text(_INVALID)).mappings())


def read_not_validated(conn: Connection) -> tuple[NotValidated, ...]:
    """Constraints that are NOT VALID (and are enforced). Reads pg_constraint."""
    return tuple(NotValidated(**row) for row in conn.execute(text(_NOT_VALID)).mappings())


def read_upkeep(conn: Connection) -> Upkeep:
    """Dead rows and ages. Reads statistics and pg_database."""
    worst = tuple(DeadRows(**row) for row in conn.execute(text(_DEAD)).mappings())
    return Upkeep(worst=worst, **conn.execute(text(_UPKEEP)).mappings().one())


def look_at_disks(conn: Connection) -> tuple[Disk, ...] | None:
    """Room where the database and the WAL lie, each file system once; None where the server's disks cannot be seen from
    here, or this role may not know where its data lies. Reads a setting, then asks this machine."""
    place = disk_of(conn)
    if place is None:
        return None
    found: dict[int, Disk] = {}
    for folder in (place, place / "pg_wal"):
        with suppress(OSError):  # pg_wal, of a folder that we may not enter
            found.setdefault(folder.stat().st_dev, _disk(folder))
    return tuple(found.values()) or None


def _disk(folder: Path) -> Disk:
    usage = shutil.disk_usage(folder)
    return Disk(folder=str(folder), total=usage.total, free=usage.free)
