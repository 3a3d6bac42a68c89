"""What a backup and its proof need: programs, rights, room. Looked at before anything begins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Server
from lawsker_db.postgres.databases import may_create_databases, room_beside, room_needed
from lawsker_db.postgres.dumpable import client_check, dump_checks
from lawsker_db.postgres.session import quoted
from lawsker_db.postgres.tools import find_tool, find_tools, is_local, speaks_tls
from lawsker_db.record.manifest import swappable

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
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p', 'S') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
            " AND d.deptype = 'e')"
            " AND NOT (has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind"
            " WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END)"
            " ORDER BY 1"
        )
    )
    hidden = [str(name) for name in rows.scalars()]
    more = f" and {len(hidden) - SHOWN} more" if len(hidden) > SHOWN else ""
    grant = f", or GRANT pg_read_all_data TO {quoted(server.user)}" if server.major >= READ_ALL_MAJOR else ""
    return Check(
        name="right: to dump everything",
        ok=not hidden,
        expected="SELECT on every table and sequence",
        found=f"{server.user} may not read {', '.join(hidden[:SHOWN])}{more}" if hidden else "granted",
        detail=f"connect as the owner or a superuser{grant}" if hidden else "",
    )


def tools_found() -> tuple[Check, ...]:
    """What client programs there are, with version and whether they were built with TLS. Asks no server."""
    checks: list[Check] = []
    for name in CLIENTS:
        for tool in find_tools(name):
            tls = "with TLS" if speaks_tls(tool) else "without TLS: for local servers only"
            found = f"{tool.label} at {tool.path}, built {tls}"
            checks.append(Check(name="tool", ok=True, expected="a client program", found=found))
    return tuple(checks)


def _tool_checks(conn: Connection, server: Server) -> list[Check]:
    """The client programs that fit this server, and what is known against them."""
    checks: list[Check] = []
    for name in CLIENTS:
        expected = f"fits {server.major}"
        try:
            tool = find_tool(name, server.major, local=is_local(conn))
        except Refused as missing:
            detail = missing.hint
            checks.append(Check(name=name, ok=False, expected=expected, found=missing.message, detail=detail))
            continue
        checks.append(Check(name=name, ok=True, expected=expected, found=tool.described))
        checks.append(client_check(tool))
    return checks


def _scratch_check(conn: Connection, server: Server, *, warning: bool) -> Check:
    """A trial restore needs a scratch database."""
    may = may_create_databases(conn)
    hint = (
        f'ALTER ROLE "{server.user}" CREATEDB, or --proof-server URL, or safe-upgrade --accept-unproven-backup REASON'
    )
    return Check(
        name="right: CREATEDB",
        ok=may,
        expected="granted, for the scratch database of the trial restore",
        found="granted" if may else f"{server.user} lacks CREATEDB: the backup cannot be proven",
        detail="" if may else hint,
        warning=warning,
    )


def _scratch_disk_check(conn: Connection, server: Server, *, warning: bool) -> Check:
    """Room for a second copy of the database beside it: without it a trial restore could fill the disk of both."""
    name, needed, free = "disk for the scratch copy", room_needed(server.data_bytes), room_beside(conn)
    expected = f"{needed / 1e6:.0f} MB (the database's size, and a little) on the server's disk"
    if free is None:
        found = "NOT CHECKED: the server's disk cannot be seen from here"
        return Check(name=name, ok=None, expected=expected, found=found, warning=True)
    hint = "free disk space on the server, or --proof-server URL, or safe-upgrade --accept-unproven-backup REASON"
    return Check(
        name=name,
        ok=free >= needed,
        expected=expected,
        found=f"{free / 1e6:.0f} MB free where the database lies",
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
    problem = "" if os.access(place, os.W_OK | os.X_OK) else f"{place} is not writable"
    problem = f"Others may write into {place}: a backup there could be swapped" if shared else problem
    mend = f"chmod go-w '{place}'" if shared else "name a folder with more room: --runs FOLDER"
    return Check(
        name="disk for the backup",
        ok=not problem and free >= needed,
        expected=f"{needed / 1e6:.0f} MB (half the database's size, and a little)",
        found=problem or f"{free / 1e6:.0f} MB free in {place}",
        detail=mend if problem or free < needed else "",
    )
