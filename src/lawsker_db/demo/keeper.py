"""The small process that stands beside a throwaway server and outlives whoever asked for it, for a moment.

It makes the cluster, starts postgres and holds one end of a pipe. When the other end closes (its parent has
ended, by whatever signal) or SIGTERM comes, it stops the server and removes the folder. Its own session keeps
Ctrl-C in a terminal away from it. Run as `python -m lawsker_db.demo.keeper ORDER`; it
imports the standard library only, to start fast.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lawsker_db import processes
from lawsker_db.phrases import Phrase

SOCKET_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 with the closing zero (unix(7)); macOS holds 104
PORT = 5432  # only part of the socket's name: nothing listens on TCP
PREFIX = "lkdb-"
START_TIME_S = 60.0  # measured: 0.1 s; a loaded CI machine takes seconds
CLUSTER_TIME_S = 120.0  # initdb: 1 s measured
FAST_STOP_S = 8.0
IMMEDIATE_STOP_S = 8.0  # the postmaster itself kills what is left after 5 s (postmaster.c, SIGKILL_CHILDREN_AFTER_SECS)
LOG_LINES = 20
IPC_RMID = 0  # linux/ipc.h, and sys/ipc.h on macOS


class NotStartedError(Exception):
    """The server did not come up; the text says why, the last lines of its log included."""

    def __init__(self, said: Phrase) -> None:
        super().__init__(said)
        self.said = said


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the parent asks for. `wrap` goes before each command of the server, `user` (uid, gid) runs it."""

    binaries: str
    wrap: tuple[str, ...]
    user: tuple[int, int] | None
    copy_tree: bool
    superuser: str
    settings: dict[str, str]

    def to_json(self) -> str:
        """Pure."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Pure."""
        raw = json.loads(text)
        raw["wrap"] = tuple(raw["wrap"])
        raw["user"] = raw["user"] and tuple(raw["user"])
        return cls(**raw)


class Bell:
    """Rings once the parent has gone or a signal has asked us to end; then stays rung."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._signalled, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)  # a byte per signal: no exception in the middle of anything
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def rung(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` for the bell."""
        ready, _, _ = select.select([sys.stdin.fileno(), self._signalled], [], [], timeout_s)
        # A child forked from the parent without exec keeps the pipe open: so look at the parent's pid too.
        return bool(ready) or os.getppid() != self._parent


def keep(order: Order, bell: Bell) -> None:
    """Make a server, tell the parent, wait for the bell; stop and remove the server on every way out."""
    folder = _make_folder()
    try:
        binaries = _copied(Path(order.binaries), folder) if order.copy_tree else Path(order.binaries)
        _make_cluster(order, binaries, folder)
        if bell.rung(0):
            return
        command = (*order.wrap, str(binaries / "postgres"), "-D", str(folder / "data"))
        with (
            (folder / "server.log").open("wb") as log,
            processes.started(
                command, env=_environment(), stdout=log, stderr=log, new_session=True, user=order.user
            ) as postgres,
        ):
            try:
                _await_ready(postgres, folder, bell)
                _tell({"folder": str(folder), "pid": postgres.pid})
                while not bell.rung(1.0):
                    pass
            finally:
                _stop(postgres)
                end_server(postgres.pid, folder)
    finally:
        remove(folder)


def end_server(pid: int, folder: Path) -> None:
    """Kill what still runs in a throwaway data folder; free the shared memory of a server that was killed."""
    data = folder / "data"
    lines = _lines(data / "postmaster.pid")  # a clean stop removes the file
    if len(lines) > 6 and lines[0].strip() == str(pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), IPC_RMID, None)
    # A busy backend does not notice that its postmaster was killed. The data folder is its working directory.
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data:
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:  # it has just ended, or is not ours
            continue


def remove(folder: Path) -> None:
    """Remove the folder of a throwaway server; a dying process may still write there, so try again."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _make_folder() -> Path:
    """Make a private folder whose path is short enough for a socket: TMPDIR, else /tmp."""
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 (mkdtemp makes it private)
        example = f"{base}/{PREFIX}12345678/.s.PGSQL.{PORT}.lock"
        if len(os.fsencode(example)) <= SOCKET_PATH_BYTES and os.access(base, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    raise NotStartedError(
        Phrase(
            "No folder for temporary files has a path that is short enough for a socket ({example}).", example=example
        )
    )


def _copied(binaries: Path, folder: Path) -> Path:
    """Copy the programs and their libraries to where another user may run them; return the new bin folder.

    The layout is kept, since each program finds its share folder and its libraries from where it lies.
    """
    tree = binaries.resolve().parent
    copy = folder / "programs" / tree.parent.name / tree.name
    for part in ("bin", "lib", "share"):
        if (tree / part).is_dir():
            shutil.copytree(tree / part, copy / part, symlinks=True)
    libraries = tree.parent.with_name(f"{tree.parent.name}.libs")  # where auditwheel puts them in a wheel
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
    return copy / binaries.name


def _make_cluster(order: Order, binaries: Path, folder: Path) -> None:
    """Make the data folder: UTF8 and C locale, so that every machine and major sorts alike."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    if order.user is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *order.user, follow_symlinks=False)
    command = [*order.wrap, str(binaries / "initdb"), "-D", str(data), "--username", order.superuser]
    command += ["--encoding=UTF8", "--locale=C", "--auth=trust", "--no-sync"]
    try:
        done = processes.run(command, env=_environment(), timeout_s=CLUSTER_TIME_S, user=order.user)
    except (OSError, TimeoutError) as failure:
        raise NotStartedError(Phrase("initdb cannot be run: {failure}", failure=str(failure))) from failure
    if done.exit_code != 0:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-LOG_LINES:])
        raise NotStartedError(
            Phrase("initdb ended with exit code {exit_code}:\n{last}", exit_code=done.exit_code, last=last)
        )
    settings = {**order.settings, "unix_socket_directories": str(folder), "port": str(PORT)}
    with (data / "postgresql.conf").open("a") as conf:
        conf.writelines(f"{name} = '{_quoted(value)}'\n" for name, value in settings.items())


def _await_ready(postgres: processes.Child, folder: Path, bell: Bell) -> None:
    """Wait until the server takes connections (it says so in postmaster.pid), or the bell rings."""
    deadline = time.monotonic() + START_TIME_S
    while not bell.rung(0.02):
        state = _lines(folder / "data" / "postmaster.pid")[7:8]
        if state and state[0].strip() == "ready":
            return
        if postgres.poll() is None and time.monotonic() < deadline:
            continue
        last = "\n".join(_lines(folder / "server.log")[-LOG_LINES:])
        if postgres.returncode is None:
            raise NotStartedError(Phrase("postgres is not ready; the last lines of its log:\n{last}", last=last))
        raise NotStartedError(
            Phrase(
                "postgres ended with exit code {exit_code}; the last lines of its log:\n{last}",
                exit_code=postgres.returncode,
                last=last,
            )
        )


def _stop(postgres: processes.Child) -> None:
    """Stop the server: fast (it disconnects everyone), then immediate, then by SIGKILL."""
    for number, grace_s in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, IMMEDIATE_STOP_S)):
        if postgres.poll() is None:
            postgres.send_signal(number)
            processes.ended(postgres, within_s=grace_s)
    processes.stop(postgres, sig=signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Return our environment without what would steer the server's programs, and with the C locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _lines(path: Path) -> list[str]:
    """Return a file's lines, none when it is not there."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _quoted(value: str) -> str:
    """Pure. A value as postgresql.conf wants it between quotes."""
    return value.replace("\\", "\\\\").replace("'", "''")


def _tell(answer: dict[str, object]) -> None:
    """Write one line of JSON to the parent; when it has gone, the bell says so next."""
    try:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return


def main() -> int:
    """Keep one throwaway server until the parent has gone."""
    try:
        keep(Order.from_json(sys.argv[1]), Bell())
    except NotStartedError as failure:
        _tell({"failure": failure.said.template, "values": dict(failure.said.values)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
