"""Variants of revision 013: the real chain with its text patched, and how each is named and written to a folder."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lawsker_db.errors import GateRefused, LawskerError

ROOT = Path(__file__).parents[2]
REVISION = "013_business_optimization.py"
BEFORE_LOCK = '    lock_old_tables(rewrites=() if in_place else ("users",))\n\n    gather_wanted()\n'
END = '    ops.check_group(contract, "users")\n\n\ndef downgrade'
RAW = "raw = op.get_bind().connection.driver_connection; "

# What a harm does to users it does without the triggers: the stamp that these move would give it away.
ONE_USER = "(SELECT id FROM users ORDER BY id LIMIT 1)"
OTHER_USER = "(SELECT id FROM users ORDER BY id DESC LIMIT 1)"

# A rollback does not take these back: after each road they are put where the sample has them.
SET_BACK = {
    "public.invoice_number": "SELECT setval('invoice_number', 4717)",
    "public.reserved_number": "SELECT setval('reserved_number', 77, false)",
}


@dataclass(frozen=True)
class Variant:
    """A patched 013. `code` is put in before the anchor `at`, or `old` is replaced by `new`, once."""

    name: str
    code: str = ""
    at: str = END
    old: str = ""
    new: str = ""
    setup: str = ""  # SQL for the database before it all
    teardown: str = ""  # SQL after it all, where the database could not be dropped otherwise
    moves: str = ""  # a sequence that does not roll back
    raises: type[LawskerError] = GateRefused
    says: str = ""
    says_of_copy: str = ""  # where the copy lacks what is harmed, or cannot be made at all
    remarks: bool = False  # a harmless one after which the schema reads otherwise: comments


def sql(statement: str) -> str:
    """The statement as a line of the revision. A lone colon is no bind parameter."""
    return f"op.execute({re.sub(r'(?<!:):(?!:)', chr(92) + ':', statement)!r})"


def put_in(name: str, code: str, says: str = "", **more: Any) -> Variant:
    return Variant(name=name, code=code, says=says, **more)


def replaced(name: str, old: str, new: str, says: str = "", **more: Any) -> Variant:
    return Variant(name=name, old=old, new=new, says=says, **more)


def does(name: str, statement: str, says: str = "", **more: Any) -> Variant:
    """A variant that executes one more statement (or several) at its end, behind the locks."""
    return Variant(name=name, code=sql(statement), says=says, **more)


def quietly(statement: str) -> str:
    """The statement with all triggers silent."""
    return f"SET LOCAL session_replication_role = replica; {statement}; SET LOCAL session_replication_role = origin"


def named(variant: Variant) -> str:
    return variant.name.replace(" ", "-")


def patched_chain(folder: Path, variant: Variant) -> Path:
    """Copy the chain, patch 013 as the variant says, and return the path of alembic.ini."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", folder)
    path = folder / "alembic" / "versions" / REVISION
    text = path.read_text()
    old = variant.old or variant.at
    assert old in text, f"the anchor is gone from 013: {old!r}"
    new = variant.new if variant.old else f"    {variant.code}\n{variant.at}"
    path.write_text(text.replace(old, new, 1))
    return folder / "alembic.ini"
