"""What Alembic finds when it compares models with a database, in words. Pure: Alembic itself is not asked here."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from lawsker_db.phrases import Phrase

# The second word of an operation of Alembic's. What it would add stands in the models alone.
KINDS = {
    "table": Phrase("table"),
    "column": Phrase("column"),
    "index": Phrase("index"),
    "constraint": Phrase("constraint"),
    "fk": Phrase("foreign key"),
}


def in_words(differences: list[Any]) -> tuple[str, ...]:
    """Pure. Each thing in which they differ once, by its kind, its table and its name."""
    added: list[Phrase] = []
    removed: list[Phrase] = []
    changed: list[Phrase] = []
    for difference in differences:
        if isinstance(difference, list):  # the attributes of one column
            changed += [_attribute(*one) for one in difference]
            continue
        action, _, kind = str(difference[0]).partition("_")
        (added if action == "add" else removed).append(_named(kind, difference))
    both = [what for what in added if what in removed]
    return (
        *(Phrase("{what} is another in the models", what=what) for what in both),
        *(Phrase("{what} is in the models alone", what=what) for what in added if what not in both),
        *(Phrase("{what} is in the database alone", what=what) for what in removed if what not in both),
        *changed,
    )


def _named(kind: str, difference: tuple[Any, ...]) -> Phrase:
    """Pure. "foreign key user_credits.user_credits_user_id_fkey"."""
    if kind == "column":
        _, _, table, column = difference
        name = f"{table}.{column.name}"
    else:
        thing = difference[1]
        of = getattr(thing, "table", None)  # a table has none
        name = ".".join(part.name for part in (of, thing) if part is not None and part.name)
    return Phrase("{kind} {name}", kind=KINDS.get(kind, kind), name=name)


def _attribute(operation: str, _schema: str, table: str, column: str, _more: object, found: Any, wanted: Any) -> Phrase:
    """Pure. "column users.email: nullable is True, in the models False"."""
    return Phrase(
        "column {name}: {attribute} is {found}, in the models {wanted}",
        name=".".join((table, column)),
        attribute=operation.removeprefix("modify_"),
        found=_value(found),
        wanted=_value(wanted),
    )


def _value(value: Any) -> str:
    """Pure. A type, a flag, or the expression of a default."""
    if isinstance(value, TypeEngine):
        return value.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    return Phrase("nothing") if value is None else str(getattr(value, "arg", value))
