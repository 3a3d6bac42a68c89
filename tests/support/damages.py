"""Damages to a migrated and populated database, each with the code that verification must find it under.

Every damage is a few statements for one transaction, and can be rolled back whole (so no setval, which cannot).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """What was done, by which statements, and under which code it must be found."""

    name: str
    statements: tuple[str, ...]
    code: str


def damage(code: str, name: str, *statements: str) -> Damage:
    return Damage(name=name, statements=statements, code=code)


def quietly(code: str, name: str, table: str, *statements: str) -> Damage:
    """A damage behind the back of the table's triggers: no stamp moves."""
    return damage(
        code, name, f"ALTER TABLE {table} DISABLE TRIGGER USER", *statements, f"ALTER TABLE {table} ENABLE TRIGGER USER"
    )


def unseen(code: str, name: str, *statements: str) -> Damage:
    """A damage that foreign keys and triggers do not see."""
    silent, loud = "SET LOCAL session_replication_role = replica", "SET LOCAL session_replication_role = origin"
    return damage(code, name, silent, *statements, loud)


# One row that nobody has written since the run.
OLD_MAPPING = (
    "(SELECT min(user_id::text)::uuid FROM workspace_mappings WHERE workspace_type = 'user' AND created_at = {at})"
)
AT = "(SELECT min(created_at) FROM workspace_mappings)"
USER = OLD_MAPPING.format(at=AT)
OTHER_USER = USER.replace("min(user_id", "max(user_id")
DETAILS = f"(SELECT min(lawyer_id::text)::uuid FROM lawyer_level_details WHERE updated_at = {AT})"
CREDITS = f"(SELECT min(user_id::text)::uuid FROM user_credits WHERE updated_at = {AT})"
NOBODY = "'00000000-0000-0000-0000-00000000dead'"

CONTENT = (
    damage("D02", "sequence set back", "ALTER SEQUENCE lawyer_levels_id_seq RESTART WITH 3"),
    damage("D02", "sequence of an older table set back", "ALTER SEQUENCE payment_orders_id_seq RESTART WITH 1"),
    damage("D02", "sequence of a partitioned table set back", "ALTER SEQUENCE system_logs_id_seq RESTART WITH 2000"),
    damage("D03", "level with another name", "UPDATE lawyer_levels SET name = 'x' WHERE level = 4"),
    damage("D03", "level with another limit", "UPDATE lawyer_levels SET daily_case_limit = 9 WHERE level = 4"),
    quietly("D04", "package with another fee", "enterprise_service_packages",
            "UPDATE enterprise_service_packages SET monthly_fee = 9998 WHERE package_type = 'basic'"),
    damage("D04", "package gone", "DELETE FROM enterprise_service_packages WHERE package_type = 'custom'"),
    damage("D05", "demonstration gone", "DELETE FROM demo_accounts WHERE demo_type = 'user'"),
    damage("D05", "demonstration put out of use", "UPDATE demo_accounts SET is_active = false"),
    damage("D06", "user without a workspace_id", "ALTER TABLE users ALTER workspace_id DROP NOT NULL",
           f"UPDATE users SET workspace_id = NULL WHERE id = {USER}"),
    damage("D07", "workspace_id of another form", "ALTER TABLE users DROP CONSTRAINT ck_users_workspace_id_format",
           f"UPDATE users SET workspace_id = 'Not so!' WHERE id = {USER}",
           f"UPDATE workspace_mappings SET workspace_id = 'Not so!' WHERE user_id = {USER}"),
    damage("D08", "workspace_id of two users", "ALTER TABLE users DROP CONSTRAINT users_workspace_id_key",
           f"UPDATE users SET workspace_id = (SELECT workspace_id FROM users WHERE id = {OTHER_USER}) WHERE id = {USER}"),
    damage("D08", "workspace_id of two mappings",
           "ALTER TABLE workspace_mappings DROP CONSTRAINT workspace_mappings_workspace_id_key",
           "UPDATE workspace_mappings SET workspace_id = 'ws-0123456789ab' WHERE workspace_type = 'admin'"),
    damage("D09", "workspace_id of the mapping differs",
           f"UPDATE workspace_mappings SET workspace_id = 'ws-0123456789ab' WHERE user_id = {USER}"),
    damage("D10", "mapping gone", f"DELETE FROM workspace_mappings WHERE user_id = {USER}"),
    unseen("D10", "mapping of nobody", f"UPDATE workspace_mappings SET user_id = {NOBODY} WHERE user_id = {USER}"),
    damage("D10", "mapping twice", "ALTER TABLE workspace_mappings DROP CONSTRAINT workspace_mappings_pkey",
           "INSERT INTO workspace_mappings SELECT user_id, 'ws-0123456789ab', workspace_type, is_demo, created_at"
           f" FROM workspace_mappings WHERE user_id = {USER}"),
    damage("D11", "mapping of another type",
           f"UPDATE workspace_mappings SET workspace_type = 'admin' WHERE user_id = {USER}"),
    damage("D11", "mapping made a demonstration", f"UPDATE workspace_mappings SET is_demo = true WHERE user_id = {USER}"),
    damage("D12", "level details gone", f"DELETE FROM lawyer_level_details WHERE lawyer_id = {DETAILS}"),
    damage("D12", "level details of no lawyer", "INSERT INTO lawyer_level_details (lawyer_id, created_at, updated_at)"
           f" SELECT user_id, created_at, created_at FROM workspace_mappings WHERE user_id = {USER}"),
    quietly("D12", "points out of nowhere", "lawyer_level_details",
            f"UPDATE lawyer_level_details SET level_points = 99 WHERE lawyer_id = {DETAILS}"),
    quietly("D12", "another level", "lawyer_level_details",
            f"UPDATE lawyer_level_details SET current_level = 2 WHERE lawyer_id = {DETAILS}"),
    quietly("D13", "one case more", "lawyer_level_details",
            f"UPDATE lawyer_level_details SET cases_completed = cases_completed + 1 WHERE lawyer_id = {DETAILS}"),
    quietly("D13", "another success rate", "lawyer_level_details",
            f"UPDATE lawyer_level_details SET success_rate = 100 - success_rate / 2 WHERE lawyer_id = {DETAILS}"),
    damage("D14", "credits gone", f"DELETE FROM user_credits WHERE user_id = {CREDITS}"),
    quietly("D14", "credits out of nowhere", "user_credits",
            f"UPDATE user_credits SET credits_remaining = 50 WHERE user_id = {CREDITS}"),
    quietly("D15", "another account type", "users", "UPDATE users SET account_type = 'admin' WHERE id ="
            f" (SELECT min(id::text)::uuid FROM users WHERE account_type = 'user' AND updated_at < {AT})"),
    unseen("D16", "orphan in a new table", f"UPDATE lawyer_online_sessions SET lawyer_id = {NOBODY}"),
    unseen("D16", "orphan in an older table",
           f"UPDATE case_logs SET case_id = {NOBODY} WHERE id = (SELECT min(id::text)::uuid FROM case_logs)"),
    unseen("D16", "orphan in another schema", f"UPDATE audit.users SET user_id = {NOBODY}"),
    damage("D17", "NULL where none may be", "ALTER TABLE lawyer_case_declines ALTER points_penalty DROP NOT NULL",
           "UPDATE lawyer_case_declines SET points_penalty = NULL"),
    damage("D18", "user without a role", f"DELETE FROM user_roles WHERE user_id = {USER}"),
    damage("D19", "role spelt twice", f"INSERT INTO roles (id, name) VALUES ({NOBODY}, 'LAWYER')"),
    damage("D20", "features that are no texts", "UPDATE enterprise_service_packages SET features = '[\"a\", [\"b\"]]'"),
    damage("D20", "benefits that are no object", "UPDATE user_memberships SET benefits = '[]'"),
    damage("D20", "practice areas that are no array", "UPDATE lawyer_certification_requests SET practice_areas = '{}'"),
    damage("D20", "points in words",
           "UPDATE lawyer_levels SET requirements = requirements || '{\"level_points\": \"many\"}' WHERE level = 10"),
    quietly("D21", "user from elsewhere", "users", f"UPDATE users SET registration_source = 'app' WHERE id = {USER}"),
    quietly("D21", "verified and not active", "users", "UPDATE users SET email_verified = true WHERE status <> 'ACTIVE'"),
    damage("B01", "threshold below the one before",
           "UPDATE lawyer_levels SET requirements = requirements || '{\"level_points\": 1}' WHERE level = 5"),
    damage("B01", "level gone", "DELETE FROM lawyer_levels WHERE level = 10"),
    damage("B10", "points that do not add up",
           "ALTER TABLE lawyer_point_transactions DROP CONSTRAINT ck_lawyer_point_transactions_balance",
           "UPDATE lawyer_point_transactions SET points_after = points_after + 1"),
    damage("B11", "credits below 0", "ALTER TABLE user_credits DROP CONSTRAINT ck_user_credits_balances",
           f"UPDATE user_credits SET credits_remaining = -1 WHERE user_id = {CREDITS}"),
    damage("B12", "two active suspensions", "DROP INDEX uq_lawyer_assignment_suspensions_active",
           "INSERT INTO lawyer_assignment_suspensions (lawyer_id, suspension_reason, decline_count, suspended_at)"
           " SELECT lawyer_id, 'again', 3, now() FROM lawyer_assignment_suspensions WHERE is_active"),
    damage("B13", "membership that ends before it starts",
           "ALTER TABLE user_memberships DROP CONSTRAINT ck_user_memberships_period",
           "UPDATE user_memberships SET end_date = start_date - 1"),
    damage("B14", "dearer package that is cheaper",
           "UPDATE enterprise_service_packages SET monthly_fee = 100 WHERE package_type = 'professional'"),
)  # fmt: skip

TOUCH = "CREATE OR REPLACE FUNCTION lawsker_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS "


def other_key(code: str, name: str, table: str, column: str, refers: str, action: str) -> Damage:
    """A foreign key made again with another action."""
    key = f"{table}_{column}_fkey"
    again = f"ADD CONSTRAINT {key} FOREIGN KEY ({column}) REFERENCES {refers} {action}"
    return damage(code, name, f"ALTER TABLE {table} DROP CONSTRAINT {key}", f"ALTER TABLE {table} {again}")


BEHAVIOUR = (
    damage("B02", "level check gone", "ALTER TABLE lawyer_levels DROP CONSTRAINT lawyer_levels_level_check"),
    damage("B03", "level key gone", "ALTER TABLE lawyer_levels DROP CONSTRAINT lawyer_levels_level_key CASCADE"),
    damage("B04", "check made stricter",
           "ALTER TABLE lawyer_assignment_suspensions DROP CONSTRAINT ck_lawyer_assignment_suspensions_decline_count",
           "ALTER TABLE lawyer_assignment_suspensions ADD CONSTRAINT ck_lawyer_assignment_suspensions_decline_count"
           " CHECK (decline_count >= 2)"),
    damage("B04", "status taken out of a check", "ALTER TABLE users DROP CONSTRAINT users_account_type_check",
           "ALTER TABLE users ADD CONSTRAINT users_account_type_check"
           " CHECK (account_type IN ('pending', 'user', 'lawyer', 'admin'))"),
    damage("B05", "check gone",
           "ALTER TABLE enterprise_clients DROP CONSTRAINT ck_enterprise_clients_priority_level"),
    damage("B05", "check weakened in one part", "ALTER TABLE user_credits DROP CONSTRAINT ck_user_credits_balances",
           "ALTER TABLE user_credits ADD CONSTRAINT ck_user_credits_balances"
           " CHECK (credits_weekly >= 0 AND credits_remaining >= 0 AND credits_purchased >= 0)"),
    damage("B05", "check of users gone", "ALTER TABLE users DROP CONSTRAINT ck_users_workspace_id_format"),
    damage("B06", "unique index gone", "DROP INDEX uq_lawyer_certification_requests_open"),
    damage("B06", "unique index of another width", "DROP INDEX uq_collection_success_stats_client_period",
           "CREATE UNIQUE INDEX uq_collection_success_stats_client_period ON collection_success_stats"
           " (client_id, period_start, period_end, id)"),
    damage("B06", "primary key gone", "ALTER TABLE lawyer_online_sessions DROP CONSTRAINT lawyer_online_sessions_pkey"),
    damage("B06", "primary key of the levels gone", "ALTER TABLE lawyer_levels DROP CONSTRAINT lawyer_levels_pkey"),
    damage("B07", "trigger function that does nothing", TOUCH + "'BEGIN RETURN NEW; END'"),
    damage("B07", "trigger disabled",
           "ALTER TABLE user_credits DISABLE TRIGGER update_user_credits_updated_at"),
    damage("B07", "trigger gone", "DROP TRIGGER update_enterprise_clients_updated_at ON enterprise_clients"),
    damage("B08", "trigger function that moves created_at",
           TOUCH + "'BEGIN NEW.updated_at := now(); NEW.created_at := now(); RETURN NEW; END'"),
    other_key("B09", "RESTRICT made CASCADE", "credit_purchase_records", "user_id", "users", "ON DELETE CASCADE"),
    other_key("B09", "CASCADE made NO ACTION", "lawyer_case_declines", "case_id", "cases", ""),
    other_key("B09", "SET NULL made CASCADE", "enterprise_clients", "assigned_account_manager", "users",
              "ON DELETE CASCADE"),
    other_key("B09", "NO ACTION made deferred", "lawyer_level_details", "current_level", "lawyer_levels (level)",
              "DEFERRABLE INITIALLY DEFERRED"),
    damage("B09", "foreign key gone",
           "ALTER TABLE workspace_mappings DROP CONSTRAINT workspace_mappings_user_id_fkey"),
    damage("B11", "purchase of nothing allowed",
           "ALTER TABLE credit_purchase_records DROP CONSTRAINT ck_credit_purchase_records_credits_count"),
    damage("B12", "lifted suspension may be active",
           "ALTER TABLE lawyer_assignment_suspensions DROP CONSTRAINT ck_lawyer_assignment_suspensions_lifted_is_inactive"),
    damage("B13", "session that ends before it starts allowed",
           "ALTER TABLE lawyer_online_sessions DROP CONSTRAINT ck_lawyer_online_sessions_period"),
    damage("B15", "default of workspace_id gone", "ALTER TABLE users ALTER workspace_id DROP DEFAULT"),
    damage("B15", "check that old inserts break", "ALTER TABLE cases ADD CHECK (notes IS NOT NULL) NOT VALID"),
    damage("B15", "default that its check refuses", "ALTER TABLE users ALTER account_type SET DEFAULT 'guest'"),
)  # fmt: skip

DAMAGES = CONTENT + BEHAVIOUR
