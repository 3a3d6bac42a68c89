"""`lawsker-db status`, `history` and `doctor`: where a database stands, what was run in it, and could a run begin?"""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Config, Direct, Json, Runs, Url, plain
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lawsker_db.record.history import PastRun
    from lawsker_db.safety.audit import Audit
    from lawsker_db.safety.leftovers import Leftover
    from lawsker_db.safety.standing import LastRun, NewestBackup, Standing
    from lawsker_db.target import Target

WHOLE_ID = re.compile(r"\d{8}T\d{6}Z-\w+-[0-9a-f]{6}")  # as record/journal.py makes them
SHOWN = 5
ExitCode = Annotated[
    bool,
    typer.Option(
        "--exit-code",
        help="Exit 0 at head with nothing to settle, 12 while an outcome is unknown, 15 while a run is at work, else 10.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", help="Show so many of the newest runs; all are checked.", min=1)]


def status(
    database_url: Url = None,
    direct_url: Direct = None,
    config: Config = None,
    runs: Runs = Path("lawsker-runs"),
    run: Annotated[str | None, typer.Option("--run", help="Tell whether this run committed.")] = None,
    exit_code: ExitCode = False,
    as_json: Json = False,
) -> None:
    """Tell where the database stands and what to type next: revision, what is pending, last run, newest proven backup, what
    runs have left. Reads only.

    Exits 0 whatever it finds, unless --exit-code asks for more.
    """
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.safety.standing import look
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    standing = look(target, config, runs)
    run = None if run is None else _meant(run, standing, runs)
    committed = any(past.run_id == run for past in standing.history)
    if as_json:
        asked = {} if run is None else {"run": {"run_id": run, "committed": committed}}
        print_json(plain(asdict(standing) | {"exit_code": standing.exit_code} | asked))
    else:
        for line in _standing_lines(target, standing, runs, datetime.now(UTC)):
            tell(line)
        if run is not None:
            undone = next((past.undone for past in standing.history if past.run_id == run), "")
            became = _became(standing, committed=committed)
            tell(Phrase("Run {run}: {became}{replaced}", run=run, became=became, replaced=_replaced(undone)))
        tell(Phrase("Next: {hint}", hint=standing.hint))
    raise typer.Exit(standing.exit_code if exit_code else 0)


def history(
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """List every run that committed in the database, newest first, and check that the record is whole. Reads only.

    Each row carries the hash of the one before it. Rows cut off at the end leave no trace there: those are looked for in
    the runs folder. Exit code 13 when a row was altered or is missing.
    """
    from lawsker_db.cli.render import print_json, tell
    from lawsker_db.errors import CommittedUnproven
    from lawsker_db.safety.audit import audit
    from lawsker_db.target import find_target

    target = find_target(database_url, direct_url)
    found = audit(target, runs)
    shown = tuple(reversed(found.runs))[:limit]
    if as_json:
        counted = {"intact": not found.flaws, "total": len(found.runs), "folders": found.folders}
        listed = {"runs": [asdict(past) for past in shown], "flaws": [asdict(flaw) for flaw in found.flaws]}
        print_json(plain(counted | listed))
    else:
        for past in shown:
            for line in _run_lines(past):
                tell(line)
        if len(shown) < len(found.runs):
            tell(Phrase("... and {number} older ones", number=len(found.runs) - len(shown)))
        for line in _audit_lines(target, found, runs):
            tell(line)
    raise typer.Exit(CommittedUnproven.exit_code if found.flaws else 0)


def _standing_lines(target: Target, standing: Standing, runs: Path, now: datetime) -> Iterator[str]:
    """Pure. Where the database stands, a line a fact; the word first."""
    word = _upper(standing.word)
    yield Phrase("{word}: {label}, PostgreSQL {major}", word=word, label=target.label, major=standing.server.major)
    current = ", ".join(standing.current) or Phrase("none")
    yield Phrase("Revision: {current} (head {head})", current=current, head=standing.head)
    for revision in standing.pending:
        yield Phrase("Pending: {revision}  {title}", revision=revision, title=Phrase(standing.titles[revision]))
    for who in standing.at_work:
        yield Phrase("At work: {who}", who=who)
    yield (
        _last_line(standing.last, now)
        if standing.history_told
        else Phrase("Last run: this role may not read the history")
    )
    yield _backup_line(standing.backup, runs, now)
    if not standing.runs_read:
        folder = str(runs.absolute())
        yield Phrase(
            "Runs: there are no runs in {folder}: if they were made elsewhere, type --runs FOLDER", folder=folder
        )
    for left in sorted(standing.leftovers, key=lambda left: not left.to_settle):
        yield _leftover_line(left, now)
    for past in standing.history[-SHOWN:]:
        yield _short_line(past)


def _upper(word: str) -> Phrase:
    """Pure. A status word as the first of the line."""
    return Phrase(word.upper())


def _last_line(last: LastRun | None, now: datetime) -> Phrase:
    from lawsker_db.cli.render import age_text

    if last is None:
        return Phrase("Last run: none on record")
    verdict = Phrase(last.verdict) if last.verdict else Phrase("none in the runs folder")
    row = Phrase("committed") if last.committed else Phrase("no row in the history")
    age = age_text(last.at, now) if last.at else Phrase("age unknown")
    return Phrase(
        "Last run: {run}, {age}: {row}; report: {verdict}", run=last.run_id, age=age, row=row, verdict=verdict
    )


def _backup_line(backup: NewestBackup | None, runs: Path, now: datetime) -> Phrase:
    from lawsker_db.cli.render import age_text

    if backup is None:
        return Phrase("Backup: no proven one of this database in {runs}", runs=str(runs))
    return Phrase(
        "Backup: {backup}, proven, {age}, {size:.1f} MB, of revision {revision}",
        backup=backup.backup_id,
        age=age_text(backup.taken_at, now),
        size=backup.bytes / 1e6,
        revision=", ".join(backup.revision) or Phrase("none"),
    )


def _leftover_line(left: Leftover, now: datetime) -> Phrase:
    """Pure. What is left, how large, since when; first whether it is to be settled or was kept on purpose."""
    from lawsker_db.cli.render import age_text

    facts: list[str] = [] if left.bytes is None else [Phrase("{size:.1f} MB", size=left.bytes / 1e6)]
    facts += [age_text(left.since, now)] if left.since else []
    facts += [left.says] if left.says else []
    what = Phrase("{kind} {name}", kind=Phrase(left.kind.value), name=left.name)
    known = joined(facts) if facts else Phrase("nothing more is known")
    if left.to_settle:
        return Phrase("To settle: {what}: {facts}", what=what, facts=known)
    return Phrase("Kept: {what}: {facts}", what=what, facts=known)


def _short_line(past: PastRun) -> Phrase:
    """Pure. A run of the history in one line."""
    return Phrase(
        "{at}  {direction:<9} to {to} by {user} via {via}{place}{flaw}",
        at=_moment(past.made_at),
        direction=Phrase(past.direction),
        to=", ".join(past.to_revisions) or "base",
        user=past.by_user,
        via=past.via,
        place=_place(past),
        flaw="" if past.intact else Phrase("  (row altered since, or one before it missing: lawsker-db history)"),
    )


def _place(past: PastRun) -> str:
    """Pure. Where a run committed, if not here."""
    if past.undone:
        return Phrase(", in what is now {name}: undone here by a restore", name=past.undone)
    return "" if past.here else Phrase(", in a database that this one is a copy of")


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _run_lines(past: PastRun) -> Iterator[str]:
    """Pure. All that the history says of a run, in a few short lines."""
    yield Phrase(
        "{at}  {direction}  {start} → {to}",
        at=_moment(past.made_at),
        direction=Phrase(past.direction),
        start=", ".join(past.from_revisions) or "base",
        to=", ".join(past.to_revisions) or "base",
    )
    yield Phrase("  run {run}{place}", run=past.run_id, place=_place(past))
    yield Phrase(
        "  by {user} from {address}, via {via}, lawsker-db {version}",
        user=past.by_user,
        address=Phrase("local socket") if past.from_address == "local socket" else past.from_address,
        via=past.via,
        version=past.tool_version,
    )
    rows = Phrase(
        "{rows:,} rows made in {tables} tables", rows=sum(past.rows_made.values()), tables=len(past.rows_made)
    )
    backup = Phrase("backup {backup}", backup=past.backup_id) if past.backup_id else Phrase("no backup")
    yield Phrase("  {backup}; {rows}", backup=backup, rows=rows if past.rows_made else Phrase("no rows made"))
    if past.altered:
        yield Phrase("  ALTERED: this row is not what was written")
    if past.gap:
        yield Phrase("  GAP: before this row one is missing, or was replaced")


def _audit_lines(target: Target, found: Audit, runs: Path) -> Iterator[str]:
    """Pure. Whether the record is whole, what is wrong with it, and what nobody can tell."""
    for flaw in found.flaws:
        yield Phrase("{kind}: run {run}: {says}", kind=_upper(flaw.kind), run=flaw.run_id, says=flaw.says)
    number = len(found.runs)
    if found.flaws:
        yield Phrase(
            "BROKEN: the record of {label} ({number} runs) is not what was written", label=target.label, number=number
        )
    elif number:
        yield Phrase(
            "WHOLE: {number} runs, each with the hash of the one before: {label}", number=number, label=target.label
        )
    else:
        yield Phrase("EMPTY: no run is on record: {label}", label=target.label)
    known = Phrase("{folders} of {number} runs have one", folders=found.folders, number=number)
    yield Phrase(
        "Rows cut off at the end leave no trace in a chain: only folders in {runs} would name them ({known}).",
        runs=str(runs),
        known=known,
    )
    broken = Phrase("restore lawsker_db.migration_run from a backup beside it and compare: lawsker-db backup list")
    yield Phrase("Next: {hint}", hint=broken if found.flaws else "lawsker-db status")


def _meant(asked: str, standing: Standing, runs: Path) -> str:
    """The id of the run that is asked for: whole, a part that only one has, or last. Reads the folder of runs.

    Raises `UsageError` for a part of none or of several: of a mistyped id nobody may hear that it did not commit.
    """
    from lawsker_db.record.runs import LAST, list_runs, not_found

    known = tuple(sorted({*(past.run_id for past in standing.history), *list_runs(runs)}))
    if asked in known or WHOLE_ID.fullmatch(asked):
        return asked
    found = known[-1:] if asked == LAST else tuple(run_id for run_id in known if asked and asked in run_id)
    if len(found) == 1:
        return found[0]
    raise not_found(runs, asked, known, found)


def _became(standing: Standing, *, committed: bool) -> Phrase:
    """Pure. What became of a run that was asked for."""
    if committed:
        return Phrase("committed")
    if not standing.history_told:
        return Phrase("this role may not read the history, so nobody can tell")
    if standing.server.in_recovery:
        return Phrase("no marker row here; but this is a standby, which may be behind: ask the primary")
    if standing.at_work:
        who = standing.at_work[0]
        return Phrase("not decided yet: a migration is at work here ({who}); ask again when it has ended", who=who)
    return Phrase("no marker row, and nobody at work: it did not commit")


def _replaced(undone: str) -> str:
    """Pure. What to add about a run that a restore has undone."""
    if not undone:
        return ""
    return Phrase(", in what is now {name}; this database was restored from a backup taken before it", name=undone)
