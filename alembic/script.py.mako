"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

import sqlalchemy as sa
from alembic import op

from lawsker_db import ops
from lawsker_db.contract import Contract
${imports if imports else ""}
<%
    def quoted(value):
        return f'"{value}"' if isinstance(value, str) else repr(value)
%>
revision = ${quoted(up_revision)}
down_revision = ${quoted(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    # Lock what stood before with ops.lock_tables, directly at its final strength, before it is changed.
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}


# What this revision promises, written out a second time: nothing here may be computed from upgrade().
contract = Contract(
    revision=${quoted(up_revision)},
    follows=${quoted(down_revision)},
)
