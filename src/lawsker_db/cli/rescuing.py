"""`lawsker-db rescue`: rows that a damaged database has beyond the restored one beside it, and putting them back."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lawsker_db.cli.options import Direct, DryRun, Json, Runs, Url, Yes, as_question, plain, require_utf8
from lawsker_db.phrases import Phrase, joined

if TYPE_CHECKING:
    from lawsker_db.evidence import OnEvent
    from lawsker_db.safety.replay import Replay
    from lawsker_db.safety.rescue import Rescue, RescueExport, TableRescue
    from lawsker_db.target import Target

Names = Annotated[
    list[str] | None,
    typer.Argument(help="DAMAGED RESTORED: two databases of one server. With --replay: tables.", show_default=False),
]
ReplayOf = Annotated[
    str | None,
    typer.Option("--replay", help="Id or folder of the run whose rescued rows are put back.", show_default=False),
]


def rescue(
    names: Names = None,
    replay: ReplayOf = None,
    database_url: Url = None,
    direct_url: Direct = None,
    runs: Runs = Path("lawsker-runs"),
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Find the rows that exist or differ in a damaged database against the restored one beside it, and write them to files.

    With --replay, put the rows of chosen tables back into the database, where keys and constraints allow. Else nothing is
    changed. Exits 0, or 13 when a replay is committed and rows could not go.
    """
    from lawsker_db.cli.progress import progress
    from lawsker_db.errors import CommittedUnproven, UsageError
    from lawsker_db.target import find_target

    require_utf8("DAMAGED RESTORED" if replay is None else "TABLE", *(names or ()))
    target = find_target(database_url, direct_url)
    if replay is None:
        if names is None or len(names) != 2:
            raise UsageError(Phrase("Two databases are needed."), hint="lawsker-db rescue DAMAGED RESTORED")
        with progress(as_json=as_json) as on_event:
            _compare(target, (names[0], names[1]), runs, dry_run=dry_run, as_json=as_json, on_event=on_event)
        return
    folder = runs / replay if Path(replay).name == replay else Path(replay)
    tables = _whole_names(folder, tuple(names or ()))
    if not (yes or dry_run):  # before there is a line that moves
        _ask_name(target, tables)
    with progress(as_json=as_json) as on_event:
        done = _replay(target, folder, tables, dry_run=dry_run, on_event=on_event)
    _show_replay(done, as_json=as_json)
    if not (done.complete or done.dry_run):
        raise typer.Exit(CommittedUnproven.exit_code)


def _compare(
    target: Target, names: tuple[str, str], runs: Path, *, dry_run: bool, as_json: bool, on_event: OnEvent
) -> None:
    """Count, and write what was found into a new folder below `runs`."""
    from lawsker_db.errors import Refused
    from lawsker_db.record.journal import create_run_folder, new_run_id
    from lawsker_db.safety.rescue import export_rescue, find_rescue

    damaged, restored = (replace(target, parameters={**target.parameters, "dbname": name}) for name in names)
    found = find_rescue(damaged, restored, on_event=on_event)
    export: RescueExport | None = None
    if found.tables and not dry_run:
        folder = create_run_folder(runs.absolute(), new_run_id("rescue"))
        try:
            export = export_rescue(damaged, restored, found, folder, on_event=on_event)
        finally:
            with suppress(OSError):  # goes where nothing is in it
                folder.rmdir()
    _show_found(found, export, names, as_json=as_json)
    if found.unread:  # what could not be looked at is not passed
        raise typer.Exit(Refused.exit_code)


def _replay(target: Target, folder: Path, tables: tuple[str, ...], *, dry_run: bool, on_event: OnEvent) -> Replay:
    """Put rows back under the RUN lock."""
    from lawsker_db.cli.interrupts import settle
    from lawsker_db.errors import CommittedUnproven
    from lawsker_db.postgres.locks import run_lock
    from lawsker_db.safety.replay import replay_rescue

    with run_lock(target):
        done = replay_rescue(target, folder, tables, dry_run=dry_run, on_event=on_event)
        if not dry_run:
            settle(0 if done.complete else CommittedUnproven.exit_code)
    return done


def _whole_names(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The tables as the rescue in the folder has them: `users` is the one that is called so, in whatever schema."""
    from lawsker_db.safety.rescue_files import read_index

    known = tuple(table.table for table in read_index(folder)[1].tables)
    return tuple(_whole_name(name, known) for name in names)


def _whole_name(name: str, known: tuple[str, ...]) -> str:
    """Pure. The one label that ends in this name; else the name as it was typed."""
    found = [label for label in known if label.endswith(f".{name}")]
    return found[0] if name not in known and len(found) == 1 else name


def _ask_name(target: Target, tables: tuple[str, ...]) -> None:
    """Have the database's name typed. Raises `UsageError` where another one is, or nobody can be asked."""
    from lawsker_db.errors import UsageError
    from lawsker_db.postgres.session import identify

    if not sys.stdin.isatty():
        raise UsageError(Phrase("There is no terminal to ask on."), hint=Phrase("type it with --yes if you mean it"))
    with target.connect() as conn:
        name = identify(conn, sized=False).database
        conn.rollback()
    question = Phrase(
        "Put rows of {tables} back into {label}. Type the database's name", tables=", ".join(tables), label=target.label
    )
    if typer.prompt(as_question(question), err=True) != name:
        raise UsageError(
            Phrase("The database is called {name}.", name=name), hint=Phrase("type its name, or use --yes")
        )


def _show_found(found: Rescue, export: RescueExport | None, names: tuple[str, str], *, as_json: bool) -> None:
    from lawsker_db.cli.render import print_json, short_path, tell

    if as_json:
        folder = None if export is None else export.folder
        print_json({"damaged": names[0], "restored": names[1], "folder": folder, **plain(asdict(found))})
        return
    for table in found.tables:
        tell(_line(table))
    for name in found.only_restored:
        tell(Phrase("Only in {restored}: {name}", restored=names[1], name=name))
    for name, why in found.unread:
        tell(Phrase("NOT COMPARED: {name} {why}", name=name, why=why))
    for name, why in found.left_out:
        tell(Phrase("Not compared: {name}, {why}", name=name, why=why))
    tell(
        Phrase(
            "{damaged} has {rows} rows that {restored} has not or has otherwise, and lacks {deleted};"
            " {equal} tables are equal.",
            damaged=names[0],
            rows=found.rows,
            restored=names[1],
            deleted=found.deleted,
            equal=len(found.equal),
        )
    )
    if export is not None:
        tell(Phrase("Rescue: {folder} (rows of people: keep it private)", folder=short_path(export.folder)))
        run = Path(export.folder).parent
        where = "" if run.parent == Path("lawsker-runs").absolute() else f" --runs {shlex.quote(str(run.parent))}"
        hint = f"lawsker-db rescue --replay {run.name}{where} TABLE ..."
        tell(Phrase("Next: {hint}", hint=hint))


def _line(table: TableRescue) -> str:
    """Pure. One table for people."""
    if table.made_since:
        return Phrase("{table}: made since, {inserted} rows", table=table.table, inserted=table.inserted)
    words = Phrase(
        "{table}: {inserted} inserted, {changed} changed, {deleted} deleted",
        table=table.table,
        inserted=table.inserted,
        changed=table.changed,
        deleted=table.deleted,
    )
    columns = ", ".join(table.only_damaged)
    beside = [Phrase("columns made since: {columns}", columns=columns)] if columns else []
    beside += [] if table.key else [Phrase("it has no key: whole rows are counted")]
    return joined((words, *beside), "; ")


def _show_replay(done: Replay, *, as_json: bool) -> None:
    from lawsker_db.cli.render import print_json, short_path, tell

    if as_json:
        print_json({"complete": done.complete, **plain(asdict(done))})
        return
    for table in done.tables:
        tell(
            Phrase(
                "{table}: {inserted} put in, {updated} overwritten, {already} there already, {refused} could not go,"
                " {deleted} deletions not repeated",
                table=table.table,
                inserted=table.inserted,
                updated=table.updated,
                already=table.already,
                refused=table.refused,
                deleted=table.deleted,
            )
        )
    for warning in done.warnings:
        tell(Phrase("WARN     {line}", line=warning))
    refused = sum(table.refused for table in done.tables)
    if done.dry_run:
        tell(Phrase("Tried and rolled back: nothing was changed."))
    elif refused:
        tell(
            Phrase("COMMITTED, {rows} rows could not go: {file} says why.", rows=refused, file=short_path(done.refused))
        )
        tell(Phrase("Next: mend what keeps them out, then type it again; what stands there already is left alone"))
    else:
        tell(Phrase("DONE: run {run_id} is committed.", run_id=done.run_id))
