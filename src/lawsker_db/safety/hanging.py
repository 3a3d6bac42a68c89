"""Before a downgrade: what of others hangs on what would go? It is named, with the way out, and nothing is begun."""

from __future__ import annotations

from sqlalchemy import Connection

from lawsker_db.contract import Contract
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.dependants import Dependant, find_dependants
from lawsker_db.postgres.scratch import promised_identities
from lawsker_db.postgres.session import quoted_as_read
from lawsker_db.revisions import Plan


def dependant_checks(conn: Connection, plan: Plan, schema: str) -> tuple[Check, ...]:
    """A failed check for everything of others that hangs on what the steps take away; one that passed when there is none.

    `schema` is unquoted. The contracts' own objects do not count, nor does what hangs on the lowest revision: its downgrade
    looks for itself whether anything is left. Reads the catalog.
    """
    contracts = tuple(contract for contract in plan.contracts if contract.follows is not None)
    place = quoted_as_read(conn, schema)
    own = {identity for contract in contracts for identity in promised_identities(contract, place)}
    found = [d for d in _hanging(conn, contracts, place) if (d.kind, d.name) not in own]
    if not found:
        return (Check(name=Phrase("dependants"), ok=True, expected=Phrase("none of others"), found=Phrase("none")),)
    things = {(d.kind, d.name): d.way_out for d in found}
    return tuple(
        _check(kind, name, [d.on for d in found if (d.kind, d.name) == (kind, name)], way_out)
        for (kind, name), way_out in things.items()
    )


def _check(kind: str, name: str, on: list[str], way_out: str) -> Check:
    """Pure. One thing of others, and how it can be taken off."""
    return Check(
        name=Phrase("{kind} {name}", kind=Phrase(kind), name=name),
        ok=False,
        expected=Phrase("nothing of others hangs on what would go"),
        found=Phrase("hangs on {things}, which would go", things=", ".join(on)),
        detail=Phrase("keep its definition, then {way_out}; and type the same command again", way_out=way_out),
    )


def _hanging(conn: Connection, contracts: tuple[Contract, ...], schema: str) -> tuple[Dependant, ...]:
    return find_dependants(
        conn,
        tables=tuple(f"{schema}.{table.name}" for contract in contracts for table in contract.tables),
        columns=tuple(
            (f"{schema}.{extension.table}", column.name)
            for contract in contracts
            for extension in contract.extensions
            for column in extension.columns
        ),
        functions=tuple(f"{schema}.{function.name}()" for contract in contracts for function in contract.functions),
    )
