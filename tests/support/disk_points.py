"""Points at which the disk fails a run: each call on one of its files, with the errors that such a call can have.

What must follow: a file that the run needs (journal, backup) ends it before COMMIT with the database as it was, one that
only tells of it (plans, JUnit, report) changes nothing, and after COMMIT nothing changes the verdict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import oracle
import psycopg
from command_line import Ended, run, script
from results import Outcome
from small_run import Ground, clone, disagreement, ends_done, half_backup, left_over, told_later
from strace import KILL, Call, Fault, traced

from lawsker_db.record.journal import read_journal

RUNS = "/lawsker-runs/"
ERRORS = {
    "mkdir": ("ENOSPC", "EIO", KILL),
    "openat": ("ENOSPC", "EIO", KILL),
    "write": ("ENOSPC", "EIO", KILL),
    "fsync": ("ENOSPC", "EIO", KILL),
    "rename": ("ENOSPC", "EIO", KILL),
    "unlink": ("EIO", KILL),
}
PROOF = "proof"  # the manifest, written again once the backup is proven
LOG = "log"  # run.log: what the terminal has shown already, so nobody is told when it cannot be written
TELLING = (PROOF, "plans", "junit", "report.json", "report.html", LOG)  # files that only tell of a run
FOLDER = "folder"
KINDS = {
    "journal.jsonl": "journal",
    "globals.sql": "globals",
    "catalog.json": "catalog",
    "SHA256SUMS": "sums",
    "manifest.json": "manifest",
    "plans.json": "plans",
    "junit.xml": "junit",
    "run.log": LOG,
    "report.json": "report.json",
    "report.html": "report.html",
    "database": "archive",
}
DUMP = "pg_dump"
# Calls of pg_dump and of its workers, by number: from the first ones on its files to the last.
IN_DUMP = {"openat": (30, 34, 38, 42), "write": (1, 2, 3, 5, 8, 12), "fsync": (1, 4)}
ON_READING = ("EIO",)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One call on a file of the run's, what becomes of it, and where it stands in the run.

    `commit_sync` is the number of the fsync that lets COMMIT be sent, `committed` whether the call comes after it.
    """

    fault: Fault
    kind: str
    reads: bool = False
    committed: bool = False
    commit_sync: int = 0

    @property
    def name(self) -> str:
        """Pure. What it is called in the results."""
        return f"{self.fault.call} {self.fault.number} {self.kind}{' read' if self.reads else ''} {self.fault.error}"

    @property
    def codes(self) -> tuple[int, ...]:
        """Pure. The exit codes that may follow."""
        if self.kind == DUMP:  # which of its calls a number means differs; what it wrote is proven by the trial restore
            return (0, 10)
        if self.fault.error == KILL:
            return (-9,)
        if self.committed:  # what cannot be read then may be a check that could not be made
            return (0, 13) if self.reads else (0,)
        if self.kind in TELLING:
            return (0,)
        if self.reads and self.kind == FOLDER:  # perhaps in search of earlier runs, for an estimate: then there is none
            return (0, 10, 11)
        return (10, 11)


def points(calls: tuple[Call, ...], journal: Path) -> tuple[Point, ...]:
    """The points of an undisturbed run with these calls, in its order. Reads its journal."""
    commit_sync = _about_to_commit(calls, journal)
    found = []
    for call, kind, committed in _placed(calls, commit_sync):
        for error in ON_READING if call.reads else ERRORS[call.call]:
            fault = Fault(call=call.call, number=call.number, error=error)
            found.append(Point(fault=fault, kind=kind, reads=call.reads, committed=committed, commit_sync=commit_sync))
    return tuple(_thinned(found))


def as_struck(point: Point, calls: tuple[Call, ...]) -> Point | None:
    """Pure. The point that was hit in a run with these calls, None when it was no call on a file of the run.

    Lines on stderr are written by the same kind of call as files, and there may be one more or less of them.
    """
    for call, kind, committed in _placed(calls, point.commit_sync):
        if (call.call, call.number) == (point.fault.call, point.fault.number):
            return replace(point, kind=kind, reads=call.reads, committed=committed)
    return None


def _placed(calls: tuple[Call, ...], commit_sync: int) -> Iterator[tuple[Call, str, bool]]:
    """Pure. The calls on files of the run, each with which file it is and whether COMMIT may have been sent."""
    kind, asked, committed, finished = FOLDER, False, False, False
    for call in calls:
        if RUNS in f"{call.path}/":
            kind = PROOF if finished and call.path.endswith("manifest.json.partial") else _kind(call.path, kind)
            committed = committed or (asked and kind != LOG)  # the log tells the same event, before COMMIT is sent
            # A folder that is made is needed, also where the file before it only tells.
            yield call, FOLDER if call.call == "mkdir" and kind == LOG else kind, committed
            finished = finished or (call.call, kind) == ("rename", "manifest")
        asked = asked or (call.call, call.number) == ("fsync", commit_sync)


def _about_to_commit(calls: tuple[Call, ...], journal: Path) -> int:
    """The number of the fsync that lets COMMIT be sent."""
    names = [event["name"] for event in read_journal(journal)]
    syncs = [call.number for call in calls if call.call == "fsync" and call.path.endswith(journal.name)]
    assert len(syncs) == len(names), "an event of the journal is not synced by itself"
    return syncs[names.index("about to commit")]


def _kind(path: str, before: str) -> str:
    """Pure. Which file of a run it is; a call on the folder counts to the file before it."""
    parts = path.partition(RUNS)[2].split("/")
    names = (part.removesuffix(".partial") for part in parts)
    return next((KINDS[name] for name in names if name in KINDS), before)


def _thinned(found: list[Point]) -> list[Point]:
    """Pure. All points in their order, but of like calls on the many files of an archive the first, one between, and the
    last."""
    alike: dict[tuple[object, ...], list[Point]] = {}
    for point in found:
        key = (point.fault.call, point.fault.error, point.reads) if point.kind == "archive" else point.name
        alike.setdefault((key,), []).append(point)
    kept = {p.name for same in alike.values() for p in (same[0], same[len(same) // 2], same[-1])}
    return [point for point in found if point.name in kept]


def strike(ground: Ground, folder: Path, point: Point, *, again: bool = True) -> Outcome:
    """Run with the fault, judge by the oracle, then type the same command on a disk that is well again."""
    began = time.monotonic()
    folder.mkdir()
    with clone(ground.server, ground.template) as url:
        ended, calls = traced(folder, *ground.typed, url=url, fault=point.fault)
        hit = as_struck(point, calls)
        assert hit is not None, f"{point.name} struck no file of the run: {ended.said}"
        outcome = judged(ground, folder, url, hit, ended, again=again)
    return replace(outcome, point=point.name, seconds=round(time.monotonic() - began, 1))


def of_the_dump() -> tuple[Point, ...]:
    """Pure. Points within pg_dump."""
    return tuple(
        Point(fault=Fault(call=call, number=number, error=error), kind=DUMP)
        for call, numbers in IN_DUMP.items()
        for number in numbers
        for error in ("ENOSPC", "EIO", KILL)
    )


def strike_dump(ground: Ground, folder: Path, point: Point) -> Outcome:
    """Run with a pg_dump that meets the fault, one of its workers or itself, then type the same command with a sound one."""
    began = time.monotonic()
    folder.mkdir()
    with clone(ground.server, ground.template) as url:
        with psycopg.connect(url) as conn:
            real = oracle.pg_dump(conn.info.server_version // 10000)
        watch = f"strace -f -o /dev/null --trace={point.fault.call} {point.fault.inject}"
        told = f'[ "$1" = --version ] && exec "{real}" "$@"\nexec {watch} "{real}" "$@"'
        programs = script(folder / "programs" / DUMP, told).parent
        for name in ("pg_restore", "pg_dumpall"):
            (programs / name).symlink_to(real.with_name(name))
        ended = run(folder, *ground.typed, url=url, LAWSKER_PG_BIN=str(programs))
        outcome = judged(ground, folder, url, point, ended, again=True)
    return replace(outcome, seconds=round(time.monotonic() - began, 1))


def judged(ground: Ground, folder: Path, url: str, point: Point, ended: Ended, *, again: bool) -> Outcome:
    """What is wrong with the end of a run, if anything is."""
    standing = ground.standing(url)
    killed = ended.code == -9
    wrong = disagreement(ended, standing) or unpromised(point, ended, standing)
    wrong = wrong or half_backup(folder)
    if not wrong and not killed:
        left = left_over(url, folder)
        wrong = f"left over: {left}" if left else ""
    if not wrong and killed:
        wrong = told_later(ground, folder, url, standing)
    if not wrong and again:
        wrong = ends_done(ground, folder, url, recover=killed)
    return Outcome(point=point.name, code=ended.code, standing=standing, wrong=wrong, seconds=0.0)


def unpromised(point: Point, ended: Ended, standing: str) -> str:
    """Pure. What was promised for such a point and did not come; empty when all did."""
    if ended.code not in point.codes:
        return f"exit {ended.code}, expected one of {point.codes}: {ended.said[-600:]}"
    if standing != ("new" if point.committed or ended.code == 0 else "old"):
        return f"the database is {standing}"
    if ended.code in (10, 11) and not any(word in ended.err for word in ("journal", "lawsker-runs")):
        return f"the words name no file: {ended.err[-400:]}"
    told = any(word in ended.said for word in ("could not be written", "could not be noted", "cannot say so"))
    if ended.code == 0 and not (told or point.reads or point.kind in (DUMP, LOG)):
        return f"nobody is told that the {point.kind} could not be written: {ended.said[-400:]}"
    return ""


def undisturbed(ground: Ground, folder: Path) -> tuple[Point, ...]:
    """The points, from a run that nothing disturbs."""
    folder.mkdir()
    with clone(ground.server, ground.template) as url:
        ended, calls = traced(folder, *ground.typed, url=url)
        assert ended.code == 0, ended.said
    (made,) = (folder / "lawsker-runs").iterdir()
    return points(calls, made / "journal.jsonl")
