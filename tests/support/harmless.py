"""Harmless variants of revision 013: whatever a careful author may write, none may be refused."""

from __future__ import annotations

from variants import RAW, does, put_in, quietly, replaced, sql

LATE_TRIGGER = (
    "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE CONSTRAINT TRIGGER late"
    " AFTER INSERT ON users DEFERRABLE FOR EACH ROW EXECUTE FUNCTION late()"
)

FIRST = (
    put_in("comments on new tables", sql("COMMENT ON TABLE lawyer_levels IS '律师等级'") + "; "
           + sql("COMMENT ON COLUMN users.workspace_id IS 'x'") + "; "
           + sql("COMMENT ON CONSTRAINT users_workspace_id_key ON users IS 'x'"), remarks=True),
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

# What is made, changed or taken, and then as it was before.
THERE_AND_BACK = (
    does("a schema, a type, a domain and an operator made and dropped",
         "CREATE SCHEMA stray; CREATE TABLE stray.t (LIKE profiles INCLUDING ALL); DROP SCHEMA stray CASCADE;"
         " CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood ADD VALUE 'b'; DROP TYPE mood; CREATE DOMAIN d AS int CHECK"
         " (VALUE > 0); DROP DOMAIN d; CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);"
         " DROP OPERATOR === (int, int)"),
    does("a role made and dropped", "CREATE ROLE passing; DROP ROLE passing"),
    does("an extension made and dropped", "CREATE EXTENSION tablefunc; DROP EXTENSION tablefunc"),
    does("a publication made and dropped", "CREATE PUBLICATION told FOR TABLE profiles; DROP PUBLICATION told"),
    does("an event trigger made and dropped",
         "CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER seen ON"
         " sql_drop EXECUTE FUNCTION see(); DROP EVENT TRIGGER seen; DROP FUNCTION see()"),
    does("an index, a trigger, a policy, statistics and a column of users made and dropped",
         "CREATE INDEX stray ON users (status); DROP INDEX stray; CREATE TRIGGER stray BEFORE UPDATE ON users FOR EACH ROW"
         " EXECUTE FUNCTION update_updated_at_column(); DROP TRIGGER stray ON users; CREATE POLICY stray ON users USING"
         " (true); DROP POLICY stray ON users; CREATE STATISTICS stray ON id, status FROM users; DROP STATISTICS stray;"
         " ALTER TABLE users ADD stray int; ALTER TABLE users DROP stray"),
    does("an index and a column of a new table made and dropped",
         "CREATE INDEX stray ON user_credits (credits_weekly); DROP INDEX stray;"
         " ALTER TABLE user_credits ADD stray int; ALTER TABLE user_credits DROP stray"),
    does("a view on users made and dropped", "CREATE VIEW stray AS SELECT * FROM users; DROP VIEW stray"),
    does("users renamed there and back", "ALTER TABLE users RENAME TO people; ALTER TABLE people RENAME TO users"),
    does("a constraint, an index, a function and a type renamed there and back",
         "ALTER TABLE users RENAME CONSTRAINT users_tenant_id_fkey TO x; ALTER TABLE users RENAME CONSTRAINT x TO"
         " users_tenant_id_fkey; ALTER INDEX ix_profiles_id_card_number RENAME TO x; ALTER INDEX x RENAME TO"
         " ix_profiles_id_card_number; ALTER FUNCTION calculate_commission RENAME TO x; ALTER FUNCTION x RENAME TO"
         " calculate_commission; ALTER TYPE userstatus RENAME TO x; ALTER TYPE x RENAME TO userstatus"),
    does("the same default, null, statistics target and storage once more",
         "ALTER TABLE users ALTER created_at SET DEFAULT now(), ALTER status SET NOT NULL, ALTER username SET STATISTICS -1,"
         " ALTER username SET STORAGE EXTENDED"),
    does("another default, an option and row security, and then as before",
         "ALTER TABLE users ALTER created_at SET DEFAULT '2000-01-01'; ALTER TABLE users ALTER created_at SET DEFAULT now();"
         " ALTER TABLE users SET (fillfactor = 70); ALTER TABLE users RESET (fillfactor);"
         " ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users DISABLE ROW LEVEL SECURITY"),
    does("a comment set and restored, another set and removed",
         "COMMENT ON TABLE users IS 'x'; COMMENT ON TABLE users IS '用户 — everyone who can log in';"
         " COMMENT ON TABLE profiles IS 'x'; COMMENT ON TABLE profiles IS NULL"),
    does("a grant given and taken back, another taken and given back",
         "GRANT INSERT ON profiles TO lawsker_report; REVOKE INSERT ON profiles FROM lawsker_report;"
         " REVOKE SELECT ON profiles FROM lawsker_report; GRANT SELECT ON profiles TO lawsker_report"),
    does("a grant that is there already, another that never was taken",
         "GRANT SELECT ON profiles TO lawsker_report; REVOKE INSERT ON profiles FROM lawsker_report"),
    does("a grant on a system column given and taken back",
         "GRANT SELECT (ctid) ON users TO lawsker_report; REVOKE SELECT (ctid) ON users FROM lawsker_report"),
    does("a schema, a label and a constraint trigger's constraint renamed there and back",
         "ALTER SCHEMA audit RENAME TO x; ALTER SCHEMA x RENAME TO audit; ALTER TYPE userstatus RENAME VALUE 'ACTIVE' TO"
         " 'x'; ALTER TYPE userstatus RENAME VALUE 'x' TO 'ACTIVE'; ALTER TABLE users RENAME CONSTRAINT late TO x;"
         " ALTER TABLE users RENAME CONSTRAINT x TO late", setup=LATE_TRIGGER),
    does("default privileges given and taken back",
         "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO lawsker_report;"
         " ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM lawsker_report"),
    does("a trigger disabled and enabled behind the lock",
         "ALTER TABLE users DISABLE TRIGGER update_users_updated_at;"
         " ALTER TABLE users ENABLE TRIGGER update_users_updated_at"),
    does("all triggers disabled and enabled behind the lock",
         "ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL"),
    does("an index and a check dropped and made again as they were",
         "DROP INDEX ix_users_username; CREATE UNIQUE INDEX ix_users_username ON users (username);"
         " ALTER TABLE users DROP CONSTRAINT named; ALTER TABLE users ADD CONSTRAINT named CHECK (username > '')",
         setup="ALTER TABLE users ADD CONSTRAINT named CHECK (username > '')"),
    does("a function and a view replaced by themselves",
         "DO $$ BEGIN EXECUTE pg_get_functiondef('update_updated_at_column'::regproc);"
         " EXECUTE 'CREATE OR REPLACE VIEW users_overview AS ' || pg_get_viewdef('users_overview'); END $$"),
    does("a new trigger and a new foreign key made again, the key validated late",
         "DROP TRIGGER update_user_credits_updated_at ON user_credits; CREATE TRIGGER update_user_credits_updated_at BEFORE"
         " UPDATE ON user_credits FOR EACH ROW EXECUTE FUNCTION lawsker_touch_updated_at(); ALTER TABLE user_credits DROP"
         " CONSTRAINT user_credits_user_id_fkey; ALTER TABLE user_credits ADD CONSTRAINT user_credits_user_id_fkey FOREIGN"
         " KEY (user_id) REFERENCES users (id) ON DELETE CASCADE NOT VALID; ALTER TABLE user_credits VALIDATE CONSTRAINT"
         " user_credits_user_id_fkey"),
    does("a user deleted and inserted again the same",
         quietly("CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM users WHERE username = (SELECT min(username) FROM"
                 " users); DELETE FROM users WHERE id = (SELECT id FROM one); INSERT INTO users SELECT * FROM one")),
    does("users changed and changed back",
         quietly("UPDATE users SET username = username || 'x'; UPDATE users SET username = left(username, -1)")),
    does("an update that meets no row of users", "UPDATE users SET username = 'x' WHERE false"),
    does("users and a new table in another order of rows",
         "CLUSTER users USING users_pkey; ALTER TABLE users SET WITHOUT CLUSTER; CLUSTER user_credits USING"
         " user_credits_pkey; ALTER TABLE user_credits SET WITHOUT CLUSTER"),
    does("a new table emptied and filled again",
         "CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE user_credits; TRUNCATE user_credits;"
         " INSERT INTO user_credits SELECT * FROM kept"),
    does("a new row inserted and deleted",
         "INSERT INTO lawyer_online_sessions (lawyer_id, session_start) SELECT lawyer_id, now() FROM lawyer_level_details"
         " LIMIT 1; DELETE FROM lawyer_online_sessions"),
    does("new and old indexes built again",
         "REINDEX TABLE lawyer_levels; REINDEX TABLE users; REINDEX INDEX ix_profiles_id_card_number"),
    does("a write that a caught error takes back",
         "DO $$ BEGIN UPDATE profiles SET bio = 'x'; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END $$"),
    does("savepoints within savepoints",
         "SAVEPOINT a; SAVEPOINT b; DELETE FROM case_logs; ROLLBACK TO a; SAVEPOINT b; RELEASE a"),
)  # fmt: skip

# What reads, computes, waits or talks.
READING = (
    does("rows read FOR SHARE, FOR KEY SHARE and FOR NO KEY UPDATE",
         "SELECT count(*) FROM (SELECT FROM users FOR SHARE) AS u; SELECT count(*) FROM (SELECT FROM wallets FOR KEY SHARE)"
         " AS w; SELECT count(*) FROM (SELECT FROM wallets FOR NO KEY UPDATE SKIP LOCKED) AS w"),
    does("locks on old tables under which nothing can be written",
         "LOCK TABLE wallets, profiles IN ACCESS SHARE MODE; LOCK TABLE wallets IN ROW SHARE MODE;"
         " LOCK TABLE wallets IN SHARE ROW EXCLUSIVE MODE"),
    does("advisory locks, one of which stays",
         "SELECT pg_advisory_xact_lock(1), pg_try_advisory_lock(2), pg_advisory_unlock(2), pg_advisory_lock(3)"),
    does("a statement prepared, executed and forgotten",
         "PREPARE p (int) AS SELECT count(*) FROM profiles WHERE $1 = 1; EXECUTE p (1); DEALLOCATE p"),
    does("every prepared statement forgotten", "SELECT 1; DEALLOCATE ALL; DISCARD PLANS; DISCARD SEQUENCES"),
    does("cursors, one of which stays open and one beyond the end",
         "DECLARE a CURSOR FOR SELECT * FROM profiles; FETCH 5 FROM a; MOVE 2 FROM a; CLOSE a; DECLARE b CURSOR FOR"
         " SELECT * FROM profiles; FETCH 5 FROM b; DECLARE c CURSOR WITH HOLD FOR SELECT * FROM profiles; FETCH 5 FROM c"),
    does("notify and listen", "LISTEN told; NOTIFY told, 'x'; SELECT pg_notify('told', 'y'); UNLISTEN *"),
    does("plans explained and tried",
         "EXPLAIN SELECT * FROM profiles; EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM users"),
    does("a recursive query and rows without a table",
         "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT sum(i) FROM n, profiles;"
         " VALUES (1), (2)"),
    does("numbers in a temporary table",
         "CREATE TEMP TABLE n ON COMMIT DROP AS SELECT generate_series(1, 1000) AS i; CREATE INDEX ON n (i); ANALYZE n;"
         " DELETE FROM n WHERE i > 5; TRUNCATE n"),
    does("a temporary view, function, sequence and type that stay",
         "CREATE TEMP VIEW seen AS SELECT * FROM profiles; CREATE FUNCTION pg_temp.f() RETURNS bigint LANGUAGE sql AS"
         " 'SELECT count(*) FROM public.profiles'; SELECT pg_temp.f(); CREATE TEMP SEQUENCE s; SELECT nextval('s');"
         " CREATE TYPE pg_temp.t AS (a int)"),
    does("temporary tables named as users, an old and a new table",
         "CREATE TEMP TABLE users (a int); CREATE TEMP TABLE profiles (a int); CREATE TEMP TABLE lawyer_levels (a int);"
         " INSERT INTO pg_temp.profiles VALUES (1)"),
    does("views, statistics and sequences read",
         "SELECT count(*) FROM active_users; SELECT count(*) FROM users_overview; SELECT count(*) FROM user_statistics;"
         " SELECT count(*) FROM pg_stats;"
         " SELECT currval('lawyer_levels_id_seq'), lastval(), last_value FROM invoice_number"),
    does("functions that read old tables",
         "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.wallets'; SELECT peek(),"
         " calculate_commission(10); DROP FUNCTION peek()"),
    does("chance, time and sleep", "SELECT setseed(0.5), random(), now(), clock_timestamp(), pg_sleep(0.01)"),
    does("colons, percent signs and braces in texts", """SELECT 'a:b', '%s %(x)s', 5 % 2, '{"a":1}'::jsonb"""),
    does("a notice, a warning and a caught error",
         "DO $$ BEGIN RAISE NOTICE 'told'; RAISE WARNING 'warned'; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL;"
         " END $$"),
    does("analyze of everything", "ANALYZE"),
    does("a checkpoint", "CHECKPOINT"),
    does("constraints made deferred, one immediate",
         "SET CONSTRAINTS ALL DEFERRED; SET CONSTRAINTS users_tenant_id_fkey IMMEDIATE"),
    put_in("a table copied out",
           RAW + "out = raw.cursor().copy('COPY profiles TO STDOUT'); lines = out.__enter__();"
           " sum(len(line) for line in lines); out.__exit__(None, None, None)"),
    put_in("a temporary table copied in",
           "op.execute('CREATE TEMP TABLE t (a int)'); " + RAW + "into = raw.cursor().copy('COPY t FROM STDIN');"
           " into.__enter__().write(b'1\\n'); into.__exit__(None, None, None)"),
    put_in("python computes, logs and prints",
           "import logging, math; logging.getLogger('alembic').warning('computed %s', math.factorial(20)); print('said')"),
    put_in("the database inspected",
           "assert 'users' in sa.inspect(op.get_bind()).get_table_names(); "
           "assert op.get_bind().execute(sa.text('SELECT count(*) FROM users')).scalar_one() > 0"),
    put_in("a session of SQLAlchemy that commits and is closed",
           "from sqlalchemy.orm import Session; session = Session(bind=op.get_bind());"
           " session.execute(sa.text('SELECT count(*) FROM users')); session.commit(); session.close()"),
    put_in("a nested transaction of SQLAlchemy, and one of the driver",
           "inner = op.get_bind().begin_nested(); op.execute('SELECT 1'); inner.commit(); " + RAW + "block ="
           " raw.transaction(); block.__enter__(); raw.execute('SELECT 1'); block.__exit__(None, None, None)"),
    put_in("a cursor of the driver and a pipeline",
           RAW + "raw.execute('SELECT 1').fetchall(); raw.cursor(name='named').execute('SELECT 1').close();"
           " many = raw.pipeline(); many.__enter__(); op.execute('SELECT 1'); many.__exit__(None, None, None)"),
    put_in("a batch without operations, and rows that are none",
           "op.batch_alter_table('users').__enter__(); op.bulk_insert(sa.table('lawyer_levels', sa.column('id')), [])"),
)  # fmt: skip

# What a session may be set to, to the end of the revision.
SETTINGS = (
    does("other forms of times, numbers and bytes",
         "SET LOCAL DateStyle = 'German, DMY'; SET LOCAL TimeZone = 'Asia/Shanghai'; SET LOCAL IntervalStyle ="
         " 'sql_standard'; SET LOCAL extra_float_digits = -15; SET LOCAL bytea_output = 'escape'; SET LOCAL xmloption ="
         " document; SET LOCAL lc_monetary = 'C'; SET LOCAL array_nulls = off; SET LOCAL transform_null_equals = on"),
    does("other ways to read names and strings",
         "SET LOCAL quote_all_identifiers = on; SET LOCAL standard_conforming_strings = off; SET LOCAL"
         " check_function_bodies = off; SET LOCAL client_min_messages = debug1; SET LOCAL row_security = on"),
    does("other plans", "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL jit = on; SET LOCAL"
         " plan_cache_mode = force_generic_plan; SET LOCAL constraint_exclusion = off; SET LOCAL work_mem = '64kB'"),
    does("other limits and duties",
         "SET LOCAL statement_timeout = '20s'; SET LOCAL lock_timeout = 1; SET LOCAL idle_in_transaction_session_timeout ="
         " '20s'; SET LOCAL synchronous_commit = off; SET LOCAL log_statement = 'all'; SET LOCAL application_name = 'mine'"),
    does("settings of the session, and all of them reset",
         "SET TimeZone = 'Asia/Shanghai'; SET DateStyle = 'German'; RESET ALL"),
    does("settings of its own", "SELECT set_config('lawsker.tenant_id', 'x', true), set_config('work_mem', '1MB', false),"
         " current_setting('lawsker.tenant_id')"),
    does("another role for a while", "SET LOCAL ROLE lawsker_report; SELECT count(*) FROM profiles; RESET ROLE;"
         " SET LOCAL SESSION AUTHORIZATION lawsker_report; RESET SESSION AUTHORIZATION"),
    does("a replica for a while", quietly("SELECT 1")),
)  # fmt: skip

LATE = (
    "CREATE FUNCTION pg_temp.late() RETURNS {} LANGUAGE plpgsql AS"
    " 'BEGIN UPDATE public.profiles SET bio = ''late''; RETURN {}; END'; "
)
# Refused once, or harm once: a cursor's query now does not run at all.
REFUSED_ONCE = (
    does(
        "a write by a cursor with hold, at COMMIT",
        LATE.format("integer", "1") + "DECLARE late CURSOR WITH HOLD FOR SELECT pg_temp.late()",
    ),
    does("another encoding of the client", "SET LOCAL client_encoding = 'LATIN1'"),
    does("a Chinese encoding of the client", "SET LOCAL client_encoding = 'GB18030'"),
    does("a large object read", "SELECT length(lo_get(1300001))"),
    does("a large object opened to be read", "SELECT loread(lo_open(1300001, 262144), 4)"),
    does(
        "a grant given and taken back where there was none",
        "GRANT INSERT ON audit.users TO lawsker_report; REVOKE INSERT ON audit.users FROM lawsker_report",
    ),
    does("a replica to the end", "SET LOCAL session_replication_role = replica"),
)
