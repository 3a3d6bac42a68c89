"""What this transaction has touched, read from its own locks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

# Writing rows takes ROW EXCLUSIVE on the table (manual, "Table-Level Locks"), also through a view, a trigger, a rule, a
# cascade, or into a partition; TRUNCATE and a rewrite take ACCESS EXCLUSIVE. Each mode that is held is a row of pg_locks
# of its own, so a table on which we hold only SHARE or SHARE ROW EXCLUSIVE (a foreign key to it) was not written.
WRITING_MODES = ("RowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
LARGE_OBJECTS = ("pg_largeobject", "pg_largeobject_metadata")
# Creating, dropping or granting a large object releases its lock on these two at once (LargeObjectDrop and others close
# the catalog with the lock). Their counters of this transaction tell; those also count what ROLLBACK TO took back.
_COUNTED = """
    SELECT c.oid::bigint FROM pg_class c
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (:large_objects)
        AND pg_stat_get_xact_tuples_inserted(c.oid) + pg_stat_get_xact_tuples_updated(c.oid)
            + pg_stat_get_xact_tuples_deleted(c.oid) > 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, partition, materialized view, sequence or foreign table that may hold content."""

    oid: int
    name: str
    kind: str
    filenode: int


def read_relations(conn: Connection) -> tuple[Relation, ...]:
    """Everything in the database that holds content, ours and temporary ones apart. Reads pg_class alone.

    Names are quoted and qualified. pg_relation_filenode sees through the map of shared catalogs.
    """
    rows = conn.execute(
        text(
            "SELECT c.oid::bigint AS oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,"
            " c.relkind::text AS kind, coalesce(pg_relation_filenode(c.oid), 0)::bigint AS filenode"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE (c.relkind IN ('r', 'm', 'S', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema',"
            " 'pg_toast') AND n.nspname !~ '^pg_(temp|toast_temp)_')"
            " OR (n.nspname = 'pg_catalog' AND c.relname = ANY (:large_objects)) ORDER BY 2"
        ),
        {"large_objects": list(LARGE_OBJECTS)},
    ).mappings()
    return tuple(Relation(**row) for row in rows)


def written_relations(conn: Connection) -> frozenset[int]:
    """OIDs of the relations that this transaction holds a lock on with which rows can be written.

    Reads pg_locks for our own backend. Locks are kept to the end of the transaction, and are gone after ROLLBACK TO a
    savepoint, as what was written is. Large objects are counted beside that.
    """
    rows = conn.execute(
        text(
            "SELECT DISTINCT relation::bigint FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
            f" AND granted AND mode = ANY (:modes) UNION {_COUNTED}"
        ),
        {"modes": list(WRITING_MODES), "large_objects": list(LARGE_OBJECTS)},
    )
    return frozenset(int(row[0]) for row in rows)
