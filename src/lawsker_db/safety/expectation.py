"""What the catalog must be after a revision, given what it was before and what the contract promises. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lawsker_db.contract import Contract
from lawsker_db.evidence import Direction
from lawsker_db.postgres.catalog import Catalog, Difference, Facts, Identity, compare_catalogs
from lawsker_db.postgres.closed import OBJECTS_OF
from lawsker_db.postgres.facts import ONLY_WITHIN

CHILD_KINDS = ("column", "constraint", "trigger", "rule", "policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A contract and what this server makes of it, in the schema (quoted) that it is for."""

    contract: Contract
    built: Catalog
    schema: str


def unexpected(
    before: Catalog, after: Catalog, promise: Promise | None, direction: Direction, schema: str
) -> tuple[Difference, ...]:
    """Pure. Everything in `after` that is not `before` changed by the promise in this direction, no more and no less.

    A stamp promises nothing. That Alembic makes its table in `schema` (quoted) is no part of it.
    """
    if promise is None or direction is Direction.STAMP:
        expected = before
    elif direction is Direction.UPGRADE:
        expected = _with_promised(before, promise)
    else:
        expected = _without_promised(before, promise)
    made = _made_by_alembic(before, after, schema, promise)
    found = [d for d in compare_catalogs(expected, after) if (d.kind, d.name) not in made]
    if promise is None or direction is not Direction.UPGRADE:
        return tuple(found)
    allowed = promise.contract.may_install
    return tuple(
        d for d in found if not _installed(d, allowed) and not _remark(d, promise) and not _only_within(d, promise)
    )


def expected_after(before: Catalog, promises: tuple[Promise, ...]) -> Catalog:
    """Pure. What the catalog must be when `before` was changed by these promises, one after the other."""
    for promise in promises:
        before = _with_promised(before, promise)
    return before


def not_as_promised(now: Catalog, promise: Promise) -> tuple[Difference, ...]:
    """Pure. How the objects of a contract stand now against how they were promised; other objects do not count.

    Columns that others added to the contract's tables since are theirs, so the order of columns is not compared.
    """
    present = {identity: facts for identity, facts in now.objects.items() if identity in promise.built.objects}
    without_order = [
        Catalog(objects={identity: _without_columns(facts) for identity, facts in objects.items()})
        for objects in (promise.built.objects, present)
    ]
    return tuple(d for d in compare_catalogs(*without_order) if not _remark(d, promise))


def _with_promised(before: Catalog, promise: Promise) -> Catalog:
    objects = {**before.objects, **promise.built.objects}
    for extension in promise.contract.extensions:
        identity = ("table", f"{promise.schema}.{extension.table}")
        if identity in before.objects:
            facts = before.objects[identity]
            objects[identity] = {**facts, "columns": [*_columns(facts), *(c.name for c in extension.columns)]}
    return Catalog(objects=objects)


def _without_promised(before: Catalog, promise: Promise) -> Catalog:
    dropped = {f"{promise.schema}.{table.name}" for table in promise.contract.tables}
    objects: dict[Identity, Facts] = {
        identity: facts
        for identity, facts in before.objects.items()
        if identity not in promise.built.objects and not _belongs_to(identity, facts, dropped)
    }
    for extension in promise.contract.extensions:
        identity = ("table", f"{promise.schema}.{extension.table}")
        if identity in objects:
            gone = {column.name for column in extension.columns}
            kept = [name for name in _columns(objects[identity]) if name not in gone]
            objects[identity] = {**objects[identity], "columns": kept}
    return Catalog(objects=objects)


def gone_with(before: Catalog, promise: Promise) -> frozenset[str]:
    """Pure. The tables that a downgrade takes away, and the sequences that go with them, whoever made those."""
    tables = {f"{promise.schema}.{table.name}" for table in promise.contract.tables}
    own = {name for kind, name in promise.built.objects if kind in ("table", "sequence")}
    owned = {
        name for (kind, name), facts in before.objects.items()
        if kind == "sequence" and _belongs_to((kind, name), facts, tables)
    }  # fmt: skip
    return frozenset(own | owned)


def _belongs_to(identity: Identity, facts: Facts, tables: set[str]) -> bool:
    """Pure. Whether an object goes with its table when that is dropped, whoever made it."""
    kind, name = identity
    if kind == "index":
        return facts.get("table") in tables
    if kind == "sequence":
        return any(str(facts.get("owned_by", "")).startswith(f"{table}.") for table in tables)
    return kind in CHILD_KINDS and any(name.startswith(f"{table}.") for table in tables)


def _columns(facts: Facts) -> list[str]:
    columns = facts.get("columns", [])
    return list(columns) if isinstance(columns, list) else []


def _without_columns(facts: Facts) -> Facts:
    return {key: value for key, value in facts.items() if key != "columns"}


def _made_by_alembic(before: Catalog, after: Catalog, schema: str, promise: Promise | None) -> frozenset[Identity]:
    """Pure. alembic_version and its parts where they came into being just now, with nothing said of them and no right given
    but by default."""
    table = f"{schema}.alembic_version"
    made = {
        ("table", table),
        ("column", f"{table}.version_num"),
        ("constraint", f"{table}.alembic_version_pkc"),
        ("index", f"{schema}.alembic_version_pkc"),
    }
    if ("table", table) in before.objects:
        return frozenset()
    built = promise.built.objects.items() if promise is not None else ()
    defaults = next((facts.get("acl") for (kind, _), facts in built if kind == "table"), None)
    wrong = {identity for identity in made if "comment" in after.objects.get(identity, {})}
    found = after.objects.get(("table", table), {})
    if promise is not None and promise.contract.tables and found.get("acl") != defaults:
        wrong.add(("table", table))
    return frozenset(made - wrong)


def alembics_own(difference: Difference) -> bool:
    """Pure. alembic_version and its parts, which Alembic creates at the first upgrade."""
    parts = difference.name.split(".")
    return len(parts) > 1 and parts[1] in ("alembic_version", "alembic_version_pkc")


def _remark(difference: Difference, promise: Promise) -> bool:
    """Pure. A comment on an object of the contract's own: contracts promise none and forbid none."""
    return difference.attribute == "comment" and (difference.kind, difference.name) in promise.built.objects


def _only_within(difference: Difference, promise: Promise) -> bool:
    """Pure. A fact about an object of the contract's own that what was built of it cannot have: an OID, a name."""
    return difference.attribute in ONLY_WITHIN and (difference.kind, difference.name) in promise.built.objects


def _installed(difference: Difference, allowed: tuple[str, ...]) -> bool:
    """Pure. An extension that the contract may install, and what belongs to it."""
    name = difference.name
    if difference.kind == OBJECTS_OF and name.startswith("extension "):
        name = name.removeprefix("extension ").rpartition(" in ")[0]
    elif difference.kind != "extension":
        return False
    return name.strip('"') in allowed and difference.found == "present"
