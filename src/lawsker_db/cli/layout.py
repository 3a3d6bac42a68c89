"""Text in lines of so many columns, where a Chinese character takes two."""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

# What stays together: a blank, or a Chinese character or a word of others, with the marks that open and close around it.
PIECE = re.compile(r"\s+|[（“《]*(?:[㐀-鿿]|[^\s㐀-鿿（“《，。；：、！？）”》]+)[，。；：、！？）”》]*|.", re.DOTALL)


def columns(text: str) -> int:
    """Pure. How many columns of a terminal a text takes."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def in_lines(text: str, width: int) -> list[str]:
    """Pure. A paragraph in lines of at most so many columns, unless a single word has more."""
    lines = [""]
    for piece in PIECE.findall(text):
        space = piece.isspace()
        if not space and lines[-1] and columns(lines[-1] + piece) > width:
            lines.append("")
        if not space or lines[-1]:
            lines[-1] += " " if space else piece
    return [line.rstrip() for line in lines]
