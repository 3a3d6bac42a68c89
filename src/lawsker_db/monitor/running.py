"""The run that goes on, or has ended without a word, as its folder tells it. Asks no server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run below the folder of the runs, by its journal.

    `alive`: its process lives (it holds the lock on its journal). `told`: it has said how it ended, or `recover` has.
    `phase` and `doing` are those of the last event that was journalled, `since` when the phase began, `heard_at` when the
    last event was written (aware UTC). `step` of `steps`, where the run numbers its phases. `estimate_s`: how long the
    phase is expected to take, in seconds; `left_s`: what is left of it. `bytes_done` of `bytes_total`. None, or empty,
    is what the journal does not say.
    """

    run_id: str
    folder: str
    alive: bool
    told: bool
    here: bool | None
    phase: str
    doing: str
    since: datetime | None
    heard_at: datetime | None
    step: int | None = None
    steps: int | None = None
    estimate_s: float | None = None
    left_s: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
