"""`run.log` of a run: what a person saw of it, a plain line each, in English. For reading: nothing reads it back.

The journal is what counts. A log that cannot be written changes nothing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lawsker_db.evidence import Event, RunReport
from lawsker_db.record.journal import PRIVATE_FILE
from lawsker_db.record.markup import visible

LOG = "run.log"
AT_ITS_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW


def log_event(folder: Path, event: Event) -> None:
    """Add what an event says to people to the log of its run. Mere progress is left out."""
    if event.lasting and event.text:
        log_line(folder, f"{event.phase.value:<10} {event.text}", event.at)


def log_outcome(report: RunReport, *, failed: bool) -> None:
    """Add how a run ended, in the four lines that its operator reads where it failed."""
    log_line(Path(report.folder), f"{'Failed' if failed else report.verdict.value.upper()}: {report.message}")
    log_line(Path(report.folder), f"Database: {report.state}")
    log_line(Path(report.folder), f"Kept: {report.folder}")
    log_line(Path(report.folder), f"Next: {report.hint}")


def log_line(folder: Path, line: str, at: datetime | None = None) -> None:
    """Add a line (0600) with its time. What does not show as itself is escaped: names in it are other people's text."""
    told = f"{at or datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}  {visible(line)}\n"
    with suppress(OSError):
        handle = os.open(folder / LOG, AT_ITS_END, PRIVATE_FILE)
        try:
            os.write(handle, told.encode(errors="backslashreplace"))
        finally:
            os.close(handle)


def forget_log(folder: Path) -> None:
    """Remove a log that is all its folder holds: what left nothing behind has nothing to tell."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [LOG]:
            (folder / LOG).unlink()
