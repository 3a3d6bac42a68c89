"""One crash point: strike at one message of a run, hear what the tool says, ask the oracle, type the command again.

What is wrong is listed as sentences; an empty list is a kept promise.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peers
from command_line import Child, Ended, environment, eventually, popen, run
from crash_ground import CANARY, Ground, Site, as_migrator, stands
from strikes import Fault, Moment, Seen, Strike
from wire import COMMITTING, Wire, wire

from lawsker_db.record.journal import read_journal

RUNS = "lawsker-runs"
LONG_S = 90.0  # a run here takes two seconds, a reconnect two, a connection time-out ten
STUCK_S = 30.0  # the watch on the migration's connection looks for 20 s; nobody watches the others
ASKED_S = 2  # how long it asks a server that is gone what became of COMMIT
GONE = (Fault.DOWN, Fault.SILENCE)  # nobody can ask the server afterwards
SWALLOWED = (Fault.DROP, Fault.SILENCE)
# What the report must say with each exit code. 130 has its own words.
VERDICTS = {
    0: "done",
    10: "refused",
    11: "rolled back",
    12: "outcome unknown",
    13: "committed, not proven",
    15: "refused",
}
OLD_WORDS = ("The database was not changed.", "The transaction was rolled back; the database is as it was.")
NEW_WORDS = ("The migration is committed.",)
UNKNOWN_WORDS = ("It is not known whether the migration was committed.",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A crash point on one ground. `about` is what stands there in the census, for people."""

    ground: str
    label: str
    ordinal: int
    moment: Moment
    fault: Fault
    tcp: bool = False
    about: str = ""

    @property
    def name(self) -> str:
        """What tells it from every other point."""
        way = "tcp" if self.tcp else "unix"
        return f"{self.ground}:{self.label}:{self.ordinal}:{self.moment}:{self.fault}:{way}"

    @property
    def strike(self) -> Strike:
        return Strike(label=self.label, ordinal=self.ordinal, moment=self.moment, fault=self.fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a point. `said` is what the tool claims: old, new, unknown, or nothing when it was killed.

    `left` is what had to be cleared away by `recover`.
    """

    point: str
    about: str
    struck: bool
    code: int
    said: str
    oracle: str
    left: tuple[str, ...]
    wrong: tuple[str, ...]
    seconds: float
    words: str = ""

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def strike_at(site: Site, point: Point, folder: Path) -> Result:
    """Carry out one crash point in an empty folder, on a clone of its ground."""
    began = time.monotonic()
    ground = site.ground(point.ground)
    wrong: list[str] = []
    with site.clone(ground) as url:
        with wire(as_migrator(url), tcp=point.tcp, strike=point.strike) as between:
            with started(folder, ground, between) as child:
                ended = _ending(child, between, folder, point, wrong)
            struck = between.struck.is_set()
        _await_quiet(site, child.pid, wrong)
        found = stands(ground, url)
        said = claim(ended, point, struck=struck, wrong=wrong)
        if said == "unknown" or said == "nothing":
            said = _asked_later(folder, url, said, wrong)
        compare(said, found, ended, wrong)
        wrong += _papers(folder, ended)
        left = left_over(site, url, folder)
        if left:
            _type(("recover",), folder, url, wrong)
        _type(ground.typed, folder, url, wrong)
        wrong += [f"after the same command again: {end}" for end in [stands(ground, url)] if end != "new"]
        wrong += [f"left over: {thing}" for thing in left_over(site, url, folder)]
        wrong += [f"temporary file {path.name}" for path in (folder / "tmp").glob("*")]
        wrong += [f"the password stands in {name}" for name in _canaries(folder)]
    return Result(
        point=point.name,
        about=point.about,
        struck=struck,
        code=ended.code,
        said=said,
        oracle=found,
        left=left,
        wrong=tuple(wrong),
        seconds=round(time.monotonic() - began, 2),
        words=ended.said if wrong else "",
    )


@contextmanager
def started(folder: Path, ground: Ground, between: Wire) -> Iterator[Child]:
    """The tool under way through the proxy, in a session of its own: its children are known by that."""
    (folder / "tmp").mkdir(exist_ok=True)
    typed = (*ground.typed, "--reconnect", str(ASKED_S))
    exact = environment(folder, between.url, TMPDIR=str(folder / "tmp"))
    child = popen(folder, typed, exact, warm=True, start_new_session=True)
    between.tool = child.pid
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def census(site: Site, ground: Ground, folder: Path, *, tcp: bool = False) -> list[Seen]:
    """Every message of an undisturbed run, in the order in which the proxy saw them."""
    with site.clone(ground) as url, wire(as_migrator(url), tcp=tcp) as between:
        with started(folder, ground, between) as child:
            code = child.wait(LONG_S)
        assert code == 0, (folder / "stderr").read_text()
        assert stands(ground, url) == "new"
        return between.seen


def _ending(child: Child, between: Wire, folder: Path, point: Point, wrong: list[str]) -> Ended:
    """Wait for the end. Where a connection was swallowed, the operator's Ctrl-C after a while is part of the point."""
    wait_s = LONG_S
    if point.fault in SWALLOWED and eventually(
        lambda: between.struck.is_set() or child.poll() is not None, within_s=LONG_S
    ):
        wait_s = STUCK_S
    for signalled in (False, True):
        if eventually(lambda: child.poll() is not None, within_s=wait_s):
            break
        if signalled or point.fault not in SWALLOWED:
            wrong.append(f"still running after {wait_s:g} s" + (" and Ctrl-C" if signalled else ""))
            child.kill()
            break
        peers.send(child.pid, signal.SIGINT, group=True)
        wait_s = LONG_S
    code = child.wait()
    return Ended(code, (folder / "stdout").read_text(), (folder / "stderr").read_text())


def _await_quiet(site: Site, session: int, wrong: list[str]) -> None:
    """Server processes and children of a run that has ended must end too, soon."""
    if not eventually(lambda: not site.clients(), within_s=30):
        wrong.append(f"sessions stay: {'; '.join(site.clients())}")
    if not eventually(lambda: not peers.in_session(session), within_s=20):
        names = [f"{pid} {peers.program(pid)}" for pid in peers.in_session(session)]
        wrong.append(f"orphans stay: {'; '.join(names)}")
        for pid in peers.in_session(session):
            os.kill(pid, signal.SIGKILL)


def claim(ended: Ended, point: Point, *, struck: bool, wrong: list[str]) -> str:
    """What the tool says of the database: old, new, unknown, or nothing when it was killed."""
    if "Traceback" in ended.said or "Exception" in ended.said:
        wrong.append("a traceback was shown")
    if ended.code == -signal.SIGKILL and point.fault is Fault.KILL:
        return "nothing"
    told = next((line for line in reversed(ended.err.splitlines()) if line.startswith("Database:")), "")
    state = told.partition(":")[2].strip()
    claimed = [
        name for name, words in (("old", OLD_WORDS), ("new", NEW_WORDS), ("unknown", UNKNOWN_WORDS)) if state in words
    ]
    by_code = {0: "new", 10: "old", 11: "old", 12: "unknown", 13: "new", 15: "old"}.get(ended.code)
    if ended.code == 130 and claimed:
        by_code = claimed[0]
    if by_code is None or (ended.code != 0 and claimed != [by_code]):
        wrong.append(f"exit code {ended.code} with the words {state!r}")
        return claimed[0] if claimed else "nothing"
    if ended.code != 0 and not any(line.startswith("Next:") for line in ended.err.splitlines()):
        wrong.append("nothing was said about what to type next")
    if not struck and ended.code != 0:
        wrong.append(f"nothing struck, and exit code {ended.code}")
    if by_code == "unknown" and (point.fault not in GONE or not point.label.startswith(COMMITTING)):
        wrong.append("in doubt, though the server could be asked or had not been told to commit")
    return by_code


def _asked_later(folder: Path, url: str, said: str, wrong: list[str]) -> str:
    """What `recover` and `status --run` say of a run that was killed or left in doubt, now that the server can be asked."""
    settled = _type(("recover", "--json"), folder, url, wrong)
    runs = sorted((folder / RUNS).glob("*")) if (folder / RUNS).is_dir() else []
    if not runs:
        return "old" if said == "nothing" else said
    ended = run(folder, "status", "--run", runs[-1].name, "--json", url=as_migrator(url))
    if ended.code != 0:
        wrong.append(f"status: exit code {ended.code}: {ended.said}")
        return said
    became = "new" if ended.document["run"]["committed"] else "old"
    for told in settled.document["runs"] if settled.code == 0 else ():
        if {"committed": "new", "rolled back": "old"}.get(told["outcome"]) != became:
            wrong.append(f"recover says {told['outcome']}, status says {became}")
    return became


def compare(said: str, found: str, ended: Ended, wrong: list[str]) -> None:
    """Hold what the tool says against what the oracle has found."""
    if found not in ("old", "new"):
        wrong.append(f"the database is {found}")
    if said != found:
        wrong.append(f"the tool says {said} (exit code {ended.code}), the oracle {found}")


def _papers(folder: Path, ended: Ended) -> list[str]:
    """Whether report and journal of the run say what the exit code says."""
    wrong: list[str] = []
    if ended.code < 0:
        return wrong
    for report in (folder / RUNS).glob("*/report.json"):
        verdict = json.loads(report.read_text())["verdict"]
        if verdict != VERDICTS.get(ended.code, verdict):
            wrong.append(f"exit code {ended.code}, and the report says {verdict}")
    for journal in (folder / RUNS).glob("*/journal.jsonl"):
        names = [event["name"] for event in read_journal(journal)]
        if "committed" in names and ended.code in (10, 11, 15):
            wrong.append(f"exit code {ended.code}, and the journal says committed")
    return wrong


def _type(typed: tuple[str, ...], folder: Path, url: str, wrong: list[str]) -> Ended:
    """Type a command that must end well, straight to the server."""
    ended = run(folder, *typed, url=as_migrator(url), TMPDIR=str(folder / "tmp"))
    if ended.code != 0:
        wrong.append(f"{typed[0]} after it: exit code {ended.code}: {ended.said}")
    return ended


def left_over(site: Site, url: str, folder: Path) -> tuple[str, ...]:
    """What a run may not leave: on the server (which nobody else uses) and on the disk."""
    eventually(lambda: not site.clients(), within_s=10)  # those that we have just closed are on their way out
    found = [*site.clients(), *site.traces(url)]
    found += [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    found += [
        f"{path.relative_to(folder)} without its manifest"
        for path in (folder / RUNS).glob("*/backup")
        if not (path / "manifest.json").exists()
    ]
    return tuple(found)


def _canaries(folder: Path) -> list[str]:
    """Files in which the password stands."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in paths if CANARY.encode() in path.read_bytes()]


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The results of earlier calls by point; a torn last line is none."""
    found: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        found[result["point"]] = result
    return found
