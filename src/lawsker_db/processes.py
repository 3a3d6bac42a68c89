"""Start, feed and stop child processes: the only place that does.

A child of ours dies with us: on Linux the kernel sends it SIGTERM when its parent dies (prctl(2), PR_SET_PDEATHSIG),
because an orphaned pg_dump would hold its table locks and block every later DDL. A launcher asks for that and then becomes
the program: the usual way, a function between fork and exec, has Python run the hooks of its modules around the fork, and
an interrupt that falls into one of them is swallowed, with logging's lock held for ever (a hang in 1 of 20 interrupts).
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

from lawsker_db.phrases import Phrase

PIPE = subprocess.PIPE
Child = subprocess.Popen[bytes]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Its parent, whom to become, the program, its argv. Becoming somebody takes the request back, so it comes after; a parent
# that died before it was made would never be told.
LAUNCHER = f"""
import os, sys
parent, who, program, *command = sys.argv[1:]
libc = None
if sys.platform.startswith("linux"):
    import ctypes
    libc = ctypes.CDLL(None)
if who:
    uid, gid = map(int, who.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
if libc:
    libc.prctl({PR_SET_PDEATHSIG}, {int(signal.SIGTERM)}, 0, 0, 0)
if os.getppid() != int(parent):
    os._exit(1)
os.execv(program, command)
"""
OPENERS = ("xdg-open", "open", "wslview")  # of freedesktop.org, macOS, and WSL
OPENING_S = 5.0  # most hand the file on and end at once; one that does not is the viewer itself
STOP_GRACE_S = 10.0  # pg_dump cancels its statement on SIGTERM at once; more than this is a hang


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One child that has ended: how, and what it wrote. Output is decoded, undecodable bytes replaced."""

    command: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
    timeout_s: float | None = None,
    user: tuple[int, int] | None = None,
) -> Finished:
    """Run a short-lived child to its end and keep its output. `env` replaces the environment; None inherits it.

    `user` (uid, gid) is whom the child runs as; only root may name one.
    Raises `FileNotFoundError` or `PermissionError` when it cannot be started and `TimeoutError` when it outlives
    `timeout_s` (it is stopped then).
    """
    try:
        done = subprocess.run(
            list(command),
            env=None if env is None else dict(env),
            cwd=cwd,
            input=None if stdin is None else stdin.encode(),
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            **_identity(user),
        )
    except subprocess.TimeoutExpired as late:
        raise TimeoutError(
            Phrase("{program} did not end within {timeout_s} s", program=command[0], timeout_s=str(timeout_s))
        ) from late
    return Finished(
        command=tuple(command),
        exit_code=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )


@contextmanager
def started(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.PIPE,
    new_session: bool = False,
    dies_with_parent: bool = True,
    user: tuple[int, int] | None = None,
    grace_s: float = STOP_GRACE_S,
) -> Iterator[Child]:
    """Start a child and give it to the block; when the block ends, however it ends, the child has ended too.

    Raises `FileNotFoundError` or `PermissionError` when there is no such program, or none that may be run.
    """
    child = subprocess.Popen(
        _launched(command, user) if dies_with_parent else list(command),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=new_session,
        **_identity(None if dies_with_parent else user),
    )
    try:
        yield child
    finally:
        stop(child, grace_s=grace_s)


def stop(child: Child, *, sig: int = signal.SIGTERM, grace_s: float = STOP_GRACE_S) -> int:
    """End a child: the signal, a grace period, then SIGKILL. Close its pipes. Return its exit code."""
    if child.poll() is None:
        child.send_signal(sig)
        try:
            child.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for pipe in (child.stdin, child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
    return child.returncode


def ended(child: Child, *, within_s: float) -> bool:
    """Whether a child ends in time; it is left alone if not."""
    try:
        child.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def show_file(path: Path, env: Mapping[str, str]) -> bool:
    """Have the desktop's own program show a file, and let it go on without us, in this environment: it may outlive us, and
    must not keep our passwords. False where there is none, or it fails."""
    program = next((found for name in OPENERS if (found := shutil.which(name))), None)
    if program is None:
        return False
    try:
        child = subprocess.Popen(
            [program, str(path)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return child.wait(timeout=OPENING_S) == 0
    except subprocess.TimeoutExpired:
        child.returncode = 0  # it shows the file itself, and is nothing that we wait for any more
        return True
    except OSError:
        return False


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: tuple[int, ...]


def _identity(user: tuple[int, int] | None) -> _Identity:
    """Pure. Whom a child runs as, in the words of subprocess; None is whoever we are."""
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": ()}


def _launched(command: Sequence[str], user: tuple[int, int] | None) -> list[str]:
    """Pure but for the disk. The command by way of the launcher, which also becomes `user`: our own interpreter may stand
    where that one may not look. Raises `OSError` for what cannot be run.
    """
    program = shutil.which(command[0])
    if program is None:
        reason = errno.EACCES if os.path.exists(command[0]) else errno.ENOENT  # noqa: PTH110 - beside shutil.which
        raise OSError(reason, os.strerror(reason), command[0])
    who = "" if user is None else f"{user[0]}:{user[1]}"
    return [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), who, program, *command]
