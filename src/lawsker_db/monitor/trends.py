"""What the looks of a watch had to show over time, in bounded room: for sparklines and charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from lawsker_db.monitor.figures import KINDS
from lawsker_db.monitor.watching import Look, figures_of

POINTS = 720  # at an interval of 2 s the last 24 minutes look by look; a chart of 700 pixels shows no more
GAPS = 200  # the newest: a server that flaps for weeks shall not fill the memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One look, or several in a row: times are aware UTC, `figures` by the names of `watching.figures_of`, without those
    that were not seen. Not `reachable`: in one of them at least the database was away, and there are no figures."""

    first_at: datetime
    last_at: datetime
    looks: int
    reachable: bool
    figures: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time for which the database did not answer, and what it said first; not `over`: it still does not."""

    first_at: datetime
    last_at: datetime
    over: bool
    why: str


@dataclass(slots=True, kw_only=True)
class Trends:
    """Points and gaps of a watch, oldest first, and since when each problem that is open has been one.

    A point begins as one look. When there are too many of them two become one, and from then on a point takes twice as many
    looks: so the whole time is kept, and the room stays what it was.
    """

    points: list[Point] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    open_since: dict[tuple[str, str], datetime] = field(default_factory=dict)
    looks_a_point: int = 1

    def note(self, seen: Look) -> None:
        """Take one look in."""
        sample = seen.sample
        point = Point(
            first_at=sample.at,
            last_at=sample.at,
            looks=1,
            reachable=sample.reachable,
            figures=dict(figures_of(seen)) if sample.reachable else {},
        )
        if self.points and self.points[-1].looks < self.looks_a_point:
            self.points[-1] = merged(self.points[-1], point)
        else:
            self.points.append(point)
        if len(self.points) > POINTS:
            pairs = [self.points[number : number + 2] for number in range(0, len(self.points), 2)]
            self.points[:] = [merged(*pair) if len(pair) > 1 else pair[0] for pair in pairs]
            self.looks_a_point *= 2
        self._note_gap(seen)
        self._note_problems(seen)

    def _note_gap(self, seen: Look) -> None:
        sample = seen.sample
        going_on = bool(self.gaps) and not self.gaps[-1].over
        if going_on:
            self.gaps[-1] = replace(self.gaps[-1], last_at=sample.at, over=sample.reachable)
        elif not sample.reachable:
            since = sample.at - timedelta(seconds=sample.away_s or 0.0)
            self.gaps.append(Gap(first_at=since, last_at=sample.at, over=False, why=sample.why))
            del self.gaps[:-GAPS]

    def _note_problems(self, seen: Look) -> None:
        """Those that go on keep their beginning. While the database is away nobody knows of the others."""
        found = {(one.code, one.subject) for one in seen.problems}
        if seen.sample.reachable:
            self.open_since = {key: at for key, at in self.open_since.items() if key in found}
        for key in found:
            self.open_since.setdefault(key, seen.sample.at)

    def newest(self, name: str, count: int) -> tuple[float | None, ...]:
        """The last values of a figure, oldest first; None where the database was away or the figure was not seen."""
        return tuple(point.figures.get(name) for point in self.points[-count:])


def merged(first: Point, second: Point) -> Point:
    """Pure. Two points in a row as one. A time in which the database was away is not hidden by one in which it was there."""
    reachable = first.reachable and second.reachable
    names = dict.fromkeys((*first.figures, *second.figures)) if reachable else ()
    return Point(
        first_at=first.first_at,
        last_at=second.last_at,
        looks=first.looks + second.looks,
        reachable=reachable,
        figures={name: _together(name, first, second) for name in names},
    )


def _together(name: str, first: Point, second: Point) -> float:
    values: Sequence[float] = [point.figures[name] for point in (first, second) if name in point.figures]
    return KINDS[name].merged(values)
