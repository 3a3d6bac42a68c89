"""What the constraints do, tried: rows that must be accepted, rows that must be refused, updates and deletes.

Every row is the contract's own sample, made under savepoints that are rolled back: nothing remains, no number is drawn
from a sequence, nobody else sees or waits for anything but the rows of the samples. Only a row of `lawyer_levels` and
the like, where a table has no room, is touched in its place, and given back at once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract, ForeignKey, Row, Sample, Table, Trial, Twin
from lawsker_db.evidence import Check
from lawsker_db.postgres.session import literal, quoted
from lawsker_db.safety.checklist import CHECKLIST, passed, unknown, violated

# SQLSTATEs. CHECKs are asked before indexes, and those before foreign keys: who is refused later has passed them.
CHECK_SAYS_NO, UNIQUE_SAYS_NO = "23514", "23505"
REFERRED = ("23503", "23001")  # the latter is RESTRICT from PostgreSQL 18 on
BEHIND_CHECKS = ("", UNIQUE_SAYS_NO, "23P01", *REFERRED)
INTEGRITY = "23"
# A lock that others hold, a cancelled statement, a read-only session: what comes next would fare no better.
HOPELESS = ("55P03", "57014", "25006")
OLD = "'2001-01-01 00:00:00+00'"

# Columns that others gave to older tables, and that an insert must fill or that would draw a number of a sequence.
FOREIGN_COLUMNS = """
    SELECT source, named, numbered
    FROM (
        SELECT c.relname AS source, a.attname AS named, a.attnotnull AND d.oid IS NULL AS empty,
               a.attidentity <> '' OR EXISTS (
                   SELECT FROM pg_depend AS n
                   JOIN pg_class AS s ON s.oid = n.refobjid AND s.relkind = 'S'
                   WHERE n.classid = 'pg_attrdef'::regclass AND n.objid = d.oid AND n.refclassid = 'pg_class'::regclass
               ) AS numbered
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.oid = ANY (SELECT to_regclass(quote_ident(t)) FROM unnest(CAST(:tables AS text[])) AS t)
    ) AS columns
    WHERE empty OR numbered
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trial says for one code. `ok` None: it could not be tried."""

    code: str
    ok: bool | None
    said: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a statement. `state` is the SQLSTATE, empty when it was accepted; `row` the first that it gave."""

    state: str = ""
    constraint: str = ""
    said: str = ""
    rows: int = 0
    row: tuple[object, ...] = ()

    @property
    def label(self) -> str:
        """Pure. What stood against it, without any value."""
        return self.constraint or self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where trials happen. `first` is the first sample of each table, `ids` are the uuids of the samples, and `foreign`
    the columns that others gave to older tables."""

    conn: Connection
    contract: Contract
    samples: Mapping[str, Sample]
    first: Mapping[str, Sample]
    ids: Mapping[str, str]
    foreign: Mapping[str, Mapping[str, str]]


class Hopeless(Exception):
    """The server refused a trial for a reason that stands against all of them."""


Part = Callable[[Stage], Iterator[Finding]]


def check_behaviour(conn: Connection, contract: Contract, *, schema: str) -> tuple[Check, ...]:
    """Findings by trial on what a contract's constraints, triggers and foreign keys do. Nothing of it remains.

    Takes ROW EXCLUSIVE on the tables of the samples, for as long as each trial lasts, and row locks on no row but the
    samples' and, for tables without room, a standing one. The session must be pinned to `schema`, and may write. What
    cannot be tried (a right, a lock that others hold) is not known. Contracts without samples have no findings.
    """
    if not contract.samples:
        return ()
    findings: list[Finding] = []
    savepoint = conn.begin_nested()
    try:
        stage = _prepare(conn, contract)
        for part, codes in _parts(contract):
            try:
                for finding in part(stage):
                    findings.append(finding)  # one by one: those before Hopeless count
            except Hopeless as why:
                findings += [Finding(code, None, str(why)) for code in codes]
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()
    return tuple(check for item in CHECKLIST for check in _judge(item.code, findings))


def _parts(contract: Contract) -> tuple[tuple[Part, tuple[str, ...]], ...]:
    """Pure. The groups of trials, and the codes that each has findings for."""
    of_checks = {trial.code for trial in contract.trials if trial.code}
    of_twins = {twin.code for twin in contract.twins if twin.code}
    return (
        (_old_inserts, ("B15",)),
        (_checks, ("B04", "B05", *of_checks)),
        (_twins, ("B06", *of_twins)),
        (_touches, ("B07", "B08")),
        (_deletes, ("B09",)),
    )


def _judge(code: str, findings: Sequence[Finding]) -> Iterator[Check]:
    """Pure. The findings of one code as checks of the list: what is wrong, and what nobody knows."""
    own = [finding for finding in findings if finding.code == code]
    wrong = tuple(finding.said for finding in own if finding.ok is False)
    untried = tuple(finding.said for finding in own if finding.ok is None)
    if wrong:
        yield violated(code, wrong)
    if untried:
        more = f" (and {len(untried) - 1} more)" if len(untried) > 1 else ""
        yield unknown(code, untried[0] + more)
    if own and not wrong and not untried:
        yield passed(code, f"{len(own)} tried")


def _prepare(conn: Connection, contract: Contract) -> Stage:
    """Draw the uuids, and see what others gave to older tables. Reads the catalog."""
    ids = {name: f"'{uuid.uuid4()}'::uuid" for name in (*(sample.name for sample in contract.samples), "second")}
    own = {table.name for table in contract.tables}
    ours = {(extension.table, column.name) for extension in contract.extensions for column in extension.columns}
    older = sorted({sample.table for sample in contract.samples} - own)
    foreign: dict[str, dict[str, str]] = {table: {} for table in older}
    for source, named, numbered in conn.execute(text(FOREIGN_COLUMNS), {"tables": older}):
        if (source, named) not in ours:
            column = quoted(named)
            value = f"coalesce(max({column}), 0) + 1" if numbered else column
            limit = "" if numbered else f" WHERE {column} IS NOT NULL LIMIT 1"
            foreign[source][named] = f"(SELECT {value} FROM {quoted(source)}{limit})"
    samples = {sample.name: sample for sample in contract.samples}
    first = {sample.table: sample for sample in reversed(contract.samples)}
    return Stage(conn=conn, contract=contract, samples=samples, first=first, ids=ids, foreign=foreign)


def _old_inserts(stage: Stage) -> Iterator[Finding]:
    """Rows of older tables, as the applications before the revision write them, are accepted."""
    own = {table.name for table in stage.contract.tables}
    for sample in stage.contract.samples:
        if sample.table not in own:
            with _standing(stage, _needed(stage, sample)) as missing:
                outcome = missing or _attempt(stage.conn, _insertion(stage, sample))
            refused = outcome.state.startswith(INTEGRITY)
            ok = True if not outcome.state else False if refused else None
            yield Finding("B15", ok, f"{sample.table}: {outcome.said}")


def _checks(stage: Stage) -> Iterator[Finding]:
    """Each CHECK accepts what it must accept and refuses what it must refuse."""
    for sample in stage.contract.samples:
        trials = [trial for trial in stage.contract.trials if trial.sample == sample.name]
        changes = [change for trial in trials for row in (*trial.good, *trial.bad) for change in row]
        with _standing(stage, _needed(stage, sample, changes)) as missing:
            for trial in trials:
                yield from _check(stage, sample, trial, missing)


def _check(stage: Stage, sample: Sample, trial: Trial, missing: Outcome | None) -> Iterator[Finding]:
    """One CHECK. Where what its rows refer to could not be made, nothing is known."""
    for row in trial.good:
        outcome = missing or _attempt(stage.conn, _insertion(stage, sample, row))
        ok = outcome.state in BEHIND_CHECKS
        known = missing is None and (ok or outcome.state.startswith(INTEGRITY))
        said = f"{trial.constraint}: {_shown(sample, row)} is refused by {outcome.label}"
        yield Finding("B04", ok if known else None, said)
    for row in trial.bad:
        outcome = missing or _attempt(stage.conn, _insertion(stage, sample, row))
        ok = (outcome.state, outcome.constraint) == (CHECK_SAYS_NO, trial.constraint)
        known = missing is None and (ok or outcome.state[:2] in ("", INTEGRITY))
        does = "is accepted" if outcome.state in BEHIND_CHECKS else f"is refused by {outcome.label}"
        for code in filter(None, ("B05", trial.code)):
            yield Finding(code, ok if known else None, f"{trial.constraint}: {_shown(sample, row)} {does}")


def _twins(stage: Stage) -> Iterator[Finding]:
    """Each UNIQUE and primary key refuses a second row."""
    for twin in stage.contract.twins:
        sample = stage.samples[twin.sample]
        with _standing(stage, _needed(stage, sample, (*twin.first, *twin.second))) as missing:
            outcome = missing or _second(stage, sample, twin)
        ok = (outcome.state, outcome.constraint) == (UNIQUE_SAYS_NO, twin.constraint)
        known = missing is None and (ok or outcome.state[:2] in ("", INTEGRITY))
        does = f"is refused by {outcome.label}" if outcome.state else "is accepted"
        for code in filter(None, ("B06", twin.code)):
            yield Finding(code, ok if known else None, f"{twin.constraint}: a second row {does}")


def _second(stage: Stage, sample: Sample, twin: Twin) -> Outcome:
    """What becomes of the second row. Where the first one is refused by the same key already, one like it stands."""
    if twin.standing:
        changes = ", ".join(f"{quoted(column)} = {_filled(stage, value)}" for column, value in twin.second)
        outcome = _attempt(stage.conn, f"UPDATE {quoted(sample.table)} SET {changes} WHERE {twin.standing}")
        return outcome if outcome.state or outcome.rows else Outcome("02000", said=f"no row with {twin.standing}")
    first = _attempt(stage.conn, _insertion(stage, sample, twin.first), keep=True)
    if first.state:
        same = (first.state, first.constraint) == (UNIQUE_SAYS_NO, twin.constraint)
        return first if same else Outcome("02000", said=f"the first row is refused by {first.label}")
    return _attempt(stage.conn, _insertion(stage, sample, twin.second))


def _touches(stage: Stage) -> Iterator[Finding]:
    """An UPDATE moves updated_at and leaves created_at, in each table that has a trigger of the contract."""
    for table in stage.contract.tables:
        if not table.triggers or not {"created_at", "updated_at"} <= {column.name for column in table.columns}:
            continue
        if table.name not in stage.first:
            yield from (
                Finding(code, None, f"{table.name}: the contract has no sample of it") for code in ("B07", "B08")
            )
            continue
        sample = stage.first[table.name]
        key = quoted(table.primary_key[0])
        with _standing(stage, (*_needed(stage, sample), sample), created_at=OLD, updated_at=OLD) as missing:
            outcome = missing or _attempt(
                stage.conn,
                f"UPDATE {quoted(table.name)} SET {key} = {key} WHERE {_found_by(stage, table, sample)}"
                f" RETURNING updated_at > {OLD}, created_at = {OLD}",
            )
        moved, stayed = outcome.row or (None, None)
        yield Finding("B07", moved is True if outcome.row else None, f"{table.name}: {outcome.said or 'stands still'}")
        yield Finding("B08", stayed is True if outcome.row else None, f"{table.name}: {outcome.said or 'moves'}")


def _deletes(stage: Stage) -> Iterator[Finding]:
    """Each foreign key does on DELETE what it promises. Those that lead to the same row are tried together."""
    groups: dict[str, list[tuple[Table, ForeignKey]]] = {}
    for table in stage.contract.tables:
        if table.name not in stage.first:
            said = "the contract has no sample of its table"
            yield from (Finding("B09", None, f"{key.name}: {said}") for key in table.foreign_keys)
            continue
        values = dict(stage.first[table.name].values)
        for key in table.foreign_keys:
            pairs = zip(key.referenced_columns, key.columns, strict=True)
            where = " AND ".join(f"{quoted(there)} = {values.get(here, 'NULL')}" for there, here in pairs)
            groups.setdefault(f"DELETE FROM {quoted(key.references)} WHERE {where}", []).append((table, key))
    for statement, keys in groups.items():
        yield from _delete(stage, statement, keys)


def _delete(stage: Stage, statement: str, keys: Sequence[tuple[Table, ForeignKey]]) -> Iterator[Finding]:
    """One row that others refer to. A key that refuses is tried for, and then the rest without its row."""
    children = [stage.first[table.name] for table, _ in keys]
    needed = [sample for child in children for sample in (*_needed(stage, child), child)]
    with _standing(stage, needed) as missing:
        outcome = missing or _attempt(stage.conn, _filled(stage, statement), keep=True)
        if not outcome.state and outcome.rows:
            yield from (_fate(stage, table, key) for table, key in keys)
            return
    refused = [key for _, key in keys if outcome.state in REFERRED and outcome.constraint == key.name]
    if missing or not refused:
        said = outcome.said or "there is no row to delete"
        yield from (Finding("B09", None, f"{key.name}: {said}") for _, key in keys)
        return
    key = refused[0]
    yield Finding("B09", key.on_delete in ("RESTRICT", "NO ACTION"), f"{key.name}: refuses instead of {key.on_delete}")
    rest = [pair for pair in keys if pair[1] is not key]
    if rest:
        yield from _delete(stage, statement, rest)


def _fate(stage: Stage, table: Table, key: ForeignKey) -> Finding:
    """What became of the row that referred to one that is deleted now."""
    where = _found_by(stage, table, stage.first[table.name])
    nulls = " AND ".join(f"{quoted(column)} IS NULL" for column in key.columns)
    outcome = _attempt(stage.conn, f"SELECT {nulls} FROM {quoted(table.name)} WHERE {where}")
    if outcome.state:
        return Finding("B09", None, f"{key.name}: {outcome.said}")
    done = "CASCADE" if not outcome.row else "SET NULL" if outcome.row[0] else "nothing"
    return Finding("B09", done == key.on_delete, f"{key.name}: does {done} instead of {key.on_delete}")


def _needed(stage: Stage, sample: Sample, changes: Sequence[tuple[str, str]] = ()) -> tuple[Sample, ...]:
    """Pure. The samples that a row refers to, and those that these refer to, in the order in which they are made."""
    found: dict[str, Sample] = {}
    for _, value in (*sample.values, *changes):
        for name in re.findall(r"<(\w+)>", value):
            if name in stage.samples and name != sample.name:
                found |= {other.name: other for other in _needed(stage, stage.samples[name])}
                found[name] = stage.samples[name]
    return tuple(found.values())


@contextmanager
def _standing(stage: Stage, samples: Sequence[Sample], **stamps: str) -> Iterator[Outcome | None]:
    """Have these samples stand for the block, each once; yield what refused one of them, or None. Rolled back after."""
    savepoint = stage.conn.begin_nested()
    try:
        refused: Outcome | None = None
        last = samples[-1] if samples else None
        for sample in dict.fromkeys(samples):
            changes = tuple(stamps.items()) if sample is last else ()
            outcome = _attempt(stage.conn, _insertion(stage, sample, changes), keep=True)
            if outcome.state:
                refused = Outcome("02000", said=f"no row of {sample.table} can be made: {outcome.said}")
                break
        yield refused
    finally:
        if savepoint.is_active and not stage.conn.invalidated:
            savepoint.rollback()


def _insertion(stage: Stage, sample: Sample, changes: Row = ()) -> str:
    """Pure. The statement that makes a sample, with these changes."""
    values = {**stage.foreign.get(sample.table, {}), **dict(sample.values), **dict(changes)}
    columns = ", ".join(quoted(column) for column in values)
    listed = ", ".join(_filled(stage, value) for value in values.values())
    return f"INSERT INTO {quoted(sample.table)} ({columns}) OVERRIDING SYSTEM VALUE VALUES ({listed})"


def _found_by(stage: Stage, table: Table, sample: Sample) -> str:
    """Pure. The condition that finds a sample by its primary key."""
    values = dict(sample.values)
    return " AND ".join(f"{quoted(column)} = {_filled(stage, values[column])}" for column in table.primary_key)


def _filled(stage: Stage, value: str) -> str:
    """Pure. SQL with the samples' uuids put in."""
    return re.sub(r"<(\w+)>", lambda match: stage.ids.get(match[1], match[0]), value)


def _shown(sample: Sample, row: Row) -> str:
    """Pure. A tried row for people. All of it is the contract's own."""
    return f"{sample.table} with {', '.join(f'{column} = {value}' for column, value in row) or 'the sample'}"


def _attempt(conn: Connection, statement: str, *, keep: bool = False) -> Outcome:
    """Run a statement under a savepoint and tell what became of it; its effect stays only with `keep`.

    Raises `Hopeless` when what stands against it stands against every other one too.
    """
    savepoint = conn.begin_nested()
    try:
        result = conn.execute(literal(statement))
        row = result.first() if result.returns_rows else None
        outcome = Outcome(rows=result.rowcount, row=tuple(row) if row is not None else ())
    except DBAPIError as failed:
        if failed.connection_invalidated or not isinstance(failed.orig, psycopg.Error):
            raise
        savepoint.rollback()
        diag = failed.orig.diag
        said = diag.message_primary or "the server refused it"
        if failed.orig.sqlstate in HOPELESS:
            raise Hopeless(said) from None
        return Outcome(failed.orig.sqlstate or "XX000", diag.constraint_name or "", said)
    if keep:
        savepoint.commit()
    else:
        savepoint.rollback()
    return outcome
