"""Text as it may be shown: with nothing in it that does not show as itself, and escaped where it is for a page. Pure."""

from __future__ import annotations

import unicodedata
from html import escape

# Unicode's general categories of what does not show as itself: controls, formats (bidi marks are such), lone surrogates,
# private use and unassigned signs, and the separators that end a line or paragraph.
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
WIDE = ("W", "F")  # East Asian signs that take the room of two Latin ones (Unicode Standard Annex 11)


def visible(text: str) -> str:
    """Pure. Text in which what does not show as itself is an escape that does: for pages, terminals and logs.

    Names come out of databases: an escape sequence in one would repaint the screen, a bidi mark turn the sentence around
    it, a newline forge a line of ours.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in UNSEEN else char for char in text
    )


def markup(text: str) -> str:
    """Pure. Text as element content or as a quoted attribute takes it."""
    return escape(visible(text), quote=True)


def shortened(text: str, room: int) -> str:
    """Pure. Text that takes no more room than so many Latin letters, the middle left out: names differ at their ends."""
    seen = visible(text)
    if width(seen) <= room:
        return seen
    head, tail = seen, ""
    while head and width(head) > (room - 1) // 2:
        head = head[:-1]
    for char in reversed(seen):
        if width(char + tail) > room - 1 - width(head):
            break
        tail = char + tail
    return f"{head}…{tail}"


def fitted(text: str, letters: int, pixels: int) -> tuple[str, str]:
    """Pure. Text for an SVG, shortened to so many letters, after the attribute that holds what was shortened within so many
    pixels: letters differ in width, and names can be made of the widest."""
    short = shortened(text, letters)
    cut = short != visible(text)
    return f' textLength="{pixels}" lengthAdjust="spacingAndGlyphs"' if cut else "", markup(short)


def width(text: str) -> int:
    """Pure. How much room a text takes, in Latin letters."""
    return sum(2 if unicodedata.east_asian_width(char) in WIDE else 1 for char in text)
