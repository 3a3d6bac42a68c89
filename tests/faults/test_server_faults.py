"""The server fails, at every phase of a run: the tool's verdict is the oracle's, and the same command ends the work.

Each server is one of the tests' own, durable as in production, with its tables and its WAL on small disks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_line import eventually, run
from phases import AT_COMMIT, PHASES, held_at
from promotion import FAIL_OVERS, FailOver, fail_over
from results import Outcome, go_through
from server_strikes import STRIKES, Field, Strike, strike
from servers import Breakable, breakable, give_to_owner
from small_disk import small_disk
from small_run import Ground, clone, execute, make_ground

from lawsker_db.demo.binaries import Binaries, binaries_in, find_binaries

MAJORS = (12, 15, 18)  # the oldest, one between, the newest
HEAP_MEGABYTES, WAL_MEGABYTES = 256, 160


def programs(major: int) -> Binaries:
    """The server programs of a major version."""
    folder = os.environ.get("LAWSKER_MAJORS")
    if not folder:
        pytest.fail("LAWSKER_MAJORS names no folder with server programs (scripts/majors fetches them)")
    return binaries_in(Path(folder).absolute() / str(major) / "bin", origin="LAWSKER_MAJORS")


@contextmanager
def field(folder: Path, binaries: Binaries, *, small: bool) -> Iterator[Field]:
    """A server and the ground on it; with `small`, tables and WAL are on disks that can be filled."""
    with ExitStack() as standing:
        server = standing.enter_context(breakable(binaries))
        heap, wal = server.frame.folder / "heap", server.frame.folder / "wal"
        options = ""
        if small:
            for place, megabytes in ((heap, HEAP_MEGABYTES), (wal, WAL_MEGABYTES)):
                standing.enter_context(small_disk(place, megabytes=megabytes))
                give_to_owner(place, server.data)
                place.chmod(0o700)
            standing.callback(server.stop)  # before its disks go
            move_wal(server, wal)
            execute(server.url(), f"CREATE TABLESPACE small LOCATION '{heap}'")
            options = "TABLESPACE small"
        ground = make_ground(server, folder / "chain", options=options)
        yield Field(server=server, ground=ground, heap=heap, wal=wal)


def move_wal(server: Breakable, folder: Path) -> None:
    """Have the WAL in another folder."""
    server.stop()
    for path in (server.data / "pg_wal").iterdir():
        shutil.move(path, folder / path.name)
    (server.data / "pg_wal").rmdir()
    (server.data / "pg_wal").symlink_to(folder)
    server.start()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """A server that may be broken, and the ground on it: for what is struck whenever the tests run."""
    with field(tmp_path_factory.mktemp("plain"), find_binaries(), small=False) as ground:
        yield ground


def test_a_server_process_that_is_killed_behind_the_lock_leaves_the_old_database(plain: Field, tmp_path: Path) -> None:
    (killed,) = (what for what in STRIKES if what.name == "kill -9 a backend")
    outcome = strike(plain, tmp_path / "run", "behind the lock", killed)
    assert (outcome.wrong, outcome.code, outcome.standing) == ("", 11, "old")


def test_a_commit_that_no_standby_has_is_told_so_and_so_is_what_its_server_process_waits_for(
    plain: Field, tmp_path: Path
) -> None:
    with clone(plain.server, plain.ground.template) as url:
        with held_at(AT_COMMIT, tmp_path, url, *plain.ground.typed, server=plain.server) as held:
            held.tool.child.kill()
            held.tool.child.wait()
            early = run(tmp_path, "recover", "--reconnect", "0", url=url)
            assert (early.code, "where it waits for a synchronous standby" in early.out) == (12, True), early.said
            execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            ended = run(tmp_path, "recover", url=url)
            assert "committed: its marker row is there; perhaps not replicated" in ended.out, ended.said
            assert ended.code == 10, ended.said
            assert "NOT SETTLED: server processes of ended runs wait for a synchronous standby: " in ended.out
            assert "RESET synchronous_standby_names" in ended.out
            plain.server.configure()
            assert eventually(lambda: run(tmp_path, "recover", url=url).code == 0)
        assert plain.ground.standing(url) == "new"


@pytest.mark.faults
def test_a_server_that_stops_at_commit_for_too_long_is_in_doubt_until_it_is_back(tmp_path: Path) -> None:
    """The COMMIT is on its disk: `status` tells that once it is back, and the same command has nothing more to do."""
    (away,) = (what for what in STRIKES if what.name == "stop immediate, away too long")
    with field(tmp_path, find_binaries(), small=False) as ground:
        outcome = strike(ground, tmp_path / "run", AT_COMMIT, away)
    assert (outcome.wrong, outcome.code, outcome.standing) == ("", 12, "new")


@pytest.mark.faults
@pytest.mark.parametrize("major", MAJORS)
def test_whatever_happens_to_the_server_the_verdict_is_the_oracles(major: int, tmp_path: Path) -> None:
    """Slow: 64 runs each. LAWSKER_FAULTS names a folder for the results, from which a second go takes what it has."""
    with field(tmp_path, programs(major), small=True) as ground:
        strikes = {f"{phase}: {what.name}": _strike(ground, phase, what) for phase in PHASES for what in STRIKES}
        outcomes = go_through(strikes, tmp_path, f"server-{major}.jsonl")
    assert [outcome for outcome in outcomes if outcome["wrong"]] == []


def _strike(ground: Field, phase: str, what: Strike) -> Callable[[Path], Outcome]:
    return lambda folder: strike(ground, folder, phase, what)


@pytest.mark.faults
@pytest.mark.parametrize("major", MAJORS)
def test_when_a_standby_takes_over_the_verdict_is_that_of_the_new_primary(major: int, tmp_path: Path) -> None:
    with breakable(programs(major)) as primary:
        ground = make_ground(primary, tmp_path / "chain")
        outcomes = go_through(
            {what.name: _fail_over(primary, ground, what) for what in FAIL_OVERS},
            tmp_path,
            f"promotion-{major}.jsonl",
        )
    assert [outcome for outcome in outcomes if outcome["wrong"]] == []


def _fail_over(primary: Breakable, ground: Ground, what: FailOver) -> Callable[[Path], Outcome]:
    return lambda folder: fail_over(primary, ground, folder, what)
