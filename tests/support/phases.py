"""The tool under way and stopped at a phase of its run, by locks that another session holds, or by SIGSTOP.

Nothing in the product knows of it: the journal tells how far a run has come, and real locks hold it up.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from command_line import SLOW_S, Running, started
from servers import Breakable
from small_run import BEFORE_LOCK, BEHIND_LOCK

from lawsker_db.record.journal import read_journal

# Phases that the journal tells of: from this event on the tool is stopped as soon as that is seen.
TOLD = {
    "backup": ("backup", "snapshot"),
    "proof": ("proof", "restoring"),
    "rehearsal": ("rehearsal", "begin"),
    "confirm": ("commit", "committed"),
    "verify": ("verify", "begin"),
}
STOPS = {"before the lock": BEFORE_LOCK, "behind the lock": BEHIND_LOCK}
AT_COMMIT = "at COMMIT"
PHASES = ("backup", "proof", "rehearsal", "before the lock", "behind the lock", AT_COMMIT, "confirm", "verify")
AFTER_COMMIT = (AT_COMMIT, "confirm", "verify")  # where the server has the COMMIT on its disk
AT_STOP = (
    "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND state = 'active' AND query LIKE '%-- stop {key}'"
)
IN_COMMIT = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'"
NOBODY = "nobody"  # a synchronous standby that never comes: COMMIT is on disk here, and waits for its word


@dataclass(frozen=True, kw_only=True)
class Held:
    """The tool, stopped. `let_go` lets it go on, also when what held it has gone down with the server."""

    tool: Running
    let_go: Callable[[], None]


@contextmanager
def held_at(phase: str, folder: Path, url: str, *arguments: str, server: Breakable | None = None) -> Iterator[Held]:
    """Start `lawsker-db ARGUMENTS` and have it stopped at a phase. At COMMIT the server must be one that may be broken."""
    with ExitStack() as holding:
        if phase in TOLD:
            tool = holding.enter_context(started(folder, *arguments, url=url))
            await_phase(tool, lambda: _journal_says(folder, *TOLD[phase]))
            os.kill(tool.pid, signal.SIGSTOP)
            yield Held(tool=tool, let_go=lambda: _go_on(tool))
            return
        holder = psycopg.connect(url, autocommit=True, application_name="the tests")
        holding.callback(holder.close)
        key = STOPS.get(phase, BEHIND_LOCK)
        holder.execute("SELECT pg_advisory_lock(%s)", (key,))
        tool = holding.enter_context(started(folder, *arguments, url=url))
        await_phase(tool, lambda: _answered(url, AT_STOP.format(key=key)))
        if phase != AT_COMMIT:
            yield Held(tool=tool, let_go=holder.close)
            return
        assert server is not None
        server.configure(synchronous_standby_names=NOBODY)
        await_phase(tool, lambda: _answered(url, f"SELECT current_setting('synchronous_standby_names') = '{NOBODY}'"))
        holder.close()
        await_phase(tool, lambda: _answered(url, IN_COMMIT))
        yield Held(tool=tool, let_go=server.configure)


def await_phase(tool: Running, reached: Callable[[], bool]) -> None:
    """Wait until the run has come so far. It must not end before."""
    deadline = time.monotonic() + SLOW_S
    while not reached():
        assert tool.child.poll() is None, tool.said()
        assert time.monotonic() < deadline, tool.said()
        time.sleep(0.005)


def _journal_says(folder: Path, phase: str, name: str) -> bool:
    """Whether the journal of the newest run here has this event."""
    journals = sorted((folder / "lawsker-runs").glob("*/journal.jsonl"))[-1:]
    return any((event["phase"], event["name"]) == (phase, name) for path in journals for event in read_journal(path))


def _answered(url: str, query: str) -> bool:
    with psycopg.connect(url, autocommit=True, application_name="the tests") as conn:
        row = conn.execute(query.encode()).fetchone()
    return row is not None and bool(row[0])


def _go_on(tool: Running) -> None:
    with suppress(ProcessLookupError):
        os.kill(tool.pid, signal.SIGCONT)
