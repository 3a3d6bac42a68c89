"""Rows of the new tables that are not as promised, and revisions that end or spoil the transaction themselves."""

from __future__ import annotations

from variants import RAW, put_in, replaced, sql

from lawsker_db.errors import Refused, RevisionFailed, RolledBack

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
