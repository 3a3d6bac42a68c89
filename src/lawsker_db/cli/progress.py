"""Events as a person sees them come: lines that stay, and below them what goes on now."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from lawsker_db.cli.interrupts import note
from lawsker_db.cli.render import printable, say, say_json

if TYPE_CHECKING:
    from lawsker_db.evidence import Event, OnEvent

SILENCE_S = 5.0  # without a terminal: after so long without a line, say what goes on


@contextmanager
def progress(*, as_json: bool) -> Iterator[OnEvent]:
    """Give what takes events, for the block: JSON lines, a terminal with a line that moves, or plain lines."""
    if as_json:
        yield _noting(_json_line)
    elif sys.stderr.isatty():
        with _on_terminal() as show:
            yield _noting(_spoken(show))
    else:
        with _plain_lines() as show:
            yield _noting(_spoken(show))


def _spoken(show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Leave out what has no words for people."""
    return lambda event: show(event) if event.text else None


def _noting(show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Note how far the run has come before showing it: an interrupt may come while it is shown."""

    def tell(event: Event) -> None:
        note(event)
        show(event)

    return tell


def _json_line(event: Event) -> None:
    from lawsker_db.record.journal import as_json

    if event.lasting:
        say_json(as_json(asdict(event)))


def _line(event: Event) -> str:
    return f"{event.at.astimezone():%H:%M:%S}  {event.phase.value:<10} {event.text}"


@contextmanager
def _on_terminal() -> Iterator[Callable[[Event], None]]:
    """Lasting events scroll; the last line shows the phase, what the server is asked, and the seconds since it was."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("")

        def show(event: Event) -> None:
            if event.lasting:
                bar.console.print(Text(printable(_line(event))))
            bar.reset(task, description=printable(f"{event.phase.value}: {event.text}"))

        yield show


@contextmanager
def _plain_lines() -> Iterator[Callable[[Event], None]]:
    """A timestamped line for each lasting event, and one for what goes on when nothing was said for a while."""
    last: list[Event] = []
    spoken = [time.monotonic()]
    ended = threading.Event()

    def show(event: Event) -> None:
        last[:] = [event]
        if event.lasting:
            say(_line(event))
            spoken[0] = time.monotonic()

    def break_silence() -> None:
        while not ended.wait(1.0):
            if last and time.monotonic() - spoken[0] >= SILENCE_S:
                now = f"{time.strftime('%H:%M:%S')}  {last[0].phase.value:<10} still at it: {last[0].text}"
                say(now)
                spoken[0] = time.monotonic()

    watcher = threading.Thread(target=break_silence, daemon=True)
    watcher.start()
    try:
        yield show
    finally:
        ended.set()
        watcher.join()
