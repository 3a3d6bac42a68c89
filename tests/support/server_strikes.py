"""What may happen to a server while the tool is at work on it, each as a block: struck on entering, mended on leaving."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from command_line import Ended
from phases import AFTER_COMMIT, Held, held_at
from results import Outcome
from servers import FAST, IMMEDIATE, Breakable, filled, no_more_connections, use_up_wal
from small_run import Ground, clone, disagreement, ends_done, half_backup, told_later

AWAY_S = 1.0  # how long a server is gone that comes back within --reconnect
HANGS = -1  # in place of an exit code
PATIENT, HASTY = "30", "1"  # --reconnect: longer than that, and shorter


@dataclass(frozen=True, kw_only=True)
class Field:
    """A server with its heap and its WAL on small disks, and the ground on it."""

    server: Breakable
    ground: Ground
    heap: Path
    wal: Path


Struck = Callable[[Field, str], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What happens to the server (in a block, with the database's name); whether it comes back while the tool asks again."""

    name: str
    block: Struck
    back: bool | None = None

    @property
    def reconnect(self) -> str:
        """Pure. How long the tool is told to ask again."""
        return HASTY if self.back is False else PATIENT


@contextmanager
def terminated(field: Field, database: str) -> Iterator[None]:
    """Every session of the tool is ended by an administrator."""
    with psycopg.connect(field.server.url(), autocommit=True, application_name="the tests") as conn:
        for pid in field.server.backends(database):
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
    yield


@contextmanager
def killed(field: Field, database: str) -> Iterator[None]:
    """One server process of the tool is killed, the last that it has: the server ends all the others and recovers."""
    pids = field.server.backends(database) or field.server.backends("postgres")
    os.kill(pids[-1], signal.SIGKILL)
    yield


@contextmanager
def stopped_fast(field: Field, _database: str) -> Iterator[None]:
    """The server is stopped, everybody disconnected."""
    field.server.stop(FAST)
    yield


@contextmanager
def stopped_at_once(field: Field, _database: str) -> Iterator[None]:
    """The server is stopped as by a crash."""
    field.server.stop(IMMEDIATE)
    yield


@contextmanager
def crowded(field: Field, _database: str) -> Iterator[None]:
    """No connection is free."""
    with no_more_connections(field.server):
        yield


@contextmanager
def without_heap(field: Field, _database: str) -> Iterator[None]:
    """The disk of the tables is full."""
    with filled(field.heap):
        yield


@contextmanager
def without_wal(field: Field, _database: str) -> Iterator[None]:
    """The disk of the WAL is full, and the server stops over it."""
    with filled(field.wal):
        use_up_wal(field.server)
        yield


STRIKES = (
    Strike(name="terminate", block=terminated),
    Strike(name="kill -9 a backend", block=killed),
    Strike(name="stop fast", block=stopped_fast, back=True),
    Strike(name="stop immediate", block=stopped_at_once, back=True),
    Strike(name="stop immediate, away too long", block=stopped_at_once, back=False),
    Strike(name="too many connections", block=crowded),
    Strike(name="heap full", block=without_heap),
    Strike(name="WAL full", block=without_wal, back=False),  # not before there is room again
)


def strike(field: Field, folder: Path, phase: str, what: Strike) -> Outcome:
    """Run, strike at a phase, judge by the oracle once the server is well again, then type the same command."""
    began = time.monotonic()
    folder.mkdir()
    with clone(field.ground.server, field.ground.template) as url:
        typed = [word for word in field.ground.typed if phase != "rehearsal" or word != "--no-rehearsal"]
        place = held_at(phase, folder, url, *typed, "--reconnect", what.reconnect, server=field.server)
        with place as held, what.block(field, url.partition("///")[2].partition("?")[0]):
            ended = _let_go(field.server, held, what)
        field.server.configure()
        field.server.settle()
        standing = field.ground.standing(url)
        wrong = _judged(field.ground, folder, url, phase, ended, standing)
    seconds = round(time.monotonic() - began, 1)
    code = ended.code if ended else HANGS
    return Outcome(point=f"{phase}: {what.name}", code=code, standing=standing, wrong=wrong, seconds=seconds)


def _let_go(server: Breakable, held: Held, what: Strike) -> Ended | None:
    """How the tool ended; None when it did not. A server that comes back does so while the tool may ask again."""
    if what.back is not None:
        server.configure()  # nobody waits for a standby in a server that comes back
    held.let_go()
    if what.back:
        time.sleep(AWAY_S)
        server.start()
    with suppress(subprocess.TimeoutExpired):
        return held.tool.end()
    return None


def _judged(ground: Ground, folder: Path, url: str, phase: str, ended: Ended | None, standing: str) -> str:
    """What is wrong with the end of a run, if anything is."""
    if ended is None:
        return "it hangs"
    wrong = disagreement(ended, standing) or half_backup(folder)
    if not wrong and phase in AFTER_COMMIT and standing != "new":
        wrong = f"the server had it on its disk, and the database is {standing}"
    if not wrong and ended.code == 12:
        wrong = told_later(ground, folder, url, standing)
    wrong = wrong or ends_done(ground, folder, url, recover=True)
    return f"{wrong}\n{ended.said[-1500:]}" if wrong else ""
