"""Processes of this machine as /proc tells of them: who is at the other end of a socket, who still runs, and their end."""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
POLL_S = 0.002
ESTABLISHED_BY = 9  # the column of /proc/net/tcp that holds the inode


def peer(end: socket.socket, session: int) -> int:
    """The process at the other end of an accepted socket. Over TCP it is looked for in this session (a process id)."""
    if end.family == socket.AF_UNIX:
        credentials = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])
    inode = _inode(end.getpeername()[1], end.getsockname()[1])
    return next((pid for pid in (session, *in_session(session)) if _holds(pid, f"socket:[{inode}]")), 0)


def _holds(pid: int, name: str) -> bool:
    """Whether a process has this file open. Others of its files may come and go meanwhile."""
    with suppress(OSError):
        for file in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if file.readlink().name == name:
                    return True
    return False


def _inode(port: int, remote: int) -> str:
    """The inode of the local socket that goes from one port to another."""
    ends = f":{port:04X}", f":{remote:04X}"
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(ends[0]) and fields[2].endswith(ends[1]):
            return fields[ESTABLISHED_BY]
    return ""


def program(pid: int) -> str:
    """The name of what a process runs, empty when it has gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text().strip()
    return ""


def in_session(session: int) -> list[int]:
    """The processes of a session that still run: a tool that was started with one of its own, and its children."""
    found = []
    for process in PROC.glob("[0-9]*"):
        fields = _state(int(process.name))
        if fields and fields[0] != "Z" and int(fields[3]) == session:
            found.append(int(process.name))
    return found


def kill(pid: int, within_s: float) -> None:
    """SIGKILL, and wait until the process has let go of its sockets."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + within_s
    while (fields := _state(pid)) and fields[0] not in "ZX" and time.monotonic() < deadline:
        time.sleep(POLL_S)


def send(pid: int, number: int, *, group: bool) -> None:
    """Send a signal to a process, or to its whole group. Nothing happens where it has ended."""
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def _state(pid: int) -> list[str]:
    """State, parent, group, session and more; empty when it has gone."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []
