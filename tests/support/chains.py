"""A small chain of a test's own: the baseline 012, and above it revisions whose bodies and contracts the test writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import indent

ROOT = Path(__file__).parents[2]

TEXT = '''"""{revision}"""

import sqlalchemy as sa
from alembic import op

from lawsker_db import ops
from lawsker_db.contract import Check, Column, Contract, Extension, ForeignKey, Index, Invariant, Table, Unique, Writes

revision = "{revision}"
down_revision = "{below}"
branch_labels = None
depends_on = None


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}


contract = Contract(revision="{revision}", follows="{below}", {contract})
'''


def small_chain(folder: Path, *steps: tuple[str, str] | tuple[str, str, str]) -> Path:
    """Write the chain into `folder`; return its alembic.ini. A step is the body of upgrade(), the contract's arguments and,
    if need be, the body of downgrade(). The revisions are called 100, 101, and so on."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__", "013*"))
    shutil.copy(ROOT / "alembic.ini", folder)
    below = "012"
    for number, (upgrade, contract, *downgrade) in enumerate(steps):
        revision = str(100 + number)
        text = TEXT.format(
            revision=revision,
            below=below,
            upgrade=indent(upgrade, "    "),
            downgrade=indent(downgrade[0] if downgrade else "pass", "    "),
            contract=contract,
        )
        (folder / "alembic" / "versions" / f"{revision}_small.py").write_text(text)
        below = revision
    return folder / "alembic.ini"
