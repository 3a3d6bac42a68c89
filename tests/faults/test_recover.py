"""`lawsker-db recover`, after real kills: what became of each run is told, what is left goes, nothing else is touched."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from command_line import eventually, everything, run, run_installed, sessions, started
from copies import Server
from killed import killed_at_commit, the_run
from proxy import At, proxy

from lawsker_db.evidence import Event, Phase
from lawsker_db.postgres.session import identify
from lawsker_db.record.journal import Journal, as_json, read_journal
from lawsker_db.target import parse_target

UPGRADE = ("safe-upgrade", "--yes", "--no-rehearsal")
# Root may read everything, unless it is without these capabilities.
MORTAL = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


@pytest.mark.parametrize(
    ("at", "outcome", "next_step"), [(At.ANSWERED, "committed", "verify"), (At.LOST, "rolled back", "status")]
)
def test_what_became_of_a_run_that_was_killed_at_its_commit_is_told_once(
    at: At, outcome: str, next_step: str, adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, at, UPGRADE)
    with psycopg.connect(adopted_url) as conn:
        stamp = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    assert stamp == (("013",) if outcome == "committed" else ("012",))
    before = everything(adopted_url)
    told = run(tmp_path, "doctor", url=adopted_url)
    known = "it committed, and its folder does not say so"
    says = known if outcome == "committed" else "nobody has told yet whether it committed"
    assert f"left-overs of earlier runs: run {folder.name}: {says}" in told.out, told.said
    ended = run(tmp_path, "recover", url=adopted_url)
    assert ended.code == 0, ended.said
    assert f"Run {folder.name}: {outcome}:" in ended.out
    assert f"Next: lawsker-db {next_step}" in ended.out
    assert json.loads((folder / "settled.json").read_text())["outcome"] == outcome
    assert everything(adopted_url) == before
    again = run(tmp_path, "recover", "--json", url=adopted_url).document
    assert (again["settled"], again["runs"], again["ended"]) == (True, [], [])


@pytest.mark.faults
def test_a_run_that_ended_by_itself_has_told_its_outcome_already(adopted_url: str, tmp_path: Path) -> None:
    assert run(tmp_path, *UPGRADE, url=adopted_url).code == 0
    found = run(tmp_path, "recover", "--json", url=adopted_url).document
    assert found == {
        "settled": True,
        "reopened": [],
        "shut": [],
        "runs": [],
        "ended": [],
        "left": [],
        "dropped": [],
        "removed": [],
        "elsewhere": 0,
        "away": [],
        "at_standby": [],
        "folder": str(tmp_path / "lawsker-runs"),
        "read": 1,
        "alive": [],
        "absent": [],
    }


def test_an_unknown_outcome_is_settled_when_the_server_is_back_and_not_before(adopted_url: str, tmp_path: Path) -> None:
    with proxy(adopted_url, At.ANSWER_LOST, refuse_after=True) as between:
        assert run(tmp_path, *UPGRADE, "--reconnect", "0", url=between.url).code == 12
        without = run(tmp_path, "recover", url=between.url)
        assert without.code == 12, without.said
        assert "cannot be told yet: No connection to" in without.err
        assert "The database was not changed" not in without.said
    ended = run(tmp_path, "recover", url=adopted_url)
    assert (ended.code, "committed: its marker row is there" in ended.out) == (0, True), ended.said


@pytest.mark.long
def test_recover_comes_first_when_it_is_asked_for_and_the_same_command_ends_the_work(
    adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    ended = run(tmp_path, *UPGRADE, "--recover", url=adopted_url)
    assert ended.code == 0, ended.said
    assert f"Run {folder.name}: rolled back" in ended.err
    assert (folder / "settled.json").exists()


# ---- what was not read -----------------------------------------------------------------------------------------------


def test_where_no_run_was_read_that_is_said_and_so_is_which_run_the_history_knows(
    adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.ANSWERED, UPGRADE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    ended = run(elsewhere, "recover", url=adopted_url)
    assert ended.code == 0, ended.said
    assert f"SETTLED in {elsewhere}/lawsker-runs: there are no runs there, so none was read." in ended.out
    assert f"Not here: the folders of 1 runs that the database's history knows, the newest {folder.name}" in ended.out
    assert "type --runs FOLDER" in ended.out
    assert "there are no runs in" in run(elsewhere, "status", url=adopted_url).out
    there = run(elsewhere, "recover", "--runs", str(folder.parent), url=adopted_url)
    assert f"SETTLED in {folder.parent}: 1 runs read, none is open" in there.out, there.said


def test_what_may_not_be_read_is_named_and_never_called_settled(adopted_url: str, tmp_path: Path) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    journal = folder / "journal.jsonl"
    (folder.parent / "lost+found").mkdir(mode=0)  # where the folder of runs is a disk of its own
    recover, status = ("recover", "--reconnect", "1"), ("status", "--exit-code")
    for place, typed, code in ((journal, status, 12), (folder, recover, 12), (tmp_path, recover, 10)):
        mode = place.stat().st_mode
        place.chmod(0)
        try:
            where = ("--runs", str(folder.parent))
            told = run_installed(Path("/"), *typed, *where, url=adopted_url, wrapper=MORTAL)
        finally:
            place.chmod(mode)
        named = str(folder.parent if place == tmp_path else journal)
        assert (told.code, "cannot be read" in told.said, named in told.said) == (code, True, True), told.said
        assert "\nSETTLED" not in told.out
    assert "rolled back" in run(tmp_path, "recover", url=adopted_url).out


# ---- sessions --------------------------------------------------------------------------------------------------------


def test_sessions_of_a_dead_run_that_the_server_has_not_noticed_are_ended_and_no_others(
    adopted_url: str, tmp_path: Path
) -> None:
    """A machine that vanished: no FIN ever comes. Here the proxy keeps the server's side open."""
    with psycopg.connect(adopted_url) as stranger, kept_open(adopted_url, tmp_path) as folder:
        stranger.execute("SELECT 1")
        held = run(tmp_path, *UPGRADE, url=adopted_url)
        assert held.code == 15, held.said
        assert "lawsker-db recover" in held.line("Next")
        ended = run(tmp_path, "recover", "--json", url=adopted_url).document
        journal = read_journal(folder / "journal.jsonl")
        ours = {e["facts"]["whose"]: e["facts"]["pid"] for e in journal if e["name"] == "session"}
        assert ours.keys() == {"run lock", "snapshot", "migration", "watch"}
        assert set(ended["ended"]) == set(ours.values()) - {ours["snapshot"]}, "which is over by then"
        assert stranger.execute("SELECT 1").fetchone() == (1,)
        assert len(sessions(adopted_url)) == 2, "the stranger and the holder"
        assert run(tmp_path, *UPGRADE, url=adopted_url).code == 0


@contextmanager
def kept_open(url: str, folder: Path) -> Iterator[Path]:
    """A run that is killed behind a proxy which does not tell the server: its sessions stay, its locks with them."""
    with proxy(url, At.ANSWERED, tells_server=False) as between, psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        with started(folder, *UPGRADE, url=between.url) as tool:
            assert eventually(lambda: "waiting for locks" in tool.said() or tool.child.poll() is not None)
            os.kill(tool.pid, signal.SIGKILL)
            tool.child.wait()
        holder.rollback()
        yield the_run(folder)


def test_the_snapshot_and_the_readers_of_a_backup_whose_machine_vanished_are_ended(
    adopted_url: str, tmp_path: Path
) -> None:
    """They would hold the horizon of vacuum, and keep DDL out, until the server notices."""
    with proxy(adopted_url, At.ANSWERED, tells_server=False) as between:
        with psycopg.connect(adopted_url) as holder:
            holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            with started(tmp_path, *UPGRADE, url=between.url) as tool:
                assert eventually(lambda: len(waiting(adopted_url)) > 1 or tool.child.poll() is not None)
                os.kill(tool.pid, signal.SIGKILL)
                tool.child.wait()
            holder.rollback()
        with psycopg.connect(adopted_url) as stranger:
            stranger.execute("SELECT 1")
            assert len(in_transaction(adopted_url)) > 2, "the stranger, the holder of the snapshot, and a reader"
            ended = run(tmp_path, "recover", url=adopted_url)
            assert ended.code == 0, ended.said
            assert in_transaction(adopted_url) == [stranger.info.backend_pid]


def waiting(url: str) -> list[int]:
    """Server processes that wait for a table lock."""
    return pids(url, "wait_event_type = 'Lock'")


def in_transaction(url: str) -> list[int]:
    """Server processes of others that have a transaction open."""
    return pids(url, "xact_start IS NOT NULL")


def pids(url: str, which: str) -> list[int]:
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {which}"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()".encode()
        )
        return [int(row[0]) for row in rows]


# ---- gates -----------------------------------------------------------------------------------------------------------


def test_a_closed_gate_is_opened_first_even_when_nothing_else_can_be_settled(server: Server, tmp_path: Path) -> None:
    """A database that lets nobody in is an outage. Its journal names it by OID: it may have been renamed."""
    name = f"closed_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name}")
    with parse_target(server.url(name)).connect() as conn:
        here = identify(conn)
    close_gate(tmp_path / "lawsker-runs" / "20261122T090501Z-restore-a1b2c3", as_json_facts(here))
    server.run(f"ALTER DATABASE {name} RENAME TO {name}_new")
    server.run(f"ALTER DATABASE {name}_new ALLOW_CONNECTIONS false")
    other = f"{name}_other"
    server.run(f"CREATE DATABASE {other}")
    server.run(f"ALTER DATABASE {other} ALLOW_CONNECTIONS false")
    try:
        ended = run(tmp_path, "recover", url=server.url(f"{name}_new"))
        assert f"Opened:  database {name}_new lets connections in again" in ended.out, ended.said
        with psycopg.connect(server.url(f"{name}_new")) as conn:
            closed = conn.execute("SELECT datname FROM pg_database WHERE NOT datallowconn AND datname <> 'template0'")
            assert closed.fetchall() == [(other,)], "what no journal of ours names is left alone"
    finally:
        for database in (f"{name}_new", other):
            server.run(f"DROP DATABASE {database}")


def as_json_facts(here: object) -> dict[str, object]:
    from dataclasses import asdict

    facts = as_json(asdict(here))  # type: ignore[call-overload]
    assert isinstance(facts, dict)
    return facts


def close_gate(folder: Path, facts: dict[str, object]) -> None:
    """The journal of a run that closed a gate and was killed: written by a process of its own, which is gone."""
    folder.mkdir(parents=True)
    with Journal(folder) as journal:
        journal.write(Event(phase=Phase.PLAN, name="opened", text="opened", facts=facts))
        journal.write(Event(phase=Phase.COMMIT, name="gate closed", text="closed", facts=facts))


# ---- files -----------------------------------------------------------------------------------------------------------


def test_pass_files_and_partials_of_dead_processes_go_and_those_of_living_ones_stay(
    adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    (folder / "report.json.partial").write_text("{")
    (folder / "rescue.partial").mkdir()
    (folder / "rescue.partial" / "public.users.csv").write_text("")
    listed_rows = folder / "rescue" / "replayed-x.csv.partial"  # of a replay that may be committed
    listed_rows.parent.mkdir()
    listed_rows.write_text("")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    dead, listed, living = (temporary / f"lawsker-{name}" for name in ("a.pgpass", "b.list", "c.pgpass"))
    foreign = temporary / "somebody.pgpass"
    for path in (dead, living, foreign, listed):
        path.write_text("*:*:*:*:secret\n")
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = run(tmp_path, "recover", "--json", url=adopted_url, TMPDIR=str(temporary))
    removed = ended.document["removed"]
    halves = [f"lawsker-runs/{folder.name}/{name}.partial" for name in ("rescue", "report.json")]
    assert (removed[:2], listed_rows.exists()) == (halves, True)
    assert sorted(removed[2:]) == sorted([str(dead), str(listed)])
    assert sorted(temporary.iterdir()) == sorted([living, foreign])


def test_runs_of_other_databases_are_left_alone_and_said_to_be(
    adopted_url: str, sample_url: str, tmp_path: Path
) -> None:
    killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    ended = run(tmp_path, "recover", url=sample_url)
    assert (ended.code, "Left alone: 1 runs of other databases" in ended.out) == (0, True), ended.said
    assert not (the_run(tmp_path) / "settled.json").exists()


def test_a_journal_of_another_version_leaves_its_run_in_doubt_and_breaks_nothing_else(
    adopted_url: str, tmp_path: Path
) -> None:
    folder = killed_at_commit(tmp_path, adopted_url, At.LOST, UPGRADE)
    other = folder.with_name("20261122T090501Z-013-ffffff")
    close_gate(other, {"system_identifier": "1", "of a later version": True})
    told = run(tmp_path, "doctor", url=adopted_url)
    assert f"run {other.name}" in told.out, told.said
    ended = run(tmp_path, "recover", url=adopted_url)
    assert (ended.code, f"Run {other.name}: unknown" in ended.out) == (12, True), ended.said
    assert f"Run {folder.name}: rolled back" in ended.out
