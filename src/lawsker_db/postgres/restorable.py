"""What of an archive this role cannot restore on this server, and which differences follow from leaving it out.

A superuser restores everything but subscriptions: a restored one could be told to drop the original's replication slot,
and no database that has one can be dropped. An ordinary role leaves out by an edited list what only superusers may
create; where objects have owners that it is not, all become its own, and grants go with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.catalog import Catalog, Difference, Facts, Identity, parts_of
from lawsker_db.postgres.session import server_major

TRUSTED_MAJOR = 13  # pg_available_extension_versions.trusted
SHOWN = 5
SUBSCRIPTIONS = ("SUBSCRIPTION",)
# Entries that only superusers (or owners of what ordinary roles do not own) may create; manual, CREATE of each.
SUPERUSERS_ONLY = (
    *("EVENT TRIGGER", "PUBLICATION", "FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING", "FOREIGN TABLE"),
    *("PROCEDURAL LANGUAGE", "ACCESS METHOD", "TRANSFORM", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE"),
)
# What comments, grants and security labels on these call them, where that is something else.
ALSO_CALLED = ("LANGUAGE", "FOREIGN SERVER")
REMARKS = ("COMMENT", "ACL", "SECURITY LABEL")
# The same in the words of the catalog, and of its kind "object", which holds others too.
KINDS = ("event trigger", "publication", "published table", "published schema", "foreign server")
OBJECTS = (
    *("foreign-data wrapper ", "user mapping ", "language ", "access method ", "transform ", "text search parser "),
    "text search template ",
)
OWNERSHIP = ("owner", "acl")
# A role that stands for the owner of whatever database one is in (14 and newer), and the one that owns schema public.
OWNER_OF_DATABASE = "pg_database_owner"
PUBLIC = "public"

_ENTRY = re.compile(r"\d+; \d+ \d+ (?P<what>.*)")


INDEXES = ("INDEX ", "CONSTRAINT ")
ATTACHING = "INDEX ATTACH "


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Entries that are restored together, and whether several at once."""

    entries: tuple[str, ...]
    parallel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorer:
    """Who restores: `roles` are all that stand on the server, `extensions` those that this role may create."""

    user: str
    superuser: bool
    roles: frozenset[str]
    extensions: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is restored: the entries that stay, options for pg_restore, and what was left out, each with its reason.

    `gone` are the entries that were left out, without their numbers and without what is only said of them.
    """

    entries: tuple[str, ...]
    options: tuple[str, ...]
    omitted: tuple[str, ...]
    gone: tuple[str, ...]
    kinds: tuple[str, ...]
    names: frozenset[Identity]
    ownership: bool
    superuser: bool

    @property
    def may_break_others(self) -> bool:
        """Pure. Whether what stays may need what was left out. Nothing hangs on a subscription."""
        return self.ownership or any(not what.startswith("SUBSCRIPTION ") for what in self.gone)

    def covers(self, difference: Difference) -> bool:
        """Pure. Whether a difference between original and copy follows from what was left out."""
        identity = (difference.kind, difference.name)
        table = _table_of(difference.name)
        gone = difference.kind == "object" and not self.superuser and difference.name.startswith(OBJECTS)
        if gone or difference.kind in self.kinds or identity in self.names or table in self.names:
            return True
        if (
            identity[0] == "sequence"
            and difference.attribute == "owned_by"
            and _table_of(difference.expected) in self.names
        ):
            return True
        if self.ownership and (difference.attribute in OWNERSHIP or difference.kind == "default privileges"):
            return True
        own = difference.kind == "extension" and difference.attribute in (*OWNERSHIP, "comment")
        of_public = identity == ("schema", PUBLIC) and difference.attribute in (*OWNERSHIP, "comment")
        return not self.superuser and (own or of_public)


def read_restorer(conn: Connection) -> Restorer:
    """Who this connection is, which roles there are, and which extensions it may create. Reads the catalog."""
    user, superuser = conn.execute(
        text("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
    ).one()
    trusted = " OR v.trusted" if server_major(conn) >= TRUSTED_MAJOR else ""
    extensions = conn.execute(
        text(
            "SELECT DISTINCT v.name FROM pg_available_extension_versions v"
            f" WHERE :superuser OR NOT v.superuser{trusted}"
        ),
        {"superuser": superuser},
    )
    return Restorer(
        user=str(user),
        superuser=bool(superuser),
        roles=frozenset(str(name) for name in conn.execute(text("SELECT rolname FROM pg_roles")).scalars()),
        extensions=frozenset(str(name) for name in extensions.scalars()),
    )


def select_entries(entries: tuple[str, ...], catalog: Catalog, restorer: Restorer) -> Selection:
    """Pure. The entries of an archive's list that `restorer` can restore, of a database whose catalog this was."""
    foreign = _foreign_roles(catalog, restorer)
    extensions = {
        name for kind, name in catalog.objects if kind == "extension" and _raw(name) not in restorer.extensions
    }
    hanging = {} if restorer.superuser else _hanging(catalog)
    exact = _of_extensions(extensions) | {entry for entries_of in hanging.values() for entry in entries_of}
    if not restorer.superuser:
        exact |= _of_text_search(catalog) | _of_schema_public(catalog, restorer)
    prefixes = _prefixes(restorer)
    going = {entry for entry in entries if (what := _what(entry)).startswith(prefixes) or what.rstrip() in exact}
    gone = tuple(what for entry in entries if entry in going and not (what := _what(entry)).startswith(REMARKS))
    owners = Phrase(
        "owners and grants: roles that {user} is not, or that are not on this server: {roles}",
        user=restorer.user,
        roles=first_of(foreign, SHOWN),
    )
    return Selection(
        entries=tuple(entry for entry in entries if entry not in going),
        options=("--no-owner", "--no-acl") if foreign else (),
        omitted=(
            *(Phrase("{entry}: {why}", entry=what, why=_why(what)) for what in gone),
            *((owners,) if foreign else ()),
            *_unlike(catalog, restorer),
        ),
        gone=gone,
        kinds=("subscription",) if restorer.superuser else ("subscription", *KINDS),
        names=frozenset((*(("extension", name) for name in extensions), *hanging)),
        ownership=bool(foreign),
        superuser=restorer.superuser,
    )


def building_stages(entries: tuple[str, ...]) -> tuple[Stage, ...]:
    """Pure. In which order the second half of a restore (indexes, keys, triggers) is built.

    pg_restore attaches the indexes of partitions at once with each other. Where partitions have partitions, two of these
    that cross leave the topmost index invalid, or end in a deadlock (seen in 2 of 120 restores with -j 2 under load on
    15.18): each looks whether the other is done before it is. So they go one after another, between what they attach and
    what may need them.
    """
    indexes: list[str] = []
    attaching: list[str] = []
    rest: list[str] = []
    for entry in entries:
        what = _what(entry)
        (attaching if what.startswith(ATTACHING) else indexes if what.startswith(INDEXES) else rest).append(entry)
    if not attaching:
        return (Stage(entries=entries, parallel=True),) if entries else ()
    stages = ((indexes, True), (attaching, False), (rest, True))
    return tuple(Stage(entries=tuple(found), parallel=parallel) for found, parallel in stages if found)


def _prefixes(restorer: Restorer) -> tuple[str, ...]:
    """Pure. How entries begin that are left out for what they are, or that only say something of such a one."""
    types = SUBSCRIPTIONS if restorer.superuser else (*SUBSCRIPTIONS, *SUPERUSERS_ONLY, *ALSO_CALLED)
    return (*(f"{kind} " for kind in types), *(f"{remark} - {kind} " for remark in REMARKS for kind in types))


def _of_extensions(extensions: set[str]) -> set[str]:
    """Pure. Entries of these extensions and the comments on them. Only remarks quote a name."""
    entries = {f"EXTENSION - {_raw(name)}" for name in extensions}
    return entries | {f"COMMENT - EXTENSION {spelled}" for name in extensions for spelled in (name, _raw(name))}


def _of_text_search(catalog: Catalog) -> set[str]:
    """Pure. Comments on text search parsers and templates, which stand in schemas."""
    found = (
        (kind.upper(), parts_of(name.removeprefix(f"{kind} ")))
        for _, name in catalog.objects
        for kind in ("text search parser", "text search template")
        if name.startswith(f"{kind} ")
    )
    return {f"COMMENT {_raw(parts[0])} {kind} {parts[-1]}" for kind, parts in found}


def _of_schema_public(catalog: Catalog, restorer: Restorer) -> set[str]:
    """Pure. Entries of schema public where it is somebody else's, which it is in the copy too or cannot become."""
    theirs = ("SCHEMA - public", *(f"{remark} - SCHEMA public" for remark in REMARKS))
    owner = _owner_of_public(catalog)
    return {f"{entry} {owner}" for entry in theirs} if owner not in (None, OWNER_OF_DATABASE, restorer.user) else set()


def _owner_of_public(catalog: Catalog) -> str | None:
    owner = catalog.objects.get(("schema", PUBLIC), {}).get("owner")
    return None if owner is None else str(owner)


def _unlike(catalog: Catalog, restorer: Restorer) -> tuple[str, ...]:
    """Pure. What may be different in the copy of an ordinary role without being left out, in one line."""
    if restorer.superuser:
        return ()
    extensions = any(kind == "extension" and name != "plpgsql" for kind, name in catalog.objects)
    public = _owner_of_public(catalog) not in (None, OWNER_OF_DATABASE, restorer.user)
    if not extensions and not public:
        return ()
    both = Phrase("extensions and of schema public")
    what = both if extensions and public else Phrase("extensions") if extensions else Phrase("schema public")
    return (
        Phrase("owner, grants and comment of {what}: {user} cannot give them in a copy", what=what, user=restorer.user),
    )


def _why(what: str) -> str:
    """Pure. Why an entry is left out."""
    if what.startswith(SUBSCRIPTIONS):
        return Phrase("a copy must not touch the original's slot")
    if what.startswith("EXTENSION "):
        return Phrase("the server does not have it, or only a superuser may create it")
    if what.startswith("SCHEMA "):
        return Phrase("it is somebody else's")
    if what.startswith(SUPERUSERS_ONLY):
        return Phrase("only a superuser may create it")
    return Phrase("it hangs on what only a superuser may create")


def _hanging(catalog: Catalog) -> dict[Identity, set[str]]:
    """Pure. Foreign tables and what stands or falls with them, each with its entries.

    An entry is its type, schema, name and owner, in which names are printed as they are, and quoted in remarks. So a name
    with spaces in it cannot be told from a name and an owner, and entries are matched whole.
    """
    tables = {
        name: facts for (kind, name), facts in catalog.objects.items() if kind == "table" and facts.get("kind") == "f"
    }
    hanging: dict[Identity, set[str]] = {}
    for (kind, name), facts in catalog.objects.items() if tables else ():
        table = _foreign_table_of(kind, name, facts)
        if table not in tables:
            continue
        parts = parts_of(name)
        entries = _entries_of(kind, parts)
        if kind == "sequence" and not _is_identity(catalog, str(facts["owned_by"])):
            entries = {f"SEQUENCE OWNED BY {_raw(parts[0])} {_raw(parts[-1])}"}
        else:
            hanging.setdefault((kind, name), set())
        owner = facts.get("owner", tables[table].get("owner"))
        hanging.setdefault(("table", table), set()).update(f"{entry} {owner}" for entry in entries)
    return hanging


def _foreign_table_of(kind: str, name: str, facts: Facts) -> str:
    """Pure. The table that an object of these kinds belongs to, "" for others."""
    if kind == "table":
        return name
    if kind == "statistics":
        return str(facts.get("definition")).rpartition(" FROM ")[2]
    if kind == "sequence":
        return _table_of(str(facts.get("owned_by")))[1]
    return _table_of(name)[1] if kind in ("column", "constraint", "trigger") else ""


def _entries_of(kind: str, parts: tuple[str, ...]) -> set[str]:
    """Pure. The entries that may exist of an object on a foreign table, without their owners."""
    schema, last, raw = _raw(parts[0]), parts[-1], " ".join(_raw(part) for part in parts)
    table = parts[1] if len(parts) > 2 else ""
    types, remarks = {
        "table": (("TABLE ATTACH",), (f"TABLE {last}", f"FOREIGN TABLE {last}")),
        "column": (("DEFAULT",), (f"COLUMN {table}.{last}",)),
        "constraint": (("CONSTRAINT", "CHECK CONSTRAINT"), (f"CONSTRAINT {last} ON {table}",)),
        "trigger": (("TRIGGER",), (f"TRIGGER {last} ON {table}",)),
        "statistics": (("STATISTICS",), (f"STATISTICS {last}",)),
        "sequence": (("SEQUENCE", "SEQUENCE SET"), (f"SEQUENCE {last}",)),
    }[kind]
    said = {f"{remark} {schema} {what}" for remark in REMARKS for what in remarks}
    return {f"{what} {raw}" for what in types} | said


def _is_identity(catalog: Catalog, column: str) -> bool:
    """Pure. Whether a column makes its sequence: that one cannot be without it."""
    return bool(catalog.objects.get(("column", column), {}).get("identity"))


def _table_of(name: str) -> Identity:
    """Pure. What a column, a trigger or a constraint stands on, by its qualified name."""
    return "table", ".".join(parts_of(name)[:-1])


def _raw(part: str) -> str:
    """Pure. A part of a name as it is, on one line as the list of an archive has it."""
    bare = part[1:-1].replace('""', '"') if part.startswith('"') else part
    return re.sub(r"[\r\n]", " ", bare)


def _foreign_roles(catalog: Catalog, restorer: Restorer) -> tuple[str, ...]:
    """Pure. Roles that own something or have rights, and to which this role cannot give them here.

    To give an object away one must be a member of the new owner, who must have CREATE on the schema, which a grant that
    comes later in the restore may give: so an ordinary role restores owners only where it owns everything itself.
    """
    owners = {str(facts["owner"]) for identity, facts in catalog.objects.items() if _counts(identity, facts)}
    granted = {role for facts in catalog.objects.values() for item in _acl(facts) for role in _roles_of(item)}
    missing = (owners | granted) - restorer.roles
    strangers = set() if restorer.superuser else owners - {restorer.user, OWNER_OF_DATABASE}
    return tuple(sorted(missing | strangers))


def _counts(identity: Identity, facts: Facts) -> bool:
    """Pure. Whether an object's owner is restored with it: the database's is not, and schema public is the server's."""
    kind, name = identity
    if kind in ("role", "database", "setting", "extension", "object", *KINDS) or facts.get("kind") == "f":
        return False
    return "owner" in facts and (kind, name) != ("schema", PUBLIC) and facts["owner"] is not None


def _acl(facts: Facts) -> tuple[str, ...]:
    found = facts.get("acl")
    return tuple(str(item) for item in found) if isinstance(found, (list, tuple)) else ()


def _roles_of(item: str) -> set[str]:
    """Pure. Grantee and grantor of an ACL item as the server prints it: `"a role"=r/owner`; an empty one is PUBLIC."""
    match = re.fullmatch(r'(?P<to>"(?:[^"]|"")*"|[^"=]*)=[^/]*/(?P<by>"(?:[^"]|"")*"|.*)', item)
    if match is None:
        return set()
    names = (match["to"], match["by"])
    return {name.strip('"').replace('""', '"') for name in names if name}


def _what(entry: str) -> str:
    """Pure. An entry of the list without its numbers: "EVENT TRIGGER - watch alice"."""
    match = _ENTRY.fullmatch(entry)
    return match["what"] if match else entry
