"""Runs of the installed command that are killed at their COMMIT, and the folder that they leave."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from command_line import started
from proxy import At, proxy


def the_run(folder: Path) -> Path:
    """The folder of the one run that was made here."""
    (found,) = (folder / "lawsker-runs").iterdir()
    return found


def killed_at_commit(folder: Path, url: str, at: At, typed: tuple[str, ...]) -> Path:
    """A run that is killed when its COMMIT is answered, or has been sent and lost."""
    pids: list[int] = []

    def kill() -> None:
        os.kill(pids[0], signal.SIGKILL)

    with proxy(url, at, on_answer=kill) as between, started(folder, *typed, url=between.url) as tool:
        pids.append(tool.pid)
        if at is At.LOST:
            assert between.committing.wait(60)
            kill()
        tool.child.wait(timeout=60)
    return the_run(folder)
