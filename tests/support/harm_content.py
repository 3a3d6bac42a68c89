"""Harm to the content of what stood before: tables, sequences, large objects, the records of this package."""

from __future__ import annotations

from variants import BEFORE_LOCK, ONE_USER, OTHER_USER, RAW, does, put_in, quietly, sql

WRITES = (
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
    put_in(
        "write into a large object",
        sql("SELECT lo_put(1300001, 0, 'x')"),
        "content of pg_catalog.pg_largeobject: expected untouched, found a large object was written",
    ),
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

SWAPPED = (
    "UPDATE users AS u SET password_hash = o.password_hash FROM users AS o"
    f" WHERE (u.id, o.id) IN (({ONE_USER}, {OTHER_USER}), ({OTHER_USER}, {ONE_USER}))"
)
COPIED = f"CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM users WHERE id = {ONE_USER}"
SEEN_AT = (
    "ALTER TABLE users ADD seen_at timestamptz DEFAULT '2023-01-01 00:00:00.123456+00';"
    " ALTER TABLE users ALTER seen_at DROP DEFAULT"
)

# Behind the strong lock the gate has nothing but the fingerprint to go by.
USERS = (
    does("two users' password hashes swapped", SWAPPED, "content of public.users"),
    does("two users' password hashes swapped with the trigger disabled",
         f"ALTER TABLE users DISABLE TRIGGER update_users_updated_at; {SWAPPED};"
         " ALTER TABLE users ENABLE TRIGGER update_users_updated_at", "content of public.users"),
    does("two users' password hashes swapped as a replica", quietly(SWAPPED), "content of public.users"),
    does("one user deleted and inserted again with another name",
         quietly(f"{COPIED}; UPDATE one SET username = 'other'; DELETE FROM users WHERE id = {ONE_USER};"
                 " INSERT INTO users SELECT * FROM one"), "content of public.users"),
    does("a user more",
         quietly(f"{COPIED}; UPDATE one SET id = md5('more')::uuid, username = 'more', email = NULL, phone_number = NULL,"
                 " user_hash = NULL, workspace_id = 'ws-more'; INSERT INTO users SELECT * FROM one"),
         "content of public.users: expected 120 rows, unchanged, found 121 rows"),
    does("a user less", quietly(f"DELETE FROM users WHERE id = {OTHER_USER}"),
         "content of public.users: expected 120 rows, unchanged, found 119 rows"),
    does("an update without a change, whose trigger moves the stamps", "UPDATE users SET username = username",
         "content of public.users"),
    does("a user changed inside a savepoint that is released",
         f"SAVEPOINT s; {quietly(f'UPDATE users SET last_login = NULL WHERE id = {ONE_USER}')}; RELEASE SAVEPOINT s",
         "content of public.users", setup="UPDATE users SET last_login = '2023-01-01'"),
    does("a user changed behind a caught error",
         "DO $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN"
         f" {quietly(f'UPDATE users SET password_hash = NULL WHERE id = {ONE_USER}').replace('NULL', chr(39) * 2)};"
         " END; END $$", "content of public.users"),
    does("a column narrowed and widened again",
         "ALTER TABLE users ALTER seen_at TYPE timestamptz(0); ALTER TABLE users ALTER seen_at TYPE timestamptz",
         "content of public.users", setup=SEEN_AT),
    does("a column dropped and made anew", "ALTER TABLE users DROP seen_at; ALTER TABLE users ADD seen_at timestamptz",
         "table public.users: columns", setup=SEEN_AT),
    does("two columns' names swapped",
         "ALTER TABLE users RENAME a TO c; ALTER TABLE users RENAME b TO a; ALTER TABLE users RENAME c TO b",
         "table public.users: columns", setup="ALTER TABLE users ADD a int, ADD b int; UPDATE users SET a = 1, b = 2"),
)  # fmt: skip

ELSEWHERE = (
    does("a profile changed inside a savepoint that is released",
         "SAVEPOINT s; UPDATE profiles SET bio = 'x' WHERE user_id = (SELECT user_id FROM profiles LIMIT 1);"
         " RELEASE SAVEPOINT s", "content of public.profiles"),
    does("a profile changed behind a caught error",
         "DO $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN UPDATE profiles SET bio = 'x'; END; END $$",
         "content of public.profiles"),
    does("a write inside a SELECT",
         "WITH w AS (UPDATE tenants SET domain = NULL RETURNING 1) SELECT count(*) FROM w", "content of public.tenants"),
    does("a role more for a user",
         f"INSERT INTO user_roles SELECT {ONE_USER}, id FROM roles WHERE id NOT IN"
         f" (SELECT role_id FROM user_roles WHERE user_id = {ONE_USER}) LIMIT 1", "content of public.user_roles"),
    does("a permission more for a role",
         """UPDATE roles SET permissions = '["all"]' WHERE id = (SELECT id FROM roles LIMIT 1)""",
         "content of public.roles"),
    does("a write into an inheritance child through its parent",
         "UPDATE alert_events SET message = 'x' WHERE id = 20 AND tableoid = 'archived_alert_events'::regclass",
         "public.archived_alert_events"),
    does("a row moved to another partition", "UPDATE system_logs SET logged_at = '2022-05-05' WHERE id = 1500",
         "public.system_logs_2022"),
    does("truncate of a partitioned table", "TRUNCATE system_logs", "content of public.system_logs_2021"),
    does("a write by a rule", "INSERT INTO bell VALUES (1)", "content of public.tenants",
         setup="CREATE TABLE bell (a int); CREATE RULE ring AS ON INSERT TO bell DO ALSO UPDATE tenants SET domain = NULL"),
    does("a value set to null by a foreign key", "DELETE FROM parent", "content of public.child",
         setup="CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);"
         " CREATE TABLE child (id int REFERENCES parent ON DELETE SET NULL); INSERT INTO child VALUES (1)"),
    does("a write by a standing event trigger", "COMMENT ON TABLE lawyer_levels IS 'x'", "content of public.tenants",
         setup="CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS"
         " 'BEGIN UPDATE public.tenants SET domain = domain; END'; CREATE EVENT TRIGGER meddler ON ddl_command_end"
         " WHEN TAG IN ('COMMENT') EXECUTE FUNCTION meddle()"),
    does("a write by a trigger instead of one on a view", "UPDATE door SET domain = NULL", "content of public.tenants",
         setup="CREATE VIEW door AS SELECT * FROM tenants; CREATE FUNCTION push() RETURNS trigger LANGUAGE plpgsql AS"
         " 'BEGIN UPDATE tenants SET domain = NEW.domain WHERE id = OLD.id; RETURN NEW; END';"
         " CREATE TRIGGER push INSTEAD OF UPDATE ON door FOR EACH ROW EXECUTE FUNCTION push()"),
    does("a write by a column's default", "INSERT INTO eager DEFAULT VALUES", "content of public.tenants",
         setup="CREATE FUNCTION meddle() RETURNS int LANGUAGE sql AS 'UPDATE public.tenants SET domain = NULL; SELECT 1';"
         " CREATE TABLE eager (a int DEFAULT meddle())"),
    does("two tables' names swapped",
         "ALTER TABLE one RENAME TO three; ALTER TABLE two RENAME TO one; ALTER TABLE three RENAME TO two",
         "content of public.one", setup="CREATE TABLE one AS SELECT 1 AS a; CREATE TABLE two AS SELECT 2 AS a"),
    put_in("a write over the driver", RAW + "raw.execute('UPDATE tenants SET domain = NULL')", "content of public.tenants"),
    put_in("a write in a transaction block of the driver",
           RAW + "block = raw.transaction(); block.__enter__(); raw.execute('UPDATE tenants SET domain = NULL');"
           " block.__exit__(None, None, None)", "content of public.tenants"),
    put_in("a write in a session of SQLAlchemy that commits",
           "from sqlalchemy.orm import Session; session = Session(bind=op.get_bind());"
           " session.execute(sa.text('UPDATE tenants SET domain = NULL')); session.commit()", "content of public.tenants"),
)  # fmt: skip

NO_TABLES = (
    does("a sequence set forward to its maximum", "SELECT setval('invoice_number', 999999)", "public.invoice_number",
         moves="public.invoice_number"),
    does("a sequence that is called though it was not", "SELECT setval('reserved_number', 77, true)",
         "public.reserved_number", moves="public.reserved_number"),
    does("a sequence whose last number comes again", "SELECT setval('invoice_number', 4717, false)",
         "public.invoice_number", moves="public.invoice_number"),
    does("a large object shortened", "SELECT lo_truncate(lo_open(1300001, 131072), 1)", "pg_largeobject"),
    does("the last byte of a large object", "SELECT lo_put(1300001, 15999, 'x')", "pg_largeobject"),
    does("a large object of another owner", "ALTER LARGE OBJECT 1300001 OWNER TO lawsker_report", "pg_largeobject"),
    does("a page of a large object changed in the catalog",
         "UPDATE pg_largeobject SET data = 'x' WHERE loid = 1300001 AND pageno = 0", "pg_largeobject"),
    does("a materialized view emptied", "REFRESH MATERIALIZED VIEW user_statistics WITH NO DATA",
         "public.user_statistics: populated"),
    does("a record of ours changed", "UPDATE lawsker_db.migration_run SET via = 'x'", "lawsker_db.migration_run"),
    does("a record of ours removed", "DELETE FROM lawsker_db.migration_run", "lawsker_db.migration_run"),
    does("a stamp too many", "INSERT INTO alembic_version VALUES ('999')", "stamped 013, 999"),
)  # fmt: skip
