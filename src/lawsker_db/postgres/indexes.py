"""What an index is, taken from the definition that the server prints of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = r'(?:"(?:[^"]|"")*"|[^"\s])+'
_HEAD = re.compile(rf"CREATE (UNIQUE )?INDEX {_NAME} ON (?:ONLY )?({_NAME}) USING (\w+) \(")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexShape:
    """One index. `keys` are its columns and expressions as printed: with operator class, collation and order where these
    are not the usual ones. `rest` is what stands behind them but for storage options: INCLUDE, NULLS NOT DISTINCT, WHERE.
    """

    unique: bool
    table: str
    method: str
    keys: tuple[str, ...]
    rest: str

    @property
    def work(self) -> tuple[object, ...]:
        """Pure. What it does for a look-up, unique or not: equal for two indexes of which one is too many."""
        return self.table, self.method, self.keys, self.rest

    def does_the_work_of(self, other: IndexShape) -> bool:
        """Pure. Whether this index finds whatever the other finds, and refuses what the other refuses."""
        if (self.table, self.method, self.rest) != (other.table, other.method, other.rest):
            return False
        if other.unique:
            return self.unique and self.keys == other.keys
        return self.keys[: len(other.keys)] == other.keys


def index_shape(definition: str) -> IndexShape | None:
    """Pure. The shape of an index by pg_get_indexdef(), None for what does not look like one."""
    head = _HEAD.match(definition)
    if head is None:
        return None
    keys, end = _keys(definition, head.end())
    rest = re.sub(r" WITH \([^)]*\)| TABLESPACE \S+", "", definition[end:])
    return IndexShape(unique=bool(head[1]), table=head[2], method=head[3], keys=tuple(keys), rest=rest.strip())


def _keys(definition: str, start: int) -> tuple[list[str], int]:
    """Pure. The list that begins at `start` and ends with its closing bracket: its items, and where it has ended."""
    keys: list[str] = []
    depth, begin = 0, start
    for place, char in _unquoted(definition, start):
        if char == ")" and depth == 0:
            return [*keys, definition[begin:place].strip()], place + 1
        if char == "," and depth == 0:
            keys.append(definition[begin:place].strip())
            begin = place + 1
        depth += (char in "([") - (char in ")]")
    return keys, len(definition)


def _unquoted(definition: str, start: int) -> Iterator[tuple[int, str]]:
    """Pure. The characters that stand in no quotes, with their places. (A doubled quote closes and opens again.)"""
    quote = ""
    for place in range(start, len(definition)):
        char = definition[place]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            yield place, char
