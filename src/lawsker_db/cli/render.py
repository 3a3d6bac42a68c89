"""What a person or a machine sees. stdout is the result, stderr the talk."""

from __future__ import annotations

import json
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lawsker_db.errors import LawskerError
from lawsker_db.phrases import said

if TYPE_CHECKING:
    from lawsker_db.evidence import Check, LockHeld, Reinstated, RunReport

MARKS = {True: "PASS", False: "FAIL", None: "NOT RUN"}
LISTED = re.compile(r"[SDBP]\d\d")  # a code of verification's list
LEFT_OUT = "NOT RUN: "  # how the finding of a check begins that was left out
# Unicode's general categories of what does not show as itself: controls, formats (bidi marks are such), lone surrogates,
# and the separators that end a line or paragraph.
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def show_error(failed: LawskerError, *, as_json: bool) -> None:
    """Four lines for people: what failed, state of the database, what was kept, next command; or one JSON object."""
    if as_json:
        from lawsker_db.record.journal import as_json as plain

        fields = {key: plain(value) for key, value in failed.fields.items() if key != "checks"}
        error = {
            "message": failed.message,
            "state": failed.state,
            "next": failed.hint,
            "exit_code": failed.exit_code,
        }
        print_json({"error": error | fields | {"kind": type(failed).__name__}})
        return
    say(f"Failed:   {failed.message}")
    say(f"Database: {failed.state}")
    say(f"Kept:     {failed.fields.get('folder', 'nothing was written')}")
    say(f"Next:     {failed.hint}")


def show_bug(failed: Exception, *, as_json: bool) -> None:
    """A bug of ours: its kind and place, without values, which may be personal data or a password."""
    frames = traceback.extract_tb(failed.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    message = f"a bug in lawsker-db: {type(failed).__name__} at {place}"
    state = "every migration runs in one transaction; unless a run above says committed, nothing was changed."
    hint = "lawsker-db status, then report this with the lines above"
    if as_json:
        error = {"message": message, "state": state, "next": hint, "exit_code": 1, "kind": type(failed).__name__}
        print_json({"error": error})
        return
    say(f"Failed:   {message}")
    say(f"Database: {state}")
    say("Kept:     the run's folder, if one was named above")
    say(f"Next:     {hint}")


def show_report(report: RunReport, *, as_json: bool) -> None:
    """The end of a run."""
    if as_json:
        from lawsker_db.record.document import as_document

        print_json(as_document(report))
        return
    tell(f"{report.verdict.value.upper()}: {report.message}")
    tell(report.state)
    if report.folder:
        for timing in report.timings:
            say(f"  {timing.phase.value:<10} {timing.duration_s:8.2f} s")
        for lock in report.locks:
            foretold = _foretold(report, lock)
            say(f"  {lock.table} was locked {lock.mode} for {lock.held_s:.2f} s{foretold}")
        for back in report.reinstated:
            say(f"  brought back {_back_text(back)}")
        for line in _tried_out(report):
            say(f"  {line}")
        if report.archive:
            say(f"  kept in schema {report.archive}: {sum(report.kept.values())} rows in {len(report.kept)} tables")
        for what, number in report.figures.items():
            say(f"  {what}: {number}")
        for line in report.not_proven:
            say(f"  Not proven: {line}")
        for line in report.notes:
            say(f"  Note: {line}")
        tell(f"Report: {short_path(report.folder)}/report.html")
    tell(f"Next: {report.hint}")


def short_path(path: str) -> str:
    """Pure but for the current folder. A path as a person would type it from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except (ValueError, FileNotFoundError):
        return path


def _tried_out(report: RunReport) -> Iterator[str]:
    """Pure. What the trial restore and the rehearsal found."""
    if report.proof:
        proof = report.proof
        took = f"restored in {proof.restore_s:.1f} s, compared in {proof.compare_s:.1f} s"
        yield f"the backup is proven: {proof.tables} tables, {proof.rows} rows equal; {took}"
    if report.rehearsal:
        found = report.rehearsal
        locks = "".join(f", {lock.table} locked {lock.mode} for {lock.held_s:.2f} s" for lock in found.locks)
        wal = f"{found.wal_bytes / 1e6:.1f} MB of WAL, {found.growth_bytes / 1e6:+.1f} MB"
        yield f"rehearsed in {found.duration_s:.2f} s: {'go' if found.go else 'no go'}{locks}, {wal}"


def _back_text(back: Reinstated) -> str:
    from lawsker_db.safety.reinstatement import back_text

    return back_text(back)


def _foretold(report: RunReport, lock: LockHeld) -> str:
    """Pure. The rehearsal's forecast for this lock, beside what was measured."""
    locks = report.rehearsal.locks if report.rehearsal else ()
    same = (found for found in locks if (found.table, found.mode) == (lock.table, lock.mode))
    return next((f" (rehearsed: {found.held_s:.2f} s)" for found in same), "")


def show_checks(checks: tuple[Check, ...]) -> None:
    """A line a check, under its code if it has one; what is as expected in few words, what is not in full, with what to do
    about it in a second line."""
    for check in checks:
        name = f"{check.code} {check.name}" if LISTED.fullmatch(check.code) else check.name
        line = f"{_mark(check):<7}  {name}: {check.found.removeprefix(LEFT_OUT)}"
        known = check.ok is True or check.found.startswith(LEFT_OUT)
        tell(line if known else f"{line} (expected: {check.expected})")
        if check.hint and check.ok is not True:
            tell(f"         Next: {check.hint}")


def _mark(check: Check) -> str:
    """Pure. How a check ended, in a word. What was tried and gave no answer is as good as a failure."""
    if check.ok is None and check.code:
        return "NOT RUN" if check.found.startswith(LEFT_OUT) else "UNKNOWN"
    return "WARN" if check.warning and check.ok is False else MARKS[check.ok]


def printable(text: str) -> str:
    """Pure. Text as a terminal may be given it: what does not show as itself becomes an escape that does.

    Names come out of databases: an escape sequence in one would repaint the screen, a newline forge a line of ours, a
    bidi mark turn a sentence around.
    """
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in UNSEEN else char for char in text
    )


def tell(line: str) -> None:
    """A line of the result, on stdout, in the language of this process."""
    print(printable(said(line)))


def version_text(number: int) -> str:
    """Pure. 15.18 for server_version_num 150018."""
    return f"{number // 10000}.{number % 10000}"


def age_text(then: datetime, now: datetime) -> str:
    """Pure. How long ago something was, in the largest unit that tells it in two digits or so."""
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return "in the future (a clock is wrong)"
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def say(line: str) -> None:
    """A line of talk. A closed stderr silences it; it never stops a run."""
    _to_stderr(printable(said(line)))


def say_json(value: object) -> None:
    """A line of talk for machines: one JSON value, exact."""
    _to_stderr(json.dumps(value, ensure_ascii=False))


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return
