"""The rights that a migration role needs in one database, each with its reason, and what is lost without it.

Computed for the database and the role that are asked for: what is there already is said, and nothing is asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sqlalchemy import Connection, text

from lawsker_db.contract import Contract
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import find_schema, server_major
from lawsker_db.record.markup import visible
from lawsker_db.safety.preflight import LOCKING
from lawsker_db.safety.rights import (
    EVERYBODY,
    STAMP,
    Asked,
    Grant,
    Need,
    attribute,
    granted,
    has_role,
    in_schema,
    on_table,
    reading_rights,
    spelled,
)

CORE_EXTENSIONS_MAJOR = 13  # from here on the owner of a database may create pgcrypto


def required_rights(conn: Connection, role: str, contracts: tuple[Contract, ...]) -> tuple[Grant, ...]:
    """What `role` needs in this database to adopt it, to run the revisions of these contracts up and down, and to take and
    prove backups. Reads the catalog; changes nothing."""
    exists = conn.execute(text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :r)"), {"r": role}).scalar_one()
    asked = Asked(role=role, schema=find_schema(conn), exists=exists, through=(role if exists else EVERYBODY,))
    if exists and attribute(conn, asked, "rolsuper"):
        return ()
    ownership = _ownership(conn, asked, contracts)
    owners = tuple(dict.fromkeys(owner for owner, _, _ in ownership if owner))
    own = frozenset(name for _, name, _ in ownership if name)
    after = replace(asked, through=(*asked.through, *owners), own=own)
    return (
        *_role(conn, asked),
        *(grant for _, _, grant in ownership),
        *_database(conn, after),
        *_schema(conn, after),
        *_extensions(conn, contracts),
        *_tables(conn, after, contracts),
        *_records(conn, after),
        *reading_rights(conn, after, {name for uses in _uses(contracts) for name in uses if "SELECT" in uses[name]}),
        *_creating_databases(conn, asked),
        *_functions(conn, after),
        *_predefined(conn, asked),
        *_for_the_application(conn, asked, owners),
    )


def _role(conn: Connection, asked: Asked) -> Iterator[Grant]:
    logs_in = attribute(conn, asked, "rolcanlogin")
    yield Grant(
        statement=f"{'ALTER' if asked.exists else 'CREATE'} ROLE {asked.spelled} LOGIN",
        why=Phrase("to connect; give it a password apart from this (psql's \\password)"),
        without=Phrase("nothing can be asked"),
        there=logs_in,
    )


def _ownership(conn: Connection, asked: Asked, contracts: tuple[Contract, ...]) -> list[tuple[str, str, Grant]]:
    """How the role becomes as good as the owners of what is altered, or made and dropped: owner to be, table to own, grant.

    Where a superuser owns a table, membership would make one of this role: there the table changes hands.
    """
    later = tuple(contract for contract in contracts if contract.follows)
    tables = {name for contract in contracts for name in contract.alters}
    tables |= {table.name for contract in later for table in contract.tables}
    functions = {function.name for contract in later for function in contract.functions}
    rows = conn.execute(
        text(
            "SELECT o.kind, o.name, r.rolname, r.rolsuper FROM ("
            " SELECT 'TABLE' AS kind, c.relname AS name, c.relowner AS owner FROM pg_class c"
            " WHERE c.relnamespace = to_regnamespace(quote_ident(:schema)) AND c.relkind IN ('r', 'p')"
            " AND c.relname = ANY (:tables) UNION ALL SELECT 'FUNCTION', p.proname, p.proowner FROM pg_proc p"
            " WHERE p.pronamespace = to_regnamespace(quote_ident(:schema)) AND p.proname = ANY (:functions)"
            " ) o JOIN pg_roles r ON r.oid = o.owner WHERE r.rolname <> :role ORDER BY 3, 1, 2"
        ),
        {"schema": asked.schema, "tables": sorted(tables), "functions": sorted(functions), "role": asked.role},
    ).all()
    without = Phrase("safe-upgrade and downgrade are refused")
    found: list[tuple[str, str, Grant]] = []
    for kind, name, owner, superuser in rows:
        if superuser:
            statement = f"ALTER {kind} {in_schema(asked, name)} OWNER TO {asked.spelled}"
            why = Phrase(
                "to alter or drop it; {owner} is a superuser, whose member nobody should be", owner=visible(owner)
            )
            found.append(("", name, Grant(statement=statement, why=why, without=without)))
    for owner in dict.fromkeys(owner for _, _, owner, superuser in rows if not superuser):
        why = Phrase(
            "to alter or drop what {owner} owns: {names}",
            owner=visible(owner),
            names=visible(", ".join(row[1] for row in rows if row[2] == owner)),
        )
        there = asked.exists and has_role(conn, asked.role, owner)
        statement = f"GRANT {spelled(owner)} TO {asked.spelled}"
        found.append((owner, "", Grant(statement=statement, why=why, without=without, there=there)))
    return found


def _database(conn: Connection, asked: Asked) -> Iterator[Grant]:
    reasons = {
        "CONNECT": (Phrase("to connect"), Phrase("nothing can be asked")),
        "CREATE": (
            Phrase("for schema lawsker_db and a scratch schema"),
            Phrase("adopt, safe-upgrade and verify are refused"),
        ),
        "TEMPORARY": (Phrase("for the seal on the transaction"), Phrase("adopt and safe-upgrade are refused")),
    }
    database = str(conn.execute(text("SELECT current_database()")).scalar_one())
    for right, (why, without) in reasons.items():
        there = granted(conn, asked, "has_database_privilege(r, current_database(), :right)", right=right)
        statement = f"GRANT {right} ON DATABASE {spelled(database)} TO {asked.spelled}"
        yield Grant(statement=statement, why=why, without=without, there=there)


def _schema(conn: Connection, asked: Asked) -> Iterator[Grant]:
    for right, why in (
        ("USAGE", Phrase("to see the tables")),
        ("CREATE", Phrase("to make tables, and to alter a table's own")),
    ):
        there = granted(conn, asked, "has_schema_privilege(r, :schema, :right)", schema=asked.schema, right=right)
        yield Grant(
            statement=f"GRANT {right} ON SCHEMA {spelled(asked.schema)} TO {asked.spelled}",
            why=why,
            without=Phrase("nothing is found") if right == "USAGE" else Phrase("adopt and safe-upgrade are refused"),
            there=there,
        )


def _extensions(conn: Connection, contracts: tuple[Contract, ...]) -> Iterator[Grant]:
    """What a step may install and this role may not, before extensions could be trusted."""
    if server_major(conn) >= CORE_EXTENSIONS_MAJOR:
        return
    standing = set(conn.execute(text("SELECT extname FROM pg_extension")).scalars())
    for name in sorted({name for contract in contracts for name in contract.may_install}):
        yield Grant(
            statement=f"CREATE EXTENSION IF NOT EXISTS {spelled(name)}",
            why=Phrase("the revisions need it, and on this server only a superuser may create it"),
            without=Phrase("the revision fails and is rolled back"),
            there=name in standing,
        )


def _uses(contracts: tuple[Contract, ...]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Pure. The rights that the steps need on tables, and those that verification's trials need beside them.

    LOCK TABLE asks for one of three rights that write; where a trial deletes, it is that one.
    """
    steps: dict[str, set[str]] = {}
    trials: dict[str, set[str]] = {}
    for contract in contracts:
        if not contract.follows:
            continue  # whoever runs the first revision makes all that it uses
        keys = [key.references for table in contract.tables for key in table.foreign_keys]
        for sample in contract.samples:
            trials.setdefault(sample.table, set()).add("INSERT")
        for name in keys if contract.samples else ():
            trials.setdefault(name, set()).update(("SELECT", "DELETE"))
        for names, right in ((contract.reads, "SELECT"), (keys, "REFERENCES")):
            for name in names:
                steps.setdefault(name, set()).add(right)
        for name in (*contract.alters, *contract.locks):
            steps.setdefault(name, set()).add(LOCKING)
    return steps, trials


def _tables(conn: Connection, asked: Asked, contracts: tuple[Contract, ...]) -> Iterator[Grant]:
    """What the steps, and verification, do to tables of others."""
    steps, trials = _uses(contracts)
    standing = conn.execute(
        text("SELECT t FROM unnest(:tables ::text[]) AS t WHERE to_regclass(quote_ident(t)) IS NOT NULL ORDER BY 1"),
        {"tables": sorted({*steps, *trials} - asked.own)},
    ).scalars()
    for name in standing.all():
        lock = "DELETE" if "DELETE" in trials.get(name, ()) else "UPDATE"
        needed, beside = steps.get(name, set()), trials.get(name, set()) - steps.get(name, set())
        beside -= {lock} if LOCKING in needed else set()
        yield from on_table(
            conn,
            asked,
            name,
            {(lock if right == LOCKING else right): right for right in sorted(needed)},
            (
                Phrase("the steps read it, lock it or point foreign keys at it"),
                Phrase("safe-upgrade is refused"),
                Need.NEEDED,
            ),
        )
        yield from on_table(
            conn,
            asked,
            name,
            {right: right for right in sorted(beside)},
            (
                Phrase("verify tries rows in it, all of it rolled back"),
                Phrase("verify says UNKNOWN and ends with 13: use verify --read-only"),
                Need.ADVISED,
            ),
        )


def _records(conn: Connection, asked: Asked) -> Iterator[Grant]:
    """The stamp and the history, where others made them."""
    rows = conn.execute(
        text(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND (n.nspname = :schema AND c.relname = 'alembic_version'"
            " OR n.nspname = 'lawsker_db' AND c.relname = 'migration_run')"
        ),
        {"schema": asked.schema},
    ).all()
    for schema, name in rows:
        stamp = name == STAMP
        if not stamp:
            yield Grant(
                statement=f"GRANT USAGE ON SCHEMA {spelled(schema)} TO {asked.spelled}",
                why=Phrase("to reach the history"),
                without=Phrase("status cannot read it, and safe-upgrade is refused"),
                there=granted(conn, asked, "has_schema_privilege(r, 'lawsker_db', 'USAGE')"),
            )
        rights = ("SELECT", "INSERT", "UPDATE", "DELETE") if stamp else ("SELECT", "INSERT")
        why = Phrase("to read and write the stamp") if stamp else Phrase("to read the history, and to add a row a run")
        told = (why, Phrase("safe-upgrade is refused"), Need.NEEDED)
        yield from on_table(conn, asked, name, {right: right for right in rights}, told, schema)


def _creating_databases(conn: Connection, asked: Asked) -> Iterator[Grant]:
    yield Grant(
        statement=f"ALTER ROLE {asked.spelled} CREATEDB",
        why=Phrase("for the scratch database in which a backup is proven and the upgrade rehearsed"),
        without=Phrase(
            "needs --proof-server URL; else backup create --no-proof, safe-upgrade --accept-unproven-backup REASON"
        ),
        there=attribute(conn, asked, "rolcreatedb"),
    )


def _functions(conn: Connection, asked: Asked) -> Iterator[Grant]:
    reasons = {
        "pg_control_system()": (
            Phrase("to tell this server from others"),
            Phrase("a restart cannot be told from another server"),
        ),
        "pg_create_restore_point(text)": (
            Phrase("to mark a point in the WAL before the migration"),
            Phrase("the report has the position in the WAL, and no name for it"),
        ),
    }
    for function, (why, without) in reasons.items():
        yield Grant(
            statement=f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO {asked.spelled}",
            why=why,
            without=without,
            need=Need.ADVISED,
            there=granted(conn, asked, "has_function_privilege(r, :function, 'EXECUTE')", function=function),
        )


def _predefined(conn: Connection, asked: Asked) -> Iterator[Grant]:
    reasons = {
        "pg_read_all_stats": (
            Need.ADVISED,
            Phrase("to see older snapshots of other roles, standbys, and who is in the way"),
            Phrase("doctor warns: a report under way may find the rewritten table empty; what blocks is not named"),
        ),
        "pg_read_all_settings": (
            Need.ADVISED,
            Phrase("to see how much room is beside the database, where the server is on this machine"),
            Phrase("doctor says that the room for the scratch copy was not checked"),
        ),
        "pg_signal_backend": (
            Need.ON_REQUEST,
            Phrase("only for --on-blocker cancel and terminate, towards sessions of other roles"),
            Phrase("such sessions are waited for"),
        ),
    }
    for name, (need, why, without) in reasons.items():
        there = asked.exists and has_role(conn, asked.role, name)
        statement = f"GRANT {name} TO {asked.spelled}"
        yield Grant(statement=statement, why=why, without=without, need=need, there=there)


def _for_the_application(conn: Connection, asked: Asked, owners: Iterable[str]) -> Iterator[Grant]:
    """What a revision makes belongs to this role: the owners of the older tables would not be let in."""
    rights = (("TABLES", "r", ("SELECT", "INSERT", "UPDATE", "DELETE")), ("SEQUENCES", "S", ("USAGE", "SELECT")))
    for owner in owners:
        for kind, letter, wanted in rights:
            found = conn.execute(
                text(
                    "SELECT a.privilege_type FROM pg_default_acl d JOIN pg_roles o ON o.oid = d.defaclrole,"
                    " aclexplode(d.defaclacl) a JOIN pg_roles g ON g.oid = a.grantee"
                    " WHERE o.rolname = :role AND g.rolname = :owner AND d.defaclobjtype::text = :letter"
                    " AND d.defaclnamespace IN (0, to_regnamespace(quote_ident(:schema))::oid)"
                ),
                {"role": asked.role, "owner": owner, "letter": letter, "schema": asked.schema},
            ).scalars()
            yield Grant(
                statement=f"ALTER DEFAULT PRIVILEGES FOR ROLE {asked.spelled} IN SCHEMA {spelled(asked.schema)}"
                f" GRANT {', '.join(wanted)} ON {kind} TO {spelled(owner)}",
                why=Phrase(
                    "so that {owner}, who owns the older tables, may use what the revisions make", owner=visible(owner)
                ),
                without=Phrase("the application is not let in to what they make until somebody grants it"),
                need=Need.ADVISED,
                there=set(wanted) <= set(found),
            )
