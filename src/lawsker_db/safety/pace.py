"""The phases of a procedure in their order, and how long each is expected to take where anything is known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from lawsker_db.evidence import Event, OnEvent, Phase, Timing
from lawsker_db.phrases import Phrase


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What lies before a run. `expected_s` and `expected_bytes` have the phases of which something is known, and no others:
    an estimate that stands on nothing is none."""

    phases: tuple[Phase, ...] = ()
    expected_s: Mapping[Phase, float] = field(default_factory=dict)
    expected_bytes: Mapping[Phase, int] = field(default_factory=dict)

    def knowing(self, phase: Phase, *, lasts_s: float | None = None, has_bytes: int | None = None) -> Pace:
        """Pure. The same pace, with what has become known of a phase meanwhile."""
        seconds = {} if lasts_s is None else {phase: lasts_s}
        size = {} if has_bytes is None else {phase: has_bytes}
        return replace(self, expected_s={**self.expected_s, **seconds}, expected_bytes={**self.expected_bytes, **size})

    def facts(self, phase: Phase, ended: tuple[Phase, ...]) -> dict[str, object]:
        """Pure. Where a phase stands in the procedure, for the events of its begin and end; `ended` are those before it.

        A phase that comes twice has two numbers; one that is begun again keeps its own. `left_s` is for this phase and all
        that follow, None when one of them is unknown.
        """
        places = [place for place, listed in enumerate(self.phases) if listed is phase]
        if not places:
            return {"estimate_s": self.expected_s.get(phase)}
        place = places[min(ended.count(phase), len(places) - 1)]
        ahead = [self.expected_s.get(later) for later in self.phases[place:]]
        known = [seconds for seconds in ahead if seconds is not None]
        return {
            "number": place + 1,
            "of": len(self.phases),
            "estimate_s": self.expected_s.get(phase),
            "left_s": round(sum(known), 3) if len(known) == len(ahead) else None,
            "expected_bytes": self.expected_bytes.get(phase),
        }


class Timed(Protocol):
    """Whatever keeps the pace of its phases, and how long they took."""

    @property
    def pace(self) -> Pace:
        """The phases that lie before it."""

    @property
    def timings(self) -> list[Timing]:
        """The phases that have ended, in their order."""


@dataclass(slots=True, kw_only=True)
class Errand:
    """The times of what is no run and writes no report. `told` is what was said before there was a journal for it."""

    pace: Pace
    timings: list[Timing] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)


@contextmanager
def timed(account: Timed, phase: Phase, tell: OnEvent, words: str) -> Iterator[None]:
    """Announce a phase, note how long it took when it ends, well or not, and say so when it ended well."""
    place = account.pace.facts(phase, tuple(timing.phase for timing in account.timings))
    tell(Event(phase=phase, name="begin", text=words, facts=place))
    began, started_at = time.monotonic(), datetime.now(UTC)
    try:
        yield
    finally:
        duration_s = round(time.monotonic() - began, 3)
        account.timings.append(Timing(phase=phase, started_at=started_at, duration_s=duration_s))
    took = Phrase("done in {duration_s:.1f} s", duration_s=duration_s)
    tell(Event(phase=phase, name="end", text=took, facts={**place, "duration_s": duration_s}))


@contextmanager
def looking(looked: Errand, on_event: OnEvent, words: str) -> Iterator[None]:
    """The first phase of a procedure, its preflight: there is no journal yet, so what is said is remembered for it."""

    def tell(event: Event) -> None:
        looked.told.append(event)
        on_event(event)

    with timed(looked, Phase.PREFLIGHT, tell, words):
        yield
