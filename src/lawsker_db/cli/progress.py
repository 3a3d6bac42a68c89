"""Events as a person sees them come: lines that stay, and on a terminal, below them, what goes on now."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from lawsker_db.cli.interrupts import note
from lawsker_db.cli.render import coloured, say, say_json
from lawsker_db.cli.scene import Scene, bar_text, lasting_line, still_line, times
from lawsker_db.phrases import Phrase, joined, said
from lawsker_db.record.markup import visible

if TYPE_CHECKING:
    from rich.text import Text

    from lawsker_db.evidence import Event, OnEvent

# Without a terminal: after so long without a line, say what goes on; later less often, or a log of a long night is nothing
# but this.
SILENCE_S, SILENCE_SHARE, LONGEST_SILENCE_S = 5.0, 0.1, 60.0
FRAMES_PER_S = 8
BRAILLE, ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_asking = threading.Event()  # set while a question stands on the terminal: then nothing else is written there
_at_rest: list[Callable[[], None]] = []  # how the live area goes, for a question, and how it comes back
_at_work: list[Callable[[], None]] = []


@contextmanager
def progress(*, as_json: bool) -> Iterator[OnEvent]:
    """Give what takes events, for the block: JSON lines, a terminal with an area that lives, or plain lines."""
    if as_json:
        yield _noting(_json_line)
    elif sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        with _on_terminal() as show:
            yield _noting(show)
    else:
        with _plain_lines() as show:
            yield _noting(show)


@contextmanager
def question() -> Iterator[None]:
    """Keep the terminal still for the block, in which somebody is asked."""
    _asking.set()
    for rest in _at_rest:
        rest()
    try:
        yield
    finally:
        _asking.clear()
        for work in _at_work:
            work()


def _noting(show: Callable[[Event], None]) -> Callable[[Event], None]:
    """Note how far the run has come before showing it: an interrupt may come while it is shown."""
    broken: list[str] = []

    def tell(event: Event) -> None:
        note(event)
        bug = _shown(show, event)
        if bug and not broken:
            say(Phrase("Note: the display is broken ({kind}); the run goes on.", kind=bug))
            broken.append(bug)

    return tell


def _shown(show: Callable[[Event], None], event: Event) -> str:
    """Show an event. Returns the kind of what broke in the display, empty when nothing did: a run would else end by it,
    perhaps behind its locks."""
    try:
        show(event)
    except Exception as bug:  # noqa: BLE001
        return type(bug).__name__
    return ""


def _json_line(event: Event) -> None:
    from lawsker_db.record.journal import as_json

    if event.lasting:
        say_json(as_json(asdict(event)))


@contextmanager
def _on_terminal() -> Iterator[Callable[[Event], None]]:
    """Lasting events scroll; below them the phase, how far it is, what the server is asked, and the times."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True, highlight=False, no_color=not coloured(sys.stderr))
    scene = Scene(began=time.monotonic(), phase_began=time.monotonic())
    live = Live(
        console=console,
        transient=True,
        refresh_per_second=FRAMES_PER_S,
        get_renderable=lambda: _live_area(scene, ascii_only=not console.encoding.startswith("utf")),
    )

    def show(event: Event) -> None:
        scene.hear(event, time.monotonic())
        if event.lasting and event.text:
            # As long as it is: the terminal wraps it, and what is copied from it is whole.
            console.print(Text(visible(said(lasting_line(scene, event)))), soft_wrap=True)

    _at_rest[:], _at_work[:] = [live.stop], [live.start]
    with live:
        try:
            yield show
        finally:
            _at_rest.clear()
            _at_work.clear()


def _live_area(scene: Scene, *, ascii_only: bool) -> Text:
    """What goes on at this moment, in a line or two; more where the terminal is narrow, and never cut."""
    from rich.text import Text

    if scene.last is None:
        return Text("")
    now = time.monotonic()
    frames = ASCII if ascii_only else BRAILLE
    parts = [frames[int(now * FRAMES_PER_S) % len(frames)]]
    if scene.of and not scene.over:
        parts.append(f"[{scene.number}/{scene.of}]")
    parts.append(said(Phrase(scene.last.phase.value)))
    if scene.fraction is not None:
        parts += [bar_text(scene.fraction, ascii_only=ascii_only), said(scene.count)]
    words = Phrase("{head}  {times}", head=" ".join(parts), times=joined(times(scene, now)))
    return Text(f"{visible(said(words))}\n  {visible(said(scene.last.text))}", overflow="fold")


@contextmanager
def _plain_lines() -> Iterator[Callable[[Event], None]]:
    """A timestamped line for each lasting event, and one for what goes on when nothing was said for a while."""
    scene = Scene(began=time.monotonic(), phase_began=time.monotonic())
    spoken = [time.monotonic()]
    ended = threading.Event()

    def show(event: Event) -> None:
        scene.hear(event, time.monotonic())
        if event.lasting and event.text:
            say(lasting_line(scene, event))
            spoken[0] = time.monotonic()

    def break_silence() -> None:
        while not ended.wait(1.0):
            now, last = time.monotonic(), scene.last
            patience_s = min(max(SILENCE_S, SILENCE_SHARE * (now - scene.phase_began)), LONGEST_SILENCE_S)
            if last is not None and now - spoken[0] >= patience_s and not _asking.is_set():
                say(still_line(scene, last, now, time.strftime("%H:%M:%S", time.gmtime())))
                spoken[0] = now

    watcher = threading.Thread(target=break_silence, daemon=True)
    watcher.start()
    try:
        yield show
    finally:
        ended.set()
        watcher.join()
