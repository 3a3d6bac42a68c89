"""Harm to the shape of tables: columns, constraints, indexes, triggers, policies, views, sequences, partitions, rights.

Most of it is done to users, behind the strong lock: on any other table that lock alone gives it away.
"""

from __future__ import annotations

from variants import does, put_in, replaced, sql

NAMED_CHECK = "ALTER TABLE users ADD CONSTRAINT ck_named CHECK (char_length(username) > 1)"
POLICY = (
    "ALTER TABLE users ENABLE ROW LEVEL SECURITY; CREATE POLICY seen ON users USING (status = 'ACTIVE') WITH CHECK"
    " (true)"
)

PLAIN_SHAPE = (
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
    put_in(
        "stray grant on a new table",
        sql("GRANT SELECT ON lawyer_levels TO PUBLIC"),
        "public.lawyer_levels: list of grants",
    ),
    put_in("new table of another owner", sql("ALTER TABLE lawyer_levels OWNER TO lawsker_report"), "lawsker_report"),
    put_in("lost grant", sql("REVOKE SELECT ON profiles FROM lawsker_report"), "public.profiles: list of grants"),
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
    put_in("row security off", sql("ALTER TABLE clients DISABLE ROW LEVEL SECURITY"), "row security"),
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

SUBTLE_SHAPE = (
    does("a laxer check of the same name",
         "ALTER TABLE users DROP CONSTRAINT ck_named; ALTER TABLE users ADD CONSTRAINT ck_named CHECK"
         " (char_length(username) > 0)", "public.users.ck_named: definition", setup=NAMED_CHECK),
    does("a check not validated anew",
         "ALTER TABLE users DROP CONSTRAINT ck_named; ALTER TABLE users ADD CONSTRAINT ck_named CHECK"
         " (char_length(username) > 1) NOT VALID", "public.users.ck_named: validated", setup=NAMED_CHECK),
    does("a check that children no longer inherit",
         "ALTER TABLE users DROP CONSTRAINT ck_named; ALTER TABLE users ADD CONSTRAINT ck_named CHECK"
         " (char_length(username) > 1) NO INHERIT", "public.users.ck_named: definition", setup=NAMED_CHECK),
    does("a dropped check", "ALTER TABLE users DROP CONSTRAINT ck_named", "public.users.ck_named: missing",
         setup=NAMED_CHECK),
    does("a renamed constraint", "ALTER TABLE users RENAME CONSTRAINT users_tenant_id_fkey TO users_tenant_fkey",
         "public.users.users_tenant_fkey: present"),
    does("a renamed index", "ALTER INDEX idx_users_email_lower RENAME TO idx_users_mail_lower",
         "public.idx_users_email_lower: missing"),
    does("a renamed trigger", "ALTER TRIGGER update_users_updated_at ON users RENAME TO zz_updated_at",
         "public.users.update_users_updated_at: missing"),
    does("a foreign key that cascades",
         "ALTER TABLE users DROP CONSTRAINT users_tenant_id_fkey; ALTER TABLE users ADD CONSTRAINT"
         " users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE",
         "public.users.users_tenant_id_fkey: definition"),
    does("a foreign key made deferrable",
         "ALTER TABLE users ALTER CONSTRAINT users_tenant_id_fkey DEFERRABLE INITIALLY DEFERRED",
         "public.users.users_tenant_id_fkey: definition"),
    does("all triggers of users disabled", "ALTER TABLE users DISABLE TRIGGER ALL",
         "audit.users.users_user_id_fkey: triggers"),
    does("all user triggers of users disabled", "ALTER TABLE users DISABLE TRIGGER USER",
         "public.users.update_users_updated_at: enabled"),
    does("a trigger enabled as a replica only", "ALTER TABLE users ENABLE REPLICA TRIGGER update_users_updated_at",
         "public.users.update_users_updated_at: enabled"),
    does("a trigger enabled always", "ALTER TABLE users ENABLE ALWAYS TRIGGER update_users_updated_at",
         "public.users.update_users_updated_at: enabled"),
    does("a trigger with a condition",
         "DROP TRIGGER update_users_updated_at ON users; CREATE TRIGGER update_users_updated_at BEFORE UPDATE ON"
         " users FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION update_updated_at_column()",
         "public.users.update_users_updated_at: definition"),
    does("a dropped trigger", "DROP TRIGGER update_users_updated_at ON users",
         "public.users.update_users_updated_at: missing"),
    does("a rule that swallows deletes", "CREATE RULE swallow AS ON DELETE TO users DO INSTEAD NOTHING",
         "public.users.swallow: present"),
    does("a disabled rule", "ALTER TABLE users DISABLE RULE noted", "public.users.noted: enabled",
         setup="CREATE RULE noted AS ON UPDATE TO users DO ALSO NOTIFY x"),
    does("another default of an old column", "ALTER TABLE users ALTER created_at SET DEFAULT '2000-01-01'",
         "public.users.created_at: default"),
    does("a default dropped", "ALTER TABLE users ALTER created_at DROP DEFAULT", "public.users.created_at: default"),
    does("a default where there was none", "ALTER TABLE users ALTER status SET DEFAULT 'ACTIVE'",
         "public.users.status: default"),
    does("a column that takes null", "ALTER TABLE users ALTER status DROP NOT NULL", "public.users.status: not_null"),
    does("a column that takes no null any more",
         "ALTER TABLE users ALTER flag SET NOT NULL",
         "public.users.flag: not_null", setup="ALTER TABLE users ADD flag int DEFAULT 1"),
    does("a wider type", "ALTER TABLE users ALTER note TYPE varchar(99)", "public.users.note: type",
         setup="ALTER TABLE users ADD note varchar(9)"),
    does("another collation", 'ALTER TABLE users ALTER note TYPE varchar(9) COLLATE "C"',
         "public.users.note: collation", setup="ALTER TABLE users ADD note varchar(9)"),
    does("a column's statistics target", "ALTER TABLE users ALTER username SET STATISTICS 0",
         "public.users.username: statistics"),
    does("a column's storage", "ALTER TABLE users ALTER password_hash SET STORAGE EXTERNAL",
         "public.users.password_hash: storage"),
    does("a column's compression", "ALTER TABLE users ALTER password_hash SET COMPRESSION pglz",
         "public.users.password_hash: compression"),
    does("a column's option", "ALTER TABLE users ALTER tenant_id SET (n_distinct = 1)",
         "public.users.tenant_id: options"),
    does("an identity column that takes values", "ALTER TABLE alert_events ALTER id SET GENERATED BY DEFAULT",
         "public.alert_events.id: identity"),
    does("an identity column of users that takes values", "ALTER TABLE users ALTER n SET GENERATED BY DEFAULT",
         "public.users.n: identity", setup="ALTER TABLE users ADD n int GENERATED ALWAYS AS IDENTITY"),
    does("a generated column that is one no more", "ALTER TABLE users ALTER g DROP EXPRESSION",
         "public.users.g: default", setup="ALTER TABLE users ADD g text GENERATED ALWAYS AS (lower(username)) STORED"),
    does("a child more", "ALTER TABLE kid INHERIT users", "public.kid",
         at="    extend_users(email_verified, in_place=in_place)\n", setup="CREATE TABLE kid (LIKE users INCLUDING ALL)"),
    does("a child less", "ALTER TABLE archived_alert_events NO INHERIT alert_events",
         "public.archived_alert_events.id: local"),
    does("another replica identity", "ALTER TABLE users REPLICA IDENTITY FULL", "public.users: replica_identity"),
    does("replica identity by an index", "ALTER TABLE users REPLICA IDENTITY USING INDEX ix_users_username",
         "public.ix_users_username: replica_identity"),
    does("a table made unlogged", "ALTER TABLE case_logs SET UNLOGGED", "public.case_logs: persistence"),
    does("a logged table that was unlogged", "ALTER TABLE session_cache SET LOGGED",
         "public.session_cache: persistence"),
    does("a mark for CLUSTER", "ALTER TABLE users CLUSTER ON ix_users_username", "public.ix_users_username: clustered"),
    does("an option of users", "ALTER TABLE users SET (autovacuum_enabled = false)", "public.users: options"),
    does("an option of an index", "ALTER INDEX ix_users_username SET (fillfactor = 50)",
         "public.ix_users_username: definition"),
    does("an index's statistics target", "ALTER INDEX idx_users_email_lower ALTER COLUMN 1 SET STATISTICS 10",
         "public.idx_users_email_lower: statistics"),
    does("an index that is unique no more",
         "DROP INDEX ix_users_username; CREATE INDEX ix_users_username ON users (username)",
         "public.ix_users_username: definition"),
    does("an index with another predicate",
         "DROP INDEX idx_users_email_lower; CREATE INDEX idx_users_email_lower ON users (lower(email)) WHERE"
         " status <> 'ACTIVE'", "public.idx_users_email_lower: definition"),
    does("a typed table", "ALTER TABLE typed OF shape", "content of public.typed",
         setup="CREATE TYPE shape AS (a int); CREATE TABLE typed (a int)"),
    does("row security forced on the owner", "ALTER TABLE users FORCE ROW LEVEL SECURITY",
         "public.users: row security for the owner too"),
    does("row security switched on", "ALTER TABLE users ENABLE ROW LEVEL SECURITY", "public.users: row security is"),
    does("row security forced no more", "ALTER TABLE clients NO FORCE ROW LEVEL SECURITY",
         "public.clients: row security for the owner too",
         setup="ALTER TABLE clients FORCE ROW LEVEL SECURITY"),
    does("a policy's expression", "ALTER POLICY seen ON users USING (true)", "public.users.seen: using", setup=POLICY),
    does("a policy's check", "ALTER POLICY seen ON users WITH CHECK (false)", "public.users.seen: check", setup=POLICY),
    does("a policy's roles", "ALTER POLICY seen ON users TO lawsker_report", "public.users.seen: roles", setup=POLICY),
    does("a policy that restricts",
         "DROP POLICY seen ON users; CREATE POLICY seen ON users AS RESTRICTIVE USING (status = 'ACTIVE') WITH"
         " CHECK (true)", "public.users.seen: permissive", setup=POLICY),
    does("a dropped policy", "DROP POLICY tenant_isolation ON clients", "public.clients.tenant_isolation: missing"),
    does("a table of another owner", "ALTER TABLE users OWNER TO lawsker_report", "public.users.email: list of grants"),
    does("a schema of another owner", "ALTER SCHEMA audit OWNER TO lawsker_report", "audit: owner"),
    does("a sequence of another owner", "ALTER SEQUENCE invoice_number OWNER TO lawsker_report",
         "public.invoice_number: list of grants"),
    does("a view of another owner", "ALTER VIEW active_users OWNER TO lawsker_report", "active_users: list of grants"),
    does("a type of another owner", "ALTER TYPE userstatus OWNER TO lawsker_report", "public.userstatus: owner"),
    does("a view's barrier", "ALTER VIEW active_users SET (security_barrier = false)", "public.active_users: options"),
    does("a view's column default", "ALTER VIEW users_overview ALTER username SET DEFAULT 'x'",
         "public.users_overview.username: default"),
    does("a view that checks", "ALTER VIEW users_overview SET (check_option = local)",
         "public.users_overview: options"),
    does("a sequence owned by a column", "ALTER SEQUENCE invoice_number OWNED BY users.username",
         "public.invoice_number: owned_by"),
    does("a sequence owned by nobody", "ALTER SEQUENCE payment_orders_id_seq OWNED BY NONE",
         "public.payment_orders_id_seq: owned_by"),
    does("a sequence's maximum", "ALTER SEQUENCE invoice_number MAXVALUE 9999999", "public.invoice_number: max"),
    does("a sequence that ends", "ALTER SEQUENCE invoice_number NO CYCLE", "public.invoice_number: cycle"),
    does("a sequence's cache", "ALTER SEQUENCE invoice_number CACHE 100", "public.invoice_number: cache"),
    does("a sequence's start", "ALTER SEQUENCE invoice_number START 7", "public.invoice_number: start"),
    does("a partition attached",
         "ALTER TABLE system_logs ATTACH PARTITION loose FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
         "public.loose.id: local", setup="CREATE TABLE loose (LIKE system_logs INCLUDING ALL)"),
    does("a partition more",
         "CREATE TABLE system_logs_2029 PARTITION OF system_logs FOR VALUES FROM ('2029-01-01') TO ('2030-01-01')",
         "public.system_logs_2029.id: present"),
    does("a partition's trigger disabled", "ALTER TABLE system_logs_2021 DISABLE TRIGGER touch",
         "public.system_logs_2021.touch: enabled",
         setup="CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER"
         " touch AFTER INSERT ON system_logs FOR EACH ROW EXECUTE FUNCTION noop()"),
    does("an enum in another order",
         "CREATE TYPE anew AS ENUM ('Warning', 'info', 'it''s \"critical\"'); ALTER TABLE users ALTER mood DROP"
         " DEFAULT, ALTER mood TYPE anew USING mood::text::anew; DROP TYPE alert_mood; ALTER TYPE anew RENAME TO"
         " alert_mood", "public.alert_mood: labels",
         setup="CREATE TYPE alert_mood AS ENUM ('info', 'Warning', 'it''s \"critical\"'); ALTER TABLE users ADD"
         " mood alert_mood"),
    does("a renamed enum label", "ALTER TYPE userstatus RENAME VALUE 'BANNED' TO 'GONE'",
         "public.idx_users_email_lower: definition"),
    does("a new enum label in the middle", "ALTER TYPE casestatus ADD VALUE 'LOST' BEFORE 'CLOSED'",
         "public.casestatus: labels"),
)  # fmt: skip
