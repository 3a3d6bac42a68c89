"""What is looked at before anything begins. Every question is answered, then all failures are told together."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Direction, Server, failures
from lawsker_db.postgres.databases import may_create_databases
from lawsker_db.postgres.dumpable import client_check, dump_checks
from lawsker_db.postgres.session import NEWEST_MAJOR, OLDEST_MAJOR, identify, literal
from lawsker_db.postgres.tools import find_tool, find_tools, is_local, speaks_tls
from lawsker_db.revisions import Plan, plan_checks
from lawsker_db.target import Target

# A compressed dump of text-heavy tables takes a quarter to a half of the database's size (indexes are not dumped);
# we ask for as much as half, so that the disk is not filled to the brim by us.
DUMP_SHARE = 0.5
SPARE_BYTES = 64 << 20
CLIENTS = ("pg_dump", "pg_restore")
NOT_EMPTY = "lawsker-db adopt --dry-run lists how this database differs"
HALF_MADE = (
    "mend that (rename or drop what stands in the way, if nobody needs it), then lawsker-db safe-upgrade --dry-run"
)


def preflight(
    conn: Connection, plan: Plan, runs: Path, *, prove: bool = True, accept_unproven: bool = False
) -> tuple[Check, ...]:
    """Look at server, database, rights, tools, disk and the plan. Reads only; the caller rolls back.

    `conn`'s search_path must lead to the application's schema. With `accept_unproven` what stands in the way of a
    trial restore is a warning.
    """
    server = identify(conn)
    checks = [*_server_checks(server), *_right_checks(conn, plan)]
    checks += [*_tool_checks(conn, server), _disk_check(server, runs), *dump_checks(conn)]
    if prove:
        checks += [_scratch_check(conn, server, warning=accept_unproven), _scratch_disk_check(conn, server)]
    checks += plan_checks(plan)
    if plan.direction is Direction.UPGRADE:
        checks += required_checks(conn, plan)
    return tuple(checks)


def refuse_unless(checks: tuple[Check, ...], *, what: str = "The database is not ready") -> None:
    """Pure. Raise `Refused` with every failed check."""
    failed = failures(checks)
    if not failed:
        return
    said = "; ".join(f"{check.name}: {check.found.rstrip('.')}" for check in failed)
    hints = [check.detail for check in failed if check.detail]
    raise Refused(f"{what}: {said}.", hint=hints[0] if hints else "mend that, then type it again", checks=checks)


def refuse_standby(server: Server, target: Target) -> None:
    """Pure. Raise `Refused` when the server takes no writes, not even those that are rolled back."""
    if server.in_recovery:
        raise Refused(f"{target.label} is a standby, which takes no writes.", hint="connect to the primary")


def required_checks(conn: Connection, plan: Plan) -> tuple[Check, ...]:
    """What the first step's contract needs of the database. (What later steps need, earlier ones make.) Reads only."""
    if not plan.steps or plan.steps[0].contract is None:
        return ()
    stamped = bool(plan.start)
    checks: list[Check] = []
    for required in plan.steps[0].contract.required:
        missing = conn.execute(literal(required.query)).scalar_one_or_none()
        checks.append(
            Check(
                name=f"needed by {plan.steps[0].revision}",
                ok=missing is None,
                expected=required.says,
                found="so it is" if missing is None else str(missing),
                detail="" if missing is None else HALF_MADE if stamped else NOT_EMPTY,
            )
        )
    return tuple(checks)


def _server_checks(server: Server) -> tuple[Check, ...]:
    supported = server.major >= OLDEST_MAJOR
    tested = server.major <= NEWEST_MAJOR
    return (
        Check(
            name="server version",
            ok=supported and tested,
            expected=f"{OLDEST_MAJOR} to {NEWEST_MAJOR}",
            found=f"PostgreSQL {server.major}",
            detail="" if supported else "upgrade the server first",
            warning=supported,
        ),
        Check(
            name="primary",
            ok=not server.in_recovery,
            expected="a server that takes writes",
            found="a standby" if server.in_recovery else "a primary",
            detail="connect to the primary" if server.in_recovery else "",
        ),
        Check(
            name="encoding",
            ok=server.encoding == "UTF8",
            expected="UTF8",
            found=server.encoding,
            detail="" if server.encoding == "UTF8" else "the seed rows are Chinese; the database must be UTF8",
        ),
    )


def _right_checks(conn: Connection, plan: Plan) -> tuple[Check, ...]:
    """Whether this role may do what the guarded transaction does."""
    row = conn.execute(
        text(
            "SELECT has_database_privilege(current_database(), 'CREATE'),"
            " has_database_privilege(current_database(), 'TEMPORARY'),"
            " has_schema_privilege(current_schema(), 'CREATE'), current_user, current_database()"
        )
    ).one()
    create, temporary, schema, user, database = row
    rights = (
        ("CREATE on the database", create, f'GRANT CREATE ON DATABASE "{database}" TO "{user}"'),
        ("TEMPORARY on the database", temporary, f'GRANT TEMPORARY ON DATABASE "{database}" TO "{user}"'),
        ("CREATE on the schema", schema, f'GRANT CREATE ON SCHEMA public TO "{user}"'),
    )
    checks = [
        Check(
            name=f"right: {name}",
            ok=bool(given),
            expected="granted",
            found="granted" if given else f"{user} lacks {name}",
            detail="" if given else grant,
        )
        for name, given, grant in rights
    ]
    return (*checks, _sight_check(conn, str(user)), *_owner_checks(conn, plan, str(user)))


def _sight_check(conn: Connection, user: str) -> Check:
    """Without pg_read_all_stats the sessions of other roles hide their snapshots, which a rewrite must wait for."""
    sees = bool(conn.execute(text("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")).scalar_one())
    return Check(
        name="right: to see other sessions",
        ok=sees,
        expected="pg_read_all_stats",
        found="granted" if sees else f"{user} cannot see whether other roles hold older snapshots: NOT CHECKED later",
        detail="" if sees else f'GRANT pg_read_all_stats TO "{user}"',
        warning=True,
    )


def _owner_checks(conn: Connection, plan: Plan, user: str) -> tuple[Check, ...]:
    """ALTER TABLE needs ownership (or membership in the owner)."""
    tables = sorted({table for contract in plan.contracts for table in contract.alters})
    made = {table.name for contract in plan.contracts for table in contract.tables}
    rows = conn.execute(
        text(
            "SELECT c.relname, pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE') FROM pg_class c"
            " WHERE c.oid = ANY (SELECT to_regclass(quote_ident(t))::oid FROM unnest(:tables ::text[]) AS t)"
        ),
        {"tables": [table for table in tables if table not in made]},
    )
    return tuple(
        Check(
            name=f"right: owner of {table}",
            ok=owns,
            expected=f"{user} is a member of the owner",
            found=f"owned by {owner}",
            detail="" if owns else f'connect as {owner}, or GRANT "{owner}" TO "{user}"',
        )
        for table, owner, owns in rows
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
    """The client programs that fit this server, and what is known against the one that reads the database."""
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
        if name == CLIENTS[0]:
            checks.append(client_check(tool))
    return checks


def _scratch_check(conn: Connection, server: Server, *, warning: bool) -> Check:
    """A trial restore needs a scratch database."""
    may = may_create_databases(conn)
    hint = f'ALTER ROLE "{server.user}" CREATEDB, or --accept-unproven-backup REASON'
    return Check(
        name="right: CREATEDB",
        ok=may,
        expected="granted, for the scratch database of the trial restore",
        found="granted" if may else f"{server.user} lacks CREATEDB: the backup cannot be proven",
        detail="" if may else hint,
        warning=warning,
    )


def _scratch_disk_check(conn: Connection, server: Server) -> Check:
    """Room for a second copy of the database on the server's disk, which only shows when that is this machine's."""
    setting = conn.execute(text("SELECT setting FROM pg_settings WHERE name = 'data_directory'")).scalar_one_or_none()
    expected = f"{server.data_bytes / 1e6:.0f} MB (the database's size) on the server's disk"
    if setting is None or not is_local(conn) or not os.access(setting, os.F_OK):
        found = "NOT CHECKED: the server's disk cannot be seen from here"
        return Check(name="disk for the scratch copy", ok=None, expected=expected, found=found, warning=True)
    free = shutil.disk_usage(setting).free
    enough = free >= server.data_bytes + SPARE_BYTES
    return Check(
        name="disk for the scratch copy",
        ok=enough,
        expected=expected,
        found=f"{free / 1e6:.0f} MB free on the disk of the server's data folder",
        detail="" if enough else "free disk space on the server",
        warning=True,
    )


def _disk_check(server: Server, runs: Path) -> Check:
    """Room for the dump where the runs are kept. Looks at the nearest folder that exists."""
    place = runs.absolute()
    while not place.exists():
        place = place.parent
    needed = int(server.data_bytes * DUMP_SHARE) + SPARE_BYTES
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    found = f"{free / 1e6:.0f} MB free in {place}" if writable else f"{place} is not writable"
    return Check(
        name="disk for the backup",
        ok=writable and free >= needed,
        expected=f"{needed / 1e6:.0f} MB (half the database's size, and a little)",
        found=found,
        detail="" if writable and free >= needed else "name a folder with more room: --runs FOLDER",
    )
