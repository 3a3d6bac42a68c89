"""The installed command as an operator types it: a process of its own, a bare environment, no terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import psycopg
from stillness import remembered
from warm_start import Warm, fits, warm_run, warm_start

LAWSKER_DB, ALEMBIC = (Path(sys.executable).with_name(name) for name in ("lawsker-db", "alembic"))
Child = subprocess.Popen[bytes] | Warm
SLOW_S = 120.0  # far above what any command here takes: only a hang meets it


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything it printed."""
        return self.out + self.err

    @property
    def document(self) -> dict[str, Any]:
        """Its stdout, which must be one JSON object and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict), self.out
        return found

    def line(self, word: str) -> str:
        """What stands after `Failed:`, `Database:`, `Kept:` or `Next:` on stderr, in the last such line."""
        lines = [line for line in self.err.splitlines() if line.startswith(f"{word}:")]
        assert lines, f"no line {word}: in {self.said}"
        return lines[-1].partition(":")[2].strip()


def environment(folder: Path, url: str | None, **variables: str) -> dict[str, str]:
    """A bare environment: nothing of PG*, DATABASE_URL or the shell that runs the tests."""
    kept = {name: os.environ[name] for name in ("LAWSKER_PG_BIN", "PYTHONPATH") if name in os.environ}
    named = {} if url is None else {"DATABASE_URL": url}
    bare = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    return {**bare, **kept, **named, **variables}


def run(folder: Path, *arguments: str, url: str | None = None, **variables: str) -> Ended:
    """Type `lawsker-db ARGUMENTS` in a folder and wait for the end; a process of its own, split off from one that has
    the product loaded (LAWSKER_COLD=1: the installed command)."""
    exact = environment(folder, url, **variables)
    if not _warm(arguments, exact):
        return run_installed(folder, *arguments, url=url, **variables)
    return _ended(*warm_run([str(LAWSKER_DB), *arguments], folder, exact, timeout_s=SLOW_S))


def run_alembic(folder: Path, *arguments: str, url: str | None = None, **variables: str) -> Ended:
    """Type `alembic ARGUMENTS` in a folder and wait for the end; split off like `run`."""
    exact = environment(folder, url, **variables)
    typed = [str(ALEMBIC), *arguments]
    if _warm(arguments, exact):
        return _ended(*warm_run(typed, folder, exact, timeout_s=SLOW_S))
    done = subprocess.run(typed, cwd=folder, env=exact, capture_output=True, timeout=SLOW_S, check=False)
    return _ended(done.returncode, done.stdout, done.stderr)


def _warm(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    return "LAWSKER_COLD" not in os.environ and fits(arguments, variables)


def run_installed(
    folder: Path, *arguments: str, url: str | None = None, wrapper: Sequence[str] = (), **variables: str
) -> Ended:
    """Type the installed `lawsker-db ARGUMENTS`, behind a wrapper such as strace, and wait for the end."""
    done = subprocess.run(
        [*wrapper, str(LAWSKER_DB), *arguments],
        cwd=folder,
        env=environment(folder, url, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SLOW_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def _ended(code: int, out: bytes, err: bytes) -> Ended:
    """Pure. As subprocess reads text."""
    as_text = [said.decode().replace("\r\n", "\n").replace("\r", "\n") for said in (out, err)]
    return Ended(code, *as_text)


class Running:
    """A command under way. Its output goes to files, so that it never waits for us."""

    def __init__(self, child: Child, folder: Path) -> None:
        self.child = child
        self._out, self._err = folder / "stdout", folder / "stderr"

    @property
    def pid(self) -> int:
        return self.child.pid

    def said(self) -> str:
        """What it has printed so far."""
        return self._out.read_text() + self._err.read_text()

    def end(self) -> Ended:
        """Wait for its end."""
        code = self.child.wait(timeout=SLOW_S)
        return Ended(code, self._out.read_text(), self._err.read_text())


@contextmanager
def started(folder: Path, *arguments: str, url: str | None = None, **variables: str) -> Iterator[Running]:
    """Start the command and leave it running for the block; killed after it if it has not ended. Split off like `run`."""
    child = popen(folder, arguments, environment(folder, url, **variables), warm=True)
    with _killed_after(child):
        yield Running(child, folder)


@contextmanager
def started_installed(folder: Path, *arguments: str, url: str | None = None, **variables: str) -> Iterator[Running]:
    """Start the installed command, whose own command line stands in /proc."""
    child = popen(folder, arguments, environment(folder, url, **variables), warm=False)
    with _killed_after(child):
        yield Running(child, folder)


@contextmanager
def _killed_after(child: Child) -> Iterator[None]:
    try:
        yield
    finally:
        child.kill()
        child.wait()


def popen(
    folder: Path, arguments: Sequence[str], exact: Mapping[str, str], *, warm: bool, start_new_session: bool = False
) -> Child:
    """The command, started, with the files `stdout` and `stderr` in its folder for what it says."""
    typed = [str(LAWSKER_DB), *arguments]
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        if warm and _warm(arguments, exact):
            streams = out.fileno(), err.fileno()
            return warm_start(typed, folder, exact, streams, start_new_session=start_new_session)
        return subprocess.Popen(
            typed,
            cwd=folder,
            env=exact,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=start_new_session,
        )


def eventually(true: Callable[[], bool], *, within_s: float = 60.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@remembered
def everything(url: str) -> tuple[object, ...]:
    """The oracle's picture, and what the oracle leaves out: the stamp and the history. Equal: nothing was changed."""
    ours = []
    with psycopg.connect(url) as conn:
        for table in ("public.alembic_version", "lawsker_db.migration_run"):
            row = conn.execute("SELECT to_regclass(%s)", (table,)).fetchone()
            stands = row is not None and row[0] is not None
            ours.append(
                conn.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode()).fetchall() if stands else None
            )
    return (*oracle.picture(url), *ours)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sessions(url: str) -> list[str]:
    """Sessions of others in this database, and prepared transactions, as text."""
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT pid::text || ' ' || application_name || ' ' || coalesce(state, '') FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchall()
    return [str(row[0]) for row in rows]


def children(pid: int, program: str) -> list[int]:
    """Children of a process that run this program."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            name = (process / "comm").read_text().strip()
            if int(fields[1]) == pid and name == program and fields[0] != "Z":
                found.append(int(process.name))
    return found


def alive(pids: list[int]) -> list[int]:
    """Those of these processes that still run (a zombie does not)."""
    found = []
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(pid)
    return found


def script(path: Path, body: str) -> Path:
    """Write a small shell script that stands for a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path
