"""What a run found, as parts of its page: failures, contract against found, checks, content, rows, archives. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from lawsker_db.changes import Promised
from lawsker_db.evidence import Check, Direction, RunReport, TableBack, Verdict
from lawsker_db.phrases import Phrase, joined
from lawsker_db.record.charts import BAD, GOOD, SECOND, WARN
from lawsker_db.record.diagram import changed_tables
from lawsker_db.record.junit import GROUPS, OTHER, group_of
from lawsker_db.record.page import Say, disclosed, facts, items, paragraph, subheading, table

KINDS: Mapping[str, str] = {
    "table": Phrase("Tables"),
    "column": Phrase("Columns"),
    "constraint": Phrase("Constraints"),
    "index": Phrase("Indexes"),
    "trigger": Phrase("Triggers"),
    "function": Phrase("Functions"),
    "sequence": Phrase("Sequences"),
    "type": Phrase("Types"),
    "seed rows": Phrase("Tables with their promised rows"),
}
GROUP_NAMES: Mapping[str, str] = {
    "structure": Phrase("Structure"),
    "data": Phrase("Data"),
    "business": Phrase("Business rules"),
    "performance": Phrase("Performance"),
    OTHER: Phrase("Before, in and after the transaction"),
}
PASSED, FAILED, WARNING, NOT_RUN = Phrase("passed"), Phrase("FAILED"), Phrase("warning"), Phrase("not run")
TONES: Mapping[str, str] = {PASSED: GOOD, FAILED: BAD, WARNING: WARN, NOT_RUN: SECOND}
CATALOG = "catalog after"  # how the gate's checks of the whole schema are named
SHOWN = 40  # deviations on the page; report.json has them all


def result_of(check: Check) -> Phrase:
    """Pure. How a check ended, in a word. What could not be looked at and must hold is a failure."""
    if check.ok is True:
        return PASSED
    if check.fails:
        return FAILED
    return WARNING if check.ok is False or not check.code else NOT_RUN


def failed_checks(say: Say, report: RunReport) -> str:
    """Pure. What failed, with what to do about it: the first thing that somebody looks for."""
    drawn = ""
    for check in report.checks:
        if result_of(check) == FAILED:
            lines = check.detail.splitlines()
            told = [(Phrase("Expected"), check.expected)]
            told += [] if len(lines) > 1 else [(Phrase("Found"), check.found)]
            told += [(Phrase("Next"), hint)] if (hint := _hint(check)) else []
            drawn += subheading(say, _title(check)) + facts(say, told) + (_listed(say, lines) if len(lines) > 1 else "")
    return drawn


def checks(say: Say, report: RunReport) -> str:
    """Pure. Every other check by groups: what is worth a look first, what passed when asked for."""
    order = (*GROUPS.values(), OTHER)
    listed = sorted(report.checks, key=lambda check: order.index(group_of(check)))
    drawn = ""
    for group, found in groupby(listed, key=group_of):
        of_group = tuple(found)
        passed = [check for check in of_group if result_of(check) == PASSED]
        warned = [check for check in of_group if result_of(check) == WARNING]
        left_out = [check for check in of_group if result_of(check) == NOT_RUN]
        counts = Phrase(
            "passed: {passed}, failed: {failed}, warnings: {warned}, not run: {left_out}",
            passed=len(passed),
            failed=len(of_group) - len(passed) - len(warned) - len(left_out),
            warned=len(warned),
            left_out=len(left_out),
        )
        drawn += subheading(say, GROUP_NAMES[group]) + paragraph(say, counts, kind="soft") + _check_table(say, warned)
        not_run = Phrase("Checks that were not run: {count}", count=len(left_out))
        summary = Phrase("Checks that passed: {count}", count=len(passed))
        drawn += disclosed(say, not_run, _check_table(say, left_out))
        drawn += disclosed(say, summary, _check_table(say, passed))
    return drawn


def contract(say: Say, report: RunReport) -> str:
    """Pure. What the revisions promised, kind by kind, and how much of it was found; each deviation."""
    if not report.promised:
        return ""
    looked = any(one.found is not None for one in report.promised)
    rehearsed = report.rehearsal is not None and report.rehearsal.go
    on_the_copy = Phrase("The gate has judged the restored copy alone: there all of it was found as promised.")
    nowhere = Phrase("The gate has not judged the database in this run: nothing was looked at.")
    why = "" if looked else paragraph(say, on_the_copy if rehearsed else nowhere)
    tones = [_tone(one) for one in report.promised]
    seen = Phrase("Gone") if report.direction is Direction.DOWNGRADE else Phrase("Found")
    heads = (Phrase("What"), seen, Phrase("Promised"), Phrase("Deviations"), Phrase("Revision"))
    rows = (
        (
            KINDS.get(one.kind, one.kind),
            Phrase("not looked at") if one.found is None else str(one.found),
            str(one.promised),
            str(len(one.deviations)) if one.deviations else Phrase("none") if one.found is not None else "",
            one.revision,
        )
        for one in report.promised
    )
    listed = table(say, heads, rows, numbers=(1, 2), tones=tones)
    deviations = [label for one in report.promised for label in one.deviations]
    below = subheading(say, Phrase("Deviations")) + _listed(say, deviations) if deviations else ""
    failed = [check for check in report.checks if check.name.startswith(CATALOG) and check.fails]
    extra = [line for check in failed for line in check.detail.splitlines() if line not in deviations]
    also = subheading(say, Phrase("Not promised")) + _listed(say, extra) if extra else ""
    return why + listed + below + also


def diagram(say: Say, report: RunReport) -> str:
    """Pure. The changed tables before and after; where nothing came of it, that is said."""
    drawn = changed_tables(say, report.changes)
    if not drawn or report.verdict in (Verdict.DONE, Verdict.COMMITTED_UNPROVEN):
        return drawn
    unknown = report.verdict is Verdict.UNKNOWN
    words = (
        Phrase("It is not known whether this came about.")
        if unknown
        else Phrase("This did not come about in this run.")
    )
    return paragraph(say, words) + drawn


def contents(say: Say, report: RunReport) -> str:
    """Pure. How each table that stood before was proven unchanged."""
    if not report.contents:
        return ""
    read = sum(one.rows is not None for one in report.contents)
    words = Phrase(
        "Tables and sequences that stood before: {count}. Read and compared: {read}; provably not written: {rest}.",
        count=len(report.contents),
        read=read,
        rest=len(report.contents) - read,
    )
    ordered = sorted(report.contents, key=lambda one: (one.rows is None, one.table))
    rows = [(one.table, one.proof, "" if one.rows is None else f"{one.rows:,}") for one in ordered]
    heads = (Phrase("Table"), Phrase("Proven by"), Phrase("Rows read"))
    compared = table(say, heads, (row for row in rows if row[2]), numbers=(2,))
    others = table(say, heads[:2], (row[:2] for row in rows if not row[2]))
    summary = Phrase("The {count} that were not written", count=len(report.contents) - read)
    return paragraph(say, words) + compared + disclosed(say, summary, others)


def rescue(say: Say, report: RunReport) -> str:
    """Pure. The rows that a restore does not bring back, table by table."""
    if report.rescued is None:
        return ""
    if not report.rescued:
        return paragraph(say, Phrase("No row was written since the backup."))
    heads = (
        Phrase("Table"),
        Phrase("Only in the damaged database"),
        Phrase("Changed since"),
        Phrase("Only in the backup"),
    )
    ordered = sorted(report.rescued, key=lambda one: (-(one.inserted + one.changed), one.table))
    rows = ((one.table, f"{one.inserted:,}", f"{one.changed:,}", f"{one.deleted:,}") for one in ordered)
    return table(say, heads, rows, numbers=(1, 2, 3))


def reinstated(say: Say, report: RunReport) -> str:
    """Pure. What came back from archives, and what stays there."""
    heads = (Phrase("Table"), Phrase("Archived"), Phrase("Brought back"), Phrase("Kept as made"))
    return "".join(
        paragraph(
            say, Phrase("Revision {revision}, from schema {archive}.", revision=back.revision, archive=back.archive)
        )
        + table(
            say,
            (*heads, Phrase("Left in the archive"), Phrase("Came back without a parent")),
            map(_back_row, back.tables),
            numbers=(1, 2, 3, 4, 5),
        )
        for back in report.reinstated
    )


def archive(say: Say, report: RunReport) -> str:
    """Pure. What a rollback keeps, and where."""
    if not report.archive:
        return ""
    words = Phrase("Schema {archive} keeps what was taken away.", archive=report.archive)
    heads = (Phrase("Table"), Phrase("Rows"))
    return paragraph(say, words) + table(
        say, heads, ((name, f"{rows:,}") for name, rows in report.kept.items()), numbers=(1,)
    )


def rows_made(say: Say, report: RunReport) -> str:
    """Pure. The rows that the run made, and the numbers that the revisions have reported."""
    figures = table(
        say,
        (Phrase("Figure"), Phrase("Number")),
        ((what, f"{number:,}") for what, number in report.figures.items()),
        numbers=(1,),
    )
    made = table(
        say,
        (Phrase("Table"), Phrase("Rows made")),
        ((name, f"{rows:,}") for name, rows in report.rows_made.items()),
        numbers=(1,),
    )
    summary = Phrase("Rows made in {count} tables", count=len(report.rows_made))
    return figures + disclosed(say, summary, made)


def _tone(one: Promised) -> str:
    if one.found is None:
        return SECOND
    return GOOD if one.found == one.promised and not one.deviations else BAD


def _check_table(say: Say, found: Sequence[Check]) -> str:
    heads = (Phrase("Check"), Phrase("Result"), Phrase("Expected"), Phrase("Found"))
    rows = ((_title(check), result_of(check), check.expected, _found(check)) for check in found)
    return table(say, heads, rows, tones=[TONES[result_of(check)] for check in found], kind="checks")


def _title(check: Check) -> str:
    return joined((check.code, check.name), " ") if check.code else check.name


def _found(check: Check) -> str:
    """Pure. What was found and, where it is not as it should be, what to do about it."""
    hint = "" if check.ok is True else _hint(check)
    return Phrase("{found}. Next: {hint}", found=check.found, hint=hint) if hint else check.found


def _hint(check: Check) -> str:
    """Pure. What to do about a check: checks before a run have it in their detail, in one line."""
    return check.hint or (check.detail if check.fails and len(check.detail.splitlines()) == 1 else "")


def _listed(say: Say, lines: Sequence[str]) -> str:
    """Pure. Lines as a list, as many as a page has room for."""
    more = len(lines) - SHOWN
    return items(say, (*lines[:SHOWN], *([Phrase("and {count} more", count=more)] if more > 0 else [])))


def _back_row(back: TableBack) -> tuple[str, ...]:
    name = f"{back.table} ({', '.join(back.columns)})" if back.columns else back.table
    counts = (back.archived, back.back, back.kept_as_made, back.left, back.without_parent)
    return (name, *(f"{count:,}" for count in counts))
