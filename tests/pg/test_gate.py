"""Broken copies of revision 013 are stopped before COMMIT and leave nothing; harmless variants pass.

Each variant is the real chain with its text patched: a statement put in at one of three places, or a piece replaced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest

from lawsker_db.errors import CommittedUnproven, GateRefused, LawskerError, Refused, RevisionFailed, RolledBack
from lawsker_db.evidence import Event, RunReport, Verdict
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]
REVISION = "013_business_optimization.py"
BEGIN = "    create_touch_function()\n    create_lawyer_levels()\n"
BEFORE_LOCK = "    lock_old_tables()\n\n    gather_wanted()\n"
END = '    ops.check_group(contract, "users")\n\n\ndef downgrade'


@dataclass(frozen=True)
class Variant:
    """A patched 013. `code` is put in before the anchor `at`, or `old` is replaced by `new`, once."""

    name: str
    code: str = ""
    at: str = END
    old: str = ""
    new: str = ""
    setup: str = ""  # SQL for the database before it all
    moves: str = ""  # a sequence that does not roll back
    raises: type[LawskerError] = GateRefused
    says: str = ""


def sql(statement: str) -> str:
    return f"op.execute({statement!r})"


def put_in(name: str, code: str, says: str = "", **more: Any) -> Variant:
    return Variant(name=name, code=code, says=says, **more)


def replaced(name: str, old: str, new: str, says: str = "", **more: Any) -> Variant:
    return Variant(name=name, old=old, new=new, says=says, **more)


RAW = "raw = op.get_bind().connection.driver_connection; "

CONTENT = (
    put_in("update of every profile", sql("UPDATE profiles SET bio = 'x'"), "public.profiles"),
    put_in("update that changes no value", sql("UPDATE profiles SET bio = bio"), "public.profiles"),
    put_in(
        "insert into wallets",
        sql(
            "INSERT INTO wallets SELECT u.id, 0, 0, 0, 0, 0, 0 FROM users u WHERE u.id NOT IN"
            " (SELECT user_id FROM wallets) LIMIT 1"
        ),
        "public.wallets",
    ),
    put_in(
        "delete of one log",
        sql("DELETE FROM case_logs WHERE id = (SELECT min(id::text)::uuid FROM case_logs)"),
        "public.case_logs",
    ),
    put_in(
        "delete and insert again",
        sql("WITH d AS (DELETE FROM audit.users RETURNING *) INSERT INTO audit.users SELECT * FROM d"),
        "audit.users",
    ),
    put_in(
        "truncate and fill again",
        sql(
            "CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE session_cache;"
            " TRUNCATE session_cache; INSERT INTO session_cache TABLE kept"
        ),
        "public.session_cache",
    ),
    put_in(
        "truncate of a table that is empty anyway",
        sql("TRUNCATE hollow"),
        "public.hollow",
        setup="CREATE TABLE hollow (a int)",
    ),
    put_in(
        "update of users behind the lock",
        sql("UPDATE users SET last_login = now() WHERE status = 'BANNED'"),
        "other content",
    ),
    put_in(
        "update of one user, one column, behind the lock",
        sql(
            "ALTER TABLE users DISABLE TRIGGER update_users_updated_at; UPDATE users SET phone_number = NULL WHERE id ="
            " (SELECT min(id::text)::uuid FROM users WHERE phone_number IS NOT NULL);"
            " ALTER TABLE users ENABLE TRIGGER update_users_updated_at"
        ),
        "other content",
    ),
    put_in(
        "update of users before the lock",
        sql("UPDATE users SET last_login = now()"),
        "before ops.lock_tables",
        at=BEFORE_LOCK,
    ),
    put_in("update of cases behind its lock", sql("UPDATE cases SET notes = 'x'"), "public.cases"),
    put_in(
        "role taken behind its lock",
        sql("DELETE FROM user_roles WHERE (user_id, role_id) = (SELECT user_id, role_id FROM user_roles LIMIT 1)"),
        "public.user_roles",
    ),
    put_in(
        "write through a view",
        sql(
            "CREATE TEMP VIEW seen AS SELECT * FROM system_configs; UPDATE seen SET is_active ="
            " is_active; DROP VIEW seen"
        ),
        "public.system_configs",
    ),
    put_in("write through a standing view", sql("UPDATE users_overview SET last_login = NULL"), "public.users"),
    put_in(
        "write by a trigger",
        sql(
            "CREATE TEMP TABLE bell (a int) ON COMMIT DROP; CREATE FUNCTION pg_temp.ring()"
            " RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE tenants SET domain = domain; RETURN NEW; END';"
            " CREATE TRIGGER ring AFTER INSERT ON bell FOR EACH ROW EXECUTE FUNCTION pg_temp.ring();"
            " INSERT INTO bell VALUES (1); DROP TABLE bell; DROP FUNCTION pg_temp.ring()"
        ),
        "public.tenants",
    ),
    put_in(
        "write by a deferred trigger",
        sql("INSERT INTO slow_bell VALUES (1); DELETE FROM slow_bell"),
        "public.wallets",
        setup="CREATE TABLE slow_bell (a int); CREATE FUNCTION ring() RETURNS trigger LANGUAGE"
        " plpgsql AS 'BEGIN UPDATE wallets SET commission_count = commission_count; RETURN NULL; END'; CREATE CONSTRAINT"
        " TRIGGER"
        " ring AFTER INSERT ON slow_bell DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ring()",
    ),
    put_in(
        "write into a partition",
        sql("INSERT INTO system_logs (id, logged_at, level) VALUES (0, '2021-06-01', 'info')"),
        "public.system_logs_2021",
    ),
    put_in(
        "write by a cascade",
        sql("DELETE FROM parent"),
        "public.child",
        setup="CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);"
        " CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE); INSERT INTO child VALUES (1)",
    ),
    put_in(
        "write by a function",
        sql("SELECT meddle()"),
        "public.tenants",
        setup="CREATE FUNCTION meddle() RETURNS void LANGUAGE sql AS 'UPDATE public.tenants SET domain = domain'",
    ),
    put_in(
        "copy into a table",
        "with op.get_bind().connection.driver_connection.cursor().copy('COPY session_cache FROM"
        " STDIN') as c: c.write(b'k\\t{}\\n')",
        "public.session_cache",
    ),
    put_in(
        "setval on an old sequence",
        sql("SELECT setval('invoice_number', 1000)"),
        "public.invoice_number",
        moves="public.invoice_number",
    ),
    put_in(
        "nextval of an old sequence",
        sql("SELECT nextval('reserved_number')"),
        "public.reserved_number",
        moves="public.reserved_number",
    ),
    put_in("restart of an old sequence", sql("ALTER SEQUENCE invoice_number RESTART"), "public.invoice_number"),
    put_in("write into a large object", sql("SELECT lo_put(1300001, 0, 'x')"), "pg_largeobject"),
    put_in("unlink of a large object", sql("SELECT lo_unlink(1300001)"), "pg_largeobject"),
    put_in("unlink of an empty large object", sql("SELECT lo_unlink(1300002)"), "pg_largeobject"),
    put_in("new empty large object", sql("SELECT lo_create(1300009)"), "pg_largeobject"),
    put_in(
        "grant on a large object", sql("REVOKE SELECT ON LARGE OBJECT 1300001 FROM lawsker_report"), "pg_largeobject"
    ),
    put_in(
        "refresh of a materialized view", sql("REFRESH MATERIALIZED VIEW user_statistics"), "public.user_statistics"
    ),
    put_in(
        "cluster", sql("CLUSTER wallets USING wallets_pkey; ALTER TABLE wallets SET WITHOUT CLUSTER"), "public.wallets"
    ),
    put_in(
        "table made anew with the same rows",
        sql(
            "CREATE TABLE kept AS TABLE session_cache; DROP TABLE session_cache;"
            " ALTER TABLE kept RENAME TO session_cache"
        ),
        "session_cache",
    ),
)

SHAPE = (
    replaced(
        "missing index",
        '    op.create_index("idx_users_account_type", "users", ["account_type"])\n',
        "",
        "idx_users_account_type",
    ),
    replaced(
        "missing foreign key",
        '    refer("user_memberships", "user_id", "users", "CASCADE")\n',
        "",
        "user_memberships_user_id_fkey",
    ),
    replaced(
        "foreign key with another action",
        'refer("user_memberships", "user_id", "users", "CASCADE")',
        'refer("user_memberships", "user_id", "users", "RESTRICT")',
        "user_memberships_user_id_fkey",
    ),
    replaced(
        "foreign key not valid",
        '[column], ["id"], ondelete=on_delete)',
        '[column], ["id"], ondelete=on_delete, postgresql_not_valid=True)',
        "validated",
    ),
    replaced(
        "foreign key deferrable",
        '[column], ["id"], ondelete=on_delete)',
        '[column], ["id"], ondelete=on_delete, deferrable=True)',
        "definition",
    ),
    replaced(
        "check with another list",
        "('pending', 'user', 'lawyer', 'lawyer_pending', 'admin')),",
        "('pending', 'user', 'lawyer', 'admin')),",
        "users_account_type_check",
    ),
    put_in(
        "missing check",
        'op.drop_constraint("ck_users_workspace_id_format", "users", type_="check")',
        "ck_users_workspace_id_format",
    ),
    replaced("column may be null", "            ALTER COLUMN email_verified SET NOT NULL,\n", "", "email_verified"),
    replaced(
        "other default",
        "registration_source character varying(20) DEFAULT 'web'",
        "registration_source character varying(20) DEFAULT 'app'",
        "registration_source",
    ),
    replaced("missing trigger", '    touch_updated_at_of("user_credits")\n', "", "update_user_credits_updated_at"),
    put_in(
        "extra trigger on an old table",
        sql("CREATE TRIGGER extra BEFORE UPDATE ON wallets FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"),
        "trigger public.wallets.extra",
    ),
    put_in("stray column", 'op.add_column("profiles", sa.Column("stray", sa.Integer()))', "public.profiles.stray"),
    put_in("stray column on users", 'op.add_column("users", sa.Column("stray", sa.Integer()))', "public.users.stray"),
    put_in("stray table", sql("CREATE TABLE stray ()"), "table public.stray"),
    put_in("stray schema", sql("CREATE SCHEMA stray"), "schema stray"),
    put_in("stray index", 'op.create_index("stray", "profiles", ["bio"])', "index public.stray"),
    put_in("stray policy", sql("CREATE POLICY stray ON clients USING (true)"), "public.clients.stray"),
    put_in("stray grant on a new table", sql("GRANT SELECT ON lawyer_levels TO PUBLIC"), "public.lawyer_levels: acl"),
    put_in("new table of another owner", sql("ALTER TABLE lawyer_levels OWNER TO lawsker_report"), "lawsker_report"),
    put_in("lost grant", sql("REVOKE SELECT ON profiles FROM lawsker_report"), "public.profiles: acl"),
    put_in("lost grant on a column", sql("REVOKE UPDATE (email) ON users FROM lawsker_report"), "public.users.email"),
    put_in(
        "lost grant on a function",
        sql("REVOKE EXECUTE ON FUNCTION calculate_commission FROM lawsker_report"),
        "calculate_commission",
    ),
    put_in(
        "default privileges", sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC"), "default privileges"
    ),
    put_in("dropped comment on a table", sql("COMMENT ON TABLE users IS NULL"), "public.users: comment"),
    put_in("dropped comment on a column", sql("COMMENT ON COLUMN users.user_hash IS NULL"), "user_hash: comment"),
    put_in(
        "dropped comment on a policy",
        sql("COMMENT ON POLICY tenant_isolation ON clients IS NULL"),
        "tenant_isolation: comment",
    ),
    put_in("dropped comment on a large object", sql("COMMENT ON LARGE OBJECT 1300001 IS NULL"), "large object"),
    put_in(
        "disabled trigger",
        sql("ALTER TABLE users DISABLE TRIGGER update_users_updated_at"),
        "update_users_updated_at: enabled",
    ),
    put_in(
        "changed function body",
        sql(
            "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE"
            " plpgsql AS 'BEGIN RETURN NEW; END'"
        ),
        "update_updated_at_column",
    ),
    put_in(
        "changed view",
        sql(
            "CREATE OR REPLACE VIEW users_overview AS SELECT id, tenant_id, username, password_hash,"
            " email, phone_number, status, created_at, updated_at, last_login, user_hash FROM users WHERE true OR false"
        ),
        "public.users_overview",
    ),
    put_in("dropped view", sql("DROP VIEW active_users"), "public.active_users"),
    put_in("dropped index", 'op.drop_index("idx_users_email_lower", "users")', "idx_users_email_lower"),
    put_in("dropped statistics", sql("DROP STATISTICS users_tenant_status"), "users_tenant_status"),
    put_in("renamed column", 'op.alter_column("profiles", "bio", new_column_name="life")', "public.profiles.bio"),
    put_in("row security off", sql("ALTER TABLE clients DISABLE ROW LEVEL SECURITY"), "row_security"),
    put_in("new enum label", sql("ALTER TYPE userstatus ADD VALUE 'SLEEPING'"), "public.userstatus"),
    put_in("sequence with another step", sql("ALTER SEQUENCE invoice_number INCREMENT 8"), "public.invoice_number"),
    put_in("detached partition", sql("ALTER TABLE system_logs DETACH PARTITION system_logs_2021"), "system_logs_2021"),
    put_in("storage option", sql("ALTER TABLE wallets SET (fillfactor = 50)"), "public.wallets"),
    put_in(
        "setting of the database",
        sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$"),
        "setting",
    ),
    put_in(
        "comment on the database",
        sql("DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''mine''', current_database()); END $$"),
        "database",
    ),
    put_in(
        "constraint of an old table not validated anew",
        sql(
            "ALTER TABLE profiles DROP CONSTRAINT"
            " profiles_user_id_fkey; ALTER TABLE profiles ADD CONSTRAINT profiles_user_id_fkey FOREIGN KEY (user_id)"
            " REFERENCES users (id) NOT VALID"
        ),
        "profiles_user_id_fkey",
    ),
)

ROWS = (
    replaced("missing seed row", "            (9, '高级合伙人', 350000, 1500, 1200, 'enterprise', 50, 1500000, 3.0),\n", "",
             "10 seed rows"),
    replaced("changed seed value", "(2, '初级律师', 500, 3, 30, 'free', 3, 8000, 1.1)",
             "(2, '初级律师', 500, 3, 31, 'free', 3, 8000, 1.1)", "lawyer_levels_as_promised"),
    replaced("changed seed text", '"cases_handled": 156', '"cases_handled": 157', "demo_accounts_as_promised"),
    put_in("extra row in a new table", sql("INSERT INTO lawyer_online_sessions (lawyer_id, session_start) SELECT"
           " lawyer_id, now() FROM lawyer_level_details LIMIT 1"), "rows of lawyer_online_sessions"),
    put_in("user without a mapping", sql("DELETE FROM workspace_mappings WHERE user_id = (SELECT user_id FROM"
           " workspace_mappings LIMIT 1)"), "rows of workspace_mappings"),
    put_in("mapping of another type", sql("UPDATE workspace_mappings SET workspace_type = 'admin' WHERE user_id = (SELECT"
           " user_id FROM workspace_mappings WHERE workspace_type = 'user' LIMIT 1)"), "workspace_type_follows_roles"),
    put_in("points out of nowhere", sql("UPDATE lawyer_level_details SET level_points = 1"), "level_details_of_lawyers"),
    put_in("wrong count of cases", sql("UPDATE lawyer_level_details SET cases_won = cases_won + 1"), "case_counts"),
    replaced("verified without being asked", 'return "false" if given is None else', 'return "true" if given is None else',
             "users_come_from_the_web"),
)  # fmt: skip

ENDING = (
    put_in("disguised COMMIT", 'op.execute("COM" + "MIT")', "COMMIT"),
    put_in("disguised ROLLBACK", 'op.execute("ROLL" + "BACK")', "ROLLBACK"),
    put_in("COMMIT behind another statement", 'op.execute("SELECT 1; /* x */ COM" + "MIT")', "COMMIT"),
    put_in("commit of the bind", "op.get_bind().commit()", "COMMIT"),
    put_in("rollback of the bind", "op.get_bind().rollback()", "", raises=RolledBack),
    put_in("commit of the driver", RAW + "raw.commit()", "ended by the gate", raises=RevisionFailed),
    put_in("COMMIT as a statement of the driver", RAW + "raw.execute('COM' + 'MIT')", "ended by the gate",
           raises=RevisionFailed),
    put_in("ROLLBACK as a statement of the driver", RAW + "raw.execute('ROLL' + 'BACK')", "", raises=RolledBack),
    put_in("rollback of the driver", RAW + "raw.rollback()", "", raises=RolledBack),
    put_in("rollback of the driver, then work", RAW + "raw.rollback(); op.execute('UPDATE profiles SET bio = NULL')", "",
           raises=RolledBack),
    put_in("rollback of the driver, then work that it commits",
           RAW + "raw.rollback(); raw.execute('UPDATE profiles SET bio = NULL'); raw.commit()", "read-only",
           raises=RevisionFailed),
    put_in("COMMIT of the driver as a replica", sql("SET session_replication_role = replica") + "; " + RAW
           + "raw.commit()", "ended by the gate", raises=RevisionFailed),
    put_in("constraints made immediate", sql("SET CONSTRAINTS ALL IMMEDIATE"), "SET CONSTRAINTS", raises=RevisionFailed),
    put_in("an error of the server", sql("SELECT 1/0"), "22012", raises=RevisionFailed),
    put_in("an error of Python", "raise KeyError('a mistake in the revision')", "a mistake in the revision",
           raises=RevisionFailed),
    put_in("an end of the session", sql("SELECT pg_terminate_backend(pg_backend_pid())"), "", raises=RolledBack),
    put_in("literal COMMIT", 'op.execute("COMMIT")', "COMMIT", raises=Refused),
    put_in("literal COMMIT in text()", 'op.execute(sa.text("commit ;"))', "COMMIT", raises=Refused),
    put_in("autocommit block", "with op.get_context().autocommit_block(): pass", "autocommit_block", raises=Refused),
    put_in("index concurrently", 'op.create_index("i", "users", ["email"], postgresql_concurrently=True)',
           "CONCURRENTLY", raises=Refused),
    replaced("revision without a contract", "\ncontract = Contract(\n", "\npromise = Contract(\n", "contract",
             raises=Refused),
)  # fmt: skip

HARMLESS = (
    put_in("comments on new tables", sql("COMMENT ON TABLE lawyer_levels IS '律师等级'") + "; "
           + sql("COMMENT ON COLUMN users.workspace_id IS 'x'") + "; "
           + sql("COMMENT ON CONSTRAINT users_workspace_id_key ON users IS 'x'")),
    replaced("seeds in another order", "    seed_lawyer_levels()\n    seed_demo_accounts()\n",
             "    seed_demo_accounts()\n    seed_lawyer_levels()\n"),
    replaced("tables in another order", "    create_workspace_mappings()\n    create_demo_accounts()\n",
             "    create_demo_accounts()\n    create_workspace_mappings()\n"),
    put_in("analyze of new tables", sql("ANALYZE lawyer_levels, users")),
    put_in("analyze of an old table", sql("ANALYZE profiles")),
    put_in("savepoint that is kept", sql("SAVEPOINT s; CREATE TEMP TABLE t (a int) ON COMMIT DROP; RELEASE SAVEPOINT s")),
    put_in("savepoint that is rolled back over a write",
           sql("SAVEPOINT s; UPDATE profiles SET bio = 'x'; CREATE TABLE stray (); ROLLBACK TO SAVEPOINT s")),
    put_in("savepoint of SQLAlchemy rolled back over a write",
           "inner = op.get_bind().begin_nested(); op.execute('DELETE FROM case_logs'); inner.rollback()"),
    put_in("temporary table", sql("CREATE TEMP TABLE t AS TABLE profiles; UPDATE t SET bio = 'x'; DROP TABLE t")),
    put_in("temporary table that stays", sql("CREATE TEMP TABLE t AS TABLE profiles")),
    put_in("DO block", sql("DO $$ BEGIN PERFORM count(*) FROM profiles; EXECUTE 'SELECT 1'; END $$")),
    put_in("reading with row locks", sql("SELECT count(*) FROM (SELECT FROM profiles FOR UPDATE) AS p")),
    put_in("a share lock on an old table", sql("LOCK TABLE wallets IN SHARE MODE")),
    put_in("settings of the transaction", sql("SET LOCAL work_mem = '8MB'; SET LOCAL lock_timeout = '1s'")),
    put_in("words of transactions that are no statements",
           sql("SELECT 'COMMIT; ROLLBACK' AS \"END\" /* ; COMMIT */ -- ; COMMIT\n; DO $x$ BEGIN NULL; END $x$")),
    put_in("object made and dropped again", sql("CREATE TABLE stray (a int REFERENCES lawyer_levels (level)); CREATE"
           " INDEX ON stray (a); DROP TABLE stray; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP"
           " FUNCTION f()")),
    put_in("rename there and back behind the lock",
           sql("ALTER TABLE users RENAME email TO mail; ALTER TABLE users RENAME mail TO email")),
    put_in("numbers of the new sequence used up", sql("SELECT nextval('lawyer_levels_id_seq') FROM generate_series(1, 5)")),
    put_in("updates of new tables that settle to the same", sql("UPDATE user_credits SET credits_weekly = 2; UPDATE"
           " user_credits SET credits_weekly = 1")),
    put_in("another search_path at the end", sql("SET LOCAL search_path = audit, public")),
)  # fmt: skip

PLAIN = (
    next(v for v in CONTENT if v.name == "update of every profile"),
    next(v for v in SHAPE if v.name == "lost grant"),
    next(v for v in ROWS if v.name == "changed seed value"),
    next(v for v in ENDING if v.name == "disguised COMMIT"),
    next(v for v in ENDING if v.name == "commit of the driver"),
    next(v for v in ENDING if v.name == "an error of Python"),
    next(v for v in ENDING if v.name == "literal COMMIT"),
)
REFUSED = (*CONTENT, *SHAPE, *ROWS, *ENDING)


SET_BACK = {
    "public.invoice_number": "SELECT setval('invoice_number', 4717)",
    "public.reserved_number": "SELECT setval('reserved_number', 77, false)",
}


def named(variant: Variant) -> str:
    return variant.name.replace(" ", "-")


def patched_chain(folder: Path, variant: Variant) -> Path:
    """Copy the chain, patch 013 as the variant says, and return the path of alembic.ini."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", folder)
    path = folder / "alembic" / "versions" / REVISION
    text = path.read_text()
    old = variant.old or variant.at
    assert old in text, f"the anchor is gone from 013: {old!r}"
    new = variant.new if variant.old else f"    {variant.code}\n{variant.at}"
    path.write_text(text.replace(old, new, 1))
    return folder / "alembic.ini"


def upgrade(url: str, config: Path, on_event: Any = lambda event: None) -> RunReport:
    options = UpgradeOptions(runs=config.parent / "runs", config=config, patience_s=5, prove=False)
    return safe_upgrade(parse_target(url), options=options, on_event=on_event)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def run(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements.encode())


def left_over(url: str) -> list[tuple[Any, ...]]:
    """Sessions, locks, prepared transactions and temporary tables that others have in this database, after a moment: a
    server process ends a little later than its connection."""
    deadline = time.monotonic() + 10
    while (found := rows(url, LEFT_OVER)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


LEFT_OVER = (
    "SELECT 'session', application_name FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    " UNION ALL SELECT 'lock', mode FROM pg_locks WHERE pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND pid NOT IN (SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker')"
    " UNION ALL SELECT 'prepared', gid FROM pg_prepared_xacts WHERE database = current_database()"
    " UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relpersistence = 't'"
    " UNION ALL SELECT 'scratch', nspname FROM pg_namespace WHERE nspname ~ '^lawsker_(scratch|probe)'"
)


@cache
def picture_of_template(url: str) -> tuple[str, dict[str, str]]:
    return oracle.picture(url)


@pytest.fixture
def before(server: Any, adopted_template: str) -> tuple[str, dict[str, str]]:
    """The adopted sample as every clone begins."""
    return picture_of_template(server.url(adopted_template))


def assert_untouched(url: str, before: tuple[str, dict[str, str]]) -> None:
    assert oracle.picture(url) == before
    assert rows(url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert rows(url, "SELECT direction FROM lawsker_db.migration_run") == [("adopt",)]
    assert left_over(url) == []


@pytest.mark.parametrize("variant", REFUSED, ids=named)
def test_a_broken_revision_ends_with_a_sentence_and_an_untouched_database(
    variant: Variant, adopted_url: str, before: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    if variant.setup:
        run(adopted_url, variant.setup)
        before = oracle.picture(adopted_url)
    config = patched_chain(tmp_path, variant)
    with pytest.raises(variant.raises) as caught:
        upgrade(adopted_url, config)
    assert caught.value.exit_code == (10 if variant.raises is Refused else 11)
    assert variant.says in str(caught.value)
    if variant.moves:
        assert f"stay so, as ever: {variant.moves}." in caught.value.state
        run(adopted_url, SET_BACK[variant.moves])
    assert_untouched(adopted_url, before)
    reports = list((tmp_path / "runs").glob("*/report.json"))
    assert len(reports) == (0 if variant.raises is Refused else 1)
    assert all('"verdict": "rolled back"' in report.read_text() for report in reports)


@pytest.mark.parametrize("variant", HARMLESS, ids=named)
def test_a_harmless_variant_of_the_revision_passes(variant: Variant, adopted_url: str, tmp_path: Path) -> None:
    columns, before = oracle.columns(adopted_url), oracle.content(adopted_url)
    report = upgrade(adopted_url, patched_chain(tmp_path, variant))
    assert report.verdict is Verdict.DONE
    after = oracle.content(adopted_url, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert left_over(adopted_url) == []


@pytest.mark.parametrize("variant", PLAIN, ids=named)
def test_plain_alembic_refuses_a_broken_revision_with_one_sentence_and_no_traceback(
    variant: Variant, adopted_url: str, before: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    config = patched_chain(tmp_path, variant)
    said = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=config.parent,
        env={**os.environ, "DATABASE_URL": adopted_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    words = said.stdout + said.stderr
    assert said.returncode != 0
    assert "FAILED: " in words
    assert "Traceback" not in words
    assert variant.says in words
    assert "Next: " in words
    assert_untouched(adopted_url, before)


@pytest.fixture
def other(adopted_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session, which commits each statement at once."""
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        yield connection


OTHERS_DDL = (
    "CREATE TABLE newcomer ()",
    "COMMENT ON TABLE profiles IS 'changed meanwhile'",
    "CREATE OR REPLACE FUNCTION calculate_commission(amount numeric, share numeric DEFAULT 0.5) RETURNS numeric"
    " LANGUAGE sql AS 'SELECT 0.0'",
    "GRANT SELECT ON wallets TO PUBLIC",
)


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_before_the_gate_is_refused_by_it(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "observed":
            other.execute(ddl.encode())

    with pytest.raises(GateRefused) as caught:
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="unchanged", at=END, code="pass")), meddle)
    assert "catalog after 013" in str(caught.value)
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_after_the_gate_is_told_after_the_commit(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "about to commit":
            other.execute(ddl.encode())

    with pytest.raises(CommittedUnproven) as caught:
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="unchanged", at=END, code="pass")), meddle)
    assert caught.value.exit_code == 13
    assert "catalog after COMMIT" in str(caught.value)
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]
    report = next((tmp_path / "runs").glob("*/report.json")).read_text()
    assert '"verdict": "committed, not proven"' in report


def test_ddl_of_a_revision_over_a_second_connection_is_refused(adopted_url: str, tmp_path: Path) -> None:
    code = f"import psycopg; other = psycopg.connect({adopted_url!r}, autocommit=True);"
    code += " other.execute('CREATE TABLE smuggled ()'); other.close()"
    with pytest.raises(GateRefused, match="smuggled"):
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="smuggler", code=code)))
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]
