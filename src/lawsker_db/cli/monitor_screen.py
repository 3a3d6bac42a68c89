"""The live view as the lines of one screen, wide or narrow, high or low: essentials first, and what does not fit is counted.

Every line is made here to the cell; the terminal wraps nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.text import Text

from lawsker_db.cli.cells import bar, cut, filled, folded, sparkline, spoken
from lawsker_db.cli.monitor_panels import Panel, Row, gravest, panels
from lawsker_db.cli.render import BAD, DOUBTFUL, GOOD, version_text
from lawsker_db.monitor.figures import bytes_text, seconds_text
from lawsker_db.monitor.problem import ERROR, Problem
from lawsker_db.monitor.running import RunView
from lawsker_db.monitor.sample import Sample
from lawsker_db.monitor.trends import Trends
from lawsker_db.monitor.watching import Look
from lawsker_db.phrases import Phrase

TWO_COLUMNS = 72  # cells from which two columns of 35 hold labels and values
GUTTER = 2
LEAST_SPARK, MOST_SPARK = 5, 30
LEAST_VALUE = 16  # cells beside a label; with less a long value goes below it
BAR = 20
STALE_LOOKS = 3  # so many intervals without a look are told
LARGE = ("database_bytes", "disk_free_bytes")  # trends that are flat lines when they begin at zero
LARGE_FROM = 0.9  # of the newest value: what is less than a hundredth of it does not look like a change
MOST_LINES = (3, 1)  # of a problem; what is to be typed about it is never cut
PROBLEMS_SHARE = 2 / 3  # of the lines below the head, where there are so many problems
AGED = 40  # cells from which there is room to say since when a problem is known
WORTH_S = 1.0  # an estimate below it says nothing: times are told in whole seconds
BRIEF = 16  # lines below which the head says the least
STYLES = {GOOD: "green", DOUBTFUL: "yellow", BAD: "bold red", "": ""}
SOFT, STRONG = "dim", "bold"


@dataclass(slots=True, kw_only=True)
class View:
    """What the view knows. `looked_at` is of a monotonic clock; `notes` are of what goes wrong beside the watching."""

    target: str
    interval_s: float
    trends: Trends
    look: Look | None = None
    reached: Look | None = None
    looked_at: float = 0.0
    notes: list[str] = field(default_factory=list)

    def hear(self, look: Look, now: float) -> None:
        """Take a look in."""
        self.look, self.looked_at = look, now
        self.reached = look if look.sample.reachable else self.reached

    def note(self, words: str) -> None:
        """Have something told below the head; the last one counts."""
        self.notes[:] = [words]


def screen(view: View, *, width: int, height: int, now: datetime, monotonic: float, ascii_only: bool) -> Text:
    """Pure but for the language. Everything that fits, in at most `height` lines of at most `width` cells."""
    width, height = max(width, 8), max(height, 2)
    look, brief = view.look, height < BRIEF
    lines = list(_head(view, width, now, monotonic, brief=brief, ascii_only=ascii_only))
    if look is not None:
        run = list(_run(look.sample, width, now, brief=brief, ascii_only=ascii_only))
        lines += [] if brief else run
        room = max(3, round((height - len(lines)) * PROBLEMS_SHARE))
        lines += _problems(view, look, width, room, now, brief=brief, ascii_only=ascii_only)
        lines += run if brief else []
    if view.reached is not None:
        lines += _body(view, view.reached, width, ascii_only=ascii_only)
    if len(lines) < height - 1:
        lines += [Text()] * (height - 1 - len(lines))
        end = spoken(Phrase("Ctrl-C ends the watch, with a summary."))
        lines.append(Text(cut(end, width, ascii_only=ascii_only), style=SOFT))
    return Text("\n").join(_bounded(lines, width, height, ascii_only=ascii_only))


def _bounded(lines: list[Text], width: int, height: int, *, ascii_only: bool) -> list[Text]:
    """Pure. The lines that fit, and how many more there are."""
    if len(lines) <= height:
        return lines
    more = Phrase("{dots} {number} more lines", dots=_dots(ascii_only=ascii_only), number=len(lines) - height + 1)
    return [*lines[: height - 1], Text(cut(spoken(more), width, ascii_only=ascii_only), style=SOFT)]


def _dots(*, ascii_only: bool) -> str:
    return "..." if ascii_only else "…"


def _head(view: View, width: int, now: datetime, monotonic: float, *, brief: bool, ascii_only: bool) -> Iterator[Text]:
    """Pure. Which database, whether it answers, what it is, and the clock."""
    clock = f"{now.astimezone(UTC):%H:%M:%S} UTC"
    name, room = spoken(view.target), width - cell_len(clock) - 2
    if cell_len(name) + 14 <= room:
        name = f"lawsker-db  {name}"
    if cell_len(name) <= room or room >= 24:
        yield Text.assemble((filled(cut(name, room, ascii_only=ascii_only), room + 2), STRONG), (clock, SOFT))
    else:
        yield Text(cut(name, width, ascii_only=ascii_only), style=STRONG)
        yield from () if brief else [Text(clock[:width], style=SOFT)]
    if view.look is None:
        yield Text(cut(spoken(Phrase("connecting")), width, ascii_only=ascii_only))
        return
    yield from _state(view, view.look.sample, width, monotonic, brief=brief)
    for note in view.notes:
        yield from (Text(line, style=STYLES[DOUBTFUL]) for line in folded(spoken(note), width, hang=2))


def _state(view: View, sample: Sample, width: int, monotonic: float, *, brief: bool) -> Iterator[Text]:
    """Pure. Whether the server answers, and what is behind: server, revision, whether it was away."""
    late = monotonic - view.looked_at
    parts: list[tuple[str, str]] = []
    if sample.reachable:
        latency = sample.latency_s
        words = Phrase("ANSWERS") if latency is None else Phrase("ANSWERS in {time}", time=seconds_text(latency))
        parts.append((words, GOOD))
    else:
        away = (sample.away_s or 0.0) + late
        parts.append((Phrase("NO ANSWER for {time}", time=seconds_text(round(away))), BAD))
    if late > max(STALE_LOOKS * view.interval_s, STALE_LOOKS) and sample.reachable:
        parts.append((Phrase("no look for {time}", time=seconds_text(round(late))), DOUBTFUL))
    reached = view.reached.sample if view.reached is not None else None
    if reached is not None and not brief and reached.server is not None:
        parts.append((f"PostgreSQL {version_text(reached.server.version)}", ""))
        if reached.server.in_recovery:
            parts.append((Phrase("a standby"), ""))
    if reached is not None and not brief:
        parts.append((_revision(reached), "" if reached.stamp and reached.stamp.known else DOUBTFUL))
    gap = view.trends.gaps[-1] if view.trends.gaps else None
    if gap is not None and gap.over:
        length = seconds_text(round((gap.last_at - gap.first_at).total_seconds()))
        back = f"{gap.last_at:%H:%M:%S}"
        parts.append((Phrase("was away for {time}, back at {back}", time=length, back=back), DOUBTFUL))
    yield from _side_by_side(parts, width)
    if not sample.reachable and reached is not None:
        at = f"{reached.at:%H:%M:%S}"
        words = Phrase("Below: what was seen last, at {at} UTC", at=at)
        yield from (Text(line, style=STYLES[DOUBTFUL]) for line in folded(spoken(words), width))


def _revision(sample: Sample) -> Phrase:
    """Pure. The stamp beside the head of the chain."""
    stamp = sample.stamp
    if stamp is None:
        return Phrase("revision not seen")
    current = ", ".join(stamp.current) or Phrase("none")
    if not stamp.known and stamp.current:
        return Phrase("revision {current}, which the chain does not know", current=current)
    if not stamp.pending:
        return Phrase("revision {current} (head)", current=current)
    return Phrase("revision {current}, head {head}", current=current, head=stamp.head)


def _side_by_side(parts: Sequence[tuple[str, str]], width: int) -> Iterator[Text]:
    """Pure. Several short texts on as few lines as they take."""
    line = Text()
    for words, tone in parts:
        said, style = spoken(words), STYLES[tone]
        between = "   " if line.cell_len else ""
        if line.cell_len and line.cell_len + len(between) + cell_len(said) > width:
            yield line
            line, between = Text(), ""
        if cell_len(said) > width:
            yield from (Text(folded_line, style=style) for folded_line in folded(said, width, hang=1))
            continue
        line.append(between).append(said, style=style)
    if line.cell_len:
        yield line


def _run(sample: Sample, width: int, now: datetime, *, brief: bool, ascii_only: bool) -> Iterator[Text]:
    """Pure. The run that goes on, and the commands of which the server tells how far they are."""
    run = sample.run
    if run is not None:
        yield _titled(Phrase("Run {run_id}", run_id=run.run_id), width, ascii_only=ascii_only)
        yield from _side_by_side([(part, "") for part in _of_run(run, now)], width)
        share = None if not run.bytes_total or run.bytes_done is None else run.bytes_done / run.bytes_total
        if share is not None:
            words = Phrase(
                "{done} of about {whole}", done=bytes_text(run.bytes_done or 0), whole=bytes_text(run.bytes_total or 0)
            )
            yield _progress(words, min(share, 1.0), width, ascii_only=ascii_only)  # fmt: skip
        if run.doing and not brief:
            yield from (Text(line, style=SOFT) for line in folded(spoken(run.doing), width, hang=2)[:2])
    elif sample.holders:
        yield _titled(Phrase("A run is at work"), width, ascii_only=ascii_only)
        for holder in sample.holders[:2]:
            yield Text(cut(spoken(holder.label), width, ascii_only=ascii_only))
    for one in (sample.progress or ())[:3]:
        words = Phrase("{command} {relation}: {phase}", command=one.command, relation=one.relation, phase=one.phase)
        yield _progress(words, one.share, width, ascii_only=ascii_only)


def _of_run(run: RunView, now: datetime) -> Iterator[Phrase]:
    """Pure. Which phase of how many, how long it and the run have taken, and how much longer it may."""
    phase = Phrase(run.phase) if run.phase else "?"
    if run.step and run.steps:
        yield Phrase("phase {step} of {steps}: {phase}", step=run.step, steps=run.steps, phase=phase)
    else:
        yield Phrase("phase: {phase}", phase=phase)
    if run.since is not None:
        yield Phrase("{time} so far", time=seconds_text(round((now - run.since).total_seconds())))
    if run.left_s == 0 and (run.estimate_s or 0.0) >= WORTH_S:
        yield Phrase("longer than the estimate of {time}", time=seconds_text(round(run.estimate_s or 0.0)))
    elif (run.left_s or 0.0) >= WORTH_S:
        yield Phrase("estimate: {time} left", time=seconds_text(round(run.left_s or 0.0)))
    began = _began(run.run_id)
    if began is not None:
        yield Phrase("{time} in all", time=seconds_text(round((now - began).total_seconds())))
    if run.run_left_s and run.run_left_s >= WORTH_S and run.run_left_s > (run.left_s or 0.0):
        yield Phrase("estimate: {time} to the end", time=seconds_text(round(run.run_left_s)))


def _began(run_id: str) -> datetime | None:
    """Pure. When a run began: its id begins with that (record.journal.new_run_id)."""
    try:
        return datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _progress(words: Phrase, share: float | None, width: int, *, ascii_only: bool) -> Text:
    """Pure. How far something is, as a bar where that is known and there is room for one."""
    if share is None:
        return Text(cut(spoken(words), width, ascii_only=ascii_only))
    number = f" {share:4.0%}"
    drawn = bar(share, BAR, ascii_only=ascii_only) if width >= 2 * BAR + len(number) else ""
    room = width - cell_len(drawn) - len(number) - (1 if drawn else 0)
    said = filled(cut(spoken(words), room, ascii_only=ascii_only), room)
    return Text.assemble(said, " " * bool(drawn), (drawn, "cyan"), (number, STRONG))


def _problems(
    view: View, look: Look, width: int, room: int, now: datetime, *, brief: bool, ascii_only: bool
) -> Iterator[Text]:  # fmt: skip
    """Pure. What somebody should look at: errors first, then the newest; in full, or shorter where room is short."""
    since = view.trends.open_since
    found = sorted(look.problems, key=lambda one: since.get((one.code, one.subject), now), reverse=True)
    found.sort(key=lambda one: one.severity is not ERROR)
    errors = sum(one.severity is ERROR for one in found)
    title = Phrase("Problems: errors {errors}, warnings {warnings}", errors=errors, warnings=len(found) - errors)
    if found or not brief:
        yield _titled(title if found else Phrase("Problems"), width, ascii_only=ascii_only, tone=gravest(look))
    if not found:
        none = Phrase("No problem.") if look.sample.reachable else Phrase("nobody knows")
        yield Text(cut(spoken(none), width, ascii_only=ascii_only), style=STYLES[GOOD])
        return
    written: list[list[Text]] = []
    for most in MOST_LINES:
        known = ((one, since.get((one.code, one.subject), now)) for one in found)
        written = [list(_problem(one, width, now, at, most, ascii_only=ascii_only)) for one, at in known]
        if sum(map(len, written)) <= room:
            break
    yield from _counted(written, width, room, ascii_only=ascii_only)


def _counted(written: list[list[Text]], width: int, room: int, *, ascii_only: bool) -> Iterator[Text]:
    """Pure. The first problem, and as many more as there is room for, each with all that is to be typed; and how many others
    there are."""
    left = room
    for number, lines in enumerate(written):
        left -= len(lines)
        others = len(written) - number
        if number and left < (others > 1):
            more = Phrase("{dots} {number} more problems", dots=_dots(ascii_only=ascii_only), number=others)
            yield Text(cut(spoken(more), width, ascii_only=ascii_only), style=SOFT)
            return
        yield from lines


def _problem(
    one: Problem, width: int, now: datetime, since: datetime, most: int, *, ascii_only: bool
) -> Iterator[Text]:  # fmt: skip
    """Pure. One problem, since when it is known, in so many lines at most, and its hint in as many as it takes."""
    error = one.severity is ERROR
    mark = spoken(Phrase("ERROR") if error else Phrase("WARN"))
    age = seconds_text(max(0, round((now - since).total_seconds())))
    words = spoken(one.text if width < AGED else Phrase("{age}  {text}", age=age, text=one.text))
    hang = cell_len(mark) + 1 if width >= AGED else 1
    first, *rest = _at_most(f"{mark} {words}", width, most, hang, ascii_only=ascii_only)
    yield Text.assemble((mark, STYLES[BAD if error else DOUBTFUL]), first[len(mark) :])
    yield from (Text(line) for line in rest)
    hint = spoken(Phrase("Next: {hint}", hint=one.hint))
    yield from (Text(" " * hang + line, style=SOFT) for line in folded(hint, width - hang))


def _at_most(text: str, width: int, most: int, hang: int, *, ascii_only: bool) -> list[str]:
    """Pure. A text in so many lines at most; what is left out is marked."""
    lines = folded(text, width, hang=hang)
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], cut(f"{lines[most - 1]} {lines[most].strip()}", width, ascii_only=ascii_only)]


def _body(view: View, look: Look, width: int, *, ascii_only: bool) -> list[Text]:
    """Pure. The panels, in two columns of about the same height where they fit beside each other."""
    shown = panels(look)
    if width < TWO_COLUMNS:
        return [line for panel in shown for line in _panel(panel, view, width, ascii_only=ascii_only)]
    across = [panel for panel in shown if all(not row.label for row in panel.rows)]
    beside = [panel for panel in shown if panel not in across]
    first = [panel for panel in across if panel is shown[0]]
    wide = (width - GUTTER) // 2
    columns: tuple[list[Text], list[Text]] = ([], [])
    for panel in beside:
        shorter = min(columns, key=len)
        shorter += _panel(panel, view, wide, ascii_only=ascii_only)
    lines = [line for panel in first for line in _panel(panel, view, width, ascii_only=ascii_only)]
    lines += _abreast(columns, wide)
    return lines + [
        line for panel in across if panel not in first for line in _panel(panel, view, width, ascii_only=ascii_only)
    ]


def _abreast(columns: tuple[list[Text], list[Text]], wide: int) -> Iterator[Text]:
    """Pure. Two columns as lines."""
    left, right = columns
    for number in range(max(len(left), len(right))):
        first = left[number].copy() if number < len(left) else Text()
        first.append(" " * (wide - first.cell_len + GUTTER))
        yield first.append_text(right[number]) if number < len(right) else first


def _titled(title: Phrase, width: int, *, ascii_only: bool, tone: str = "") -> Text:
    """Pure. A heading, and a rule to the end of the line."""
    words = cut(spoken(title), width, ascii_only=ascii_only)
    rule = ("-" if ascii_only else "─") * (width - cell_len(words) - 1)
    return Text.assemble(
        (words, f"bold {STYLES[tone].removeprefix('bold ')}".strip()), (f" {rule}" if rule else "", SOFT)
    )


def _panel(panel: Panel, view: View, width: int, *, ascii_only: bool) -> Iterator[Text]:
    """Pure. A panel's lines: values in a column, trends at the right where there is room for them."""
    yield _titled(panel.title, width, ascii_only=ascii_only)
    labels = max((cell_len(spoken(row.label)) for row in panel.rows if row.label), default=0)
    labels = min(labels, width // 2)
    values = max((cell_len(spoken(row.value)) for row in panel.rows if row.figure), default=0)
    spark = min(width - labels - 1 - min(values, width // 3) - 2, MOST_SPARK)
    for row in panel.rows:
        yield from _row(row, view, width, labels, spark, ascii_only=ascii_only)


def _row(row: Row, view: View, width: int, labels: int, spark: int, *, ascii_only: bool) -> Iterator[Text]:
    value, style = spoken(row.value), STYLES[row.tone]
    if not row.label:
        indent = 2 * row.indent if width >= 40 else min(row.indent, 1)
        mark = ("'- " if ascii_only else "└ ") if row.indent and width >= 40 else ""
        lines = folded(mark + value, width - indent, hang=2)
        yield from (Text(" " * indent + line, style=style) for line in lines)
        return
    label = cut(spoken(row.label), labels, ascii_only=ascii_only)
    room = width - labels - 1
    if cell_len(value) > room and room < LEAST_VALUE:
        yield Text(label, style=SOFT)
        yield from (Text(f"  {line}", style=style) for line in folded(value, width - 2))
        return
    trend = _trend(row, view, min(spark, room - cell_len(value) - 2), ascii_only=ascii_only)
    for number, line in enumerate(folded(value, room)):
        first = Text.assemble((filled(label if number == 0 else "", labels + 1), SOFT), (line, style))
        if number == 0 and trend:
            first.append(" " * (width - first.cell_len - cell_len(trend))).append(trend, style="cyan")
        yield first


def _trend(row: Row, view: View, cells: int, *, ascii_only: bool) -> str:
    """Pure. The newest values of a row's figure, as many as there is room for."""
    if not row.figure or cells < LEAST_SPARK:
        return ""
    values = view.trends.newest(row.figure, cells)
    newest = next((value for value in reversed(values) if value is not None), 0.0)
    low = newest * LARGE_FROM if row.figure in LARGE else 0.0
    return sparkline(values, low=low, ascii_only=ascii_only)
