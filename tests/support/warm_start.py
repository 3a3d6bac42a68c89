"""The command without its start: a process that has loaded the product and splits off a process of its own for each call.

Loading SQLAlchemy, Alembic and psycopg is two thirds of what a short command costs. What is split off has its own pid,
folder, environment, arguments and standard streams, runs the function that the installed script runs, and ends as Python
ends. What it lacks is the script's own command line in /proc: who looks there types the installed command.

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
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

LONGEST = 100_000  # bytes of a request: one message of a socket holds them
READ = 65536
WORD = struct.Struct("q")
_one_at_a_time = threading.Lock()


def warm_run(
    program: Path, folder: Path, arguments: Sequence[str], variables: Mapping[str, str], *, timeout_s: float
) -> tuple[int, bytes, bytes]:
    """Run the command in a folder with exactly these variables; its exit code, stdout and stderr.

    As `subprocess.run`: a signal is a negative code, and what takes too long is killed.
    """
    request = json.dumps([str(program), str(folder), list(arguments), dict(variables)]).encode()
    ours, theirs = socket.socketpair()
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with ours, open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
        given = [nothing.fileno(), out_end, err_end, theirs.fileno()]
        try:
            with _one_at_a_time:
                socket.send_fds(_ready(str(program)), [request], given)
        finally:
            os.close(out_end)
            os.close(err_end)
            theirs.close()
        pid = _word(ours)
        try:
            said = _read_both(out, err, time.monotonic() + timeout_s)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired([str(program), *arguments], timeout_s) from None
        finally:
            os.close(out)
            os.close(err)
        return os.waitstatus_to_exitcode(_word(ours)), *said


def fits(arguments: Sequence[str], variables: Mapping[str, str]) -> bool:
    """Whether a call can be served: variables that Python reads when it starts, and very long arguments, cannot."""
    told = ("DATABASE_URL", "HOME", "PATH", "PYTHONPATH", "LANG")
    known = all(name in told or name.startswith(("LAWSKER_", "PG")) for name in variables)
    return known and variables["LANG"] == "C.UTF-8" and sum(map(len, [*arguments, *variables.values()])) < LONGEST // 6


def _word(connection: socket.socket) -> int:
    """The next number that is answered."""
    answer = connection.recv(WORD.size, socket.MSG_WAITALL)
    assert len(answer) == WORD.size, "the process that has the product loaded has ended: see its stderr"
    return int(WORD.unpack(answer)[0])


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
def _ready(program: str) -> socket.socket:
    """The connection to the process that serves this one; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kept = {name: os.environ[name] for name in ("LAWSKER_PG_BIN", "PYTHONPATH") if name in os.environ}
    child = subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno()), program],
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
    """Take streams, folder and environment of the request; its arguments, the program first."""
    for number, handle in enumerate(handles[:3]):
        os.dup2(handle, number)
    for handle in handles:
        os.close(handle)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    program, folder, arguments, variables = request
    assert isinstance(arguments, list)
    assert isinstance(variables, dict)
    os.chdir(str(folder))
    os.environ.clear()
    os.environ.update(variables)
    return [str(program), *arguments]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C at the tests is theirs
    sys.path[0] = str(Path(sys.argv[2]).parent)  # as the installed script has it
    load_everything()
    typed = serve(socket.socket(fileno=int(sys.argv[1])))
    if typed is not None:
        sys.argv[:] = typed
        importlib.import_module("lawsker_db.cli").main()
