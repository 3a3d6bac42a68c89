"""Signals. While work is under way they stop it; once it is settled they end the program with its exit code."""

from __future__ import annotations

import os
import signal
import types
from contextlib import suppress
from typing import TYPE_CHECKING

from lawsker_db.phrases import Phrase, said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lawsker_db.errors import LawskerError
    from lawsker_db.evidence import Event

INTERRUPTING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_told: set[str] = set()  # names of the events that a run has sent: what is known when an interrupt comes bare


def treat_as_interrupt(*numbers: signal.Signals) -> None:
    """Have these signals cancel, roll back and clean up as Ctrl-C does, unless nohup has them ignored."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def settle(code: int = 0) -> None:
    """What was to be done is done: from here an interrupt cuts the telling short and the exit code stays `code`."""

    def leave(_number: int, _frame: types.FrameType | None) -> None:
        with suppress(OSError):
            words = Phrase("Interrupted while the result was told; the exit code tells it: {code}", code=code)
            os.write(2, f"{said(words)}\n".encode())
        raise SystemExit(code)

    for number in INTERRUPTING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)


def note(event: Event) -> None:
    """Remember how far a run has come, for an interrupt that nobody turns into an error with a state.

    Of its COMMIT alone: a rehearsal says the same words of the copy.
    """
    if event.phase == "commit":
        _told.add(event.name)


def as_error(interrupt: BaseException) -> LawskerError:
    """An interrupt that came through bare, as the error that says what it left behind.

    It may have come while an error was on its way that says that it is committed, or may be, or was rolled back: then that
    one counts.
    """
    from lawsker_db.errors import UNTOUCHED, ChangedOutside, CommittedUnproven, Interrupted, OutcomeUnknown, RolledBack

    errors = tuple(_behind(interrupt))
    for error in errors:
        if isinstance(error, (CommittedUnproven, OutcomeUnknown)):
            return error
    if "committed" in _told:
        state = CommittedUnproven.default_state
        return Interrupted(Phrase("Interrupted after COMMIT."), hint="lawsker-db verify", state=state)
    if errors and isinstance(errors[0], (RolledBack, ChangedOutside)):  # further behind it may be one of a rehearsal
        return errors[0]
    if "about to commit" in _told:
        return Interrupted(Phrase("Interrupted."), hint="lawsker-db recover", state=OutcomeUnknown.default_state)
    return Interrupted(
        Phrase("Interrupted by the operator."), hint=Phrase("type the same command again"), state=UNTOUCHED
    )


def _behind(interrupt: BaseException) -> Iterator[LawskerError]:
    """Pure. The errors of ours that were on their way when it came, the last one first."""
    from lawsker_db.errors import LawskerError

    behind = interrupt.__context__
    while behind is not None:
        if isinstance(behind, LawskerError):
            yield behind
        behind = behind.__context__


def _stop(_number: int, _frame: types.FrameType | None) -> None:
    """SIGTERM and SIGHUP are treated as Ctrl-C: cancel the statement, roll back, clean up."""
    raise KeyboardInterrupt
