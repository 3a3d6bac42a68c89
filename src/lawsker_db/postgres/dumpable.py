"""What a pg_dump of this database would silently miss, or which holes its client has."""

from __future__ import annotations

from sqlalchemy import Connection, text

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.tools import Tool

# Holes of the client programs (postgresql.org/support/security, the CVE records of PostgreSQL's own authority), which
# programs have them, and the first whole minor of each major. A major older than those named gets no fix, a newer one
# never had the hole.
#   CVE-2024-7348    an object swapped during a dump runs its code as whoever dumps (the server needs its fix, too)
#   CVE-2025-8714    a superuser of the server injects psql meta-commands into a plain dump
#   CVE-2025-8715    a newline in an object's name injects SQL into a dump
#   CVE-2026-6477    a hostile server overwrites the client's memory when a large object is read
#   CVE-2026-18408   the fix of CVE-2025-8714 can be got around
#   CVE-2026-116314  an altered archive runs code as the operating system's user who restores it
DUMP, RESTORE = "pg_dump", "pg_restore"
HOLES: tuple[tuple[str, tuple[str, ...], dict[int, int]], ...] = (
    ("CVE-2024-7348", (DUMP,), {12: 20, 13: 16, 14: 13, 15: 8, 16: 4}),
    ("CVE-2025-8714", (DUMP, RESTORE), {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}),
    ("CVE-2025-8715", (DUMP, RESTORE), {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}),
    ("CVE-2026-6477", (DUMP,), {14: 23, 15: 18, 16: 14, 17: 10, 18: 4}),
    ("CVE-2026-18408", (DUMP, RESTORE), {14: 24, 15: 19, 16: 15, 17: 11, 18: 6}),
    ("CVE-2026-116314", (RESTORE,), {14: 25, 15: 20, 16: 16, 17: 12, 18: 7}),
)
NO_FIX = 1 << 16

_QUESTIONS: tuple[tuple[str, str, str], ...] = (
    (
        Phrase("rows of extensions"),
        Phrase("their rows are dumped only where the extension says so"),
        """SELECT c.oid::regclass::text FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass
           AND d.objid = c.oid AND d.deptype = 'e' JOIN pg_extension x ON x.oid = d.refobjid
           WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0 AND NOT c.oid = ANY (coalesce(x.extconfig, '{}'))""",
    ),
    (
        Phrase("foreign tables"),
        Phrase("their rows are on another server and are not dumped"),
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'f'",
    ),
    (
        Phrase("unlogged tables"),
        Phrase("they are dumped, but a crash of the server empties them"),
        """SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relpersistence = 'u'""",
    ),
    (
        Phrase("invalid indexes"),
        Phrase("they are not dumped; REINDEX or DROP each, or let the one that is being built be finished"),
        """SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
           WHERE NOT i.indisvalid AND c.relkind = 'i'""",
    ),
    (
        Phrase("large objects"),
        Phrase("this role may not read them, so pg_dump fails"),
        """SELECT m.oid::text FROM pg_largeobject_metadata m JOIN pg_roles r ON r.rolname = current_user
           WHERE NOT r.rolsuper AND NOT current_setting('lo_compat_privileges')::bool
           AND NOT pg_has_role(m.lomowner, 'USAGE')
           AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
               AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))""",
    ),
    (
        Phrase("row-level security"),
        Phrase("its policies hide rows from this role, so pg_dump fails"),
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND row_security_active(c.oid)",
    ),
    (
        Phrase("subscriptions"),
        Phrase("they are dumped by a superuser only, and restored disabled, without their slot"),
        """SELECT quote_ident(s.subname) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
           WHERE d.datname = current_database()""",
    ),
    (
        Phrase("invalid databases"),
        Phrase("an interrupted DROP DATABASE left them; nobody can connect to or dump one: DROP DATABASE each"),
        "SELECT quote_ident(datname) FROM pg_database WHERE datconnlimit = -2",  # DATCONNLIMIT_INVALID_DB
    ),
)
# What makes pg_dump fail, and the statement that lets the role read it.
FATAL = {
    "large objects": "GRANT SELECT ON LARGE OBJECT {found} TO {role}",
    "row-level security": "ALTER ROLE {role} BYPASSRLS",
}
SHOWN = 5


def dump_checks(conn: Connection) -> tuple[Check, ...]:
    """A check for each way in which a dump of this database is less than the database. Reads the catalog."""
    checks: list[Check] = []
    role = str(conn.execute(text("SELECT quote_ident(current_user)")).scalar_one())
    for name, why, query in _QUESTIONS:
        found = [str(row[0]) for row in conn.execute(text(query))]
        checks.append(
            Check(
                name=Phrase("dump: {name}", name=name),
                ok=not found,
                expected=Phrase("none"),
                found=Phrase("{listed}: {why}", listed=first_of(found, SHOWN), why=why) if found else Phrase("none"),
                detail=Phrase("back up as a superuser, or as a role with BYPASSRLS") if found and name in FATAL else "",
                hint=FATAL[name].format(found=", ".join(found), role=role) if found and name in FATAL else "",
                warning=name not in FATAL,
            )
        )
    return tuple(checks)


def client_check(tool: Tool) -> Check:
    """Pure. Whether this client program has a known hole."""
    major, minor = tool.version
    program = tool.path.name
    fixes = [(cve, _fixed_in(major, minors)) for cve, programs, minors in HOLES if program in programs]
    holes = [(cve, fix) for cve, fix in fixes if minor < fix]
    named = ", ".join(cve for cve, _ in holes)
    whole = max((fix for _, fix in holes), default=0)
    remedy = (
        Phrase("use the client of a newer major")
        if whole == NO_FIX
        else Phrase("upgrade the client to {major}.{whole} or newer", major=major, whole=whole)
    )
    return Check(
        name=Phrase("holes of {program}", program=program),
        ok=not holes,
        expected=Phrase("none that is known"),
        found=Phrase("{tool} has {holes}: {remedy}", tool=tool.label, holes=named, remedy=remedy)
        if holes
        else Phrase("none in {tool}", tool=tool.label),
        detail=remedy if holes else "",
        warning=True,
    )


def _fixed_in(major: int, minors: dict[int, int]) -> int:
    """Pure. The first whole minor of a major."""
    return minors.get(major, 0 if major > max(minors) else NO_FIX)
