"""What safe-upgrade does around its migration beside the proof: plans before it, statistics and verification after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lawsker_db.changes import SizeChange
from lawsker_db.contract import Contract
from lawsker_db.errors import CommittedUnproven, LawskerError
from lawsker_db.evidence import Check, failures
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.session import find_schema, literal, quoted, quoted_as_read
from lawsker_db.record.junit import write_junit
from lawsker_db.record.plans import read_plans_of, write_plans
from lawsker_db.revisions import Chain
from lawsker_db.safety.checklist import ITEMS, Item, Severity, When
from lawsker_db.safety.confirmation import HINT, LOOK_AGAIN, reading, said_by
from lawsker_db.safety.performance import note_before
from lawsker_db.safety.verification import VerifyOptions, verify
from lawsker_db.target import Target

JUNIT = "junit.xml"
NOBODYS = Item("", Severity.WARNING, When.GATE, "", "", "")  # for codes of other chains
SHOWN = 5
ANALYZE_LOCK = "5s"  # behind somebody's DDL or autovacuum; afterwards P02 says that statistics are lacking


@dataclass(frozen=True, slots=True, kw_only=True)
class Afterwards:
    """What verification found after COMMIT, and what could not be done that changes no outcome."""

    checks: tuple[Check, ...]
    notes: tuple[str, ...]


def note_plans(target: Target, folder: Path, contracts: tuple[Contract, ...], queries: Path | None) -> str:
    """Write plans.json into the run's folder: how the application's look-ups (or the SELECTs of a file, `queries`) are
    planned now, and how large tables are.

    Reads; runs no query. Returns what went wrong, empty when nothing did: without it verification leaves a check out.
    """
    try:
        with reading(target) as conn:
            written = None if queries is None else queries.read_text(encoding="utf-8")
            before = note_before(conn, contracts, quoted_as_read(conn, find_schema(conn)), written)
        write_plans(folder, before)
    except (LawskerError, DBAPIError, OSError, UnicodeDecodeError) as failed:
        said = said_by(failed) if isinstance(failed, (LawskerError, DBAPIError)) else str(failed)
        return Phrase("plans and sizes before the run could not be noted: {said}", said=said)
    return ""


def refresh_statistics(target: Target, contracts: tuple[Contract, ...], filled: tuple[str, ...] = ()) -> str:
    """ANALYZE the tables that the contracts alter, and those that were `filled`: a rewrite leaves new columns without
    statistics, and queries on them would be planned blindly until autovacuum comes by.

    Writes statistics alone. SHARE UPDATE EXCLUSIVE on each for as long as it samples, which readers and writers do not
    feel. Returns what went wrong, empty when nothing did.
    """
    tables = sorted({*filled, *(table for contract in contracts for table in contract.alters)})
    if not tables:
        return ""
    try:
        with target.connect(autocommit=True) as conn:
            schema = find_schema(conn)
            conn.execute(text("SET statement_timeout = 0"))
            conn.execute(literal(f"SET lock_timeout = '{ANALYZE_LOCK}'"))
            for table in tables:
                conn.execute(literal(f"ANALYZE {quoted(schema)}.{quoted(table)}"))
    except (LawskerError, DBAPIError) as failed:
        said = failed.message if isinstance(failed, LawskerError) else type(failed.orig).__name__
        return Phrase(
            "statistics could not be gathered ({said}): ANALYZE {tables}", said=said, tables=", ".join(tables)
        )
    return ""


def read_sizes(
    target: Target, folder: Path, contracts: tuple[Contract, ...], data_bytes: int
) -> tuple[SizeChange, ...]:
    """The database (`data_bytes` before the run) and the tables of these contracts on disk now, beside what plans.json of
    the run's folder says of before. Reads the sizes of files; no lock."""
    noted = read_plans_of(folder)
    was = {name: size.bytes for name, size in noted.sizes.items()} if noted else {}
    new = dict.fromkeys((table.name for contract in contracts for table in contract.tables), 0)
    names = dict.fromkeys((*was, *new))
    with reading(target) as conn:
        whole = int(conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
        schema = quoted(find_schema(conn))
        size = text("SELECT pg_total_relation_size(to_regclass(:name))")
        now = {name: conn.execute(size, {"name": f"{schema}.{quoted(name)}"}).scalar_one() for name in names}
    return (
        SizeChange(table="", before_bytes=data_bytes, after_bytes=whole),
        *(SizeChange(table=name, before_bytes={**new, **was}[name], after_bytes=now[name]) for name in names),
    )


def verify_committed(target: Target, chain: Chain, folder: Path, *, reinstated: bool = False) -> Afterwards:
    """Every check of the list that needs no trial, after COMMIT; junit.xml in the run's folder.

    What applications have written since is no violation, nor what came back from an archive (`reinstated`). Raises
    `CommittedUnproven` when a check fails, or when nobody can look: could not check is never passed.
    """
    options = VerifyOptions(runs=folder.parent, read_only=True, content=False, reinstated=reinstated)
    try:
        checks = verify(target, chain, options=options)
    except (LawskerError, DBAPIError) as failed:
        words = Phrase("The verification afterwards could not be made: {said}", said=said_by(failed))
        raise CommittedUnproven(words, hint=LOOK_AGAIN) from failed
    notes: tuple[str, ...] = ()
    try:
        write_junit(folder / JUNIT, checks, suite=target.label)
    except OSError as refused:
        notes = (Phrase("{file} could not be written: {refused}", file=JUNIT, refused=str(refused)),)
    # What must hold at the gate the gate has proven, behind the locks; since then others have been at work.
    failed_checks = tuple(check for check in failures(checks) if ITEMS.get(check.code, NOBODYS).when is not When.GATE)
    if failed_checks:
        found = (
            Phrase("{code} {name}: {found}", code=check.code, name=check.name, found=check.found)
            for check in failed_checks[:SHOWN]
        )
        raise CommittedUnproven(
            Phrase("The verification afterwards found: {found}", found=joined(found, "; ")), hint=HINT, checks=checks
        )
    return Afterwards(checks=checks, notes=notes)
