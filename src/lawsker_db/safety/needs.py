"""What a revision needs of the database before it can run, by its contract. Reads only."""

from __future__ import annotations

from sqlalchemy import Connection

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.session import literal
from lawsker_db.revisions import Plan

SHOWN = 5  # names in the way: there may be dozens
NOT_EMPTY = Phrase("lawsker-db adopt --dry-run lists how this database differs")
HALF_MADE = Phrase(
    "mend that (rename or drop what is in the way, if nobody needs it), then lawsker-db safe-upgrade --dry-run"
)


def required_checks(conn: Connection, plan: Plan) -> tuple[Check, ...]:
    """What the first step's contract needs of the database. (What later steps need, earlier ones make.) Reads only."""
    if not plan.steps or plan.steps[0].contract is None:
        return ()
    stamped = bool(plan.start)
    checks: list[Check] = []
    for required in plan.steps[0].contract.required:
        missing = conn.execute(literal(required.query)).scalar_one_or_none()
        checks.append(
            Check(
                name=Phrase("needed by {revision}", revision=plan.steps[0].revision),
                ok=missing is None,
                expected=Phrase(required.says),
                found=Phrase(required.says) if missing is None else _missing(str(missing)),
                detail="" if missing is None else HALF_MADE if stamped else NOT_EMPTY,
            )
        )
    return tuple(checks)


def _missing(told: str) -> Phrase:
    """Pure. What a query of a contract answers: words, and behind them names, of which there may be dozens."""
    words, _, names = told.partition(": ")
    return (
        Phrase("{words}: {names}", words=Phrase(words), names=first_of(names.split(", "), SHOWN))
        if names
        else Phrase(told)
    )
