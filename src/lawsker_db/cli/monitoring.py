"""`lawsker-db monitor`: watch a database and the run that goes on in it."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Config, Direct, Runs, Url, plain

if TYPE_CHECKING:
    from lawsker_db.monitor.watching import Look, Summary

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
ExitCode = Annotated[bool, typer.Option("--exit-code", help="With --once: exit code 13 when there is an error.")]


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
    as_json: Lines = False,
) -> None:
    """Watch the database and the run that goes on in it, until Ctrl-C. Reads only, waits for nobody, holds nobody up.

    A server that goes away ends nothing: that is said, and it is asked again. Full sight needs pg_monitor.
    """
    from lawsker_db.errors import UsageError
    from lawsker_db.monitor.problem import ERROR
    from lawsker_db.monitor.watching import watch
    from lawsker_db.revisions import load_chain
    from lawsker_db.target import find_target

    if exit_code and not once:
        raise UsageError("--exit-code is about one look.", hint="lawsker-db monitor --once --exit-code")
    target, chain = find_target(database_url, direct_url), load_chain(config)
    graves: list[bool] = []
    face, tell_metrics = _face(once=once, as_json=as_json), _metrics(prom_file)

    def on_look(look: Look) -> None:
        graves.append(any(problem.severity is ERROR for problem in look.problems))
        del graves[:-1]
        tell_metrics(look)
        face(look)

    until = _until(0.0 if once else for_s)
    summary = watch(target, interval_s=interval, until=until, on_look=on_look, chain=chain, runs=runs)
    if not once:
        _tell_summary(summary, as_json=as_json)
    raise typer.Exit(13 if exit_code and graves and graves[-1] else 0)


def _until(for_s: float | None) -> Callable[[], bool]:
    """When a watch ends: after so many seconds, or when nobody reads any more what it prints (`| head`)."""
    deadline = None if for_s is None else time.monotonic() + for_s
    stdout = select.poll()
    stdout.register(1, 0)  # of a pipe without a reader the answer is an error, of all else none

    def ended() -> bool:
        return (deadline is not None and time.monotonic() >= deadline) or bool(stdout.poll(0))

    return ended


def _face(*, once: bool, as_json: bool) -> Callable[[Look], None]:
    """What is printed of each look: a line of JSON, everything, or a line and the problems that are new or over."""
    if as_json:
        return lambda look: print(json.dumps(plain(asdict(look)), ensure_ascii=False), flush=True)
    from lawsker_db.cli.monitor_lines import show_look

    return show_look if once else _changing()


def _metrics(path: Path | None) -> Callable[[Look], None]:
    """Write each look as metrics. A file that cannot be written stops nothing; that is said once, until it can be again."""
    from lawsker_db.cli.render import say
    from lawsker_db.monitor.metrics import write_metrics
    from lawsker_db.phrases import Phrase

    said: list[str] = []

    def write(look: Look) -> None:
        why = write_metrics(path, look) if path is not None else ""
        if why and not said:
            say(Phrase("{path} cannot be written: {why}. The monitor goes on without it.", path=str(path), why=why))
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


def _tell_summary(summary: Summary, *, as_json: bool) -> None:
    """What there was to see: for people on stdout, for machines, whose lines are looks, on stderr."""
    from lawsker_db.cli.render import say_json, tell
    from lawsker_db.phrases import Phrase

    if as_json:
        say_json({"summary": plain(asdict(summary))})
        return
    seconds = (summary.ended_at - summary.began_at).total_seconds()
    tell(
        Phrase(
            "Watched {target} for {seconds:.0f} s, {looks} looks",
            target=summary.target,
            seconds=seconds,
            looks=summary.looks,
        )
    )
    if summary.unreachable:
        words = Phrase(
            "It did not answer {number} times, for {away_s:.0f} s", number=summary.unreachable, away_s=summary.away_s
        )
        tell(words)
    for figure in summary.figures:
        values = f"{figure.least:,.4g} / {figure.mean:,.4g} / {figure.most:,.4g}"
        tell(Phrase("{name}: {values} (least, mean, most)", name=figure.name, values=values))
    for span in summary.spans:
        first, last = (f"{at:%H:%M:%S}" for at in (span.first_at, span.last_at))
        until = Phrase("over at {last}", last=last) if span.over else Phrase("goes on")
        tell(
            Phrase(
                "{code} ({subject}) from {first} UTC, {until}: {text}",
                code=span.problem.code,
                subject=span.problem.subject,
                first=first,
                until=until,
                text=span.problem.text,
            )
        )
