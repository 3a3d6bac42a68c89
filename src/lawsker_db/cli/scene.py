"""What goes on in a run at a moment, by the events so far: numbers, times, fractions, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from lawsker_db.cli.render import PHASE_CELLS, padded
from lawsker_db.phrases import Phrase, joined, said

if TYPE_CHECKING:
    from lawsker_db.evidence import Event

BAR_CELLS = 16
ALMOST = 0.99  # what is still at work is not done, whatever its estimate says


@dataclass(slots=True, kw_only=True)
class Scene:
    """A run as it stands. Times are of a monotonic clock. `left_s` and `estimate_s` are None where nothing is known;
    `lines` are those that stay."""

    began: float
    phase_began: float
    last: Event | None = None
    lines: int = 0
    number: int = 0
    of: int = 0
    number_cells: int = 0
    estimate_s: float | None = None
    left_s: float | None = None
    expected_bytes: int | None = None
    fraction: float | None = None
    count: str = ""
    over: bool = False

    def hear(self, event: Event, now: float) -> None:
        """Take an event in. Only the beginning of a phase moves the numbers: others happen within it."""
        facts: dict[str, Any] = dict(event.facts)
        if event.name == "begin":
            self.phase_began, self.fraction, self.count, self.over = now, None, "", False
            self.number, self.of = facts.get("number") or 0, facts.get("of") or 0
            if self.of:  # kept for the lines between and after numbered phases, which stand below theirs
                self.number_cells = len(f"[{self.of}/{self.of}] ")
            self.estimate_s, self.left_s = facts.get("estimate_s"), facts.get("left_s")
            self.expected_bytes = facts.get("expected_bytes")
        elif event.name == "end":
            self.over, self.fraction, self.count = True, None, ""
        elif not event.lasting:
            self._count(facts)
        if event.text:
            self.last = event
            self.lines += event.lasting

    def _count(self, facts: dict[str, Any]) -> None:
        """How much of it is done, where that can be counted. What counts nothing leaves the last count standing."""
        whole = facts.get("of") or 0
        if "bytes" in facts:
            done, whole = facts["bytes"], self.expected_bytes or 0
            self.count = Phrase("{done:.0f} of about {whole:.0f} MB", done=done / 1e6, whole=whole / 1e6)
        elif "tables" in facts:
            done = facts["tables"]
            self.count = Phrase("{done} of {whole} tables", done=done, whole=whole)
        elif "statements" in facts:
            done = facts["statements"]
            self.count = Phrase("{done} of {whole} statements", done=done, whole=whole)
        else:
            return
        self.fraction = min(done / whole, ALMOST) if whole else None
        self.count = self.count if whole else ""


def lasting_line(scene: Scene, event: Event) -> Phrase:
    """Pure but for the language. What a person keeps of an event: its time, where the run stands, what happened."""
    text = event.text
    if event.name == "begin" and scene.estimate_s is not None:
        text = Phrase("{text} (estimate: {time})", text=text, time=time_text(scene.estimate_s))
    if scene.lines == 1:  # once, on the first
        text = Phrase("{text} (times are UTC)", text=text)
    return line_of(scene, event, text)


def line_of(scene: Scene, event: Event, text: str, *, at: str = "") -> Phrase:
    """Pure but for the language. A text behind the time, the number of the phase, or blanks instead, and its name."""
    between = scene.over and event.name != "end"
    number = (f"[{scene.number}/{scene.of}] " if scene.of and not between else "").ljust(scene.number_cells)
    phase = padded(said(Phrase(event.phase.value)), PHASE_CELLS)
    return Phrase("{at}  {number}{phase} {text}", at=at or _at(event), number=number, phase=phase, text=text)


def still_line(scene: Scene, event: Event, now: float, at: str) -> Phrase:
    """Pure but for the language. What goes on when nothing was said for a while."""
    counted = [scene.count] if scene.count else []
    text = Phrase("still at it: {text} ({times})", text=event.text, times=joined([*counted, *times(scene, now)]))
    return line_of(scene, event, text, at=at)


def times(scene: Scene, now: float) -> tuple[Phrase, ...]:
    """Pure. How long this phase and the whole have taken, and how much longer they may: an estimate is called one."""
    spent, whole = now - scene.phase_began, now - scene.began
    found = [Phrase("{time} so far", time=time_text(spent))]
    if scene.estimate_s is not None:
        left = scene.estimate_s - spent
        if left > 0:
            found.append(Phrase("estimate: {time} left", time=time_text(left)))
        else:
            found.append(Phrase("longer than the estimate of {time}", time=time_text(scene.estimate_s)))
    if whole - spent >= 1:
        found.append(Phrase("{time} since the start", time=time_text(whole)))
    if scene.left_s is not None and scene.estimate_s is not None and scene.left_s > scene.estimate_s:
        left = max(scene.left_s - spent, scene.left_s - scene.estimate_s)
        found.append(Phrase("estimate: {time} to the end", time=time_text(left)))
    return tuple(found)


def time_text(seconds: float) -> Phrase:
    """Pure. A duration as one reads it: 3.2 s, 48 s, 2:05 min, 1:04 h."""
    if seconds < 9.95:
        return Phrase("{seconds:.1f} s", seconds=seconds)
    if seconds < 59.5:
        return Phrase("{seconds:.0f} s", seconds=seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return Phrase("{minutes}:{rest:02d} min", minutes=minutes, rest=rest)
    return Phrase("{hours}:{rest:02d} h", hours=minutes // 60, rest=minutes % 60)


def bar_text(fraction: float, *, ascii_only: bool) -> str:
    """Pure. A bar, and the share in numbers."""
    full, empty = ("#", "-") if ascii_only else ("━", "╌")
    done = round(fraction * BAR_CELLS)
    return f"{full * done}{empty * (BAR_CELLS - done)} {fraction * 100:.0f} %"


def _at(event: Event) -> str:
    return f"{event.at.astimezone(UTC):%H:%M:%S}"
