"""Servers that a test may break: stopped, killed, filled up, promoted, and started again on what they left.

Each stands in the folder of a throwaway server, whose keeper clears everything away, also when the tests are killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from command_line import eventually

from lawsker_db.demo import keeper
from lawsker_db.demo.binaries import Binaries
from lawsker_db.demo.server import ThrowawayServer, _way, throwaway_server

STOP_S = 5.0
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
# Restarted often: small, and durable, since a crash of it must lose nothing that was answered.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "25",
    "shared_buffers": "16MB",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "autovacuum": "off",
}


@dataclass(kw_only=True)
class Breakable:
    """A server whose postmaster is a child of the tests, so that it can be stopped in any way and started again."""

    frame: ThrowawayServer
    _postmaster: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.frame.data_folder

    @property
    def major(self) -> int:
        """The major version."""
        return self.frame.binaries.major

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, through the Unix socket, as superuser."""
        return self.frame.url(database)

    def start(self) -> None:
        """Start the postmaster, and wait until connections are taken."""
        way = _way(self.frame.binaries)
        programs = self.frame.binaries.folder
        if way.copy_tree:  # the keeper has copied them to where that user may run them
            programs = next((self.frame.folder / "programs").glob("*/*/bin"))
        identity = {} if way.user is None else {"user": way.user[0], "group": way.user[1], "extra_groups": ()}
        with (self.frame.folder / "restarts.log").open("ab") as log:
            self._postmaster = subprocess.Popen(
                [*way.wrap, str(programs / "postgres"), "-D", str(self.data)],
                env=keeper._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **identity,  # type: ignore[call-overload]
            )
        assert eventually(self.answers), (self.frame.folder / "restarts.log").read_text()[-2000:]

    def answers(self) -> bool:
        """Whether it takes connections now."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.url()):
            return True
        return False

    def runs(self) -> bool:
        """Whether its postmaster is there."""
        return self._postmaster is not None and self._postmaster.poll() is None

    def stop(self, how: signal.Signals = FAST) -> None:
        """Stop it, and wait for its end.

        A session whose COMMIT waits for a standby, and which has temporary tables, does not end in a fast stop: it commits
        their removal, and that waits too. An operator stops at once then, and so do we.
        """
        assert self._postmaster is not None
        for number in (how, IMMEDIATE):
            if self.runs():
                self._postmaster.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._postmaster.wait(STOP_S)
        assert not self.runs(), "it does not stop"

    def settle(self) -> None:
        """Have it up again, whatever was done to it."""
        if not self.runs():
            self.start()
        assert eventually(self.answers), "it does not come back"

    def configure(self, **settings: str) -> None:
        """Set parameters for all sessions, at once; no other ones are set. Needs no server that answers."""
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        (self.data / "postgresql.auto.conf").write_text("".join(lines))
        if self._postmaster is not None and self.runs():
            self._postmaster.send_signal(signal.SIGHUP)

    def backends(self, database: str) -> list[int]:
        """Server processes of the tool's sessions in a database, pg_dump's among them."""
        with psycopg.connect(self.url(), application_name="the tests") as conn:
            rows = conn.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
                " AND application_name <> 'the tests' AND pid <> pg_backend_pid() ORDER BY backend_start",
                (database,),
            ).fetchall()
        return [int(row[0]) for row in rows]


@contextmanager
def breakable(binaries: Binaries | None = None, *, settings: Mapping[str, str] | None = None) -> Iterator[Breakable]:
    """A server for the block that may be broken in it."""
    with throwaway_server(binaries, settings={**SETTINGS, **(settings or {})}) as frame:
        # The keeper's own postmaster would stay a zombie, which looks alive to the next one.
        os.kill(frame.pid, FAST)
        assert eventually(lambda: not (frame.data_folder / "postmaster.pid").exists())
        standing = Breakable(frame=frame)
        try:
            standing.start()
            yield standing
        finally:
            standing.stop()


@contextmanager
def standby_of(primary: Breakable) -> Iterator[Breakable]:
    """A streaming standby, made by a cold copy of the primary's folder, which is stopped for a moment."""
    with throwaway_server(primary.frame.binaries, settings=SETTINGS) as frame:
        os.kill(frame.pid, FAST)
        assert eventually(lambda: not (frame.data_folder / "postmaster.pid").exists())
        standing = Breakable(frame=frame)
        primary.stop()
        conf = (standing.data / "postgresql.conf").read_bytes()
        copied_as_owned(primary.data, standing.data)
        (standing.data / "postgresql.conf").write_bytes(conf)
        (standing.data / "standby.signal").touch()
        give_to_owner(standing.data / "standby.signal", standing.data)
        source = f"host={primary.frame.folder} port={keeper.PORT} user={primary.frame.superuser}"
        standing.configure(primary_conninfo=source)
        primary.start()
        try:
            standing.start()
            yield standing
        finally:
            standing.stop(IMMEDIATE)


def copied_as_owned(source: Path, target: Path) -> None:
    """Copy a data folder over another one, owners and modes kept."""
    shutil.rmtree(target)
    subprocess.run(["cp", "--archive", str(source), str(target)], check=True)


def give_to_owner(path: Path, of: Path) -> None:
    """Give a path to whom another one belongs."""
    owner = of.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


def caught_up(standby: Breakable, primary: Breakable) -> bool:
    """Whether the standby has replayed what the primary has written until now."""
    with psycopg.connect(primary.url(), autocommit=True) as conn:
        written = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    with psycopg.connect(standby.url(), autocommit=True) as conn:
        row = conn.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone()
    return row is not None and bool(row[0])


def promote(standby: Breakable) -> None:
    """Make the standby a primary, and wait until it is one."""
    with psycopg.connect(standby.url(), autocommit=True) as conn:
        conn.execute("SELECT pg_promote(true, 60)")


@contextmanager
def no_more_connections(server: Breakable) -> Iterator[None]:
    """Idle sessions take every slot, the reserved ones too, and each that comes free, for the block."""
    held: list[psycopg.Connection[tuple[object, ...]]] = []
    full, ended = threading.Event(), threading.Event()

    def take() -> None:
        while not ended.is_set():
            try:
                held.append(psycopg.connect(server.url(), application_name="the tests"))
            except psycopg.OperationalError:
                full.set()
                time.sleep(0.002)

    taker = threading.Thread(target=take)
    taker.start()
    try:
        full.wait()
        yield
    finally:
        ended.set()
        taker.join()
        for session in held:
            session.close()


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte is free on the file system of a folder, for the block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        filler.unlink()


def use_up_wal(server: Breakable) -> None:
    """Write WAL until the server can make no new file for it and stops."""
    deadline = time.monotonic() + 60
    with suppress(psycopg.Error), psycopg.connect(server.url(), autocommit=True) as conn:
        while time.monotonic() < deadline:
            conn.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 1000000))")
            conn.execute("SELECT pg_switch_wal()")
    assert time.monotonic() < deadline, "WAL did not run out"
