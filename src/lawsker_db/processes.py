"""Start, feed and stop child processes: the only place that does.

A child of ours dies with us: on Linux the kernel sends it SIGTERM when its parent dies (prctl(2), PR_SET_PDEATHSIG),
because an orphaned pg_dump would hold its table locks and block every later DDL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict

PIPE = subprocess.PIPE
Child = subprocess.Popen[bytes]

PR_SET_PDEATHSIG = 1  # linux/prctl.h
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
    """Run a child to its end and keep its output. `env` replaces the environment; None inherits it.

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
            preexec_fn=_die_with_parent(),
            **_identity(user),
        )
    except subprocess.TimeoutExpired as late:
        raise TimeoutError(f"{command[0]} did not end within {timeout_s} s") from late
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
    """Start a child and give it to the block; when the block ends, however it ends, the child has ended too."""
    child = subprocess.Popen(
        list(command),
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=new_session,
        preexec_fn=_die_with_parent() if dies_with_parent else None,
        **_identity(user),
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


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: tuple[int, ...]


def _identity(user: tuple[int, int] | None) -> _Identity:
    """Pure. Whom a child runs as, in the words of subprocess; None is whoever we are."""
    return {} if user is None else {"user": user[0], "group": user[1], "extra_groups": ()}


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a fresh child runs before exec: ask the kernel for SIGTERM at the parent's death (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # the parent died between fork and prctl: nobody would tell us any more
            os._exit(1)

    return ask
