"""The installed command against real sessions that stand in its way, and beside clients at work.

Whoever is in the way is named; the database is old or new, and nobody loses what was acknowledged.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from command_line import Running, eventually, everything, run, started
from soaking import soak
from variants import does, patched_chain
from working_clients import Ledger, outcome

UPGRADE = ("safe-upgrade", "--yes", "--no-rehearsal")
REPEATABLE_READ = psycopg.IsolationLevel.REPEATABLE_READ
Session = psycopg.Connection[tuple[object, ...]]


@contextmanager
def session(url: str, statement: str, application: str) -> Iterator[Session]:
    """A session that has done this in a transaction, and sits there until the block ends or it is ended."""
    conn = psycopg.connect(url, application_name=application)
    conn.execute(statement.encode())
    try:
        yield conn
    finally:
        conn.close()


@contextmanager
def prepared(url: str, statement: str, gid: str) -> Iterator[None]:
    """A transaction that was prepared and is nobody's, for the block."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"BEGIN; {statement}; PREPARE TRANSACTION '{gid}'".encode())
        try:
            yield
        finally:
            conn.execute(f"COMMIT PREPARED '{gid}'".encode())


def names(tool: Running, *words: str) -> bool:
    """Whether the run under way has told all this; fails at once when it has ended."""
    assert tool.child.poll() is None, tool.said()
    return all(word in tool.said() for word in words)


def stamp(url: str) -> Any:
    with psycopg.connect(url) as conn:
        return conn.execute("SELECT version_num FROM alembic_version").fetchall()


def report(folder: Path) -> dict[str, Any]:
    """The report of the one run that was made here."""
    (found,) = (folder / "lawsker-runs").iterdir()
    document = json.loads((found / "report.json").read_text())
    assert isinstance(document, dict)
    return document


def is_new_with_old_content(url: str, before: dict[str, Any], columns: dict[str, tuple[str, ...]]) -> None:
    """By the oracle: stamped 013, and every table that stood has in its old columns what it had."""
    after = oracle.content(url, only_columns=columns)
    assert stamp(url) == [("013",)]
    assert {name: after[name] for name in before} == before


def test_a_long_reader_an_idle_writer_and_a_prepared_transaction_are_named_while_they_are_waited_for(
    adopted_url: str, tmp_path: Path
) -> None:
    columns = oracle.columns(adopted_url)
    before = oracle.content(adopted_url, only_columns=columns)
    with (
        session(adopted_url, "SELECT count(*) FROM users", "night report") as reader,
        session(adopted_url, "UPDATE cases SET updated_at = updated_at", "went for lunch") as writer,
        prepared(adopted_url, "UPDATE users SET status = status", "left by a coordinator"),
        started(tmp_path, *UPGRADE, "--lock-patience", "100", url=adopted_url) as tool,
    ):
        assert eventually(
            lambda: names(tool, f"pid {reader.info.backend_pid}", "night report", "left by a coordinator")
        )
        assert eventually(
            lambda: names(tool, f"pid {writer.info.backend_pid}", "went for lunch", "idle in transaction")
        )
        for sentence in ("transaction since 2", "(AccessShareLock on users", "prepared transaction"):
            assert sentence in tool.said()
        reader.rollback()
        writer.rollback()
        with psycopg.connect(adopted_url, autocommit=True) as operator:
            operator.execute("ROLLBACK PREPARED 'left by a coordinator'")
            ended = tool.end()
            operator.execute("BEGIN; PREPARE TRANSACTION 'left by a coordinator'")  # for the block to end
    assert ended.code == 0, ended.said
    is_new_with_old_content(adopted_url, before, columns)


def test_one_try_for_a_lock_lasts_as_long_as_the_operator_says(adopted_url: str, tmp_path: Path) -> None:
    def waits_long() -> bool:
        """Whether a LOCK TABLE has waited for longer than a try lasts by itself."""
        with psycopg.connect(adopted_url) as conn:
            asked = (
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                " AND query LIKE 'LOCK TABLE%' AND clock_timestamp() - query_start > '1 s'"
            )
            return conn.execute(asked).fetchone() is not None

    with (
        session(adopted_url, "UPDATE users SET status = status", "went for lunch") as writer,
        started(tmp_path, *UPGRADE, "--lock-timeout", "30", url=adopted_url) as tool,
    ):
        assert eventually(waits_long), tool.said()
        writer.rollback()
        ended = tool.end()
    assert ended.code == 0, ended.said
    assert {lock["attempts"] for lock in report(tmp_path)["locks"]} == {1}


def test_an_index_that_is_built_concurrently_meanwhile_is_named_and_found_before_commit_and_the_next_run_is_done(
    adopted_url: str, tmp_path: Path
) -> None:
    with (
        session(adopted_url, "UPDATE users SET status = status", "writer") as writer,
        started(tmp_path, *UPGRADE, "--lock-patience", "100", url=adopted_url) as tool,
        psycopg.connect(adopted_url, autocommit=True) as building,
    ):
        assert eventually(lambda: names(tool, f"pid {writer.info.backend_pid}"), within_s=30), tool.said()
        words = f"pid {building.info.backend_pid}", "CREATE INDEX CONCURRENTLY"
        statement = "CREATE INDEX CONCURRENTLY ix_meanwhile ON users (created_at)"
        thread = threading.Thread(target=building.execute, args=(statement,))
        thread.start()
        assert eventually(lambda: names(tool, *words))
        writer.rollback()
        ended = tool.end()
        thread.join()
    assert ended.code == 13, ended.said  # rolled back, and the other session's index stays
    assert "ix_meanwhile" in ended.line("Failed")
    assert ended.line("Database").startswith("The migration was rolled back.")
    assert stamp(adopted_url) == [("012",)]
    again = run(tmp_path, *UPGRADE, url=adopted_url)
    assert again.code == 0, again.said
    assert stamp(adopted_url) == [("013",)]


@pytest.mark.faults
def test_abort_gives_way_at_once_names_the_blocker_and_leaves_the_database_as_it_was(
    adopted_url: str, tmp_path: Path
) -> None:
    with session(adopted_url, "SELECT count(*) FROM users", "night report") as reader:
        before = everything(adopted_url)
        ended = run(tmp_path, *UPGRADE, "--on-blocker", "abort", url=adopted_url)
        assert ended.code == 11, ended.said
        assert f"pid {reader.info.backend_pid}" in ended.line("Failed")
        assert "night report" in ended.line("Failed")
        assert ended.line("Database") == "The transaction was rolled back; the database is as it was."
        assert everything(adopted_url) == before
    assert run(tmp_path, *UPGRADE, url=adopted_url).code == 0


def test_terminate_ends_who_is_in_the_way_spares_a_dump_and_tells_it_in_the_report(
    adopted_url: str, tmp_path: Path
) -> None:
    with (
        session(adopted_url, "SELECT count(*) FROM users", "forgotten") as forgotten,
        session(adopted_url, "SELECT count(*) FROM users", "pg_dump") as dump,
        started(tmp_path, *UPGRADE, "--on-blocker", "terminate", "--lock-patience", "100", url=adopted_url) as tool,
    ):
        pid = forgotten.info.backend_pid
        assert eventually(lambda: names(tool, f"terminated: pid {pid}", "--even-dumps"))
        dump.execute("SELECT 1")  # it lives
        dump.rollback()
        ended = tool.end()
        with pytest.raises(psycopg.OperationalError):
            forgotten.execute("SELECT 1")
    assert ended.code == 0, ended.said
    notes = report(tmp_path)["notes"]
    assert any(f"terminated: pid {pid}" in note for note in notes)
    assert any("left alone" in note and "pg_dump" in note for note in notes)


def test_of_three_runs_at_once_one_is_done_and_the_others_are_told_who_it_is(adopted_url: str, tmp_path: Path) -> None:
    columns = oracle.columns(adopted_url)
    before = oracle.content(adopted_url, only_columns=columns)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    with (
        session(adopted_url, "SELECT count(*) FROM users", "holds the first one up") as reader,
        started(folders[0], *UPGRADE, url=adopted_url) as one,
        started(folders[1], *UPGRADE, url=adopted_url) as two,
        started(folders[2], *UPGRADE, url=adopted_url) as three,
    ):
        runs = (one, two, three)
        assert eventually(lambda: sum(tool.child.poll() is not None for tool in runs) == 2)
        reader.rollback()
        ended = [tool.end() for tool in runs]
    assert sorted(found.code for found in ended) == [0, 15, 15], [found.said for found in ended]
    for busy in (found for found in ended if found.code == 15):
        for words in ("pid ", "user ", "from ", "connected since 2", "lawsker-db"):
            assert words in busy.line("Failed")
    is_new_with_old_content(adopted_url, before, columns)


def test_a_report_whose_snapshot_is_older_than_our_commit_never_sees_users_empty(
    adopted_url: str, tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, does("slow", "SELECT pg_sleep(2)"))
    locked = "SELECT FROM pg_locks WHERE granted AND relation = 'users'::regclass AND mode = 'AccessExclusiveLock'"
    with psycopg.connect(adopted_url) as early, psycopg.connect(adopted_url) as waiting:
        users = early.execute("SELECT count(*) FROM users").fetchone()
        early.rollback()
        early.isolation_level = waiting.isolation_level = REPEATABLE_READ
        early.execute("SELECT count(*) FROM tenants")  # the snapshot of this one is older than the run
        with (
            psycopg.connect(adopted_url, autocommit=True) as looking,
            started(tmp_path, *UPGRADE, "--config", str(config), url=adopted_url) as tool,
        ):
            assert eventually(lambda: bool(looking.execute(locked).fetchall()) or tool.child.poll() is not None)
            seen = waiting.execute("SELECT count(*) FROM users").fetchone()  # waits until COMMIT
            ended = tool.end()
        assert ended.code == 0, ended.said
        assert stamp(adopted_url) == [("013",)]
        assert (seen, early.execute("SELECT count(*) FROM users").fetchone()) == (users, users)


def test_clients_at_work_lose_nothing_see_users_always_and_no_deadlock_while_it_goes_up_and_down(
    adopted_url: str, tmp_path: Path
) -> None:
    soaked = soak(adopted_url, tmp_path, clients=16, go_on=lambda rounds: rounds < 1)
    assert soaked.holds, soaked
    assert (soaked.ups, soaked.downs) == (1, 1)
    assert soaked.outcome.acknowledged > 100
    assert soaked.outcome.looks > 100


def test_a_lost_write_an_empty_look_or_a_lost_deadlock_is_found_by_the_ledgers(adopted_url: str) -> None:
    ledger = Ledger("planted", user="00000000-0000-0000-0000-000000000000", case="", written="a@b", counts=[0])
    ledger.joined.append("nobody of that name")
    ledger.errors["40P01 joins"] += 1
    found = outcome(adopted_url, [ledger])
    assert (len(found.lost), found.fewest_users, found.deadlocks) == (2, 0, 1)
