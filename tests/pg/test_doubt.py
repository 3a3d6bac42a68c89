"""What became of a COMMIT without an answer: the table line by line, and each line's situation made on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from command_line import eventually

from lawsker_db.demo.server import throwaway_server
from lawsker_db.evidence import Server
from lawsker_db.postgres.session import UNKNOWN, identify, own_session, transaction_id
from lawsker_db.record.history import Run, write_marker
from lawsker_db.safety.doubt import (
    TABLE,
    Attempt,
    Backend,
    Outcome,
    Sight,
    _same,
    decide_outcome,
    look,
    read_timeline,
    rule,
)
from lawsker_db.target import Target, parse_target

RUN_ID = "20261122T090501Z-013-a1b2c3"
MARKED = Sight(marker=True)
# The situation of each line, in the words of the table, and what is ruled.
LINES = {
    "another server": (Sight(same_database=False, marker=True), None),
    "a standby": (Sight(in_recovery=True, marker=True), None),
    "marked, and yet aborted": (Sight(marker=True, transaction="aborted"), Outcome.INCONSISTENT),
    "marked, and alone": (Sight(marker=True, alone=True), Outcome.COMMITTED),
    "marked": (Sight(marker=True, backend=Backend.IDLE, transaction="committed", promoted=True), Outcome.COMMITTED),
    "never asked to commit": (Sight(backend=Backend.IDLE, transaction="in progress"), None),
    "at the standby": (Sight(backend=Backend.AT_STANDBY, transaction="committed"), None),
    "at work": (Sight(backend=Backend.AT_WORK, transaction="in progress"), None),
    "open without its process": (Sight(transaction="in progress"), None),
    "committed without a mark": (Sight(transaction="committed"), Outcome.INCONSISTENT),
    "not on the promoted server": (Sight(promoted=True), Outcome.ROLLED_BACK),
    "gone without a mark": (Sight(backend=Backend.OVER, transaction="aborted"), Outcome.ROLLED_BACK),
}


def test_every_line_of_the_table_has_its_situation_here() -> None:
    assert [line.name for line in TABLE] == list(LINES)


@pytest.mark.parametrize("name", LINES)
def test_the_first_line_that_holds_rules(name: str) -> None:
    seen, outcome = LINES[name]
    assert (rule(seen).name, rule(seen).outcome) == (name, outcome)


def test_only_a_process_that_waits_for_a_command_is_ended() -> None:
    assert [line.name for line in TABLE if line.end_backend] == ["never asked to commit"]


def test_the_page_shows_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recovery.md").read_text(encoding="utf-8")
    for line in TABLE:
        outcome = line.outcome.value if line.outcome else "end it, look again" if line.end_backend else "look again"
        assert f"\n| {line.name} | {outcome} | {line.reason} |\n" in page


# ---- on a server -----------------------------------------------------------------------------------------------------


@contextmanager
def in_transaction(
    url: str, *, marked: bool = True
) -> Iterator[tuple[psycopg.Connection[tuple[object, ...]], Attempt]]:
    """A session as a run's that is about to commit: its transaction open, its marker row written or not."""
    target = parse_target(url)
    with target.connect() as conn:
        server = identify(conn)
        if marked:
            write_marker(
                conn, Run(run_id=RUN_ID, direction="upgrade", via="test", from_revisions=(), to_revisions=()), server
            )
        session = own_session(conn)
        attempt = Attempt(
            run_id=RUN_ID,
            server=server,
            backend_pid=session.pid,
            backend_start=session.start,
            transaction_id=transaction_id(conn),
            timeline=read_timeline(conn),
        )
        raw = conn.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        yield raw, attempt


def found(url: str, attempt: Attempt) -> str:
    """The line of the table that one look leads to."""
    return rule(look(parse_target(url), attempt)).name


def test_a_commit_that_was_done_is_marked(adopted_url: str) -> None:
    with in_transaction(adopted_url) as (raw, attempt):
        raw.commit()
        assert found(adopted_url, attempt) == "marked"
    decision = decide_outcome(parse_target(adopted_url), attempt, reconnect_s=0)
    assert (decision.outcome, decision.reason) == (Outcome.COMMITTED, "its marker row is there")


def test_a_transaction_that_was_rolled_back_is_gone_without_a_mark(adopted_url: str) -> None:
    with in_transaction(adopted_url) as (raw, attempt):
        raw.rollback()
        assert found(adopted_url, attempt) == "gone without a mark", "its process lives, and is idle"
    assert found(adopted_url, attempt) == "gone without a mark"


def test_a_process_that_waits_for_a_command_is_ended_and_its_transaction_with_it(adopted_url: str) -> None:
    """Even when there is no time left to ask again."""
    with in_transaction(adopted_url) as (raw, attempt):
        decision = decide_outcome(parse_target(adopted_url), attempt, reconnect_s=0)
        assert decision.outcome is Outcome.ROLLED_BACK
        with pytest.raises(psycopg.OperationalError):
            raw.execute("SELECT 1")


def test_a_process_at_work_is_waited_for_and_never_ended(adopted_url: str) -> None:
    with in_transaction(adopted_url) as (raw, attempt):
        busy = threading.Thread(target=raw.execute, args=("SELECT pg_sleep(1.5)",))
        busy.start()
        assert eventually(lambda: found(adopted_url, attempt) == "at work")
        decision = decide_outcome(parse_target(adopted_url), attempt, reconnect_s=0)
        assert (decision.outcome, decision.reason) == (Outcome.UNKNOWN, "its server process is still at work")
        busy.join()
        raw.commit()
    assert decide_outcome(parse_target(adopted_url), attempt, reconnect_s=0).outcome is Outcome.COMMITTED


def test_another_process_that_was_given_the_same_number_is_not_taken_for_it(adopted_url: str) -> None:
    with in_transaction(adopted_url) as (_, attempt):
        elder = replace(attempt, backend_start=attempt.backend_start - timedelta(hours=1))
        assert look(parse_target(adopted_url), elder).backend is Backend.GONE


def test_another_database_is_never_asked_for_a_marker(adopted_url: str, sample_url: str) -> None:
    with in_transaction(adopted_url) as (raw, attempt):
        raw.commit()
    assert found(sample_url, attempt) == "another server"
    decision = decide_outcome(parse_target(sample_url), attempt, reconnect_s=0)
    assert decision.outcome is Outcome.UNKNOWN


def test_a_committed_transaction_without_its_mark_is_inconsistent(adopted_url: str) -> None:
    with in_transaction(adopted_url, marked=False) as (raw, attempt):
        raw.commit()
        assert found(adopted_url, attempt) == "committed without a mark"
        assert decide_outcome(parse_target(adopted_url), attempt, reconnect_s=60).outcome is Outcome.INCONSISTENT


def test_a_mark_of_an_aborted_transaction_is_inconsistent(adopted_url: str) -> None:
    with in_transaction(adopted_url, marked=False) as (raw, attempt):
        raw.rollback()
        with in_transaction(adopted_url) as (other, _):
            other.commit()
        assert found(adopted_url, attempt) == "marked, and yet aborted"


def test_once_its_process_is_gone_the_number_of_a_transaction_says_nothing(adopted_url: str) -> None:
    """A crash ends every process, and hands a lost number out again: here to somebody who committed."""
    with in_transaction(adopted_url, marked=False) as (raw, attempt):
        raw.commit()
    assert found(adopted_url, attempt) == "gone without a mark"
    promoted = replace(attempt, timeline=attempt.timeline - 1)
    assert found(adopted_url, promoted) == "not on the promoted server"


def test_where_no_identifier_may_be_read_only_the_same_life_of_a_server_or_the_mark_is_proof(adopted_url: str) -> None:
    started_at = datetime.now(UTC)
    here = replace(identity(adopted_url), system_identifier=UNKNOWN)
    elsewhere = replace(here, started_at=started_at - timedelta(hours=1))
    assert _same(here, here, marked=False)
    assert not _same(here, elsewhere, marked=False)
    assert _same(here, elsewhere, marked=True)


def identity(url: str) -> Server:
    with parse_target(url).connect() as conn:
        return identify(conn)


def test_who_is_interrupted_while_the_server_is_asked_still_gets_one_more_look(adopted_url: str) -> None:
    with in_transaction(adopted_url) as (raw, attempt):
        raw.commit()
    decision = decide_outcome(parse_target(adopted_url), attempt, hurry=lambda: True)
    assert decision.outcome is Outcome.COMMITTED
    nobody = Target(parameters={**parse_target(adopted_url).parameters, "dbname": "nobody"})
    assert decide_outcome(nobody, attempt, hurry=lambda: True).outcome is Outcome.UNKNOWN


def test_a_commit_that_waits_for_a_standby_and_one_that_was_prepared_are_open_still() -> None:
    with throwaway_server(settings={"max_prepared_transactions": "2", "synchronous_commit": "on"}) as server:
        url = server.url("postgres")
        with in_transaction(url) as (raw, attempt), psycopg.connect(url, autocommit=True) as other:
            raw.execute("PREPARE TRANSACTION 'left'")
            assert found(url, attempt) == "open without its process"
            other.execute("COMMIT PREPARED 'left'")
            assert found(url, attempt) == "marked"
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("DROP SCHEMA lawsker_db CASCADE")
            other.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            other.execute("SELECT pg_reload_conf()")
            with in_transaction(url) as (raw, attempt):
                waiting = threading.Thread(target=raw.commit)
                waiting.start()
                assert eventually(lambda: found(url, attempt) == "at the standby")
                other.execute("SELECT pg_cancel_backend(%s)", (attempt.backend_pid,))
                waiting.join()
                assert found(url, attempt) == "marked, and alone"
