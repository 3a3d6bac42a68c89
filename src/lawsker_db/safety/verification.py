"""Look at a database at any time: does it stand as its revisions promised, and what does its history say?"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, Invariant
from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Server
from lawsker_db.postgres import locks
from lawsker_db.postgres.catalog import Catalog, Difference, read_catalog
from lawsker_db.postgres.scratch import build_promised
from lawsker_db.postgres.session import find_schema, identify, literal, pin_session, quoted, quoted_as_read
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.record.history import PastRun, read_history
from lawsker_db.revisions import Chain, contracts_up_to, current_revisions, load_chain, model_differences
from lawsker_db.safety.expectation import Promise, not_as_promised
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.target import Target

SHOWN = 5
STAMPING = ("adopt", "stamp")  # nothing was built: what stands may differ from the contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a database stands: its revision, what is pending, and its runs, oldest first."""

    server: Server
    current: tuple[str, ...]
    head: str
    pending: tuple[str, ...]
    history: tuple[PastRun, ...]
    at_work: tuple[str, ...]
    word: str
    hint: str


def verify(target: Target, chain: Chain | None = None) -> tuple[Check, ...]:
    """Check a database against the contracts of all its revisions. Nothing is changed: all of it is rolled back.

    Builds the contracts in a scratch schema under a savepoint, so the role needs CREATE on the database. Takes ACCESS
    SHARE on the tables that the invariants read. Where an invariant holds at COMMIT and applications may have moved on
    since, a violation is a warning. Raises `Refused` when the database is not stamped with a revision of this chain.
    """
    chain = chain or load_chain()
    with target.connect() as conn:
        refuse_standby(identify(conn), target)
        pin_session(conn, find_schema(conn))
        current = current_revisions(conn)
        if not current:
            raise Refused("The database is not stamped with any revision.", hint="lawsker-db adopt --dry-run")
        if not is_known(chain, current):
            raise Refused(
                f"The database is stamped with {', '.join(current)}, which this chain does not know.",
                hint="lawsker-db adopt --dry-run",
            )
        contracts = contracts_up_to(chain, current)
        checks = [Check(name="stamp", ok=len(current) == 1, expected="one revision", found=", ".join(current))]
        now = read_catalog(conn)
        history = read_history(conn, identify(conn))
        stamped = {revision for past in history if past.direction in STAMPING for revision in past.to_revisions}
        for contract in contracts:
            adopted = contract is not contracts[-1] or contract.revision in stamped
            checks += _structure(conn, contract, now, adopted=adopted)
            checks += _rows(conn, contract, adopted=adopted)
        checks += _models(conn, at_head=current == (chain.head,))
        checks += _history(history)
        conn.rollback()
    return tuple(checks)


def look(target: Target) -> Standing:
    """Where the database stands and what to type next. Reads only."""
    chain = load_chain()
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, find_schema(conn))
        server = identify(conn)
        # Asked before the history: whoever has committed by then is in it.
        at_work = tuple(session.label for session in locks.holders(conn, locks.MIGRATION))
        current = current_revisions(conn)
        history = read_history(conn, server)
        conn.rollback()
    if not current or not is_known(chain, current):
        word = "unknown revision" if current else "not stamped"
        hint = "lawsker-db adopt --dry-run"
        pending: tuple[str, ...] = ()
    else:
        upward = reversed(list(chain.scripts.iterate_revisions(chain.head, current[0])))
        pending = tuple(script.revision for script in upward)
        word, hint = ("pending", "lawsker-db safe-upgrade") if pending else ("at head", "lawsker-db verify")
    return Standing(
        server=server,
        current=current,
        head=chain.head,
        pending=pending,
        history=history,
        at_work=at_work,
        word=word,
        hint=hint,
    )


def is_known(chain: Chain, revisions: tuple[str, ...]) -> bool:
    """Whether the chain has all these revisions. Reads revision files."""
    return set(revisions) <= {script.revision for script in chain.scripts.walk_revisions()}


def _structure(conn: Connection, contract: Contract, now: Catalog, *, adopted: bool) -> list[Check]:
    """A check for each table of the contract, and one for what it adds elsewhere.

    An adopted baseline may differ, which was told when it was adopted: warnings there.
    """
    schema = find_schema(conn)
    prefix = quoted_as_read(conn, schema)
    promise = Promise(contract=contract, built=build_promised(conn, contract, schema), schema=prefix)
    differences = without_spelling(conn, not_as_promised(now, promise))
    checks: list[Check] = []
    left = set(differences)
    for table in contract.tables:
        name = f"{prefix}.{table.name}"
        own = [d for d in differences if d.name == name or d.name.startswith(f"{name}.")]
        left -= set(own)
        checks.append(_structure_check(f"{contract.revision} table {table.name}", own, warning=adopted))
    rest = sorted(left, key=lambda difference: (difference.kind, difference.name))
    checks.append(_structure_check(f"{contract.revision} everything else", rest, warning=adopted))
    return checks


def _structure_check(name: str, differences: list[Difference], *, warning: bool) -> Check:
    return Check(
        name=name,
        ok=not differences,
        expected="as the contract says",
        found="; ".join(d.label for d in differences[:SHOWN]) or "so it is",
        detail="\n".join(d.label for d in differences),
        warning=warning,
    )


def _rows(conn: Connection, contract: Contract, *, adopted: bool) -> list[Check]:
    """The contract's invariants now. They hold at COMMIT; since then applications may have written: warnings.

    What cannot be asked is not known. Where a table of the contract is gone that is no warning, unless it was adopted.
    """
    checks: list[Check] = []
    whole = _stand(conn, contract)
    for invariant in contract.invariants:
        found = _violations(conn, invariant)
        unknown = isinstance(found, str)
        shown = found if isinstance(found, str) else "; ".join(": ".join(str(value) for value in row) for row in found)
        checks.append(
            Check(
                name=f"{contract.revision} {invariant.code}",
                ok=None if unknown else not found,
                expected=invariant.says,
                found=shown or "no violation",
                warning=not unknown or whole or adopted,
            )
        )
    return checks


def _violations(conn: Connection, invariant: Invariant) -> list[Row[tuple[object, ...]]] | str:
    """The first rows that violate an invariant, or why nobody can tell. Asks under a savepoint; nothing is left of it."""
    savepoint = conn.begin_nested()
    try:
        return list(conn.execute(literal(f"SELECT * FROM ({invariant.query}) AS v LIMIT {SHOWN}")).all())
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        said = failed.orig.diag.message_primary if isinstance(failed.orig, psycopg.Error) else None
        return f"could not be checked: {said or 'the server refused the query'}"
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()


def _stand(conn: Connection, contract: Contract) -> bool:
    """Whether all tables of the contract are there. Reads the catalog only."""
    names = [quoted(table.name) for table in contract.tables]
    query = text("SELECT coalesce(bool_and(to_regclass(t) IS NOT NULL), true) FROM unnest(:names ::text[]) AS t")
    return bool(conn.execute(query, {"names": names}).scalar_one())


def _models(conn: Connection, *, at_head: bool) -> list[Check]:
    """The package's models against the database; only at head, for models have no older form."""
    if not at_head:
        return [Check(name="models", ok=None, expected="no difference", found="not at head: NOT RUN", warning=True)]
    found = model_differences(conn)
    return [
        Check(
            name="models",
            ok=not found,
            expected="no difference",
            found="; ".join(found[:SHOWN]) or "none",
            warning=True,
        )
    ]


def _history(history: tuple[PastRun, ...]) -> list[Check]:
    broken = [past.run_id for past in history if not past.intact]
    foreign = sum(not past.here for past in history)
    return [
        Check(
            name="history",
            ok=not broken,
            expected="every row as it was written, none missing",
            found=f"altered: {', '.join(broken[:SHOWN])}" if broken else f"{len(history)} runs",
        ),
        Check(
            name="origin",
            ok=not foreign,
            expected="all runs were made in this database",
            found=f"{foreign} runs were made in a database that this one is a copy of" if foreign else "so it is",
            warning=True,
        ),
    ]
