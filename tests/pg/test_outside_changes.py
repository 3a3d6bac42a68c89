"""What other connections commit during a migration: it is found, named, and never taken for the database's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from chains import small_chain
from command_line import eventually
from roads import rows

from lawsker_db.errors import (
    ChangedOutside,
    CommittedUnproven,
    GateRefused,
    LawskerError,
    RehearsalFailed,
    RevisionFailed,
)
from lawsker_db.evidence import Event, RunReport
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

OTHERS_DDL = (
    "CREATE TABLE newcomer ()",
    "COMMENT ON TABLE profiles IS 'changed meanwhile'",
    "CREATE OR REPLACE FUNCTION calculate_commission(amount numeric, share numeric DEFAULT 0.5) RETURNS numeric"
    " LANGUAGE sql AS 'SELECT 0.0'",
    "GRANT SELECT ON wallets TO PUBLIC",
    "DROP TABLE session_cache",
)
OWN_ENGINE = 'import psycopg\nwith psycopg.connect({url!r}, autocommit=True) as other:\n    other.execute("{ddl}")\n'
THROUGH_THE_BIND = (
    "engine = op.get_bind().engine\nwith engine.connect() as other:\n"
    '    other.execute(sa.text("{ddl}"))\n    other.commit()\n'
)
SMUGGLE = "CREATE TABLE smuggled ()"


def upgrade(url: str, config: Path, on_event: Any = lambda event: None, **more: Any) -> RunReport:
    options = UpgradeOptions(runs=config.parent / "runs", config=config, **{"prove": False, **more})
    return safe_upgrade(parse_target(url), options=options, on_event=on_event)


def stamped(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row
    return str(row[0])


def verdict(folder: Path) -> str:
    (report,) = (folder / "runs").glob("*/report.json")
    return str(json.loads(report.read_text())["verdict"])


@pytest.fixture
def other(adopted_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session, which commits each statement at once."""
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_before_the_gate_rolls_back_and_is_named_as_what_stays(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "locked":
            other.execute(ddl.encode())

    config = small_chain(tmp_path, ('ops.lock_tables({"users": "ACCESS EXCLUSIVE"})', ""))
    with pytest.raises(ChangedOutside, match="catalog after 100") as caught:
        upgrade(adopted_url, config, meddle)
    assert caught.value.exit_code == 13
    assert caught.value.state.startswith(
        "The migration was rolled back. What other connections committed meanwhile stays: "
    )
    assert stamped(adopted_url) == "012"
    assert verdict(tmp_path) == "rolled back"


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_after_the_gate_is_told_after_the_commit(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "about to commit":
            other.execute(ddl.encode())

    with pytest.raises(CommittedUnproven, match="catalog after COMMIT") as caught:
        upgrade(adopted_url, small_chain(tmp_path, ("pass", "")), meddle)
    assert caught.value.exit_code == 13
    assert stamped(adopted_url) == "100"
    assert verdict(tmp_path) == "committed, not proven"


@pytest.mark.parametrize("way", [OWN_ENGINE, THROUGH_THE_BIND], ids=["its own driver", "the engine of the bind"])
def test_ddl_of_a_revision_over_a_second_connection_is_named_and_never_called_untouched(
    way: str, adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(tmp_path, (way.format(url=adopted_url, ddl=SMUGGLE), ""))
    with pytest.raises(ChangedOutside, match="smuggled") as caught:
        upgrade(adopted_url, config)
    assert caught.value.exit_code == 13
    assert "table public.smuggled: present" in caught.value.state
    assert "opened a connection of its own" in caught.value.hint
    assert stamped(adopted_url) == "012"


def test_an_error_of_a_revision_names_what_it_committed_over_a_second_connection(
    adopted_url: str, tmp_path: Path
) -> None:
    body = OWN_ENGINE.format(url=adopted_url, ddl=SMUGGLE) + "raise ValueError('a mistake')"
    with pytest.raises(RevisionFailed, match="a mistake") as caught:
        upgrade(adopted_url, small_chain(tmp_path, (body, "")))
    assert "table public.smuggled: present" in caught.value.state


def test_the_rehearsal_refuses_ddl_over_a_second_connection_to_the_copy(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    config = small_chain(tmp_path, (THROUGH_THE_BIND.format(ddl=SMUGGLE), ""))
    with pytest.raises(RehearsalFailed, match="smuggled") as caught:
        upgrade(adopted_url, config, prove=True)
    assert caught.value.exit_code == 10
    assert oracle.picture(adopted_url) == before


def test_the_rehearsal_refuses_ddl_over_a_second_connection_to_production_and_says_that_it_stays(
    adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(
        tmp_path, (OWN_ENGINE.format(url=adopted_url, ddl="CREATE TABLE IF NOT EXISTS smuggled ()"), "")
    )
    with pytest.raises(RehearsalFailed, match="smuggled") as caught:
        upgrade(adopted_url, config, prove=True)
    assert caught.value.exit_code == 10
    assert caught.value.state == "The migration was not started. What other connections committed meanwhile stays."
    assert stamped(adopted_url) == "012"


def plain_alembic(url: str, config: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=config.parent,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_plain_alembic_names_ddl_over_a_second_connection_too(adopted_url: str, tmp_path: Path) -> None:
    config = small_chain(tmp_path, (OWN_ENGINE.format(url=adopted_url, ddl=SMUGGLE), ""))
    said = plain_alembic(adopted_url, config)
    assert said.returncode != 0
    assert "What other connections committed meanwhile stays: table public.smuggled" in said.stdout + said.stderr
    assert stamped(adopted_url) == "012"


def test_plain_alembic_looks_again_after_its_commit(adopted_url: str, tmp_path: Path) -> None:
    # A deferred trigger of the revision's own cannot do this any more: the gate has fired those. So another session does,
    # in the moment between the gate and the look: it waits for the lock that COMMIT gives back.
    body = 'ops.lock_tables({"wallets": "ACCESS EXCLUSIVE"})'
    config = small_chain(tmp_path, (body, ""))
    command = [sys.executable, "-c", RACE, adopted_url, str(config)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert "CommittedUnproven" in said.stdout, said.stdout + said.stderr
    assert stamped(adopted_url) == "100"


# env.py's own way, with a pause after COMMIT in which another session's DDL is let through.
RACE = """
import sys
from pathlib import Path
import psycopg
from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Direction
from lawsker_db.revisions import load_chain, plan_upgrade, run_steps
from lawsker_db.safety import guard, plain
url, config = sys.argv[1], Path(sys.argv[2])
committed = guard.commit
def commit(*given, **more):
    committed(*given, **more)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("CREATE TABLE newcomer ()")
guard.commit = commit
chain = load_chain(config)
try:
    with plain.guarded_connection(url, config, plain.Wish(direction=Direction.UPGRADE, revision="head", options={})) as (
        conn, gate,
    ):
        run_steps(conn, chain, plan_upgrade(chain, ("012",)), gate)
except LawskerError as failed:
    print(type(failed).__name__, failed)
"""


def test_a_role_whose_password_a_revision_changes_is_noticed(server: Any, adopted_url: str, tmp_path: Path) -> None:
    server.run("CREATE ROLE lawsker_door LOGIN PASSWORD 'old'")
    try:
        config = small_chain(tmp_path, ("op.execute(\"ALTER ROLE lawsker_door PASSWORD 'new'\")", ""))
        with pytest.raises(LawskerError, match="login lawsker_door") as caught:
            upgrade(adopted_url, config)
        assert caught.value.exit_code == 11
    finally:
        server.run("DROP ROLE lawsker_door")


def test_a_role_that_somebody_else_makes_meanwhile_is_nobodys_harm(
    server: Any, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "locked":
            other.execute("DO $$ BEGIN CREATE ROLE lawsker_newcomer; EXCEPTION WHEN duplicate_object THEN NULL; END $$")

    config = small_chain(tmp_path, ('ops.lock_tables({"users": "ACCESS EXCLUSIVE"})', ""))
    try:
        upgrade(adopted_url, config, meddle)
    finally:
        server.run("DROP ROLE IF EXISTS lawsker_newcomer")
    assert stamped(adopted_url) == "100"


UPKEEP = (
    ("TRUNCATE session_cache", "session_cache"),
    ("VACUUM FULL session_cache", "session_cache"),
    ("ALTER SEQUENCE invoice_number RESTART WITH 5000", "invoice_number"),
)


@pytest.mark.parametrize(("upkeep", "relation"), UPKEEP)
def test_upkeep_by_another_session_that_gives_a_relation_a_new_file_is_not_blamed_on_the_revision(
    upkeep: str, relation: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def keep_up(event: Event) -> None:
        if event.name == "locked":
            other.execute(upkeep.encode())

    config = small_chain(tmp_path, ('ops.lock_tables({"wallets": "ACCESS EXCLUSIVE"})', ""))
    report = upgrade(adopted_url, config, keep_up)
    proofs = {content.table: content.proof for content in report.contents}
    assert proofs[f"public.{relation}"] == "untouched; another session has given it a new file"


def test_a_new_file_that_the_revision_gives_in_a_savepoint_of_its_own_is_not_taken_for_anothers(
    adopted_url: str, tmp_path: Path
) -> None:
    restart = "ALTER SEQUENCE invoice_number RESTART WITH 5000"
    config = small_chain(tmp_path, (f"with op.get_bind().begin_nested():\n    op.execute({restart!r})", ""))
    with pytest.raises(GateRefused, match=r"content of public\.invoice_number"):
        upgrade(adopted_url, config)


def test_until_the_revision_locks_a_table_others_may_refresh_and_truncate_what_the_gate_has_read(
    other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    done: list[str] = []

    def keep_up(event: Event) -> None:
        if event.name == "statement" and "at work" in event.text:
            other.execute("SET lock_timeout = '5s'")
            other.execute("REFRESH MATERIALIZED VIEW user_statistics")
            other.execute("BEGIN; LOCK TABLE users, tenants IN ACCESS EXCLUSIVE MODE; ROLLBACK")
            done.append(event.name)

    config = small_chain(tmp_path, ("op.execute(\"SELECT 'at work'\")", ""))
    report = upgrade(adopted_url, config, keep_up)
    assert done == ["statement"]
    proofs = {content.table: content.proof for content in report.contents}
    assert proofs["public.user_statistics"] == "untouched; another session has given it a new file"


def test_a_refresh_that_waits_for_a_table_of_ours_is_no_deadlock_with_the_gates_second_look(
    adopted_url: str, tmp_path: Path
) -> None:
    locked: list[str] = []
    refreshed: list[str] = []

    def refresh() -> None:
        with psycopg.connect(adopted_url, autocommit=True) as connection:
            refreshed.append(connection.execute("REFRESH MATERIALIZED VIEW user_statistics").statusmessage or "")

    session = threading.Thread(target=refresh)

    def begin(event: Event) -> None:
        if event.name == "locked":
            locked.append(event.text)
            session.start()
            assert eventually(lambda: bool(rows(adopted_url, "SELECT FROM pg_locks WHERE NOT granted")))

    upgrade(adopted_url, small_chain(tmp_path, ('ops.lock_tables({"users": "ACCESS EXCLUSIVE"})', "")), begin)
    session.join()
    assert (len(locked), refreshed) == (1, ["REFRESH MATERIALIZED VIEW"])
