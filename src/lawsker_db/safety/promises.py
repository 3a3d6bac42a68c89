"""What contracts promise, counted by kind beside what was found, and what they make of tables: for the report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lawsker_db.changes import ColumnShape, Promised, Reference, TableChange
from lawsker_db.contract import Contract, Table
from lawsker_db.evidence import Check, Direction
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.postgres.scratch import promised_identities
from lawsker_db.safety.expectation import Promise, not_as_promised

KINDS = ("table", "column", "constraint", "index", "trigger", "function", "sequence", "type")
SEEDS = "seed rows"
ROWS = "rows of "  # how the gate names its check of a table's rows
STAMP = ".alembic_version"
ANY_SCHEMA = "public"  # where nobody has looked, only how many counts


def kept_promises(
    contracts: tuple[Contract, ...],
    promises: Mapping[str, Promise],
    seen: Catalog | None,
    direction: Direction,
    checks: tuple[Check, ...],
) -> tuple[Promised, ...]:
    """Pure. Of each contract, how many things of each kind it promises, and how many of them are so in the catalog `seen`
    (None: nobody looked). A downgrade promises that they are gone. `checks` are the gate's, which knows the rows."""
    found: list[Promised] = []
    for contract in contracts:
        promise = promises.get(contract.revision)
        found += _objects(contract, promise, None if promise is None else seen, direction)
        if direction is Direction.UPGRADE:
            found += _seeds(contract, checks)
    return tuple(found)


def changed_tables(
    contracts: tuple[Contract, ...], before: Catalog | None, direction: Direction, schema: str
) -> tuple[TableChange, ...]:
    """Pure. The tables that these contracts make, extend or take away, as they were in `before` (None: not read) in `schema`
    (quoted; empty where nobody has asked) and as they are afterwards: those that stood before first."""
    found: dict[str, TableChange] = {}
    for contract in contracts:
        for extension in contract.extensions:
            own = tuple(ColumnShape(name=column.name, type=column.type) for column in extension.columns)
            found[extension.table] = _extended(
                found, extension.table, own, _columns(before, schema, extension.table), direction
            )
        found |= {table.name: _whole(table, direction) for table in contract.tables}
    return tuple(sorted(found.values(), key=lambda change: (change.before == (), not change.after)))


def _objects(
    contract: Contract, promise: Promise | None, seen: Catalog | None, direction: Direction
) -> Iterator[Promised]:
    """Pure. The promised objects by kind, and of those kinds alone that are promised."""
    identities = promised_identities(contract, promise.schema if promise else ANY_SCHEMA)
    wrong: dict[tuple[str, str], list[str]] = {}
    if seen is not None and promise is not None and direction is Direction.UPGRADE:
        for difference in not_as_promised(seen, promise):
            wrong.setdefault((difference.kind, difference.name), []).append(difference.label)
    if seen is not None and direction is Direction.DOWNGRADE:
        wrong = {
            one: [Phrase("{kind} {name}: present, expected absent", kind=Phrase(one[0]), name=one[1])]
            for one in identities
            if one in seen.objects
        }
    for kind in KINDS:
        ours = sorted(identity for identity in identities if identity[0] == kind)
        deviating = [identity for identity in ours if identity in wrong]
        if ours:
            yield Promised(
                revision=contract.revision,
                kind=kind,
                promised=len(ours),
                found=None if seen is None else len(ours) - len(deviating),
                deviations=tuple(label for identity in deviating for label in wrong[identity]),
            )


def _seeds(contract: Contract, checks: tuple[Check, ...]) -> Iterator[Promised]:
    """Pure. Tables whose rows are promised, and in how many of them the gate has counted so many."""
    names = {f"{ROWS}{table.name}" for table in contract.tables}
    counted = [check for check in checks if check.name in names]
    if names:
        yield Promised(
            revision=contract.revision,
            kind=SEEDS,
            promised=len(names),
            found=sum(check.ok is True for check in counted) if counted else None,
            deviations=tuple(
                Phrase(
                    "{name}: {found}, expected {expected}", name=check.name, found=check.found, expected=check.expected
                )
                for check in counted
                if check.ok is not True
            ),
        )


def _whole(table: Table, direction: Direction) -> TableChange:
    columns = tuple(ColumnShape(name=column.name, type=column.type) for column in table.columns)
    upwards = direction is Direction.UPGRADE
    return TableChange(
        table=table.name,
        before=() if upwards else columns,
        after=columns if upwards else (),
        references=tuple(Reference(columns=key.columns, table=key.references) for key in table.foreign_keys),
    )


def _extended(
    found: Mapping[str, TableChange],
    table: str,
    own: tuple[ColumnShape, ...],
    read: tuple[ColumnShape, ...] | None,
    direction: Direction,
) -> TableChange:
    """Pure. A table that stands, with the columns that a revision adds or takes away."""
    known = found[table].after if table in found else read
    names = {column.name for column in own}
    others = None if known is None else tuple(column for column in known if column.name not in names)
    if direction is Direction.UPGRADE:
        was = found[table].before if table in found else others
        return TableChange(table=table, before=was, after=(*(others or ()), *own))
    was = known if known is not None and table not in found else (*(others or ()), *own)
    return TableChange(table=table, before=was, after=others or ())


def _columns(catalog: Catalog | None, schema: str, table: str) -> tuple[ColumnShape, ...] | None:
    """Pure. The columns of a table in the catalog, None where it was not read."""
    if catalog is None:
        return None
    home = schema or _home(catalog)
    names = (f"{home}.{table}", f"{home}.{_quoted(table)}")
    name = next((one for one in names if ("table", one) in catalog.objects), names[0])
    listed = catalog.objects.get(("table", name), {}).get("columns")
    if not isinstance(listed, list):
        return None
    return tuple(ColumnShape(name=str(column), type=_type(catalog, name, str(column))) for column in listed)


def _home(catalog: Catalog) -> str:
    """Pure. The schema (quoted) in which the version table of Alembic stands, empty where that is not one."""
    found = [name.removesuffix(STAMP) for kind, name in catalog.objects if kind == "table" and name.endswith(STAMP)]
    return found[0] if len(found) == 1 else ""


def _type(catalog: Catalog, table: str, column: str) -> str:
    """Pure. The type of a column, empty where the catalog has none."""
    facts = (catalog.objects.get(("column", f"{table}.{name}")) for name in (column, _quoted(column)))
    return str(next((one["type"] for one in facts if one), ""))


def _quoted(name: str) -> str:
    """Pure. An identifier in double quotes, as the catalog has those that need them."""
    return '"' + name.replace('"', '""') + '"'
