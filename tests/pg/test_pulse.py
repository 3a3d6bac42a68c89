"""A connection whose two ends have lost each other, and COMMIT's answer, long in coming or never: behind a real proxy."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from chains import small_chain
from command_line import eventually, everything, run, sessions
from proxy import At, proxy
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import CommittedUnproven, Interrupted, LawskerError, RolledBack
from lawsker_db.postgres import content
from lawsker_db.postgres import pulse as watching
from lawsker_db.postgres.pulse import bounded, pulse
from lawsker_db.postgres.session import own_session
from lawsker_db.safety import commit
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than in life, and give a server that cannot be reached less time."""
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(commit, "BLIND_S", 3.0)
    monkeypatch.setattr(commit, "SILENCE_S", 0.5)


# ---- the watch -------------------------------------------------------------------------------------------------------


def test_a_connection_that_a_proxy_swallows_is_cut_on_both_sides(adopted_url: str) -> None:
    with proxy(adopted_url, At.ANSWERED) as between, parse_target(between.url).connect() as conn:
        conn.execute(text("LOCK TABLE users IN ACCESS SHARE MODE"))
        with pulse(parse_target(between.url), conn, own_session(conn)) as watch:
            between.links[0].swallows = True
            with pytest.raises(OperationalError):
                conn.execute(text("SELECT 1"))
            assert watch.dead
        assert eventually(lambda: not sessions(adopted_url)), "the server's side would hold its locks for ever"


def test_long_statements_and_long_pauses_between_them_are_no_loss(adopted_url: str) -> None:
    with (
        parse_target(adopted_url).connect() as conn,
        pulse(parse_target(adopted_url), conn, own_session(conn)) as w,
    ):
        conn.execute(text("SELECT pg_sleep(1.5)"))
        time.sleep(1.5)
        conn.execute(text("SELECT 1"))
        for _ in range(300):  # the server is idle again and again, and never since the same moment
            conn.execute(text("SELECT 1"))
        assert not w.dead
        assert w.doing is not None


def test_without_a_second_connection_nothing_is_watched_and_all_goes_on(adopted_url: str) -> None:
    nobody = parse_target(adopted_url.replace("user=postgres", "user=nobody_of_this_name"))
    with parse_target(adopted_url).connect() as conn, pulse(nobody, conn, own_session(conn)) as watch:
        assert conn.execute(text("SELECT 1")).scalar_one() == 1
        assert watch.session is None


def test_what_is_bounded_gives_its_result_its_error_or_the_time_out() -> None:
    assert bounded(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        bounded(5, lambda: 1 // 0)
    with pytest.raises(TimeoutError):
        bounded(0.05, lambda: time.sleep(2))


# ---- COMMIT ----------------------------------------------------------------------------------------------------------


def stamp(url: str) -> list[tuple[object, ...]] | None:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT to_regclass('alembic_version')").fetchone()
        if row is None or row[0] is None:
            return None
        return conn.execute("SELECT version_num FROM alembic_version").fetchall()


def test_a_commit_that_a_proxy_swallows_is_ended_and_rolled_back(sample_url: str) -> None:
    before = everything(sample_url)
    with proxy(sample_url, At.SWALLOWED) as between, pytest.raises(RolledBack, match="it did not commit"):
        adopt(parse_target(between.url))
    assert eventually(lambda: not sessions(sample_url)), sessions(sample_url)
    assert everything(sample_url) == before


def test_a_commit_whose_answer_a_proxy_swallows_is_committed(sample_url: str) -> None:
    with proxy(sample_url, At.ANSWER_SWALLOWED) as between:
        adopt(parse_target(between.url))
    assert stamp(sample_url) == [("012",)]


def in_a_moment(true: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do something, aside, as soon as a condition holds."""

    def wait_and_act() -> None:
        assert eventually(true)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.mark.faults
def test_an_interrupt_ends_the_wait_for_a_synchronous_standby_and_the_commit_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server has committed and waits for a standby that is not there: the first Ctrl-C ends the wait, not the commit."""
    monkeypatch.setattr(watching, "LOOK_EVERY_S", 5.0)  # the proxy below holds a message back for a second
    with throwaway_server(settings={"synchronous_commit": "on"}) as server:
        url = server.url("postgres")
        load_sample(url, users=20)
        with psycopg.connect(url, autocommit=True) as other:

            def lose_standby() -> None:
                other.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                other.execute("SELECT pg_reload_conf()")
                time.sleep(1)  # the checkpointer tells everybody

            def at_standby() -> bool:
                waits = other.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone()
                return waits == (1,)

            with proxy(url, At.ANSWERED, on_marker=lose_standby) as between:
                aside = in_a_moment(at_standby, lambda: os.kill(os.getpid(), signal.SIGINT))
                with pytest.raises(CommittedUnproven, match="Interrupted after COMMIT"):
                    adopt(parse_target(between.url))
                aside.join()
        assert stamp(url) == [("012",)]


def test_what_breaks_while_the_answer_is_waited_for_is_a_doubt_and_no_rollback(
    sample_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours, or no memory: COMMIT was sent."""
    exchange = commit._exchange

    def broken(*given: object) -> bytes | None:
        exchange(*given)  # type: ignore[arg-type]
        raise MemoryError

    monkeypatch.setattr(commit, "_exchange", broken)
    seen: list[commit.Guarded] = []
    original = commit.commit

    def noting(conn: object, target: object, guarded: commit.Guarded, asking: object) -> None:
        seen.append(guarded)
        original(conn, target, guarded, asking)  # type: ignore[arg-type]

    monkeypatch.setattr("lawsker_db.safety.guard.commit", noting)
    with pytest.raises(MemoryError):
        adopt(parse_target(sample_url))
    assert [(guarded.in_doubt, guarded.committed) for guarded in seen] == [(True, False)]
    assert stamp(sample_url) == [("012",)]


def test_a_signal_that_is_ignored_stays_so_at_commit() -> None:
    """nohup: closing the terminal must not end the wait for a standby."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with commit.signals_held() as came:
            os.kill(os.getpid(), signal.SIGHUP)
        assert came == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_interrupts_wait_until_the_outcome_is_known(sample_url: str) -> None:
    """However many: the answer that was lost is asked for first."""
    with proxy(sample_url, At.ANSWER_SWALLOWED) as between:

        def thrice() -> None:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.05)

        aside = in_a_moment(between.committing.is_set, thrice)
        with pytest.raises((CommittedUnproven, Interrupted)) as told:
            adopt(parse_target(between.url))
        aside.join()
    assert isinstance(told.value, CommittedUnproven) == (stamp(sample_url) is not None)


# ---- begun again -----------------------------------------------------------------------------------------------------

AGAIN = """from pathlib import Path
counter = Path({counter!r})
counter.write_text(counter.read_text() + ".")
if len(counter.read_text()) < {tries}:
    op.execute("DO $$ BEGIN RAISE EXCEPTION 'once more' USING ERRCODE = '40001'; END $$")"""


@pytest.mark.parametrize(("tries", "code"), [(3, 0), (4, 11)])
def test_what_could_not_be_serialized_is_begun_again_twice_and_no_more(
    tries: int, code: int, adopted_url: str, tmp_path: Path
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("")
    config = small_chain(tmp_path, (AGAIN.format(counter=str(counter), tries=tries), ""))
    typed = ("safe-upgrade", "--yes", "--no-rehearsal", "--config", str(config))
    ended = run(tmp_path, *typed, url=adopted_url)
    assert ended.code == code, ended.said
    assert "begun again (try 3 of 3)" in ended.err
    assert stamp(adopted_url) == ([("100",)] if code == 0 else [("012",)])


WAITING = "SELECT FROM pg_locks WHERE relation = 'users'::regclass AND NOT granted"


def test_readers_whose_connections_a_proxy_swallows_end_all_the_same(
    adopted_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "UNANSWERED_S", 0.2)
    with proxy(adopted_url, At.ANSWERED) as between, psycopg.connect(adopted_url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        marked = content.mark_readers(parse_target(between.url))
        with ThreadPoolExecutor(max_workers=1) as aside:
            reading = aside.submit(content.read_content, marked, hold=False)
            try:
                assert eventually(lambda: holder.execute(WAITING).fetchone() is not None)
                for link in between.links:
                    link.swallows = True
                ending = threading.Thread(
                    target=content.end_readers, args=(parse_target(adopted_url), marked, reading.done), daemon=True
                )
                ending.start()
                assert eventually(reading.done)
            finally:
                between.close()
            assert isinstance(reading.exception(), LawskerError)
