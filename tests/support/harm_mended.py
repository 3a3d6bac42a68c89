"""Harm that once passed the gate: what is written after it has judged, casts that hide a value, what belongs to extensions,
to the server, to Alembic and to this package, catalogs written by hand, comments."""

from __future__ import annotations

from harm_objects import EQUALS, FAR, HEARD, SEEN, TAXED, TOLD, TOTAL, UNHEARD
from harm_tables import NAMED_CHECK
from variants import ONE_USER, RAW, does, put_in, quietly

from lawsker_db.errors import RevisionFailed

ORDERING = (
    "CREATE OPERATOR FAMILY fam USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY fam AS"
    " OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int)"
)

LATE = (
    "CREATE FUNCTION pg_temp.late() RETURNS {} LANGUAGE plpgsql AS"
    " 'BEGIN UPDATE public.profiles SET bio = ''late''; RETURN {}; END'; "
)
COST = (
    "CREATE TYPE price AS (amount numeric, currency text); CREATE FUNCTION shown(price) RETURNS text LANGUAGE sql IMMUTABLE"
    " AS 'SELECT round(($1).amount)::text'; CREATE CAST (price AS text) WITH FUNCTION shown(price);"
    " ALTER TABLE users ADD cost price; UPDATE users SET cost = '(1.1,CNY)'"
)


PASSED_ONCE = (
    does(
        "a write by a trigger on our record, when the marker is written",
        LATE.format("trigger", "NEW")
        + "CREATE TRIGGER late AFTER INSERT ON lawsker_db.migration_run FOR EACH ROW EXECUTE FUNCTION pg_temp.late()",
        "trigger lawsker_db.migration_run.late: present",
    ),
    does(
        "a value whose cast to text does not show it",
        quietly(f"UPDATE users SET cost = '(1.4,CNY)' WHERE id = {ONE_USER}"),
        "content of public.users",
        setup=COST,
    ),
    does(
        "a collation of the same name in another schema",
        "ALTER TABLE users ALTER note TYPE text COLLATE audit.shouted",
        "column public.users.note: collation",
        setup="CREATE COLLATION shouted (locale = 'C'); CREATE COLLATION audit.shouted (locale = 'POSIX'); ALTER"
        " TABLE users ADD note text COLLATE public.shouted",
    ),
    does(
        "an option of the TOAST table",
        "ALTER TABLE users SET (toast.autovacuum_enabled = false)",
        "table public.users: toast_options",
    ),
    does(
        "an index attached to a parent's",
        "ALTER INDEX by_message ATTACH PARTITION by_message_2021",
        "index public.by_message_2021: partition_of",
        setup="CREATE INDEX by_message ON ONLY system_logs (message); CREATE INDEX by_message_2021 ON"
        " system_logs_2021 (message)",
    ),
    does(
        "a function that depends on an extension",
        "ALTER FUNCTION taxed DEPENDS ON EXTENSION plpgsql",
        "function public.taxed(amount numeric): depends",
        setup=TAXED,
    ),
    does(
        "an aggregate's combination",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " combinefunc = numeric_sub, parallel = safe)",
        "function public.total(numeric): aggregate",
        setup=TOTAL,
    ),
    does(
        "an aggregate safe for parallel",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " parallel = safe)",
        "function public.total(numeric): definition",
        setup=TOTAL,
    ),
    does(
        "an aggregate's final that modifies",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " finalfunc = numeric_uminus, finalfunc_modify = read_write)",
        "function public.total(numeric): aggregate",
        setup="CREATE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', finalfunc ="
        " numeric_uminus)",
    ),
    does(
        "an aggregate's moving step",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', msfunc"
        " = numeric_add, minvfunc = numeric_add, mstype = numeric)",
        "function public.total(numeric): aggregate",
        setup="CREATE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', msfunc ="
        " numeric_add, minvfunc = numeric_sub, mstype = numeric)",
    ),
    does(
        "an aggregate's sort operator",
        "CREATE OR REPLACE AGGREGATE most(numeric) (sfunc = numeric_larger, stype = numeric, sortop = >)",
        "function public.most(numeric): aggregate",
        setup="CREATE AGGREGATE most(numeric) (sfunc = numeric_larger, stype = numeric)",
    ),
    does(
        "a domain over an array, default",
        "ALTER DOMAIN tags SET DEFAULT '{x}'",
        "type public.tags: default",
        setup="CREATE DOMAIN tags AS text[]",
    ),
    does(
        "a domain over an array, not null",
        "ALTER DOMAIN tags SET NOT NULL",
        "type public.tags: not_null",
        setup="CREATE DOMAIN tags AS text[]",
    ),
    does(
        "a domain over an array, dropped",
        "DROP DOMAIN tags",
        "type public.tags: missing",
        setup="CREATE DOMAIN tags AS text[]",
    ),
    does(
        "a domain over an array, owner",
        "ALTER DOMAIN tags OWNER TO lawsker_report",
        "type public.tags: owner",
        setup="CREATE DOMAIN tags AS text[]",
    ),
    does("a new domain over an array", "CREATE DOMAIN tags AS text[]", "type public.tags: present"),
    does(
        "a domain of another collation",
        'DROP DOMAIN code; CREATE DOMAIN code AS text COLLATE "POSIX"',
        "type public.code: collation",
        setup='CREATE DOMAIN code AS text COLLATE "C"',
    ),
    does(
        "a range's difference",
        "DROP TYPE span; CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi)",
        "type public.span: range",
        setup="CREATE TYPE span AS RANGE (subtype = float8)",
    ),
    does(
        "a range's collation",
        'DROP TYPE span; CREATE TYPE span AS RANGE (subtype = text, collation = "C")',
        "type public.span: range",
        setup="CREATE TYPE span AS RANGE (subtype = text)",
    ),
    does("a comment on a table's row type", "COMMENT ON TYPE users IS 'x'", "row type public.users: present"),
    does(
        "a collation of another owner",
        "ALTER COLLATION mine OWNER TO lawsker_report",
        "collation public.mine: owner",
        setup="CREATE COLLATION mine (locale = 'C')",
    ),
    does(
        "an operator's estimator",
        "ALTER OPERATOR === (int, int) SET (RESTRICT = NONE)",
        "operator public.===(integer,integer): restrict",
        setup=EQUALS,
    ),
    does(
        "an operator that hashes",
        "DROP OPERATOR === (int,int); CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq,"
        " restrict = eqsel, join = eqjoinsel, hashes, commutator = ===)",
        "operator public.===(integer,integer): commutator",
        setup=EQUALS,
    ),
    does(
        "an operator family's member",
        "ALTER OPERATOR FAMILY fam USING btree ADD OPERATOR 1 < (int, bigint)",
        "object operator of access method operator 1 (integer, bigint) of public.fam USING btree: present",
        setup=ORDERING,
    ),
    does(
        "an operator family's function gone",
        "ALTER OPERATOR FAMILY fam USING btree DROP FUNCTION 1 (int, bigint)",
        "object function of access method function 1 (integer, bigint) of public.fam USING btree: missing",
        setup="CREATE OPERATOR FAMILY fam USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY"
        " fam AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int); ALTER OPERATOR FAMILY fam USING btree"
        " ADD FUNCTION 1 (int, bigint) btint48cmp(int, bigint)",
    ),
    does(
        "an operator class in another family",
        "DROP OPERATOR CLASS c USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY fam2 AS"
        " OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int)",
        "object function of access method function 1 (integer, integer) of public.fam USING btree: missing",
        setup=ORDERING + "; CREATE OPERATOR FAMILY fam2 USING btree",
    ),
    does(
        "an operator class of another operator",
        "DROP OPERATOR CLASS c USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY fam AS"
        " OPERATOR 1 >, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int)",
        "object operator of access method operator 1 (integer, integer) of public.fam USING btree: facts",
        setup=ORDERING,
    ),
    does(
        "a conversion by default",
        "DROP CONVERSION conv; CREATE DEFAULT CONVERSION conv FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
        "object conversion public.conv: facts",
        setup="CREATE CONVERSION conv FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
    ),
    does(
        "a statistics object's target",
        "ALTER STATISTICS users_tenant_status SET STATISTICS 10",
        "statistics public.users_tenant_status: target",
    ),
    does("a foreign server's version", "ALTER SERVER far VERSION '2'", "foreign server far: version", setup=FAR),
    does(
        "a grant on a foreign data wrapper",
        "GRANT USAGE ON FOREIGN DATA WRAPPER w TO lawsker_report",
        "object foreign-data wrapper w: list of grants",
        setup=FAR,
    ),
    does(
        "a grant on a language",
        "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
        "objects of extension plpgsql in pg_language: digest",
    ),
    does(
        "a publication with a row filter",
        "ALTER PUBLICATION told SET TABLE users, profiles WHERE (user_id IS NULL)",
        "published table told public.profiles: rows",
        setup=TOLD + "; ALTER TABLE profiles REPLICA IDENTITY FULL",
    ),
    does(
        "a publication with a column list",
        "ALTER PUBLICATION told SET TABLE users, profiles (user_id)",
        "published table told public.profiles: columns",
        setup=TOLD,
    ),
    does(
        "a publication of a schema",
        "ALTER PUBLICATION told ADD TABLES IN SCHEMA audit",
        "published schema told audit: present",
        setup=TOLD,
    ),
    does(
        "a subscription's connection",
        "ALTER SUBSCRIPTION heard CONNECTION 'dbname=elsewhere'",
        "subscription's connection heard: digest",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "a subscription's slot",
        "ALTER SUBSCRIPTION heard SET (slot_name = NONE)",
        "subscription heard: slot",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "a subscription's durability",
        "ALTER SUBSCRIPTION heard SET (synchronous_commit = on)",
        "subscription heard: synchronous",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "an extension's function replaced",
        "CREATE OR REPLACE FUNCTION citext_eq(citext, citext) RETURNS bool LANGUAGE sql IMMUTABLE STRICT AS"
        " 'SELECT true'",
        "objects of extension citext in pg_proc: digest",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's function granted away",
        "REVOKE EXECUTE ON FUNCTION citext_larger(citext, citext) FROM PUBLIC",
        "objects of extension citext in pg_proc: digest",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's view granted",
        "GRANT SELECT ON pg_stat_statements TO lawsker_report",
        "objects of extension pg_stat_statements in pg_class: digest",
        setup="CREATE EXTENSION pg_stat_statements",
    ),
    does(
        "an extension's function of another owner",
        "ALTER FUNCTION citext_larger(citext, citext) OWNER TO lawsker_report",
        "objects of extension citext in pg_proc: digest",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's function security definer",
        "ALTER FUNCTION citext_larger(citext, citext) SECURITY DEFINER",
        "objects of extension citext in pg_proc: digest",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an index that depends on an extension",
        "ALTER INDEX ix_users_email DEPENDS ON EXTENSION plpgsql",
        "index public.ix_users_email: depends",
    ),
    does(
        "a language of another owner",
        "ALTER LANGUAGE plpgsql OWNER TO lawsker_report",
        "objects of extension plpgsql in pg_language: digest",
    ),
    does(
        "a collation's version",
        "UPDATE pg_collation SET collversion = 'x' WHERE collname = 'mine'",
        "collation version public.mine",
        setup="CREATE COLLATION mine (locale = 'C')",
    ),
    does(
        "a grant on a table of an extension",
        "GRANT ALL ON own TO PUBLIC",
        "objects of extension citext in pg_class: digest",
        setup="CREATE EXTENSION citext; CREATE TABLE own (a int); ALTER EXTENSION citext ADD TABLE own",
        says_of_copy='relation "own" does not exist',
    ),
    does(
        "a trigger on a table of an extension",
        "CREATE TRIGGER t BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "objects of extension citext in pg_trigger: present",
        setup="CREATE EXTENSION citext; CREATE TABLE own (a int); ALTER EXTENSION citext ADD TABLE own",
        says_of_copy='relation "own" does not exist',
    ),
    does("a comment on a role", "COMMENT ON ROLE lawsker_report IS 'x'", "role lawsker_report: comment"),
    does(
        "a comment on an event trigger",
        "COMMENT ON EVENT TRIGGER seen IS 'x'",
        "event trigger seen: comment",
        setup=SEEN,
    ),
    does(
        "a comment on a publication",
        "COMMENT ON PUBLICATION told IS 'x'",
        "publication told: comment",
        setup="CREATE PUBLICATION told FOR TABLE users",
    ),
    does(
        "a comment on a foreign server",
        "COMMENT ON SERVER far IS 'x'",
        "foreign server far: comment",
        setup="CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w",
    ),
    does(
        "a comment on a cast",
        "COMMENT ON CAST (text AS money_amount) IS 'x'",
        "cast text AS public.money_amount: comment",
        setup="CREATE CAST (text AS money_amount) WITH INOUT",
    ),
    does(
        "a comment on a subscription",
        "COMMENT ON SUBSCRIPTION heard IS 'x'",
        "subscription heard: comment",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "a comment on a procedural language",
        "COMMENT ON LANGUAGE plpgsql IS 'x'",
        "objects of extension plpgsql in pg_description: digest",
    ),
    does("a comment on a tablespace", "COMMENT ON TABLESPACE pg_default IS 'x'", "tablespace pg_default: comment"),
    does("a setting of all roles", "ALTER ROLE ALL SET work_mem = '1MB'", "setting role ALL: present"),
    does("a role's password", "ALTER ROLE lawsker_report PASSWORD 'x'", "login lawsker_report: present"),
    does(
        "a predefined role's membership",
        "GRANT lawsker_report TO pg_monitor",
        "membership pg_monitor in lawsker_report by postgres: present",
    ),
    does(
        "the database as a template",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database()); END $$",
        "database (this one): template",
    ),
    does(
        "another database's connections",
        "ALTER DATABASE postgres CONNECTION LIMIT 5",
        "other database postgres: connection_limit",
    ),
    does(
        "another database's setting",
        "ALTER DATABASE postgres SET work_mem = '1MB'",
        "other database postgres: settings",
    ),
    does(
        "a right on a parameter",
        "GRANT SET ON PARAMETER log_statement TO lawsker_report",
        "parameter log_statement: present",
    ),
    does(
        "a right on a tablespace",
        "GRANT CREATE ON TABLESPACE pg_default TO lawsker_report",
        "tablespace pg_default: list of grants",
    ),
    does(
        "a tablespace's option",
        "ALTER TABLESPACE pg_default SET (random_page_cost = 9)",
        "tablespace pg_default: options",
    ),
    does("a replication origin", "SELECT pg_replication_origin_create('evil')", "written: pg_replication_origin"),
    does(
        "a right on the passwords",
        "GRANT SELECT ON pg_authid TO PUBLIC",
        "objects of schema pg_catalog in pg_class: digest",
    ),
    does(
        "a right on a system function",
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO lawsker_report",
        "objects of schema pg_catalog in pg_proc: digest is another; written: function pg_read_file(text)",
    ),
    does(
        "a right on a system view lost",
        "REVOKE SELECT ON pg_roles FROM PUBLIC",
        "objects of schema pg_catalog in pg_class: digest",
    ),
    does(
        "a right on pg_catalog",
        "GRANT CREATE ON SCHEMA pg_catalog TO lawsker_report",
        "objects of the server in pg_namespace: digest",
    ),
    does(
        "a function in pg_catalog",
        "CREATE FUNCTION pg_catalog.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "objects of schema pg_catalog in pg_proc: digest",
    ),
    does(
        "a system function replaced",
        "CREATE OR REPLACE FUNCTION pg_catalog.pg_relation_size(regclass) RETURNS bigint LANGUAGE sql STRICT AS"
        " 'SELECT 0::bigint'",
        "objects of schema pg_catalog in pg_proc: digest",
    ),
    does(
        "a table in information_schema",
        "CREATE TABLE information_schema.evil ()",
        "objects of schema information_schema in pg_class: digest",
    ),
    does(
        "a view of information_schema replaced",
        "CREATE OR REPLACE VIEW information_schema.enabled_roles AS SELECT 'x'::information_schema.sql_identifier"
        " AS role_name",
        "objects of schema information_schema in pg_rewrite: digest",
    ),
    does(
        "an index called not primary",
        "UPDATE pg_index SET indisprimary = false WHERE indexrelid = 'users_pkey'::regclass",
        "index public.users_pkey: primary",
    ),
    does(
        "an index not immediate",
        "UPDATE pg_index SET indimmediate = false WHERE indexrelid = 'users_pkey'::regclass",
        "index public.users_pkey: immediate",
    ),
    does(
        "a foreign key's checks removed from the catalog",
        "DELETE FROM pg_trigger WHERE tgisinternal AND tgrelid = 'profiles'::regclass AND tgconstraint = (SELECT"
        " oid FROM pg_constraint WHERE conname = 'profiles_user_id_fkey')",
        "constraint public.profiles.profiles_user_id_fkey: trigger_states",
    ),
    does(
        "half of a foreign key's triggers disabled",
        "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgisinternal AND tgrelid = 'users'::regclass AND"
        " tgconstraint = (SELECT oid FROM pg_constraint WHERE conname = 'profiles_user_id_fkey')",
        "constraint public.profiles.profiles_user_id_fkey: trigger_states",
        says_of_copy="The restored backup is not equal to what was dumped",
        setup="UPDATE pg_trigger SET tgenabled = 'D' WHERE oid = (SELECT min(oid) FROM pg_trigger WHERE"
        " tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM pg_constraint WHERE"
        " conname = 'profiles_user_id_fkey'))",
    ),
    does(
        "the rest of a foreign key's triggers disabled by DDL",
        "DO $$ BEGIN EXECUTE format('ALTER TABLE users DISABLE TRIGGER %I', (SELECT max(tgname) FROM pg_trigger"
        " WHERE tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM pg_constraint"
        " WHERE conname = 'profiles_user_id_fkey'))); END $$",
        "constraint public.profiles.profiles_user_id_fkey: trigger_states",
        says_of_copy="The restored backup is not equal to what was dumped",
        setup="DO $$ BEGIN EXECUTE format('ALTER TABLE users DISABLE TRIGGER %I', (SELECT min(tgname) FROM"
        " pg_trigger WHERE tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM"
        " pg_constraint WHERE conname = 'profiles_user_id_fkey'))); END $$",
    ),
    does(
        "checks not counted",
        "UPDATE pg_class SET relchecks = 0 WHERE oid = 'users'::regclass",
        "table public.users: unseen",
        setup=NAMED_CHECK,
    ),
    does(
        "triggers not seen",
        "UPDATE pg_class SET relhastriggers = false WHERE oid = 'profiles'::regclass",
        "table public.profiles: unseen",
    ),
    does(
        "indexes not seen",
        "UPDATE pg_class SET relhasindex = false WHERE oid = 'profiles'::regclass",
        "table public.profiles: unseen",
    ),
    does(
        "a table in pg_catalog",
        "SET LOCAL allow_system_table_mods = on; CREATE TABLE pg_catalog.evil (a int)",
        "objects of schema pg_catalog in pg_class: digest",
    ),
    does(
        "a trigger alone on our record",
        "CREATE TRIGGER evil BEFORE UPDATE ON lawsker_db.migration_run FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
        "trigger lawsker_db.migration_run.evil: present",
    ),
    does(
        "a grant on our record",
        "GRANT ALL ON lawsker_db.migration_run TO PUBLIC",
        "table lawsker_db.migration_run: list of grants",
    ),
    does("a table in our schema", "CREATE TABLE lawsker_db.evil ()", "table lawsker_db.evil: present"),
    does("a grant on our schema", "GRANT CREATE ON SCHEMA lawsker_db TO PUBLIC", "schema lawsker_db: list of grants"),
    does(
        "a grant on alembic's table",
        "GRANT ALL ON alembic_version TO PUBLIC",
        "table public.alembic_version: list of grants",
    ),
    does(
        "a comment on alembic's table",
        "COMMENT ON TABLE alembic_version IS 'x'",
        "table public.alembic_version: comment",
    ),
    does(
        "a trigger on alembic's table",
        "CREATE TRIGGER evil BEFORE DELETE ON alembic_version FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
        "trigger public.alembic_version.evil: present",
    ),
    does(
        "a column of alembic's table",
        "ALTER TABLE alembic_version ADD evil int",
        "column public.alembic_version.evil: present",
    ),
    does(
        "alembic's table of another owner",
        "ALTER TABLE alembic_version OWNER TO lawsker_report",
        "table public.alembic_version: owner",
    ),
    does(
        "alembic's key dropped",
        "ALTER TABLE alembic_version DROP CONSTRAINT alembic_version_pkc",
        "constraint public.alembic_version.alembic_version_pkc: missing",
    ),
    does(
        "a stray table named as alembic's",
        "CREATE TABLE audit.alembic_version (evil int)",
        "column audit.alembic_version.evil: present",
    ),
    does(
        "a temporary table that hides the catalog",
        "CREATE TEMP TABLE pg_trigger AS TABLE pg_catalog.pg_trigger; ALTER TABLE users DISABLE TRIGGER"
        " update_users_updated_at",
        "trigger public.users.update_users_updated_at: enabled",
    ),
    does(
        "a temporary table that hides a policy",
        "CREATE TEMP TABLE pg_policy AS TABLE pg_catalog.pg_policy; CREATE POLICY stray ON users USING (true)",
        "policy public.users.stray: present",
    ),
    does(
        "an option of a new TOAST table",
        "ALTER TABLE lawyer_levels SET (toast.autovacuum_enabled = false)",
        "table public.lawyer_levels: toast_options",
    ),
    does(
        "a new sequence at its end",
        "SELECT setval('lawyer_levels_id_seq', 2147483647)",
        "next number of public.lawyer_levels_id_seq",
    ),
    does(
        "a new sequence set back",
        "SELECT setval('lawyer_levels_id_seq', 1)",
        "next number of public.lawyer_levels_id_seq",
    ),
    does("an id of a level", "UPDATE lawyer_levels SET id = id + 100", "next number of public.lawyer_levels_id_seq"),
    put_in(
        "the key of the seal read from its table",
        RAW
        + """raw.execute("SELECT set_config('lawsker_db.seal', key, true) FROM pg_temp.lawsker_seal");"""
        + " raw.execute('COM' + 'MIT')",
        "ended by the gate",
        raises=RevisionFailed,
    ),
    does(
        "a trigger that puts itself off until COMMIT",
        "CREATE TEMP TABLE bell (a int); CREATE FUNCTION pg_temp.late() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN SET"
        " CONSTRAINTS ALL DEFERRED; INSERT INTO pg_temp.bell SELECT NEW.a + 1 WHERE NEW.a < 9; RETURN NULL; END'; CREATE"
        " CONSTRAINT TRIGGER late AFTER INSERT ON bell DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION"
        " pg_temp.late(); INSERT INTO bell VALUES (1)",
        "trigger late of a temporary table",
    ),
)
