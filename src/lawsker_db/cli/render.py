"""What a person or a machine sees. stdout is the result, stderr the talk."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lawsker_db.cli.layout import columns
from lawsker_db.errors import LawskerError
from lawsker_db.phrases import Phrase, joined, said
from lawsker_db.record.markup import visible

if TYPE_CHECKING:
    from lawsker_db.evidence import Check, LockHeld, Reinstated, RunReport

PASS, WARN, FAIL = Phrase("PASS"), Phrase("WARN"), Phrase("FAIL")
NOT_RUN, UNKNOWN = Phrase("NOT RUN"), Phrase("UNKNOWN")
MARKS = {True: PASS, False: FAIL, None: NOT_RUN}
# SGR parameters (ECMA-48 8.3.117) of what is good, doubtful, bad.
GOOD, DOUBTFUL, BAD = "32", "33", "31"
GOOD_ENDS = ("done", "nothing to do", "dry run", "rehearsed")
TONES = {PASS: GOOD, WARN: DOUBTFUL, FAIL: BAD, NOT_RUN: DOUBTFUL, UNKNOWN: BAD}
LISTED = re.compile(r"[SDBP]\d\d")  # a code of verification's list
LEFT_OUT = "NOT RUN: "  # how the finding of a check begins that was left out
WHY_LEFT_OUT = "NOT RUN: {why}"  # the template of that finding
LOCKS_SHOWN = 6  # a rollback locks as many tables as the revision made

MARK_CELLS, LABEL_CELLS, PHASE_CELLS = 7, 9, 10
HANGING = " " * (MARK_CELLS + 2)


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
    kept = str(failed.fields.get("folder") or "") or Phrase("nothing was written")
    _show_block(failed.message, failed.state, kept, failed.hint)


def _show_block(failed: str, state: str, kept: str, hint: str) -> None:
    """The last four lines of whatever failed: never more, whatever a server or a program has said."""
    lines = (
        (Phrase("Failed:"), failed),
        (Phrase("Database:"), state),
        (Phrase("Kept:"), kept),
        (Phrase("Next:"), hint),
    )
    for label, words in lines:
        say(f"{padded(said(label), LABEL_CELLS)} {one_line(said(words))}", tone=BAD if words is failed else "")


def show_bug(failed: Exception, *, as_json: bool) -> None:
    """A bug of ours: its kind and place, without values, which may be personal data or a password."""
    frames = traceback.extract_tb(failed.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
    message = Phrase("a bug in lawsker-db: {kind} at {place}", kind=type(failed).__name__, place=place)
    state = Phrase("every migration runs in one transaction; unless a run above says committed, nothing was changed.")
    hint = Phrase("lawsker-db status, then report this with the lines above")
    if as_json:
        error = {"message": message, "state": state, "next": hint, "exit_code": 1, "kind": type(failed).__name__}
        print_json({"error": error})
        return
    _show_block(message, state, Phrase("the run's folder, if one was named above"), hint)


def show_report(report: RunReport, *, as_json: bool) -> None:
    """The end of a run."""
    if as_json:
        from lawsker_db.record.document import as_document

        print_json(as_document(report))
        return
    verdict = said(Phrase(report.verdict.value)).upper()
    tone = GOOD if report.verdict in GOOD_ENDS else BAD
    tell(Phrase("{verdict}: {message}", verdict=verdict, message=report.message), tone=tone)
    tell(report.state)
    if report.folder:
        for timing in report.timings:
            phase = padded(said(Phrase(timing.phase.value)), PHASE_CELLS)
            say(f"  {phase} {timing.duration_s:8.2f} s")
        for line in _told(report):
            say(Phrase("  {line}", line=line))
        if (Path(report.folder) / "report.html").is_file():  # a full disk may have had no room for it
            tell(Phrase("Report: {folder}/report.html", folder=short_path(report.folder)))
    tell(Phrase("Next: {hint}", hint=report.hint))


def _told(report: RunReport) -> Iterator[str]:
    """Pure. What a run has to tell beside its verdict, a line each."""
    longest = sorted(report.locks, key=lambda lock: -(lock.held_s or 0.0))[:LOCKS_SHOWN]
    for lock in (lock for lock in report.locks if lock in longest):
        yield Phrase(
            "{table} was locked {mode} for {held_s:.2f} s{foretold}",
            table=lock.table,
            mode=lock.mode,
            held_s=lock.held_s or 0.0,
            foretold=_foretold(report, lock),
        )
    if len(report.locks) > len(longest):
        yield Phrase(
            "{number} more tables were locked, none for longer than {held_s:.2f} s; the report lists them",
            number=len(report.locks) - len(longest),
            held_s=longest[-1].held_s or 0.0,
        )
    for back in report.reinstated:
        yield Phrase("brought back {what}", what=_back_text(back))
    yield from _tried_out(report)
    if report.archive:
        yield Phrase(
            "kept in schema {schema}: {rows} rows in {tables} tables",
            schema=report.archive,
            rows=sum(report.kept.values()),
            tables=len(report.kept),
        )
    for what, number in report.figures.items():
        yield Phrase("{what}: {number}", what=Phrase(what), number=number)
    for line in report.not_proven:
        yield Phrase("Not proven: {what}", what=line)
    for line in report.notes:
        yield Phrase("Note: {what}", what=line)


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
        yield Phrase(
            "the backup is proven: {tables} tables, {rows} rows equal; restored in {restore_s:.1f} s, compared in"
            " {compare_s:.1f} s",
            tables=proof.tables,
            rows=proof.rows,
            restore_s=proof.restore_s,
            compare_s=proof.compare_s,
        )
    if report.rehearsal:
        found = report.rehearsal
        held = (
            Phrase("{table} locked {mode} for {held_s:.2f} s", table=lock.table, mode=lock.mode, held_s=lock.held_s)
            for lock in (() if report.locks else found.locks)  # else they stand beside what was measured
        )
        size = {"wal": found.wal_bytes / 1e6, "growth": found.growth_bytes / 1e6}
        cost = Phrase("{wal:.1f} MB of WAL, growth {growth:+.1f} MB", **size)
        verdict = Phrase("go") if found.go else Phrase("no go")
        felt = joined((verdict, *held, cost))
        yield Phrase("rehearsed in {duration_s:.2f} s: {felt}", duration_s=found.duration_s, felt=felt)


def _back_text(back: Reinstated) -> str:
    from lawsker_db.safety.reinstatement import back_text

    return back_text(back)


def _foretold(report: RunReport, lock: LockHeld) -> str:
    """Pure. The rehearsal's forecast for this lock, beside what was measured."""
    locks = report.rehearsal.locks if report.rehearsal else ()
    same = (found for found in locks if (found.table, found.mode) == (lock.table, lock.mode))
    return next((Phrase(" (rehearsed: {held_s:.2f} s)", held_s=found.held_s) for found in same), "")


def show_checks(checks: tuple[Check, ...]) -> None:
    """A line a check, under its code if it has one; what is as expected in few words, what is not in full, with what to do
    about it in a second line."""
    for check in checks:
        name = joined((check.code, check.name), " ") if LISTED.fullmatch(check.code) else check.name
        left_out = check.found.startswith(LEFT_OUT)
        line = Phrase("{name}: {found}", name=name, found=_why(check) if left_out else check.found)
        if check.ok is not True and not left_out:
            line = Phrase("{name}: {found} (expected: {expected})", **line.values, expected=check.expected)
        tell_marked(_mark(check), line)
        if check.hint and check.ok is not True:
            following = said(Phrase("Next: {hint}", hint=check.hint))
            tell(f"{HANGING}{following}")


def _why(check: Check) -> str:
    """Pure. Why a check was left out, without the mark that stands before it already."""
    found = check.found
    if isinstance(found, Phrase) and found.template == WHY_LEFT_OUT:
        why = found.values["why"]
        return why if isinstance(why, str) else str(why)
    return found.removeprefix(LEFT_OUT)


def _mark(check: Check) -> Phrase:
    """Pure. How a check ended, in a word. What was tried and gave no answer is as good as a failure."""
    if check.ok is None and check.code:
        return NOT_RUN if check.found.startswith(LEFT_OUT) else UNKNOWN
    return WARN if check.warning and check.ok is False else MARKS[check.ok]


def padded(text: str, cells: int) -> str:
    """Pure. A text filled up with blanks to a width on the screen, where a Chinese character takes two cells."""
    return text + " " * (cells - columns(text))


def one_line(text: str) -> str:
    """Pure. A text of several lines as one."""
    return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def coloured(stream: TextIO) -> bool:
    """Whether this stream takes colours: NO_COLOR (no-color.org) keeps them off, FORCE_COLOR on; else a terminal that is not
    dumb."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def painted(text: str, tone: str, stream: TextIO) -> str:
    """A text in a colour, where the stream takes one."""
    return f"\x1b[{tone}m{text}\x1b[0m" if tone and coloured(stream) else text


def tell(line: str, *, tone: str = "", mark: str = "", mark_tone: str = "") -> None:
    """A line of the result, on stdout, in the language of this process; behind a mark with a colour of its own, if any."""
    print(painted(mark, mark_tone, sys.stdout) + painted(visible(said(line)), tone, sys.stdout))


def tell_marked(mark: Phrase, line: str) -> None:
    """A line of the result behind how it ended, in that mark's colour."""
    tell(line, mark=padded(said(mark), MARK_CELLS) + "  ", mark_tone=TONES[mark])


def version_text(number: int) -> str:
    """Pure. 15.18 for server_version_num 150018."""
    return f"{number // 10000}.{number % 10000}"


def age_text(then: datetime, now: datetime) -> Phrase:
    """Pure. How long ago something was, in the largest unit that tells it in two digits or so."""
    seconds = (now - then).total_seconds()
    if seconds < 0:
        return Phrase("in the future (a clock is wrong)")
    if seconds >= 2 * 86400:
        return Phrase("{number} days ago", number=int(seconds // 86400))
    if seconds >= 2 * 3600:
        return Phrase("{number} h ago", number=int(seconds // 3600))
    if seconds >= 2 * 60:
        return Phrase("{number} min ago", number=int(seconds // 60))
    return Phrase("{number:.0f} s ago", number=seconds)


def print_json(value: Mapping[str, object]) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def say(line: str, *, tone: str = "") -> None:
    """A line of talk. A closed stderr silences it; it never stops a run."""
    _to_stderr(painted(visible(said(line)), tone, sys.stderr))


def say_json(value: object) -> None:
    """A line of talk for machines: one JSON value, exact."""
    _to_stderr(json.dumps(value, ensure_ascii=False))


def _to_stderr(line: str) -> None:
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        return
