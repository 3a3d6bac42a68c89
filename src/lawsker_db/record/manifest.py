"""The manifest of a backup: what was dumped, from where, and what a restore of it must give."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lawsker_db.errors import BackupFailed
from lawsker_db.evidence import Fingerprint, Proof, RestorePoint
from lawsker_db.phrases import Phrase, told_by
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.record.journal import as_json, write_atomically

FORMAT = 3
CATALOG = "catalog.json"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
TAKE_ANOTHER = Phrase("to take another: lawsker-db backup create")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a backup says of itself. `files` maps a path below the backup folder to its SHA-256.

    `archive` is what pg_restore is given, a folder or a file; `without_globals` why roles are not in it, else empty.
    """

    backup_id: str
    tool_version: str
    taken_at: str
    revision: tuple[str, ...]
    server: Mapping[str, Any]
    properties: Mapping[str, Any]
    snapshot: Mapping[str, Any]
    client: str
    client_major: int
    archive: str
    files: Mapping[str, str]
    bytes: int
    dump_s: float
    tables: tuple[Fingerprint, ...]
    large_objects: Fingerprint
    sequences: tuple[Mapping[str, Any], ...]
    sequences_after: tuple[Mapping[str, Any], ...]
    left_out: tuple[tuple[str, str], ...]
    without_globals: str
    catalog_digest: str
    restore_point: RestorePoint
    proof: Proof | None = None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json and SHA256SUMS (which `sha256sum -c` takes) into the backup's folder, atomically."""
    document = {"format": FORMAT, "digest": "", **as_json(asdict(manifest))}
    if not (folder / SUMS).exists():
        write_atomically(folder / SUMS, _sums(manifest))
    body = json.dumps(document, ensure_ascii=True, indent=1).encode()
    own = b'"digest": "' + hashlib.sha256(body).hexdigest().encode() + b'"'
    write_atomically(folder / MANIFEST, body.replace(b'"digest": ""', own, 1))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a backup. Raises `BackupFailed` when there is none or it is no manifest of ours."""
    try:
        body = _read_ordinary(folder / MANIFEST)
        facts: dict[str, Any] = json.loads(body)
        written = facts.pop("format")
        if written != FORMAT:
            wrote = f"lawsker-db {facts.get('tool_version', 'of another version')}"
            raise ValueError(
                Phrase(
                    "it is of format {written}, by {tool}; this version reads format {known}",
                    written=written,
                    tool=wrote,
                    known=FORMAT,
                )
            )
        own = str(facts.pop("digest"))
        if hashlib.sha256(body.replace(own.encode(), b"", 1)).hexdigest() != own:
            raise ValueError(Phrase("it is not what was written"))
        facts["tables"] = tuple(_fingerprint(table) for table in facts["tables"])
        facts["large_objects"] = _fingerprint(facts["large_objects"])
        facts["left_out"] = tuple((name, why) for name, why in facts["left_out"])
        if facts["proof"] is not None:
            facts["proof"] = Proof(**{**facts["proof"], "omitted": tuple(facts["proof"]["omitted"])})
        point = facts["restore_point"]
        facts["restore_point"] = RestorePoint(**{**point, "at": datetime.fromisoformat(point["at"])})
        for name in ("revision", "sequences", "sequences_after"):
            facts[name] = tuple(facts[name])
        manifest = Manifest(**facts)
        _require_plain_facts(manifest)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as failed:
        raise BackupFailed(
            Phrase("{file} is no manifest that can be trusted: {why}.", file=str(folder / MANIFEST), why=_said(failed)),
            hint=Phrase(
                "name the folder of a backup (lawsker-db backup list --runs FOLDER); {otherwise}",
                otherwise=TAKE_ANOTHER,
            ),
        ) from failed
    return manifest


def write_catalog(folder: Path, catalog: Catalog) -> None:
    """Write the catalog that a restore must give, as JSON, into the backup's folder, atomically."""
    facts = [[kind, name, dict(catalog.objects[kind, name])] for kind, name in sorted(catalog.objects)]
    write_atomically(folder / CATALOG, json.dumps(facts, ensure_ascii=False, sort_keys=True, indent=0).encode())


def read_catalog_of(folder: Path) -> Catalog:
    """The catalog that a restore must give. `check_files` has made sure that it is what was written.

    Raises `BackupFailed` when the disk does not give it.
    """
    with _readable(folder / CATALOG):
        written = (folder / CATALOG).read_bytes()
    return Catalog(objects={(kind, name): facts for kind, name, facts in json.loads(written)})


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of the backup with the manifest: none altered, none missing, none added. Reads them all.

    Raises `BackupFailed` naming the first file that is wrong, or that others may write: restoring runs what stands in a
    backup, and the sums in it are no signature.
    """
    with _readable(folder):
        _check_files(folder, manifest)


def _check_files(folder: Path, manifest: Manifest) -> None:
    present = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    folders = {str(Path(name).parent) for name in manifest.files} - {"."}
    for place in (folder, *(folder / name for name in sorted(folders))):
        if place.is_symlink() or not place.is_dir():
            raise _wrong(place, Phrase("is no ordinary folder"))
    outside = folder.absolute().parent
    if swappable(outside):
        raise _writable(outside, f"chmod go-w {shlex.quote(str(outside))}")
    for place in (folder, *(folder / name for name in folders), folder / MANIFEST):
        _require_private(place, folder)
    # A proof that was killed while it was noted leaves a half manifest beside the whole one, which says nothing.
    for name in sorted((present | manifest.files.keys() | {SUMS}) - {MANIFEST, f"{MANIFEST}.partial"} - folders):
        if name not in manifest.files and name != SUMS:
            raise _wrong(folder / name, Phrase("is not in the manifest"))
        if name not in present:
            raise _wrong(folder / name, Phrase("is missing"))
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise _wrong(folder / name, Phrase("is no ordinary file"))
        _require_private(folder / name, folder)
        written = hashlib.sha256(_sums(manifest)).hexdigest() if name == SUMS else manifest.files[name]
        if file_digest(folder / name) != written:
            raise _wrong(folder / name, Phrase("is not what was written"))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the disk says in the block into an error of ours: what cannot be read is no backup, and no bug either."""
    try:
        yield
    except OSError as failed:
        raise _wrong(
            Path(failed.filename or path), Phrase("cannot be read: {why}", why=str(failed.strerror))
        ) from failed


def swappable(folder: Path) -> bool:
    """Whether others may put something else in the place of what stands in this folder. Looks at its mode."""
    mode = folder.stat().st_mode
    return bool(mode & OTHERS_WRITE) and not mode & stat.S_ISVTX


def file_digest(path: Path) -> str:
    """SHA-256 of a file as hex. Reads it in pieces."""
    with _readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_ordinary(path: Path) -> bytes:
    """The content of a file that is one. What a link leads to was not written by us, and a pipe would make us wait."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as failed:
        raise ValueError(Phrase("it is a symbolic link") if path.is_symlink() else str(failed.strerror)) from failed
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(Phrase("it is no ordinary file"))
    with os.fdopen(handle, "rb") as file:
        return file.read()


def _require_plain_facts(manifest: Manifest) -> None:
    """What listing and showing go by is there, and of the right kind. Raises `LookupError`, `TypeError`, `ValueError`."""
    times = [manifest.taken_at] + ([manifest.proof.proven_at] if manifest.proof else [])
    if not all(datetime.fromisoformat(time).tzinfo for time in times):
        raise ValueError(Phrase("its time has no zone"))
    server, like = manifest.server, manifest.properties
    words = [server["database"], server["system_identifier"], manifest.snapshot["lsn"], *manifest.revision]
    words += [like[name] for name in ("encoding", "collate", "ctype", "provider", "locale")]
    words += [text for item in manifest.files.items() for text in item]
    numbers = [server["version"], manifest.bytes, manifest.client_major, *(table.rows for table in manifest.tables)]
    if not all(isinstance(word, str) for word in words) or not all(isinstance(number, int) for number in numbers):
        raise TypeError(Phrase("it says something of the wrong kind"))


def _require_private(path: Path, folder: Path) -> None:
    if path.lstat().st_mode & OTHERS_WRITE:
        raise _writable(path, f"chmod -R go-w {shlex.quote(str(folder))}")


def _writable(path: Path, mend: str) -> BackupFailed:
    return BackupFailed(
        Phrase("Others may write {path}, so that this backup cannot be trusted.", path=str(path)),
        hint=Phrase("if you know that nobody did: {mend}; else {otherwise}", mend=mend, otherwise=TAKE_ANOTHER),
    )


def _said(failed: Exception) -> str:
    """Pure. What is wrong with a manifest, in words."""
    if isinstance(failed, KeyError):
        return Phrase("it lacks {key}", key=str(failed))
    return Phrase("it is nested too deeply") if isinstance(failed, RecursionError) else told_by(failed)


def _sums(manifest: Manifest) -> bytes:
    """Pure. The content of SHA256SUMS."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(manifest.files.items())).encode()


def _fingerprint(found: Mapping[str, Any]) -> Fingerprint:
    return Fingerprint(
        table=found["table"], columns=tuple(found["columns"]), rows=found["rows"], sums=tuple(found["sums"])
    )


def _wrong(path: Path, what: str) -> BackupFailed:
    return BackupFailed(
        Phrase("{path} {what}.", path=str(path), what=what),
        hint=Phrase("do not restore from this backup; {otherwise}", otherwise=TAKE_ANOTHER),
    )
