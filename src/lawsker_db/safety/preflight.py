"""What is looked at before anything begins. Every question is answered, then all failures are told together."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Direction, Server, failures
from lawsker_db.phrases import Phrase, clause, joined
from lawsker_db.postgres.session import NEWEST_MAJOR, OLDEST_MAJOR, identify, quoted
from lawsker_db.postgres.tools import is_local
from lawsker_db.revisions import Plan, plan_checks
from lawsker_db.safety.needs import required_checks
from lawsker_db.safety.provisions import backup_checks, proof_checks
from lawsker_db.target import Target

SHOWN = 5
NOT_READY = Phrase("The database is not ready")
GRANTED = Phrase("granted")
VERIFY_SERVER = Phrase(
    "add sslmode=verify-full&sslrootcert=FILE to the URL (FILE: the authority's certificate; or system)"
)
LARGE_ROWS = 10_000  # below it a guess costs nothing
LOCKING = "UPDATE, DELETE, TRUNCATE"  # any of them: what LOCK TABLE wants above ROW EXCLUSIVE


def preflight(
    conn: Connection, plan: Plan, runs: Path, *, prove: bool = True, accept_unproven: bool = False
) -> tuple[Check, ...]:
    """Look at server, database, rights, tools, disk and the plan. Reads only; the caller rolls back.

    `conn`'s search_path must lead to the application's schema. With `accept_unproven` what stands in the way of a
    trial restore is a warning.
    """
    server = identify(conn)
    checks = [*guarded_checks(conn, plan, server), _statistics_check(conn, plan)]
    checks += backup_checks(conn, server, runs)
    if prove:
        checks += proof_checks(conn, server, warning=accept_unproven)
    checks += plan_checks(plan)
    if hides_stamp(conn):
        checks.append(_stamp_check(conn))
    elif plan.direction is Direction.UPGRADE:
        checks += required_checks(conn, plan)
    return tuple(checks)


def hides_stamp(conn: Connection) -> bool:
    """Whether alembic_version stands and this role may not read it. Reads only."""
    query = "SELECT NOT has_table_privilege(r, 'SELECT') FROM to_regclass('alembic_version') AS r WHERE r IS NOT NULL"
    return bool(conn.execute(text(query)).scalar_one_or_none())


def _stamp_check(conn: Connection) -> Check:
    """Without the stamp nobody can tell which revisions are due, nor what these need. (The right is among the rights.)"""
    user = str(conn.execute(text("SELECT current_user")).scalar_one())
    return Check(
        name=Phrase("stamp"),
        ok=False,
        expected=Phrase("readable: which revisions are due, and what they need, hangs on it"),
        found=Phrase("{user} may not read alembic_version", user=user),
    )


def guarded_checks(conn: Connection, plan: Plan, server: Server) -> tuple[Check, ...]:
    """What the guarded transaction needs in either direction: server, way to it, standbys, rights. Reads only."""
    return (
        *_server_checks(server),
        _way_check(conn),
        _standby_check(conn),
        *_right_checks(conn, plan),
        _event_trigger_check(conn),
    )


def refuse_unless(checks: tuple[Check, ...], *, what: str = NOT_READY) -> None:
    """Pure. Raise `Refused` with every failed check."""
    failed = failures(checks)
    if not failed:
        return
    said = joined((Phrase("{name}: {found}", name=check.name, found=clause(check.found)) for check in failed), "; ")
    hints = [check.detail for check in failed if check.detail]
    hint = hints[0] if hints else Phrase("mend that, then type it again")
    raise Refused(Phrase("{what}: {said}.", what=what, said=said), hint=hint, checks=checks)


def refuse_standby(server: Server, target: Target) -> None:
    """Pure. Raise `Refused` when the server takes no writes, not even those that are rolled back."""
    if server.in_recovery:
        raise Refused(
            Phrase("{database} is a standby, which takes no writes.", database=target.label),
            hint=Phrase("connect to the primary"),
        )


def _server_checks(server: Server) -> tuple[Check, ...]:
    supported = server.major >= OLDEST_MAJOR
    tested = server.major <= NEWEST_MAJOR
    return (
        Check(
            name=Phrase("server version"),
            ok=supported and tested,
            expected=Phrase("{oldest} to {newest}", oldest=OLDEST_MAJOR, newest=NEWEST_MAJOR),
            found=f"PostgreSQL {server.major}",
            detail="" if supported else Phrase("upgrade the server first"),
            warning=supported,
        ),
        Check(
            name=Phrase("primary"),
            ok=not server.in_recovery,
            expected=Phrase("a server that takes writes"),
            found=Phrase("a standby") if server.in_recovery else Phrase("a primary"),
            detail=Phrase("connect to the primary") if server.in_recovery else "",
        ),
        Check(
            name=Phrase("encoding"),
            ok=server.encoding == "UTF8",
            expected="UTF8",
            found=server.encoding,
            detail="" if server.encoding == "UTF8" else Phrase("the seed rows are Chinese; the database must be UTF8"),
        ),
    )


def _way_check(conn: Connection) -> Check:
    """Whether others on the way could read along, or play the server and be given the password and all data."""
    raw = conn.connection.driver_connection
    given = raw.info.get_parameters() if raw is not None else {}
    kerberos = conn.execute(text("SELECT encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid()")).scalar()
    return way_found(
        local=is_local(conn),
        encrypted=bool(raw is not None and raw.pgconn.ssl_in_use),
        kerberos=bool(kerberos),
        mode=given.get("sslmode", "prefer"),
        binding=given.get("channel_binding", "prefer"),
    )


def way_found(*, local: bool, encrypted: bool, kerberos: bool, mode: str, binding: str) -> Check:
    """Pure. A warning unless the way is local, or encrypted towards a server that has proven who it is.

    It proves that by its certificate (verify-full; verify-ca takes any server of the same authority), by a password that is
    bound to the channel, or by Kerberos.
    """
    proven = kerberos or (encrypted and (mode == "verify-full" or binding == "require"))
    open_way = Phrase("not encrypted: others on the way can read and change what goes over it")
    unproven = Phrase(
        "encrypted (sslmode={mode}), but the server has not proven who it is: another one could stand in its place",
        mode=mode,
    )
    told = Phrase("encrypted, and the server has proven who it is") if proven else unproven if encrypted else open_way
    return Check(
        name=Phrase("way to the server"),
        ok=local or proven,
        expected=Phrase("a local one, or TLS with sslmode=verify-full"),
        found=Phrase("local") if local else told,
        detail="" if local or proven else VERIFY_SERVER,
        warning=True,
    )


def _right_checks(conn: Connection, plan: Plan) -> tuple[Check, ...]:
    """Whether this role may do what the guarded transaction does."""
    row = conn.execute(
        text(
            "SELECT has_database_privilege(current_database(), 'CREATE'),"
            " has_database_privilege(current_database(), 'TEMPORARY'),"
            " has_schema_privilege(current_schema(), 'CREATE'), current_user, current_database(), current_schema()"
        )
    ).one()
    create, temporary, schema, user, database, schema_name = row
    role, where = quoted(str(user)), quoted(str(database))
    rights = (
        (Phrase("CREATE on the database"), create, f"GRANT CREATE ON DATABASE {where} TO {role}"),
        (Phrase("TEMPORARY on the database"), temporary, f"GRANT TEMPORARY ON DATABASE {where} TO {role}"),
        (Phrase("CREATE on the schema"), schema, f"GRANT CREATE ON SCHEMA {quoted(str(schema_name))} TO {role}"),
    )
    checks = [
        Check(
            name=Phrase("right: {name}", name=name),
            ok=bool(given),
            expected=GRANTED,
            found=GRANTED if given else Phrase("{user} lacks {name}", user=user, name=name),
            detail="" if given else grant,
        )
        for name, given, grant in rights
    ]
    return (
        *checks,
        _sight_check(conn, str(user)),
        *_owner_checks(conn, plan, str(user)),
        *_table_checks(conn, plan, str(user)),
        *_record_checks(conn, str(user)),
    )


def _sight_check(conn: Connection, user: str) -> Check:
    """Without pg_read_all_stats the sessions of other roles hide their snapshots, which a rewrite must wait for."""
    sees = bool(conn.execute(text("SELECT pg_has_role('pg_read_all_stats', 'USAGE')")).scalar_one())
    blind = Phrase("{user} cannot see whether other roles hold older snapshots: NOT CHECKED later", user=user)
    return Check(
        name=Phrase("right: to see other sessions"),
        ok=sees,
        expected="pg_read_all_stats",
        found=GRANTED if sees else blind,
        detail="" if sees else f"GRANT pg_read_all_stats TO {quoted(user)}",
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
            name=Phrase("right: owner of {table}", table=table),
            ok=owns,
            expected=Phrase("{user} is a member of the owner", user=user),
            found=Phrase("owned by {owner}", owner=owner),
            detail=""
            if owns
            else Phrase("connect as {owner}, or {grant}", owner=owner, grant=_membership(owner, user)),
            hint="" if owns else _membership(owner, user),
        )
        for table, owner, owns in rows
    )


def _membership(owner: str, user: str) -> str:
    """Pure. The statement that lets a role do what the owner may."""
    return f"GRANT {quoted(owner)} TO {quoted(user)}"


def _table_checks(conn: Connection, plan: Plan, user: str) -> tuple[Check, ...]:
    """What the steps do to tables of others: read them, lock them, point foreign keys at them. Only what is lacking."""
    made = {table.name for contract in plan.contracts for table in contract.tables}
    uses = {
        (table, right)
        for contract in plan.contracts
        for tables, right in (
            (contract.reads, "SELECT"),
            ((*contract.alters, *contract.locks), LOCKING),
            (tuple(key.references for table in contract.tables for key in table.foreign_keys), "REFERENCES"),
        )
        for table in tables
        if table not in made
    }
    wanted = sorted(uses)
    lacking = conn.execute(
        text(
            "SELECT t, p FROM unnest(:tables ::text[], :rights ::text[]) AS w(t, p)"
            " WHERE NOT coalesce(has_table_privilege(to_regclass(quote_ident(t))::oid, p), true) ORDER BY 1, 2"
        ),
        {"tables": [table for table, _ in wanted], "rights": [right for _, right in wanted]},
    ).all()
    if not lacking:
        return (Check(name=Phrase("right: tables that the steps use"), ok=True, expected=GRANTED, found=GRANTED),)
    return tuple(
        _lacks(
            Phrase("right: {right} on {table}", right=right, table=table),
            user,
            f"{right.partition(',')[0]} ON TABLE {quoted(table)}",
        )
        for table, right in lacking
    )


def _record_checks(conn: Connection, user: str) -> tuple[Check, ...]:
    """The stamp and the history, where they stand, must take a row from this role at the end of the transaction.

    By name in the catalog: to_regclass() raises an error for a schema that may not be used.
    """
    rows = conn.execute(
        text(
            "SELECT n.nspname, c.relname, w.p FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
            " unnest(:rights ::text[]) AS w(p)"
            " WHERE c.relkind IN ('r', 'p')"
            " AND (n.nspname = current_schema() AND c.relname = 'alembic_version'"
            " OR n.nspname = 'lawsker_db' AND c.relname = 'migration_run' AND w.p IN ('USAGE', 'SELECT', 'INSERT'))"
            " AND NOT CASE w.p WHEN 'USAGE' THEN has_schema_privilege(n.oid, w.p)"
            " ELSE has_table_privilege(c.oid, w.p) END ORDER BY 1, 2, 3"
        ),
        {"rights": ["USAGE", "SELECT", "INSERT", "UPDATE", "DELETE"]},
    )
    return tuple(
        _lacks(
            Phrase("right: {right} for {schema}.{table}", right=right, schema=schema, table=table),
            user,
            f"USAGE ON SCHEMA {quoted(schema)}"
            if right == "USAGE"
            else f"{right} ON TABLE {quoted(schema)}.{quoted(table)}",
        )
        for schema, table, right in rows
    )


def _lacks(name: str, user: str, grant: str) -> Check:
    """Pure. A right that is not there, and the statement that grants it."""
    found = Phrase("{user} lacks {grant}", user=user, grant=grant)
    return Check(name=name, ok=False, expected=GRANTED, found=found, detail=f"GRANT {grant} TO {quoted(user)}")


def _event_trigger_check(conn: Connection) -> Check:
    """Event triggers run with every CREATE and ALTER of ours. They stand in nobody's way, but should be known."""
    rows = conn.execute(
        text(
            "SELECT evtname FROM pg_event_trigger WHERE evtenabled IN ('O', 'A')"
            " AND evtevent IN ('ddl_command_start', 'ddl_command_end', 'sql_drop', 'table_rewrite') ORDER BY 1"
        )
    )
    names = ", ".join(str(name) for name in rows.scalars())
    told = Phrase("they run inside the migration and in its preparation; what they write is refused by the gate")
    return Check(
        name=Phrase("event triggers"),
        ok=not names,
        expected=Phrase("none that fires on DDL"),
        found=Phrase("{names}: {told}", names=names, told=told) if names else Phrase("none"),
        warning=True,
    )


def _statistics_check(conn: Connection, plan: Plan) -> Check:
    """Without statistics the planner guesses, in production as in a copy (where a rehearsal gathers them first).

    Large tables that the steps read, and of which there are none, as after a restore. By the server's count of rows: their
    size on disk would need a lock.
    """
    tables = sorted({table for contract in plan.contracts for table in (*contract.reads, *contract.alters)})
    rows = conn.execute(
        text(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.oid = ANY (SELECT to_regclass(quote_ident(t))::oid FROM unnest(:tables ::text[]) AS t)"
            " AND pg_stat_get_live_tuples(c.oid) > :large AND has_table_privilege(c.oid, 'SELECT')"
            " AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname)"
            " ORDER BY 1"
        ),
        {"tables": tables, "large": LARGE_ROWS},
    )
    names = [str(name) for name in rows.scalars()]
    told = Phrase("{tables} never analyzed: the steps may take longer than rehearsed", tables=", ".join(names))
    return Check(
        name=Phrase("statistics"),
        ok=not names,
        expected=Phrase("of every large table that the steps read"),
        found=told if names else Phrase("there"),
        detail=f"ANALYZE {', '.join(quoted(name) for name in names)}" if names else "",
        warning=True,
    )


def _standby_check(conn: Connection) -> Check:
    """Without a synchronous standby, where one is asked for, COMMIT waits for it. To be seen needs pg_read_all_stats."""
    names, standing, hidden = conn.execute(
        text(
            "SELECT current_setting('synchronous_standby_names'),"
            " count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), count(*) FILTER (WHERE sync_state IS NULL)"
            " FROM pg_stat_replication"
        )
    ).one()
    if not names:
        there, unasked = Phrase("there, if asked for"), Phrase("not asked for")
        return Check(name=Phrase("synchronous standby"), ok=True, expected=there, found=unasked)
    untold = not standing and bool(hidden)
    mend = Phrase("bring the standby back, or ALTER SYSTEM RESET synchronous_standby_names and reload")
    lost = Phrase("none is connected: COMMIT would wait without end while users is locked")
    found = (
        Phrase("there")
        if standing
        else Phrase("this role cannot see whether it is there: NOT CHECKED")
        if untold
        else lost
    )
    return Check(
        name=Phrase("synchronous standby"),
        ok=None if untold else bool(standing),
        expected=Phrase("one of {names}", names=names),
        found=found,
        detail="" if standing else mend,
        hint="" if standing else "ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()",
        warning=untold,
    )
