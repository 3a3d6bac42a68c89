"""`lawsker-db monitor`: watch a database and the run that goes on in it."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Config, Direct, Runs, Url, plain

if TYPE_CHECKING:
    from lawsker_db.monitor.trends import Trends
    from lawsker_db.monitor.watching import Look, Summary

NO_CURSOR = ("dumb", "unknown")  # kinds of terminals that cannot be written to but at the end
REFUSED = 13  # as `verify` ends when what is checked does not hold

Interval = Annotated[float, typer.Option("--interval", help="Seconds between two looks.", min=0.1)]
For = Annotated[
    float | None, typer.Option("--for", help="End after so many seconds; else with Ctrl-C.", min=0, show_default=False)
]
Once = Annotated[bool, typer.Option("--once", help="Look once, print everything, end.")]
Lines = Annotated[bool, typer.Option("--json", help="Print one line of JSON a look on stdout.")]
Prom = Annotated[
    Path | None,
    typer.Option(
        "--prom-file", help="Also write each look as Prometheus metrics into this file (.prom).", show_default=False
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write a report at the end: a folder for JSON and HTML, or one file that ends in .json or .html.",
        show_default=False,
    ),
]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="Exit code 13 when there is an error at the end.")]


def monitor(
    database_url: Url = None,
    direct_url: Direct = None,
    config: Config = None,
    runs: Runs = Path("lawsker-runs"),
    interval: Interval = 2.0,
    for_s: For = None,
    once: Once = False,
    exit_code: ExitCode = False,
    prom_file: Prom = None,
    out: Out = None,
    as_json: Lines = False,
) -> None:
    """Watch the database and the run that goes on in it, until Ctrl-C. Reads only, waits for nobody, holds nobody up.

    A server that goes away ends nothing: that is said, and it is asked again. Full sight needs pg_monitor.
    """
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.monitor.problem import ERROR
    from lawsker_db.monitor.report import prepare_report
    from lawsker_db.monitor.trends import Trends
    from lawsker_db.monitor.watching import watch
    from lawsker_db.phrases import Phrase
    from lawsker_db.revisions import load_chain
    from lawsker_db.target import find_target

    target, chain = find_target(database_url, direct_url), load_chain(config)
    paths, why_not = ((), "") if out is None else prepare_report(out)
    trends, last = Trends(), list["Look"]()
    with _face(target.label, interval, trends, once=once, as_json=as_json) as (show, note):
        tell_metrics = _metrics(prom_file, note)
        if why_not:
            note(Phrase("The report will not be written: {why}", why=why_not))

        def on_look(look: Look) -> None:
            last[:] = [look]
            trends.note(look)
            tell_metrics(look)
            show(look)

        until = _until(0.0 if once else for_s)
        summary = watch(target, interval_s=interval, until=until, on_look=on_look, chain=chain, runs=runs)
    written = _write(paths, summary, trends, last)
    code = REFUSED if exit_code and any(one.severity is ERROR for look in last for one in look.problems) else 0
    settle(code)
    _tell_end(summary, written, once=once, as_json=as_json)
    raise typer.Exit(code)


def _until(for_s: float | None) -> Callable[[], bool]:
    """When a watch ends: after so many seconds, or when nobody reads any more what it prints (`| head`)."""
    deadline = None if for_s is None else time.monotonic() + for_s
    stdout = select.poll()
    stdout.register(1, 0)  # of a pipe without a reader the answer is an error, of all else none

    def ended() -> bool:
        return (deadline is not None and time.monotonic() >= deadline) or bool(stdout.poll(0))

    return ended


@contextmanager
def _face(
    target: str, interval_s: float, trends: Trends, *, once: bool, as_json: bool
) -> Iterator[tuple[Callable[[Look], None], Callable[[str], None]]]:
    """What shows each look, and what tells of anything else: a line of JSON, everything, a view that lives, or, where
    there is no terminal to draw on, a line and the problems that are new or over."""
    from lawsker_db.cli.monitor_lines import show_look
    from lawsker_db.cli.render import say

    if as_json:
        yield _json_line, say
    elif once:
        yield show_look, say
    elif not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in NO_CURSOR:
        yield _changing(), say
    else:
        from lawsker_db.cli.monitor_screen import View
        from lawsker_db.cli.monitor_view import live

        view = View(target=target, interval_s=interval_s, trends=trends)
        with live(view) as show:
            yield show, view.note


def _json_line(look: Look) -> None:
    print(json.dumps(plain(asdict(look)), ensure_ascii=False), flush=True)


def _metrics(path: Path | None, note: Callable[[str], None]) -> Callable[[Look], None]:
    """Write each look as metrics. A file that cannot be written stops nothing; that is told once, until it can be again."""
    from lawsker_db.monitor.metrics import write_metrics
    from lawsker_db.phrases import Phrase

    said: list[str] = []

    def write(look: Look) -> None:
        why = write_metrics(path, look) if path is not None else ""
        if why and not said:
            note(Phrase("{path} cannot be written: {why}. The monitor goes on without it.", path=str(path), why=why))
        if said and not why:
            note(Phrase("{path} can be written again.", path=str(path)))
        said[:] = [why] if why else []

    return write


def _changing() -> Callable[[Look], None]:
    """A line a look, and below it the problems that were not there at the look before."""
    from lawsker_db.cli.monitor_lines import headline, show_problems
    from lawsker_db.cli.render import tell
    from lawsker_db.phrases import Phrase

    known: set[tuple[str, str]] = set()

    def show(look: Look) -> None:
        tell(headline(look))
        found = {(one.code, one.subject): one for one in look.problems}
        new = tuple(one for key, one in found.items() if key not in known)
        if new:
            show_problems(new)
        for code, subject in sorted(known - set(found)):
            tell(Phrase("over: {code} ({subject})", code=code, subject=subject))
        known.clear()
        known.update(found)

    return show


def _write(paths: tuple[Path, ...], summary: Summary, trends: Trends, last: list[Look]) -> tuple[tuple[Path, ...], str]:
    """The report's files that were written, and what went wrong; nothing of either where none was asked for."""
    from lawsker_db.monitor.report import write_report
    from lawsker_db.monitor.report_page import MonitoringReport

    report = MonitoringReport(
        summary=summary,
        points=tuple(trends.points),
        gaps=tuple(trends.gaps),
        last=last[0] if last else None,
    )
    return write_report(report, paths)


def _tell_end(summary: Summary, written: tuple[tuple[Path, ...], str], *, once: bool, as_json: bool) -> None:
    """What there was to see, and where the report is: for people on stdout, for machines, whose lines are looks, on
    stderr."""
    from lawsker_db.cli.monitor_summary import tell_summary
    from lawsker_db.cli.render import say, say_json, short_path, tell
    from lawsker_db.phrases import Phrase

    paths, why = written
    if as_json:
        if not once or paths or why:
            said = {"summary": plain(asdict(summary)), "report": [str(path) for path in paths]}
            say_json(said | ({"report_failed": why} if why else {}))
        return
    if not once:
        tell_summary(summary)
    for path in paths:
        tell(Phrase("Report: {path}", path=short_path(str(path))))
    if why:
        say(Phrase("The report could not be written: {why}", why=why))
