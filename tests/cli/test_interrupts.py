"""Signals from outside: what an interrupt left behind is told, and what is done stays done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command_line
import psycopg
import pytest
from chains import small_chain
from command_line import ALEMBIC, Ended, children, eventually, everything, files
from proxy import At, proxy
from small_run import BEHIND_LOCK, LEDGER, LEDGER_PROMISE, STOP

from lawsker_db.cli import interrupts
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import CommittedUnproven, Interrupted, RehearsalFailed, RolledBack
from lawsker_db.evidence import Event, Phase
from lawsker_db.safety import commit
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target

# Runs the command line with one of its functions replaced by one that a signal interrupts first.
INTERRUPTED = """
import importlib, os, signal, sys
place, name, number = sys.argv[1].rpartition(".")[0], sys.argv[1].rpartition(".")[2], int(sys.argv[2])
module = importlib.import_module(place)
real = getattr(module, name)
def interrupted(*given, **named):
    os.kill(os.getpid(), number)
    return real(*given, **named)
setattr(module, name, interrupted)
sys.argv[1:] = sys.argv[3:]
from lawsker_db.cli import main
main()
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def interrupted_at(function: str, number: int, folder: Path, *typed: str, url: str) -> Ended:
    """Type a command that gets a signal when it calls a function."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, function, str(int(number)), *typed],
        cwd=folder,
        env=command_line.environment(folder, url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=command_line.SLOW_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_says_what_it_left_behind(number: int, adopted_url: str, tmp_path: Path) -> None:
    place = "lawsker_db.safety.standing.look"
    ended = interrupted_at(place, number, tmp_path, "status", url=adopted_url)
    assert ended.code == 130, ended.said
    assert ended.line("Failed") == "Interrupted by the operator."
    assert ended.line("Database") == "The database was not changed."
    assert ended.line("Kept") == "nothing was written"
    assert ended.line("Next") == "type the same command again"
    in_json = interrupted_at(place, number, tmp_path, "status", "--json", url=adopted_url)
    assert (in_json.code, in_json.document["error"]["exit_code"]) == (130, 130)
    assert in_json.document["error"]["state"] == "The database was not changed."


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_backup_that_is_stopped_says_so_and_leaves_nothing(
    form: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(adopted_url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with command_line.started(tmp_path, "backup", "create", *form, url=adopted_url) as tool:
            assert eventually(lambda: bool(children(tool.pid, "pg_dump")))
            os.kill(tool.pid, signal.SIGTERM)
            ended = tool.end()
    assert ended.code == 130, ended.said
    told = ended.document["error"]["state"] if form else ended.line("Database")
    assert told == "The database was not changed."
    assert not [name for name in files(tmp_path) if name.startswith("lawsker-runs")]


@pytest.mark.long
@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_while_the_result_is_shown_changes_no_exit_code(
    number: int, adopted_url: str, tmp_path: Path
) -> None:
    place = "lawsker_db.cli.render.show_report"
    ended = interrupted_at(place, number, tmp_path, "safe-upgrade", "--yes", url=adopted_url)
    assert ended.code == 0, ended.said
    assert "Interrupted while the result was told" in ended.err
    assert command_line.run(tmp_path, "status", url=adopted_url).out.startswith("AT HEAD")


def test_an_interrupt_while_the_report_is_written_says_that_it_is_committed(adopted_url: str, tmp_path: Path) -> None:
    place = "lawsker_db.safety.account.write_report"
    typed = ("safe-upgrade", "--yes", "--no-rehearsal")
    ended = interrupted_at(place, signal.SIGTERM, tmp_path, *typed, url=adopted_url)
    assert "committed" in ended.line("Database"), ended.said
    assert "not changed" not in ended.said
    assert ended.code in (13, 130)


def test_an_interrupt_while_an_error_is_shown_changes_no_exit_code(sample_url: str, tmp_path: Path) -> None:
    place = "lawsker_db.cli.render.show_error"
    assert interrupted_at(place, signal.SIGTERM, tmp_path, "verify", url=sample_url).code == 10


def test_an_interrupt_at_the_commit_of_adopt_says_that_it_is_stamped(
    sample_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = commit._exchange

    def under_signal(raw: psycopg.Connection[object], asking: commit.Asking, came: list[int]) -> bytes | None:
        os.kill(os.getpid(), signal.SIGINT)
        return exchange(raw, asking, came)

    monkeypatch.setattr(commit, "_exchange", under_signal)
    with pytest.raises(CommittedUnproven, match="Interrupted after COMMIT") as told:
        adopt(parse_target(sample_url))
    assert told.value.state == "The database is stamped 012; that is committed."
    assert told.value.fields["run_id"]
    with psycopg.connect(sample_url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("012",)


def test_an_interrupt_before_the_commit_of_adopt_stamps_nothing(
    sample_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = everything(sample_url)
    monkeypatch.setattr("lawsker_db.safety.adoption.run_steps", stop)
    with pytest.raises(Interrupted) as told:
        adopt(parse_target(sample_url))
    assert told.value.state == "The transaction was rolled back; the database is as it was."
    assert everything(sample_url) == before


def test_an_interrupt_on_top_of_an_error_that_says_committed_does_not_hide_it() -> None:
    committed = CommittedUnproven("a check failed", hint="lawsker-db verify")
    interrupt = KeyboardInterrupt()
    interrupt.__context__ = committed
    assert interrupts.as_error(interrupt) is committed


def test_an_interrupt_on_top_of_a_rollback_at_commit_says_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_told", {"about to commit"})
    interrupt = KeyboardInterrupt()
    interrupt.__context__ = rolled_back = RolledBack("The server did not commit", hint="type it again")
    assert interrupts.as_error(interrupt) is rolled_back
    refused = RehearsalFailed("as on the copy", hint="mend it")
    interrupt.__context__, refused.__context__ = refused, rolled_back  # that of the copy
    monkeypatch.setattr(interrupts, "_told", set())
    assert interrupts.as_error(interrupt).state == "The database was not changed."


def test_a_bare_interrupt_that_leaves_a_doubt_names_the_command_that_settles_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interrupts, "_told", {"about to commit"})
    assert interrupts.as_error(KeyboardInterrupt()).hint == "lawsker-db recover"


@pytest.mark.parametrize(
    ("names", "state"),
    [
        ((), "The database was not changed."),
        (("about to commit",), "It is not known whether the migration was committed."),
        (("about to commit", "committed"), "The migration is committed."),
    ],
)
def test_a_bare_interrupt_is_told_by_how_far_the_run_had_come(
    names: tuple[str, ...], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_told", set())
    for name in names:
        interrupts.note(Event(phase=Phase.COMMIT, name=name, text=name))
    told = interrupts.as_error(KeyboardInterrupt())
    assert (told.exit_code, told.state) == (130, state)


# --- plain Alembic ----------------------------------------------------------------------------------------------------

ENDING = [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)]
STOPPING = (f"op.execute({STOP.format(key=BEHIND_LOCK)!r})\n{LEDGER}", LEDGER_PROMISE, 'op.drop_table("ledger")')
HERE = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "
AT_STOP = f"{HERE} query LIKE '%-- stop {BEHIND_LOCK}'"
IN_COMMIT = f"{HERE} query = 'COMMIT' AND wait_event = 'SyncRep'"


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """The adopted sample on a server of its own."""
    with throwaway_server(settings={"synchronous_commit": "on", "autovacuum": "off"}) as server:
        load_sample(server.url(), users=20)
        adopt(parse_target(server.url()))
        yield server.url()


@contextmanager
def alembic_stopped(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[str], psycopg.Connection[Any]]]:
    """`alembic upgrade head` within its revision, where it stays until the connection that stops it is closed."""
    typed = [str(ALEMBIC), "-c", str(small_chain(folder / "chain", STOPPING)), "upgrade", "head"]
    with (
        psycopg.connect(url, autocommit=True) as holder,
        subprocess.Popen(
            typed,
            cwd=folder,
            env=command_line.environment(folder, url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child,
    ):
        holder.execute("SELECT pg_advisory_lock(%s)", (BEHIND_LOCK,))
        assert eventually(lambda: answered(url, AT_STOP))
        yield child, holder


@contextmanager
def waiting_for_nobody(url: str) -> Iterator[None]:
    """For the block a COMMIT is on disk and then waits for a standby that never comes."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        conn.execute("SELECT pg_reload_conf()")
        assert eventually(lambda: answered(url, "SELECT current_setting('synchronous_standby_names') = 'nobody'"))
        try:
            yield
        finally:
            conn.execute("ALTER SYSTEM RESET synchronous_standby_names")
            conn.execute("SELECT pg_reload_conf()")


def answered(url: str, question: str) -> bool:
    with psycopg.connect(url) as conn:
        return bool(conn.execute(question.encode()).fetchall()[0][0])


def signalled(child: subprocess.Popen[str], number: int) -> str:
    """What plain Alembic says after a signal. It ends with its own code for an error, and one message of ours."""
    child.send_signal(number)
    said, _ = child.communicate(timeout=command_line.SLOW_S)
    assert child.returncode == 255, said
    assert "Traceback" not in said
    assert said.count("FAILED: ") == 1
    return said


@pytest.mark.parametrize("number", ENDING)
def test_plain_alembic_that_is_interrupted_before_commit_says_that_it_is_rolled_back(
    number: int, adopted_url: str, tmp_path: Path
) -> None:
    before = everything(adopted_url)
    with alembic_stopped(tmp_path, adopted_url) as (child, _):
        said = signalled(child, number)
    assert "FAILED: Interrupted by the operator.\nThe transaction was rolled back; the database is as it was." in said
    assert "Next: type the same command again" in said
    assert eventually(lambda: command_line.sessions(adopted_url) == [])
    assert everything(adopted_url) == before


@pytest.mark.parametrize("number", ENDING)
def test_plain_alembic_that_is_interrupted_at_commit_says_that_it_is_committed(
    number: int, own_url: str, tmp_path: Path
) -> None:
    with alembic_stopped(tmp_path, own_url) as (child, holder), waiting_for_nobody(own_url):
        holder.close()
        assert eventually(lambda: answered(own_url, IN_COMMIT))
        said = signalled(child, number)
    assert "FAILED: Interrupted after COMMIT; the look afterwards was not made.\nThe migration is committed." in said
    assert "Next: lawsker-db status, then lawsker-db verify" in said
    with psycopg.connect(own_url) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("100",)
        conn.execute("DROP TABLE ledger")
        conn.execute("UPDATE alembic_version SET version_num = '012'")


def test_plain_alembic_that_is_interrupted_while_it_asks_what_became_of_commit_says_that_nobody_knows(
    adopted_url: str, tmp_path: Path
) -> None:
    with (
        proxy(adopted_url, At.ANSWER_LOST, refuse_after=True) as between,
        alembic_stopped(tmp_path, between.url) as (child, holder),
    ):
        holder.execute("SELECT pg_advisory_unlock_all()")
        assert eventually(between.committing.is_set)
        said = signalled(child, signal.SIGTERM)
    assert "It is not known whether the migration was committed." in said
    assert "Next: when the server is back: lawsker-db status --run" in said


def test_a_statement_that_a_dba_cancels_is_not_called_a_fault_of_the_revision(adopted_url: str, tmp_path: Path) -> None:
    with alembic_stopped(tmp_path, adopted_url) as (child, holder):
        holder.execute(
            f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {AT_STOP.partition('pid() AND ')[2]}"
        )
        said, _ = child.communicate(timeout=command_line.SLOW_S)
    assert "A statement was cancelled from outside (57014): canceling statement due to user request." in said
    assert "The transaction was rolled back; the database is as it was." in said
    assert "Next: somebody cancelled it" in said
