"""What a pg_dump of this database would silently miss, or which holes its client has."""

from __future__ import annotations

from sqlalchemy import Connection, text

from lawsker_db.evidence import Check
from lawsker_db.postgres.tools import Tool

# Security releases of pg_dump and pg_restore (postgresql.org/support/security): the first minor without known holes.
#   CVE-2024-7348   an object swapped during a dump runs its code as whoever dumps
#   CVE-2025-8714   a superuser of the server injects psql meta-commands into a plain dump
#   CVE-2025-8715   a newline in an object's name injects SQL into a dump
#   CVE-2026-6477   a hostile server overwrites the client's memory when a large object is read
NO_FIX = 1 << 16
WHOLE_SINCE: dict[int, tuple[int, str]] = {
    12: (NO_FIX, "CVE-2025-8714, CVE-2025-8715, CVE-2026-6477 (12 gets no fixes any more)"),
    13: (NO_FIX, "CVE-2026-6477 (13 gets no fixes any more)"),
    14: (23, "CVE-2026-6477"),
    15: (18, "CVE-2026-6477"),
    16: (14, "CVE-2026-6477"),
    17: (10, "CVE-2026-6477"),
    18: (4, "CVE-2026-6477"),
}

_QUESTIONS: tuple[tuple[str, str, str], ...] = (
    (
        "rows of extensions",
        "their rows are dumped only where the extension says so",
        """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass
           AND d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid
           WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0 AND NOT c.oid = ANY (coalesce(x.extconfig, '{}'))""",
    ),
    (
        "foreign tables",
        "their rows are on another server and are not dumped",
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'f'",
    ),
    (
        "unlogged tables",
        "they are dumped, but a crash of the server empties them",
        """SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relpersistence = 'u'""",
    ),
    (
        "large objects",
        "this role may not read them, so pg_dump fails",
        """SELECT m.oid::text FROM pg_largeobject_metadata m JOIN pg_roles r ON r.rolname = current_user
           WHERE NOT r.rolsuper AND NOT pg_has_role(m.lomowner, 'USAGE')
           AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
               AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))""",
    ),
    (
        "row-level security",
        "its policies hide rows from this role, so pg_dump fails",
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND row_security_active(c.oid)",
    ),
    (
        "subscriptions",
        "they are restored disabled, without their slot",
        """SELECT s.subname::text FROM pg_stat_subscription s JOIN pg_database d ON d.datname = current_database()
           LIMIT 5""",
    ),
)
FATAL = ("large objects", "row-level security")
SHOWN = 5


def dump_checks(conn: Connection) -> tuple[Check, ...]:
    """A check for each way in which a dump of this database is less than the database. Reads the catalog."""
    checks: list[Check] = []
    for name, why, query in _QUESTIONS:
        found = [str(row[0]) for row in conn.execute(text(query))]
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        checks.append(
            Check(
                name=f"dump: {name}",
                ok=not found,
                expected="none",
                found=f"{', '.join(found[:SHOWN])}{more}: {why}" if found else "none",
                detail="back up as a superuser, or as a role with BYPASSRLS" if found and name in FATAL else "",
                warning=name not in FATAL,
            )
        )
    return tuple(checks)


def client_check(tool: Tool) -> Check:
    """Pure. Whether this client has a known hole that a hostile object in the database could use."""
    major, minor = tool.version
    whole = WHOLE_SINCE.get(major)
    ok = whole is None or minor >= whole[0]
    return Check(
        name="dump: client",
        ok=ok,
        expected="no known hole",
        found=tool.label if ok or whole is None else f"{tool.label}, open to {whole[1]}",
        detail="" if ok or whole is None else _remedy(major, whole[0]),
        warning=True,
    )


def _remedy(major: int, minor: int) -> str:
    return "use the client of a newer major" if minor == NO_FIX else f"upgrade the client to {major}.{minor} or newer"
