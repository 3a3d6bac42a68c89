"""The page of a watch: whether there was a problem, then the problems, the trends, and what stood at the end. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lawsker_db.monitor.figures import KINDS, Unit, amount_text, bytes_text, seconds_text
from lawsker_db.monitor.problem import ERROR
from lawsker_db.monitor.sample import Sample
from lawsker_db.monitor.trends import Gap, Point
from lawsker_db.monitor.watching import Look, Summary
from lawsker_db.monitor.watching import Span as Lasted
from lawsker_db.phrases import Phrase, joined
from lawsker_db.record.charts import BAD, GOOD, PLAIN, WARN, Line, Span, Tick, even_ticks, line_chart, timeline
from lawsker_db.record.markup import markup
from lawsker_db.record.page import Say, facts, keys, navigation, page, paragraph, section, speaking, subheading, table

DRAWN = 40  # problems in the timeline; the table has all
# What is drawn, in this order: a heading, and the figures that share one axis.
CHARTS: tuple[tuple[Phrase, tuple[str, ...]], ...] = (
    (Phrase("Sessions of this database"), ("sessions", "sessions_active")),
    (Phrase("Sessions that wait for a lock"), ("waiting",)),
    (Phrase("Longest open transaction"), ("longest_transaction_s",)),
    (Phrase("Transactions a second"), ("transactions_per_s",)),
    (Phrase("Share of blocks found in shared buffers"), ("cache_hits",)),
    (Phrase("WAL written a second"), ("wal_bytes_per_s",)),
    (Phrase("Size of the database"), ("database_bytes",)),
    (Phrase("Dead rows"), ("dead_rows",)),
    (Phrase("Lag of standbys"), ("standby_lag_bytes",)),
    (Phrase("Answer of the server"), ("latency_s",)),
    (Phrase("Free on disk"), ("disk_free_bytes",)),
)
FROM_LEAST = ("database_bytes", "disk_free_bytes")  # lines that are flat when they begin at zero
LINES = (PLAIN, WARN)
HEIGHT, FLAT = 120, 36  # pixels of a chart, and of one whose line goes nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringReport:
    """Everything that a watch leaves: its summary, the points of its trends and the times without an answer, oldest first,
    and the last look (None: there was none)."""

    summary: Summary
    points: tuple[Point, ...]
    gaps: tuple[Gap, ...]
    last: Look | None


def render_page(report: MonitoringReport, language: str, tool_version: str) -> str:
    """Pure but for the style. One page without scripts and network; every name out of the database is escaped."""
    say = speaking(language)
    parts = [(name, heading, body) for name, heading, body in _sections(say, report) if body]
    sections = navigation(say, Phrase("Sections"), [(name, heading) for name, heading, _ in parts])
    made = joined((Phrase("Made by lawsker-db {version}.", version=tool_version), Phrase("Times are UTC.")), " ")
    body = (
        f"<header>{_verdict(say, report)}{keys(say, _keys(report))}{sections}</header>\n"
        f'<main id="content" tabindex="-1">\n{"".join(section(say, *part) for part in parts)}</main>\n'
        f"<footer>{markup(say(made))}</footer>"
    )
    title = Phrase("Monitoring of {target}", target=report.summary.target)
    return page(title=f"lawsker-db: {say(title)}", body=body, language=language)


def _open(report: MonitoringReport) -> list[Lasted]:
    """Pure. The problems that were there at the end, errors first."""
    found = [span for span in report.summary.spans if not span.over]
    return sorted(found, key=lambda span: span.problem.severity is not ERROR)


def _verdict(say: Say, report: MonitoringReport) -> str:
    """Pure. The first thing that is read: is something wrong at the end, was something, and what to do."""
    summary, still = report.summary, _open(report)
    grave = bool(still) and still[0].problem.severity is ERROR
    tone = BAD if grave else WARN if summary.spans else GOOD
    if still:
        heading = Phrase("Problems at the end: {number}", number=len(still))
        message = still[0].problem.text
    elif summary.spans:
        heading = Phrase("No problem at the end")
        message = Phrase("Problems that were over before: {number}", number=len(summary.spans))
    else:
        heading, message = Phrase("No problem"), Phrase("Nothing was found that somebody should look at.")
    if not report.points:
        heading, message, tone = Phrase("Nothing was seen"), Phrase("The watch ended before its first look."), WARN
    began, ended = f"{summary.began_at:%Y-%m-%d %H:%M:%S}", _clock_or_day(summary.ended_at, summary.began_at)
    when = Phrase("{target}, watched from {began} to {ended} UTC", target=summary.target, began=began, ended=ended)
    hint = still[0].problem.hint if still else ""
    following = say(Phrase("Next:"))
    hinted = f'<p class="next"><b>{markup(following)}</b> {markup(say(hint))}</p>' if hint else ""
    return (
        f'<div class="verdict {tone}"><h1>{markup(say(heading))}</h1>'
        f'<p class="message">{markup(say(message))}</p>{hinted}<p class="run">{markup(say(when))}</p></div>'
    )


def _keys(report: MonitoringReport) -> Iterator[tuple[str, str, str]]:
    """Pure. What somebody asks first: name, value, tone."""
    summary = report.summary
    errors = sum(span.problem.severity is ERROR for span in summary.spans)
    yield Phrase("Watched for"), seconds_text((summary.ended_at - summary.began_at).total_seconds()), ""
    yield Phrase("Looks"), f"{summary.looks:,}", ""
    yield Phrase("Errors"), str(errors), BAD if errors else ""
    yield Phrase("Warnings"), str(len(summary.spans) - errors), WARN if len(summary.spans) > errors else ""
    away = seconds_text(round(summary.away_s)) if summary.unreachable else Phrase("never")
    yield Phrase("Without an answer"), away, BAD if summary.unreachable else ""
    for figure in summary.figures:
        if figure.name in ("sessions", "transactions_per_s", "waiting"):
            words = Phrase("{figure}, most", figure=KINDS[figure.name].words)
            yield words, amount_text(figure.name, figure.most), ""


def _sections(say: Say, report: MonitoringReport) -> Iterator[tuple[str, str, str]]:
    """Pure. The page's parts in the order in which they are read: name, heading, body; an empty body is left out."""
    sample = report.last.sample if report.last is not None else None
    yield "problems", Phrase("Problems"), _problems(say, report)
    yield "gaps", Phrase("Times without an answer"), _gaps(say, report)
    yield "trends", Phrase("Trends"), _trends(say, report)
    yield "figures", Phrase("Figures"), _figures(say, report.summary)
    yield "end", Phrase("At the end"), facts(say, _end(sample)) if sample is not None else ""
    yield "unseen", Phrase("Not seen"), _unseen(say, sample) if sample is not None else ""


def _problems(say: Say, report: MonitoringReport) -> str:
    """Pure. When each problem was one, over the whole time, and what was to be done about it."""
    summary = report.summary
    spans = summary.spans
    whole = max((summary.ended_at - summary.began_at).total_seconds(), 0.001)
    drawn = [
        Span(
            label=f"{span.problem.code}: {span.problem.subject}",
            start=max(0.0, (span.first_at - summary.began_at).total_seconds()),
            length=(span.last_at - span.first_at).total_seconds(),
            value=seconds_text((span.last_at - span.first_at).total_seconds()),
            tone=BAD if span.problem.severity is ERROR else WARN,
        )
        for span in spans[:DRAWN]
    ]
    rows = [
        (
            span.problem.code,
            Phrase("ERROR") if span.problem.severity is ERROR else Phrase("WARN"),
            span.problem.text,
            _lasted(span, whole),
            span.problem.hint,
        )
        for span in spans
    ]
    heads = (Phrase("Problem"), Phrase("Severity"), Phrase("What was found"), Phrase("From, to"), Phrase("Next"))
    tones = [BAD if span.problem.severity is ERROR else WARN for span in spans]
    chart = timeline(
        drawn,
        whole=whole,
        ticks=_ticks(summary.began_at, whole),
        title=say(Phrase("When each problem was one")),
        description=say(Phrase("{number} problems; the table has all.", number=len(spans))),
    )
    return (chart + table(say, heads, rows, tones=tones, kind="checks")) if spans else ""


def _lasted(span: Lasted, whole: float) -> Phrase:
    """Pure. From when to when something was a problem."""
    first, last = _clock(span.first_at, whole), _clock(span.last_at, whole)
    if span.over:
        return Phrase("{first} to {last}", first=first, last=last)
    return Phrase("from {first}, goes on", first=first)


def _gaps(say: Say, report: MonitoringReport) -> str:
    """Pure. When the database did not answer, and what was said of it."""
    whole = (report.summary.ended_at - report.summary.began_at).total_seconds()
    rows = (
        (
            _clock(gap.first_at, whole),
            _clock(gap.last_at, whole) if gap.over else Phrase("goes on"),
            seconds_text(round((gap.last_at - gap.first_at).total_seconds(), 1)),
            gap.why,
        )
        for gap in report.gaps
    )
    return table(say, (Phrase("From"), Phrase("To"), Phrase("For"), Phrase("What was said")), rows)


def _trends(say: Say, report: MonitoringReport) -> str:
    """Pure. A chart for each figure that was seen, all over the same time."""
    if len(report.points) < 2:
        return ""
    charts = "".join(_chart(say, report, heading, names) for heading, names in CHARTS)
    looks = max(point.looks for point in report.points)
    words = [Phrase("A line is broken where the database did not answer, or the figure was not seen.")]
    if looks > 1:
        words.append(Phrase("Each point stands for up to {looks} looks in a row.", looks=looks))
    return paragraph(say, joined(words, " "), kind="soft") + charts


def _chart(say: Say, report: MonitoringReport, heading: Phrase, names: Sequence[str]) -> str:
    """Pure. One chart; nothing where none of its figures was ever seen."""
    points, began = report.points, report.summary.began_at
    seen = [name for name in names if any(name in point.figures for point in points)]
    known = [point.figures[name] for name in seen for point in points if name in point.figures]
    if not known:
        return ""
    low, high = _range(names[0], known)
    whole = max((report.summary.ended_at - began).total_seconds(), 0.001)
    lines = [
        Line(
            label=say(KINDS[name].words),
            places=[max(0.0, (point.last_at - began).total_seconds()) for point in points],
            amounts=[point.figures.get(name) for point in points],
            tone=LINES[number % len(LINES)],
        )
        for number, name in enumerate(seen)
    ]
    name = seen[0]
    drawn = line_chart(
        lines,
        whole=whole,
        ticks=_ticks(began, whole),
        low=Tick(at=low, label=amount_text(name, low)),
        high=Tick(at=high, label=amount_text(name, high)),
        title=say(heading),
        description=say(_described(name, report.summary, report.gaps)),
        height=HEIGHT if max(known) > min(known) else FLAT,
    )
    return subheading(say, heading) + drawn


def _range(name: str, known: Sequence[float]) -> tuple[float, float]:
    """Pure. From where to where the vertical axis goes: from zero, and a share to one, unless that would be a flat line."""
    low, high = min(known), max(known)
    if name in FROM_LEAST:
        return (low, high) if high > low else (low * 0.99, high * 1.01 or 1.0)
    if KINDS[name].unit is Unit.SHARE:
        return 0.0, 1.0
    return 0.0, high or 1.0


def _described(name: str, summary: Summary, gaps: Sequence[Gap]) -> Phrase:
    """Pure. A chart in words, for those who hear it."""
    figure = next((one for one in summary.figures if one.name == name), None)
    if figure is None:
        return Phrase("never seen")
    least, mean, most = (amount_text(name, value) for value in (figure.least, figure.mean, figure.most))
    return Phrase(
        "Least {least}, mean {mean}, most {most}; {gaps} times without an answer.",
        least=least,
        mean=mean,
        most=most,
        gaps=len(gaps),
    )


def _figures(say: Say, summary: Summary) -> str:
    """Pure. Least, mean and most of each figure."""
    heads = (Phrase("Figure"), Phrase("Least"), Phrase("Mean"), Phrase("Most"), Phrase("Looks"))
    rows = (
        (
            KINDS[one.name].words,
            *(amount_text(one.name, value) for value in (one.least, one.mean, one.most)),
            f"{one.looks:,}",
        )
        for one in summary.figures
    )
    return table(say, heads, rows, numbers=(1, 2, 3, 4))


def _end(sample: Sample) -> Iterator[tuple[str, str]]:
    """Pure. What stood at the last look, as name and value; what was not seen is not told as zero."""
    server, stamp, integrity, relations = sample.server, sample.stamp, sample.integrity, sample.relations
    if not sample.reachable:
        yield Phrase("Database"), Phrase("no answer: {why}", why=sample.why)
    if server is not None:
        yield Phrase("Server"), f"PostgreSQL {server.major}.{server.version % 10000}, {server.address}"
        yield Phrase("As"), server.user
    if stamp is not None:
        current = ", ".join(stamp.current) or Phrase("none")
        yield Phrase("Revision"), Phrase("{current}, head {head}", current=current, head=stamp.head)
    if integrity is not None:
        number = Phrase("{present} of {all}", present=integrity.present, all=len(integrity.promised))
        yield Phrase("Promised tables"), number
    if sample.database_bytes is not None:
        yield Phrase("Size"), bytes_text(sample.database_bytes)
    if relations is not None:
        yield Phrase("Tables"), str(relations.tables)
        yield Phrase("Indexes"), str(relations.indexes)
        for one in relations.largest:
            yield Phrase("Largest table"), Phrase("{table}, {size}", table=one.name, size=bytes_text(one.bytes))
    if sample.invalid_indexes is not None:
        names = ", ".join(one.name for one in sample.invalid_indexes)
        yield Phrase("Invalid indexes"), names or Phrase("none")
    if sample.upkeep is not None:
        last = sample.upkeep.autovacuumed
        yield Phrase("Autovacuum"), f"{last:%Y-%m-%d %H:%M:%S}" if last else Phrase("was not here yet")
    for disk in sample.disks or ():
        free = Phrase("{free} of {total} free", free=bytes_text(disk.free), total=bytes_text(disk.total))
        yield Phrase("Disk of {folder}", folder=disk.folder), free
    if sample.replication is not None:
        copies = [one.application or one.address for one in sample.replication.standbys]
        yield Phrase("Standbys"), ", ".join(copies) or Phrase("none")
    if sample.run is not None:
        yield Phrase("Run that goes on"), sample.run.run_id


def _unseen(say: Say, sample: Sample) -> str:
    """Pure. What could not be looked at, and what would let it be seen."""
    rows = ((one.what, one.why, one.hint) for one in sample.not_seen)
    return table(say, (Phrase("What"), Phrase("Why"), Phrase("Next")), rows)


def _ticks(began: datetime, whole: float) -> tuple[Tick, ...]:
    """Pure. Clock times along an axis of so many seconds; days too where it is longer than one."""
    places = [began + timedelta(seconds=whole * part / 2) for part in range(3)]
    return even_ticks(whole, [_clock(place, whole) for place in places])


def _clock(moment: datetime, whole: float) -> str:
    """Pure. A time of a watch of so many seconds: with its day where there are several."""
    return f"{moment:%m-%d %H:%M}" if whole >= timedelta(days=1).total_seconds() else f"{moment:%H:%M:%S}"


def _clock_or_day(moment: datetime, began: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.date() == began.date() else f"{moment:%Y-%m-%d %H:%M:%S}"
