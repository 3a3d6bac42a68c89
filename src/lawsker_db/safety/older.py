"""What stood before the run that made the newest revision, beside what stands now: its objects and its content.

The run's own backup says how it was: its catalog, and a fingerprint of every table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import BackupFailed
from lawsker_db.evidence import Check, Fingerprint
from lawsker_db.phrases import Phrase, clause, first_of
from lawsker_db.postgres.catalog import Catalog, Difference, catalog_digest, compare_catalogs, parts_of
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.locks import sqlstate
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.record.history import PastRun
from lawsker_db.record.manifest import Manifest, read_catalog_of, read_manifest
from lawsker_db.safety.checklist import SHOWN, not_run, passed, unknown, violated
from lawsker_db.safety.expectation import Promise, alembics_own, expected_after, not_as_promised
from lawsker_db.safety.structure import OF_THE_OWNER, promised_tables
from lawsker_db.target import said_by_server

GONE = ("42P01", "42703", "3F000")  # undefined_table, undefined_column, invalid_schema_name
OF_THE_SERVER = "role"  # roles come and go for the sake of other databases


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """How the database was before a run, as that run's backup says."""

    manifest: Manifest
    catalog: Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A table without a fingerprint now: it or a column of it is not there any more, or the server refused to read it."""

    gone: bool
    why: str


def read_before(run: PastRun, backup: Path) -> Before | str:
    """What the backup of a run says of the database before it, or why it cannot be asked. Reads two small files, whose
    digests must be those that were written; the dump itself is not read."""
    if not backup.is_dir():
        return Phrase("no backup of this run in {backup}", backup=str(backup))
    try:
        manifest = read_manifest(backup)
        catalog = read_catalog_of(backup)
    except BackupFailed as failed:
        return clause(failed.message)
    except (OSError, ValueError, TypeError, RecursionError):
        return Phrase("the catalog in {backup} cannot be read", backup=str(backup))
    if manifest.backup_id != run.backup_id:
        return Phrase("the backup in {backup} is not that of run {run_id}", backup=str(backup), run_id=run.run_id)
    if catalog_digest(catalog) != manifest.catalog_digest:
        return Phrase("the catalog in {backup} is not what was written", backup=str(backup))
    return Before(manifest=manifest, catalog=catalog)


def check_older_objects(
    conn: Connection, now: Catalog, promises: tuple[Promise, ...], newest: Promise, before: Before
) -> Check:
    """S22: everything that stood before the run, changed by its `promises` and by nothing else. What others made since
    is theirs. Tries spellings under a savepoint, with the locks of `without_spelling`."""
    expected = expected_after(before.catalog, promises)
    found = [
        difference
        for difference in compare_catalogs(_unordered(expected), _unordered(now))
        if difference.expected != "absent" and not _judged_elsewhere(difference, newest)
    ]
    labels = tuple(difference.label for difference in without_spelling(conn, tuple(found)))
    taken = before.manifest.taken_at[:19].replace("T", " ")
    return violated("S22", labels) if labels else passed("S22", Phrase("as in the backup of {taken} UTC", taken=taken))


def check_older_contracts(conn: Connection, now: Catalog, promises: tuple[Promise, ...], why: str) -> Check:
    """S22 where no backup tells: the objects of all older revisions, as far as their contracts go. `why` there is none.

    It finds what is lacking there, and never passes: owners, grants and whatever no contract promised were not compared.
    """
    differences = [
        difference
        for promise in promises
        for difference in without_spelling(conn, not_as_promised(now, promise))
        if difference.attribute not in OF_THE_OWNER
    ]
    if differences:
        return violated("S22", tuple(difference.label for difference in differences))
    if not promises:
        return not_run("S22", why)
    names = ", ".join(promise.contract.revision for promise in promises)
    return not_run(
        "S22", Phrase("only what revision {revisions} promises was compared ({why})", revisions=names, why=why)
    )


def check_older_content(conn: Connection, before: Before, *, strict: bool) -> Check:
    """D01: every table of the backup, on its old columns. Reads them all: ACCESS SHARE on each until the transaction ends,
    time grows with the database. What differs was written since, which is information unless `strict`; a table or column
    that is gone is a violation, and of one that cannot be read nothing is known."""
    written: list[str] = []
    gone: list[str] = []
    unread: list[str] = []
    told = [table for table in before.manifest.tables if not _not_compared(table.table)]
    for table in told:
        found = _fingerprint(conn, table)
        if isinstance(found, Unread):
            (gone if found.gone else unread).append(Phrase("{table}: {why}", table=table.table, why=found.why))
        elif not table.same_content(found):
            written.append(
                Phrase("{table}: {before} rows before, {now} now", table=table.table, before=table.rows, now=found.rows)
            )
    wrong = (*gone, *(written if strict else ()))
    if wrong:
        return violated("D01", (*wrong, *unread))
    if unread:
        return unknown("D01", first_of(unread, SHOWN, "; "))
    names = [label.partition(":")[0] for label in written]
    if written:
        return passed(
            "D01",
            Phrase(
                "{number} of {all} tables were written since the run: {names}",
                number=len(written),
                all=len(told),
                names=first_of(names, SHOWN),
            ),
        )
    return passed("D01", Phrase("{number} tables hold what they held", number=len(told)))


def _fingerprint(conn: Connection, table: Fingerprint) -> Fingerprint | Unread:
    """The content now, or why it cannot be read. Asks under a savepoint."""
    savepoint = conn.begin_nested()
    try:
        return fingerprint_table(conn, table.table, table.columns)
    except DBAPIError as failed:
        if failed.connection_invalidated:
            raise
        why = said_by_server(failed.orig) or Phrase("the server refused the query")
        return Unread(gone=sqlstate(failed) in GONE, why=why)
    finally:
        if savepoint.is_active and not conn.invalidated:
            savepoint.rollback()


def _not_compared(table: str) -> bool:
    """Pure. Our history and Alembic's stamp, which every run writes."""
    parts = parts_of(table)
    return parts[0] == "lawsker_db" or parts[-1] == "alembic_version"


def _judged_elsewhere(difference: Difference, newest: Promise) -> bool:
    """Pure. What the S-codes before have judged, what belongs to the server, and Alembic's own table."""
    if alembics_own(difference) or difference.kind == OF_THE_SERVER:
        return True
    if difference.kind == "setting" and difference.name.startswith("role "):
        return True
    if (difference.kind, difference.name) in newest.built.objects:
        return True
    return any(difference.name.startswith(f"{table}.") for table in promised_tables(newest))


def _unordered(catalog: Catalog) -> Catalog:
    """Pure. Without the order of columns: those that others have added since are theirs, and one that is gone is missing."""
    return Catalog(
        objects={
            identity: {key: value for key, value in facts.items() if key != "columns"}
            for identity, facts in catalog.objects.items()
        }
    )
