"""What a revision needs of the database before it can run, by its contract. Reads only."""

from __future__ import annotations

import re

from sqlalchemy import Connection, text

from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.session import literal
from lawsker_db.revisions import Plan

TYPED = re.compile(r"(.+) \(expected (.+), found (.+)\)")  # how contracts tell a column that is not as they need it
WORDS = {"a time": Phrase("a time"), "none": Phrase("none")}  # what stands there in the place of a type
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


def is_bare(conn: Connection, plan: Plan) -> bool:
    """Whether none of the tables stands that the steps of a plan make: nobody has begun here. Reads only."""
    made = [table.name for contract in plan.contracts for table in contract.tables]
    query = (
        "SELECT NOT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = current_schema() AND c.relname = ANY (:made))"
    )
    return bool(conn.execute(text(query), {"made": made}).scalar_one())


def _missing(told: str) -> Phrase:
    """Pure. What a query of a contract answers: words, and behind them names, of which there may be dozens."""
    words, _, names = told.partition(": ")
    return (
        Phrase("{words}: {names}", words=Phrase(words), names=first_of(_entries(names), SHOWN))
        if names
        else Phrase(told)
    )


def _entries(names: str) -> list[str]:
    """Pure. Names that commas part; a comma within brackets is of the name before them."""
    entries: list[str] = []
    for part in names.split(", "):
        if entries and entries[-1].count("(") > entries[-1].count(")"):
            entries[-1] += f", {part}"
        else:
            entries.append(part)
    return [_with_words(entry) for entry in entries]


def _with_words(entry: str) -> str:
    """Pure. A name, and behind it in words what was expected and found."""
    typed = TYPED.fullmatch(entry)
    if not typed:
        return entry
    name, expected, found = typed.groups()
    return Phrase(
        "{name} (expected {expected}, found {found})",
        name=name,
        expected=WORDS.get(expected, expected),
        found=WORDS.get(found, found),
    )
