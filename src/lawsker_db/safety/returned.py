"""Is a rollback what it says? Stamp, record, archive, nothing left of what went, and what was below it still there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.contract import Contract
from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Direction
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres import locks
from lawsker_db.postgres.catalog import Catalog, Identity, read_catalog
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.kept import Archive, Kept, archive_schema, find_archives
from lawsker_db.postgres.scratch import promised_identities
from lawsker_db.postgres.session import find_schema, identify, quoted_as_read
from lawsker_db.record.history import PastRun, read_history
from lawsker_db.revisions import Chain, contracts_up_to, current_revisions, plan_upgrade
from lawsker_db.safety.confirmation import reading, said_by
from lawsker_db.target import Target

SHOWN = 5


def check_returned(target: Target, chain: Chain, run_id: str | None = None) -> tuple[Check, ...]:
    """What a downgrade on record promised, held against the database now; without a run, the last one. Reads only: the
    catalog, and each table of the archive whole.

    Where later runs have moved the database on, that is said, and the archive alone is compared. Raises `Refused` when no
    such run is on record here.
    """
    with refusing_to_look(), reading(target) as conn:
        server, schema = identify(conn), quoted_as_read(conn, find_schema(conn))
        history, current = read_history(conn, server), current_revisions(conn)
        past = _find(history, run_id)
        catalog = read_catalog(conn)
        archives = {archive.schema: archive for archive in find_archives(conn)}
        adopted = any(row.direction == "adopt" for row in history)
        kept = (
            _check(
                Phrase("record"),
                past.intact,
                Phrase("as it was written"),
                Phrase("so it is") if past.intact else Phrase("altered since"),
            ),
            *_check_archive(conn, past, archives.get(archive_schema(past.run_id))),
        )
        later = _later(history, past)
        if later is not None and later.to_revisions == current:
            told = Phrase(
                "{was} then; {direction} to {now} since, by {run_id}",
                was=_listed(past.to_revisions),
                direction=Phrase(later.direction),
                now=_listed(current),
                run_id=later.run_id,
            )
            return (_check(Phrase("stamp"), True, _listed(past.to_revisions), told), *kept)
        return (
            _check(Phrase("stamp"), current == past.to_revisions, _listed(past.to_revisions), _listed(current)),
            *kept,
            *(_check_gone(catalog, contract, schema) for contract in _gone(chain, past)),
            *(
                _check_below(catalog, contract, schema, adopted=adopted)
                for contract in contracts_up_to(chain, past.to_revisions)
            ),
        )


@contextmanager
def refusing_to_look() -> Iterator[None]:
    """Turn what the server refuses in the block, which only reads, into `Refused`: a lock that somebody holds, a right."""
    try:
        yield
    except DBAPIError as failed:
        raise Refused(
            Phrase(
                "The server did not let it look ({sqlstate}): {why}.",
                sqlstate=str(locks.sqlstate(failed)),
                why=said_by(failed),
            ),
            hint=Phrase(
                "wait for whoever holds it, or connect as a role that may read it; then type the same command again"
            ),
        ) from failed


def _find(history: tuple[PastRun, ...], run_id: str | None) -> PastRun:
    """Pure. The downgrade that was asked for, or the last one."""
    downgrades = [past for past in history if past.here and past.direction == Direction.DOWNGRADE]
    found = [past for past in downgrades if run_id in (None, past.run_id)]
    if not found:
        asked = Phrase("No downgrade") if run_id is None else Phrase("No downgrade by a run {run_id}", run_id=run_id)
        raise Refused(
            Phrase("{asked} of this database is on record.", asked=asked),
            hint=Phrase("lawsker-db status shows what is on record"),
        )
    return found[-1]


def _later(history: tuple[PastRun, ...], past: PastRun) -> PastRun | None:
    """Pure. The last run here behind a downgrade, None when there was none: the database has moved on by it."""
    behind = [run for run in history[history.index(past) + 1 :] if run.here]
    return behind[-1] if behind else None


def _gone(chain: Chain, past: PastRun) -> tuple[Contract, ...]:
    """The contracts that the run took away. Reads revision files."""
    plan = plan_upgrade(chain, past.to_revisions, past.from_revisions[0])
    return tuple(contract for contract in plan.contracts if contract.revision in past.steps)


def _check_archive(conn: Connection, past: PastRun, archive: Archive | None) -> list[Check]:
    """Each kept table as the record has it; the archive is never written after its transaction."""
    if not past.fingerprints:
        return [_check(Phrase("archive"), True, Phrase("none on record"), Phrase("none: {via}", via=past.via))]
    if archive is None:
        return [
            _check(
                Phrase("archive"),
                False,
                Phrase("schema {schema}", schema=archive_schema(past.run_id)),
                Phrase("it is gone, or may not be read"),
            )
        ]
    recorded = {print_.table: print_ for print_ in past.fingerprints}
    named = {kept.fingerprint.table for kept in archive.kept}
    checks = [
        _check(
            Phrase("archive of {table}", table=name),
            False,
            Phrase("listed in its contents"),
            Phrase("not listed any more"),
        )
        for name in recorded.keys() - named
    ]
    return checks + [_check_kept(conn, past, kept) for kept in archive.kept]


def _check_kept(conn: Connection, past: PastRun, kept: Kept) -> Check:
    recorded = next((print_ for print_ in past.fingerprints if print_.table == kept.place), None)
    now = fingerprint_table(conn, kept.place, kept.fingerprint.columns)
    same = recorded is not None and recorded.same_content(now) and kept.fingerprint == recorded
    rows = Phrase("not on record") if recorded is None else Phrase("{rows} rows, as they went", rows=recorded.rows)
    found = (
        Phrase("{rows} rows, the same", rows=now.rows) if same else Phrase("{rows} rows, other content", rows=now.rows)
    )
    return _check(Phrase("archive of {table}", table=kept.original), same, rows, found)


def _check_gone(catalog: Catalog, contract: Contract, schema: str) -> Check:
    """Pure. Nothing of a contract stands in the chain's schema any more."""
    left = _told(promised_identities(contract, schema) & catalog.objects.keys())
    found = Phrase("still there: {names}", names=first_of(left, SHOWN)) if left else Phrase("nothing")
    return _check(Phrase("left of {revision}", revision=contract.revision), not left, Phrase("nothing"), found)


def _check_below(catalog: Catalog, contract: Contract, schema: str, *, adopted: bool) -> Check:
    """Pure. All that a lower contract promises stands; of an adopted database it may have been otherwise before."""
    promised = promised_identities(contract, schema)
    missing = _told(promised - catalog.objects.keys())
    found = (
        Phrase("missing: {names}", names=first_of(missing, SHOWN))
        if missing
        else Phrase("{objects} objects stand", objects=len(promised))
    )
    name = Phrase("objects of {revision}", revision=contract.revision)
    return Check(name=name, ok=not missing, expected=Phrase("all that it promises"), found=found, warning=adopted)


def _told(objects: Iterable[Identity]) -> list[str]:
    """Pure. Objects of the catalog, each as people call it."""
    return sorted(Phrase("{kind} {name}", kind=Phrase(kind), name=name) for kind, name in objects)


def _listed(revisions: tuple[str, ...]) -> str:
    return ", ".join(revisions) or Phrase("base")


def _check(name: str, ok: bool, expected: str, found: str) -> Check:
    return Check(name=name, ok=ok, expected=expected, found=found)
