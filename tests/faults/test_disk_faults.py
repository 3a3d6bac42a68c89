"""The disk fails, at every call on a file of a run: what the run needs ends it before COMMIT, what tells of it never
matters, and after COMMIT nothing changes the verdict.

By strace where processes may be traced; a full file system besides: a small tmpfs, or where none may be mounted a limit on
the size of files, set on the tool while it is stopped.
"""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import disk_points
import pytest
import strace
from command_line import LAWSKER_DB, Ended, environment, run_installed
from disk_points import Point
from phases import held_at
from results import Outcome, go_through
from servers import filled
from small_disk import small_disk
from small_run import Ground, Server, clone, disagreement, ends_done, half_backup, left_over, make_ground

ROOMY_MEGABYTES = 80  # what the look ahead wants for this database, and some more
A_PAGE = 4096


@pytest.fixture(scope="module")
def ground(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The small database and chain of this module."""
    return make_ground(server, tmp_path_factory.mktemp("chain"))


# ---- no room ---------------------------------------------------------------------------------------------------------


@contextmanager
def small_runs(folder: Path) -> Iterator[bool]:
    """The runs folder on a small disk of its own, if one may be mounted; whether it is."""
    with ExitStack() as mounted:
        try:
            mounted.enter_context(small_disk(folder / "lawsker-runs", megabytes=ROOMY_MEGABYTES))
        except (OSError, subprocess.CalledProcessError):
            yield False
        else:
            yield True


@contextmanager
def no_room(folder: Path, pid: int, *, mounted: bool) -> Iterator[None]:
    """No file of the run can grow, for the block."""
    (journal,) = (folder / "lawsker-runs").glob("*/journal.jsonl")
    # A full tmpfs still gives what is left of the journal's last page. A short journal is that of a run that begins: what
    # it still has to say goes into a file as well, and must have room there.
    size = journal.stat().st_size
    if not mounted or size > A_PAGE:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (max(size, A_PAGE), resource.RLIM_INFINITY))
    with filled(folder / "lawsker-runs") if mounted else nullcontext():
        yield


def full_at(phase: str, ground: Ground, folder: Path, url: str, *, again: bool = False) -> tuple[Ended, str]:
    """A run whose disk is full from a phase on, and how the database stands after it; with `again` the same command is
    typed once more when there is room."""
    with small_runs(folder) as mounted:
        with (
            held_at(phase, folder, url, *ground.typed) as held,
            no_room(folder, held.tool.pid, mounted=mounted),
        ):
            held.let_go()
            ended = held.tool.end()
        standing = ground.standing(url)
        assert disagreement(ended, standing) == "", ended.said
        assert left_over(url, folder) == []
        assert half_backup(folder) == ""
        assert not again or ends_done(ground, folder, url, recover=False) == ""
    return ended, standing


def test_a_disk_that_is_full_while_the_dump_runs_refuses_and_leaves_no_half_backup(
    ground: Ground, tmp_path: Path
) -> None:
    with clone(ground.server, ground.template) as url:
        ended, standing = full_at("backup", ground, tmp_path, url)
    assert (ended.code, standing) in [(10, "old"), (11, "old")], ended.said
    assert "lawsker-runs" in ended.err
    assert "free disk space" in ended.line("Next") or "mend what it names" in ended.line("Next")


def test_a_disk_that_is_full_behind_the_lock_rolls_back(ground: Ground, tmp_path: Path) -> None:
    with clone(ground.server, ground.template) as url:
        ended, standing = full_at("behind the lock", ground, tmp_path, url, again=True)
    assert (ended.code, standing) == (11, "old"), ended.said
    assert "The journal cannot be written" in ended.err
    assert "free disk space" in ended.line("Next")


def test_a_disk_that_is_full_after_commit_leaves_it_done_and_told(ground: Ground, tmp_path: Path) -> None:
    with clone(ground.server, ground.template) as url:
        ended, standing = full_at("confirm", ground, tmp_path, url)
    assert (ended.code, standing) == (0, "new"), ended.said
    assert "DONE: The database is at revision 101." in ended.out
    assert "the report could not be written" in ended.err
    assert "the journal could not be written after COMMIT" in ended.err


def test_a_full_disk_behind_what_is_said_changes_no_exit_code(ground: Ground, tmp_path: Path) -> None:
    """Python itself would end with 120 when something is left that cannot be written."""
    with clone(ground.server, ground.template) as url, Path("/dev/full").open("wb") as full:
        typed = [str(LAWSKER_DB), *ground.typed]
        where = environment(tmp_path, url)
        done = subprocess.run(typed, cwd=tmp_path, env=where, stdout=full, stderr=full, check=False)
        assert (done.returncode, ground.standing(url)) == (0, "new")
        (report,) = tmp_path.glob("lawsker-runs/*/report.json")
        assert json.loads(report.read_text())["verdict"] == "done"


# ---- one call --------------------------------------------------------------------------------------------------------

EARLY = (("journal", "openat", "ENOSPC"), ("archive", "rename", "EIO"), ("manifest", "rename", "ENOSPC"))


def few(found: tuple[Point, ...]) -> list[Point]:
    """Some of all points: files of each kind that a run needs, and both sides of COMMIT."""
    first = {(p.kind, p.fault.call, p.fault.error): p for p in reversed(found) if not p.reads}
    journal = [point for point in found if point.kind == "journal" and not point.reads]
    (before, *_), (after, *_) = (
        [point for point in journal if point.committed is side and point.fault.error == error][::order]
        for side, error, order in ((False, "EIO", -1), (True, strace.KILL, 1))
    )
    return [*(first[key] for key in EARLY), before, after]


def by_limit(ground: Ground, folder: Path) -> list[Outcome]:
    """Where nobody may be traced: runs in which no file may grow over so many bytes, from none to many."""
    found = []
    for size in (0, 200, 1500, 6000):
        place = folder / str(size)
        place.mkdir()
        with clone(ground.server, ground.template) as url:
            ended = run_installed(place, *ground.typed, url=url, wrapper=("prlimit", f"--fsize={size}:"))
            standing = ground.standing(url)
            wrong = disagreement(ended, standing) or half_backup(place) or str(left_over(url, place) or "")
            wrong = wrong or ends_done(ground, place, url, recover=False)
        found.append(Outcome(point=f"limit {size}", code=ended.code, standing=standing, wrong=wrong, seconds=0.0))
    return found


def test_a_disk_that_fails_at_the_last_word_of_the_journal_before_commit_leaves_the_old_database(
    ground: Ground, tmp_path: Path
) -> None:
    if not strace.allowed():
        assert [outcome for outcome in by_limit(ground, tmp_path) if outcome.wrong] == []
        return
    last = few(disk_points.undisturbed(ground, tmp_path / "undisturbed"))[len(EARLY)]
    assert last.fault.error == "EIO"
    outcome = disk_points.strike(ground, tmp_path / "struck", last, again=False)
    assert (outcome.wrong, outcome.code, outcome.standing) == ("", 11, "old")


@pytest.mark.faults
def test_the_disk_fails_at_a_call_of_each_kind_and_the_verdict_is_the_oracles(ground: Ground, tmp_path: Path) -> None:
    if not strace.allowed():
        assert [outcome for outcome in by_limit(ground, tmp_path) if outcome.wrong] == []
        return
    chosen = few(disk_points.undisturbed(ground, tmp_path / "undisturbed"))
    outcomes = [
        disk_points.strike(ground, tmp_path / str(number), point, again=number == len(EARLY))
        for number, point in enumerate(chosen)
    ]
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert [outcome.standing for outcome in outcomes] == ["old"] * (len(EARLY) + 1) + ["new"]


@pytest.mark.faults
def test_the_disk_may_fail_at_every_call_of_a_run(ground: Ground, tmp_path: Path) -> None:
    """Slow: some 600 runs. LAWSKER_FAULTS names a folder for the results, from which a second go takes what it has."""
    assert strace.allowed(), "processes cannot be traced here: the full suite needs strace"
    every = disk_points.undisturbed(ground, tmp_path / "undisturbed")
    strikes = {point.name: _strike(disk_points.strike, ground, point) for point in every}
    strikes |= {point.name: _strike(disk_points.strike_dump, ground, point) for point in disk_points.of_the_dump()}
    assert len(strikes) >= 300
    assert [o for o in go_through(strikes, tmp_path, "disk.jsonl") if o["wrong"]] == []


def _strike(how: Callable[[Ground, Path, Point], Outcome], ground: Ground, point: Point) -> Callable[[Path], Outcome]:
    return lambda folder: how(ground, folder, point)
