"""The main road on every supported major version, with server programs from the folder that LAWSKER_MAJORS names.

The folder holds <major>/bin/postgres for each. One that is missing is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from command_line import eventually
from harm_objects import HEARD, UNHEARD

from lawsker_db.demo.binaries import binaries_in
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import Refused
from lawsker_db.evidence import Verdict
from lawsker_db.monitor.problem import Limits
from lawsker_db.monitor.watching import Look, watch
from lawsker_db.postgres.catalog import Catalog, compare_catalogs, read_catalog
from lawsker_db.postgres.session import pin_session
from lawsker_db.postgres.tools import find_tool
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import verify
from lawsker_db.target import parse_target

pytestmark = pytest.mark.majors
ROOT = Path(__file__).parents[2]
MAJORS = (12, 13, 14, 15, 16, 17, 18)
USERS = 60
NEEDS_LIBXML = "60_xml"

# What the server says of itself, by queries that share nothing with the product.
SHAPE = """
    SELECT 'column', table_schema, table_name, column_name, data_type, is_nullable, column_default,
        rank() OVER (PARTITION BY table_schema, table_name ORDER BY ordinal_position)::text
    FROM information_schema.columns WHERE table_schema IN ('public', 'audit')
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype::text,
        convalidated::text, NULL, NULL FROM pg_constraint
        WHERE connamespace::regnamespace::text IN ('public', 'audit') AND contype <> 'n'
    UNION ALL SELECT 'index', schemaname, tablename, indexname, indexdef, NULL, NULL, NULL FROM pg_indexes
        WHERE schemaname IN ('public', 'audit')
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text, NULL, NULL, NULL
        FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'function', p.oid::regprocedure::text, p.prosrc, p.proacl::text, NULL, NULL, NULL, NULL FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid
        AND deptype = 'e')
    UNION ALL SELECT 'view', schemaname, viewname, definition, viewowner, NULL, NULL, NULL FROM pg_views
        WHERE schemaname IN ('public', 'audit')
    UNION ALL SELECT 'relation', c.oid::regclass::text, c.relkind::text, c.relacl::text, c.relowner::regrole::text,
        c.reloptions::text, obj_description(c.oid, 'pg_class'), NULL FROM pg_class c
        WHERE c.relnamespace::regnamespace::text IN ('public', 'audit')
    UNION ALL SELECT 'policy', schemaname, tablename, policyname, roles::text, cmd, qual, with_check FROM pg_policies
    UNION ALL SELECT 'enum', enumtypid::regtype::text, enumlabel, enumsortorder::text, NULL, NULL, NULL, NULL FROM pg_enum
    ORDER BY 1, 2, 3, 4
"""


@pytest.fixture(scope="module", params=MAJORS)
def running(request: pytest.FixtureRequest) -> Iterator[ThrowawayServer]:
    """A server of one major version."""
    folder = os.environ.get("LAWSKER_MAJORS")
    if not folder:
        pytest.fail("LAWSKER_MAJORS names no folder with server programs (make test-majors fetches them)")
    programs = binaries_in(Path(folder).absolute() / str(request.param) / "bin", origin="LAWSKER_MAJORS")
    assert programs.major == request.param
    with throwaway_server(programs) as server:
        yield server


@pytest.fixture
def empty(running: ThrowawayServer) -> str:
    """The URL of a new empty database."""
    name = f"db_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(running.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    return running.url(name)


@pytest.fixture
def adopted(empty: str) -> str:
    """The URL of a new database with the sample and all its extras, adopted."""
    assert set(load_sample(empty, users=USERS)) <= {NEEDS_LIBXML}
    adopt(parse_target(empty))
    return empty


def alembic(url: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=folder,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def succeed(url: str, *arguments: str) -> None:
    said = alembic(url, *arguments)
    assert said.returncode == 0, said.stdout + said.stderr


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def shape(url: str) -> list[tuple[Any, ...]]:
    return [row for row in rows(url, SHAPE) if "alembic_version" not in str(row)]


def catalog(url: str) -> Catalog:
    with parse_target(url).connect() as conn:
        pin_session(conn, "public")
        found = read_catalog(conn)
        conn.rollback()
    own = {key: facts for key, facts in found.objects.items() if "alembic_version" not in key[1]}
    return Catalog(objects=own)


def without_extension(changes: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """On 12 the revision may create pgcrypto, which a downgrade leaves: others may use it by then."""
    return {change for change in changes if change != ("extension", "pgcrypto")}


def differences(before: Catalog, after: Catalog) -> set[tuple[Any, ...]]:
    return without_extension({(d.kind, d.name) for d in compare_catalogs(before, after)})


def test_up_down_up_keeps_catalog_and_content(adopted: str) -> None:
    columns = oracle.columns(adopted)
    old_shape, old_content, old_catalog = shape(adopted), oracle.content(adopted), catalog(adopted)
    succeed(adopted, "upgrade", "head")
    new_shape, new_catalog = shape(adopted), catalog(adopted)
    after = oracle.content(adopted, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in old_content} == old_content
    assert [check for check in verify(parse_target(adopted)) if check.fails] == []
    counts = "SELECT (SELECT count(*) FROM workspace_mappings), (SELECT count(*) FROM lawyer_levels),"
    assert rows(adopted, f"{counts} (SELECT count(*) FROM enterprise_service_packages)") == [(USERS, 10, 4)]

    succeed(adopted, "downgrade", "012")
    assert shape(adopted) == old_shape
    assert oracle.content(adopted) == old_content
    assert differences(old_catalog, catalog(adopted)) == set()

    succeed(adopted, "upgrade", "head")
    assert shape(adopted) == new_shape
    assert differences(new_catalog, catalog(adopted)) == set()
    after = oracle.content(adopted, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in old_content} == old_content
    assert [check for check in verify(parse_target(adopted)) if check.fails] == []


def test_a_user_that_the_old_application_inserts_gets_the_defaults(adopted: str) -> None:
    succeed(adopted, "upgrade", "head")
    found = rows(
        adopted,
        "INSERT INTO users (id, tenant_id, username, password_hash, status) SELECT md5(random()::text)::uuid, tenant_id,"
        " 'new', 'x', 'ACTIVE' FROM users LIMIT 1"
        " RETURNING workspace_id ~ '^ws-[0-9a-f]{12}$', account_type, email_verified, registration_source",
    )
    assert found == [(True, "pending", False, "web")]


def test_safe_upgrade_goes_through_where_a_pg_dump_fits_and_refuses_where_none_does(
    adopted: str, running: ThrowawayServer, tmp_path: Path
) -> None:
    columns, before, old_shape = oracle.columns(adopted), oracle.content(adopted), shape(adopted)
    options = UpgradeOptions(runs=tmp_path)
    try:
        find_tool("pg_dump", running.binaries.major)
    except Refused:
        with pytest.raises(Refused, match="No pg_dump fits"):
            safe_upgrade(parse_target(adopted), options=options)
        assert oracle.content(adopted) == before
        assert shape(adopted) == old_shape
        return
    report = safe_upgrade(parse_target(adopted), options=options)
    assert report.verdict is Verdict.DONE
    assert report.backup is not None
    assert report.backup.bytes > 0
    after = oracle.content(adopted, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in before} == before


CLONED = (
    "CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE parted_rest PARTITION OF parted DEFAULT; CREATE"
    " FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER watched AFTER INSERT ON"
    " parted FOR EACH ROW EXECUTE FUNCTION watch()"
)
BROKEN = {
    "UPDATE profiles SET bio = bio": "public.profiles",
    "UPDATE users SET last_login = now()": "other content",
    "SELECT lo_unlink(1300001)": "pg_largeobject",
    "REVOKE SELECT ON wallets FROM lawsker_report": "public.wallets: list of grants",
    "SET CONSTRAINTS ALL IMMEDIATE": "SET CONSTRAINTS",
}


# What not every version has, or keeps elsewhere: from which on, what stood before, what is done, what is said of it.
BROKEN_SINCE = (
    (12, CLONED, "ALTER TABLE parted_rest DISABLE TRIGGER watched", "trigger public.parted_rest.watched: enabled is D"),
    (12, "", "ALTER SCHEMA audit RENAME TO x; CREATE SCHEMA audit", "these rows stand in x.users now"),
    (14, HEARD, "ALTER SUBSCRIPTION heard SET (binary = true)", "subscription's options heard: subbinary is yes"),
    (
        18,
        "",
        "ALTER TABLE users RENAME CONSTRAINT users_username_not_null TO x",
        "column public.users.username: not_null_name",
    ),
    (
        18,
        "",
        "COMMENT ON CONSTRAINT users_username_not_null ON users IS 'x'",
        "column public.users.username: not_null_name",
    ),
)


def upgrade_with(url: str, statement: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`alembic upgrade head` of a chain whose 013 executes one more statement."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", folder)
    path = folder / "alembic" / "versions" / "013_business_optimization.py"
    anchor = '    ops.check_group(contract, "users")\n'
    path.write_text(path.read_text().replace(anchor, f"    op.execute({statement!r})\n{anchor}"))
    return alembic(url, "upgrade", "head", folder=folder)


def test_a_broken_revision_is_refused_and_leaves_nothing(adopted: str, tmp_path: Path) -> None:
    before, old_shape = oracle.content(adopted), shape(adopted)
    for number, (statement, says) in enumerate(BROKEN.items()):
        said = upgrade_with(adopted, statement, tmp_path / str(number))
        assert said.returncode != 0, statement
        assert says in said.stdout + said.stderr
        assert "Traceback" not in said.stdout + said.stderr
        assert oracle.content(adopted) == before, statement
        assert shape(adopted) == old_shape, statement
    assert rows(adopted, "SELECT version_num FROM alembic_version") == [("012",)]


def test_what_this_version_keeps_in_its_own_way_is_compared_too(
    running: ThrowawayServer, adopted: str, tmp_path: Path
) -> None:
    harms = [harm for since, *harm in BROKEN_SINCE if since <= running.binaries.major]
    with psycopg.connect(adopted) as connection:
        connection.execute("; ".join(setup for setup, *_ in harms if setup).encode())
    try:
        old_shape = shape(adopted)
        for number, (_, statement, says) in enumerate(harms):
            said = upgrade_with(adopted, statement, tmp_path / str(number))
            assert said.returncode != 0, statement
            assert says in said.stdout + said.stderr
            assert shape(adopted) == old_shape, statement
    finally:
        with psycopg.connect(adopted, autocommit=True) as connection:
            for statement in UNHEARD.split("; ") if running.binaries.major >= 14 else ():
                connection.execute(statement.encode())


def test_an_empty_database_goes_up_and_down_to_nothing(empty: str) -> None:
    before = shape(empty)
    succeed(empty, "upgrade", "head")
    assert [check for check in verify(parse_target(empty)) if check.fails] == []
    succeed(empty, "downgrade", "base")
    assert shape(empty) == before


def test_the_sql_form_gives_the_same_shape_as_online(empty: str, running: ThrowawayServer) -> None:
    script = alembic(empty, "upgrade", "head", "--sql").stdout
    name = f"offline_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(running.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
    with psycopg.connect(running.url(name), autocommit=True) as connection:
        if running.binaries.major < 13:
            connection.execute("CREATE EXTENSION pgcrypto")
        connection.execute(script.encode())
    succeed(empty, "upgrade", "head")
    assert shape(running.url(name)) == shape(empty)


def test_the_monitor_sees_everything_and_no_problem(running: ThrowawayServer, adopted: str) -> None:
    looks: list[Look] = []
    watch(parse_target(adopted), interval_s=0.0, until=lambda: len(looks) > 1, on_look=looks.append)
    for look in looks:
        assert look.problems == ()
        assert look.sample.not_seen == ()
        absent = {name for name in look.sample.__slots__ if getattr(look.sample, name) is None}
        assert absent == {"away_s", "back_after_s", "run"}
    assert looks[-1].rates.seconds is not None
    # Behind a lock, with an index that is built: waits and progress of each version.
    with psycopg.connect(adopted) as holder, psycopg.connect(adopted, autocommit=True) as waiter:
        held_by = holder.info.backend_pid
        holder.execute("UPDATE users SET username = username")
        thread = threading.Thread(target=waiter.execute, args=("CREATE INDEX CONCURRENTLY late ON users (username)",))
        thread.start()
        asked = f"SELECT FROM pg_locks WHERE pid = {waiter.info.backend_pid} AND NOT granted"
        assert eventually(lambda: bool(rows(adopted, asked)))
        looks.clear()
        watch(
            parse_target(adopted),
            interval_s=0.0,
            until=lambda: len(looks) > 1,
            on_look=looks.append,
            limits=Limits(wait_s=0.0),
        )
        holder.rollback()
        thread.join()
    assert {problem.code for problem in looks[-1].problems} == {"lock_queue"}
    assert [progress.command for progress in looks[-1].sample.progress or ()] == ["CREATE INDEX CONCURRENTLY"]
    assert looks[-1].sample.waits
    assert looks[-1].sample.waits[0].blockers[0].pid == held_by
