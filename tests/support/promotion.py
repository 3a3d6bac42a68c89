"""The primary dies and its standby takes over, while the tool knows both by name."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from command_line import Ended, eventually
from phases import AT_COMMIT, held_at
from results import Outcome
from servers import IMMEDIATE, Breakable, caught_up, promote, standby_of
from small_run import Ground, clone, disagreement, ends_done, told_later

from lawsker_db.demo import keeper

RECONNECT = "60"


@dataclass(frozen=True, kw_only=True)
class FailOver:
    """At which phase the primary dies, and whether the standby has all that it had written."""

    phase: str
    whole: bool

    @property
    def name(self) -> str:
        """Pure. What it is called in the results."""
        return f"{self.phase}: the standby {'has all' if self.whole else 'lacks the run'}"

    @property
    def standing(self) -> str:
        """Pure. How the new primary must stand."""
        return "new" if self.whole and self.phase in (AT_COMMIT, "confirm") else "old"

    @property
    def lost(self) -> bool:
        """Pure. Whether the new primary lacks what the old one had answered: asynchronous replication allows that."""
        return self.phase == "confirm" and not self.whole


FAIL_OVERS = (
    FailOver(phase="backup", whole=True),
    FailOver(phase="behind the lock", whole=True),
    FailOver(phase=AT_COMMIT, whole=True),
    FailOver(phase=AT_COMMIT, whole=False),
    FailOver(phase="confirm", whole=True),
    FailOver(phase="confirm", whole=False),
)


def both(primary: Breakable, standby: Breakable, database: str) -> str:
    """The URL that leads to whichever of the two takes writes."""
    hosts, ports = f"{primary.frame.folder},{standby.frame.folder}", f"{keeper.PORT},{keeper.PORT}"
    login = f"user={primary.frame.superuser}&target_session_attrs=read-write"
    return f"postgresql:///{database}?host={quote(hosts, safe='')}&port={quote(ports, safe='')}&{login}"


def fail_over(primary: Breakable, ground: Ground, folder: Path, what: FailOver) -> Outcome:
    """Run against both, have the primary die at the phase and the standby take over, and judge by the new primary."""
    began = time.monotonic()
    folder.mkdir()
    with clone(primary, ground.template) as plain, standby_of(primary) as standby:
        url = both(primary, standby, plain.partition("///")[2].partition("?")[0])
        if not what.whole:
            standby.stop()
        with held_at(what.phase, folder, url, *ground.typed, "--reconnect", RECONNECT, server=primary) as held:
            assert not what.whole or eventually(lambda: caught_up(standby, primary))
            primary.stop(IMMEDIATE)
            if not what.whole:
                standby.start()
            promote(standby)
            held.let_go()
            ended = held.tool.end()
        standing = ground.standing(url)
        wrong = _judged(ground, folder, url, what, ended, standing)
        primary.settle()
    seconds = round(time.monotonic() - began, 1)
    return Outcome(point=what.name, code=ended.code, standing=standing, wrong=wrong, seconds=seconds)


def _judged(ground: Ground, folder: Path, url: str, what: FailOver, ended: Ended, standing: str) -> str:
    """What is wrong with the end of a run, if anything is."""
    wrong = "" if standing == what.standing else f"the new primary is {standing}"
    if what.lost:  # it was answered and is gone: neither done nor untouched, and the words must say what is missing
        if ended.code != 12 or "does not have" not in ended.err:
            wrong = wrong or f"exit {ended.code}, and nobody is told that the new primary lacks the run"
    else:
        wrong = wrong or disagreement(ended, standing)
    if not wrong and ended.code == 12:
        wrong = told_later(ground, folder, url, standing)
    wrong = wrong or ends_done(ground, folder, url, recover=True)
    return f"{wrong}\n{ended.said[-1500:]}" if wrong else ""
