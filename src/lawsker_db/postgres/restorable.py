"""What of an archive this role cannot restore on this server, and which differences follow from leaving it out.

A superuser restores everything but subscriptions: a restored one could be told to drop the original's replication slot,
and no database that has one can be dropped. An ordinary role leaves out by an edited list what only superusers may
create; where objects have owners that it is not, all become its own, and grants go with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import Connection, text

from lawsker_db.postgres.catalog import Catalog, Difference, Facts, Identity
from lawsker_db.postgres.session import server_major

TRUSTED_MAJOR = 13  # pg_available_extension_versions.trusted
SHOWN = 5
SUBSCRIPTIONS = ("SUBSCRIPTION",)
# Entries that only superusers (or owners of what ordinary roles do not own) may create; manual, CREATE of each.
SUPERUSERS_ONLY = (
    *("EVENT TRIGGER", "PUBLICATION", "FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING", "FOREIGN TABLE"),
    *("PROCEDURAL LANGUAGE", "ACCESS METHOD", "TRANSFORM", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE"),
)
# The same in the words of the catalog, and of its kind "object", which holds others too.
KINDS = ("event trigger", "publication", "foreign server")
OBJECTS = (
    *("foreign-data wrapper ", "user mapping ", "language ", "access method ", "transform ", "text search parser "),
    "text search template ",
)
OWNERSHIP = ("owner", "acl")
# A role that stands for the owner of whatever database one is in (14 and newer), and the one that owns schema public.
OWNER_OF_DATABASE = "pg_database_owner"
PUBLIC = "public"

_ENTRY = re.compile(r"\d+; \d+ \d+ (?P<what>.*)")


INDEXES = ("INDEX", "CONSTRAINT")
ATTACHING = ("INDEX ATTACH",)


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
    """What is restored: the entries that stay, options for pg_restore, and what was left out, each with its reason."""

    entries: tuple[str, ...]
    options: tuple[str, ...]
    omitted: tuple[str, ...]
    kinds: tuple[str, ...]
    names: frozenset[Identity]
    ownership: bool
    superuser: bool

    @property
    def may_break_others(self) -> bool:
        """Pure. Whether something was left out that other objects may need: then a restore may fail because of that."""
        return any(not line.startswith(SUBSCRIPTIONS) for line in self.omitted)

    def covers(self, difference: Difference) -> bool:
        """Pure. Whether a difference between original and copy follows from what was left out."""
        identity = (difference.kind, difference.name)
        table = ("table", difference.name.rpartition(".")[0])
        gone = difference.kind == "object" and not self.superuser and difference.name.startswith(OBJECTS)
        if gone or difference.kind in self.kinds or identity in self.names or table in self.names:
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
    types = SUBSCRIPTIONS if restorer.superuser else (*SUBSCRIPTIONS, *SUPERUSERS_ONLY)
    foreign = _foreign_roles(catalog, restorer)
    extensions = {
        name.strip('"').replace('""', '"') for kind, name in catalog.objects if kind == "extension"
    } - restorer.extensions
    going = {entry: None for entry in entries if _is_of(entry, types) or _is_of_extension(entry, extensions)}
    named = [what for entry in going if not (what := _what(entry)).startswith(("COMMENT ", "ACL "))]
    why = "only a superuser may create it" if not restorer.superuser else "a copy must not touch the original's slot"
    owners = f"owners and grants: roles that {restorer.user} is not, or that are not on this server: {_few(foreign)}"
    return Selection(
        entries=tuple(entry for entry in entries if entry not in going),
        options=("--no-owner", "--no-acl") if foreign else (),
        omitted=(*(f"{name}: {why}" for name in named), *((owners,) if foreign else ())),
        kinds=("subscription",) if restorer.superuser else ("subscription", *KINDS),
        names=frozenset(_left(catalog, extensions, everything=not restorer.superuser)),
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
        (attaching if _is_of(entry, ATTACHING) else indexes if _is_of(entry, INDEXES) else rest).append(entry)
    if not attaching:
        return (Stage(entries=entries, parallel=True),) if entries else ()
    stages = ((indexes, True), (attaching, False), (rest, True))
    return tuple(Stage(entries=tuple(found), parallel=parallel) for found, parallel in stages if found)


def _left(catalog: Catalog, extensions: set[str], *, everything: bool) -> list[Identity]:
    """Pure. Objects of the catalog that will not be there: extensions, and for ordinary roles foreign tables."""
    left: list[Identity] = [
        (kind, name)
        for kind, name in catalog.objects
        if kind == "extension" and name.strip('"').replace('""', '"') in extensions
    ]
    if everything:
        left += [(kind, name) for (kind, name), facts in catalog.objects.items() if facts.get("kind") == "f"]
    return left


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


def _is_of(entry: str, types: tuple[str, ...]) -> bool:
    """Pure. Whether an entry, or the comment on it, is of one of these types."""
    what = _what(entry)
    return any(what.startswith((f"{kind} ", f"COMMENT - {kind} ", f"ACL - {kind} ")) for kind in types)


def _is_of_extension(entry: str, extensions: set[str]) -> bool:
    """Pure. Whether an entry is one of these extensions, or the comment on it. Names are printed as they are."""
    what = _what(entry)
    return any(
        what.rstrip() in (f"EXTENSION - {name}", f"COMMENT - EXTENSION {name}")
        or what.startswith((f"EXTENSION - {name} ", f"COMMENT - EXTENSION {name} "))
        for name in extensions
    )


def _few(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
