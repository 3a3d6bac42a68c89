"""Lines of so many cells of a screen, where a Chinese character takes two: folded, cut, filled up, drawn as trends."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len, chop_cells, set_cell_size

from lawsker_db.phrases import said
from lawsker_db.record.markup import visible

# What stays together on a line: a word with the blanks before it; Chinese breaks between any two characters, but never
# before a mark that closes.
PIECE = re.compile(r"\s*(?:[㐀-鿿（“《][，。；：、！？）”》]*|[^\s㐀-鿿（“《]+)")
LEVELS, ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.-:=+*#"
GAP, ASCII_GAP = "·", " "
FULL, EMPTY, ASCII_FULL, ASCII_EMPTY = "━", "╌", "#", "-"
ELLIPSIS, ASCII_ELLIPSIS = "…", "~"


def spoken(text: str) -> str:
    """Pure but for the language. A text in the language of this process, with nothing in it that repaints the screen."""
    return visible(said(text))


def folded(text: str, width: int, *, hang: int = 0) -> list[str]:
    """Pure. A text in lines of at most so many cells, those behind the first one indented; a word that is longer than a line
    is broken."""
    hang = hang if width > 2 * hang else 0
    lines: list[str] = []
    line = ""
    for piece in PIECE.findall(text):
        added = piece if line else piece.lstrip()
        if cell_len(line + added) <= width - (hang if lines else 0):
            line += added
            continue
        lines += [line] if line else []
        *whole, line = chop_cells(piece.strip(), max(width - hang, 1)) or [""]
        lines += whole
    lines.append(line)
    return [lines[0], *(" " * hang + rest for rest in lines[1:])]


def cut(text: str, width: int, *, ascii_only: bool = False) -> str:
    """Pure. A text in at most so many cells; what is left out is marked."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)) + (ASCII_ELLIPSIS if ascii_only else ELLIPSIS) * (width > 0)


def filled(text: str, width: int) -> str:
    """Pure. A text filled up with blanks to so many cells, or cut there."""
    return set_cell_size(text, max(width, 0))


def sparkline(values: Sequence[float | None], *, low: float, ascii_only: bool) -> str:
    """Pure. A trend, a cell each, from `low`, or less, to the most; what was not seen is a gap."""
    levels, gap = (ASCII_LEVELS, ASCII_GAP) if ascii_only else (LEVELS, GAP)
    known = [value for value in values if value is not None]
    if not known:
        return ""
    least = min(low, *known)
    room = max(known) - least
    top = len(levels) - 1
    return "".join(
        gap if value is None else levels[round((value - least) / room * top) if room else 0] for value in values
    )


def bar(share: float, width: int, *, ascii_only: bool) -> str:
    """Pure. A bar of so many cells of which a share is done."""
    full, empty = (ASCII_FULL, ASCII_EMPTY) if ascii_only else (FULL, EMPTY)
    done = round(min(max(share, 0.0), 1.0) * width)
    return full * done + empty * (width - done)
