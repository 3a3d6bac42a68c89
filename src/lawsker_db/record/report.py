"""The report of a run: report.json for machines, report.html for people, one file without network."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from importlib import resources
from pathlib import Path
from string import Template

from lawsker_db.evidence import Check, LockHeld, RestorePoint, RunReport, StatementCost, Verdict
from lawsker_db.record.journal import as_json, write_atomically

REPORT_VERSION = 1
JSON_REPORT = "report.json"
SLOWEST = 12  # statements of the rehearsal on the page; report.json has more
GOOD = (Verdict.DONE, Verdict.NOTHING_TO_DO, Verdict.DRY_RUN, Verdict.REHEARSED)


def write_report(report: RunReport, folder: Path) -> str:
    """Write report.json and report.html into the run's folder. Returns what went wrong, empty when nothing did: a report
    that cannot be written must not change the outcome of the run it tells of."""
    try:
        write_atomically(folder / JSON_REPORT, json.dumps(as_document(report), ensure_ascii=False, indent=2).encode())
        write_atomically(folder / "report.html", render_html(report).encode())
    except OSError as failed:
        return f"the report could not be written: {failed}"
    return ""


def read_verdict(folder: Path) -> str | None:
    """How the run of a folder ended, by its report; None when it wrote none that can be read. Reads the disk."""
    try:
        return str(json.loads((folder / JSON_REPORT).read_bytes())["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_document(report: RunReport) -> dict[str, object]:
    """Pure. The report as JSON values."""
    return {"report_version": REPORT_VERSION, **as_json(asdict(report))}


def render_html(report: RunReport) -> str:
    """Pure. One page: verdict first, then the evidence. Every name from the database is escaped."""
    template = Template(resources.files("lawsker_db.record").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"lawsker-db {report.run_id}"),
        tone="good" if report.verdict in GOOD else "bad",
        verdict=escape(report.verdict.value),
        message=escape(report.message),
        state=escape(report.state),
        hint=escape(report.hint),
        facts=_rows(_facts(report)),
        timings=_bars(report),
        locks=_rows(
            (
                lock.table,
                lock.mode,
                f"{lock.granted_at:%H:%M:%S} UTC, try {lock.attempts}",
                "" if lock.held_s is None else f"{lock.held_s:.3f} s",
                _foretold(report, lock),
            )
            for lock in report.locks
        ),
        rehearsal=_rows(_rehearsal(report)),
        statements=_rows(_statement_cells(cost) for cost in _statements(report)[:SLOWEST]),
        checks=_rows(_check_cells(check) for check in report.checks),
        contents=_rows((c.table, c.proof, "" if c.rows is None else str(c.rows)) for c in report.contents),
        made=_rows((name, str(rows)) for name, rows in (*report.rows_made.items(), *report.figures.items())),
        reinstated=_rows(
            (
                f"{table.table} ({', '.join(table.columns)})" if table.columns else table.table,
                f"{table.archived} in {back.archive}",
                str(table.back),
                str(table.kept_as_made),
                str(table.left),
                str(table.without_parent),
            )
            for back in report.reinstated
            for table in back.tables
        ),
        not_proven=_items(report.not_proven),
        notes=_items(report.notes),
    )


def _facts(report: RunReport) -> Iterable[tuple[str, ...]]:
    """Pure. What the run was, as name and value."""
    yield "Run", report.run_id
    yield "Database", report.target
    if report.server:
        yield "Server", f"PostgreSQL {report.server.major} ({report.server.version}), {report.server.address}"
        yield "Size", f"{report.server.data_bytes / 1e6:.1f} MB"
        yield "As", report.server.user
    came_from, went_to = ", ".join(report.from_revisions) or "base", ", ".join(report.to_revisions) or "base"
    yield "Revision", f"{came_from} → {went_to}"
    yield "Started", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "Took", f"{report.duration_s:.1f} s"
    if report.backup:
        size = f"{report.backup.bytes / 1e6:.1f} MB by {report.backup.client_version}"
        yield (
            "Backup",
            f"{report.backup.folder} ({size}, {'proven' if report.backup.proven else 'not restored'})",
        )
    if report.proof:
        proof = report.proof
        took = f"restored in {proof.restore_s:.1f} s, compared in {proof.compare_s:.1f} s"
        yield "Proof", f"{proof.tables} tables, {proof.rows} rows equal; {took}"
        for omitted in proof.omitted:
            yield "Not compared", omitted
    if report.backup:
        yield "SHA-256", report.backup.sha256
    if report.restore_point:
        yield from _recovery(report.restore_point)
    if report.archive:
        yield "Archive", f"schema {report.archive}, {len(report.kept)} tables"
        for table, rows in report.kept.items():
            yield "Kept", f"{table}: {rows} rows"
    yield "Tool", f"lawsker-db {report.tool_version}"


def _recovery(point: RestorePoint) -> Iterable[tuple[str, ...]]:
    """Pure. How the whole server goes back to the moment before the migration, where its WAL is kept."""
    kept = "" if point.archived else "; this server archives no WAL itself: only a tool that streams it can do this"
    yield "Before the migration", f"WAL at {point.lsn}, timeline {point.timeline}, {point.name or 'no name'}{kept}"
    for command in point.commands:
        yield "Recover the server to it", command


def _rehearsal(report: RunReport) -> Iterable[tuple[str, ...]]:
    """Pure. What the rehearsal on the restored copy foretold, as name and value."""
    if report.rehearsal is None:
        yield "Rehearsed", "no"
        return
    found = report.rehearsal
    yield "Verdict", "go" if found.go else f"no go: {found.reason}"
    yield "Time", f"{found.duration_s:.2f} s"
    for lock in found.locks:
        yield f"Lock on {lock.table}", f"{lock.mode} for {lock.held_s:.3f} s"
    yield "Rewritten", ", ".join(found.rewritten) or "nothing"
    yield "WAL", f"{found.wal_bytes / 1e6:.1f} MB"
    yield "Growth", f"{found.growth_bytes / 1e6:+.1f} MB"


def _foretold(report: RunReport, lock: LockHeld) -> str:
    """Pure. How long the rehearsal foretold that this table would be locked so."""
    foretold = report.rehearsal.locks if report.rehearsal else ()
    return next((f"{f.held_s:.3f} s" for f in foretold if (f.table, f.mode) == (lock.table, lock.mode)), "")


def _statements(report: RunReport) -> tuple[StatementCost, ...]:
    return report.rehearsal.statements if report.rehearsal else ()


def _statement_cells(cost: StatementCost) -> tuple[str, ...]:
    """Pure. What a statement of the rehearsal cost and did."""
    return (
        f"{cost.duration_s:.3f} s",
        cost.statement,
        "" if cost.rows is None else str(cost.rows),
        f"{cost.wal_bytes / 1e6:.2f} MB",
        f"{cost.growth_bytes / 1e6:+.2f} MB",
        "; ".join(f"{lock.table} {lock.mode} for {lock.held_s:.3f} s" for lock in cost.locks),
        ", ".join(cost.rewritten),
    )


def _bars(report: RunReport) -> str:
    """Pure. The phases as bars, as wide as they took of the whole."""
    whole = max(report.duration_s, 0.001)
    return "".join(
        f'<tr><th scope="row">{escape(timing.phase.value)}</th><td>{timing.duration_s:.3f} s</td>'
        f'<td class="bar"><svg width="100%" height="12" role="img" aria-label="{share:.0f} percent">'
        f'<rect width="{share:.1f}%" height="12" rx="3"/></svg></td></tr>'
        for timing in report.timings
        for share in (min(100.0, 100 * timing.duration_s / whole),)
    )


def _check_cells(check: Check) -> tuple[str, ...]:
    words = {True: "passed", False: "FAILED", None: "NOT RUN"}
    mark = "warning" if check.warning and check.ok is False else words[check.ok]
    if check.warning and check.ok is None and not check.code:
        mark = "warning"
    found = check.found if check.ok is True or not check.hint else f"{check.found}. Next: {check.hint}"
    return mark, check.code, check.name, check.expected, found


def _items(lines: tuple[str, ...]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines) or "<li>nothing</li>"


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    """Pure. Table rows; the first cell is the row's heading."""
    return "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
