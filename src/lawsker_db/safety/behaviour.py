"""What the constraints do, tried: rows that must be accepted, rows that must be refused, updates and deletes.

Every row is the contract's own sample, made under savepoints that are rolled back: nothing remains, no number is drawn
from a sequence, nobody else sees or waits for anything but the rows of the samples. Only a row of `lawyer_levels` and
the like, where a table has no room, is touched in its place, and given back at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from lawsker_db.contract import Contract, ForeignKey, Sample, Table, Trial, Twin
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase, first_of, told_by
from lawsker_db.postgres.session import quoted
from lawsker_db.safety.checklist import CHECKLIST, not_run, passed, unknown, violated
from lawsker_db.safety.stage import (
    Hopeless,
    Outcome,
    Stage,
    attempt,
    filled,
    found_by,
    insertion,
    needed,
    prepare,
    shown,
    standing,
)

# SQLSTATEs. CHECKs are asked before indexes, and those before foreign keys: who is refused later has passed them.
CHECK_SAYS_NO, UNIQUE_SAYS_NO = "23514", "23505"
REFERRED = ("23503", "23001")  # the latter is RESTRICT from PostgreSQL 18 on
BEHIND_CHECKS = ("", UNIQUE_SAYS_NO, "23P01", *REFERRED)
INTEGRITY = "23"
NAMED = (
    "23503",
    "23505",
    "23514",
    "23P01",
)  # a constraint that refuses a row is named; a trigger that says so names none
RAISED = "P0"  # RAISE in PL/pgSQL
OLD = "'2001-01-01 00:00:00+00'"
ACCEPTED = Phrase("is accepted")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trial says for one code. `ok` None: it could not be tried."""

    code: str
    ok: bool | None
    said: str


Part = Callable[[Stage], Iterator[Finding]]


def check_behaviour(conn: Connection, contract: Contract, *, schema: str) -> tuple[Check, ...]:
    """Findings by trial on what a contract's constraints, triggers and foreign keys do. Nothing of it remains.

    Takes ROW EXCLUSIVE on the tables of the samples, for as long as each trial lasts, and row locks on no row but the
    samples' and, for tables without room, a standing one. The session must be pinned to `schema`, and may write. What
    cannot be tried (a right, a lock that others hold) is not known; where somebody else's trigger or key refuses rows of
    older tables, B15 warns and the rest is left out. Contracts without samples have no findings.
    """
    if not contract.samples:
        return ()
    findings: list[Finding] = []
    savepoint = conn.begin_nested()
    try:
        stage = prepare(conn, contract)
        try:
            obstacle = _obstacle(stage)
        except Hopeless:
            obstacle = ""  # each group says for itself why nothing can be tried
        if obstacle:
            left = tuple(not_run(code, obstacle) for code in _codes(contract) if code != "B15")
            return (*left, violated("B15", (obstacle,), warning=True))
        for part, codes in _parts(contract):
            try:
                for finding in part(stage):
                    findings.append(finding)  # one by one: those before Hopeless count
            except Hopeless as why:
                findings += [Finding(code, None, told_by(why)) for code in codes]
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


def _codes(contract: Contract) -> tuple[str, ...]:
    """Pure. The codes that have findings by trial, in the list's order."""
    tried = {code for _, codes in _parts(contract) for code in codes}
    return tuple(item.code for item in CHECKLIST if item.code in tried)


def _obstacle(stage: Stage) -> str:
    """Why no row of an older table can be made here, empty when there is no reason: a trigger or key that is nobody's of
    this contract refuses a row as the applications write it. That is how this database is, and no violation."""
    own, ours = {table.name for table in stage.contract.tables}, stage.contract.constraints
    for sample in stage.contract.samples:
        if sample.table in own:
            continue
        with standing(stage, needed(stage, sample)) as missing:
            outcome = missing or attempt(stage.conn, insertion(stage, sample))
        raised = outcome.state.startswith(RAISED)
        if raised or (outcome.state in NAMED and outcome.constraint not in ours):
            return Phrase(
                "rows of {table} cannot be tried here, for they are refused by {refuser}",
                table=sample.table,
                refuser=outcome.label,
            )
    return ""


def _judge(code: str, findings: Sequence[Finding]) -> Iterator[Check]:
    """Pure. The findings of one code as checks of the list: what is wrong, and what nobody knows."""
    own = [finding for finding in findings if finding.code == code]
    wrong = tuple(finding.said for finding in own if finding.ok is False)
    untried = tuple(finding.said for finding in own if finding.ok is None)
    if wrong:
        yield violated(code, wrong)
    if untried:
        yield unknown(code, first_of(untried, 1))
    if own and not wrong and not untried:
        yield passed(code, Phrase("{number} tried", number=len(own)))


def _of(name: str, said: str) -> Phrase:
    """Pure. What is said of a table or a key."""
    return Phrase("{name}: {said}", name=name, said=said)


def _refused(outcome: Outcome) -> Phrase:
    return Phrase("is refused by {refuser}", refuser=outcome.label)


def _old_inserts(stage: Stage) -> Iterator[Finding]:
    """Rows of older tables, as the applications before the revision write them, are accepted."""
    own = {table.name for table in stage.contract.tables}
    for sample in stage.contract.samples:
        if sample.table not in own:
            with standing(stage, needed(stage, sample)) as missing:
                outcome = missing or attempt(stage.conn, insertion(stage, sample))
            refused = outcome.state.startswith(INTEGRITY)
            ok = True if not outcome.state else False if refused else None
            yield Finding("B15", ok, _of(sample.table, outcome.said))


def _checks(stage: Stage) -> Iterator[Finding]:
    """Each CHECK accepts what it must accept and refuses what it must refuse."""
    for sample in stage.contract.samples:
        trials = [trial for trial in stage.contract.trials if trial.sample == sample.name]
        changes = [change for trial in trials for row in (*trial.good, *trial.bad) for change in row]
        with standing(stage, needed(stage, sample, changes)) as missing:
            for trial in trials:
                yield from _check(stage, sample, trial, missing)


def _check(stage: Stage, sample: Sample, trial: Trial, missing: Outcome | None) -> Iterator[Finding]:
    """One CHECK. Where what its rows refer to could not be made, nothing is known."""
    for row in trial.good:
        outcome = missing or attempt(stage.conn, insertion(stage, sample, row))
        ok = outcome.state in BEHIND_CHECKS
        known = missing is None and (ok or outcome.state.startswith(INTEGRITY))
        said = Phrase(
            "{constraint}: {row} is refused by {refuser}",
            constraint=trial.constraint,
            row=shown(sample, row),
            refuser=outcome.label,
        )
        yield Finding("B04", ok if known else None, said)
    for row in trial.bad:
        outcome = missing or attempt(stage.conn, insertion(stage, sample, row))
        ok = (outcome.state, outcome.constraint) == (CHECK_SAYS_NO, trial.constraint)
        known = missing is None and (ok or outcome.state[:2] in ("", INTEGRITY))
        does = ACCEPTED if outcome.state in BEHIND_CHECKS else _refused(outcome)
        said = Phrase("{constraint}: {row} {does}", constraint=trial.constraint, row=shown(sample, row), does=does)
        for code in filter(None, ("B05", trial.code)):
            yield Finding(code, ok if known else None, said)


def _twins(stage: Stage) -> Iterator[Finding]:
    """Each UNIQUE and primary key refuses a second row."""
    for twin in stage.contract.twins:
        sample = stage.samples[twin.sample]
        with standing(stage, needed(stage, sample, (*twin.first, *twin.second))) as missing:
            outcome = missing or _second(stage, sample, twin)
        ok = (outcome.state, outcome.constraint) == (UNIQUE_SAYS_NO, twin.constraint)
        known = missing is None and (ok or outcome.state[:2] in ("", INTEGRITY))
        does = _refused(outcome) if outcome.state else ACCEPTED
        said = Phrase("{constraint}: a second row {does}", constraint=twin.constraint, does=does)
        for code in filter(None, ("B06", twin.code)):
            yield Finding(code, ok if known else None, said)


def _second(stage: Stage, sample: Sample, twin: Twin) -> Outcome:
    """What becomes of the second row. Where the first one is refused by the same key already, one like it stands."""
    if twin.standing:
        changes = ", ".join(f"{quoted(column)} = {filled(stage, value)}" for column, value in twin.second)
        outcome = attempt(stage.conn, f"UPDATE {quoted(sample.table)} SET {changes} WHERE {twin.standing}")
        none = Phrase("no row with {condition}", condition=twin.standing)
        return outcome if outcome.state or outcome.rows else Outcome("02000", said=none)
    first = attempt(stage.conn, insertion(stage, sample, twin.first), keep=True)
    if first.state:
        same = (first.state, first.constraint) == (UNIQUE_SAYS_NO, twin.constraint)
        refused = Phrase("the first row is refused by {refuser}", refuser=first.label)
        return first if same else Outcome("02000", said=refused)
    return attempt(stage.conn, insertion(stage, sample, twin.second))


def _touches(stage: Stage) -> Iterator[Finding]:
    """An UPDATE moves updated_at and leaves created_at, in each table that has a trigger of the contract."""
    for table in stage.contract.tables:
        if not table.triggers or not {"created_at", "updated_at"} <= {column.name for column in table.columns}:
            continue
        if table.name not in stage.first:
            said = Phrase("{table}: the contract has no sample of it", table=table.name)
            yield from (Finding(code, None, said) for code in ("B07", "B08"))
            continue
        sample = stage.first[table.name]
        key = quoted(table.primary_key[0])
        with standing(stage, (*needed(stage, sample), sample), created_at=OLD, updated_at=OLD) as missing:
            outcome = missing or attempt(
                stage.conn,
                f"UPDATE {quoted(table.name)} SET {key} = {key} WHERE {found_by(stage, table, sample)}"
                f" RETURNING updated_at > {OLD}, created_at = {OLD}",
            )
        moved, stayed = outcome.row or (None, None)
        for code, well, ill in (("B07", moved, Phrase("stands still")), ("B08", stayed, Phrase("moves"))):
            yield Finding(code, well is True if outcome.row else None, _of(table.name, outcome.said or ill))


def _deletes(stage: Stage) -> Iterator[Finding]:
    """Each foreign key does on DELETE what it promises. Those that lead to the same row are tried together."""
    groups: dict[str, list[tuple[Table, ForeignKey]]] = {}
    for table in stage.contract.tables:
        if table.name not in stage.first:
            said = Phrase("the contract has no sample of its table")
            yield from (Finding("B09", None, _of(key.name, said)) for key in table.foreign_keys)
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
    rows = [sample for child in children for sample in (*needed(stage, child), child)]
    with standing(stage, rows) as missing:
        outcome = missing or attempt(stage.conn, filled(stage, statement), keep=True)
        if not outcome.state and outcome.rows:
            yield from (_fate(stage, table, key) for table, key in keys)
            return
    refused = [key for _, key in keys if outcome.state in REFERRED and outcome.constraint == key.name]
    if missing or not refused:
        said = outcome.said or Phrase("there is no row to delete")
        yield from (Finding("B09", None, _of(key.name, said)) for _, key in keys)
        return
    key = refused[0]
    yield Finding(
        "B09",
        key.on_delete in ("RESTRICT", "NO ACTION"),
        Phrase("{key}: refuses instead of {promised}", key=key.name, promised=key.on_delete),
    )
    rest = [pair for pair in keys if pair[1] is not key]
    if rest:
        yield from _delete(stage, statement, rest)


def _fate(stage: Stage, table: Table, key: ForeignKey) -> Finding:
    """What became of the row that referred to one that is deleted now."""
    where = found_by(stage, table, stage.first[table.name])
    nulls = " AND ".join(f"{quoted(column)} IS NULL" for column in key.columns)
    outcome = attempt(stage.conn, f"SELECT {nulls} FROM {quoted(table.name)} WHERE {where}")
    if outcome.state:
        return Finding("B09", None, _of(key.name, outcome.said))
    done = "CASCADE" if not outcome.row else "SET NULL" if outcome.row[0] else Phrase("nothing")
    return Finding(
        "B09",
        done == key.on_delete,
        Phrase("{key}: does {done} instead of {promised}", key=key.name, done=done, promised=key.on_delete),
    )
