"""Rights in one database as values and questions; and what pg_dump must be allowed to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from sqlalchemy import Connection, text

from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import quoted
from lawsker_db.postgres.touched import OWN_SCHEMA
from lawsker_db.record.markup import visible

STAMP = "alembic_version"
EVERYBODY = "public"  # which has_..._privilege() takes for a role: what a role that does not exist yet will have


class Need(StrEnum):
    """How much depends on a right."""

    NEEDED = "needed"
    ADVISED = "advised"
    ON_REQUEST = "on request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A statement that gives a right. `without` is what happens where it is left out; `there`: the role has it already."""

    statement: str
    why: str
    without: str
    need: Need = Need.NEEDED
    there: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose rights in which schema. `through` are the names that have_..._privilege() is asked for: the role (or
    everybody, where it does not exist yet), and the owners whose member it is to be; `own` the tables that it is to own."""

    role: str
    schema: str
    exists: bool
    through: tuple[str, ...]
    own: frozenset[str] = frozenset()

    @property
    def spelled(self) -> str:
        """Pure. The role in a statement."""
        return spelled(self.role)

    @property
    def members(self) -> list[str]:
        """Pure. Those of `through` that are roles."""
        return [name for name in self.through if self.exists or name != EVERYBODY]


def spelled(name: str) -> str:
    """Pure. An identifier in double quotes, on one line whatever is in it: a statement may be read by people, and piped."""
    if name.isprintable():
        return '"' + name.replace('"', '""') + '"'
    inner = "".join(char if char.isprintable() else f"\\+{ord(char):06X}" for char in name.replace("\\", "\\\\"))
    return 'U&"' + inner.replace('"', '""') + '"'


def granted(conn: Connection, asked: Asked, question: str, **values: object) -> bool:
    """Whether the answer is yes for the role, or for one whose member it is to be."""
    query = text(f"SELECT bool_or({question}) FROM unnest(:through ::text[]) AS r")
    return bool(conn.execute(query, {"through": list(asked.through), **values}).scalar_one())


def has_role(conn: Connection, role: str, of: str) -> bool:
    """Whether a role, which exists, has all rights of another one."""
    return bool(conn.execute(text("SELECT pg_has_role(:role, :of, 'USAGE')"), {"role": role, "of": of}).scalar_one())


def attribute(conn: Connection, asked: Asked, name: str) -> bool:
    """One of the role's own attributes, as rolcreatedb; false where it does not exist."""
    query = text(f"SELECT {name} FROM pg_roles WHERE rolname = :role")
    return bool(conn.execute(query, {"role": asked.role}).scalar_one_or_none())


def in_schema(asked: Asked, name: str) -> str:
    """Pure. A name in the application's schema, in a statement."""
    return f"{spelled(asked.schema)}.{spelled(name)}"


def on_table(
    conn: Connection, asked: Asked, name: str, rights: dict[str, str], told: tuple[str, str, Need], schema: str = ""
) -> Iterator[Grant]:
    """One grant of what is missing, and one of what is there. `rights`: what is granted, and what is asked for."""
    table = f"{spelled(schema or asked.schema)}.{spelled(name)}"
    question = "has_table_privilege(r, :name ::regclass::oid, :right)"
    known_as = f"{quoted(schema or asked.schema)}.{quoted(name)}"
    there = [right for right, asks in rights.items() if granted(conn, asked, question, name=known_as, right=asks)]
    for listed, is_there in (([right for right in rights if right not in there], False), (there, True)):
        if listed:
            why, without, need = told
            statement = f"GRANT {', '.join(listed)} ON TABLE {table} TO {asked.spelled}"
            yield Grant(statement=statement, why=why, without=without, need=need, there=is_there)


def reading_rights(conn: Connection, asked: Asked, told: set[str]) -> Iterator[Grant]:
    """What pg_dump reads, whoever owns it, and this role may not read yet; `told` are tables that are granted elsewhere."""
    yield from _relations(conn, asked, told)
    yield from _hidden_rows(conn, asked)
    yield from _large_objects(conn, asked)


def _relations(conn: Connection, asked: Asked, told: set[str]) -> Iterator[Grant]:
    """Tables and sequences, a statement for each schema and kind."""
    rows = conn.execute(
        text(
            "SELECT n.nspname, c.relname, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, s.usable, s.readable"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
            " LATERAL (SELECT bool_or(has_schema_privilege(r, n.oid, 'USAGE')) AS usable, bool_or(CASE c.relkind"
            " WHEN 'S' THEN has_sequence_privilege(r, c.oid, 'SELECT') ELSE has_table_privilege(r, c.oid, 'SELECT')"
            " END) AS readable FROM unnest(:through ::text[]) AS r) s"
            " WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
            " AND NOT (n.nspname = :schema AND c.relname = ANY (:told))"
            " AND NOT (n.nspname = 'lawsker_db' AND c.relname = 'migration_run')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
            " AND d.deptype = 'e') AND NOT (s.usable AND s.readable) ORDER BY 1, 3, 2"
        ),
        {"through": list(asked.through), "schema": asked.schema, "told": sorted({*told, *asked.own, STAMP})},
    ).all()
    without = Phrase("no backup can be taken, so safe-upgrade is refused")
    known = (asked.schema, OWN_SCHEMA)
    for schema in sorted({row[0] for row in rows if not row[3] and row[0] not in known}):
        statement = f"GRANT USAGE ON SCHEMA {spelled(schema)} TO {asked.spelled}"
        yield Grant(statement=statement, why=Phrase("pg_dump reads what is in it"), without=without)
    for (schema, kind), found in groupby((row for row in rows if not row[4]), key=lambda row: (row[0], row[2])):
        listed = ", ".join(f"{spelled(schema)}.{spelled(row[1])}" for row in found)
        statement = f"GRANT SELECT ON {kind} {listed} TO {asked.spelled}"
        yield Grant(statement=statement, why=Phrase("pg_dump reads them"), without=without)


def _hidden_rows(conn: Connection, asked: Asked) -> Iterator[Grant]:
    """Policies hide rows from whoever is not the owner's member, and where they are forced from those too."""
    names = conn.execute(
        text(
            "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity"
            " AND (c.relforcerowsecurity OR NOT EXISTS (SELECT FROM unnest(:members ::text[]) AS r"
            " WHERE pg_has_role(r, c.relowner, 'USAGE'))) AND (c.relforcerowsecurity OR c.relname <> ALL (:own)) ORDER BY 1"
        ),
        {"members": asked.members, "own": sorted(asked.own)},
    ).scalars()
    listed = ", ".join(names)
    if listed:
        yield Grant(
            statement=f"ALTER ROLE {asked.spelled} BYPASSRLS",
            why=Phrase("pg_dump must see all rows, and policies hide some of {tables}", tables=visible(listed)),
            without=Phrase("no backup can be taken, so safe-upgrade is refused"),
            there=asked.exists and attribute(conn, asked, "rolbypassrls"),
        )


def _large_objects(conn: Connection, asked: Asked) -> Iterator[Grant]:
    rows = conn.execute(
        text(
            "SELECT m.oid FROM pg_largeobject_metadata m WHERE NOT current_setting('lo_compat_privileges')::bool"
            " AND NOT EXISTS (SELECT FROM unnest(:members ::text[]) AS r WHERE pg_has_role(r, m.lomowner, 'USAGE')"
            " OR EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' AND a.grantee <> 0"
            " AND pg_has_role(r, a.grantee, 'USAGE')))"
            " AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' AND a.grantee = 0)"
            " ORDER BY 1"
        ),
        {"members": asked.members},
    ).scalars()
    listed = ", ".join(str(oid) for oid in rows)
    if listed:
        yield Grant(
            statement=f"GRANT SELECT ON LARGE OBJECT {listed} TO {asked.spelled}",
            why=Phrase("pg_dump reads them"),
            without=Phrase("no backup can be taken, so safe-upgrade is refused"),
        )
