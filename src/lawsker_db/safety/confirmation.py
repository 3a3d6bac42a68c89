"""Look at the database from a fresh connection: is what was committed what was proven, and what did others commit?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract
from lawsker_db.errors import (
    ChangedOutside,
    CommittedUnproven,
    GateRefused,
    LawskerError,
    OutcomeUnknown,
    RehearsalFailed,
    RolledBack,
)
from lawsker_db.evidence import Check, failures
from lawsker_db.phrases import Phrase, first_of, joined
from lawsker_db.postgres.catalog import Catalog, Difference, compare_catalogs, read_catalog
from lawsker_db.postgres.closed import WRITTEN_IN
from lawsker_db.postgres.session import find_schema, literal, pin_session
from lawsker_db.postgres.touched import OWN_SCHEMA
from lawsker_db.record.history import has_committed
from lawsker_db.revisions import Plan, current_revisions
from lawsker_db.target import Target, said_by_server

SHOWN = 5
HINT = Phrase(
    "lawsker-db verify lists what differs; then keep it, or go back with lawsker-db rollback, which keeps what it takes"
    " away; the backup of this run stands in its folder"
)
LOOK_AGAIN = Phrase("the migration stands, and nobody could look at it: lawsker-db verify looks again")
OUTSIDE_HINT = Phrase(
    "if the revision opened a connection of its own, undo that by hand and mend the revision; if it was another"
    " session, type the same command again"
)


@contextmanager
def reading(target: Target) -> Iterator[Connection]:
    """A READ ONLY transaction with pinned settings and the application's schema on the path."""
    with target.connect() as conn:
        conn.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_session(conn, find_schema(conn))
        yield conn
        conn.rollback()


def catalog_now(target: Target) -> Catalog:
    """The catalog as a fresh connection sees it, digests of passwords included where the role may look. Reads only."""
    with reading(target) as conn:
        return read_catalog(conn, closed=True)


def require_confirmed(target: Target, run_id: str, plan: Plan, expected: Catalog) -> tuple[Check, ...]:
    """Look again after COMMIT: the stamp, the marker, and the catalog exactly as the gate saw it. Reads only.

    DDL that another session committed meanwhile, or a revision over a second connection, shows here. Raises
    `CommittedUnproven` when something differs, or when nobody can look.
    """
    try:
        with reading(target) as conn:
            stamped, marked = current_revisions(conn), has_committed(conn, run_id)
            differences = _compared(expected, read_catalog(conn, closed=True))
    except (LawskerError, DBAPIError) as failed:
        raise CommittedUnproven(
            Phrase("The look afterwards could not be made: {said}", said=said_by(failed)), hint=LOOK_AGAIN
        ) from failed
    checks = (
        Check(name=Phrase("stamp"), ok=stamped == plan.goal, expected=", ".join(plan.goal), found=", ".join(stamped)),
        Check(
            name=Phrase("marker"),
            ok=marked,
            expected=Phrase("the run's marker row"),
            found=Phrase("there") if marked else Phrase("missing"),
        ),
        Check(
            name=Phrase("catalog after COMMIT"),
            ok=not differences,
            expected=Phrase("as the gate saw it"),
            found=_shown(differences) or Phrase("so it is"),
            detail=joined((difference.whole for difference in differences), "\n"),
        ),
    )
    if not marked and stamped != plan.goal:
        raise lost_since(run_id, stamped)
    failed_checks = failures(checks)
    if failed_checks:
        raise CommittedUnproven(joined((check.contrast for check in failed_checks), "; "), hint=HINT, checks=checks)
    return checks


def lost_since(run_id: str, stamped: tuple[str, ...]) -> OutcomeUnknown:
    """Pure. COMMIT was answered, and whoever answers now has neither marker nor stamp: no failed check, another server."""
    return OutcomeUnknown(
        Phrase(
            "COMMIT was answered, and the server that answers now does not have it: no marker row, stamped {stamped}.",
            stamped=", ".join(stamped) or Phrase("with nothing"),
        ),
        hint=Phrase(
            "find out which server this is; if it is to stay: lawsker-db recover, then type the same command again"
        ),
        state=Phrase(
            "This server does not have the migration. The one that answered COMMIT has; a failover may have lost it."
        ),
        run_id=run_id,
    )


def read_figures(target: Target, contracts: tuple[Contract, ...]) -> dict[str, int]:
    """The numbers that the contracts have reported, by their words, as they stand now. Reads only.

    Asked after COMMIT, not behind the locks: nothing depends on them.
    """
    with reading(target) as conn:
        return {
            Phrase(figure.says): int(conn.execute(literal(figure.query)).scalar_one())
            for contract in contracts
            for figure in contract.figures
        }


def with_what_stays(target: Target, began_with: Catalog, error: RolledBack) -> LawskerError:
    """The error of a rolled back transaction, told with what other connections have committed since it began.

    A revision may have opened a connection of its own: our ROLLBACK does not reach what that one committed, and the next
    try would take it for what was there before. Reads only, on a fresh connection; where that cannot be made, the error
    stays as it is.
    """
    try:
        differences = _compared(began_with, catalog_now(target))
    except (LawskerError, DBAPIError):
        return error
    if not differences:
        return error
    state = Phrase(
        "The migration was rolled back. What other connections committed meanwhile stays: {differences}.",
        differences=_shown(differences),
    )
    if not isinstance(error, GateRefused):
        error.state = state
        return error
    return ChangedOutside(error.message, hint=OUTSIDE_HINT, state=state, **error.fields)


def require_same_catalog(target: Target, before: Catalog) -> None:
    """Raise `RehearsalFailed` when production's schema changed while the migration was rehearsed on a copy. Reads only."""
    differences = _compared(before, catalog_now(target))
    if differences:
        raise RehearsalFailed(
            Phrase(
                "While the revision was rehearsed on the copy, the schema of {database} changed: {differences}.",
                database=target.label,
                differences=_shown(differences),
            ),
            hint=OUTSIDE_HINT,
            state=Phrase("The migration was not started. What other connections committed meanwhile stays."),
        )


def said_by(failed: LawskerError | DBAPIError) -> str:
    """Pure. What an error says, without the server's DETAIL, which may hold personal data."""
    if isinstance(failed, LawskerError):
        return failed.message
    said = said_by_server(failed.orig)
    return said or Phrase("the connection was lost")


def _compared(expected: Catalog, found: Catalog) -> tuple[Difference, ...]:
    """Pure. What differs in this database, the making of our own schema apart. Roles, their passwords and settings and
    other databases are the server's, where others are at work; what our own transaction did to them the gate has seen."""
    return tuple(
        difference
        for difference in compare_catalogs(expected, found)
        if difference.kind not in WRITTEN_IN and not (_is_ours(difference) and difference.found == "present")
    )


def _is_ours(difference: Difference) -> bool:
    return difference.name == OWN_SCHEMA or difference.name.startswith(f"{OWN_SCHEMA}.")


def _shown(differences: tuple[Difference, ...]) -> Phrase:
    return first_of([difference.label for difference in differences], SHOWN, "; ")
