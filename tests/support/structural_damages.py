"""Damages to a migrated database, each alone: what somebody with psql may do at night, and the code that must name it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """One damage. `code` must be violated; `also` are other codes that may be, as a consequence."""

    name: str
    statements: tuple[str, ...]
    code: str
    also: tuple[str, ...] = ()
    lesser: bool = False  # a warning, though the code is an error's


MAKE_INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"
CREDITS_KEY = "ALTER TABLE user_credits DROP CONSTRAINT user_credits_user_id_fkey"
BLOAT = "DO $$ BEGIN FOR n IN 1 .. 60 LOOP UPDATE users SET last_login = now(); END LOOP; END $$"
GROWN_LOGS = (
    "INSERT INTO case_logs (id, case_id, action) SELECT md5(n::text)::uuid, c.id, repeat('x', 250)"
    " FROM generate_series(1, 6000) n, (SELECT id FROM cases LIMIT 1) c",
    "ALTER TABLE case_logs DROP CONSTRAINT case_logs_pkey",
)
REQUESTS = "lawyer_certification_requests"

DAMAGES = (
    Damage("two stamps", ("INSERT INTO alembic_version VALUES ('012')",), "S01", ("S24",)),
    Damage(
        "a second alembic_version on the path",
        (
            "CREATE SCHEMA aside; CREATE TABLE aside.alembic_version (version_num text)",
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, aside', current_database()); END $$",
            "SET LOCAL search_path = public, aside",
        ),
        "S01",
        lesser=True,
    ),
    Damage("a table is gone", ("DROP TABLE collection_success_stats",), "S02", ("S04", "S08", "S09", "S11", "S14", "S17")),
    Damage("a table is unlogged", ("ALTER TABLE lawyer_online_sessions SET UNLOGGED",), "S02"),
    Damage(
        "a table of that name is found first",
        ("DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I', current_user);"
         " EXECUTE format('CREATE TABLE %I.user_credits (n int)', current_user); END $$",),
        "S03",
    ),
    Damage("a column is gone", (f"ALTER TABLE {REQUESTS} DROP COLUMN law_firm",), "S04"),
    Damage("a type is wider", (f"ALTER TABLE {REQUESTS} ALTER law_firm TYPE varchar(201)",), "S05"),
    Damage("another collation", (f'ALTER TABLE {REQUESTS} ALTER law_firm TYPE varchar(200) COLLATE "C"',), "S05"),
    Damage("a column may be null", (f"ALTER TABLE {REQUESTS} ALTER lawyer_name DROP NOT NULL",), "S06"),
    Damage(
        "a column may not be null",
        (
            f"UPDATE {REQUESTS} SET law_firm = '' WHERE law_firm IS NULL",
            f"ALTER TABLE {REQUESTS} ALTER law_firm SET NOT NULL",
        ),
        "S06",
    ),
    Damage("another default", (f"ALTER TABLE {REQUESTS} ALTER status SET DEFAULT 'approved'",), "S07"),
    Damage("no default", ("ALTER TABLE user_credits ALTER created_at DROP DEFAULT",), "S07"),
    Damage(
        "a primary key is gone", ("ALTER TABLE lawyer_online_sessions DROP CONSTRAINT lawyer_online_sessions_pkey",), "S08"
    ),
    Damage("a foreign key is gone", (CREDITS_KEY,), "S09"),
    Damage(
        "a foreign key acts otherwise",
        (CREDITS_KEY, "ALTER TABLE user_credits ADD CONSTRAINT user_credits_user_id_fkey FOREIGN KEY (user_id)"
         " REFERENCES users (id) ON DELETE RESTRICT"),
        "S10",
    ),
    Damage(
        "a check is weaker",
        ("ALTER TABLE lawyer_levels DROP CONSTRAINT lawyer_levels_level_check",
         "ALTER TABLE lawyer_levels ADD CONSTRAINT lawyer_levels_level_check CHECK (level BETWEEN 1 AND 11)"),
        "S11",
    ),
    Damage(
        "a foreign key is not validated",
        (CREDITS_KEY, "ALTER TABLE user_credits ADD CONSTRAINT user_credits_user_id_fkey FOREIGN KEY (user_id)"
         " REFERENCES users (id) ON DELETE CASCADE NOT VALID"),
        "S12",
    ),
    Damage(
        "a foreign key is not enforced",
        ("DO $$ DECLARE name text; BEGIN FOR name IN SELECT tgname FROM pg_trigger WHERE tgisinternal"
         " AND tgrelid = 'user_credits'::regclass LOOP"
         " EXECUTE format('ALTER TABLE user_credits DISABLE TRIGGER %I', name); END LOOP; END $$",),
        "S12",
    ),
    Damage("a UNIQUE is gone", ("ALTER TABLE demo_accounts DROP CONSTRAINT demo_accounts_workspace_id_key",), "S13"),
    Damage("an index is gone", ("DROP INDEX idx_lawyer_online_sessions_date",), "S14"),
    Damage(
        "an index finds less",
        ("DROP INDEX idx_lawyer_online_sessions_date", "CREATE INDEX idx_lawyer_online_sessions_date"
         " ON lawyer_online_sessions (session_start) WHERE session_start > '2020-01-01'"),
        "S14",
    ),
    Damage("an index is invalid", (MAKE_INVALID.format("idx_lawyer_online_sessions_date"),), "S15"),
    Damage("two indexes alike", ("CREATE INDEX twin ON user_credits (last_reset_date)",), "S16", ("S23",)),
    Damage("a trigger is gone", ("DROP TRIGGER update_user_credits_updated_at ON user_credits",), "S17"),
    Damage("a trigger is disabled", ("ALTER TABLE user_credits DISABLE TRIGGER USER",), "S17"),
    Damage(
        "a function does something else",
        ("CREATE OR REPLACE FUNCTION lawsker_touch_updated_at() RETURNS trigger LANGUAGE plpgsql"
         " AS 'BEGIN RETURN NEW; END'",),
        "S18",
    ),
    Damage("a function has its owner's rights", ("ALTER FUNCTION lawsker_touch_updated_at() SECURITY DEFINER",), "S18"),
    Damage("users lost a default", ("ALTER TABLE users ALTER registration_source DROP DEFAULT",), "S19"),
    Damage("users lost a check", ("ALTER TABLE users DROP CONSTRAINT users_account_type_check",), "S19"),
    Damage("an index of users is gone", ("DROP INDEX idx_users_account_type",), "S19"),
    Damage("a column of users may be null", ("ALTER TABLE users ALTER workspace_id DROP NOT NULL",), "S19"),
    Damage("a sequence belongs to nobody", ("ALTER SEQUENCE lawyer_levels_id_seq OWNED BY NONE",), "S20"),
    Damage("a sequence counts otherwise", ("ALTER SEQUENCE lawyer_levels_id_seq INCREMENT BY 2",), "S20"),
    Damage("numbers come from nowhere", ("ALTER TABLE lawyer_levels ALTER id DROP DEFAULT",), "S20", ("S07",)),
    Damage("a grant is lacking", ("REVOKE SELECT ON user_credits FROM lawsker_report",), "S21"),
    Damage("everybody may read", ("GRANT SELECT ON demo_accounts TO PUBLIC",), "S21"),
    Damage("a right that nobody has on users", ("GRANT DELETE, TRUNCATE ON workspace_mappings TO lawsker_report",), "S21"),
    Damage("a role that users does not know", ("GRANT ALL ON lawyer_levels TO pg_monitor",), "S21"),
    Damage("everybody may draw numbers", ("GRANT ALL ON SEQUENCE lawyer_levels_id_seq TO PUBLIC",), "S21"),
    Damage("everybody may write a new column of users", ("GRANT UPDATE (workspace_id) ON users TO PUBLIC",), "S21"),
    Damage("another owner", ("ALTER TABLE lawyer_levels OWNER TO lawsker_report",), "S21"),
    Damage("row security", ("ALTER TABLE user_credits ENABLE ROW LEVEL SECURITY",), "S21"),
    Damage("an older index is gone", ("DROP INDEX ix_cases_case_number",), "S22"),
    Damage("an older view is another", ("ALTER TABLE cases ALTER notes SET DEFAULT 'x'",), "S22"),
    Damage("an older policy is gone", ("DROP POLICY tenant_isolation ON clients",), "S22"),
    Damage("an older trigger is disabled", ("ALTER TABLE users DISABLE TRIGGER update_users_updated_at",), "S22"),
    Damage("an older grant is gone", ("REVOKE SELECT ON wallets FROM lawsker_report",), "S22"),
    Damage("a scratch schema is left", ("CREATE SCHEMA lawsker_scratch_0a1b2c3d",), "S23"),
    Damage("a column that nobody promised", ("ALTER TABLE user_credits ADD COLUMN note text",), "S23", ("P02",)),
    Damage("a grant on a system column is left", ("GRANT SELECT (ctid) ON user_credits TO PUBLIC",), "S23"),
    Damage(
        "an invalid index is left",
        ("CREATE INDEX left_ccnew ON case_logs (action)", MAKE_INVALID.format("left_ccnew")),
        "S23",
    ),
    Damage("no statistics are kept", ("ALTER TABLE workspace_mappings ALTER workspace_id SET STATISTICS 0",), "S23"),
    Damage("a column is stored otherwise", (f"ALTER TABLE {REQUESTS} ALTER law_firm SET STORAGE EXTERNAL",), "S23"),
    Damage("no autovacuum of TOAST", ("ALTER TABLE lawyer_levels SET (toast.autovacuum_enabled = false)",), "S23"),
    Damage("triggers that the server does not look for",
           ("UPDATE pg_class SET relhastriggers = false WHERE oid = 'user_credits'::regclass",), "S23"),
    Damage("a rule that nobody promised", ("CREATE RULE silent AS ON DELETE TO lawyer_levels DO INSTEAD NOTHING",), "S23"),
    Damage("models differ", (f"ALTER TABLE {REQUESTS} ALTER law_firm TYPE text",), "S24", ("S05",)),
    Damage("the history was edited", ("UPDATE lawsker_db.migration_run SET via = 'nobody'",), "D22"),
    Damage("the planner cannot use an index", (MAKE_INVALID.format("idx_user_credits_reset_date"),), "P01", ("S15",)),
    Damage("statistics are gone", ("DELETE FROM pg_statistic WHERE starelid = 'workspace_mappings'::regclass",), "P02"),
)  # fmt: skip

# Changes that harm nothing: but for `also`, nothing may be found.
HARMLESS = (
    Damage("the rights that users gives", ("GRANT SELECT ON SEQUENCE lawyer_levels_id_seq TO lawsker_report",
           "GRANT SELECT (workspace_id) ON users TO lawsker_report"), "S21"),
    Damage("a right by default", ("ALTER DEFAULT PRIVILEGES GRANT SELECT, DELETE ON TABLES TO lawsker_report",
           "GRANT DELETE ON workspace_mappings TO lawsker_report"), "S21"),
    Damage(
        "an index that does more",
        (
            "DROP INDEX idx_lawyer_online_sessions_date",
            "CREATE INDEX other ON lawyer_online_sessions (session_start, lawyer_id)",
        ),
        "S14",
        ("S24",),  # models go by names
    ),
    Damage("comments", ("COMMENT ON TABLE user_credits IS 'x'; COMMENT ON COLUMN users.account_type IS 'y'",), "S19"),
    Damage("a table of others", ("CREATE TABLE elsewhere (n int PRIMARY KEY, u uuid REFERENCES users (id))",), "S22"),
    Damage("a column that others add to an older table", ("ALTER TABLE cases ADD COLUMN colour text",), "S22"),
    Damage("an index that others add to an older table", ("CREATE INDEX theirs ON users (created_at)",), "S16"),
)  # fmt: skip
