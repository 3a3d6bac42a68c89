"""A backup as `lawsker-db backup show` describes it: what it holds, and how it is restored by hand."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import TYPE_CHECKING

from lawsker_db.phrases import Phrase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lawsker_db.record.manifest import Manifest

LISTED = 20  # tables by name, the largest first
TO_THE_SECOND = "%Y-%m-%d %H:%M:%S"
# pg_database.datlocprovider: its name for createdb, and the option that gives its locale
PROVIDERS = {"c": ("libc", ""), "i": ("icu", "icu-locale"), "b": ("builtin", "builtin-locale")}


def described(folder: Path, manifest: Manifest, now: datetime) -> Iterator[str]:
    """Pure. What a tired reader wants to know of a backup, the most urgent first."""
    from lawsker_db.cli.render import age_text, version_text

    server, taken = manifest.server, datetime.fromisoformat(manifest.taken_at)
    here = shlex.quote(str(folder))
    yield Phrase("Backup:   {folder}", folder=str(folder))
    yield Phrase("Files:    every one is what was written")
    if manifest.proof:
        proven = datetime.fromisoformat(manifest.proof.proven_at)
        on = version_text(manifest.proof.server_version)
        yield Phrase(
            "Proven:   {at} UTC, {age}, restored and found equal on PostgreSQL {version}",
            at=proven.strftime(TO_THE_SECOND),
            age=age_text(proven, now),
            version=on,
        )
    else:
        yield Phrase("Proven:   no, it was never restored. Next: lawsker-db backup verify {here}", here=here)
    revision = ", ".join(manifest.revision) or Phrase("none")
    yield Phrase(
        "Database: {database} at revision {revision}, PostgreSQL {version}",
        database=server["database"],
        revision=revision,
        version=version_text(server["version"]),
    )
    yield Phrase(
        "Taken:    {at} UTC, {age}, at LSN {lsn}",
        at=taken.strftime(TO_THE_SECOND),
        age=age_text(taken, now),
        lsn=manifest.snapshot["lsn"],
    )
    rows = sum(table.rows for table in manifest.tables)
    objects = Phrase(", {rows} large objects", rows=manifest.large_objects.rows) if manifest.large_objects.rows else ""
    size = Phrase(
        "{size:.1f} MB in {files} files by {client}",
        size=manifest.bytes / 1e6,
        files=len(manifest.files),
        client=manifest.client,
    )
    yield Phrase(
        "Holds:    {tables} tables, {rows} rows{objects}; {size}",
        tables=len(manifest.tables),
        rows=rows,
        objects=objects,
        size=size,
    )
    omitted = manifest.proof.omitted if manifest.proof else tuple(": ".join(pair) for pair in manifest.left_out)
    yield from (Phrase("          not compared: {line}", line=_reasoned(line)) for line in omitted)
    yield from _by_hand(folder, manifest)
    largest = sorted(manifest.tables, key=lambda table: (-table.rows, table.table))
    rows_of = ", ".join(f"{table.table} {table.rows}" for table in largest[:LISTED])
    yield Phrase("Rows:     {tables}", tables=rows_of)
    if len(largest) > LISTED:
        yield Phrase("          and {number} smaller tables: --json lists them", number=len(largest) - LISTED)


def _reasoned(line: str) -> Phrase:
    """Pure. A name and why it was left out, which a manifest keeps as text, as a phrase again."""
    name, _, why = line.partition(": ")
    return Phrase("{name}: {why}", name=name, why=Phrase(why)) if why else Phrase(line)


def _by_hand(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Pure. Where it may be restored, by which client (the rule of `postgres.tools.fits`), and the commands."""
    from lawsker_db.postgres.databases import PROVIDER_MAJOR
    from lawsker_db.postgres.tools import OLD_SERVERS_NEWEST_CLIENT
    from lawsker_db.safety.archive import GLOBALS

    client, server = manifest.client_major, int(manifest.server["version"]) // 10000
    which = Phrase("{major} or newer", major=max(client, server))
    if server <= OLD_SERVERS_NEWEST_CLIENT:
        newest = Phrase("{client} or {newest}", client=client, newest=OLD_SERVERS_NEWEST_CLIENT)
        old = newest if client < OLD_SERVERS_NEWEST_CLIENT else str(OLD_SERVERS_NEWEST_CLIENT)
        which = Phrase("{old} (into 17 or newer: that server's own)", old=old)
    yield Phrase("Restore:  into PostgreSQL {server} or newer, by pg_restore {which}", server=server, which=which)
    like = manifest.properties
    options = {"encoding": like["encoding"], "lc-collate": like["collate"], "lc-ctype": like["ctype"]}
    if server >= PROVIDER_MAJOR:
        provider, option = PROVIDERS[like["provider"]]
        options |= {"locale-provider": provider} | ({option: like["locale"]} if option else {})
    given = " ".join(f"--{name}={shlex.quote(str(value))}" for name, value in options.items())
    yield f"          createdb --template=template0 {given} lawsker_restored"
    archive = shlex.quote(str(folder.absolute() / manifest.archive))
    yield f"          pg_restore --exit-on-error --jobs=4 --dbname=lawsker_restored {archive}"
    yield Phrase(
        "          then SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid, which must find nothing; ANALYZE"
    )
    roles = manifest.without_globals or shlex.quote(str(folder.absolute() / GLOBALS))
    point = manifest.restore_point
    yield Phrase("Roles:    {roles}", roles=roles)
    yield Phrase("WAL:      {point}, LSN {lsn}", point=point.name or Phrase("no restore point"), lsn=point.lsn)
    yield from (f"          {command}" for command in point.commands)
