"""What this transaction has touched, read from its own locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase

# Writing rows takes ROW EXCLUSIVE on the table (manual, "Table-Level Locks"), also through a view, a trigger, a rule, a
# cascade, or into a partition; TRUNCATE and a rewrite take ACCESS EXCLUSIVE. Each mode that is held is a row of pg_locks
# of its own, so a table on which we hold only SHARE or SHARE ROW EXCLUSIVE (a foreign key to it) was not written.
WRITING_MODES = ("RowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
LARGE_OBJECTS = ("pg_largeobject", "pg_largeobject_metadata")
# What facts.py reads, what follows from it (dependencies, initial grants), and statistics, which prove nothing.
KNOWN_CATALOGS = (
    *("pg_aggregate", "pg_am", "pg_amop", "pg_amproc", "pg_attrdef", "pg_attribute", "pg_authid", "pg_auth_members"),
    *("pg_cast", "pg_class", "pg_collation", "pg_constraint", "pg_conversion", "pg_database", "pg_db_role_setting"),
    *("pg_default_acl", "pg_depend", "pg_description", "pg_enum", "pg_event_trigger", "pg_extension"),
    *("pg_foreign_data_wrapper", "pg_foreign_server", "pg_foreign_table", "pg_index", "pg_inherits", "pg_init_privs"),
    *("pg_language", "pg_namespace", "pg_opclass", "pg_operator", "pg_opfamily", "pg_parameter_acl"),
    *("pg_partitioned_table", "pg_policy", "pg_proc", "pg_publication", "pg_publication_namespace"),
    *("pg_publication_rel", "pg_range", "pg_rewrite", "pg_seclabel", "pg_sequence", "pg_shdepend", "pg_shdescription"),
    *("pg_shseclabel", "pg_statistic", "pg_statistic_ext", "pg_statistic_ext_data", "pg_subscription"),
    *("pg_tablespace", "pg_transform", "pg_trigger", "pg_ts_config", "pg_ts_config_map", "pg_ts_dict", "pg_ts_parser"),
    *("pg_ts_template", "pg_type", "pg_user_mapping", *LARGE_OBJECTS),
)
_WRITTEN_ROWS = (
    "pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)"
    " + pg_stat_get_xact_tuples_deleted(c.oid)"
)
_LOCKED = (
    "SELECT DISTINCT relation FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted"
    " AND mode = ANY (:modes)"
)
# Large objects are known by the counters of this transaction alone, which also count what ROLLBACK TO took back: reading one
# takes ROW EXCLUSIVE on these two catalogs as well, and creating, dropping or granting one releases its lock at once
# (LargeObjectDrop and others close the catalog with the lock).
_COUNTED = f"""
    SELECT c.oid::bigint FROM pg_class c
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (:large_objects) AND {_WRITTEN_ROWS} > 0
"""
OWN_SCHEMA = "lawsker_db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, partition, materialized view, sequence or foreign table that may hold content.

    `layout` is a digest of how its file is read: the columns, and what older rows have in those that were added since.
    """

    oid: int
    name: str
    kind: str
    filenode: int
    layout: str


def read_relations(conn: Connection) -> tuple[Relation, ...]:
    """Everything in the database that holds content, ours and temporary ones apart. Reads pg_class and pg_attribute.

    Names are quoted and qualified. pg_relation_filenode sees through the map of shared catalogs.
    """
    rows = conn.execute(
        text(
            "SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,"
            " c.relkind::text AS kind, coalesce(pg_relation_filenode(c.oid), 0)::bigint AS filenode,"
            " (SELECT coalesce(sum(hashtextextended(row(a.attnum, a.attname, a.atttypid, a.attlen, a.attbyval, a.attalign,"
            " a.attisdropped, a.atthasmissing, a.attmissingval)::text, 0)), 0)::text FROM pg_attribute a"
            " WHERE a.attrelid = c.oid AND a.attnum > 0) AS layout"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE (c.relkind IN ('r', 'm', 'S', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema',"
            " 'pg_toast') AND n.nspname !~ '^pg_(temp|toast_temp)_')"
            " OR (n.nspname = 'pg_catalog' AND c.relname = ANY (:large_objects)) ORDER BY 2"
        ),
        {"large_objects": list(LARGE_OBJECTS)},
    ).mappings()
    return tuple(Relation(**row) for row in rows)


def rewritten_by_others(conn: Connection, oids: Iterable[int]) -> frozenset[int]:
    """Those of these relations whose row in pg_class a transaction has written that is not ours: it has committed, and what
    we write is in progress until the end, our savepoints' included. Asks the server of each.

    A row that VACUUM froze tells its writer still, by the 32 low bits of an id: the one nearest to our own is meant.
    """
    rows = conn.execute(
        text(
            "SELECT c.oid::bigint FROM pg_class c, txid_current() AS here WHERE c.oid = ANY (:oids) AND txid_status(here"
            " + (c.xmin::text::bigint - here % 4294967296 + 6442450944) % 4294967296 - 2147483648) = 'committed'"
        ),
        {"oids": list(oids)},
    )
    return frozenset(int(row[0]) for row in rows)


def read_family(conn: Connection, table: str) -> tuple[int, ...]:
    """OIDs of a relation (quoted and qualified) and of all its partitions and children. Reads the catalog alone."""
    rows = conn.execute(
        text(
            "WITH RECURSIVE family AS (SELECT to_regclass(:table)::oid AS oid UNION"
            " SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid)"
            " SELECT oid::bigint FROM family WHERE oid IS NOT NULL ORDER BY 1"
        ),
        {"table": table},
    )
    return tuple(int(row[0]) for row in rows)


def unknown_catalogs(conn: Connection) -> tuple[str, ...]:
    """System catalogs that this transaction has written rows of, and that no comparison of ours reads.

    By the counters of our own transaction, which also count what ROLLBACK TO took back. A server newer than this package
    may keep things in catalogs that it does not know.
    """
    rows = conn.execute(
        text(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'"
            f" AND c.relname <> ALL (:known) AND {_WRITTEN_ROWS} > 0 ORDER BY 1"
        ),
        {"known": list(KNOWN_CATALOGS)},
    )
    return tuple(str(row[0]) for row in rows)


def count_shared(conn: Connection) -> dict[str, int]:
    """How many rows of each catalog that all databases share this session has written and not told the server yet: those
    of this transaction, and it may be of the one before. Reads its own counters."""
    rows = conn.execute(
        text(f"SELECT c.relname, {_WRITTEN_ROWS} FROM pg_class c WHERE c.relisshared AND c.relkind = 'r'")
    )
    return {str(name): int(written) for name, written in rows}


def written_shared(conn: Connection, before: Mapping[str, int]) -> frozenset[str]:
    """Catalogs that all databases share and that this transaction has written since `before` was counted, or holds a lock
    on with which it could. Reads its own counters and pg_locks."""
    locked = conn.execute(
        text(f"SELECT c.relname FROM pg_class c JOIN ({_LOCKED}) AS l ON l.relation = c.oid WHERE c.relisshared"),
        {"modes": list(WRITING_MODES)},
    )
    counted = {name for name, written in count_shared(conn).items() if written != before.get(name)}
    return frozenset(counted | {str(name) for name in locked.scalars()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What this transaction has written of a relation so far: rows, as it counts them, and its file."""

    name: str
    rows: int
    filenode: int


def count_written(conn: Connection, *, catalogs: bool = True) -> dict[int, Written]:
    """Every relation that this transaction has written or could have, temporary ones and the schema `lawsker_db` apart,
    and the system's with `catalogs` alone. Reads its own counters and pg_locks."""
    rows = conn.execute(
        text(
            f"SELECT c.oid::bigint, c.oid::regclass::text, {_WRITTEN_ROWS},"
            " coalesce(pg_relation_filenode(c.oid), 0)::bigint FROM pg_class c"
            f" WHERE c.relkind IN ('r', 'm', 'S', 't', 'f') AND c.relpersistence <> 't' AND ({_WRITTEN_ROWS} > 0"
            f" OR c.oid IN ({_LOCKED})) AND c.relnamespace IS DISTINCT FROM to_regnamespace(:own)"
            " AND c.oid NOT IN (SELECT o.reltoastrelid FROM pg_class o WHERE o.relnamespace = to_regnamespace(:own))"
            " AND (:catalogs OR c.oid >= 16384)"
        ),
        {"modes": list(WRITING_MODES), "own": OWN_SCHEMA, "catalogs": catalogs},
    )
    return {
        int(oid): Written(name=str(name), rows=int(written), filenode=int(file)) for oid, name, written, file in rows
    }


def is_counting(conn: Connection) -> bool:
    """Whether the server counts what this session writes. Asks it."""
    return bool(conn.execute(text("SELECT current_setting('track_counts')::boolean")).scalar_one())


def require_counting(conn: Connection) -> None:
    """Have the server count what this transaction writes, until it ends; large objects and catalogs are known by that.

    Raises `Refused` where the role has it switched off and may not switch it on.
    """
    counting, superuser, user = conn.execute(
        text(
            "SELECT current_setting('track_counts')::boolean, rolsuper, quote_ident(rolname) FROM pg_roles"
            " WHERE rolname = current_user"
        )
    ).one()
    if counting:
        return
    if not superuser:
        raise Refused(
            Phrase("The session runs with track_counts = off: what it writes to large objects could not be told."),
            hint=Phrase(
                "ALTER ROLE {user} RESET track_counts, or ALTER SYSTEM RESET it, then type it again", user=user
            ),
        )
    conn.execute(text("SET LOCAL track_counts = on"))


def written_relations(conn: Connection) -> frozenset[int]:
    """OIDs of the relations that this transaction holds a lock on with which rows can be written.

    Reads pg_locks for our own backend. Locks are kept to the end of the transaction, and are gone after ROLLBACK TO a
    savepoint, as what was written is. Large objects are counted beside that.
    """
    rows = conn.execute(
        text(
            f"SELECT relation::bigint FROM ({_LOCKED}) AS l WHERE relation NOT IN ('pg_largeobject'::regclass,"
            f" 'pg_largeobject_metadata'::regclass) UNION {_COUNTED}"
        ),
        {"modes": list(WRITING_MODES), "large_objects": list(LARGE_OBJECTS)},
    )
    return frozenset(int(row[0]) for row in rows)
