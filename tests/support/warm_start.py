"""Commands without their start: a process that has loaded the product and splits off a process of its own for each call.

Loading SQLAlchemy, Alembic and psycopg is two thirds of what a short command costs. What is split off has its own pid,
folder, environment, arguments and standard streams, runs the function that the installed script runs, is signalled and
killed as any other, and ends as Python ends. What it lacks is the script's own command line in /proc: who looks there
types the installed command.

Linux only, as the tests are.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ENTRIES = {"lawsker-db": "lawsker_db.cli", "alembic": "alembic.config"}  # as the installed scripts have them
LONGEST = 100_000  # bytes of a request: one message of a socket holds them; a character is twelve at most
READ = 65536
WORD = struct.Struct("q")
_one_at_a_time = threading.Lock()


class Warm:
    """A command under way, to be waited for and signalled as subprocess.Popen is."""

    def __init__(self, answer: socket.socket, typed: Sequence[str]) -> None:
        self._answer, self._typed = answer, typed
        self.returncode: int | None = None
        self.pid = self._word()

    def poll(self) -> int | None:
        """Its exit code if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code."""
        if self.returncode is None:
            wait_ms = None if timeout is None else timeout * 1000
            poll = select.poll()
            poll.register(self._answer, select.POLLIN)
            if not poll.poll(wait_ms):
                raise subprocess.TimeoutExpired(list(self._typed), timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(self._word())
            self._answer.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(signal.SIGKILL)

    def _word(self) -> int:
        """The next number that is answered."""
        answer = self._answer.recv(WORD.size, socket.MSG_WAITALL)
        assert len(answer) == WORD.size, "the process that has the product loaded has ended: see its stderr"
        return int(WORD.unpack(answer)[0])


def warm_start(
    typed: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    streams: tuple[int, int],
    *,
    start_new_session: bool = False,
) -> Warm:
    """Start a command, `lawsker-db` or `alembic`, in a folder, with exactly these variables and these two as its streams."""
    request = json.dumps([list(typed), str(folder), dict(variables), start_new_session]).encode()
    ours, theirs = socket.socketpair()
    with theirs, open(os.devnull, "rb") as nothing, _one_at_a_time:  # noqa: PTH123 - a device
        socket.send_fds(_ready(), [request], [nothing.fileno(), *streams, theirs.fileno()])
    return Warm(ours, typed)


def warm_run(
    typed: Sequence[str], folder: Path, variables: Mapping[str, str], *, timeout_s: float
) -> tuple[int, bytes, bytes]:
    """Run a command; its exit code, stdout and stderr.

    As `subprocess.run`: a signal is a negative code, and what takes too long is killed.
    """
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    try:
        child = warm_start(typed, folder, variables, (out_end, err_end))
    finally:
        os.close(out_end)
        os.close(err_end)
    try:
        said = _read_both(out, err, time.monotonic() + timeout_s)
    except TimeoutError:
        child.kill()
        child.wait()
        raise subprocess.TimeoutExpired(list(typed), timeout_s) from None
    finally:
        os.close(out)
        os.close(err)
    return child.wait(), *said


def fits(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether a call can be served: variables that Python reads when it starts, and very long arguments, cannot."""
    told = ("DATABASE_URL", "HOME", "PATH", "PYTHONPATH", "LANG", "TMPDIR")
    known = all(name in told or name.startswith(("LAWSKER_", "PG")) for name in variables)
    return known and variables["LANG"] == "C.UTF-8" and sum(map(len, [*arguments, *variables.values()])) < LONGEST // 16


def _read_both(out: int, err: int, deadline: float) -> tuple[bytes, bytes]:
    """What comes from two pipes until nobody holds their other ends."""
    found = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for handle in found:
        poll.register(handle, select.POLLIN)
    still = len(found)
    while still:
        if time.monotonic() > deadline:
            raise TimeoutError
        for handle, _ in poll.poll(1000):
            block = os.read(handle, READ)
            found[handle] += block
            if not block:
                poll.unregister(handle)
                still -= 1
    return bytes(found[out]), bytes(found[err])


@cache
def _ready() -> socket.socket:
    """The connection to the process that serves this one; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: os.environ[name] for name in ("LAWSKER_PG_BIN", "PYTHONPATH") if name in os.environ}
    child = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **kept},
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    atexit.register(child.wait)
    atexit.register(ours.close)
    return ours


# ---- the process that has the product loaded -------------------------------------------------------------------------


def load_everything() -> None:
    """Import every module of the product, and what they import only when they are called."""
    package = importlib.import_module("lawsker_db")
    for module in pkgutil.walk_packages(package.__path__, "lawsker_db."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    for name in ("alembic.command", "alembic.autogenerate", "sqlalchemy.dialects.postgresql.psycopg"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(control: socket.socket) -> list[str] | None:
    """Split off one process for each request until nobody asks any more. In such a process: the arguments to run with."""
    running: dict[int, tuple[int, int]] = {}  # the handle on a process: its pid, and where its end is told
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for handle, _ in poll.poll():
            if handle != control.fileno():
                poll.unregister(handle)
                _tell_end(handle, *running.pop(handle))
                continue
            request, handles, _, _ = socket.recv_fds(control, LONGEST, 4)
            if not request:
                return None
            pid = os.fork()
            if pid == 0:
                _forget(control, running)
                return _become(json.loads(request), handles)
            os.write(handles[3], WORD.pack(pid))
            process = os.pidfd_open(pid)
            running[process] = pid, handles[3]
            poll.register(process, select.POLLIN)
            for given in handles[:3]:
                os.close(given)


def _tell_end(handle: int, pid: int, answer: int) -> None:
    _, status = os.waitpid(pid, 0)
    os.close(handle)
    with suppress(OSError):  # who asked may have given up
        os.write(answer, WORD.pack(status))
    os.close(answer)


def _forget(control: socket.socket, running: Mapping[int, tuple[int, int]]) -> None:
    """What only the serving process may hold."""
    os.close(control.detach())
    for handle, (_, answer) in running.items():
        os.close(handle)
        os.close(answer)


def _become(request: list[object], handles: Sequence[int]) -> list[str]:
    """Take streams, folder, environment and session of the request; its arguments, the program first."""
    for number, handle in enumerate(handles[:3]):
        os.dup2(handle, number)
    for handle in handles:
        os.close(handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    typed, folder, variables, start_new_session = request
    assert isinstance(typed, list)
    assert isinstance(variables, dict)
    if start_new_session:
        os.setsid()
    os.chdir(str(folder))
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None  # asked again, of this environment
    return typed


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the tests is theirs
    sys.path[0] = str(Path(sys.executable).parent)  # as the installed script has it
    load_everything()
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    if arguments is not None:
        sys.argv[:] = arguments
        importlib.import_module(ENTRIES[Path(arguments[0]).name]).main()
