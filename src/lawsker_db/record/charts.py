"""Charts as inline SVG, for pages without scripts and network. Pure: numbers in, markup out.

Everything horizontal is in percent and every letter in pixels, so that a chart fills whatever width it is given, a desk's
or a phone's, and its words keep their size. Colours are classes: `page.css` gives them, by day and by night. No colour
tells anything alone; each chart has a name and a description for those who hear it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lawsker_db.record.markup import fitted, markup, shortened

PLAIN, SECOND, GOOD, WARN, BAD = "plain", "second", "good", "warn", "bad"  # what a mark means: its class
ROW, TRACK = 38, 10  # a row's height in pixels, its bar's
PLOT = 1000  # units across the inner plane of a line chart, which is stretched to its place
# Latin letters that fit before the value, and below a row, on a phone of 360 pixels, and the pixels that they may take.
LABEL_ROOM, LABEL_PIXELS = 34, 236
BELOW_ROOM, BELOW_PIXELS = 54, 312
SMALLEST = 0.4  # percent of the width: what took next to nothing must still be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that lasted: from `start` for `length`, both in the unit of the axis. `value` stands at its right end.
    `other` is a length to compare it with, such as what was foretold; None where there is none."""

    label: str
    start: float
    length: float
    value: str
    tone: str = PLAIN
    other: float | None = None
    other_value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on the horizontal axis, and what stands there."""

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """An amount, and beside it another one to compare it with, such as what was foretold. None: not known."""

    label: str
    amount: float | None
    value: str
    other: float | None = None
    other_value: str = ""
    tone: str = PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of measurements at `places` of the axis; None where there was none, and the line is broken there."""

    label: str
    places: Sequence[float]
    amounts: Sequence[float | None]
    tone: str = PLAIN


def timeline(spans: Sequence[Span], *, whole: float, ticks: Sequence[Tick], title: str, description: str) -> str:
    """Pure. What lasted how long and when, one row each, over an axis from 0 to `whole`."""
    drawn, top = "", 0
    for span in spans:
        drawn += _span(span, whole, top)
        top += _height(span)
    return _figure(f"{_axis(ticks, whole, top + 22)}{drawn}", top + 22, title, description)


def bars(rows: Sequence[Bar], *, title: str, description: str) -> str:
    """Pure. Amounts on one scale, one row each; where there is another amount, a thinner bar of it below."""
    largest = max((amount for row in rows for amount in (row.amount, row.other) if amount), default=0.0)
    drawn, top = "", 0
    for row in rows:
        drawn += _bar(row, largest, top)
        top += _height(row)
    return _figure(drawn, top, title, description)


def line_chart(
    lines: Sequence[Line],
    *,
    whole: float,
    ticks: Sequence[Tick],
    low: Tick,
    high: Tick,
    title: str,
    description: str,
    height: int = 120,
) -> str:
    """Pure. Lines over an axis from 0 to `whole`, between `low` and `high` of the vertical one, which are labelled.

    With several lines a legend stands above; they differ by dashes as well as by colour.
    """
    legend = _legend(lines) if len(lines) > 1 else ""
    top = 20 if legend else 0
    ranged = high.at - low.at or 1.0
    drawn = "".join(_line(line, number, whole or 1.0, low.at, ranged) for number, line in enumerate(lines))
    plane = (
        f'<svg x="0" y="{top + 16}" width="100%" height="{height}" viewBox="0 0 {PLOT} 100"'
        f' preserveAspectRatio="none" overflow="visible">{drawn}</svg>'
    )
    words = (
        f'<text class="soft" x="0" y="{top + 11}">{markup(high.label)}</text>'
        f'<text class="soft" x="0" y="{top + height + 30}">{markup(low.label)}</text>'
    )
    total = top + height + 56
    return _figure(
        f"{legend}{_axis(ticks, whole, total, top=top + 16, foot=38)}{plane}{words}", total, title, description
    )


def sparkline(amounts: Sequence[float | None], *, title: str, tone: str = PLAIN, height: int = 24) -> str:
    """Pure. A trend in the line of a text, scaled to its own least and most; None breaks the line."""
    known = [amount for amount in amounts if amount is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    line = Line(label="", places=range(len(amounts)), amounts=amounts, tone=tone)
    drawn = _line(line, 0, max(len(amounts) - 1, 1), low, (high - low) or 1.0)
    return (
        f'<svg class="chart spark" role="img" aria-label="{markup(title)}" width="120" height="{height}"'
        f' viewBox="0 -8 {PLOT} 116" preserveAspectRatio="none"><title>{markup(title)}</title>{drawn}</svg>'
    )


def even_ticks(whole: float, labels: Sequence[str]) -> tuple[Tick, ...]:
    """Pure. The labels at even distances from 0 to `whole`."""
    last = max(len(labels) - 1, 1)
    return tuple(Tick(at=whole * number / last, label=label) for number, label in enumerate(labels))


def _figure(drawn: str, height: int, title: str, description: str) -> str:
    """Pure. The outermost element, with its name and description."""
    return (
        f'<svg class="chart" role="img" aria-label="{markup(title)}" width="100%" height="{height}">'
        f"<title>{markup(title)}</title><desc>{markup(description)}</desc>{drawn}</svg>"
    )


def _height(row: Span | Bar) -> int:
    """Pure. How much room a row takes: more where there is something to compare it with."""
    return ROW + 22 if row.other is not None or row.other_value else ROW


def _span(span: Span, whole: float, top: int) -> str:
    start = _percent(span.start, whole)
    drawn = f"{_words(span.label, span.value, top)}{_track(top + 20)}{_rect(span.tone, start, span.length, whole, top)}"
    return drawn + _compared(start, span.other, span.other_value, whole, top)


def _bar(row: Bar, largest: float, top: int) -> str:
    drawn = f"{_words(row.label, row.value, top)}{_track(top + 20)}"
    if row.amount is not None:
        drawn += _rect(row.tone, 0.0, row.amount, largest, top)
    return drawn + _compared(0.0, row.other, row.other_value, largest, top)


def _compared(start: float, other: float | None, value: str, whole: float, top: int) -> str:
    """Pure. Below a row, what it is compared with: a thinner bar, and its words."""
    drawn = "" if other is None else _rect(SECOND, start, other, whole, top + 13, thick=4)
    below = top + (45 if other is None else 51)
    held, words = fitted(value, BELOW_ROOM, BELOW_PIXELS)
    return drawn + (f'<text class="soft" x="0" y="{below}"{held}>{words}</text>' if value else "")


def _rect(tone: str, start: float, length: float, whole: float, top: int, *, thick: int = TRACK) -> str:
    """Pure. A bar on a row's track, within the frame; `start` in percent."""
    place = min(start, 100 - SMALLEST)
    wide = min(max(_percent(length, whole), SMALLEST), 100 - place)
    return f'<rect class="{tone}" x="{place:.2f}%" y="{top + 20}" width="{wide:.2f}%" height="{thick}" rx="2"/>'


def _words(label: str, value: str, top: int) -> str:
    """Pure. A row's label and, at the right, its value; a long label is shortened, and whole in its title."""
    (held, short), (held_too, number) = fitted(label, LABEL_ROOM, LABEL_PIXELS), fitted(value, 14, 86)
    whole = f"<title>{markup(label)}</title>" if held else ""
    return (
        f'<text class="label" x="0" y="{top + 14}"{held}>{short}{whole}</text>'
        f'<text class="value" x="100%" y="{top + 14}" text-anchor="end"{held_too}>{number}</text>'
    )


def _track(top: int) -> str:
    return f'<rect class="track" x="0" y="{top}" width="100%" height="{TRACK}" rx="2"/>'


def _axis(ticks: Sequence[Tick], whole: float, height: int, *, top: int = 0, foot: int = 18) -> str:
    """Pure. Hairlines and labels; the first label begins at its line, the last ends there."""
    drawn = ""
    for number, tick in enumerate(ticks):
        place = _percent(tick.at, whole)
        anchor = "start" if number == 0 else "end" if number == len(ticks) - 1 else "middle"
        drawn += (
            f'<line class="hair" x1="{place:.2f}%" x2="{place:.2f}%" y1="{top}" y2="{height - foot}"/>'
            f'<text class="soft" x="{place:.2f}%" y="{height - 4}" text-anchor="{anchor}">{markup(tick.label)}</text>'
        )
    return drawn


def _legend(lines: Sequence[Line]) -> str:
    """Pure. Which line is which, side by side."""
    share = 100 / len(lines)
    return "".join(
        f'<line class="{line.tone} dash{number}" x1="{share * number:.1f}%" x2="{share * number + 5:.1f}%" y1="8" y2="8"/>'
        f'<text class="label" x="{share * number + 6:.1f}%" y="13">{markup(shortened(line.label, 22))}</text>'
        for number, line in enumerate(lines)
    )


def _line(line: Line, number: int, whole: float, low: float, ranged: float) -> str:
    """Pure. A line in pieces, broken where nothing was measured; a single measurement is a dot as wide as the line."""
    drawn = ""
    for piece in _pieces(line):
        points = [(PLOT * place / whole, 100 - 100 * (amount - low) / ranged) for place, amount in piece]
        points = points if len(points) > 1 else [points[0], (points[0][0] + 0.01, points[0][1])]
        places = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        drawn += f'<polyline class="{line.tone} dash{number}" vector-effect="non-scaling-stroke" points="{places}"/>'
    return drawn


def _pieces(line: Line) -> Iterator[list[tuple[float, float]]]:
    both = zip(line.places, line.amounts, strict=True)
    for missing, piece in groupby(both, key=lambda pair: pair[1] is None):
        if not missing:
            yield [(place, amount) for place, amount in piece if amount is not None]


def _percent(part: float, whole: float) -> float:
    return min(max(100 * part / whole, 0.0), 100.0) if whole > 0 else 0.0
