"""Crash points in words: what strikes, when, at which message of which connection."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Moment(StrEnum):
    """When a message is struck."""

    BEFORE = "before"  # it does not reach the server; after a signal, a moment later
    SENT = "sent"  # the server has it, and nobody waits for the answer
    ANSWERED = "answered"  # the whole answer has come and is not passed on
    PASSED = "passed"  # the answer was passed on


class Fault(StrEnum):
    """What strikes."""

    KILL = "kill"
    TERM = "term"
    INT = "int"
    GROUP = "ctrl-c"  # SIGINT to the tool and its children, as a terminal sends it
    RESET = "reset"
    CUT = "cut"  # every connection is reset; new ones are taken
    DOWN = "down"  # every connection is reset, and nobody is let in any more
    DROP = "drop"  # nothing of this connection is passed on any more, and it stays open
    SILENCE = "silence"  # the same of every connection, new ones too


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """Where and when what strikes."""

    label: str
    ordinal: int
    moment: Moment
    fault: Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One message of a client: whose, which, of what kind, and how it begins."""

    label: str
    ordinal: int
    kind: str
    text: str = ""
