"""`lawsker-db report`: what a run has told of itself, shown again in any form and language."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Json, Runs

if TYPE_CHECKING:
    from lawsker_db.evidence import RunReport


class ReportForm(StrEnum):
    """In which form a report is shown."""

    TEXT = "text"
    HTML = "html"
    JSON = "json"
    JUNIT = "junit"


Which = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a part of it, its folder, or last.")]
Shown = Annotated[
    ReportForm | None, typer.Option("--format", help="In which form (default: text).", show_default=False)
]
Opened = Annotated[bool, typer.Option("--open", help="Show the page in the browser.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write it into this file.", show_default=False)]


def report(
    run: Which = "last",
    form: Shown = None,
    opened: Opened = False,
    out: Out = None,
    runs: Runs = Path("lawsker-runs"),
    as_json: Json = False,
) -> None:
    """Show the report of a run again: as text, as a page in this language, as JSON, or its checks as JUnit XML.

    Reads the run's folder and asks no database. Exit code 10 where there is no report: then what the journal knows is told.
    """
    from lawsker_db.errors import UsageError
    from lawsker_db.phrases import Phrase
    from lawsker_db.record.runs import find_run

    form = form or (ReportForm.HTML if opened else ReportForm.JSON if as_json else ReportForm.TEXT)
    if opened and form is not ReportForm.HTML:
        raise UsageError(Phrase("--open shows the page: it goes with --format html."), hint="--open --format html")
    if out is not None and form is ReportForm.TEXT:
        raise UsageError(Phrase("--out is for html, json and junit."), hint="--format html --out FILE")
    folder = find_run(runs, run)
    found = _read(folder, as_json=as_json)
    if form is ReportForm.TEXT:
        _show_text(found)
    elif opened or out is not None:
        _write(found, form, out or folder / "report.html", opened=opened)
    else:
        sys.stdout.write(_rendered(found, form).decode())


def _read(folder: Path, *, as_json: bool) -> RunReport:
    """The report; where there is none, what the journal tells, and then `Refused`."""
    from lawsker_db.cli.render import tell
    from lawsker_db.errors import Refused
    from lawsker_db.record.document import read_report
    from lawsker_db.record.runs import told_by_journal

    try:
        return read_report(folder)
    except Refused as failed:
        told = told_by_journal(folder)
        failed.fields = {**failed.fields, "folder": str(folder), "journal": [str(line) for line in told]}
        for line in () if as_json else told:
            tell(line)
        raise


def _rendered(found: RunReport, form: ReportForm) -> bytes:
    """Pure. The report in a form for a file."""
    from lawsker_db.record.document import as_bytes
    from lawsker_db.record.junit import render_junit
    from lawsker_db.record.report import render_html

    if form is ReportForm.JSON:
        return as_bytes(found) + b"\n"
    if form is ReportForm.JUNIT:
        return render_junit(found.checks, suite=found.target) + b"\n"
    return render_html(found).encode()


def _show_text(found: RunReport) -> None:
    from lawsker_db.cli.render import show_report

    show_report(found, as_json=False)


def _write(found: RunReport, form: ReportForm, path: Path, *, opened: bool) -> None:
    """Write the file and say where it is; with `opened` have the browser show it, where there is one."""
    from lawsker_db.cli.render import say, short_path, tell
    from lawsker_db.errors import UsageError
    from lawsker_db.phrases import Phrase
    from lawsker_db.postgres.tools import bare_environment
    from lawsker_db.processes import show_file
    from lawsker_db.record.journal import write_atomically

    if path.is_dir():
        raise UsageError(Phrase("{path} is a folder.", path=str(path)), hint="--out FILE")
    try:
        write_atomically(path, _rendered(found, form))
    except (OSError, ValueError) as failed:
        why = failed.strerror or str(failed) if isinstance(failed, OSError) else str(failed)
        raise UsageError(
            Phrase("{path} cannot be written: {why}.", path=str(path), why=why), hint="--out FILE, where you may write"
        ) from failed
    tell(Phrase("Report: {path}", path=short_path(str(path.absolute()))))
    unsecret = {name: os.environ[name] for name in bare_environment() if name in os.environ}
    if opened and not (_has_screen() and show_file(path.absolute(), unsecret)):
        say(Phrase("There is no browser to open here: open that file in one."))


def _has_screen() -> bool:
    """Whether a window could be shown: without one, what opens files may take the terminal for a browser of text."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
