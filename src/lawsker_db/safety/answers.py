"""What a contract's query answers, in words: its own, as they stand in its SQL, with what it puts between them.

An answer is text, which the server has put together. The words are found again by the query itself, so that a face can
say them in another language; scripts/messages.py gathers them for the catalogue by the same look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from lawsker_db.phrases import Phrase

MISSING = "missing"  # the one answer of a single word; every other such text is a name or a value
LITERAL = r"'[^']*'"
OPERAND = rf"(?:{LITERAL}|[\w.]+(?:\((?:[^()']|{LITERAL})*\))?(?:::\w+)?)"
JOINED = re.compile(rf"{OPERAND}(?:\s*\|\|\s*{OPERAND})*")
SENTENCE = re.compile(r"[a-z][\w:,-]*(?: [\w:,-]+)+")
FIELD = re.compile(r"\{v\d+\}")


def answered(query: str, found: str) -> str:
    """Pure. An answer of this query as a phrase, if it is made of the query's words; else as it is."""
    for template in templates(query):
        fits = _pattern(template).fullmatch(found)
        if fits:
            return Phrase(template, **{name: answered(query, value) for name, value in fits.groupdict().items()})
    return found


@cache
def templates(query: str) -> tuple[str, ...]:
    """Pure. The sentences that a query can answer, those with nothing between their words first."""
    return tuple(sorted(set(_sentences(re.sub(r"--.*", "", query))), key=lambda told: (told.count("{"), told)))


def _sentences(sql: str) -> Iterator[str]:
    """Pure. Each text of its own that is a sentence, and each that is joined from texts and values."""
    for found in JOINED.findall(sql):
        parts = re.findall(OPERAND, found)
        texts = [part[1:-1] for part in parts if part.startswith("'")]
        if len(parts) > 1 and any(map(str.strip, texts)) and not any("{" in text or "}" in text for text in texts):
            yield "".join(part[1:-1] if part[0] == "'" else f"{{v{at}}}" for at, part in enumerate(parts, 1))
        elif found.startswith("'") and (SENTENCE.fullmatch(found[1:-1]) or found[1:-1] == MISSING):
            yield found[1:-1]
        elif "(" in found:
            yield from _sentences(found.partition("(")[2])


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """Pure."""
    words = iter(FIELD.split(template))
    names = (f"(?P<{field[1:-1]}>.+)" for field in FIELD.findall(template))
    told = re.escape(next(words)) + "".join(name + re.escape(word) for name, word in zip(names, words, strict=True))
    return re.compile(told, re.DOTALL)
