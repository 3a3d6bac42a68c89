"""Operations for revisions that carry their safety with them. They work online (under the gate) and as --sql.

Each reaches the gate through the attributes of the Alembic configuration. Without a gate (a foreign env.py) locks are
taken all the same and nothing is observed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy import Connection

from lawsker_db.contract import Contract
from lawsker_db.errors import Refused
from lawsker_db.phrases import Phrase
from lawsker_db.postgres import locks
from lawsker_db.postgres.session import CORE_UUID_MAJOR, literal, server_major


class Gate(Protocol):
    """What an operation needs of the gate."""

    def lock_tables(self, tables: Mapping[str, str], rewrites: tuple[str, ...]) -> None:
        """Take the locks and observe the content of the tables behind them."""

    def check_group(self, contract: Contract, group: str) -> None:
        """Look whether a group of the contract stands, and say so."""

    def keep_table(self, table: str) -> bool:
        """Move a table into the run's archive; False when the run keeps none."""

    def keep_columns(self, table: str, columns: tuple[str, ...]) -> bool:
        """Copy columns into the run's archive; False when the run keeps none."""


def lock_tables(tables: Mapping[str, str], *, rewrites: tuple[str, ...] = ()) -> None:
    """Take table locks at their final strength, in the order given, until the transaction ends; observe their content.

    `tables` maps a table to a lock mode ("ACCESS EXCLUSIVE"). Tables named in `rewrites` get a new file by what follows:
    sessions with an older snapshot, to which they would look empty, are waited for; one that takes its snapshot while
    it waits for our lock cannot be seen, so prefer an UPDATE where the table is small. Raises `LockNotObtained`.
    """
    if context.is_offline_mode():
        for table, mode in tables.items():
            op.execute(f"LOCK TABLE {table} IN {mode} MODE")
        return
    gate = _gate()
    if gate is not None:
        gate.lock_tables(tables, rewrites)
        return
    locks.lock_tables(_connection(), tables, rewrites=bool(rewrites))


def check_group(contract: Contract, group: str) -> None:
    """Have the gate look whether the tables of a group stand with their rows. Reads only. Raises `GateRefused`."""
    gate = None if context.is_offline_mode() else _gate()
    if gate is not None:
        gate.check_group(contract, group)


def drop_table(name: str) -> None:
    """Take a table away in a downgrade: into the run's archive where it keeps one, else by DROP TABLE.

    In the archive the table stands without its triggers and outgoing foreign keys. Takes ACCESS EXCLUSIVE until the
    transaction ends. Raises `LockNotObtained`. `--sql` drops.
    """
    gate = None if context.is_offline_mode() else _gate()
    if gate is None or not gate.keep_table(name):
        op.drop_table(name)


def drop_columns(table: str, names: tuple[str, ...]) -> None:
    """Take columns off a table in a downgrade, with the constraints and indexes on them; the run's archive, where it keeps
    one, gets their values beside the table's primary key.

    Takes ACCESS EXCLUSIVE until the transaction ends. Raises `LockNotObtained`, and `RolledBack` where a table without a
    primary key would have to be kept. `--sql` drops.
    """
    gate = None if context.is_offline_mode() else _gate()
    if gate is not None:
        gate.keep_columns(table, names)
    for name in reversed(names):
        op.drop_column(table, name)


def uuid_expression() -> str:
    """SQL that gives a random uuid. On PostgreSQL 12 it is pgcrypto's, qualified; the extension is created there if it
    is missing (and is left by a downgrade: others may use it by then)."""
    if context.is_offline_mode():
        return "gen_random_uuid()"
    connection = _connection()
    if server_major(connection) >= CORE_UUID_MAJOR:
        return "gen_random_uuid()"
    connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pgcrypto"))
    schema = connection.execute(
        sa.text(
            "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
            " WHERE e.extname = 'pgcrypto'"
        )
    ).scalar_one()
    return f"{schema}.gen_random_uuid()"


def uuid_default() -> sa.TextClause:
    """The server default of a uuid key, as `uuid_expression`."""
    return sa.text(uuid_expression())


def option(name: str) -> str | None:
    """What the operator gave: `alembic -x name=value` or `lawsker-db safe-upgrade --option name=value`."""
    context.config.attributes.setdefault("asked", set()).add(name)
    given = context.config.attributes.get("options", {}).get(name)
    if given is None:
        given = context.get_x_argument(as_dictionary=True).get(name)
    return None if given is None else str(given)


def refuse_rows(tables: tuple[str, ...]) -> None:
    """Raise `Refused` when any of the tables holds a row: dropping it would throw away what somebody wrote.

    Locks the tables ACCESS EXCLUSIVE until the transaction ends: no row comes meanwhile, and the DROP that follows does
    not have to strengthen a lock.
    """
    if context.is_offline_mode():
        raise Refused(
            Phrase("This downgrade looks at the database first; it has no --sql form."), hint=Phrase("run it online")
        )
    connection = _connection()
    lock_tables(dict.fromkeys(tables, "ACCESS EXCLUSIVE"))
    holding = [
        table for table in tables if connection.execute(literal(f"SELECT EXISTS (SELECT FROM {table})")).scalar_one()
    ]
    if holding:
        raise Refused(
            Phrase("The downgrade would drop tables that hold rows: {holding}.", holding=", ".join(holding)),
            hint=Phrase("nothing overrides this; to throw a test database away: DROP DATABASE"),
        )


def refuse_adopted() -> None:
    """Raise `Refused` when this database was adopted: its tables were there before this chain came."""
    connection = _connection()
    if connection.execute(sa.text("SELECT to_regclass('lawsker_db.migration_run')")).scalar_one() is None:
        return
    adopted = connection.execute(
        sa.text("SELECT EXISTS (SELECT FROM lawsker_db.migration_run WHERE direction = 'adopt')")
    ).scalar_one()
    if adopted:
        raise Refused(
            Phrase(
                "The baseline of this database was adopted, not made by this chain: its downgrade would drop "
                "live tables."
            ),
            hint=Phrase("nothing overrides this; the lowest revision of this database is 012"),
        )


def _gate() -> Gate | None:
    gate: Gate | None = context.config.attributes.get("gate")
    return gate


def _connection() -> Connection:
    bind = op.get_bind()
    if not isinstance(bind, Connection):
        raise Refused(Phrase("This revision needs a connection."), hint=Phrase("run it online, without --sql"))
    return bind
