"""Not run: harm that the product lets through, and harmless revisions that it refuses. Each moves to its list when that is
mended.

What was seen, unless a comment says more: plain Alembic upgrades and safe-upgrade without a rehearsal says "done"
(PostgreSQL 15).
"""

from __future__ import annotations

from harm_objects import EQUALS, FAR, HEARD, SEEN, TAXED, TOLD, TOTAL, UNHEARD
from harm_tables import NAMED_CHECK
from variants import ONE_USER, RAW, does, put_in, quietly

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

KNOWN_GAPS = (
    # Content. The first two write after the gate has judged: the marker's row fires the trigger, and COMMIT runs the query
    # of a cursor that is to outlast it. A rehearsal finds both when it compares the copy after the downgrade.
    does(
        "a write by a trigger on our record, when the marker is written",
        LATE.format("trigger", "NEW")
        + "CREATE TRIGGER late AFTER INSERT ON lawsker_db.migration_run FOR EACH ROW EXECUTE FUNCTION pg_temp.late()",
    ),
    does(
        "a write by a cursor with hold, at COMMIT",
        LATE.format("integer", "1") + "DECLARE late CURSOR WITH HOLD FOR SELECT pg_temp.late()",
    ),
    # `::text` of a type that is not built in calls the database's own cast, which may show less than the value.
    does(
        "a value whose cast to text does not show it",
        quietly(f"UPDATE users SET cost = '(1.4,CNY)' WHERE id = {ONE_USER}"),
        setup=COST,
    ),
    # Tables.
    does(
        "a collation of the same name in another schema",
        "ALTER TABLE users ALTER note TYPE text COLLATE audit.shouted",
        setup="CREATE COLLATION shouted (locale = 'C'); CREATE COLLATION audit.shouted (locale = 'POSIX'); ALTER"
        " TABLE users ADD note text COLLATE public.shouted",
    ),
    does("an option of the TOAST table", "ALTER TABLE users SET (toast.autovacuum_enabled = false)"),
    does(
        "an index attached to a parent's",
        "ALTER INDEX by_message ATTACH PARTITION by_message_2021",
        setup="CREATE INDEX by_message ON ONLY system_logs (message); CREATE INDEX by_message_2021 ON"
        " system_logs_2021 (message)",
    ),
    # What is no table.
    does("a function that depends on an extension", "ALTER FUNCTION taxed DEPENDS ON EXTENSION plpgsql", setup=TAXED),
    does(
        "an aggregate's combination",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " combinefunc = numeric_sub, parallel = safe)",
        setup=TOTAL,
    ),
    does(
        "an aggregate safe for parallel",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " parallel = safe)",
        setup=TOTAL,
    ),
    does(
        "an aggregate's final that modifies",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0',"
        " finalfunc = numeric_uminus, finalfunc_modify = read_write)",
        setup="CREATE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', finalfunc ="
        " numeric_uminus)",
    ),
    does(
        "an aggregate's moving step",
        "CREATE OR REPLACE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', msfunc"
        " = numeric_add, minvfunc = numeric_add, mstype = numeric)",
        setup="CREATE AGGREGATE total(numeric) (sfunc = numeric_add, stype = numeric, initcond = '0', msfunc ="
        " numeric_add, minvfunc = numeric_sub, mstype = numeric)",
    ),
    does(
        "an aggregate's sort operator",
        "CREATE OR REPLACE AGGREGATE most(numeric) (sfunc = numeric_larger, stype = numeric, sortop = >)",
        setup="CREATE AGGREGATE most(numeric) (sfunc = numeric_larger, stype = numeric)",
    ),
    does(
        "a domain over an array, default", "ALTER DOMAIN tags SET DEFAULT '{x}'", setup="CREATE DOMAIN tags AS text[]"
    ),
    does("a domain over an array, not null", "ALTER DOMAIN tags SET NOT NULL", setup="CREATE DOMAIN tags AS text[]"),
    does("a domain over an array, dropped", "DROP DOMAIN tags", setup="CREATE DOMAIN tags AS text[]"),
    does(
        "a domain over an array, owner",
        "ALTER DOMAIN tags OWNER TO lawsker_report",
        setup="CREATE DOMAIN tags AS text[]",
    ),
    does("a new domain over an array", "CREATE DOMAIN tags AS text[]"),
    does(
        "a domain of another collation",
        'DROP DOMAIN code; CREATE DOMAIN code AS text COLLATE "POSIX"',
        setup='CREATE DOMAIN code AS text COLLATE "C"',
    ),
    does(
        "a range's difference",
        "DROP TYPE span; CREATE TYPE span AS RANGE (subtype = float8, subtype_diff = float8mi)",
        setup="CREATE TYPE span AS RANGE (subtype = float8)",
    ),
    does(
        "a range's collation",
        'DROP TYPE span; CREATE TYPE span AS RANGE (subtype = text, collation = "C")',
        setup="CREATE TYPE span AS RANGE (subtype = text)",
    ),
    does("a comment on a table's row type", "COMMENT ON TYPE users IS 'x'"),
    does(
        "a collation of another owner",
        "ALTER COLLATION mine OWNER TO lawsker_report",
        setup="CREATE COLLATION mine (locale = 'C')",
    ),
    does("an operator's estimator", "ALTER OPERATOR === (int, int) SET (RESTRICT = NONE)", setup=EQUALS),
    does(
        "an operator that hashes",
        "DROP OPERATOR === (int,int); CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq,"
        " restrict = eqsel, join = eqjoinsel, hashes, commutator = ===)",
        setup=EQUALS,
    ),
    does(
        "an operator family's member",
        "ALTER OPERATOR FAMILY fam USING btree ADD OPERATOR 1 < (int, bigint)",
        setup=ORDERING,
    ),
    does(
        "an operator family's function gone",
        "ALTER OPERATOR FAMILY fam USING btree DROP FUNCTION 1 (int, bigint)",
        setup="CREATE OPERATOR FAMILY fam USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY"
        " fam AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int); ALTER OPERATOR FAMILY fam USING btree"
        " ADD FUNCTION 1 (int, bigint) btint48cmp(int, bigint)",
    ),
    does(
        "an operator class in another family",
        "DROP OPERATOR CLASS c USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY fam2 AS"
        " OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int)",
        setup=ORDERING + "; CREATE OPERATOR FAMILY fam2 USING btree",
    ),
    does(
        "an operator class of another operator",
        "DROP OPERATOR CLASS c USING btree; CREATE OPERATOR CLASS c FOR TYPE int USING btree FAMILY fam AS"
        " OPERATOR 1 >, OPERATOR 3 =, FUNCTION 1 btint4cmp(int,int)",
        setup=ORDERING,
    ),
    does(
        "a conversion by default",
        "DROP CONVERSION conv; CREATE DEFAULT CONVERSION conv FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
        setup="CREATE CONVERSION conv FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1",
    ),
    does("a statistics object's target", "ALTER STATISTICS users_tenant_status SET STATISTICS 10"),
    does("a foreign server's version", "ALTER SERVER far VERSION '2'", setup=FAR),
    does("a grant on a foreign data wrapper", "GRANT USAGE ON FOREIGN DATA WRAPPER w TO lawsker_report", setup=FAR),
    does("a grant on a language", "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC"),
    does(
        "a publication with a row filter",
        "ALTER PUBLICATION told SET TABLE users, profiles WHERE (user_id IS NULL)",
        setup=TOLD + "; ALTER TABLE profiles REPLICA IDENTITY FULL",
    ),
    does("a publication with a column list", "ALTER PUBLICATION told SET TABLE users, profiles (user_id)", setup=TOLD),
    does("a publication of a schema", "ALTER PUBLICATION told ADD TABLES IN SCHEMA audit", setup=TOLD),
    does(
        "a subscription's connection",
        "ALTER SUBSCRIPTION heard CONNECTION 'dbname=elsewhere'",
        setup=HEARD,
        teardown=UNHEARD,
    ),
    does("a subscription's slot", "ALTER SUBSCRIPTION heard SET (slot_name = NONE)", setup=HEARD, teardown=UNHEARD),
    does(
        "a subscription's durability",
        "ALTER SUBSCRIPTION heard SET (synchronous_commit = on)",
        setup=HEARD,
        teardown=UNHEARD,
    ),
    does(
        "an extension's function replaced",
        "CREATE OR REPLACE FUNCTION citext_eq(citext, citext) RETURNS bool LANGUAGE sql IMMUTABLE STRICT AS"
        " 'SELECT true'",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's function granted away",
        "REVOKE EXECUTE ON FUNCTION citext_larger(citext, citext) FROM PUBLIC",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's view granted",
        "GRANT SELECT ON pg_stat_statements TO lawsker_report",
        setup="CREATE EXTENSION pg_stat_statements",
    ),
    does(
        "an extension's function of another owner",
        "ALTER FUNCTION citext_larger(citext, citext) OWNER TO lawsker_report",
        setup="CREATE EXTENSION citext",
    ),
    does(
        "an extension's function security definer",
        "ALTER FUNCTION citext_larger(citext, citext) SECURITY DEFINER",
        setup="CREATE EXTENSION citext",
    ),
    does("an index that depends on an extension", "ALTER INDEX ix_users_email DEPENDS ON EXTENSION plpgsql"),
    does("a language of another owner", "ALTER LANGUAGE plpgsql OWNER TO lawsker_report"),
    does(
        "a collation's version",
        "UPDATE pg_collation SET collversion = 'x' WHERE collname = 'mine'",
        setup="CREATE COLLATION mine (locale = 'C')",
    ),
    does(
        "a grant on a table of an extension",
        "GRANT ALL ON own TO PUBLIC",
        setup="CREATE EXTENSION citext; CREATE TABLE own (a int); ALTER EXTENSION citext ADD TABLE own",
    ),
    does(
        "a trigger on a table of an extension",
        "CREATE TRIGGER t BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        setup="CREATE EXTENSION citext; CREATE TABLE own (a int); ALTER EXTENSION citext ADD TABLE own",
    ),
    # Comments.
    does("a comment on a role", "COMMENT ON ROLE lawsker_report IS 'x'"),
    does("a comment on an event trigger", "COMMENT ON EVENT TRIGGER seen IS 'x'", setup=SEEN),
    does(
        "a comment on a publication",
        "COMMENT ON PUBLICATION told IS 'x'",
        setup="CREATE PUBLICATION told FOR TABLE users",
    ),
    does(
        "a comment on a foreign server",
        "COMMENT ON SERVER far IS 'x'",
        setup="CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w",
    ),
    does(
        "a comment on a cast",
        "COMMENT ON CAST (text AS money_amount) IS 'x'",
        setup="CREATE CAST (text AS money_amount) WITH INOUT",
    ),
    does("a comment on a subscription", "COMMENT ON SUBSCRIPTION heard IS 'x'", setup=HEARD, teardown=UNHEARD),
    does("a comment on a procedural language", "COMMENT ON LANGUAGE plpgsql IS 'x'"),
    does("a comment on a tablespace", "COMMENT ON TABLESPACE pg_default IS 'x'"),
    # The server: roles, other databases, tablespaces, slots. A rollback does not take back a replication slot.
    does("a setting of all roles", "ALTER ROLE ALL SET work_mem = '1MB'"),
    does("a role's password", "ALTER ROLE lawsker_report PASSWORD 'x'"),
    does("a predefined role's membership", "GRANT lawsker_report TO pg_monitor"),
    does(
        "the database as a template",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I IS_TEMPLATE true', current_database()); END $$",
    ),
    does("another database's connections", "ALTER DATABASE postgres CONNECTION LIMIT 5"),
    does("another database's setting", "ALTER DATABASE postgres SET work_mem = '1MB'"),
    does("a right on a parameter", "GRANT SET ON PARAMETER log_statement TO lawsker_report"),
    does("a right on a tablespace", "GRANT CREATE ON TABLESPACE pg_default TO lawsker_report"),
    does("a tablespace's option", "ALTER TABLESPACE pg_default SET (random_page_cost = 9)"),
    does("a physical replication slot", "SELECT pg_create_physical_replication_slot('evil')"),
    does("a replication origin", "SELECT pg_replication_origin_create('evil')"),
    # The server's own objects, and catalogs written by hand.
    does("a right on the passwords", "GRANT SELECT ON pg_authid TO PUBLIC"),
    does("a right on a system function", "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO lawsker_report"),
    does("a right on a system view lost", "REVOKE SELECT ON pg_roles FROM PUBLIC"),
    does("a right on pg_catalog", "GRANT CREATE ON SCHEMA pg_catalog TO lawsker_report"),
    does("a function in pg_catalog", "CREATE FUNCTION pg_catalog.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    does(
        "a system function replaced",
        "CREATE OR REPLACE FUNCTION pg_catalog.pg_relation_size(regclass) RETURNS bigint LANGUAGE sql STRICT AS"
        " 'SELECT 0::bigint'",
    ),
    does("a table in information_schema", "CREATE TABLE information_schema.evil ()"),
    does(
        "a view of information_schema replaced",
        "CREATE OR REPLACE VIEW information_schema.enabled_roles AS SELECT 'x'::information_schema.sql_identifier"
        " AS role_name",
    ),
    does(
        "an index called not primary",
        "UPDATE pg_index SET indisprimary = false WHERE indexrelid = 'users_pkey'::regclass",
    ),
    does(
        "an index not immediate", "UPDATE pg_index SET indimmediate = false WHERE indexrelid = 'users_pkey'::regclass"
    ),
    does(
        "a foreign key's checks removed from the catalog",
        "DELETE FROM pg_trigger WHERE tgisinternal AND tgrelid = 'profiles'::regclass AND tgconstraint = (SELECT"
        " oid FROM pg_constraint WHERE conname = 'profiles_user_id_fkey')",
    ),
    does(
        "half of a foreign key's triggers disabled",
        "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgisinternal AND tgrelid = 'users'::regclass AND"
        " tgconstraint = (SELECT oid FROM pg_constraint WHERE conname = 'profiles_user_id_fkey')",
        setup="UPDATE pg_trigger SET tgenabled = 'D' WHERE oid = (SELECT min(oid) FROM pg_trigger WHERE"
        " tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM pg_constraint WHERE"
        " conname = 'profiles_user_id_fkey'))",
    ),
    does(
        "the rest of a foreign key's triggers disabled by DDL",
        "DO $$ BEGIN EXECUTE format('ALTER TABLE users DISABLE TRIGGER %I', (SELECT max(tgname) FROM pg_trigger"
        " WHERE tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM pg_constraint"
        " WHERE conname = 'profiles_user_id_fkey'))); END $$",
        setup="DO $$ BEGIN EXECUTE format('ALTER TABLE users DISABLE TRIGGER %I', (SELECT min(tgname) FROM"
        " pg_trigger WHERE tgisinternal AND tgrelid = 'users'::regclass AND tgconstraint = (SELECT oid FROM"
        " pg_constraint WHERE conname = 'profiles_user_id_fkey'))); END $$",
    ),
    does("checks not counted", "UPDATE pg_class SET relchecks = 0 WHERE oid = 'users'::regclass", setup=NAMED_CHECK),
    does("triggers not seen", "UPDATE pg_class SET relhastriggers = false WHERE oid = 'profiles'::regclass"),
    does("indexes not seen", "UPDATE pg_class SET relhasindex = false WHERE oid = 'profiles'::regclass"),
    does("a dependency removed", "DELETE FROM pg_depend WHERE refobjid = 'users'::regclass AND deptype = 'n'"),
    does("statistics removed", "DELETE FROM pg_statistic WHERE starelid = 'cases'::regclass"),
    does(
        "a table in pg_catalog",
        "SET LOCAL allow_system_table_mods = on; CREATE TABLE pg_catalog.evil (a int)",
    ),
    # What belongs to this package and to Alembic.
    does(
        "a trigger alone on our record",
        "CREATE TRIGGER evil BEFORE UPDATE ON lawsker_db.migration_run FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
    ),
    does("a grant on our record", "GRANT ALL ON lawsker_db.migration_run TO PUBLIC"),
    does("a table in our schema", "CREATE TABLE lawsker_db.evil ()"),
    does("a grant on our schema", "GRANT CREATE ON SCHEMA lawsker_db TO PUBLIC"),
    does("a grant on alembic's table", "GRANT ALL ON alembic_version TO PUBLIC"),
    does("a comment on alembic's table", "COMMENT ON TABLE alembic_version IS 'x'"),
    does(
        "a trigger on alembic's table",
        "CREATE TRIGGER evil BEFORE DELETE ON alembic_version FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()",
    ),
    does("a column of alembic's table", "ALTER TABLE alembic_version ADD evil int"),
    does("alembic's table of another owner", "ALTER TABLE alembic_version OWNER TO lawsker_report"),
    does("alembic's key dropped", "ALTER TABLE alembic_version DROP CONSTRAINT alembic_version_pkc"),
    does("a stray table named as alembic's", "CREATE TABLE audit.alembic_version (evil int)"),
    does(
        "a temporary table that hides the catalog",
        "CREATE TEMP TABLE pg_trigger AS TABLE pg_catalog.pg_trigger; ALTER TABLE users DISABLE TRIGGER"
        " update_users_updated_at",
    ),
    # After COMMIT it is found by the fresh connection of safe-upgrade (13), by plain Alembic never.
    does(
        "a temporary table that hides a policy",
        "CREATE TEMP TABLE pg_policy AS TABLE pg_catalog.pg_policy; CREATE POLICY stray ON users USING (true)",
    ),
    # Rows that the revision makes.
    does(
        "an option of a new TOAST table",
        "ALTER TABLE lawyer_levels SET (toast.autovacuum_enabled = false)",
    ),
    does("a level made long ago", "UPDATE lawyer_levels SET created_at = '1970-01-01'"),
    does("a mapping of another stamp", "UPDATE workspace_mappings SET created_at = '1970-01-01'"),
    does("a new sequence at its end", "SELECT setval('lawyer_levels_id_seq', 2147483647)"),
    does("a new sequence set back", "SELECT setval('lawyer_levels_id_seq', 1)"),
    does("an id of a level", "UPDATE lawyer_levels SET id = id + 100"),
    does("a package's update stamp", "UPDATE enterprise_service_packages SET created_at = '1970-01-01'"),
    does(
        "a user that was never verified, verified",
        quietly("UPDATE users SET email_verified = true WHERE status = 'ACTIVE'"),
    ),
    # Half of 013 stands, the stamp says 012, and the run says "rolled back, the database is as it was".
    put_in(
        "the key of the seal read from its table",
        RAW
        + """raw.execute("SELECT set_config('lawsker_db.seal', key, true) FROM pg_temp.lawsker_seal");"""
        + " raw.execute('COM' + 'MIT')",
    ),
)

# Harm that the gate stops (exit 11) and the rehearsal does not (10): the copy is shut to PUBLIC from the start.
NOT_SEEN_ON_THE_COPY = (
    does(
        "the right of everybody to connect taken away",
        "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$",
        "database (this one): acl",
    ),
)

# Harmless, and refused: with what was said.
REFUSED_THOUGH_HARMLESS = (
    # 22P05, from the gate's own reading of a Chinese comment; then a UnicodeDecodeError. client_encoding is not pinned.
    does("another encoding of the client", "SET LOCAL client_encoding = 'LATIN1'"),
    does("a Chinese encoding of the client", "SET LOCAL client_encoding = 'GB18030'"),
    # "content of pg_catalog.pg_largeobject: written": lo_open locks it ROW EXCLUSIVE, to read as well.
    does("a large object read", "SELECT length(lo_get(1300001))"),
    does("a large object opened to be read", "SELECT loread(lo_open(1300001, 262144), 4)"),
    # "acl is ['postgres=arwdDxt/postgres'], expected nothing": the same rights, spelt out.
    does(
        "a grant given and taken back where there was none",
        "GRANT INSERT ON audit.users TO lawsker_report; REVOKE INSERT ON audit.users FROM lawsker_report",
    ),
    # 55006, "cannot DROP TABLE lawsker_seal because it has pending trigger events".
    does("temporary objects discarded", "DISCARD TEMP"),
    # Refused (exit 10, "before the migration began") by the gate itself, with a hint for the role; it is rolled back.
    does("a replica to the end", "SET LOCAL session_replication_role = replica"),
    # "written": the lock that goes with an UPDATE is taken when it is planned. By design, so far.
    does("an update that meets no row of an old table", "UPDATE profiles SET bio = 'x' WHERE false"),
    does("an update explained", "EXPLAIN UPDATE profiles SET bio = NULL"),
    does("an update prepared and forgotten", "PREPARE p AS UPDATE profiles SET bio = 'x'; DEALLOCATE p"),
    does("a lock for writing on an old table", "LOCK TABLE wallets IN ROW EXCLUSIVE MODE"),
    does("an index made and dropped on an old table", "CREATE INDEX stray ON profiles (bio); DROP INDEX stray"),
)
