"""Who stands in the way of a table lock, how they are named, and who may be ended: real sessions, real locks."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Protocol

import psycopg
import pytest
from command_line import eventually
from psycopg.conninfo import make_conninfo
from sqlalchemy import Connection, text

from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import LockNotObtained
from lawsker_db.evidence import Event
from lawsker_db.postgres import locks
from lawsker_db.postgres.blockers import (
    CONFLICTS,
    MODES,
    PREPARED,
    WRAPAROUND,
    Blocker,
    BlockerPolicy,
    OnBlocker,
    end_blocker,
    find_blockers,
)
from lawsker_db.safety.waiting import Waiting
from lawsker_db.target import parse_target

USERS = {"public.users": "ACCESS EXCLUSIVE"}
CANCEL = BlockerPolicy(on_blocker=OnBlocker.CANCEL)
TERMINATE = BlockerPolicy(on_blocker=OnBlocker.TERMINATE)
SECRET = "8675309-hunter2"


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


@pytest.fixture(scope="module")
def url(server: Server) -> Iterator[str]:
    """A database with a table of users, a partitioned one, and its clone beside it, in which all OIDs are the same."""
    name = f"blocked_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name}")
    with psycopg.connect(server.url(name)) as conn:
        conn.execute("CREATE TABLE users AS SELECT n AS id, 'x' AS name FROM generate_series(1, 100) AS n")
        conn.execute("CREATE TABLE logs (at int) PARTITION BY RANGE (at)")
        conn.execute("CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (1) TO (9)")
        conn.execute("CREATE TABLE old_users () INHERITS (users)")
    server.run(f"CREATE DATABASE {name}_clone TEMPLATE {name}")
    yield server.url(name)
    server.run(f"DROP DATABASE {name}_clone")
    server.run(f"DROP DATABASE {name}")


@pytest.fixture
def conn(url: str) -> Iterator[Connection]:
    """Our own session, in a transaction."""
    with parse_target(url).connect() as connection:
        yield connection


@pytest.fixture
def roles(server: Server, url: str) -> Iterator[tuple[str, str]]:
    """Two roles that may log in and read users, and nothing else."""
    names = f"ordinary_{secrets.token_hex(4)}", f"another_{secrets.token_hex(4)}"
    for name in names:
        server.run(f"CREATE ROLE {name} LOGIN")
        on(url, f"GRANT SELECT ON users TO {name}")
    yield names
    for name in names:
        on(url, f"DROP OWNED BY {name}")
        server.run(f"DROP OWNED BY {name}")
        server.run(f"DROP ROLE {name}")


def on(url: str, statement: str) -> None:
    """Run one statement as the owner of it all."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statement.encode())


@contextmanager
def holding(
    url: str, statement: str = "SELECT FROM ONLY users LIMIT 1", **parameters: str
) -> Iterator[psycopg.Connection[object]]:
    """A session that has done this in a transaction and sits there for the block."""
    session: psycopg.Connection[object] = psycopg.connect(url, **parameters)  # type: ignore[arg-type]
    session.execute(statement.encode())
    try:
        yield session
    finally:
        session.close()


@contextmanager
def doing(url: str, statement: str, **parameters: str) -> Iterator[psycopg.Connection[object]]:
    """A session that is doing this while the block lasts, on a thread of its own; then it is ended."""
    session: psycopg.Connection[object] = psycopg.connect(url, autocommit=True, **parameters)  # type: ignore[arg-type]
    pid = session.info.backend_pid

    def work() -> None:
        with suppress(psycopg.Error):
            session.execute(statement.encode())

    thread = threading.Thread(target=work)
    thread.start()
    with psycopg.connect(url, autocommit=True) as other:
        try:
            assert eventually(lambda: bool(other.execute(ACTIVE, (pid,)).fetchall()))
            yield session
        finally:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
            thread.join()
            session.close()


ACTIVE = "SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active'"


def one(conn: Connection, tables: dict[str, str] = USERS) -> Blocker:
    """The only one in the way."""
    (found,) = clients(find_blockers(conn, tables))
    return found


def clients(found: tuple[Blocker, ...]) -> tuple[Blocker, ...]:
    """All but autovacuum, which comes by when it likes."""
    return tuple(blocker for blocker in found if blocker.kind != "autovacuum worker")


# ---- who is in the way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", MODES)
def test_exactly_those_are_in_the_way_whom_the_server_would_make_us_wait_for(
    held: str, conn: Connection, url: str
) -> None:
    with psycopg.connect(url) as other, psycopg.connect(url) as third:
        other.execute(f"LOCK TABLE ONLY users IN {held} MODE".encode())
        refused = set()
        for wanted in MODES:
            try:
                third.execute(f"LOCK TABLE ONLY users IN {wanted} MODE NOWAIT".encode())
            except psycopg.errors.LockNotAvailable:
                refused.add(wanted)
            third.rollback()
        named = {wanted for wanted in MODES if clients(find_blockers(conn, {"public.users": wanted}))}
    assert refused == named == {wanted for wanted in MODES if held in CONFLICTS[wanted]}


def test_a_session_is_named_with_all_that_tells_who_it_is(conn: Connection, url: str) -> None:
    with holding(url, application_name="night report") as other:
        found = one(conn)
        assert (found.pid, found.application, found.state) == (
            other.info.backend_pid,
            "night report",
            "idle in transaction",
        )
        assert found.holds == "AccessShareLock on users"
        assert found.since is not None
        assert found.query_start is not None
        assert found.connected is not None
        assert datetime.now(UTC) - found.since < timedelta(minutes=5)
        assert found.age_s is not None
        for words in (f"pid {found.pid}", f"user {found.user}", "night report", "from ", "transaction since", " s)"):
            assert words in found.label


def test_what_a_session_asks_is_never_shown(conn: Connection, url: str) -> None:
    with doing(url, f"SELECT pg_sleep(60) FROM ONLY users WHERE name <> '{SECRET}'"):
        found = one(conn)
        assert found.state == "active"
        assert "query since" in found.label
        assert SECRET not in repr(asdict(found)) + found.label


def test_a_lock_on_a_partition_or_a_child_is_in_the_way_of_its_table(conn: Connection, url: str) -> None:
    with holding(url, "SELECT FROM logs_1"), holding(url, "SELECT FROM old_users"):
        assert one(conn, {"public.logs": "ACCESS EXCLUSIVE"}).holds == "AccessShareLock on logs_1"
        assert one(conn).holds == "AccessShareLock on old_users"


def test_a_session_of_another_database_in_which_the_table_has_the_same_number_is_in_nobodys_way(
    conn: Connection, url: str
) -> None:
    with holding(url + "_clone" if "?" not in url else url.replace("?", "_clone?", 1)):
        assert clients(find_blockers(conn, USERS)) == ()


def test_who_waits_for_the_table_stands_before_us_and_holds_nothing(conn: Connection, url: str) -> None:
    with holding(url) as reader, doing(url, "ALTER TABLE users ADD COLUMN z int", application_name="another change"):
        assert eventually(lambda: len(clients(find_blockers(conn, USERS))) == 2)
        found = {blocker.pid: blocker for blocker in clients(find_blockers(conn, USERS))}
        assert found.pop(reader.info.backend_pid).holds
        (waiting,) = found.values()
        assert (waiting.application, waiting.holds, waiting.doing) == ("another change", "", ", waiting for relation")


def test_a_prepared_transaction_is_named_and_only_the_operator_can_end_it(conn: Connection, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("BEGIN; UPDATE ONLY users SET name = name WHERE id = 1; PREPARE TRANSACTION 'it''s prepared'")
    try:
        found = one(conn)
        assert (found.kind, found.pid, found.gid) == (PREPARED, None, "it's prepared")
        assert "RowExclusiveLock on users" in found.holds
        assert "prepared 2" in found.label  # since when
        done, words = end_blocker(conn, found, TERMINATE)
        assert not done
        assert "ROLLBACK PREPARED 'it''s prepared'" in words
        with pytest.raises(LockNotObtained, match="prepared transaction") as refused:
            locks.lock_tables(conn, USERS, patience_s=0)
        assert "COMMIT PREPARED 'it''s prepared'" in refused.value.hint
    finally:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("ROLLBACK PREPARED 'it''s prepared'")


def test_an_index_that_is_built_concurrently_is_named_so(conn: Connection, url: str) -> None:
    with (
        holding(url, "UPDATE ONLY users SET name = name WHERE id = 1") as writer,
        doing(url, "CREATE INDEX CONCURRENTLY i ON users (name)"),
    ):
        assert eventually(lambda: any(b.what == "CREATE INDEX CONCURRENTLY" for b in find_blockers(conn, USERS)))
        (building,) = (b for b in clients(find_blockers(conn, USERS)) if b.pid != writer.info.backend_pid)
        assert "CREATE INDEX CONCURRENTLY" in building.label
        assert "ShareUpdateExclusiveLock on users" in building.holds
        assert end_blocker(conn, building, TERMINATE) == (False, "left alone: it would leave an invalid index")
        writer.rollback()


def test_a_role_that_may_see_nothing_of_others_still_learns_who_is_in_the_way(url: str, roles: tuple[str, str]) -> None:
    with (
        holding(url, application_name="night report") as other,
        parse_target(make_conninfo(url, user=roles[0])).connect() as conn,
    ):
        found = one(conn)
        assert (found.pid, found.application) == (other.info.backend_pid, "night report")
        assert "a time not shown to this role" in found.label
        done, words = end_blocker(conn, found, TERMINATE)
    assert (done, "pg_read_all_stats" in words) == (False, True)


# ---- ending them -----------------------------------------------------------------------------------------------------


def alive(url: str, pid: int) -> bool:
    with psycopg.connect(url) as other:
        return other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is not None


def test_a_statement_under_way_is_cancelled_and_its_session_lives(conn: Connection, url: str) -> None:
    with holding(url) as other:

        def ask() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                other.execute(SLEEP)

        asking = threading.Thread(target=ask)
        asking.start()
        assert eventually(lambda: one(conn).state == "active")
        assert end_blocker(conn, one(conn), CANCEL) == (True, "cancelled")
        asking.join(60)
        assert not asking.is_alive()
        assert alive(url, other.info.backend_pid)
        assert clients(find_blockers(conn, USERS)) == ()


SLEEP = "SELECT pg_sleep(600)"


def test_a_cancel_says_that_it_does_nothing_to_a_session_that_is_idle_in_its_transaction(
    conn: Connection, url: str
) -> None:
    with holding(url):
        done, words = end_blocker(conn, one(conn), CANCEL)
    assert not done
    assert "idle in its transaction" in words
    assert "--on-blocker terminate" in words


def test_terminate_ends_a_session_that_is_idle_in_its_transaction(conn: Connection, url: str) -> None:
    with holding(url) as other:
        assert end_blocker(conn, one(conn), TERMINATE) == (True, "terminated")
        assert eventually(lambda: not alive(url, other.info.backend_pid))


@pytest.mark.parametrize("application", ["pg_dump", "pg_basebackup", "lawsker-db"])
def test_a_dump_is_ended_only_when_the_operator_says_even_dumps(application: str, conn: Connection, url: str) -> None:
    with holding(url, application_name=application) as other:
        done, words = end_blocker(conn, one(conn), TERMINATE)
        assert (done, "--even-dumps" in words, alive(url, other.info.backend_pid)) == (False, True, True)
        even = BlockerPolicy(on_blocker=OnBlocker.TERMINATE, even_dumps=True)
        assert end_blocker(conn, one(conn), even) == (True, "terminated")


def test_a_session_that_copies_a_table_out_is_taken_for_a_dump_whatever_its_name(conn: Connection, url: str) -> None:
    with doing(url, "COPY (SELECT pg_sleep(0.2) FROM ONLY users) TO STDOUT", application_name="home made"):
        found = one(conn)
        assert found.is_dump
        assert end_blocker(conn, found, TERMINATE)[0] is False


def test_a_session_whose_transaction_has_ended_since_it_was_seen_is_left_alone(conn: Connection, url: str) -> None:
    with holding(url) as other:
        seen = one(conn)
        other.commit()
        other.execute("SELECT FROM ONLY users LIMIT 1")
        assert end_blocker(conn, seen, TERMINATE)[0] is False
        assert alive(url, other.info.backend_pid)


def may(url: str, ours: str, theirs: str | None) -> tuple[bool, str]:
    """Whether a role may end a session of another (None: the superuser's), and did."""
    with (
        holding(url if theirs is None else make_conninfo(url, user=theirs)),
        parse_target(make_conninfo(url, user=ours)).connect() as conn,
    ):
        return end_blocker(conn, one(conn), TERMINATE)


def test_a_role_ends_its_own_sessions_and_with_pg_signal_backend_those_of_others_but_never_a_superusers(
    url: str, roles: tuple[str, str], server: Server
) -> None:
    ours, theirs = roles
    server.run(f"GRANT pg_read_all_stats TO {ours}")
    assert may(url, ours, ours) == (True, "terminated")
    assert "may not end it" in may(url, ours, theirs)[1]
    server.run(f"GRANT pg_signal_backend TO {ours}")
    assert may(url, ours, theirs) == (True, "terminated")
    assert "may not end it" in may(url, ours, None)[1]


# ---- the policy, while a lock is waited for --------------------------------------------------------------------------


def take(conn: Connection, on_blocker: OnBlocker, heard: Callable[[Event], None], patience_s: float = 30) -> None:
    waiting = Waiting(patience_s=patience_s, policy=BlockerPolicy(on_blocker=on_blocker), on_event=heard)
    waiting.take(conn, USERS, rewrites=False)


def test_abort_gives_way_at_the_first_failed_attempt_and_names_who_was_there(conn: Connection, url: str) -> None:
    heard: list[Event] = []
    with holding(url, application_name="night report"), pytest.raises(LockNotObtained, match="night report") as caught:
        take(conn, OnBlocker.ABORT, heard.append)
    assert caught.value.exit_code == 11
    assert [event.name for event in heard] == ["waiting"]


def test_terminate_ends_who_was_there_before_the_attempt_and_says_so(conn: Connection, url: str) -> None:
    heard: list[Event] = []
    with holding(url, application_name="in the way") as other:
        pid = other.info.backend_pid
        take(conn, OnBlocker.TERMINATE, heard.append)
        assert eventually(lambda: not alive(url, pid))
    (event,) = ended(heard)
    assert event.lasting
    assert event.text.startswith(f"terminated: pid {pid}")


def test_who_came_after_the_attempt_began_is_neither_named_nor_ended(conn: Connection, url: str) -> None:
    with holding(url) as before:
        began = conn.execute(text("SELECT clock_timestamp()")).scalar_one()
        with holding(url):
            assert [b.pid for b in clients(locks.blockers(conn, USERS, began))] == [before.info.backend_pid]
            before.rollback()
            assert clients(locks.blockers(conn, USERS, began)) == ()


def ended(heard: list[Event]) -> list[Event]:
    return [event for event in heard if event.name == "blocker"]


def test_waiting_names_a_new_blocker_in_the_journal_once_and_touches_nobody(conn: Connection, url: str) -> None:
    heard: list[Event] = []
    with holding(url) as other:
        with pytest.raises(LockNotObtained):
            take(conn, OnBlocker.WAIT, heard.append, patience_s=3)
        assert alive(url, other.info.backend_pid)
    waits = [event.lasting for event in heard if event.name == "waiting"]
    assert len(waits) > 1
    assert waits == [True] + [False] * (len(waits) - 1)


def test_we_give_way_at_once_to_a_session_in_the_way_that_waits_for_our_end(conn: Connection, url: str) -> None:
    conn.execute(text("SELECT FROM ONLY users LIMIT 1"))  # as a revision does that fills its tables from it
    changed = threading.Event()
    with holding(url) as other:

        def change() -> None:
            other.execute("LOCK TABLE ONLY users IN ACCESS EXCLUSIVE MODE")
            changed.set()

        thread = threading.Thread(target=change)
        thread.start()
        assert eventually(lambda: any(b.doing == ", waiting for relation" for b in find_blockers(conn, USERS)))
        with pytest.raises(LockNotObtained, match=f"pid {other.info.backend_pid}") as refused:
            locks.lock_tables(conn, USERS, patience_s=600)
        assert refused.value.fields["sqlstate"] == "40P01"
        conn.rollback()
        thread.join(60)
        assert changed.is_set()


def test_nobody_queues_behind_us_while_one_who_outlasted_an_attempt_is_still_there(conn: Connection, url: str) -> None:
    refused: list[str] = []
    with holding(url), psycopg.connect(url, autocommit=True) as third:
        third.execute("SET lock_timeout = '1ms'")
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                try:
                    third.execute("UPDATE ONLY users SET name = name WHERE id = 1")
                except psycopg.errors.LockNotAvailable as failed:
                    refused.append(str(failed))

        tries: list[tuple[int, int]] = []
        thread = threading.Thread(target=write)

        def waited(blockers: tuple[Blocker, ...], attempt: int) -> None:
            if attempt == 1:
                thread.start()  # the first attempt is over: from here on nobody is to wait
            tries.append((attempt, len(refused)))

        with pytest.raises(LockNotObtained):
            locks.lock_tables(conn, USERS, patience_s=3, on_wait=waited)
        stop.set()
        thread.join()
    assert len(tries) > 2
    assert refused == []


# ---- autovacuum, and servers that find deadlocks early ---------------------------------------------------------------

# Slow enough to be met: a sleep of 0.4 s for every page. 100,000 is the least that the server takes for the age.
SLOW = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
SPEND_IDS = """
    DO $$ BEGIN
        FOR n IN 1..100500 LOOP
            BEGIN INSERT INTO spent VALUES (1); EXCEPTION WHEN division_by_zero THEN NULL; END;
        END LOOP;
    END $$"""


@pytest.fixture(scope="module")
def vacuuming() -> Iterator[str]:
    """A server that looks every second whether a table needs a vacuum, and takes deadlocks for found after 0.1 s."""
    settings = {"autovacuum_naptime": "1s", "deadlock_timeout": "100ms"}
    with throwaway_server(settings=settings) as local:
        yield local.url()


def vacuumed(url: str, table: str, options: str, pages: int = 300) -> None:
    """Make a table that autovacuum will be at for long."""
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE TABLE {table} (id int, name text) WITH ({SLOW}, {options})".encode())
        owner.execute(f"INSERT INTO {table} SELECT n, repeat('x', 900) FROM generate_series(1, {pages * 8}) n".encode())
        owner.execute(f"DELETE FROM {table} WHERE id % 2 = 0".encode())


def test_autovacuum_that_prevents_wraparound_is_named_and_left_alone(vacuuming: str) -> None:
    vacuumed(vacuuming, "aged", "autovacuum_freeze_max_age = 100000")
    with psycopg.connect(vacuuming, autocommit=True) as owner:
        owner.execute("CREATE TABLE spent (n int) WITH (autovacuum_enabled = false)")
        owner.execute(SPEND_IDS)
    aged = {"public.aged": "ACCESS EXCLUSIVE"}
    with parse_target(vacuuming).connect() as conn:
        assert eventually(lambda: any(b.what == WRAPAROUND for b in find_blockers(conn, aged)))
        (found,) = find_blockers(conn, aged)
        assert WRAPAROUND in found.label
        assert end_blocker(conn, found, TERMINATE) == (False, "left alone: it is no client's session")
        with pytest.raises(LockNotObtained, match=WRAPAROUND) as refused:
            locks.lock_tables(conn, aged, patience_s=2)
        assert "pg_stat_progress_vacuum" in refused.value.hint
        assert alive(vacuuming, found.pid or 0)


def test_ordinary_autovacuum_is_made_to_yield(vacuuming: str) -> None:
    vacuumed(vacuuming, "dirty", "autovacuum_vacuum_threshold = 1")
    dirty = {"public.dirty": "ACCESS EXCLUSIVE"}
    with parse_target(vacuuming).connect() as conn:
        assert eventually(lambda: any(b.what == "autovacuum" for b in find_blockers(conn, dirty)))
        conn.execute(text("SET LOCAL deadlock_timeout = '1s'"))  # as servers come: longer than an attempt
        (granted,) = locks.lock_tables(conn, dirty, patience_s=30)
        assert granted.attempts > 1
        conn.rollback()


@pytest.mark.long
def test_an_application_that_takes_the_tables_in_another_order_neither_starves_us_nor_loses_a_deadlock(
    vacuuming: str,
) -> None:
    on(vacuuming, "CREATE TABLE first (n int); CREATE TABLE second (n int); INSERT INTO second VALUES (1)")
    on(vacuuming, "CREATE TABLE middle (n int)")
    lost: list[str] = []
    done = threading.Event()
    order = dict.fromkeys(("first", "middle", "second"), "ACCESS EXCLUSIVE")

    def other_order() -> None:
        with psycopg.connect(vacuuming) as client:
            while not done.is_set():
                try:
                    client.execute("UPDATE second SET n = n + 1; SELECT pg_sleep(0.05); SELECT count(*) FROM first")
                    client.commit()
                except psycopg.Error as failed:
                    lost.append(f"{failed.sqlstate} {failed}")
                    client.rollback()

    def lets_go() -> None:
        """Holds what we want next until the client waits for what we hold."""
        with psycopg.connect(vacuuming, autocommit=True) as looking:
            while not done.is_set():
                with holding(vacuuming, "SELECT FROM middle"):
                    eventually(lambda: bool(looking.execute(WAITS).fetchall()) or done.is_set(), within_s=0.3)

    threads = [threading.Thread(target=work) for work in (other_order, lets_go)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            with parse_target(vacuuming).connect() as conn:
                locks.lock_tables(conn, order, patience_s=60)
                conn.execute(text("SELECT pg_sleep(0.2)"))
                conn.rollback()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert lost == []


WAITS = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'first'::regclass"
