"""Killed, interrupted, cut off: the database is old or new, the tool says which, and the same command ends the work.

Every fault is real and hits the installed command; the oracle, which shares no code with the product, has the last word.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import oracle
import psycopg
import pytest
from command_line import Ended, Running, alive, children, eventually, everything, files, run, sessions, started
from proxy import At, proxy

from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import Refused, RehearsalFailed
from lawsker_db.evidence import Event
from lawsker_db.postgres.locks import KEY_SPACE, MIGRATION
from lawsker_db.record.journal import new_run_id, read_journal
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.safety.upgrade import UpgradeOptions, look_ahead, safe_upgrade
from lawsker_db.target import parse_target

# The rehearsal is a migration too, with a COMMIT of its own: it has its own tests at the end.
UPGRADE = ("safe-upgrade", "--yes", "--no-rehearsal")
REHEARSED = ("safe-upgrade", "--yes")
ROLLED_BACK = "The transaction was rolled back; the database is as it was."
UNTOUCHED = "The database was not changed."
WAITING = """
    SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()
"""
Picture = tuple[object, ...]


@pytest.fixture
def before(adopted_url: str) -> Picture:
    """The database before the run."""
    return everything(adopted_url)


@contextmanager
def held(url: str, mode: str) -> Iterator[None]:
    """Another session holds a lock on users for the block."""
    with psycopg.connect(url) as conn:
        conn.execute(f"LOCK TABLE users IN {mode} MODE".encode())
        yield


def waiting(url: str) -> list[int]:
    """Server processes that wait for a table lock in this database."""
    with psycopg.connect(url) as conn:
        return [int(row[0]) for row in conn.execute(WAITING).fetchall()]


@contextmanager
def held_up(folder: Path, url: str, *, in_backup: bool = False) -> Iterator[Running]:
    """The tool under way and waiting: pg_dump behind ACCESS EXCLUSIVE, or the migration behind a reader of users."""
    mode = "ACCESS EXCLUSIVE" if in_backup else "ACCESS SHARE"
    with held(url, mode), started(folder, *UPGRADE, url=url) as tool:
        # in the backup two wait: pg_dump, and the reader that takes the fingerprints
        assert eventually(lambda: len(waiting(url)) > int(in_backup) or tool.child.poll() is not None)
        assert tool.child.poll() is None, tool.said()
        yield tool


def run_folder(folder: Path) -> Path:
    """The folder of the one run that was made here."""
    (found,) = (folder / "lawsker-runs").iterdir()
    return found


def stands_as(before: Picture, url: str) -> bool:
    return everything(url) == before


def is_migrated(before: Picture, url: str) -> bool:
    """New, by the oracle: stamped 013, marked, and every table that stood before has what it had in its old columns."""
    with psycopg.connect(url) as conn:
        stamp = conn.execute("SELECT version_num FROM alembic_version").fetchall()
        marks = conn.execute("SELECT count(*) FROM lawsker_db.migration_run WHERE '013' = ANY (steps)").fetchone()
        tables = conn.execute("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^lawyer_'").fetchone()
    content = oracle.content(url, only_columns=OLD_COLUMNS[url])
    old = before[1]
    assert isinstance(old, dict)
    same = all(content.get(name) == sum_ for name, sum_ in old.items())
    return same and (stamp, marks, tables) == ([("013",)], (1,), (8,))


OLD_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {}


@pytest.fixture(autouse=True)
def _old_columns(adopted_url: str) -> Iterator[None]:
    """Remember which columns the tables had before the run."""
    OLD_COLUMNS[adopted_url] = oracle.columns(adopted_url)
    yield
    del OLD_COLUMNS[adopted_url]


def ends_done(folder: Path, before: Picture, url: str) -> None:
    """The same command again does the work."""
    again = run(folder, *UPGRADE, url=url)
    assert again.code == 0, again.said
    assert is_migrated(before, url)


def tells(ended: Ended, code: int, *words: str) -> None:
    """An exit code and sentences, no traceback."""
    assert ended.code == code, ended.said
    assert all(word in ended.said for word in words), ended.said
    assert "Traceback" not in ended.said
    assert "Exception" not in ended.said


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_backup", [True, False], ids=["backup", "migration"])
def test_a_killed_run_leaves_the_old_database_and_the_next_one_succeeds(
    in_backup: bool, before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with held_up(tmp_path, adopted_url, in_backup=in_backup) as tool:
        dumps = children(tool.pid, "pg_dump")
        assert bool(dumps) is in_backup
        os.kill(tool.pid, signal.SIGKILL)
        tool.child.wait()
        assert eventually(lambda: not alive(dumps), within_s=15), "an orphaned pg_dump would hold its locks"
    assert eventually(lambda: not sessions(adopted_url)), sessions(adopted_url)
    assert stands_as(before, adopted_url)
    journal = read_journal(run_folder(tmp_path) / "journal.jsonl")
    assert [event["name"] for event in journal][:5] == ["begin", "end", "opened", "session", "begin"]
    assert "committed" not in [event["name"] for event in journal]
    assert not (run_folder(tmp_path) / "backup" / "manifest.json").exists() or not in_backup
    ends_done(tmp_path, before, adopted_url)


# ---- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("in_backup", [True, False], ids=["backup", "migration"])
def test_an_interrupt_rolls_back_and_says_so(
    number: signal.Signals, in_backup: bool, before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with held_up(tmp_path, adopted_url, in_backup=in_backup) as tool:
        tool.child.send_signal(number)
        ended = tool.end()
    state = UNTOUCHED if in_backup else ROLLED_BACK
    tells(ended, 130, "Interrupted by the operator", state, "type the same command again")
    assert eventually(lambda: not sessions(adopted_url)), sessions(adopted_url)
    assert stands_as(before, adopted_url)
    report = json.loads((run_folder(tmp_path) / "report.json").read_text())
    assert (report["verdict"], report["state"]) == ("interrupted", state)
    assert not list(tmp_path.rglob("*.partial"))


def test_an_interrupt_that_comes_with_commit_does_not_hide_that_it_committed(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    pids: list[int] = []
    with (
        proxy(adopted_url, At.ANSWERED, on_answer=lambda: os.kill(pids[0], signal.SIGINT)) as between,
        started(tmp_path, *UPGRADE, url=between.url) as tool,
    ):
        pids.append(tool.pid)
        ended = tool.end()
    tells(ended, 13, "Interrupted after COMMIT", "The migration is committed")
    assert is_migrated(before, adopted_url)


# ---- cut off ---------------------------------------------------------------------------------------------------------


def test_a_terminated_migration_is_rolled_back_and_says_so(before: Picture, adopted_url: str, tmp_path: Path) -> None:
    with held_up(tmp_path, adopted_url) as tool:
        with psycopg.connect(adopted_url, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", (waiting_pid(adopted_url),))
        ended = tool.end()
    tells(ended, 11, "The connection was lost inside the transaction", ROLLED_BACK)
    assert stands_as(before, adopted_url)
    ends_done(tmp_path, before, adopted_url)


def waiting_pid(url: str) -> int:
    """The migration's server process. Between two attempts it waits for nothing for a moment."""
    found: list[int] = []

    def look() -> bool:
        found[:] = waiting(url)
        return bool(found)

    assert eventually(look)
    return found[0]


def test_a_commit_that_never_arrived_is_rolled_back_and_says_so(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.LOST) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
        assert between.committing.is_set(), ended.said
    tells(ended, 11, "The connection was lost at COMMIT; it did not commit", ROLLED_BACK)
    assert stands_as(before, adopted_url)
    ends_done(tmp_path, before, adopted_url)


def test_a_commit_whose_answer_was_lost_is_done_by_its_marker(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.ANSWER_LOST) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
        assert between.committing.is_set(), ended.said
    tells(ended, 0, "DONE: The database is at revision 013.", "the connection was lost at COMMIT; it is committed")
    assert is_migrated(before, adopted_url)
    report = json.loads((run_folder(tmp_path) / "report.json").read_text())
    assert report["verdict"] == "done"
    assert any("lost at COMMIT" in note for note in report["notes"])


def test_a_lost_answer_and_no_way_back_to_the_server_is_unknown_and_status_tells_later(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.ANSWER_LOST, refuse_after=True) as between:
        ended = run(tmp_path, *UPGRADE, "--reconnect", "1", url=between.url)
    run_id = run_folder(tmp_path).name
    tells(
        ended,
        12,
        "the outcome cannot be told",
        "It is not known whether",
        "lawsker-db recover",
        f"lawsker-db status --run {run_id}",
    )
    assert json.loads((run_folder(tmp_path) / "report.json").read_text())["verdict"] == "outcome unknown"
    assert is_migrated(before, adopted_url)
    status = run(tmp_path, "status", "--run", run_id, url=adopted_url)
    assert f"Run {run_id}: committed" in status.out
    assert run(tmp_path, "status", "--run", run_id, "--json", url=adopted_url).document["run"]["committed"] is True


def test_the_unknown_outcome_is_told_as_json_too(before: Picture, adopted_url: str, tmp_path: Path) -> None:
    with proxy(adopted_url, At.LOST, refuse_after=True) as between:
        ended = run(tmp_path, *UPGRADE, "--reconnect", "0", "--json", url=between.url)
    error = ended.document["error"]
    assert (ended.code, error["exit_code"], error["kind"]) == (12, 12, "OutcomeUnknown")
    assert error["run_id"] == run_folder(tmp_path).name
    assert stands_as(before, adopted_url)
    status = run(tmp_path, "status", "--run", error["run_id"], url=adopted_url)
    assert "no marker row, and nobody at work: it did not commit" in status.out


def test_an_interrupt_while_the_outcome_is_asked_for_leaves_it_unknown(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with (
        proxy(adopted_url, At.ANSWER_LOST, refuse_after=True) as between,
        started(tmp_path, *UPGRADE, url=between.url) as tool,
    ):
        assert between.committing.wait(60)
        assert eventually(lambda: is_migrated(before, adopted_url))
        tool.child.send_signal(signal.SIGINT)
        ended = tool.end()
    tells(ended, 12, "the outcome cannot be told", f"lawsker-db status --run {run_folder(tmp_path).name}")


def test_a_server_that_goes_away_after_commit_leaves_committed_not_untouched(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.ANSWERED, refuse_after=True) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
    tells(ended, 13, "The look afterwards could not be made", "The migration is committed")
    assert is_migrated(before, adopted_url)
    assert json.loads((run_folder(tmp_path) / "report.json").read_text())["verdict"] == "committed, not proven"


def test_a_commit_that_whoever_answers_now_does_not_have_is_not_called_committed(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    """What a failover to a standby that lagged leaves: acknowledged, and gone."""

    def lose() -> None:
        execute(adopted_url, "DELETE FROM lawsker_db.migration_run WHERE '013' = ANY (steps)")
        execute(adopted_url, "UPDATE alembic_version SET version_num = '012'")

    with proxy(adopted_url, At.ANSWERED, on_answer=lose) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
    tells(ended, 12, "COMMIT was answered", "This server does not have the migration.", "lawsker-db recover")
    assert "The migration is committed" not in ended.said


# ---- memory lost -----------------------------------------------------------------------------------------------------


def test_without_a_journal_nothing_is_committed(before: Picture, adopted_url: str, tmp_path: Path) -> None:
    with psycopg.connect(adopted_url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        with started(tmp_path, *UPGRADE, url=adopted_url) as tool:
            assert eventually(lambda: bool(waiting(adopted_url)))
            shutil.rmtree(run_folder(tmp_path))
            holder.rollback()  # the tool goes on, to where it would commit
            ended = tool.end()
    tells(ended, 11, "journal cannot be written", ROLLED_BACK)
    assert stands_as(before, adopted_url)


def test_a_journal_that_is_replaced_before_the_migration_begins_refuses_and_says_what_to_leave_alone(
    adopted_url: str, tmp_path: Path
) -> None:
    before = everything(adopted_url)
    with psycopg.connect(adopted_url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")  # which pg_dump waits for
        with started(tmp_path, *UPGRADE, url=adopted_url) as tool:
            assert eventually(lambda: bool(waiting(adopted_url)))
            (journal,) = run_folder(tmp_path).glob("journal.jsonl")
            journal.unlink()
            journal.write_text("")
            holder.rollback()
            ended = tool.end()
    tells(ended, 10, "journal cannot be written", "The database was not changed.", "leave the folder of a run as it is")
    assert everything(adopted_url) == before


def test_a_journal_lost_at_the_last_moment_before_commit_rolls_back(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.ANSWERED, on_marker=lambda: shutil.rmtree(run_folder(tmp_path))) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
        assert not between.committing.is_set()
    tells(ended, 11, "journal cannot be written", ROLLED_BACK)
    assert stands_as(before, adopted_url)


def test_a_report_and_journal_that_cannot_be_written_after_commit_leave_it_done(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with proxy(adopted_url, At.ANSWERED, on_answer=lambda: shutil.rmtree(run_folder(tmp_path))) as between:
        ended = run(tmp_path, *UPGRADE, url=between.url)
    tells(ended, 0, "DONE: The database is at revision 013.")
    assert "the report could not be written" in ended.err
    assert "the journal could not be written after COMMIT" in ended.err
    assert is_migrated(before, adopted_url)


# ---- two at once -----------------------------------------------------------------------------------------------------


def test_a_second_run_is_told_that_one_is_going_on(before: Picture, adopted_url: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with held_up(tmp_path, adopted_url) as tool:
        ended = run(other, *UPGRADE, url=adopted_url)
        tells(ended, 15, "Another run is going on in this database", "The database was not changed.")
        tool.child.send_signal(signal.SIGTERM)
        assert tool.end().code == 130
    assert stands_as(before, adopted_url)


def test_a_plan_that_another_run_has_overtaken_is_refused(adopted_url: str, tmp_path: Path) -> None:
    """Two runs planned at the same moment: the one that comes second must not mark what it did not do."""
    target = parse_target(adopted_url)
    stale = look_ahead(target, "head", UpgradeOptions(runs=tmp_path)).plan
    assert run(tmp_path, *UPGRADE, url=adopted_url).code == 0
    after = everything(adopted_url)
    late = RunOptions(run_id=new_run_id("late"), via="test")
    with (
        pytest.raises(Refused, match="is at 013; when this run was planned it was at 012"),
        target.connect() as conn,
        migration_transaction(conn, target, stale, late),
    ):
        pytest.fail("the transaction was given out")
    assert everything(adopted_url) == after


# ---- on the copy -----------------------------------------------------------------------------------------------------


def journal_says(folder: Path, phase: str, name: str) -> bool:
    """Whether the journal of the one run here has this event."""
    runs = list((folder / "lawsker-runs").glob("*/*.jsonl"))
    return any((event["phase"], event["name"]) == (phase, name) for path in runs for event in read_journal(path))


def scratch_databases(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'").fetchall()
    return [str(row[0]) for row in rows]


def test_a_server_that_is_lost_at_the_rehearsals_commit_is_asked_as_long_as_was_said_and_recover_comes_next(
    adopted_url: str, tmp_path: Path
) -> None:
    before, told = everything(adopted_url), list[Event]()
    options = UpgradeOptions(runs=tmp_path / "lawsker-runs", reconnect_s=0.0)
    with (
        proxy(adopted_url, At.ANSWER_LOST, refuse_after=True) as between,
        pytest.raises(RehearsalFailed, match="The connection was lost at COMMIT") as failed,
    ):
        safe_upgrade(parse_target(between.url), options=options, on_event=told.append)
    assert [event.text for event in told if "asking the server, for 0 s at most" in event.text]
    assert failed.value.state == "The database was not changed."
    assert failed.value.hint == "when the server is back: lawsker-db recover, then type the same command again"
    tidied = run(tmp_path, "recover", url=adopted_url)
    assert tidied.code == 0, tidied.said
    assert everything(adopted_url) == before


@pytest.mark.parametrize("moment", [("proof", "restoring"), ("rehearsal", "begin")], ids=["restore", "rehearsal"])
def test_an_interrupt_on_the_copy_leaves_no_scratch_database(
    moment: tuple[str, str], before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with started(tmp_path, *REHEARSED, url=adopted_url) as tool:
        assert eventually(lambda: journal_says(tmp_path, *moment))
        tool.child.send_signal(signal.SIGINT)
        ended = tool.end()
    tells(ended, 130, "Interrupted by the operator")
    assert stands_as(before, adopted_url)
    assert scratch_databases(adopted_url) == []


@pytest.mark.parametrize("typed", [REHEARSED, ("backup", "create")], ids=["safe-upgrade", "backup create"])
def test_what_a_run_killed_on_the_copy_left_is_dropped_by_recover_and_nothing_else(
    typed: tuple[str, ...], before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    """Only what a journal names whose run has ended: not a stranger's database, nor that of a run that goes on."""
    foreign = "lawsker_scratch_0123456789ab"
    execute(adopted_url, f"CREATE DATABASE {foreign}")
    try:
        with started(tmp_path, *typed, url=adopted_url) as tool:
            assert eventually(lambda: journal_says(tmp_path, "proof", "restoring"))
            os.kill(tool.pid, signal.SIGSTOP)
            alive = run(tmp_path, "recover", "--json", url=adopted_url)
            assert (alive.code, alive.document["dropped"], alive.document["runs"]) == (0, [], [])
            assert alive.document["alive"] == ([run_folder(tmp_path).name] if typed == REHEARSED else [])
            os.kill(tool.pid, signal.SIGKILL)
            tool.child.wait()
        assert stands_as(before, adopted_url)
        (left,) = set(scratch_databases(adopted_url)) - {foreign}
        told = run(tmp_path, "doctor", url=adopted_url)
        assert (
            f"left-overs of earlier runs: run {run_folder(tmp_path).name}: it ended before COMMIT, {left}" in told.out
            if typed == REHEARSED
            else left in told.out
        )
        assert run(tmp_path, "recover", "--json", url=adopted_url).document["dropped"] == [left]
        assert scratch_databases(adopted_url) == [foreign]
        assert run(tmp_path, "recover", "--json", url=adopted_url).document["dropped"] == []
    finally:
        execute(adopted_url, f"DROP DATABASE {foreign}")
    ends_done(tmp_path, before, adopted_url)


def test_a_backup_that_was_never_finished_is_removed_by_recover(
    before: Picture, adopted_url: str, tmp_path: Path
) -> None:
    with held(adopted_url, "ACCESS EXCLUSIVE"), started(tmp_path, "backup", "create", url=adopted_url) as tool:
        assert eventually(lambda: len(waiting(adopted_url)) > 1 or tool.child.poll() is not None)
        assert run(tmp_path, "recover", "--json", url=adopted_url).document["removed"] == []
        os.kill(tool.pid, signal.SIGKILL)
        tool.child.wait()
    (folder,) = (tmp_path / "lawsker-runs").iterdir()
    ended = run(tmp_path, "recover", "--json", url=adopted_url)
    assert (ended.document["dropped"], ended.document["removed"]) == ([], [f"lawsker-runs/{folder.name}/backup"])
    assert not (folder / "backup").exists()
    assert stands_as(before, adopted_url)


def test_a_copy_that_a_killed_backup_left_on_a_proof_server_is_named_until_it_is_dropped_there(
    adopted_url: str, tmp_path: Path
) -> None:
    with throwaway_server() as beside:
        proof = beside.url("postgres").replace("//", "//postgres:s3cr3t-of-the-proof@", 1)
        with started(tmp_path, "backup", "create", "--proof-server", proof, url=adopted_url) as tool:
            assert eventually(lambda: journal_says(tmp_path, "proof", "restoring") or tool.child.poll() is not None)
            os.kill(tool.pid, signal.SIGKILL)
            tool.child.wait()
        (left,) = scratch_databases(proof)
        assert b"s3cr3t" not in b"".join(files(tmp_path).values())
        standing = run(tmp_path, "status", "--exit-code", url=adopted_url)
        assert (standing.code, f"scratch database {left}" in standing.out) == (10, True), standing.said
        assert f"{left} at postgres@" in run(tmp_path, "doctor", url=adopted_url).out
        for typed in ((), ("--proof-server", adopted_url)):  # which is another server
            ended = run(tmp_path, "recover", *typed, url=adopted_url)
            assert (ended.code, f"DROP DATABASE {left}" in ended.out) == (10, True), ended.said
            assert scratch_databases(proof) == [left]
        ended = run(tmp_path, "recover", "--proof-server", proof, url=adopted_url)
        assert (ended.code, f"Dropped: scratch database {left}" in ended.out) == (0, True), ended.said
        assert scratch_databases(proof) == []
    assert run(tmp_path, "recover", url=adopted_url).code == 0
    assert "To settle" not in run(tmp_path, "status", url=adopted_url).out


def test_a_migration_that_plain_alembic_has_under_way_is_told_before_the_backup(
    adopted_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(adopted_url) as alembic:
        alembic.execute("SELECT pg_advisory_xact_lock(%s, %s)", (KEY_SPACE, MIGRATION))
        ended = run(tmp_path, *REHEARSED, url=adopted_url)
    assert (ended.code, "Another run is going on in this database" in ended.err) == (15, True), ended.said
    assert not journal_says(tmp_path, "backup", "begin")


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(statement.encode())
