"""What a backup and its proof need: programs, rights, room. Looked at before anything begins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import BackupUnproven, Refused
from lawsker_db.evidence import Check, Server
from lawsker_db.phrases import Phrase, first_of
from lawsker_db.postgres.databases import may_create_databases, room_beside, room_needed
from lawsker_db.postgres.dumpable import client_check, dump_checks
from lawsker_db.postgres.session import quoted
from lawsker_db.postgres.tools import find_tool, find_tools, is_local, speaks_tls
from lawsker_db.record.manifest import Manifest, swappable

SHOWN = 5
# A compressed dump of text-heavy tables takes a quarter to a half of the database's size (indexes are not dumped);
# we ask for as much as half, so that the disk is not filled to the brim by us.
DUMP_SHARE = 0.5
SPARE_BYTES = 64 << 20
READ_ALL_MAJOR = 14
CLIENTS = ("pg_dump", "pg_restore")


def backup_checks(conn: Connection, server: Server, runs: Path) -> list[Check]:
    """Whether a backup can be taken into `runs`, and what it would miss. Reads only; looks at the disk."""
    checks = [_dump_check(conn, server), *_tool_checks(conn, server)]
    return [*checks, _disk_check(server, runs), *dump_checks(conn)]


def proof_checks(conn: Connection, server: Server, *, warning: bool) -> list[Check]:
    """Whether a trial restore can be made beside the database. With `warning` nothing here stops a run. Reads only."""
    return [_scratch_check(conn, server, warning=warning), _scratch_disk_check(conn, server, warning=warning)]


def _dump_check(conn: Connection, server: Server) -> Check:
    """pg_dump reads every table and sequence, whoever owns it, and ends at the first that it may not read."""
    rows = conn.execute(
        text(
            "SELECT format('%I.%I', n.nspname, c.relname), quote_ident(n.nspname)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
            " AND d.deptype = 'e')"
            " AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind"
            " WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)"
            " ORDER BY 1"
        )
    )
    found = [(str(name), str(schema)) for name, schema in rows]
    hidden = [name for name, _ in found]
    grant = (
        Phrase(", or GRANT pg_read_all_data TO {user}", user=quoted(server.user))
        if server.major >= READ_ALL_MAJOR
        else ""
    )
    told = Phrase("{user} may not read {tables}", user=server.user, tables=first_of(hidden, SHOWN))
    return Check(
        name=Phrase("right: to dump everything"),
        ok=not hidden,
        expected=Phrase("SELECT on every table and sequence"),
        found=told if hidden else Phrase("granted"),
        detail=Phrase("connect as the owner or a superuser{grant}", grant=grant) if hidden else "",
        hint=_reading(server, found) if hidden else "",
    )


def _reading(server: Server, hidden: list[tuple[str, str]]) -> str:
    """Pure. The statement that lets a role read what is hidden from it; before 14 there is no role that reads all."""
    user = quoted(server.user)
    if server.major >= READ_ALL_MAJOR:
        return f"GRANT pg_read_all_data TO {user}"
    schemas = ", ".join(sorted({schema for _, schema in hidden}))
    tables = ", ".join(name for name, _ in hidden)
    return f"GRANT USAGE ON SCHEMA {schemas} TO {user}; GRANT SELECT ON {tables} TO {user}"


def tools_found() -> tuple[Check, ...]:
    """What client programs there are, with version and whether they were built with TLS, as far as that can be told. Asks no
    server."""
    checks: list[Check] = []
    for name in CLIENTS:
        for tool in find_tools(name):
            tls = speaks_tls(tool)
            words = Phrase("built with TLS") if tls else Phrase("built without TLS: for local servers only")
            words = Phrase("NOT CHECKED whether with TLS: its libpq does not say") if tls is None else words
            found = Phrase("{tool} at {path}, {tls}", tool=tool.label, path=str(tool.path), tls=words)
            ok = None if tls is None else True
            expected = Phrase("a client program")
            checks.append(Check(name=Phrase("tool"), ok=ok, expected=expected, found=found, warning=True))
    return tuple(checks)


def _tool_checks(conn: Connection, server: Server) -> list[Check]:
    """The client programs that fit this server, and what is known against them."""
    checks: list[Check] = []
    for name in CLIENTS:
        expected = Phrase("fits {major}", major=server.major)
        try:
            tool = find_tool(name, server.major, local=is_local(conn))
        except Refused as missing:
            detail = missing.hint
            install = f"apt-get install postgresql-client-{server.major}"
            checks.append(
                Check(name=name, ok=False, expected=expected, found=missing.message, detail=detail, hint=install)
            )
            continue
        checks.append(Check(name=name, ok=True, expected=expected, found=tool.described))
        checks.append(client_check(tool))
    return checks


def _scratch_check(conn: Connection, server: Server, *, warning: bool) -> Check:
    """A trial restore needs a scratch database."""
    may = may_create_databases(conn)
    grant = f"ALTER ROLE {quoted(server.user)} CREATEDB"
    hint = Phrase("{grant}, or --proof-server URL, or safe-upgrade --accept-unproven-backup REASON", grant=grant)
    lacking = Phrase("{user} lacks CREATEDB: the backup cannot be proven", user=server.user)
    return Check(
        name=Phrase("right: CREATEDB"),
        ok=may,
        expected=Phrase("granted, for the scratch database of the trial restore"),
        found=Phrase("granted") if may else lacking,
        detail="" if may else hint,
        hint="" if may else grant,
        warning=warning,
    )


def _scratch_disk_check(conn: Connection, server: Server, *, warning: bool) -> Check:
    """Room for a second copy of the database beside it: without it a trial restore could fill the disk of both."""
    name, needed, free = Phrase("disk for the scratch copy"), room_needed(server.data_bytes), room_beside(conn)
    expected = Phrase("{needed:.0f} MB (the database's size, and a little) on the server's disk", needed=needed / 1e6)
    if free is None:
        found = Phrase("NOT CHECKED: the server's disk cannot be seen from here")
        return Check(name=name, ok=None, expected=expected, found=found, warning=True)
    hint = Phrase(
        "free disk space on the server, or --proof-server URL, or safe-upgrade --accept-unproven-backup REASON"
    )
    return Check(
        name=name,
        ok=free >= needed,
        expected=expected,
        found=Phrase("{free:.0f} MB free where the database lies", free=free / 1e6),
        detail="" if free >= needed else hint,
        warning=warning,
    )


def _disk_check(server: Server, runs: Path) -> Check:
    """Room for the dump where the runs are kept. Looks at the nearest folder that exists."""
    place = runs.absolute()
    while not os.path.exists(place):  # noqa: PTH110 - Path.exists() raises where a parent may not be searched
        place = place.parent
    needed = int(server.data_bytes * DUMP_SHARE) + SPARE_BYTES
    free = shutil.disk_usage(place).free
    shared = place == runs.absolute() and swappable(place)
    problem = "" if os.access(place, os.W_OK | os.X_OK) else Phrase("{place} is not writable", place=str(place))
    problem = (
        Phrase("Others may write into {place}: a backup there could be swapped", place=str(place))
        if shared
        else problem
    )
    roomier = Phrase("name a folder with more room: --runs FOLDER")
    elsewhere = Phrase("name one that you may write to: --runs FOLDER") if problem else roomier
    mend = f"chmod go-w '{place}'" if shared else elsewhere
    return Check(
        name=Phrase("disk for the backup"),
        ok=not problem and free >= needed,
        expected=Phrase("{needed:.0f} MB (half the database's size, and a little)", needed=needed / 1e6),
        found=problem or Phrase("{free:.0f} MB free in {place}", free=free / 1e6, place=str(place)),
        detail=mend if problem or free < needed else "",
    )


def require_place(conn: Connection, server: Server, manifest: Manifest) -> None:
    """Raise `BackupUnproven` where a copy cannot stand on this server: same major (a proof compares what it prints), right,
    room on the disk. A full disk would stop the original too. Reads only."""
    origin = int(manifest.server["version"]) // 10000
    if server.major != origin:
        raise BackupUnproven(
            Phrase(
                "The backup cannot be proven here: it is of a PostgreSQL {origin}, and this server is a {here}.",
                origin=origin,
                here=server.major,
            ),
            hint=Phrase(
                "--proof-server URL of a PostgreSQL {origin}: what a server prints of its schema differs by major",
                origin=origin,
            ),
        )
    if not may_create_databases(conn):
        raise BackupUnproven(
            Phrase("The backup cannot be proven: the role may not create the scratch database of a trial restore."),
            hint="ALTER ROLE … CREATEDB",
        )
    needed = room_needed(int(manifest.server["data_bytes"]))
    free = room_beside(conn)
    if free is not None and free < needed:
        raise BackupUnproven(
            Phrase(
                "The backup cannot be proven: a copy needs {needed:.0f} MB on the server's disk, where "
                "{free:.0f} MB are free.",
                needed=needed / 1e6,
                free=free / 1e6,
            ),
            hint=Phrase("free disk space there"),
        )
