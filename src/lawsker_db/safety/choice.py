"""Which archive an upgrade brings back: the one that the last downgrade of the revision on record kept, or the named one.

Reads the archives and the history, whatever database that was written in: a restored copy is told the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Column, Contract, Table, contract_digest
from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Direction
from lawsker_db.phrases import Phrase, first_of, joined
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.kept import Archive, Kept, archive_schema, find_archives, unknown_archives
from lawsker_db.postgres.reinstating import column_types, printed_types
from lawsker_db.postgres.session import identify
from lawsker_db.record.history import PastRun, may_read_history, read_history
from lawsker_db.safety.preflight import refuse_unless
from lawsker_db.target import said_by_server

AUTO, ASK, NEVER = "auto", "ask", "never"
OPTION, ALEMBICS = "--reinstate ", "-x reinstate="  # how the wish is typed: what stands before it
FOUND, OTHER = Phrase("archive"), Phrase("other archive")  # the checks that tell which comes back, and which does not
SHOWN = 5

Types = Mapping[str, Mapping[str, str]]  # of each kept table, by its place: columns and their types


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What an upgrade does about the archives of one revision: `archive` comes back, None for none; `others` hold something
    of the revision too and are not taken. `problem` says why it cannot go on, `way` what to type then; `gone` names what the
    last downgrade kept and is there no more."""

    contract: Contract
    archive: Archive | None = None
    others: tuple[Archive, ...] = ()
    problem: str = ""
    way: str = ""
    gone: str = ""

    @property
    def kept(self) -> tuple[Kept, ...]:
        """Pure. What the archive has of this revision."""
        return kept_of(self.archive, self.contract.revision) if self.archive else ()


def kept_of(archive: Archive, revision: str) -> tuple[Kept, ...]:
    """Pure. What an archive has of one revision."""
    return tuple(kept for kept in archive.kept if kept.revision == revision)


def find_choices(
    conn: Connection, contracts: tuple[Contract, ...], wish: str, schema: str, *, option: str = OPTION
) -> tuple[Choice, ...]:
    """Choose for each revision, and look whether what was chosen can be taken: readable, of this version of the revision
    (or named, and all of it has a place), and as its record says.

    `schema` is the chain's, unquoted; `option` is what is typed before the wish. Reads what is chosen, with ACCESS SHARE:
    time grows with it. None for a role that may not read the history: it lacks rights without which no run begins.
    """
    if not may_read_history(conn):
        return ()
    found = find_archives(conn)
    elsewhere = {archive.run_id for archive in found if archive.chain_schema != schema}  # of another chain
    whole = read_history(conn, identify(conn, sized=False))
    history = tuple(past for past in whole if past.run_id not in elsewhere)
    made = {past.run_id for past in history if past.direction == Direction.DOWNGRADE}
    archives = tuple(archive for archive in found if archive.run_id in made)
    unknown = (*unknown_archives(conn), *(archive.schema for archive in archives if not archive.kept))
    choices = []
    for contract in contracts:
        choice = choose(contract, archives, history, wish, unknown, option=option)
        if choice.archive is not None:
            recorded = next(past for past in history if past.run_id == choice.archive.run_id)
            choice = _looked_at(conn, choice, choice.archive, recorded, wish, option)
        choices.append(choice)
    names = {archive.schema for choice in choices for archive in (choice.archive, *choice.others) if archive}
    if choices and wish not in (AUTO, ASK, NEVER, *names):
        known = Phrase("there are {names}", names=", ".join(sorted(names))) if names else Phrase("there is none")
        problem = Phrase(
            '"{wish}" is no archive of {revisions}: {known}',
            wish=wish,
            revisions=", ".join(c.revision for c in contracts),
            known=known,
        )
        choices[0] = replace(
            choices[0], problem=problem, way=Phrase("{option}auto, never, or the name of an archive", option=option)
        )
    return tuple(choices)


def require_choices(
    conn: Connection, contracts: tuple[Contract, ...], wish: str, schema: str, *, option: str = OPTION
) -> tuple[Choice, ...]:
    """As `find_choices`; raises `Refused` when something stands in the way, or somebody would have to be asked."""
    choices = find_choices(conn, contracts, wish, schema, option=option)
    refuse_unless(choice_checks(choices, wish), what=Phrase("What a downgrade has kept cannot be brought back"))
    refuse_unasked(choices, wish, option=option)
    return choices


def refuse_unasked(choices: tuple[Choice, ...], wish: str, *, option: str = OPTION) -> None:
    """Pure. Raise `Refused` when there is something to ask about and nobody was asked."""
    there = [archive_text(choice.archive, choice.contract.revision) for choice in choices if choice.archive]
    if wish == ASK and there:
        raise Refused(
            Phrase(
                "There is something to bring back, and nobody here to ask: {archives}.", archives=joined(there, "; ")
            ),
            hint=Phrase(
                "{option}{auto} brings it back, {option}{never} leaves it where it is",
                option=option,
                auto=AUTO,
                never=NEVER,
            ),
        )


def choose(
    contract: Contract,
    archives: tuple[Archive, ...],
    history: tuple[PastRun, ...],
    wish: str,
    unknown: tuple[str, ...] = (),
    *,
    option: str = OPTION,
) -> Choice:
    """Pure. The archive of one revision by the wish: what the last downgrade on record kept, or the named one."""
    own = tuple(archive for archive in archives if kept_of(archive, contract.revision))
    last = next((past for past in reversed(history) if _went_down(past, contract.revision)), None)
    chosen = next((archive for archive in own if archive.schema == wish), None)
    if chosen is None and wish != NEVER and last is not None:
        chosen = next((archive for archive in own if archive.run_id == last.run_id), None)
    others = tuple(archive for archive in own if archive is not chosen)
    if chosen is None and wish != NEVER and last is not None and archive_schema(last.run_id) in unknown:
        return Choice(
            contract=contract,
            others=others,
            problem=Phrase(
                "schema {archive}, in which the last downgrade kept things, cannot be read as such",
                archive=archive_schema(last.run_id),
            ),
            way=Phrase(
                "GRANT USAGE and SELECT on it, as its owner; or leave it: {option}{never}", option=option, never=NEVER
            ),
        )
    gone = last is not None and chosen is None and wish != NEVER and _kept_something(last)
    return Choice(
        contract=contract, archive=chosen, others=others, gone=archive_schema(last.run_id) if last and gone else ""
    )


def choice_checks(choices: tuple[Choice, ...], wish: str) -> tuple[Check, ...]:
    """Pure. What preflight says of it: what comes back, what is not taken, and what stands in the way."""
    return tuple(check for choice in choices for check in _checks(choice, wish))


def archive_text(archive: Archive, revision: str) -> Phrase:
    """Pure. An archive in a line: its name, what it holds of a revision, and when it was made."""
    kept = kept_of(archive, revision)
    tables = [entry for entry in kept if entry.kind == "table"]
    rows, made_at = sum(entry.fingerprint.rows for entry in tables), f"{archive.made_at:%Y-%m-%d %H:%M}"
    values = (
        Phrase(
            ", {columns} of {rows} rows of {table}",
            columns=", ".join(entry.columns),
            rows=entry.fingerprint.rows,
            table=entry.original,
        )
        for entry in kept
        if entry.kind == "columns"
    )
    return Phrase(
        "{archive}: {tables} tables, {rows:,} rows{values}, made {made_at} UTC",
        archive=archive.schema,
        tables=len(tables),
        rows=rows,
        values=joined(values, ""),
        made_at=made_at,
    )


def differences(contract: Contract, kept: tuple[Kept, ...], types: Types) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pure. How a contract differs from what an archive has of its revision, as far as tables and columns go: what has no
    place any more (or must have a value that the archive has not), and what is merely new."""
    tables = {table.name: table for table in contract.tables}
    extensions = {extension.table: extension for extension in contract.extensions}
    lost: list[str] = []
    new = [
        Phrase("table {table}", table=name)
        for name in tables
        if not any(k.kind == "table" and k.original == name for k in kept)
    ]
    for entry in kept:
        place: Table | None = tables.get(entry.original) if entry.kind == "table" else None
        goal = place or (extensions.get(entry.original) if entry.kind == "columns" else None)
        if goal is None:
            of_table = Phrase("columns of {table}", table=entry.original)
            lost.append(Phrase("table {table}", table=entry.original) if entry.kind == "table" else of_table)
            continue
        promised = {column.name: column for column in goal.columns}
        lost += _unlike(entry, promised, types.get(entry.place, {}))
        for name, column in promised.items():
            if name not in entry.columns:
                needs = place is not None and not (column.nullable or column.default or place.serial == name)
                column_of = {"table": entry.original, "column": name}
                if needs:
                    lost.append(Phrase("column {table}.{column} without a value", **column_of))
                else:
                    new.append(Phrase("column {table}.{column}", **column_of))
    return tuple(lost), tuple(new)


def circles(tables: tuple[Table, ...]) -> tuple[str, ...]:
    """Pure. Tables that refer to themselves, directly or by others: which of their rows have parents cannot be told row by
    row."""
    leads = {table.name: {key.references for key in table.foreign_keys} for table in tables}
    found = []
    for name in leads:
        seen: set[str] = set()
        ahead = set(leads[name])
        while ahead:
            seen |= ahead
            ahead = {after for table in ahead for after in leads.get(table, ())} - seen
        if name in seen:
            found.append(name)
    return tuple(found)


def _went_down(past: PastRun, revision: str) -> bool:
    return past.direction == Direction.DOWNGRADE and revision in past.steps


def _kept_something(past: PastRun) -> bool:
    """Pure. Whether a downgrade has kept an archive, by the fingerprints in its marker."""
    return any(print_.table.startswith(f"{archive_schema(past.run_id)}.") for print_ in past.fingerprints)


def _unlike(entry: Kept, promised: Mapping[str, Column], types: Mapping[str, str]) -> Iterator[str]:
    """Pure. Kept columns that have no place, or one of another type."""
    for name in entry.columns:
        if name not in promised:
            yield Phrase("column {table}.{column}", table=entry.original, column=name)
        elif name in types and types[name] != promised[name].type:
            yield Phrase(
                "column {table}.{column} ({there} there, {now} now)",
                table=entry.original,
                column=name,
                there=types[name],
                now=promised[name].type,
            )


def _looked_at(conn: Connection, choice: Choice, archive: Archive, recorded: PastRun, wish: str, option: str) -> Choice:
    """A choice with what stands in the way of taking the archive, which the run `recorded` has made. Reads it whole."""
    name = archive.schema
    leave = Phrase("{option}{never} leaves it where it is", option=option, never=NEVER)
    turning = circles(choice.contract.tables)
    if turning:
        circle = Phrase(
            "{tables} refer to themselves, and {archive} cannot be brought back into such tables",
            tables=", ".join(turning),
            archive=name,
        )
        return replace(choice, problem=circle, way=leave)
    find_out = Phrase("find out who wrote it; {leave}", leave=leave)
    if set(recorded.fingerprints) != {entry.fingerprint for entry in archive.kept}:
        other = Phrase("what {archive} says of itself is not what the history says of it", archive=name)
        return replace(choice, problem=other, way=find_out)
    try:
        with conn.begin_nested():
            types, changed = _read(conn, choice)
    except DBAPIError as failed:
        closed = Phrase("{archive} cannot be read: {why}", archive=name, why=said_by_server(failed.orig) or "")
        way = Phrase("GRANT SELECT on its tables, as their owner; or {leave}", leave=leave)
        return replace(choice, problem=closed, way=way)
    if changed:
        tables = ", ".join(changed)
        unlike = Phrase("{archive} is not what its record says: {tables} changed since", archive=name, tables=tables)
        return replace(choice, problem=unlike, way=find_out)
    return _fitted(choice, name, types, wish, option, leave)


def _fitted(choice: Choice, name: str, types: Types, wish: str, option: str, leave: Phrase) -> Choice:
    """Pure. A choice with what of its archive, as it stands there, does not fit the contract."""
    revision = choice.contract.revision
    lost, new = differences(choice.contract, choice.kept, types)
    if lost:
        problem = Phrase(
            "{archive} has what revision {revision} has no place for: {lost}",
            archive=name,
            revision=revision,
            lost=first_of(lost, SHOWN),
        )
        return replace(choice, problem=problem, way=leave)
    digest = contract_digest((choice.contract,))
    if wish != name and any(entry.contract_digest != digest for entry in choice.kept):
        what = Phrase("tables and columns are the same, what else it promises is not")
        if new:
            what = Phrase("new now: {new}", new=first_of(new, SHOWN))
        problem = Phrase(
            "{archive} is of another version of revision {revision} ({what})",
            archive=name,
            revision=revision,
            what=what,
        )
        way = Phrase("{option}{archive} takes it all the same; {leave}", option=option, archive=name, leave=leave)
        return replace(choice, problem=problem, way=way)
    return choice


def _read(conn: Connection, choice: Choice) -> tuple[Types, tuple[str, ...]]:
    """The types of an archive's columns, as the contract writes those that are the same; and tables unlike their record."""
    of_contract = {
        (part_name, column.name): column.type
        for part_name, columns in (
            *((table.name, table.columns) for table in choice.contract.tables),
            *((extension.table, extension.columns) for extension in choice.contract.extensions),
        )
        for column in columns
    }
    printed = printed_types(conn, frozenset(of_contract.values()))
    types: dict[str, dict[str, str]] = {}
    changed: list[str] = []
    for entry in choice.kept:
        found = column_types(conn, entry.place)
        types[entry.place] = {
            name: written if printed.get(written := of_contract.get((entry.original, name), "")) == type_ else type_
            for name, type_ in found.items()
        }
        print_ = entry.fingerprint
        if set(print_.columns) != set(found) or not print_.same_content(
            fingerprint_table(conn, entry.place, print_.columns)
        ):
            changed.append(entry.original)
    return types, tuple(changed)


def _checks(choice: Choice, wish: str) -> Iterator[Check]:
    revision = choice.contract.revision
    if choice.problem:
        expected = Phrase("one that can come back, or none")
        yield Check(name=FOUND, ok=False, expected=expected, found=choice.problem, detail=choice.way)
    elif choice.archive is not None:
        what = Phrase("asks whether it is to come back") if wish == ASK else Phrase("will be brought back")
        found = joined((archive_text(choice.archive, revision), what), "; ")
        yield Check(name=FOUND, ok=True, expected=Phrase("what the last downgrade kept comes back"), found=found)
    elif choice.gone:
        found = Phrase(
            "{archive}, which the last downgrade kept, is there no more: nothing comes back", archive=choice.gone
        )
        yield Check(name=FOUND, ok=False, expected=Phrase("what the last downgrade kept"), found=found, warning=True)
    for other in choice.others:
        found = Phrase(
            "{archive}; not taken; {option}{name} takes it",
            archive=archive_text(other, revision),
            option=OPTION,
            name=other.schema,
        )
        yield Check(name=OTHER, ok=True, expected=Phrase("told"), found=found)
