"""How models are compared with a database, and what Alembic finds then, in words. Pure: Alembic itself is not asked here."""

from __future__ import annotations

from collections.abc import Mapping
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


def are_modelled(tables: tuple[str, ...]) -> bool:
    """Pure. Whether the models of this package know all of these tables."""
    from lawsker_db.models import metadata

    return set(tables) <= set(metadata.tables)


def is_modelled(name: str | None, kind: str, parents: Mapping[str, object]) -> bool:
    """Pure. Alembic's include_name: reflect only tables that the models know; others may have types nobody here knows."""
    from lawsker_db.models import metadata

    return kind != "table" or name in metadata.tables


def is_ours(_thing: object, _name: str | None, _kind: str, reflected: bool, compare_to: object) -> bool:
    """Pure. Alembic's include_object: leave out what stands only in the database."""
    return not (reflected and compare_to is None)


# How models and database are compared, here and by `alembic check`. Comments on columns are the operators' own.
COMPARISON: Mapping[str, Any] = {
    "include_name": is_modelled,
    "include_object": is_ours,
    "compare_type": True,
    "autogenerate_plugins": ["alembic.autogenerate.*", "~alembic.autogenerate.comments"],
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
