"""Every row of the system catalogs, read raw: what pg_dump's text leaves out (large objects' owners, subscriptions, roles,
passwords, dependencies, system objects) shows here. After a rollback not one row may differ.

Shares no code with src/.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

# What the server itself changes at any time: statistics, vacuum's horizons, files of other sessions' temporary tables.
MOVING_TABLES = ("pg_statistic", "pg_statistic_ext_data", "pg_shdepend")
MOVING_COLUMNS = {
    "pg_class": ("relpages", "reltuples", "relallvisible", "relallfrozen", "relfrozenxid", "relminmxid"),
    "pg_database": ("datfrozenxid", "datminmxid"),
}
# Shared catalogs also tell of other databases, where other tests work; of roles, only those that the tests here know.
OWN_ROWS = {
    # The schema of temporary objects is made once for each server process's place, and stays: whoever connects a moment
    # before another has left takes another place.
    "pg_namespace": "nspname !~ '^pg_(toast_)?temp_'",
    "pg_database": "datname IN (current_database(), 'postgres')",
    "pg_db_role_setting": "setdatabase IN (SELECT oid FROM pg_database WHERE datname = current_database()"
    " UNION SELECT 0::oid)",
    "pg_authid": "rolname ~ '^(lawsker_report|evil|pg_)' OR rolname = current_user",
    "pg_auth_members": "member IN (SELECT oid FROM pg_authid WHERE rolname ~ '^(lawsker_report|evil|pg_)')",
    "pg_subscription": "subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "pg_shdescription": "objoid IN (SELECT oid FROM pg_authid WHERE rolname = 'lawsker_report' UNION SELECT oid"
    " FROM pg_tablespace UNION SELECT oid FROM pg_database WHERE datname = current_database())",
}


def catalog_rows(url: str, *, shared: bool) -> dict[str, str]:
    """The name of each system catalog to a digest of its rows: those of the server as a whole, or those of the database
    alone, which a clone has as its template."""
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = pg_catalog")
        tables = connection.execute(
            "SELECT c.relname, array_agg(a.attname ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a"
            " ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relnamespace = 'pg_catalog'::regnamespace"
            " AND c.relkind = 'r' AND c.relname <> ALL (%s) AND c.relisshared = %s GROUP BY 1 ORDER BY 1",
            (list(MOVING_TABLES), shared),
        ).fetchall()
        parts = [
            sql.SQL(
                "SELECT {}, md5(string_agg(r, E'\\n' ORDER BY r)) FROM (SELECT row({})::text AS r FROM {} WHERE {}) s"
            ).format(
                sql.Literal(name),
                sql.SQL(", ").join(sql.Identifier(c) for c in columns if c not in MOVING_COLUMNS.get(name, ())),
                sql.Identifier(name),
                sql.SQL(OWN_ROWS.get(name, "true")),
            )
            for name, columns in tables
        ]
        return {str(name): str(digest) for name, digest in connection.execute(sql.SQL(" UNION ALL ").join(parts))}
