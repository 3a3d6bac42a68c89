"""The report of a run: report.json for machines, report.html for people, one file without network and without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from lawsker_db.evidence import Direction, RunReport, Verdict
from lawsker_db.phrases import Phrase, joined, spoken
from lawsker_db.record import course, findings
from lawsker_db.record.charts import BAD, GOOD, PLAIN, WARN
from lawsker_db.record.document import JSON_REPORT, as_bytes
from lawsker_db.record.journal import write_atomically
from lawsker_db.record.markup import markup
from lawsker_db.record.page import Say, facts, items, keys, navigation, page, section, speaking

HTML_REPORT = "report.html"
LONG = 200  # letters of a message that is no headline any more
TONES = {
    Verdict.DONE: GOOD,
    Verdict.NOTHING_TO_DO: GOOD,
    Verdict.DRY_RUN: PLAIN,
    Verdict.REHEARSED: GOOD,
    Verdict.REFUSED: WARN,  # the database is as it was
    Verdict.ROLLED_BACK: WARN,
    Verdict.INTERRUPTED: WARN,
    Verdict.UNKNOWN: BAD,
    Verdict.COMMITTED_UNPROVEN: BAD,
    Verdict.RESTORE_FAILED: BAD,
}


def write_report(report: RunReport, folder: Path) -> str:
    """Write report.json and report.html into the run's folder, the latter in the language of this process.

    Returns what went wrong, empty when nothing did: a report that cannot be written, also for a bug in its pages, must not
    change the outcome of the run it tells of, which may have committed."""
    try:
        write_atomically(folder / JSON_REPORT, as_bytes(report))
        write_atomically(folder / HTML_REPORT, render_html(report).encode())
    except OSError as failed:
        return Phrase("the report could not be written: {why}", why=failed.strerror or str(failed))
    except Exception as bug:  # noqa: BLE001
        words = Phrase("a bug in lawsker-db: {kind}", kind=type(bug).__name__)
        return Phrase("the report could not be written: {why}", why=words)
    return ""


def read_verdict(folder: Path) -> str | None:
    """How the run of a folder ended, by its report; None when it wrote none that can be read. Reads the disk."""
    try:
        return str(json.loads((folder / JSON_REPORT).read_bytes())["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def render_html(report: RunReport, language: str | None = None) -> str:
    """Pure. One page in a language, that of this process where none is named: verdict first, then the evidence. Every name
    from the database is escaped."""
    language = language or spoken()
    say = speaking(language)
    parts = [(name, heading, body) for name, heading, body in _sections(say, report) if body]
    sections = "".join(section(say, *part) for part in parts)
    links = navigation(say, Phrase("Sections"), [(name, heading) for name, heading, _ in parts])
    made = joined((Phrase("Made by lawsker-db {version}.", version=report.tool_version), Phrase("Times are UTC.")), " ")
    body = (
        f"<header>{_verdict(say, report)}{keys(say, _keys(report))}{links}</header>\n"
        f'<main id="content" tabindex="-1">\n{sections}</main>\n<footer>{markup(say(made))}</footer>'
    )
    title = Phrase("{verdict}: {run}", verdict=Phrase(report.verdict.value), run=report.run_id or report.target)
    return page(title=f"lawsker-db {say(title)}", body=body, language=language)


def _verdict(say: Say, report: RunReport) -> str:
    """Pure. The first thing that is read: how it ended, what state the database is in, what to type next."""
    ended = report.started_at + timedelta(seconds=report.duration_s)
    when = Phrase(
        "Run {run} on {target}, {began} to {ended} UTC",
        run=report.run_id or Phrase("without a folder"),
        target=report.target,
        began=f"{report.started_at:%Y-%m-%d %H:%M:%S}",
        ended=f"{ended:%H:%M:%S}",
    )
    following, verdict = say(Phrase("Next:")), say(Phrase(report.verdict.value))
    kind = "message" if len(report.message) < LONG else "message long"
    return (
        f'<div class="verdict {TONES[report.verdict]}"><h1>{markup(verdict)}</h1>'
        f'<p class="{kind}">{markup(say(report.message))}</p><p class="state">{markup(say(report.state))}</p>'
        f'<p class="next"><b>{markup(following)}</b> {markup(say(report.hint))}</p>'
        f'<p class="run">{markup(say(when))}</p></div>'
    )


def _keys(report: RunReport) -> Iterator[tuple[str, str, str]]:
    """Pure. What somebody asks first: name, value, tone."""
    yield Phrase("Took"), Phrase("{duration_s:.1f} s", duration_s=report.duration_s), ""
    held = [lock.held_s for lock in report.locks if lock.held_s is not None]
    if held:
        yield Phrase("Longest lock"), Phrase("{duration_s:.2f} s", duration_s=max(held)), ""
    elif report.rehearsal and report.rehearsal.locks:
        foretold = max(lock.held_s for lock in report.rehearsal.locks)
        yield Phrase("Longest lock foretold"), Phrase("{duration_s:.2f} s", duration_s=foretold), ""
    failed = sum(findings.result_of(check) == findings.FAILED for check in report.checks)
    if report.checks:
        passed = Phrase("{count} passed", count=sum(check.ok is True for check in report.checks))
        yield Phrase("Checks"), Phrase("{count} failed", count=failed) if failed else passed, BAD if failed else ""
    warned = sum(findings.result_of(check) == findings.WARNING for check in report.checks)
    if warned:
        yield Phrase("Warnings"), str(warned), WARN
    if report.contents:
        # the server's own catalogs were looked at as well, and are nobody's tables
        older = sum(not one.table.startswith("pg_catalog.") for one in report.contents)
        yield Phrase("Older tables and sequences"), Phrase("{count} unchanged", count=older), ""
    if report.backup:
        proven = report.backup.proven
        yield Phrase("Backup"), Phrase("proven") if proven else Phrase("not proven"), GOOD if proven else WARN
    if report.rehearsal:
        go = report.rehearsal.go
        yield Phrase("Rehearsal"), Phrase("go") if go else Phrase("no go"), GOOD if go else BAD
    if report.rescued is not None:
        rows = sum(one.inserted + one.changed for one in report.rescued)
        yield Phrase("Rows rescued"), f"{rows:,}", WARN if rows else ""


def _sections(say: Say, report: RunReport) -> Iterator[tuple[str, str, str]]:
    """Pure. The page's parts in the order in which they are read: name, heading, body; an empty body is left out."""
    yield "failed", Phrase("What failed"), findings.failed_checks(say, report)
    yield "not-proven", Phrase("What was not proven"), items(say, report.not_proven)
    yield "phases", Phrase("Phases"), course.phases(say, report)
    yield "locks", Phrase("Locks on tables that stood before"), course.locks(say, report)
    yield "rescue", Phrase("Rows written since the backup"), findings.rescue(say, report)
    yield "contract", Phrase("Contract against found"), findings.contract(say, report)
    yield "tables", Phrase("Changed tables"), findings.diagram(say, report)
    yield "checks", Phrase("Checks"), findings.checks(say, report)
    yield "content", Phrase("Content of what stood before"), findings.contents(say, report)
    yield "rows", Phrase("Rows made, and figures"), findings.rows_made(say, report)
    yield "reinstated", Phrase("Brought back from an archive"), findings.reinstated(say, report)
    yield "archive", Phrase("Kept in an archive"), findings.archive(say, report)
    yield "sizes", Phrase("Sizes"), course.sizes(say, report)
    yield "backup", Phrase("Backup and its proof"), course.backup(say, report)
    yield "rehearsal", Phrase("Rehearsal on the restored copy"), course.rehearsal(say, report)
    yield "notes", Phrase("Notes"), items(say, report.notes)
    yield "run", Phrase("The run"), facts(say, _facts(report))


def _facts(report: RunReport) -> Iterator[tuple[str, str]]:
    """Pure. What the run was, as name and value."""
    yield Phrase("Run"), report.run_id
    yield Phrase("Database"), report.target
    server = report.server
    if server:
        words = Phrase("PostgreSQL {major}.{minor}, {address}", major=server.major, minor=server.version % 10000,
                       address=server.address)  # fmt: skip
        yield Phrase("Server"), words
        yield Phrase("System identifier"), Phrase("{number}, database OID {oid}", number=server.system_identifier,
                                                  oid=server.database_oid)  # fmt: skip
        also = Phrase("{user} (session user {session_user})", user=server.user, session_user=server.session_user)
        yield Phrase("As"), server.user if server.user == server.session_user else also
    yield Phrase("Direction"), Phrase(report.direction.value)
    came_from, went_to = (", ".join(ends) or "base" for ends in (report.from_revisions, report.to_revisions))
    yield Phrase("Revision"), f"{came_from} → {went_to}"
    if report.steps:
        yield Phrase("Steps"), ", ".join(report.steps)
    yield Phrase("Began"), f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC"
    yield Phrase("Folder"), report.folder
    if report.run_id and report.verdict in (Verdict.DONE, Verdict.COMMITTED_UNPROVEN, Verdict.UNKNOWN):
        asking = f"lawsker-db status --run {report.run_id}"
        words = Phrase("lawsker_db.migration_run has its marker row, in the chain of hashes: {command}", command=asking)
        yield Phrase("History"), words
    elif report.run_id and report.direction is not Direction.RESTORE:
        yield Phrase("History"), Phrase("no row: it did not commit")
