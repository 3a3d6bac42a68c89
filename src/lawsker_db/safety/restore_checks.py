"""What a restore needs, looked at before anything begins: the backup, rights, room, and what is tied to the old database."""

from __future__ import annotations

from sqlalchemy import Connection, text

from lawsker_db.errors import LawskerError, Refused
from lawsker_db.evidence import Check, Server
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.databases import beside, may_create_databases, room_beside, room_needed
from lawsker_db.postgres.session import UNKNOWN, quoted
from lawsker_db.postgres.swap import prepared_in
from lawsker_db.record.manifest import Manifest
from lawsker_db.safety.archive import find_restorer
from lawsker_db.target import Target

SHOWN = 5
ELSEWHERE = Phrase(
    "--to NAME (a whole copy under another name, without a swap), also on another server: --database-url URL"
)


def copy_checks(conn: Connection, server: Server, manifest: Manifest, accepted: str) -> tuple[Check, ...]:
    """Whether a copy of this backup can be made on this server, and whether it was ever proven. Reads only."""
    return (
        _proven_check(manifest, accepted),
        _major_check(server, manifest),
        _tool_check(conn, manifest),
        _create_check(conn, server),
        _room_check(conn, manifest),
    )


def swap_checks(conn: Connection, target: Target, server: Server, manifest: Manifest, into: str) -> tuple[Check, ...]:
    """Whether a copy may take the place of this database, and what stays behind with the old one. Reads only; opens a
    connection to another database of the server."""
    return (
        _same_check(server, manifest, into),
        _beside_check(target, server),
        _owner_check(conn, server),
        _sessions_check(conn, server),
        _prepared_check(conn, server),
        *_tied_checks(conn, server),
    )


def _proven_check(manifest: Manifest, accepted: str) -> Check:
    proof = manifest.proof
    found = (
        Phrase("restored and found equal at {proven_at}", proven_at=proof.proven_at)
        if proof
        else Phrase("it was never restored and compared")
    )
    if not proof and accepted:
        found = Phrase("{found}; accepted: {reason}", found=found, reason=accepted)
    hint = Phrase(
        "lawsker-db backup verify {backup_id}, or --accept-unproven-backup REASON", backup_id=manifest.backup_id
    )
    return Check(
        name=Phrase("the backup is proven"),
        ok=bool(proof or accepted),
        expected=Phrase("restored once and found equal"),
        found=found,
        detail="" if proof or accepted else hint,
    )


def _major_check(server: Server, manifest: Manifest) -> Check:
    origin = int(manifest.server["version"]) // 10000
    same = server.major == origin
    hint = Phrase(
        "restore it on a PostgreSQL {origin}: {otherwise}; or by hand: lawsker-db backup show {backup_id}",
        origin=origin,
        otherwise=ELSEWHERE,
        backup_id=manifest.backup_id,
    )
    return Check(
        name=Phrase("major version"),
        ok=same,
        expected=Phrase(
            "PostgreSQL {origin}, which the backup is of: what a server prints of its schema differs by major",
            origin=origin,
        ),
        found=f"PostgreSQL {server.major}",
        detail="" if same else hint,
    )


def _tool_check(conn: Connection, manifest: Manifest) -> Check:
    try:
        tool = find_restorer(conn, manifest.client_major)
    except Refused as missing:
        return Check(
            name="pg_restore", ok=False, expected=Phrase("one that fits"), found=missing.message, detail=missing.hint
        )
    return Check(name="pg_restore", ok=True, expected=Phrase("one that fits"), found=tool.described)


def _create_check(conn: Connection, server: Server) -> Check:
    may = may_create_databases(conn)
    mend = Phrase("ALTER ROLE {role} CREATEDB, or connect as a role that has it", role=quoted(server.user))
    return Check(
        name=Phrase("right: CREATEDB"),
        ok=may,
        expected=Phrase("granted: the backup is restored into a database of its own"),
        found=Phrase("granted") if may else Phrase("{user} lacks CREATEDB", user=server.user),
        detail="" if may else mend,
    )


def _room_check(conn: Connection, manifest: Manifest) -> Check:
    """Room for a second database: the damaged one is kept."""
    needed, free = room_needed(int(manifest.server["data_bytes"])), room_beside(conn)
    enough = None if free is None else free >= needed
    found = Phrase("NOT CHECKED: the server's disk cannot be seen from here")
    return Check(
        name=Phrase("disk for the copy"),
        ok=enough,
        expected=Phrase(
            "{needed:.0f} MB on the server's disk: the damaged database is kept beside it", needed=needed / 1e6
        ),
        found=found if free is None else Phrase("{free:.0f} MB free", free=free / 1e6),
        detail="" if enough is not False else Phrase("free disk space there; or {otherwise}", otherwise=ELSEWHERE),
        warning=enough is None,
    )


def _same_check(server: Server, manifest: Manifest, into: str) -> Check:
    """A backup of another database is as good as this one only where a person has said so by name."""
    origin = manifest.server
    identifier = str(origin["system_identifier"])
    known = (identifier, server.system_identifier)
    same_server = known[0] == known[1] if UNKNOWN not in known else origin.get("address") == server.address
    same = same_server and origin["database"] == server.database
    where = "" if same_server else Phrase(" of another server ({identifier})", identifier=identifier)
    return Check(
        name=Phrase("the backup is of this database"),
        ok=same or into == server.database,
        expected=Phrase("{database} of this server", database=server.database),
        found=Phrase(
            "it is of {database}{where}{into}",
            database=origin["database"],
            where=where,
            into="" if same or not into else Phrase(", into {database}", database=into),
        ),
        detail=""
        if same or into == server.database
        else Phrase("if that is meant: --into {database}", database=server.database),
    )


def _beside_check(target: Target, server: Server) -> Check:
    expected = Phrase("one that lets this role in: a database is renamed from another one")
    try:
        place = beside(target, server)
    except LawskerError as failed:
        hint = Phrase(
            "let {user} connect to postgres (pg_hba.conf); or {otherwise}", user=server.user, otherwise=ELSEWHERE
        )
        return Check(name=Phrase("another database"), ok=False, expected=expected, found=failed.message, detail=hint)
    return Check(name=Phrase("another database"), ok=True, expected=expected, found=place.parameters["dbname"])


def _owner_check(conn: Connection, server: Server) -> Check:
    owner, may = conn.execute(
        text(
            "SELECT pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE') FROM pg_database"
            " WHERE datname = current_database()"
        )
    ).one()
    return Check(
        name=Phrase("right: to rename the database"),
        ok=bool(may),
        expected=Phrase("as its owner ({owner}), a member of that role, or a superuser", owner=owner),
        found=Phrase("granted") if may else Phrase("{user} is none of these", user=server.user),
        detail=""
        if may
        else Phrase(
            "connect as {owner}; where nobody may rename (managed servers): {otherwise}",
            owner=owner,
            otherwise=ELSEWHERE,
        ),
    )


def _sessions_check(conn: Connection, server: Server) -> Check:
    """Sessions that this role could not end, which would keep the gate closed for nothing."""
    rows = conn.execute(
        text(
            "SELECT DISTINCT a.usename, r.rolsuper FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid"
            " WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND NOT :superuser"
            " AND (r.rolsuper OR NOT (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))"
            " ORDER BY 1"
        ),
        {"superuser": server.superuser},
    ).all()
    names = ", ".join(str(name) for name, _ in rows[:SHOWN])
    grant = f"GRANT pg_signal_backend TO {quoted(server.user)}"
    mend = Phrase("have those sessions of superusers ended first") if any(row[1] for row in rows) else grant
    return Check(
        name=Phrase("right: to end sessions"),
        ok=not rows,
        expected=Phrase("for everybody who is connected now"),
        found=Phrase("{user} may not end the sessions of {names}", user=server.user, names=names)
        if rows
        else Phrase("granted"),
        detail=Phrase("{mend}, or connect as a superuser", mend=mend) if rows else "",
    )


def _prepared_check(conn: Connection, server: Server) -> Check:
    names = prepared_in(conn, server.database_oid)
    typed = [name.replace("'", "''") for name in names]
    hints = [Phrase("COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}'", name=name) for name in typed[:SHOWN]]
    return Check(
        name=Phrase("prepared transactions"),
        ok=not names,
        expected=Phrase("none: a database that has one cannot be renamed"),
        found=f"{len(names)}: {', '.join(names[:SHOWN])}" if names else Phrase("none"),
        detail=Phrase("in {database}, decide each: {hints}", database=server.database, hints=joined(hints, "; "))
        if names
        else "",
    )


def _tied_checks(conn: Connection, server: Server) -> tuple[Check, ...]:
    """What hangs on the old database and stays with it. Reported, never dropped: somebody else counts on it."""
    asked = {
        Phrase("replication slots"): (
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = :name",
            Phrase("they go on with the damaged database; create them again in the restored one"),
        ),
        Phrase("subscriptions"): (
            "SELECT subname::text FROM pg_subscription WHERE subdbid = :oid",
            Phrase("they stay with the damaged database and are not restored; create them again"),
        ),
        Phrase("publications"): (
            "SELECT pubname::text FROM pg_publication",
            Phrase("subscribers follow a slot of the damaged database; have them subscribe again"),
        ),
    }
    if conn.execute(text("SELECT to_regclass('cron.job') IS NOT NULL")).scalar_one():
        jobs = "SELECT 'job ' || jobid FROM cron.job WHERE database = :name"
        asked[Phrase("scheduled jobs")] = (
            jobs,
            Phrase("they run in whatever bears the name; look whether they should"),
        )
    found = []
    for name, (query, words) in asked.items():
        given = {"name": server.database, "oid": server.database_oid}
        wanted = {key: value for key, value in given.items() if f":{key}" in query.replace("::", "")}
        names = [str(one) for one in conn.execute(text(f"{query} ORDER BY 1"), wanted).scalars()]
        shown = ", ".join(names[:SHOWN])
        told = Phrase("{names}: {words}", names=shown, words=words) if names else Phrase("none")
        found.append(Check(name=name, ok=not names, expected=Phrase("none"), found=told, warning=True))
    return tuple(found)
