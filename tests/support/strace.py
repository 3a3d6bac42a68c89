"""Faults in the system calls of a program, by strace: its Nth call of a kind fails, or is the last thing that it does.

Only the first thread of the program is traced: it makes every call on the tool's own files, and in an order that is the
same in every run. Where the machine does not let processes be traced, `allowed` says so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from command_line import Ended, run_installed

CALLS = ("mkdir", "openat", "write", "fsync", "rename", "unlink")
KILL = "KILL"
# fsync(7</runs/…/journal.jsonl>) = -1 EIO (Input/output error) (INJECTED)
LINE = re.compile(r"^(?:\[pid +\d+\] )?(?P<call>\w+)\((?P<told>.*)")
ON_HANDLE = re.compile(r"^\d+<(?P<path>[^>]*)>")
BY_NAME = re.compile(r'"(?P<path>[^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Call:
    """The `number`th call of its kind in a run, and the path that it works on; `reads` if it opens it to read."""

    call: str
    number: int
    path: str
    reads: bool = False


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What becomes of a call: an error by its name (ENOSPC, EIO), or KILL."""

    call: str
    number: int
    error: str

    @property
    def inject(self) -> str:
        """Pure. In strace's words."""
        what = f"signal={KILL}" if self.error == KILL else f"error={self.error}"
        return f"--inject={self.call}:{what}:when={self.number}"


@cache
def allowed() -> bool:
    """Whether processes can be traced here, and faults be injected."""
    if shutil.which("strace") is None:
        return False
    tried = ["strace", "-o", "/dev/null", "--trace=write", "--inject=write:error=EIO:when=1", "echo", "heard"]
    done = subprocess.run(tried, capture_output=True, text=True, check=False)
    return done.returncode == 1 and "Input/output error" in done.stderr


def traced(folder: Path, *arguments: str, url: str, fault: Fault | None = None) -> tuple[Ended, tuple[Call, ...]]:
    """Type `lawsker-db ARGUMENTS` under strace; its end, and its calls on files up to the last. A killed tool ends -9."""
    log = folder / "strace.log"
    watch = ["strace", "-o", str(log), "--decode-fds=path", "--string-limit=0", f"--trace={','.join(CALLS)}"]
    wrapper = [*watch, *([fault.inject] if fault else [])]
    ended = run_installed(folder, *arguments, url=url, wrapper=wrapper)
    calls = read_calls(log.read_text(errors="replace"))
    log.unlink()
    return ended, calls


def read_calls(log: str) -> tuple[Call, ...]:
    """Pure. The calls of a log in order, each numbered among those of its kind."""
    counted: dict[str, int] = {}
    found = []
    for line in log.splitlines():
        match = LINE.match(line)
        if match is None or match["call"] not in CALLS:
            continue
        call, told = match["call"], match["told"]
        counted[call] = counted.get(call, 0) + 1
        path = ON_HANDLE.match(told) or BY_NAME.search(told)
        reads = call == "openat" and "O_RDONLY" in told
        found.append(Call(call=call, number=counted[call], path=path["path"] if path else "", reads=reads))
    return tuple(found)
