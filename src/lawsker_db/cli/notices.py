"""`--notify`: a program of the operator's gets each start, blocker, success and failure as JSON on its standard input.

It changes nothing, whatever becomes of it: it is started from a thread of its own, so no lock is held longer for it; what
cannot be delivered in time is given up, and becomes a note.
"""

from __future__ import annotations

import json
import queue
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lawsker_db import __version__, processes
from lawsker_db.cli.interrupts import as_error
from lawsker_db.cli.render import say, say_json
from lawsker_db.errors import LawskerError, UsageError
from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from lawsker_db.evidence import Event, OnEvent, RunReport
    from lawsker_db.target import Target

PATIENCE_S = 10.0  # for one delivery: mail and chat answer within it, or not at all
DRAIN_S = 15.0  # for what is left when the run is over
GRACE_S = 1.0
MOST_WAITING = 64
SAID_BYTES = 4096
SHOWN_OF_BLOCKER = ("pid", "gid", "user", "application", "address", "state", "since", "age_s", "kind", "what", "holds")
FOR_EXAMPLE = Phrase("for example --notify /usr/local/bin/tell-the-team; docs/notify.md has programs for mail and chat")


@dataclass(slots=True, kw_only=True)
class Notices:
    """What is to be delivered, in its order, and what became of it. Without `words` nothing is."""

    words: tuple[str, ...]
    command: str
    database: str
    waiting: queue.Queue[Mapping[str, object] | None] = field(default_factory=lambda: queue.Queue(MOST_WAITING))
    problems: list[Phrase] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    folder: str = ""

    def beside(self, on_event: OnEvent) -> OnEvent:
        """What shows events to people, and looks for blockers among them."""

        def tell(event: Event) -> None:
            if event.lasting and event.name in ("waiting", "blocker"):
                self.notice("blocker", event.text, phase=event.phase.value, blockers=_blockers(event.facts))
            on_event(event)

        return tell

    def succeed(self, report: RunReport) -> None:
        """That a run ended well, by its report."""
        self.folder = report.folder
        self.notice(
            "success",
            report.message,
            run_id=report.run_id,
            verdict=report.verdict.value,
            state=report.state,
            next=report.hint,
            folder=report.folder,
            duration_s=report.duration_s,
            exit_code=0,
        )

    def fail(self, failed: LawskerError) -> None:
        """That a run failed, in the words of its last four lines."""
        self.folder = str(failed.fields.get("folder") or "")
        self.notice(
            "failure",
            failed.message,
            run_id=failed.fields.get("run_id"),
            kind=type(failed).__name__,
            state=failed.state,
            next=failed.hint,
            folder=self.folder or None,
            exit_code=failed.exit_code,
        )

    def notice(self, word: str, message: str, **facts: object) -> None:
        """Put one notice behind those that wait. Returns at once."""
        if not self.words:
            return
        known = {"notice": word, "command": self.command, "database": self.database, "message": str(message)}
        told = {**known, "at": datetime.now(UTC).isoformat(), "tool_version": __version__, **facts}
        try:
            self.waiting.put_nowait(told)
        except queue.Full:
            self.problems.append(Phrase("notice of {word} not sent: too many wait already", word=word))


@contextmanager
def notified(notify: str, command: str, target: Target, *, as_json: bool) -> Iterator[Notices]:
    """Notices of a run, for the block that is the run: its start, and its failure if it fails. Its success is told by the
    block. When it is over, what waits is delivered for a bounded time. Raises `UsageError` for a command that is none."""
    notices = Notices(words=notice_words(notify) if notify else (), command=command, database=target.label)
    delivering = threading.Thread(target=_deliver_all, args=(notices,), daemon=True)
    if notices.words:
        delivering.start()
    notices.notice("start", Phrase("{command} of {database} begins", command=command, database=target.label))
    try:
        yield notices
    except (LawskerError, KeyboardInterrupt) as failed:
        notices.fail(failed if isinstance(failed, LawskerError) else as_error(failed))
        raise
    except Exception as bug:
        words = Phrase("a bug in lawsker-db: {kind}", kind=type(bug).__name__)
        notices.fail(LawskerError(words, hint="lawsker-db status", state="look what lawsker-db status says"))
        raise
    finally:
        if notices.words:
            with suppress(KeyboardInterrupt):  # who does not want to wait for a pager changes nothing by that
                _drain(notices, delivering)
            _tell_problems(notices, as_json=as_json)


def notice_words(notify: str) -> tuple[str, ...]:
    """Pure. The words of --notify; no shell reads them. Raises `UsageError` for none, or a quotation that does not end."""
    try:
        words = tuple(shlex.split(notify))
    except ValueError as failed:
        raise UsageError(Phrase("--notify cannot be read: {why}.", why=str(failed)), hint=FOR_EXAMPLE) from None
    if not words:
        raise UsageError(Phrase("--notify names no program."), hint=FOR_EXAMPLE)
    return words


def _deliver_all(notices: Notices) -> None:
    """Deliver one after the other what waits, until the end is among it."""
    while (told := notices.waiting.get()) is not None:
        problem = _deliver(notices, told)
        if problem:
            words = Phrase("notice of {word} not delivered: {problem}", word=str(told["notice"]), problem=problem)
            notices.problems.append(words)


def _deliver(notices: Notices, told: Mapping[str, object]) -> str:
    """Start the program and give it one notice. Returns what went wrong, empty when nothing did."""
    from lawsker_db.postgres.tools import bare_environment
    from lawsker_db.record.journal import as_json
    from lawsker_db.safety.archive import ended_how

    try:
        # Files, not pipes: a program that reads nothing, or says much and is not listened to, stops nobody.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write(json.dumps(as_json(told), ensure_ascii=False).encode(errors="backslashreplace") + b"\n")
            given.seek(0)
            with processes.started(
                notices.words,
                env=bare_environment(),
                stdin=given.fileno(),
                stdout=said,
                stderr=said,
                new_session=True,  # Ctrl-C is for the run, and the notice of it is still to be sent
                grace_s=GRACE_S,
            ) as child:
                in_time = processes.ended(child, within_s=PATIENCE_S)
                exit_code = child.returncode
            said.seek(0)
            notices.said += said.read(SAID_BYTES).decode(errors="replace").splitlines()
    except OSError as failed:
        return Phrase("{program} cannot be run: {why}", program=notices.words[0], why=failed.strerror or str(failed))
    if not in_time:
        return Phrase("{program} did not end within {limit_s:.0f} s", program=notices.words[0], limit_s=PATIENCE_S)
    return Phrase("{program} {ended}", program=notices.words[0], ended=ended_how(exit_code)) if exit_code else ""


def _drain(notices: Notices, delivering: threading.Thread) -> None:
    """Wait for what is still to be delivered, and no longer than a bounded time."""
    until = time.monotonic() + DRAIN_S
    with suppress(queue.Full):
        notices.waiting.put(None, timeout=DRAIN_S)
    delivering.join(timeout=max(0.0, until - time.monotonic()))
    if delivering.is_alive():
        words = Phrase("notices not delivered within {limit_s:.0f} s after the end were given up", limit_s=DRAIN_S)
        notices.problems.append(words)


def _tell_problems(notices: Notices, *, as_json: bool) -> None:
    """What could not be delivered, as notes; and what the program said, for the run's log and nobody else."""
    from lawsker_db.record.log import log_line
    from lawsker_db.safety.shelf import BACKUP

    show: Callable[[Phrase], None] = _say_json if as_json else _say_note
    folder = Path(notices.folder)
    folder = folder.parent if folder.name == BACKUP else folder  # a backup holds its own files and no others
    logged = bool(notices.folder) and folder.is_dir()
    for line in notices.said if logged else ():
        log_line(folder, f"{notices.words[0]}: {line}")
    for problem in notices.problems:
        show(problem)
        if logged:
            log_line(folder, f"Note: {problem}")


def _say_note(problem: Phrase) -> None:
    say(Phrase("Note: {what}", what=problem))


def _say_json(problem: Phrase) -> None:
    from lawsker_db.evidence import Event, Phase
    from lawsker_db.record.journal import as_json

    say_json(as_json(asdict(Event(phase=Phase.REPORT, name="notice", text=problem))))


def _blockers(facts: Mapping[str, object]) -> list[dict[str, object]]:
    """Pure. The sessions in the way, by what tells whose they are: never what they ask the server, which may be values."""
    found = facts.get("blockers") or ([facts["blocker"]] if "blocker" in facts else [])
    listed = found if isinstance(found, list | tuple) else []
    return [{name: blocker.get(name) for name in SHOWN_OF_BLOCKER} for blocker in listed if isinstance(blocker, dict)]
