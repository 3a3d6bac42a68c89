"""The manifest of a backup: what was dumped, from where, and what a restore of it must give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lawsker_db.errors import BackupFailed
from lawsker_db.evidence import Fingerprint, Proof, RestorePoint
from lawsker_db.postgres.catalog import Catalog
from lawsker_db.record.journal import as_json, write_atomically

FORMAT = 2
CATALOG = "catalog.json"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
READ_BYTES = 1 << 20


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
        body = _ordinary(folder / MANIFEST).read_bytes()
        facts: dict[str, Any] = json.loads(body)
        if facts.pop("format") != FORMAT:
            raise ValueError("it is of another version")
        own = str(facts.pop("digest"))
        if hashlib.sha256(body.replace(own.encode(), b"", 1)).hexdigest() != own:
            raise ValueError("it is not what was written")
        facts["tables"] = tuple(_fingerprint(table) for table in facts["tables"])
        facts["large_objects"] = _fingerprint(facts["large_objects"])
        facts["left_out"] = tuple((name, why) for name, why in facts["left_out"])
        if facts["proof"] is not None:
            facts["proof"] = Proof(**{**facts["proof"], "omitted": tuple(facts["proof"]["omitted"])})
        point = facts["restore_point"]
        facts["restore_point"] = RestorePoint(**{**point, "at": datetime.fromisoformat(point["at"])})
        for name in ("revision", "sequences", "sequences_after"):
            facts[name] = tuple(facts[name])
        return Manifest(**facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as failed:
        raise BackupFailed(
            f"{folder / MANIFEST} is no manifest that can be trusted: {failed}.",
            hint="name the folder of a backup: lawsker-db backup list",
        ) from failed


def write_catalog(folder: Path, catalog: Catalog) -> None:
    """Write the catalog that a restore must give, as JSON, into the backup's folder, atomically."""
    facts = [[kind, name, dict(catalog.objects[kind, name])] for kind, name in sorted(catalog.objects)]
    write_atomically(folder / CATALOG, json.dumps(facts, ensure_ascii=False, sort_keys=True, indent=0).encode())


def read_catalog_of(folder: Path) -> Catalog:
    """The catalog that a restore must give. `check_files` has made sure that it is what was written."""
    return Catalog(objects={(kind, name): facts for kind, name, facts in json.loads((folder / CATALOG).read_bytes())})


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of the backup with the manifest: none altered, none missing, none added. Reads them all.

    Raises `BackupFailed` naming the first file that is wrong.
    """
    present = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    folders = {str(Path(name).parent) for name in manifest.files} - {"."}
    for name in sorted(folders):
        if (folder / name).is_symlink() or not (folder / name).is_dir():
            raise _wrong(folder / name, "is no ordinary folder")
    for path in sorted((present | manifest.files.keys() | {SUMS}) - {MANIFEST} - folders):
        if path not in manifest.files and path != SUMS:
            raise _wrong(folder / path, "is not in the manifest")
        if path not in present:
            raise _wrong(folder / path, "is missing")
        if (folder / path).is_symlink() or not (folder / path).is_file():
            raise _wrong(folder / path, "is no ordinary file")
        written = hashlib.sha256(_sums(manifest)).hexdigest() if path == SUMS else manifest.files[path]
        if file_digest(folder / path) != written:
            raise _wrong(folder / path, "is not what was written")


def file_digest(path: Path) -> str:
    """SHA-256 of a file as hex. Reads it in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failed:
        raise _wrong(path, f"cannot be read: {failed.strerror}") from failed


def _ordinary(path: Path) -> Path:
    """The path, if it is no symbolic link: what it would lead to was not written by us. Raises `ValueError`."""
    if path.is_symlink():
        raise ValueError("it is a symbolic link")
    return path


def _sums(manifest: Manifest) -> bytes:
    """Pure. The content of SHA256SUMS."""
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(manifest.files.items())).encode()


def _fingerprint(found: Mapping[str, Any]) -> Fingerprint:
    return Fingerprint(
        table=found["table"], columns=tuple(found["columns"]), rows=found["rows"], sums=tuple(found["sums"])
    )


def _wrong(path: Path, what: str) -> BackupFailed:
    return BackupFailed(
        f"{path} {what}.", hint="do not restore from this backup; take another: lawsker-db backup create"
    )
