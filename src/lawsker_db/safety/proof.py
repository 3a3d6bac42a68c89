"""Prove a backup: restore it into a scratch database and compare content and catalog with what was dumped.

The copy stays for the block that asked for it, because a rehearsal stands on the same ground; then it is dropped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import BackupFailed, BackupUnproven, LawskerError, Unreachable
from lawsker_db.evidence import Event, OnEvent, Phase, Proof, ignore
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog, Difference, compare_catalogs, read_catalog
from lawsker_db.postgres.content import (
    Content,
    Sequence,
    Tally,
    compare_content,
    end_readers,
    mark_readers,
    read_content,
)
from lawsker_db.postgres.databases import (
    SCRATCH_PREFIX,
    DatabaseProperties,
    apply_settings,
    create_scratch,
    disk_of,
    drop_scratch,
    new_scratch_name,
    read_properties,
)
from lawsker_db.postgres.facts import OF_THE_SERVER
from lawsker_db.postgres.restorable import Selection, Stage, building_stages, read_restorer, select_entries
from lawsker_db.postgres.session import find_schema, identify, pin_session
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.record.manifest import Manifest, check_files, read_catalog_of, read_manifest, write_manifest
from lawsker_db.safety.archive import POLL_S, find_restorer, list_entries, restore_archive
from lawsker_db.safety.backup import BackupOptions
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.safety.provisions import require_place
from lawsker_db.target import Target, words_of

SHOWN = 5
# What a dump of one database does not carry: it hangs on the database or on the server, and stands beside the dump.
OUTSIDE = ("database", *OF_THE_SERVER)
LOCALE = ("encoding", "provider", "collate", "ctype", "locale", "rules")
RESERVE_BYTES = 64 << 20  # of free disk at which a restore is given up: the original needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A restored copy: the scratch database, what it holds, what was left out of it, and how long the restore took."""

    target: Target
    name: str
    content: Content
    selection: Selection
    omitted: tuple[str, ...]
    restore_s: float


@contextmanager
def restored_copy(
    target: Target, folder: Path, manifest: Manifest, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> Iterator[Copy]:
    """Restore a backup into a scratch database on the server of `target`, for the block; dropped when the block ends.

    The event that names the scratch database comes before it is created, so that a journal leads to it after a crash.
    Raises `BackupFailed` when the files are not what was written, `BackupUnproven` when they do not restore here.
    """
    check_files(folder, manifest)
    _require_place(target, manifest)
    name = new_scratch_name()
    try:
        yield make_copy(target, name, folder, manifest, jobs=jobs, on_event=on_event)
    finally:
        drop_copy(target, name, on_event)


def make_copy(
    target: Target, name: str, folder: Path, manifest: Manifest, *, jobs: int | None = None, on_event: OnEvent = ignore
) -> Copy:
    """Restore a backup, whose files were looked at, into a new scratch database of this name on the server of `target`.

    It stays, half made as well: the caller drops it. Raises what restored_copy raises.
    """
    copy = Target(parameters={**target.parameters, "dbname": name})
    _create(target, name, manifest, on_event)
    began = time.monotonic()
    selection, content = _restore(copy, folder, manifest, BackupOptions(jobs=jobs).workers, on_event)
    with copy.connect() as conn:
        unset = apply_settings(conn, name, original_properties(manifest).settings)
        conn.commit()
    return Copy(
        target=copy,
        name=name,
        content=content,
        selection=selection,
        omitted=(*selection.omitted, *unset),
        restore_s=round(time.monotonic() - began, 3),
    )


def verify_backup(target: Target, folder: Path, *, jobs: int | None = None, on_event: OnEvent = ignore) -> Proof:
    """Prove a backup from its folder alone, on the server of `target`: files, trial restore, content, catalog.

    The database that the backup was taken from is not asked and need not exist. Raises `BackupFailed` naming what is
    wrong, `BackupUnproven` when this server does not allow a trial restore.
    """
    manifest = read_manifest(folder)
    with restored_copy(target, folder, manifest, jobs=jobs, on_event=on_event) as copy:
        return prove(copy, folder, manifest, on_event=on_event)


def prove(copy: Copy, folder: Path, manifest: Manifest, *, on_event: OnEvent = ignore) -> Proof:
    """Compare a restored copy with what was seen under the dump's snapshot, and write the proof into the manifest.

    Content must be equal; of the catalog, what a dump of one database carries and this role may restore. Reads the copy's
    catalog. Raises `BackupFailed` naming what differs.
    """
    began = time.monotonic()
    with copy.target.connect() as conn:
        pin_session(conn, find_schema(conn))
        version = identify(conn).version
        _require_alike(manifest, read_properties(conn))
        seen = read_catalog_of(folder)
        differences = _as_dumped(compare_catalogs(seen, read_catalog(conn)), seen)
        newer = tuple(difference for difference in differences if _is_newer_extension(difference))
        structure = without_spelling(conn, _comparable(differences, copy.selection))
        conn.rollback()
    expected = Content(
        tables=manifest.tables,
        large_objects=manifest.large_objects,
        sequences=tuple(Sequence(**sequence) for sequence in manifest.sequences),
        left_out=manifest.left_out,
    )
    after = tuple(Sequence(**sequence) for sequence in manifest.sequences_after)
    content = compare_content(expected, copy.content, after)
    if content or structure:
        labels = [difference.label for difference in content] + [difference.label for difference in structure]
        shown = joined(labels[:SHOWN], "; ")
        raise BackupFailed(
            Phrase("The restored backup is not equal to what was dumped: {shown}.", shown=shown),
            hint=Phrase("do not rely on this backup; report this with the run's folder"),
        )
    # A manifest that was read from its file keeps the text of a phrase alone.
    kept = (Phrase("{name}: {why}", name=name, why=Phrase(why)) for name, why in manifest.left_out)
    proof = Proof(
        proven_at=datetime.now(UTC).isoformat(),
        server_version=version,
        tables=len(copy.content.tables),
        rows=copy.content.rows,
        omitted=(
            *kept,
            *copy.omitted,
            *(Phrase("{label}: a restore takes the newest", label=difference.label) for difference in newer),
        ),
        restore_s=copy.restore_s,
        compare_s=round(time.monotonic() - began, 3),
    )
    try:
        write_manifest(folder, replace(manifest, proof=proof))
    except OSError as failed:
        words = Phrase("the backup is proven, but its manifest cannot say so: {why}", why=str(failed.strerror))
        on_event(_event("unnoted", words))
    words = Phrase("restored and equal: {tables} tables, {rows} rows", tables=proof.tables, rows=proof.rows)
    on_event(_event("proven", words, tables=proof.tables, rows=proof.rows, omitted=len(proof.omitted)))
    return proof


def _require_alike(manifest: Manifest, copy: DatabaseProperties) -> None:
    """Pure. What orders and compares text must be the same in a copy. Raises `BackupUnproven`."""
    original = original_properties(manifest)
    differing = [name for name in LOCALE if getattr(original, name) != getattr(copy, name)]
    if differing:
        raise BackupUnproven(
            Phrase(
                "The backup cannot be proven here: the copy differs from the original in {properties}.",
                properties=joined(differing),
            ),
            hint=Phrase("--proof-server URL of a server that has the original's locale"),
        )


def _as_dumped(differences: tuple[Difference, ...], seen: Catalog) -> tuple[Difference, ...]:
    """Pure. Without the indexes that are not valid: pg_dump leaves them out (one that is being built concurrently, or whose
    building failed)."""
    return tuple(
        difference
        for difference in differences
        if (difference.kind, difference.found) != ("index", "missing")
        or seen.objects[difference.kind, difference.name].get("valid") is not False
    )


def _comparable(differences: tuple[Difference, ...], selection: Selection) -> tuple[Difference, ...]:
    """Pure. Without what a dump of one database never carries, and what follows from what was left out."""
    return tuple(
        difference
        for difference in differences
        if difference.kind not in OUTSIDE and not selection.covers(difference) and not _is_newer_extension(difference)
    )


def _is_newer_extension(difference: Difference) -> bool:
    """Pure. A dump names no version of an extension: a restore takes the server's default one."""
    return (difference.kind, difference.attribute) == ("extension", "version")


def _require_place(target: Target, manifest: Manifest) -> None:
    """Whether a copy can stand on this server, which takes writes."""
    with target.connect() as conn:
        server = identify(conn)
        refuse_standby(server, target)
        require_place(conn, server, manifest)
        conn.rollback()


def _create(target: Target, name: str, manifest: Manifest, on_event: OnEvent) -> None:
    """Create the scratch database; the event that names it comes first."""
    words = Phrase("trial restore into scratch database {database}", database=name)
    with target.connect(autocommit=True) as admin:
        on_event(_event("scratch", words, database=name, **_whose(admin, target, manifest)))
        try:
            create_scratch(admin, name, original_properties(manifest))
        except DBAPIError as failed:
            raise BackupUnproven(
                Phrase("The backup cannot be proven: no scratch database can be created: {why}", why=words_of(failed)),
                hint=Phrase("mend that, then type it again"),
            ) from failed


def _whose(admin: Connection, target: Target, manifest: Manifest) -> dict[str, Any]:
    """For whoever finds the journal of a killed run: on which server the copy is, and of which database."""
    here = identify(admin, sized=False)
    return {
        "place": target.label,
        "server": {"system_identifier": here.system_identifier, "address": here.address},
        "of": {name: manifest.server.get(name) for name in ("system_identifier", "database_oid")},
    }


def drop_copy(target: Target, name: str, on_event: OnEvent = ignore) -> None:
    """Drop the scratch database on a connection of its own: the one that made it may be long gone.

    A server that is lost must not hide what went wrong before: then the event says what is left and how it goes.
    """
    try:
        with target.connect(autocommit=True) as admin:
            drop_scratch(admin, name)
    except (DBAPIError, LawskerError) as failed:
        why = failed.message if isinstance(failed, LawskerError) else words_of(failed)
        words = Phrase(
            "the scratch database could not be dropped ({why}); when that is mended: DROP DATABASE {database}",
            why=why,
            database=name,
        )
        on_event(_event("left", words, database=name))
        return
    on_event(_event("dropped", Phrase("scratch database {database} dropped", database=name), database=name))


def _restore(copy: Target, folder: Path, manifest: Manifest, jobs: int, on_event: OnEvent) -> tuple[Selection, Content]:
    """Load the data, then build indexes and keys while the tables are fingerprinted already.

    Fingerprints beside the second half cost little more than the half alone, where cores are idle in it: the largest
    table's keys are built one after another.
    """
    archive = folder / manifest.archive
    with _connected(copy) as conn:
        place = disk_of(conn)
        tool = find_restorer(conn, manifest.client_major)
        entries, later = list_entries(tool, archive), set(list_entries(tool, archive, "--section=post-data"))
        selection = select_entries(entries, read_catalog_of(folder), read_restorer(conn))

    def watch(conn: Connection, words: str) -> None:
        if place is not None and shutil.disk_usage(place).free < RESERVE_BYTES:
            raise BackupUnproven(
                Phrase(
                    "The backup cannot be proven: the trial restore was given up before it filled the server's disk."
                ),
                hint=Phrase("free disk space there"),
            )
        on_event(_growing(conn, words))

    def load(stage: Stage, words: str) -> None:
        on_event(_event("restoring", words))
        with _connected(copy) as conn:
            wrong = restore_archive(
                conn,
                tool,
                archive,
                stage.entries,
                options=selection.options,
                jobs=jobs if stage.parallel else 1,
                on_wait=lambda: watch(conn, words),
            )
            if wrong:
                watch(conn, words)
        if wrong:
            raise _not_restored(wrong, selection)

    tables = tuple(entry for entry in selection.entries if entry not in later)
    load(Stage(entries=tables, parallel=True), Phrase("restoring tables, {jobs} at once", jobs=jobs))
    with _fingerprinting(copy, tally := Tally()) as reading:
        for stage in building_stages(tuple(entry for entry in selection.entries if entry in later)):
            together = Phrase("{jobs} at once", jobs=jobs) if stage.parallel else Phrase("one after another")
            load(
                stage,
                Phrase(
                    "building {entries} indexes, keys and more, {together}, beside the fingerprints",
                    entries=len(stage.entries),
                    together=together,
                ),
            )
        while wait((reading,), timeout=POLL_S).not_done:
            said = Phrase("fingerprinting the copy: {done} of {whole} tables", done=tally.done, whole=tally.whole)
            on_event(_event("progress", said, lasting=False, tables=tally.done, of=tally.whole))
        return selection, reading.result()


def _growing(conn: Connection, words: str) -> Event:
    """How large the copy is by now, in mere progress: what cannot be asked is left out."""
    try:
        size = int(conn.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one())
        conn.rollback()
    except DBAPIError:
        return _event("progress", words, lasting=False)
    said = Phrase("{words}; {size:.0f} MB in the copy", words=words, size=size / 1e6)
    return _event("progress", said, lasting=False, bytes=size)


def _not_restored(wrong: str, selection: Selection) -> LawskerError:
    """Pure. That pg_restore failed: a fault of the backup, unless what this role had to leave out may be missing."""
    if selection.may_break_others:
        return BackupUnproven(
            Phrase(
                "The backup cannot be proven by this role, which leaves out {omitted}: {wrong}",
                omitted=joined(selection.omitted[:SHOWN], "; "),
                wrong=wrong,
            ),
            hint=Phrase("prove it as a superuser, or on a server where it may create them: --proof-server URL"),
        )
    return BackupFailed(
        Phrase("The backup does not restore here: {wrong}", wrong=wrong),
        hint=Phrase("do not rely on this backup; mend what it names and take another"),
    )


@contextmanager
def _fingerprinting(copy: Target, tally: Tally) -> Iterator[Future[Content]]:
    """Read the content of a copy in the background for the block; if the block fails, the readers end."""
    marked = mark_readers(copy)
    with ThreadPoolExecutor(max_workers=1) as aside:
        reading = aside.submit(read_content, marked, hold=False, tally=tally)
        try:
            yield reading
        except BaseException:
            end_readers(copy, marked, reading.done)
            raise


@contextmanager
def _connected(copy: Target) -> Iterator[Connection]:
    """A connection to the copy, which a server's pg_hba.conf need not allow for a name that it does not know."""
    with ExitStack() as stack:
        try:
            conn = stack.enter_context(copy.connect())
        except Unreachable as failed:
            raise BackupUnproven(
                Phrase(
                    "The backup cannot be proven: its scratch database cannot be reached: {why}",
                    why=failed.message,
                ),
                hint=Phrase("let this role connect to databases called {prefix}… (pg_hba.conf)", prefix=SCRATCH_PREFIX),
            ) from failed
        yield conn


def original_properties(manifest: Manifest) -> DatabaseProperties:
    """Pure. What hung on the database itself when its backup was taken."""
    facts: dict[str, Any] = dict(manifest.properties)
    facts |= {"acl": tuple(facts["acl"]), "settings": tuple((role, value) for role, value in facts["settings"])}
    return DatabaseProperties(**facts)


def _event(name: str, words: str, *, lasting: bool = True, **facts: object) -> Event:
    return Event(phase=Phase.PROOF, name=name, text=words, facts=facts, lasting=lasting)
