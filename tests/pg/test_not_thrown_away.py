"""What a plain downgrade without a word must see before it drops, and what a rollback must not do behind one's back."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from chains import small_chain
from copies import Server
from roads import rows
from roads import run as execute

from lawsker_db.errors import OutcomeUnknown, Refused
from lawsker_db.safety.account import open_account, reported
from lawsker_db.safety.pace import Errand, Pace
from lawsker_db.safety.rollback import RollbackOptions, look_back, roll_back
from lawsker_db.target import parse_target

GADGETS = (
    'op.execute("CREATE TABLE gadgets (id integer PRIMARY KEY, name text)")\n'
    'ops.lock_tables({"keyless": "ACCESS EXCLUSIVE"})\n'
    'op.execute("ALTER TABLE keyless ADD COLUMN b text")',
    'alters=("keyless",), extensions=(Extension(table="keyless", columns=(Column("b", "text", nullable=True),)),),'
    ' tables=(Table(name="gadgets", group="g", columns=(Column("id", "integer"),'
    ' Column("name", "text", nullable=True)), primary_key=("id",)),)',
    'ops.drop_table("gadgets")\nops.drop_columns("keyless", ("b",))',
)
WHEELS = (
    'op.execute("CREATE TABLE wheels (id integer PRIMARY KEY)")',
    'tables=(Table(name="wheels", group="g", columns=(Column("id", "integer"),), primary_key=("id",)),)',
    'op.drop_table("wheels")',
)

ONCE_MORE = """from pathlib import Path
counter = Path({counter!r})
counter.write_text(counter.read_text() + ".")
if len(counter.read_text()) < 2:
    op.execute("DO $$ BEGIN RAISE EXCEPTION 'once more' USING ERRCODE = '40P01'; END $$")"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of two revisions; the upper one drops without asking the gate."""
    folder = tmp_path_factory.mktemp("chain")
    small_chain(folder, GADGETS, WHEELS)
    return folder


@pytest.fixture(scope="module")
def url(server: Server, adopted_template: str, folder: Path) -> Iterator[str]:
    """A database at 100, with a row each in what that made and altered."""
    name = f"thrown_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {adopted_template}")
    execute(server.url(name), "CREATE TABLE keyless (a integer); INSERT INTO keyless VALUES (1)")
    move(server.url(name), folder, command.upgrade, "100")
    yield server.url(name)
    server.run(f"DROP DATABASE {name}")


def move(url: str, folder: Path, way: Callable[[Config, str], None], to: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        way(Config(str(folder / "alembic.ini")), to)


def down(url: str, folder: Path, to: str) -> None:
    move(url, folder, command.downgrade, to)


def test_values_in_a_column_that_others_put_on_a_new_table_are_not_thrown_away(url: str, folder: Path) -> None:
    execute(url, "ALTER TABLE gadgets ADD COLUMN note text")
    execute(url, "INSERT INTO gadgets (id, note) VALUES (1, 'x')")
    with pytest.raises(CommandError, match=r"gadgets: .*column note of others"):
        down(url, folder, "012")
    execute(url, "DELETE FROM gadgets; ALTER TABLE gadgets DROP COLUMN note")


def test_values_in_new_columns_of_a_table_without_a_key_are_not_thrown_away(url: str, folder: Path) -> None:
    execute(url, "UPDATE keyless SET b = 'x'")
    with pytest.raises(CommandError, match="keyless: changed since the upgrade"):
        down(url, folder, "012")
    execute(url, "UPDATE keyless SET b = NULL")


def test_what_is_committed_while_a_bare_drop_waits_is_not_thrown_away(url: str, folder: Path) -> None:
    move(url, folder, command.upgrade, "101")
    with psycopg.connect(url) as writer:
        writer.execute("INSERT INTO wheels VALUES (1)")
        waiting = threading.Thread(target=commit_when_waited_for, args=(url, writer))
        waiting.start()
        with pytest.raises(CommandError, match="not looked at behind a lock: wheels"):
            down(url, folder, "100")
        waiting.join()
    assert rows(url, "SELECT id FROM wheels") == [(1,)]
    execute(url, "DELETE FROM wheels")


def commit_when_waited_for(url: str, writer: psycopg.Connection[tuple[object, ...]]) -> None:
    """End the writer's transaction as soon as somebody waits to drop its table."""
    waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'wheels'::regclass"
    deadline = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as looker:
        while time.monotonic() < deadline and looker.execute(waits).fetchone() == (0,):
            time.sleep(0.005)
    writer.commit()


def test_a_rollback_takes_back_no_more_than_was_shown(url: str, folder: Path) -> None:
    options = RollbackOptions(
        runs=folder / "runs", config=folder / "alembic.ini", patience_s=5, discard=True, reason="x"
    )
    shown = look_back(parse_target(url), None, options).plan
    assert (shown.start, shown.goal) == (("101",), ("100",))
    roll_back(parse_target(url), options=options, shown=shown)
    with pytest.raises(Refused, match="at 100 by now; it was at 101 when you were asked"):
        roll_back(parse_target(url), options=options, shown=shown)
    assert rows(url, "SELECT version_num FROM alembic_version") == [("100",)]


def test_a_rollback_whose_end_is_unknown_does_not_speak_of_a_migration(url: str, folder: Path) -> None:
    options = RollbackOptions(runs=folder / "runs", config=folder / "alembic.ini")
    outlook = look_back(parse_target(url), None, options)
    account = open_account(parse_target(url), outlook.plan, outlook.server, (), options.runs, Errand(pace=Pace()))
    with pytest.raises(OutcomeUnknown) as unknown, reported(account) as said:
        raise OutcomeUnknown("The connection was lost at COMMIT.", hint="lawsker-db recover")
    assert unknown.value.state == said.report.state == "It is not known whether the rollback was committed."


def test_a_rollback_that_could_not_be_serialized_is_begun_again(adopted_url: str, tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("")
    config = small_chain(tmp_path, ("pass", "", ONCE_MORE.format(counter=str(tmp_path / "counter"))))
    move(adopted_url, tmp_path, command.upgrade, "100")
    begun: list[str] = []
    options = RollbackOptions(runs=tmp_path / "runs", config=config, patience_s=5)
    roll_back(parse_target(adopted_url), options=options, on_event=lambda event: begun.append(event.name))
    assert begun.count("begun again") == 1
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]


def test_a_changed_row_is_seen_also_when_the_schema_was_renamed_since(url: str, folder: Path) -> None:
    execute(url, "INSERT INTO gadgets VALUES (1, 'x')")
    execute(url, "ALTER SCHEMA public RENAME TO app")
    with psycopg.connect(url) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET search_path = app'.encode())
    with pytest.raises(CommandError, match="gadgets: changed since the upgrade"):
        down(url, folder, "012")


def test_rows_of_a_table_that_no_run_on_record_has_made_are_not_thrown_away(url: str, folder: Path) -> None:
    execute(url, "DELETE FROM lawsker_db.migration_run WHERE direction <> 'adopt'")
    with pytest.raises(CommandError, match="No run of this database is on record"):
        down(url, folder, "012")
    assert len(rows(url, "SELECT FROM gadgets")) == 1
    execute(url, "DELETE FROM gadgets")
    down(url, folder, "012")
