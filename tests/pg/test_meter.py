"""The meter sees what each statement of a transaction cost and held, whoever sent it, and leaves no trace in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.evidence import StatementCost
from lawsker_db.postgres.meter import Meter, metered
from lawsker_db.target import parse_target

SLEEP = "SELECT pg_sleep(0.2)"
LONG_SLEEP = "SELECT pg_sleep(1)"


@pytest.fixture(scope="module")
def shared_url(server: Any, sample_template: str) -> Iterator[str]:
    """The sample, for tests that roll back all they do."""
    name = f"meter_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {sample_template}")
    yield server.url(name)
    server.run(f"DROP DATABASE {name}")


@pytest.fixture
def conn(shared_url: str) -> Iterator[Connection]:
    """A connection whose work is rolled back."""
    with parse_target(shared_url).connect() as connection:
        yield connection
        connection.rollback()


def measure(conn: Connection, *statements: str) -> Meter:
    """A metered block of these statements, in a transaction that is rolled back in it."""
    with metered(conn) as meter:
        for statement in statements:
            conn.exec_driver_sql(statement)
        conn.rollback()
    return meter


def locks(cost: StatementCost) -> dict[str, str]:
    return {lock.table: lock.mode for lock in cost.locks}


def foretold(meter: Meter) -> list[tuple[str, str]]:
    return [(lock.table, lock.mode) for lock in meter.locks]


def driver(conn: Connection) -> psycopg.Connection[Any]:
    raw = conn.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    return raw


def status(conn: Connection) -> TransactionStatus:
    return driver(conn).info.transaction_status


def test_an_update_shows_its_rows_its_wal_and_no_strong_lock(conn: Connection) -> None:
    cases = conn.execute(text("SELECT count(*) FROM cases")).scalar_one()
    meter = measure(conn, "UPDATE cases SET id = id", "SELECT count(*) FROM users")
    update, select = meter.statements
    assert (update.rows, select.rows) == (cases, None)
    assert update.wal_bytes > 50 * cases
    assert locks(update) == {"public.cases": "ROW EXCLUSIVE"}
    assert (select.locks, update.rewritten, meter.locks, meter.rewritten) == ((), (), (), ())


def test_a_lock_that_was_taken_past_our_own_operations_is_foretold_with_its_mode_and_time(conn: Connection) -> None:
    meter = measure(conn, "SELECT 1", "LOCK TABLE case_logs IN SHARE MODE", SLEEP)
    (lock,) = meter.locks
    assert (lock.table, lock.mode) == ("public.case_logs", "SHARE")
    assert 0.2 <= meter.statements[2].duration_s <= lock.held_s <= meter.duration_s
    assert [locks(cost) for cost in meter.statements] == [{}, {"public.case_logs": "SHARE"}, {}]
    assert meter.statements[1].locks == meter.locks


def test_a_lock_counts_from_the_start_of_the_statement_that_took_it(conn: Connection) -> None:
    statement = "DO $$ BEGIN LOCK TABLE case_logs IN EXCLUSIVE MODE; PERFORM pg_sleep(0.2); END $$"
    (lock,) = measure(conn, statement).locks
    assert lock.mode == "EXCLUSIVE"
    assert lock.held_s >= 0.2


def test_a_rewrite_is_named_at_its_statement_with_the_growth(conn: Connection) -> None:
    meter = measure(
        conn,
        "LOCK TABLE cases IN ACCESS EXCLUSIVE MODE",
        "ALTER TABLE cases ADD COLUMN later int",
        "ALTER TABLE cases ALTER COLUMN later TYPE bigint",
        "SELECT count(*) FROM cases",
    )
    assert [cost.rewritten for cost in meter.statements] == [(), (), ("public.cases",), ()]
    assert meter.rewritten == ("public.cases",)
    assert foretold(meter) == [("public.cases", "ACCESS EXCLUSIVE")]
    assert [locks(cost) for cost in meter.statements] == [{"public.cases": "ACCESS EXCLUSIVE"}, {}, {}, {}]


def test_what_the_files_grew_by_shows_at_the_statement_that_filled_them(conn: Connection) -> None:
    fill = "INSERT INTO filled SELECT repeat('x', 1000) FROM generate_series(1, 2000)"
    meter = measure(conn, "CREATE TABLE filled (words text)", "SELECT 1", fill, "SELECT 2")
    assert meter.statements[2].growth_bytes > 2_000_000
    assert meter.statements[2].wal_bytes > 2_000_000
    assert (meter.statements[1].growth_bytes, meter.statements[3].growth_bytes) == (0, 0)
    assert meter.growth_bytes < 1_000_000  # it was rolled back


def test_a_table_that_was_made_in_the_block_is_nobody_elses_to_wait_for(conn: Connection) -> None:
    meter = measure(conn, "CREATE TABLE made (n int)", "ALTER TABLE made ADD PRIMARY KEY (n)", "DROP TABLE made")
    assert meter.locks == ()
    assert all(cost.locks == () for cost in meter.statements)


def test_a_table_that_is_dropped_was_locked(conn: Connection) -> None:
    assert ("public.case_logs", "ACCESS EXCLUSIVE") in foretold(measure(conn, "DROP TABLE case_logs"))


def test_a_lock_on_an_index_counts_as_its_tables(conn: Connection) -> None:
    index = conn.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'case_logs' LIMIT 1")).scalar_one()
    assert foretold(measure(conn, f"REINDEX INDEX public.{index}"))[0] == ("public.case_logs", "ACCESS EXCLUSIVE")


def test_a_weaker_lock_is_told_beside_a_stronger_one_only_where_it_was_held_longer(conn: Connection) -> None:
    weak, strong = "LOCK TABLE case_logs IN SHARE MODE", "LOCK TABLE case_logs IN ACCESS EXCLUSIVE MODE"
    assert foretold(measure(conn, strong, SLEEP, weak)) == [("public.case_logs", "ACCESS EXCLUSIVE")]
    assert foretold(measure(conn, weak, SLEEP, strong)) == [
        ("public.case_logs", "ACCESS EXCLUSIVE"),
        ("public.case_logs", "SHARE"),
    ]


@pytest.mark.parametrize("ends", ["ROLLBACK TO s", "COMMIT"])
def test_a_lock_ends_with_what_took_it(conn: Connection, ends: str) -> None:
    meter = measure(conn, "SAVEPOINT s", "LOCK TABLE case_logs IN SHARE MODE", ends, LONG_SLEEP)
    (lock,) = meter.locks
    assert lock.held_s < 1
    assert lock.held_s < meter.duration_s


def test_a_lock_is_held_to_the_end_of_commit(conn: Connection) -> None:
    with metered(conn) as meter:
        conn.exec_driver_sql("LOCK TABLE case_logs IN SHARE MODE")
        driver(conn).execute(SLEEP)  # past SQLAlchemy, as the guard's COMMIT
        driver(conn).commit()
    assert meter.locks[0].held_s >= 0.2


def test_metering_leaves_no_trace_in_the_transaction(conn: Connection) -> None:
    with metered(conn):
        assert status(conn) == TransactionStatus.IDLE
        conn.exec_driver_sql("SET TRANSACTION READ WRITE")
        conn.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")  # refused behind any query
        conn.exec_driver_sql("SELECT count(*) FROM users")
        assert conn.exec_driver_sql("SELECT txid_current_if_assigned()").scalar_one() is None
        held = conn.exec_driver_sql(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode NOT IN ('AccessShareLock', 'SIReadLock')"
            " AND locktype <> 'virtualxid'"
        )
        assert held.scalar_one() == 0
        conn.exec_driver_sql("COMMIT")
        assert status(conn) == TransactionStatus.IDLE
        conn.rollback()
    assert status(conn) == TransactionStatus.IDLE


def test_a_statement_that_fails_is_told_as_itself_and_metering_goes_on_behind_its_savepoint(conn: Connection) -> None:
    with metered(conn) as meter:
        conn.exec_driver_sql("SELECT 1")
        with pytest.raises(DBAPIError, match="division by zero"), conn.begin_nested():
            conn.exec_driver_sql("SELECT 1 / 0")
        conn.exec_driver_sql("LOCK TABLE case_logs IN SHARE MODE")
        conn.rollback()
    assert foretold(meter) == [("public.case_logs", "SHARE")]


def test_a_block_that_fails_in_an_aborted_transaction_fails_with_its_own_error(conn: Connection) -> None:
    with pytest.raises(DBAPIError, match="division by zero"), metered(conn):
        conn.exec_driver_sql("SELECT 1 / 0")
    conn.rollback()
    conn.exec_driver_sql("SELECT 1")


def test_rows_of_a_script_are_not_guessed(conn: Connection) -> None:
    meter = measure(conn, "UPDATE roles SET name = name; UPDATE users SET id = id WHERE false")
    assert meter.statements[0].rows is None
    assert locks(meter.statements[0]) == {"public.roles": "ROW EXCLUSIVE", "public.users": "ROW EXCLUSIVE"}


def test_nothing_is_asked_at_the_end_of_a_block_in_an_aborted_transaction(conn: Connection) -> None:
    with metered(conn) as meter:
        conn.exec_driver_sql("LOCK TABLE case_logs IN SHARE MODE")
        with pytest.raises(psycopg.Error):
            driver(conn).execute("SELECT 1 / 0")
        assert status(conn) == TransactionStatus.INERROR
    assert foretold(meter) == [("public.case_logs", "SHARE")]
