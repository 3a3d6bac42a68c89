"""Alembic's environment: every way in goes through the guard.

`safe-upgrade` hands over its connection and gate in `config.attributes`; a program that hands over a connection alone gets
the guard within its own transaction. Plain `alembic upgrade`, `downgrade` and `stamp`
get a guarded connection of their own. Commands that only look get a connection and no lock. `--sql` writes plain SQL.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from alembic import context
from alembic.util import CommandError

from lawsker_db.cli.language import asked_language
from lawsker_db.drift import COMPARISON
from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Direction
from lawsker_db.models import metadata
from lawsker_db.phrases import Phrase, joined, said, speak
from lawsker_db.safety import plain

config = context.config
SQL_HEAD = (
    "-- The atomic form of these revisions, in plain SQL. It carries no gate: nothing is proven before its COMMIT,\n"
    "-- no backup is taken, and locks are waited for without a time-out unless the session sets lock_timeout."
)


def wish() -> plain.Wish | None:
    """What was typed, None for a command that only looks: those have no destination."""
    options = {str(name): str(value) for name, value in context.get_x_argument(as_dictionary=True).items()}
    config.attributes["options"] = {**options, **config.attributes.get("options", {})}
    try:
        goal = context.get_revision_argument()
    except KeyError:
        return None
    except CommandError:  # relative to the database's revision: the plan resolves it
        goal = None
    command = getattr(config.cmd_opts, "cmd", (None,))[0]
    name = getattr(command, "__name__", "")
    directions = {direction.value: direction for direction in Direction}
    typed = getattr(config.cmd_opts, "revision", None)
    return plain.Wish(
        direction=directions.get(name),
        revision=str(typed or goal or "base"),
        options=options,
    )


def migrate(connection: Any, gate: Any) -> None:
    """Run the revisions of this command on a connection whose transaction is open; the gate judges each."""

    def judge(*, step: Any, **_rest: Any) -> None:
        if gate is None:
            return
        direction = Direction.UPGRADE if step.is_upgrade else Direction.DOWNGRADE
        gate.judge_revision(step.up_revision_id, Direction.STAMP if step.is_stamp else direction)

    context.configure(
        connection=connection,
        target_metadata=metadata,
        on_version_apply=judge,
        transaction_per_migration=False,
        **COMPARISON,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    """Online: on the connection handed over, or through the guard, or only looking."""
    handed_over = config.attributes.get("connection")
    if config.cmd_opts is not None:  # typed by a person; in a program somebody else chooses the language
        speak(asked_language((), os.environ))
    if handed_over is not None and "gate" in config.attributes:
        migrate(handed_over, config.attributes["gate"])
        return
    try:
        typed = wish()
        if handed_over is not None:
            run_on(handed_over, typed)
            return
        url = os.environ.get("DATABASE_URL")
        if typed is None:
            with plain.reading_connection(url) as connection:
                migrate(connection, None)
            return
        with plain.guarded_connection(url, Path(str(config.config_file_name)), typed) as (connection, gate):
            config.attributes["gate"] = gate
            migrate(connection, gate)
        if gate is not None and gate.keeping is not None and gate.keeping.kept:
            config.print_stdout("%s", said(plain.kept_words(gate.keeping.schema)))
    except LawskerError as refused:
        whole = joined((refused.message, refused.state, Phrase("Next: {hint}", hint=refused.hint)), "\n")
        raise CommandError(said(whole)) from refused


def run_on(connection: Any, typed: plain.Wish | None) -> None:
    """On a connection that a program handed over: the guard within its transaction, which it ends itself."""
    if typed is None:
        migrate(connection, None)
        return
    with plain.guarded_hand_over(connection, Path(str(config.config_file_name)), typed) as gate:
        config.attributes["gate"] = gate
        try:
            migrate(connection, gate)
        finally:
            del config.attributes["gate"]


def run_offline() -> None:
    """--sql: no database is asked."""
    wish()
    context.configure(
        dialect_name="postgresql",
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        target_metadata=metadata,
    )
    context.static_output(SQL_HEAD)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
