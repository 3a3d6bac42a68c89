"""The live view on a terminal: a screen of its own, drawn anew as often as a clock needs, and given back at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from lawsker_db.cli.monitor_screen import View, screen
from lawsker_db.cli.render import coloured
from lawsker_db.monitor.watching import Look

FRAMES_PER_S = 4  # how soon a window that was resized is filled; the clock needs one


@contextmanager
def live(view: View) -> Iterator[Callable[[Look], None]]:
    """Give what takes looks, for the block. What stood on the terminal is there again after it."""
    console = Console(file=sys.stdout, highlight=False, markup=False, no_color=not coloured(sys.stdout))
    ascii_only = not console.encoding.startswith("utf")

    def draw() -> object:
        width, height = console.size
        moments = {"now": datetime.now(UTC), "monotonic": time.monotonic()}
        text = screen(view, width=width, height=height, ascii_only=ascii_only, **moments)  # type: ignore[arg-type]
        text.no_wrap, text.overflow = True, "crop"
        return text

    shown = Live(
        console=console,
        screen=True,
        refresh_per_second=FRAMES_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
        get_renderable=draw,  # type: ignore[arg-type]
        vertical_overflow="crop",
    )

    def show(look: Look) -> None:
        view.hear(look, time.monotonic())
        shown.refresh()

    with shown:
        yield show
