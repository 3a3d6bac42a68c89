"""Each rule fires on a fault that was really made, the whole set is silent on a healthy server, and nobody is held up."""

from __future__ import annotations

import os
import re
import secrets
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from command_line import eventually, everything
from migrated import make_used
from monitored import cloned, in_background, make_adopted, run, waits
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql
from servers import Breakable, breakable, caught_up, filled, give_to_owner, standby_of
from small_disk import small_disk

from lawsker_db.evidence import Event, Phase, Verdict
from lawsker_db.monitor import watching
from lawsker_db.monitor.metrics import render_metrics, write_metrics
from lawsker_db.monitor.problem import LIMITS, Limits, Problem
from lawsker_db.monitor.rules import problems
from lawsker_db.monitor.sample import Rates
from lawsker_db.monitor.watching import Look, Summary, watch
from lawsker_db.postgres.locks import run_lock
from lawsker_db.postgres.session import identify
from lawsker_db.record.journal import Journal, as_json
from lawsker_db.safety import standing
from lawsker_db.safety.checklist import Severity
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import Target, parse_target

BEGUN = {"number": 3, "of": 9, "estimate_s": 1e6, "left_s": 2e6}  # what a run says of a phase when it begins it
SETTINGS = {"autovacuum": "on", "wal_level": "logical", "max_prepared_transactions": "5"}
HOSTILE = 'x"; DROP\n\\ \x1b[31m'


@pytest.fixture(scope="module")
def server() -> Iterator[Breakable]:
    """A server of this module's own: rules are about servers as well as about databases."""
    with breakable(settings=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module")
def template(server: Breakable) -> str:
    """A database at head that applications have used since."""
    url = make_adopted(server, "used")
    make_used(url)
    run(url, "VACUUM ANALYZE")
    return "used"


@pytest.fixture
def url(server: Breakable, template: str) -> Iterator[str]:
    """A clone of it for one test."""
    yield from cloned(server, template)


def watched(url: str, *, looks: int = 1, on_look: Callable[[Look], None] | None = None, **given: Any) -> list[Look]:
    """So many looks, as close together as they come."""
    found: list[Look] = []

    def note(look: Look) -> None:
        found.append(look)
        if on_look is not None:
            on_look(look)

    watch(parse_target(url), interval_s=0.0, until=lambda: len(found) >= looks, on_look=note, **given)
    return found


def codes(found: tuple[Problem, ...]) -> set[str]:
    return {problem.code for problem in found}


def listed(problem: Problem, fact: str) -> list[Any]:
    """A fact of a problem that has several values."""
    facts: Any = problem.facts
    return list(facts[fact])


def the_problem(url: str, code: str, *, looks: int = 1, **given: Any) -> Problem:
    """The one problem that a rule names."""
    last = watched(url, looks=looks, **given)[-1]
    (found,) = (problem for problem in last.problems if problem.code == code)
    require_whole(last)
    return found


def require_whole(look: Look) -> None:
    """Every problem says what it is and what to do, and every look goes into JSON and metrics."""
    for problem in look.problems:
        assert problem.text
        assert problem.hint
        assert as_json(dict(problem.facts)) == problem.facts | as_json(dict(problem.facts))
    families = list(text_string_to_metric_families(render_metrics(look)))
    assert {family.type for family in families} <= {"gauge", "counter"}


def silent(look: Look) -> None:
    assert [str(problem.text) for problem in look.problems] == []


# ---- a healthy server ------------------------------------------------------------------------------------------------


def test_no_rule_fires_on_a_healthy_server_and_everything_is_seen(
    server: Breakable, template: str, tmp_path: Path
) -> None:
    first, second = watched(server.url(template), looks=2, runs=tmp_path)
    silent(first)
    silent(second)
    sample = second.sample
    assert sample.not_seen == ()
    unseen = {"why", "hint", "away_s", "back_after_s", "run"}
    assert {name for name in sample.__slots__ if getattr(sample, name) in (None, "")} == unseen
    assert sample.stamp is not None
    assert (sample.stamp.current, sample.stamp.known, sample.stamp.pending) == (("013",), True, 0)
    integrity = sample.integrity
    assert integrity is not None
    assert integrity.present == len(integrity.promised) > 20
    assert integrity.content is not None
    assert {rows.table for rows in integrity.content.rows if rows.fixed} >= {"lawyer_levels"}
    assert integrity.content.checks
    assert all(check.ok for check in integrity.content.checks)
    assert second.rates.seconds is not None


def test_what_is_looked_at_seldom_is_taken_over_from_the_look_before(url: str) -> None:
    first, second = watched(url, looks=2)
    assert first.sample.integrity is not None
    assert second.sample.integrity is not None
    assert first.sample.integrity.content is second.sample.integrity.content


def test_a_look_writes_nothing_and_leaves_no_transaction_open(url: str) -> None:
    before = everything(url)
    seen: list[tuple[Any, ...]] = []

    def look_back(_look: Look) -> None:
        with psycopg.connect(url) as conn:
            seen.extend(
                conn.execute(
                    "SELECT a.state, a.xact_start, (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid)"
                    " FROM pg_stat_activity a WHERE a.application_name = 'lawsker-db monitor'"
                ).fetchall()
            )

    watched(url, looks=2, on_look=look_back)
    assert seen == [("idle", None, 0)] * 2
    assert everything(url) == before


def test_a_look_waits_for_nobody_who_has_locked_everything(url: str) -> None:
    with psycopg.connect(url) as conn:
        tables = conn.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'lawsker_db')"
        ).fetchall()
        for (table,) in tables:
            conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        (look,) = watched(url)
        waiting = conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert waiting == (0,)
    assert look.sample.stamp is None
    assert {str(one.what) for one in look.sample.not_seen} == {"stamp"}
    assert look.sample.sessions is not None
    assert look.sample.relations is not None
    silent(look)


@pytest.mark.long
def test_nobody_meets_the_monitor_on_the_tables_of_a_run(url: str) -> None:
    with run_lock(parse_target(url)):
        (look,) = watched(url)
    assert look.sample.holders
    assert look.sample.integrity is not None
    assert look.sample.integrity.content is None
    assert [str(one.what) for one in look.sample.not_seen] == ["content of the promised tables"]


# ---- what a role does not see ----------------------------------------------------------------------------------------


def test_what_a_role_may_not_see_is_said_and_is_no_zero(url: str, server: Breakable) -> None:
    run(url, "CREATE ROLE poor LOGIN", "ALTER DATABASE " + url.split("/")[3].split("?")[0] + " OWNER TO CURRENT_USER")
    poor = url.replace(f"user={server.frame.superuser}", "user=poor")
    try:
        with psycopg.connect(url) as idle:
            idle.execute("SELECT 1")
            (look,) = watched(poor)
            run(url, "GRANT pg_monitor TO poor")
            (rich,) = watched(poor)
        sample = look.sample
        assert sample.sessions is not None
        assert (sample.sessions.hidden, sample.sessions.here) == (1, 1)
        assert sample.transactions == ()
        assert sample.disks is None
        said = {str(one.what): one.hint for one in sample.not_seen}
        assert said["what sessions of other roles do"] == 'GRANT pg_monitor TO "poor"'
        assert said["disk of the server"] == 'GRANT pg_monitor TO "poor"'
        assert said["stamp"].startswith("GRANT SELECT")
        silent(look)
        assert rich.sample.sessions is not None
        assert rich.sample.sessions.hidden == 0
        assert rich.sample.transactions
        assert rich.sample.disks
    finally:
        run(url, "DROP OWNED BY poor", "DROP ROLE poor")


# ---- sessions --------------------------------------------------------------------------------------------------------


@contextmanager
def waiting_behind(url: str, *locking: str, wanted: str = "LOCK TABLE users IN SHARE MODE") -> Iterator[int]:
    """Somebody holds what another one waits for; the process that waits."""
    with ExitStack() as ends:
        holder = ends.enter_context(closing(psycopg.connect(url, application_name="the holder")))
        for statement in locking:
            holder.execute(statement.encode())
        waiter = ends.enter_context(closing(psycopg.connect(url, application_name="the waiter")))
        ends.callback(in_background(waiter, wanted).join)
        ends.callback(holder.rollback)  # first of all
        assert eventually(lambda: waits(url, waiter.info.backend_pid))
        yield waiter.info.backend_pid


def test_a_lock_queue_names_who_waits_and_who_is_in_the_way(url: str) -> None:
    with waiting_behind(url, "UPDATE users SET username = username") as pid:
        problem = the_problem(url, "lock_queue", limits=Limits(wait_s=0.0))
        (fresh,) = watched(url)
    assert problem.subject == f"pid {pid}"
    assert problem.facts["wanted"] == "ShareLock on users"
    (holder,) = listed(problem, "blocking_pids")
    assert re.fullmatch(
        rf"pid {pid} \(the waiter\) has waited \d+ s for ShareLock on users;"
        rf" in the way: pid {holder} \(the holder\), idle in transaction",
        problem.text,
    )
    assert "user postgres" not in problem.text
    assert f"pid {holder}, user " in listed(problem, "blockers")[0]
    assert problem.hint == f"SELECT pg_terminate_backend({holder})"
    assert "lock_queue" not in codes(fresh.problems), "who waits for a moment is no problem"


@pytest.mark.long
def test_a_prepared_transaction_in_the_way_is_named(url: str) -> None:
    gid = "it's old"
    run(url, "BEGIN; UPDATE users SET username = username; PREPARE TRANSACTION 'it''s old'")
    with psycopg.connect(url, autocommit=True) as other:
        waiter = psycopg.connect(url)
        thread = in_background(waiter, "LOCK TABLE users IN SHARE MODE")
        assert eventually(lambda: other.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None)
        look = watched(url, limits=Limits(wait_s=0.0, idle_s=0.0))[0]
        other.execute("ROLLBACK PREPARED 'it''s old'")
        thread.join()
        waiter.close()
    (queue,) = (problem for problem in look.problems if problem.code == "lock_queue")
    assert gid in queue.text
    assert "PREPARED 'it''s old'" in queue.hint
    (old,) = (problem for problem in look.problems if problem.code == "prepared_transaction")
    assert (old.subject, old.hint) == (gid, queue.hint)
    assert old.hint.startswith("COMMIT PREPARED 'it''s old' or ROLLBACK PREPARED 'it''s old', by ")
    assert listed(old, "commands") == ["COMMIT PREPARED 'it''s old'", "ROLLBACK PREPARED 'it''s old'"]
    assert "prepared_transaction" not in codes(problems(None, look.sample, LIMITS))


def test_a_transaction_that_stands_idle_and_one_that_is_long_are_told_apart(url: str) -> None:
    with psycopg.connect(url, application_name="forgetful") as idle, psycopg.connect(url) as watcher:
        watcher.autocommit = True
        idle.execute("SELECT 1")
        busy = psycopg.connect(url, application_name="busy")
        thread = threading.Thread(target=_sleep, args=(busy,))
        thread.start()
        assert eventually(
            lambda: watcher.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone() is not None
        )
        look = watched(url, limits=Limits(idle_s=0.0, transaction_s=0.0))[0]
        watcher.execute("SELECT pg_cancel_backend(%s)", (busy.info.backend_pid,))
        thread.join()
        busy.close()
    found = {problem.code: problem for problem in look.problems}
    assert "forgetful" in found["idle_in_transaction"].text
    assert "busy" in found["long_transaction"].text
    assert codes(problems(None, look.sample, LIMITS)) == set()


def test_nobody_is_told_to_end_a_backup_that_no_run_of_ours_has_made(url: str) -> None:
    with psycopg.connect(url, application_name="pg_dump") as leader, psycopg.connect(url) as copying:
        leader.execute("SELECT 1")  # as pg_dump's leader stands idle while its workers copy
        with copying.cursor().copy("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT") as copy:
            next(iter(copy))
            (look,) = watched(url, limits=Limits(idle_s=0.0, transaction_s=0.0))
            copying.cancel()
            with suppress(psycopg.errors.QueryCanceled):
                for _ in copy:
                    pass
    assert codes(look.problems) == {"idle_in_transaction", "long_transaction"}
    assert {str(problem.hint) for problem in look.problems} == {
        "let that run or dump end, or stop it where it was started"
    }
    assert all(listed(problem, "commands") == [] for problem in look.problems)


def _sleep(conn: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        conn.execute("SELECT pg_sleep(600)")


@pytest.mark.long
def test_the_transactions_of_a_run_take_as_long_as_they_take(url: str) -> None:
    with run_lock(parse_target(url)), psycopg.connect(url, application_name="pg_dump") as dump:
        dump.execute("SELECT 1")
        (look,) = watched(url, limits=Limits(idle_s=0.0, transaction_s=0.0))
    assert look.sample.transactions
    silent(look)


@pytest.mark.long
def test_few_connections_left_is_a_problem(url: str) -> None:
    with ExitStack() as held:
        (look,) = watched(url)
        sessions = look.sample.sessions
        assert sessions is not None
        room = sessions.limit - sessions.reserved
        for _ in range(int(room * LIMITS.connections_share) + 1):
            held.enter_context(closing(psycopg.connect(url)))
        problem = the_problem(url, "connections")
    assert problem.severity is Severity.WARNING
    assert problem.facts["limit"] == sessions.limit


@pytest.mark.long
def test_a_cache_that_is_too_small_is_told_from_enough_reads(url: str) -> None:
    run(
        url,
        "CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 60) AS text FROM generate_series(1, 14000) AS n",
        "ALTER TABLE wide SET (autovacuum_enabled = false)",
    )
    seen: list[Rates] = []

    def read(_look: Look) -> None:
        seen.append(_look.rates)
        run(url, "SET max_parallel_workers_per_gather = 0", *["SELECT count(*) FROM wide"] * 4)

    limits = Limits(cache_blocks=2000)
    looks = watched(url, looks=4, on_look=read, limits=limits)
    assert [problem.code for look in looks for problem in look.problems if problem.code == "cache_hit_ratio"]
    quiet = watched(url, looks=3, limits=limits)
    assert all("cache_hit_ratio" not in codes(look.problems) for look in quiet), "a handful of reads says nothing"


# ---- indexes, constraints, tables ------------------------------------------------------------------------------------


def test_an_invalid_index_is_a_problem_and_one_that_is_being_built_is_none(url: str) -> None:
    run(url, "CREATE TABLE twice AS SELECT 1 AS n FROM generate_series(1, 2)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(url, f'CREATE UNIQUE INDEX CONCURRENTLY "{HOSTILE.replace(chr(34), chr(34) * 2)}" ON twice (n)')
    problem = the_problem(url, "invalid_index", looks=2)
    assert problem.severity is Severity.ERROR
    run(url, "DELETE FROM twice", problem.hint)
    silent(watched(url)[0])


@pytest.mark.long
def test_an_index_that_is_being_built_is_no_problem_and_its_progress_is_seen(url: str) -> None:
    with psycopg.connect(url) as older:
        older.execute("UPDATE users SET username = username")
        thread = threading.Thread(target=run, args=(url, "CREATE INDEX CONCURRENTLY slow ON users (username)"))
        thread.start()
        with psycopg.connect(url, autocommit=True) as conn:
            asked = "SELECT FROM pg_index WHERE NOT indisvalid"
            assert eventually(lambda: conn.execute(asked).fetchone() is not None)
        looks = watched(url, looks=2, limits=Limits(transaction_s=0.0))
        older.rollback()
    thread.join()
    for look in looks:
        assert look.sample.invalid_indexes
        assert "invalid_index" not in codes(look.problems)
        hints = {str(one.hint) for one in look.problems if one.facts.get("application") == ""}
        assert "let that index be built: to end it would leave an invalid one" in hints
    (progress,) = looks[-1].sample.progress or ()
    assert (progress.command, progress.relation) == ("CREATE INDEX CONCURRENTLY", "users")
    assert progress.phase.startswith("waiting")


@pytest.mark.long
def test_a_constraint_of_a_promised_table_that_is_not_validated_is_a_problem(url: str) -> None:
    run(
        url,
        'ALTER TABLE users ADD CONSTRAINT "a b" CHECK (id IS NOT NULL) NOT VALID',
        "CREATE TABLE elsewhere (n int)",
        "ALTER TABLE elsewhere ADD CHECK (n > 0) NOT VALID",
    )
    problem = the_problem(url, "not_validated")
    run(url, problem.hint)
    silent(watched(url)[0])


def test_a_promised_table_that_is_missing_is_a_problem(url: str) -> None:
    run(url, "DROP TABLE lawyer_case_declines")
    assert the_problem(url, "table_missing").subject == "lawyer_case_declines"


def test_seed_rows_and_mappings_that_are_gone_are_problems(url: str) -> None:
    run(url, "DELETE FROM enterprise_subscriptions", "DELETE FROM enterprise_service_packages")
    assert the_problem(url, "seed_rows").facts == {"expected": 4, "found": 0}
    run(url, "DELETE FROM workspace_mappings WHERE user_id IN (SELECT user_id FROM workspace_mappings LIMIT 3)")
    (look,) = watched(url)
    assert look.sample.integrity is not None
    assert look.sample.integrity.content is not None
    mappings = [check.ok for check in look.sample.integrity.content.checks if check.code == "D10"]
    assert mappings == [None, None], "a copy has no run on record that made it"


@pytest.mark.long
def test_a_promise_that_is_broken_is_a_problem(server: Breakable, template: str) -> None:
    name = f"made_{secrets.token_hex(4)}"
    url = make_adopted(server, name, users=20)
    try:
        make_used(url)
        silent(watched(url)[0])  # though applications have written users without a mapping since
        run(url, "DELETE FROM workspace_mappings WHERE user_id IN (SELECT user_id FROM workspace_mappings LIMIT 3)")
        assert the_problem(url, "invariant_broken").subject == "D10"
    finally:
        run(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


def test_a_stamp_that_the_chain_does_not_know_is_a_problem_and_one_below_head_is_none(url: str) -> None:
    run(url, "UPDATE alembic_version SET version_num = '999'")
    problem = the_problem(url, "revision_unknown")
    assert (problem.subject, problem.hint) == ("999", standing.look(parse_target(url)).hint)
    assert "adopt" not in problem.hint  # which would write another stamp over it
    run(url, "UPDATE alembic_version SET version_num = '012'")
    (look,) = watched(url)
    assert look.sample.stamp is not None
    assert look.sample.stamp.pending == 1
    silent(look)


# ---- vacuum, disk, ids -----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_dead_rows_that_nobody_clears_away_are_a_problem(url: str) -> None:
    run(
        url,
        'CREATE TABLE "De""ad" (n int) WITH (autovacuum_enabled = false)',
        'INSERT INTO "De""ad" SELECT generate_series(1, 20000)',
        'DELETE FROM "De""ad"',
    )
    assert eventually(lambda: "dead_rows" in codes(watched(url)[0].problems))
    problem = the_problem(url, "dead_rows")
    assert problem.facts["automatic"] is False
    run(url, problem.hint)
    assert eventually(lambda: watched(url)[0].problems == ())


@pytest.mark.long
def test_autovacuum_that_is_off_is_a_problem(url: str, server: Breakable) -> None:
    server.configure(autovacuum="off")
    try:
        assert eventually(lambda: "autovacuum_off" in codes(watched(url)[0].problems))
    finally:
        server.configure()
    assert eventually(lambda: watched(url)[0].problems == ())


def test_transaction_ids_that_run_out_are_a_problem(url: str) -> None:
    (look,) = watched(url)
    assert look.sample.upkeep is not None
    age, limit = look.sample.upkeep.xid_age, look.sample.upkeep.xid_limit
    assert 0 < age < limit
    (warned,) = problems(None, look.sample, replace(LIMITS, xid_factor=age / limit / 2))
    assert (warned.code, warned.severity, warned.facts["age"]) == ("wraparound", Severity.WARNING, age)
    (grave,) = problems(None, look.sample, replace(LIMITS, xid_error=age))
    assert grave.severity is Severity.ERROR


@pytest.mark.long
def test_a_disk_that_is_full_is_a_problem(server: Breakable, template: str) -> None:
    place = server.frame.folder / "small"
    with small_disk(place, megabytes=120) as disk:
        give_to_owner(place, server.data)
        run(
            server.url(),
            f"CREATE TABLESPACE small LOCATION '{place}'",
            f"CREATE DATABASE cramped TEMPLATE {template} TABLESPACE small",
        )
        try:
            cramped = server.url("cramped")
            silent(watched(cramped)[0])
            with filled(disk):
                problem = the_problem(cramped, "disk_low")
            assert (problem.severity, problem.subject.startswith(str(place))) == (Severity.ERROR, True)
        finally:
            run(server.url(), "DROP DATABASE cramped WITH (FORCE)", "CHECKPOINT", "DROP TABLESPACE small")


# ---- replication -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["physical", "logical"])
@pytest.mark.long
def test_a_slot_that_nobody_reads_from_and_that_keeps_wal_is_a_problem(url: str, kind: str) -> None:
    make = {
        "physical": "SELECT pg_create_physical_replication_slot('forgotten', true)",
        "logical": "SELECT pg_create_logical_replication_slot('forgotten', 'test_decoding')",
    }
    run(url, make[kind])
    try:
        silent(watched(url)[0])  # one that has just come
        run(url, *["SELECT pg_logical_emit_message(false, 'x', 'x')", "SELECT pg_switch_wal()"] * 2)
        problem = the_problem(url, "slot_inactive")
        (command,) = listed(problem, "commands")
        assert problem.hint == f"if nobody needs it: {command}"
        run(url, command)
    finally:
        run(url, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    assert isinstance(problem.facts["retained_bytes"], int)
    silent(watched(url)[0])


@pytest.mark.long
def test_a_standby_that_lags_and_one_that_commit_waits_for_in_vain(url: str, server: Breakable) -> None:
    name = url.split("///")[1].split("?")[0]
    with standby_of(server) as standby:
        there = standby.url(name)
        assert eventually(lambda: bool(_standbys(url)))
        assert eventually(lambda: caught_up(standby, server))
        silent(watched(url)[0])
        run(standby.url(), "SELECT pg_wal_replay_pause()")
        run(url, "CREATE TABLE filler AS SELECT repeat(md5(n::text), 30) FROM generate_series(1, 20000) AS n")
        assert eventually(lambda: (_standbys(url)[0].lag_bytes or 0) > 1 << 20)
        sample = watched(url)[0].sample
        assert sample.replication is not None
        short = replace(sample, replication=replace(sample.replication, max_wal_bytes=1 << 20))
        assert codes(problems(None, short)) == {"replication_lag"}
        assert codes(problems(None, sample, Limits(lag_s=0.0))) <= {"replication_lag"}
        (own,) = watched(there)
        assert own.sample.server is not None
        assert own.sample.server.in_recovery
        assert own.sample.replication is not None
        silent(own)
        short = replace(own.sample, replication=replace(own.sample.replication, max_wal_bytes=1 << 20))
        assert codes(problems(None, short)) == {"replication_lag"}
        require_whole(own)
        run(standby.url(), "SELECT pg_wal_replay_resume()")
        assert eventually(lambda: caught_up(standby, server))
    assert eventually(lambda: not _standbys(url))
    server.configure(synchronous_standby_names="nobody")
    try:
        assert eventually(lambda: "synchronous_standby_missing" in codes(watched(url)[0].problems))
    finally:
        server.configure()
    assert eventually(lambda: watched(url)[0].problems == ())


def _standbys(url: str) -> tuple[Any, ...]:
    replication = watched(url)[0].sample.replication
    assert replication is not None
    return replication.standbys


# ---- the run ---------------------------------------------------------------------------------------------------------


@contextmanager
def a_run(target: Target, runs: Path) -> Iterator[Journal]:
    """A folder with a journal that is held for the block, as that of a run whose process lives."""
    folder = runs / "20260102T030405Z-013-abcdef"
    folder.mkdir(parents=True)
    with target.connect() as conn, Journal(folder) as journal:
        facts = {name: getattr(server := identify(conn), name) for name in ("system_identifier", "database_oid")}
        assert server.database
        journal.write(Event(phase=Phase.PLAN, name="opened", text="", facts=facts))
        journal.write(Event(phase=Phase.REHEARSAL, name="begin", text="on a copy", facts=BEGUN))
        journal.write(Event(phase=Phase.REHEARSAL, name="x", text="", facts={"of": 2}))
        yield journal


@pytest.mark.long
def test_a_run_that_goes_on_is_seen_and_one_that_ended_without_a_word_is_a_problem(url: str, tmp_path: Path) -> None:
    with a_run(parse_target(url), tmp_path):
        (look,) = watched(url, runs=tmp_path)
        run_now = look.sample.run
        assert run_now is not None
        assert (run_now.phase, run_now.doing, run_now.step, run_now.steps) == ("rehearsal", "on a copy", 3, 9)
        assert (run_now.alive, run_now.here) == (True, True)
        assert run_now.left_s is not None
        assert run_now.run_left_s is not None
        assert 0 < run_now.left_s < 1e6 < run_now.run_left_s < 2e6
        silent(look)
    problem = the_problem(url, "run_ended_silently", runs=tmp_path)
    assert (problem.hint, problem.subject) == ("lawsker-db recover", "20260102T030405Z-013-abcdef")
    other = url.replace(url.split("///")[1].split("?")[0], "postgres")
    assert "run_ended_silently" not in codes(watched(other, runs=tmp_path)[0].problems), "it is another database's"
    (tmp_path / "20260102T030405Z-013-abcdef" / "settled.json").write_text("{}")
    silent(watched(url, runs=tmp_path)[0])


@pytest.mark.long
def test_a_run_is_followed_through_its_phases_and_not_disturbed(server: Breakable, tmp_path: Path) -> None:
    name = f"upgraded_{secrets.token_hex(4)}"
    url = make_adopted(server, name)
    with ThreadPoolExecutor() as aside:
        going = aside.submit(safe_upgrade, parse_target(url), options=UpgradeOptions(runs=tmp_path))
        looks: list[Look] = []
        watch(parse_target(url), interval_s=0.05, until=going.done, on_look=looks.append, runs=tmp_path)
        assert going.result().verdict is Verdict.DONE
    views = [look.sample.run for look in looks if look.sample.run is not None]
    assert {view.run_id for view in views} == {going.result().run_id}
    assert {"backup", "rehearsal"} <= {view.phase for view in views}
    assert any(look.sample.holders for look in looks)
    assert {code for look in looks for code in codes(look.problems)} == set()
    last = watched(url, runs=tmp_path)[0].sample
    assert last.stamp is not None
    assert (last.stamp.current, last.run, last.ended_runs) == (("013",), None, ())
    run(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


def test_a_damaged_journal_harms_nobody(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "20260102T030405Z-013-abcdef"
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(b"\xff\x00 nonsense\n{}")
    (tmp_path / "20260102T030405Z-013-000000").symlink_to("/")
    (tmp_path / "20260102T030405Z-013-111111").write_text("a file")
    (look,) = watched(url, runs=tmp_path)
    assert codes(look.problems) == {"run_ended_silently"}
    require_whole(look)


# ---- a server that goes away -----------------------------------------------------------------------------------------


def test_a_server_that_goes_away_is_told_and_asked_again(url: str, server: Breakable) -> None:
    looks: list[Look] = []
    stages: list[str] = []

    def note(look: Look) -> None:
        looks.append(look)
        if len(looks) == 1:
            server.stop()
            stages.append("stopped")
        if not look.sample.reachable and stages == ["stopped"]:
            server.start()
            stages.append("started")

    def ended() -> bool:
        return len(stages) == 2 and looks[-1].sample.reachable

    summary = watch(parse_target(url), interval_s=0.05, until=ended, on_look=note)
    away = next(look for look in looks if not look.sample.reachable)
    assert codes(away.problems) == {"connection_lost"}
    assert away.problems[0].hint == "lawsker-db status", "the monitor asks again by itself"
    require_whole(away)
    (up,) = (
        family for family in text_string_to_metric_families(render_metrics(away)) if family.name == "lawsker_db_up"
    )
    assert up.samples[0].value == 0
    assert looks[-1].sample.back_after_s is not None
    assert looks[-1].rates == Rates(), "its counters may have begun anew"
    assert summary.unreachable == sum(not look.sample.reachable for look in looks)
    assert summary.away_s > 0
    (span,) = (span for span in summary.spans if span.problem.code == "connection_lost")
    assert span.over
    assert span.first_at <= span.last_at


@pytest.mark.long
def test_a_server_that_hangs_does_not_hang_the_monitor(
    url: str, server: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 1.0)
    monkeypatch.setattr(watching, "CONNECT_S", 1)
    looks: list[Look] = []
    stopped: list[int] = []

    def note(look: Look) -> None:
        looks.append(look)
        if len(looks) == 1:
            stopped.extend(_processes(server))
            _signal(stopped, signal.SIGSTOP)
        if sum(not one.sample.reachable for one in looks) >= 3:
            _signal(stopped, signal.SIGCONT)

    try:
        watch(
            parse_target(url),
            interval_s=0.05,
            until=lambda: len(looks) > 3 and looks[-1].sample.reachable,
            on_look=note,
        )
    finally:
        _signal(stopped, signal.SIGCONT)
    assert "did not answer within" in next(look for look in looks if not look.sample.reachable).problems[0].text


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


def _processes(server: Breakable) -> list[int]:
    """The postmaster and its children."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            cwd = (process / "cwd").readlink()
        except OSError:
            continue
        if cwd == server.data:
            found.append(int(process.name))
    assert len(found) > 3, postmaster
    return found


def test_an_interrupt_ends_with_a_summary(url: str) -> None:
    def interrupt(look: Look) -> None:
        raise KeyboardInterrupt

    summary = watch(parse_target(url), interval_s=0.0, until=lambda: False, on_look=interrupt)
    assert isinstance(summary, Summary)
    assert (summary.looks, summary.unreachable) == (1, 0)
    assert {figure.name for figure in summary.figures} >= {"latency_s", "database_bytes", "sessions"}


def test_rates_are_unknown_where_the_counters_began_anew(url: str) -> None:
    def reset(look: Look) -> None:
        run(url, "SELECT pg_stat_reset()")

    looks = watched(url, looks=3, on_look=reset)
    assert [look.rates for look in looks] == [Rates()] * 3


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_are_read_by_prometheus_whatever_names_a_database_has(url: str, tmp_path: Path) -> None:
    table = sql.Identifier(HOSTILE)
    with psycopg.connect(url, autocommit=True, application_name="x") as conn:
        conn.execute(sql.SQL("CREATE TABLE {} AS SELECT repeat('x', 100) FROM generate_series(1, 90000)").format(table))
        conn.execute(sql.SQL("ANALYZE {}").format(table))
    (look,) = watched(url)
    path = tmp_path / "lawsker.prom"
    assert write_metrics(path, look) == ""
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["lawsker.prom"]
    found = {family.name: family for family in text_string_to_metric_families(path.read_text())}
    assert found["lawsker_db_size_bytes"].samples[0].value == look.sample.database_bytes
    assert found["lawsker_db_up"].samples[0].value == 1
    assert look.sample.relations is not None
    largest = found["lawsker_db_largest_table_bytes"].samples[0]
    assert largest.value == look.sample.relations.largest[0].bytes
    assert largest.labels["table"].replace("\\x1b", "\x1b") == look.sample.relations.largest[0].name
    assert all(family.documentation for family in found.values())
    for family in found.values():
        names = {one.name for one in family.samples}
        assert family.type != "counter" or all(name.endswith("_total") for name in names)
        assert len({tuple(sorted(one.labels.items())) for one in family.samples}) == len(family.samples)


def test_a_file_of_metrics_that_cannot_be_written_is_told_of(url: str, tmp_path: Path) -> None:
    (look,) = watched(url)
    assert write_metrics(tmp_path / "none" / "x.prom", look) == "No such file or directory"
    assert write_metrics(tmp_path, look)
