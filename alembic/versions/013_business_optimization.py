"""Business optimization: lawyer levels, workspaces, memberships, credits, penalties and enterprise clients.

17 new tables, 4 new columns on users, seed rows, and rows for the users that exist. The tables are built
and filled while everyone works on; only then users is locked, and what came or changed meanwhile is settled
behind the lock.

With the option email_verified=active (`alembic -x email_verified=active upgrade head`, or `lawsker-db
safe-upgrade --option email_verified=active`) users whose status is ACTIVE count as verified; without it
nobody does. A downgrade cannot tell such a value from one that the application wrote, and treats it as the
latter.

The new columns of users are filled by an UPDATE, which every older snapshot survives; the table is twice as large
until its space is used again. With the option users=rewrite one rewrite fills them, which locks users for little more
than half as long: to a REPEATABLE READ transaction that waits for our lock a rewritten table is empty. Where an UPDATE
would fail or do something else (a rule, a replica identity of nothing, constraints that are not valid) it is
rewritten in any case, unless users=update is chosen.

Revision ID: 013
Revises: 012
"""

import sqlalchemy as sa
from alembic import context, op
from alembic.util import CommandError
from sqlalchemy.dialects.postgresql import JSONB

from lawsker_db import ops
from lawsker_db.contract import (
    Check,
    Column,
    Contract,
    Extension,
    Figure,
    ForeignKey,
    Function,
    Index,
    Invariant,
    Loss,
    Required,
    Sample,
    Table,
    Trial,
    Trigger,
    Twin,
    Unique,
    row,
    rows,
)

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    email_verified = email_verified_expression()
    way = chosen_way()

    # Nothing up to the lock takes more than ACCESS SHARE on a table that stood before.
    create_touch_function()
    create_lawyer_levels()
    create_lawyer_certification_requests()
    create_workspace_mappings()
    create_demo_accounts()
    create_lawyer_level_details()
    create_lawyer_point_transactions()
    create_lawyer_online_sessions()
    create_user_memberships()
    create_lawyer_memberships()
    create_user_credits()
    create_credit_purchase_records()
    create_lawyer_case_declines()
    create_lawyer_assignment_suspensions()
    create_enterprise_clients()
    create_enterprise_service_packages()
    create_enterprise_subscriptions()
    create_collection_success_stats()

    seed_lawyer_levels()
    seed_demo_accounts()
    seed_enterprise_service_packages()

    create_wanted()
    gather_wanted()
    fill_workspace_mappings()
    fill_lawyer_level_details()
    fill_user_credits()
    analyze_filled_tables()
    in_place = way == "update" if way else may_update()

    lock_old_tables(rewrites=() if in_place else ("users",))

    gather_wanted()
    settle_workspace_mappings()
    settle_lawyer_level_details()
    settle_user_credits()
    extend_users(email_verified, in_place=in_place)
    drop_wanted()
    refer_from_levels()
    ops.check_group(contract, "levels")
    refer_from_auth()
    ops.check_group(contract, "auth")
    refer_from_membership()
    ops.check_group(contract, "membership")
    refer_from_credits()
    ops.check_group(contract, "credits")
    refer_from_penalty()
    ops.check_group(contract, "penalty")
    refer_from_enterprise()
    ops.check_group(contract, "enterprise")
    ops.check_group(contract, "users")


def downgrade() -> None:
    lock_all_tables()
    ops.drop_table("collection_success_stats")
    ops.drop_table("enterprise_subscriptions")
    ops.drop_table("enterprise_service_packages")
    ops.drop_table("enterprise_clients")
    ops.drop_table("lawyer_assignment_suspensions")
    ops.drop_table("lawyer_case_declines")
    ops.drop_table("credit_purchase_records")
    ops.drop_table("user_credits")
    ops.drop_table("lawyer_memberships")
    ops.drop_table("user_memberships")
    ops.drop_table("lawyer_online_sessions")
    ops.drop_table("lawyer_point_transactions")
    ops.drop_table("lawyer_level_details")
    ops.drop_table("demo_accounts")
    ops.drop_table("workspace_mappings")
    ops.drop_table("lawyer_certification_requests")
    ops.drop_table("lawyer_levels")
    ops.drop_columns("users", ("workspace_id", "account_type", "email_verified", "registration_source"))
    op.execute("DROP FUNCTION lawsker_touch_updated_at()")


# The tables. Foreign keys to users and cases come behind the lock. The three tables that get rows for users
# that exist are loaded as bare heaps; their keys and indexes come after the load.


def create_touch_function() -> None:
    # The name is our own: live databases have an update_updated_at_column() that other triggers use.
    op.execute(
        "CREATE FUNCTION lawsker_touch_updated_at() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN NEW.updated_at := pg_catalog.now(); RETURN NEW; END'"
    )


def touch_updated_at_of(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER update_{table}_updated_at BEFORE UPDATE ON {table}"
        " FOR EACH ROW EXECUTE FUNCTION lawsker_touch_updated_at()"
    )


def create_lawyer_levels() -> None:
    op.create_table(
        "lawyer_levels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("requirements", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("benefits", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("daily_case_limit", sa.Integer(), nullable=False, server_default=sa.text("5")),
        sa.Column("monthly_amount_limit", sa.Numeric(15, 2), nullable=False, server_default=sa.text("50000")),
        sa.Column("priority_weight", sa.Numeric(3, 2), nullable=False, server_default=sa.text("1.0")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_levels_pkey"),
        sa.UniqueConstraint("level", name="lawyer_levels_level_key"),
        sa.CheckConstraint("level BETWEEN 1 AND 10", name="lawyer_levels_level_check"),
        sa.CheckConstraint("daily_case_limit >= 1", name="ck_lawyer_levels_daily_case_limit"),
        sa.CheckConstraint("monthly_amount_limit >= 0", name="ck_lawyer_levels_monthly_amount_limit"),
        sa.CheckConstraint("priority_weight > 0", name="ck_lawyer_levels_priority_weight"),
        sa.CheckConstraint(
            "requirements ? 'level_points' AND requirements ? 'cases_completed'",
            name="ck_lawyer_levels_requirements",
        ),
    )


def create_lawyer_certification_requests() -> None:
    op.create_table(
        "lawyer_certification_requests",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("certificate_file_path", sa.String(500), nullable=False),
        sa.Column("certificate_file_name", sa.String(255), nullable=False),
        sa.Column("lawyer_name", sa.String(100), nullable=False),
        sa.Column("license_number", sa.String(50), nullable=False),
        sa.Column("law_firm", sa.String(200), nullable=True),
        sa.Column("practice_areas", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("years_of_experience", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("education_background", sa.Text(), nullable=True),
        sa.Column("specialization_certificates", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("status", sa.String(20), nullable=False, server_default=sa.text("'pending'::character varying")),
        sa.Column("admin_review_notes", sa.Text(), nullable=True),
        sa.Column("reviewed_by", sa.Uuid(), nullable=True),
        sa.Column("reviewed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("submitted_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_certification_requests_pkey"),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'under_review')",
            name="lawyer_certification_requests_status_check",
        ),
        sa.CheckConstraint("years_of_experience >= 0", name="ck_lawyer_certification_requests_years_of_experience"),
        sa.CheckConstraint(
            "status NOT IN ('approved', 'rejected') OR reviewed_at IS NOT NULL",
            name="ck_lawyer_certification_requests_reviewed_when_decided",
        ),
        sa.CheckConstraint(
            "reviewed_at IS NULL OR reviewed_at >= submitted_at",
            name="ck_lawyer_certification_requests_review_after_submission",
        ),
    )
    op.create_index("idx_lawyer_certification_requests_status", "lawyer_certification_requests", ["status"])
    op.create_index("idx_lawyer_certification_requests_user_id", "lawyer_certification_requests", ["user_id"])
    op.create_index("idx_lawyer_certification_requests_reviewed_by", "lawyer_certification_requests", ["reviewed_by"])
    op.create_index(
        "uq_lawyer_certification_requests_open",
        "lawyer_certification_requests",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending', 'under_review')"),
    )
    touch_updated_at_of("lawyer_certification_requests")


def create_workspace_mappings() -> None:
    op.create_table(
        "workspace_mappings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.String(50), nullable=False),
        sa.Column("workspace_type", sa.String(20), nullable=False),
        sa.Column("is_demo", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint(
            "workspace_type IN ('user', 'lawyer', 'admin')", name="workspace_mappings_workspace_type_check"
        ),
    )


def create_demo_accounts() -> None:
    op.create_table(
        "demo_accounts",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("demo_type", sa.String(20), nullable=False),
        sa.Column("workspace_id", sa.String(50), nullable=False),
        sa.Column("display_name", sa.String(100), nullable=False),
        sa.Column("demo_data", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="demo_accounts_pkey"),
        sa.UniqueConstraint("workspace_id", name="demo_accounts_workspace_id_key"),
        sa.CheckConstraint("demo_type IN ('lawyer', 'user')", name="demo_accounts_demo_type_check"),
        sa.CheckConstraint("jsonb_typeof(demo_data) = 'object'", name="ck_demo_accounts_demo_data"),
    )
    op.create_index("idx_demo_accounts_demo_type", "demo_accounts", ["demo_type"])


def create_lawyer_level_details() -> None:
    op.create_table(
        "lawyer_level_details",
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("current_level", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("level_points", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("experience_points", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_completed", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_won", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_failed", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("success_rate", sa.Numeric(5, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("client_rating", sa.Numeric(3, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("total_revenue", sa.Numeric(15, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("total_online_hours", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("total_cases_amount", sa.Numeric(18, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("total_ai_credits_used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("total_paid_amount", sa.Numeric(15, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("response_time_avg", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("case_completion_speed", sa.Numeric(5, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("quality_score", sa.Numeric(5, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("upgrade_eligible", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("downgrade_risk", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("next_review_date", sa.Date(), nullable=True),
        sa.Column("last_upgrade_date", sa.Date(), nullable=True),
        sa.Column("last_downgrade_date", sa.Date(), nullable=True),
        sa.Column("level_change_history", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint("experience_points >= 0", name="ck_lawyer_level_details_experience_points"),
        sa.CheckConstraint(
            "cases_completed >= 0 AND cases_won >= 0 AND cases_failed >= 0",
            name="ck_lawyer_level_details_case_counts",
        ),
        sa.CheckConstraint("success_rate BETWEEN 0 AND 100", name="ck_lawyer_level_details_success_rate"),
        sa.CheckConstraint("client_rating BETWEEN 0 AND 5", name="ck_lawyer_level_details_client_rating"),
        sa.CheckConstraint(
            "total_online_hours >= 0 AND total_ai_credits_used >= 0"
            " AND total_paid_amount >= 0 AND total_revenue >= 0 AND total_cases_amount >= 0",
            name="ck_lawyer_level_details_totals",
        ),
        sa.CheckConstraint(
            "jsonb_typeof(level_change_history) = 'array'",
            name="ck_lawyer_level_details_level_change_history",
        ),
    )


def create_lawyer_point_transactions() -> None:
    op.create_table(
        "lawyer_point_transactions",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_type", sa.String(50), nullable=False),
        sa.Column("points_change", sa.BigInteger(), nullable=False),
        sa.Column("points_before", sa.BigInteger(), nullable=False),
        sa.Column("points_after", sa.BigInteger(), nullable=False),
        sa.Column("related_case_id", sa.Uuid(), nullable=True),
        sa.Column("related_review_id", sa.Uuid(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_point_transactions_pkey"),
        sa.CheckConstraint("points_after = points_before + points_change", name="ck_lawyer_point_transactions_balance"),
    )
    op.create_index("idx_lawyer_point_transactions_created_at", "lawyer_point_transactions", ["created_at"])
    op.create_index("idx_lawyer_point_transactions_lawyer_id", "lawyer_point_transactions", ["lawyer_id"])
    op.create_index("idx_lawyer_point_transactions_type", "lawyer_point_transactions", ["transaction_type"])
    op.create_index("idx_lawyer_point_transactions_related_case_id", "lawyer_point_transactions", ["related_case_id"])


def create_lawyer_online_sessions() -> None:
    op.create_table(
        "lawyer_online_sessions",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("session_start", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("session_end", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("duration_minutes", sa.Integer(), nullable=True),
        sa.Column("points_earned", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_online_sessions_pkey"),
        sa.CheckConstraint(
            "session_end IS NULL OR session_end >= session_start", name="ck_lawyer_online_sessions_period"
        ),
        sa.CheckConstraint(
            "duration_minutes IS NULL OR duration_minutes >= 0", name="ck_lawyer_online_sessions_duration"
        ),
    )
    op.create_index("idx_lawyer_online_sessions_date", "lawyer_online_sessions", ["session_start"])
    op.create_index("idx_lawyer_online_sessions_lawyer_id", "lawyer_online_sessions", ["lawyer_id"])


def create_user_memberships() -> None:
    op.create_table(
        "user_memberships",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("membership_type", sa.String(50), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("benefits", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("credits_monthly", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("credits_remaining", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("credits_used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("auto_renewal", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("payment_amount", sa.Numeric(10, 2), nullable=False, server_default=sa.text("0")),
        sa.Column(
            "payment_status",
            sa.String(20),
            nullable=False,
            server_default=sa.text("'pending'::character varying"),
        ),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="user_memberships_pkey"),
        sa.CheckConstraint(
            "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
            name="user_memberships_membership_type_check",
        ),
        sa.CheckConstraint(
            "payment_status IN ('pending', 'paid', 'expired', 'cancelled')",
            name="user_memberships_payment_status_check",
        ),
        sa.CheckConstraint("end_date >= start_date", name="ck_user_memberships_period"),
        sa.CheckConstraint(
            "credits_monthly >= 0 AND credits_remaining >= 0 AND credits_used >= 0",
            name="ck_user_memberships_credits",
        ),
        sa.CheckConstraint("payment_amount >= 0", name="ck_user_memberships_payment_amount"),
    )
    op.create_index("idx_user_memberships_type_status", "user_memberships", ["membership_type", "payment_status"])
    op.create_index("idx_user_memberships_user_id", "user_memberships", ["user_id"])
    touch_updated_at_of("user_memberships")


def create_lawyer_memberships() -> None:
    op.create_table(
        "lawyer_memberships",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("membership_type", sa.String(50), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("benefits", JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
        sa.Column("daily_case_limit", sa.Integer(), nullable=False, server_default=sa.text("5")),
        sa.Column("monthly_amount_limit", sa.Numeric(15, 2), nullable=False, server_default=sa.text("50000")),
        sa.Column("ai_credits_monthly", sa.Integer(), nullable=False, server_default=sa.text("50")),
        sa.Column("ai_credits_remaining", sa.Integer(), nullable=False, server_default=sa.text("50")),
        sa.Column("ai_credits_used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("auto_renewal", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("payment_amount", sa.Numeric(10, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_memberships_pkey"),
        sa.CheckConstraint(
            "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
            name="lawyer_memberships_membership_type_check",
        ),
        sa.CheckConstraint("end_date >= start_date", name="ck_lawyer_memberships_period"),
        sa.CheckConstraint(
            "ai_credits_monthly >= 0 AND ai_credits_remaining >= 0 AND ai_credits_used >= 0",
            name="ck_lawyer_memberships_ai_credits",
        ),
        sa.CheckConstraint("daily_case_limit >= -1", name="ck_lawyer_memberships_daily_case_limit"),
        sa.CheckConstraint("monthly_amount_limit >= 0", name="ck_lawyer_memberships_monthly_amount_limit"),
        sa.CheckConstraint("payment_amount >= 0", name="ck_lawyer_memberships_payment_amount"),
    )
    op.create_index("idx_lawyer_memberships_lawyer_id", "lawyer_memberships", ["lawyer_id"])
    touch_updated_at_of("lawyer_memberships")


def create_user_credits() -> None:
    op.create_table(
        "user_credits",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credits_weekly", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("credits_remaining", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("credits_purchased", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("total_credits_used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("last_reset_date", sa.Date(), nullable=False, server_default=sa.text("CURRENT_DATE")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint(
            "credits_weekly >= 0 AND credits_remaining >= 0 AND credits_purchased >= 0 AND total_credits_used >= 0",
            name="ck_user_credits_balances",
        ),
    )


def create_credit_purchase_records() -> None:
    op.create_table(
        "credit_purchase_records",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("credits_count", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(10, 2), nullable=False, server_default=sa.text("50.00")),
        sa.Column("total_amount", sa.Numeric(10, 2), nullable=False),
        sa.Column("payment_order_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.String(20), nullable=False, server_default=sa.text("'pending'::character varying")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="credit_purchase_records_pkey"),
        sa.CheckConstraint(
            "status IN ('pending', 'paid', 'failed', 'refunded')", name="credit_purchase_records_status_check"
        ),
        sa.CheckConstraint("credits_count > 0", name="ck_credit_purchase_records_credits_count"),
        sa.CheckConstraint("unit_price >= 0 AND total_amount >= 0", name="ck_credit_purchase_records_amounts"),
    )
    op.create_index("idx_credit_purchase_records_status", "credit_purchase_records", ["status"])
    op.create_index("idx_credit_purchase_records_user_id", "credit_purchase_records", ["user_id"])


def create_lawyer_case_declines() -> None:
    op.create_table(
        "lawyer_case_declines",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("decline_reason", sa.Text(), nullable=True),
        sa.Column("points_penalty", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("priority_impact", sa.Numeric(3, 2), nullable=False, server_default=sa.text("'-0.1'::numeric")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_case_declines_pkey"),
    )
    op.create_index("idx_lawyer_case_declines_case_id", "lawyer_case_declines", ["case_id"])
    op.create_index("idx_lawyer_case_declines_created_at", "lawyer_case_declines", ["created_at"])
    op.create_index("idx_lawyer_case_declines_lawyer_id", "lawyer_case_declines", ["lawyer_id"])


def create_lawyer_assignment_suspensions() -> None:
    op.create_table(
        "lawyer_assignment_suspensions",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("lawyer_id", sa.Uuid(), nullable=False),
        sa.Column("suspension_reason", sa.String(100), nullable=False),
        sa.Column("decline_count", sa.Integer(), nullable=False),
        sa.Column("suspended_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("suspension_duration_hours", sa.Integer(), nullable=False, server_default=sa.text("24")),
        sa.Column("lifted_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="lawyer_assignment_suspensions_pkey"),
        sa.CheckConstraint("decline_count >= 1", name="ck_lawyer_assignment_suspensions_decline_count"),
        sa.CheckConstraint("suspension_duration_hours > 0", name="ck_lawyer_assignment_suspensions_duration"),
        sa.CheckConstraint(
            "lifted_at IS NULL OR lifted_at >= suspended_at", name="ck_lawyer_assignment_suspensions_period"
        ),
        sa.CheckConstraint(
            "NOT (is_active AND lifted_at IS NOT NULL)",
            name="ck_lawyer_assignment_suspensions_lifted_is_inactive",
        ),
    )
    op.create_index(
        "idx_lawyer_assignment_suspensions_active",
        "lawyer_assignment_suspensions",
        ["is_active"],
        postgresql_where=sa.text("is_active = true"),
    )
    op.create_index("idx_lawyer_assignment_suspensions_lawyer_id", "lawyer_assignment_suspensions", ["lawyer_id"])
    op.create_index(
        "uq_lawyer_assignment_suspensions_active",
        "lawyer_assignment_suspensions",
        ["lawyer_id"],
        unique=True,
        postgresql_where=sa.text("is_active"),
    )


def create_enterprise_clients() -> None:
    op.create_table(
        "enterprise_clients",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("company_name", sa.String(255), nullable=False),
        sa.Column("company_type", sa.String(50), nullable=False),
        sa.Column("contact_person", sa.String(100), nullable=False),
        sa.Column("contact_phone", sa.String(20), nullable=False),
        sa.Column("contact_email", sa.String(255), nullable=False),
        sa.Column("business_license", sa.String(100), nullable=True),
        sa.Column("service_type", sa.String(50), nullable=False),
        sa.Column("contract_start_date", sa.Date(), nullable=True),
        sa.Column("contract_end_date", sa.Date(), nullable=True),
        sa.Column("monthly_fee", sa.Numeric(15, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("case_volume_limit", sa.Integer(), nullable=False, server_default=sa.text("1000")),
        sa.Column("priority_level", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("assigned_account_manager", sa.Uuid(), nullable=True),
        sa.Column("status", sa.String(20), nullable=False, server_default=sa.text("'active'::character varying")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="enterprise_clients_pkey"),
        sa.CheckConstraint("status IN ('active', 'inactive', 'suspended')", name="enterprise_clients_status_check"),
        sa.CheckConstraint(
            "contract_end_date IS NULL OR contract_start_date IS NULL OR contract_end_date >= contract_start_date",
            name="ck_enterprise_clients_contract_period",
        ),
        sa.CheckConstraint("monthly_fee >= 0", name="ck_enterprise_clients_monthly_fee"),
        sa.CheckConstraint("case_volume_limit >= 0", name="ck_enterprise_clients_case_volume_limit"),
        sa.CheckConstraint("priority_level BETWEEN 1 AND 5", name="ck_enterprise_clients_priority_level"),
        sa.CheckConstraint(
            "company_type IN ('bank', 'lending_institution', 'law_firm', 'other')",
            name="ck_enterprise_clients_company_type",
        ),
        sa.CheckConstraint(
            "service_type IN ('debt_collection', 'legal_consulting', 'compliance')",
            name="ck_enterprise_clients_service_type",
        ),
    )
    op.create_index("idx_enterprise_clients_company_type", "enterprise_clients", ["company_type"])
    op.create_index("idx_enterprise_clients_status", "enterprise_clients", ["status"])
    op.create_index(
        "idx_enterprise_clients_assigned_account_manager", "enterprise_clients", ["assigned_account_manager"]
    )
    touch_updated_at_of("enterprise_clients")


def create_enterprise_service_packages() -> None:
    op.create_table(
        "enterprise_service_packages",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("package_name", sa.String(100), nullable=False),
        sa.Column("package_type", sa.String(50), nullable=False),
        sa.Column("monthly_fee", sa.Numeric(15, 2), nullable=False),
        sa.Column("case_volume_limit", sa.Integer(), nullable=False),
        sa.Column("features", JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
        sa.Column("ai_credits_included", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("dedicated_support", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("sla_response_time", sa.Integer(), nullable=False, server_default=sa.text("24")),
        sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="enterprise_service_packages_pkey"),
        sa.CheckConstraint("monthly_fee >= 0", name="ck_enterprise_service_packages_monthly_fee"),
        sa.CheckConstraint("case_volume_limit > 0", name="ck_enterprise_service_packages_case_volume_limit"),
        sa.CheckConstraint("sla_response_time > 0", name="ck_enterprise_service_packages_sla_response_time"),
        sa.CheckConstraint("ai_credits_included >= 0", name="ck_enterprise_service_packages_ai_credits_included"),
        sa.CheckConstraint("jsonb_typeof(features) = 'array'", name="ck_enterprise_service_packages_features"),
        sa.CheckConstraint(
            "package_type IN ('basic', 'professional', 'enterprise', 'custom')",
            name="ck_enterprise_service_packages_package_type",
        ),
    )
    op.create_index(
        "uq_enterprise_service_packages_active_type",
        "enterprise_service_packages",
        ["package_type"],
        unique=True,
        postgresql_where=sa.text("is_active"),
    )
    touch_updated_at_of("enterprise_service_packages")


def create_enterprise_subscriptions() -> None:
    op.create_table(
        "enterprise_subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("package_id", sa.Uuid(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("monthly_fee", sa.Numeric(15, 2), nullable=False),
        sa.Column("cases_used", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_limit", sa.Integer(), nullable=False),
        sa.Column("auto_renewal", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        sa.Column("status", sa.String(20), nullable=False, server_default=sa.text("'active'::character varying")),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="enterprise_subscriptions_pkey"),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["enterprise_clients.id"],
            name="enterprise_subscriptions_client_id_fkey",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["enterprise_service_packages.id"],
            name="enterprise_subscriptions_package_id_fkey",
            ondelete="RESTRICT",
        ),
        sa.CheckConstraint(
            "status IN ('active', 'expired', 'cancelled')", name="enterprise_subscriptions_status_check"
        ),
        sa.CheckConstraint("end_date >= start_date", name="ck_enterprise_subscriptions_period"),
        sa.CheckConstraint("cases_used >= 0", name="ck_enterprise_subscriptions_cases_used"),
        sa.CheckConstraint("cases_limit >= 0", name="ck_enterprise_subscriptions_cases_limit"),
        sa.CheckConstraint("monthly_fee >= 0", name="ck_enterprise_subscriptions_monthly_fee"),
    )
    op.create_index("idx_enterprise_subscriptions_client_id", "enterprise_subscriptions", ["client_id"])
    op.create_index("idx_enterprise_subscriptions_status", "enterprise_subscriptions", ["status"])
    op.create_index("idx_enterprise_subscriptions_package_id", "enterprise_subscriptions", ["package_id"])
    touch_updated_at_of("enterprise_subscriptions")


def create_collection_success_stats() -> None:
    op.create_table(
        "collection_success_stats",
        sa.Column("id", sa.Uuid(), nullable=False, server_default=ops.uuid_default()),
        sa.Column("client_id", sa.Uuid(), nullable=True),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("total_cases", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_with_response", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("cases_with_payment", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("total_debt_amount", sa.Numeric(18, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("recovered_amount", sa.Numeric(18, 2), nullable=False, server_default=sa.text("0")),
        sa.Column("response_rate", sa.Numeric(5, 4), nullable=False, server_default=sa.text("0")),
        sa.Column("recovery_rate", sa.Numeric(5, 4), nullable=False, server_default=sa.text("0")),
        sa.Column("average_recovery_time", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="collection_success_stats_pkey"),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["enterprise_clients.id"],
            name="collection_success_stats_client_id_fkey",
            ondelete="SET NULL",
        ),
        sa.CheckConstraint("period_end >= period_start", name="ck_collection_success_stats_period"),
        sa.CheckConstraint(
            "total_cases >= 0 AND cases_with_response >= 0 AND cases_with_payment >= 0",
            name="ck_collection_success_stats_counts",
        ),
        sa.CheckConstraint(
            "cases_with_response <= total_cases AND cases_with_payment <= total_cases",
            name="ck_collection_success_stats_counts_within_total",
        ),
        sa.CheckConstraint(
            "response_rate BETWEEN 0 AND 1 AND recovery_rate BETWEEN 0 AND 1",
            name="ck_collection_success_stats_rates",
        ),
        sa.CheckConstraint(
            "total_debt_amount >= 0 AND recovered_amount >= 0", name="ck_collection_success_stats_amounts"
        ),
    )
    op.create_index("idx_collection_success_stats_client_id", "collection_success_stats", ["client_id"])
    op.create_index("idx_collection_success_stats_period", "collection_success_stats", ["period_start", "period_end"])
    op.create_index(
        "uq_collection_success_stats_client_period",
        "collection_success_stats",
        ["client_id", "period_start", "period_end"],
        unique=True,
    )
    touch_updated_at_of("collection_success_stats")


# The seed rows.


def seed_lawyer_levels() -> None:
    op.execute(
        """
        INSERT INTO lawyer_levels
            (level, name, requirements, benefits, daily_case_limit, monthly_amount_limit, priority_weight)
        SELECT level, name, jsonb_build_object('level_points', points, 'cases_completed', completed),
               jsonb_build_object('ai_credits', credits, 'membership_suggestion', suggestion),
               daily_cases, monthly_amount, weight
        FROM (VALUES
            (1, '见习律师', 0, 0, 20, 'free', 2, 5000, 1.0),
            (2, '初级律师', 500, 3, 30, 'free', 3, 8000, 1.1),
            (3, '助理律师', 1500, 8, 50, 'professional', 5, 15000, 1.2),
            (4, '执业律师', 4000, 20, 100, 'professional', 8, 50000, 1.3),
            (5, '资深律师', 10000, 50, 200, 'professional', 12, 100000, 1.5),
            (6, '专业律师', 25000, 120, 350, 'professional', 18, 200000, 1.7),
            (7, '高级律师', 60000, 300, 500, 'enterprise', 25, 400000, 2.0),
            (8, '合伙人律师', 150000, 700, 800, 'enterprise', 35, 800000, 2.5),
            (9, '高级合伙人', 350000, 1500, 1200, 'enterprise', 50, 1500000, 3.0),
            (10, '首席合伙人', 800000, 3000, 2000, 'enterprise', 80, 3000000, 4.0)
        ) AS seed (level, name, points, completed, credits, suggestion, daily_cases, monthly_amount, weight)
        ORDER BY level
        """
    )


def seed_demo_accounts() -> None:
    op.execute(
        """
        INSERT INTO demo_accounts (demo_type, workspace_id, display_name, demo_data) VALUES
            ('lawyer', 'demo-lawyer-001', '张律师（演示）',
             '{"demo_cases": [
                   {"id": "demo-case-001", "title": "合同违约纠纷", "amount": 50000, "status": "进行中"},
                   {"id": "demo-case-002", "title": "债务催收案件", "amount": 120000, "status": "已完成"}],
               "specialties": ["合同纠纷", "债务催收", "公司法务"],
               "success_rate": 92.5, "cases_handled": 156, "client_rating": 4.8, "experience_years": 8}'),
            ('user', 'demo-user-001', '李先生（演示）',
             '{"company": "某科技公司",
               "demo_cases": [
                   {"id": "demo-case-003", "title": "劳动合同纠纷", "amount": 30000, "status": "匹配中"}],
               "total_amount": 180000, "cases_published": 3}')
        """
    )


def seed_enterprise_service_packages() -> None:
    op.execute(
        """
        INSERT INTO enterprise_service_packages
            (package_name, package_type, monthly_fee, case_volume_limit, ai_credits_included,
             dedicated_support, sla_response_time, features)
        VALUES
            ('基础企业版', 'basic', 9999, 500, 1000, false, 48,
             '["batch_debt_collection", "basic_reporting", "email_support",
               "success_rate_tracking"]'),
            ('专业企业版', 'professional', 29999, 2000, 5000, true, 24,
             '["batch_debt_collection", "advanced_reporting", "priority_support",
               "custom_templates", "success_rate_tracking", "custom_reports"]'),
            ('旗舰企业版', 'enterprise', 99999, 10000, 20000, true, 4,
             '["batch_debt_collection", "real_time_reporting", "dedicated_support",
               "custom_integration", "white_label", "success_rate_tracking", "api_access"]'),
            ('定制企业版', 'custom', 199999, 50000, 100000, true, 2,
             '["unlimited_features", "custom_development", "dedicated_team",
               "on_premise_deployment", "success_rate_tracking", "api_access"]')
        """
    )


# The rows of the users that exist.


def create_wanted() -> None:
    op.execute(
        """
        CREATE TEMPORARY TABLE wanted (
            id uuid NOT NULL,
            is_lawyer boolean NOT NULL,
            is_credit boolean NOT NULL,
            workspace_type character varying(20) NOT NULL,
            completed bigint NOT NULL,
            success_rate numeric(5,2) NOT NULL
        ) ON COMMIT DROP
        """
    )


def gather_wanted() -> None:
    """What every user alive is to have, worked out afresh."""
    op.execute("TRUNCATE pg_temp.wanted")
    # Role names are compared in the C collation: lower() of a Turkish one turns ADMIN into something else.
    op.execute(
        """
        INSERT INTO pg_temp.wanted
        WITH known_roles AS (
            SELECT id,
                   lower(name COLLATE "C") = 'lawyer' AS lawyer,
                   lower(name COLLATE "C") IN ('admin', 'super_admin') AS admin,
                   lower(name COLLATE "C") IN ('user', 'institution') AS credit
            FROM roles
        ), held AS (
            SELECT ur.user_id,
                   bool_or(r.lawyer) AS lawyer,
                   bool_or(r.admin) AS admin,
                   bool_or(r.credit) AS credit
            FROM user_roles AS ur
            JOIN known_roles AS r ON r.id = ur.role_id
            GROUP BY ur.user_id
        ), handled AS (
            SELECT assigned_to_user_id AS user_id,
                   count(*) AS assigned,
                   count(*) FILTER (WHERE status = 'COMPLETED') AS completed
            FROM cases
            WHERE assigned_to_user_id IS NOT NULL
            GROUP BY assigned_to_user_id
        )
        SELECT u.id,
               coalesce(held.lawyer, false),
               coalesce(held.credit, false),
               CASE WHEN held.lawyer THEN 'lawyer' WHEN held.admin THEN 'admin' ELSE 'user' END,
               coalesce(handled.completed, 0),
               coalesce(round(100.0 * handled.completed / handled.assigned, 2), 0)
        FROM users AS u
        LEFT JOIN held ON held.user_id = u.id
        LEFT JOIN handled ON handled.user_id = u.id
        """
    )


def drop_wanted() -> None:
    op.execute("DROP TABLE pg_temp.wanted")


def workspace_id_expression() -> str:
    """The first twelve hex digits of a version 4 uuid are all random (RFC 9562, 5.4)."""
    return f"'ws-' || substr(replace({ops.uuid_expression()}::text, '-', ''), 1, 12)"


def fill_workspace_mappings() -> None:
    op.execute(
        f"""
        INSERT INTO workspace_mappings (user_id, workspace_id, workspace_type)
        SELECT id, {workspace_id_expression()}, workspace_type
        FROM pg_temp.wanted
        """
    )
    renew_colliding_workspace_ids()
    op.create_primary_key("workspace_mappings_pkey", "workspace_mappings", ["user_id"])
    op.create_unique_constraint("workspace_mappings_workspace_id_key", "workspace_mappings", ["workspace_id"])


def renew_colliding_workspace_ids() -> None:
    # 48 bits: among a million users two are the same with odds of 0.2 %. One round mends that; were ten not
    # enough, the unique key would say so.
    op.execute(
        f"""
        DO $$
        BEGIN
            FOR round IN 1..10 LOOP
                UPDATE workspace_mappings AS m
                SET workspace_id = {workspace_id_expression()}
                FROM (
                    SELECT user_id, row_number() OVER (PARTITION BY workspace_id ORDER BY user_id) AS place
                    FROM workspace_mappings
                    WHERE workspace_id IN (
                        SELECT workspace_id FROM workspace_mappings GROUP BY workspace_id HAVING count(*) > 1
                    )
                ) AS same
                WHERE same.user_id = m.user_id AND same.place > 1;
                EXIT WHEN NOT FOUND;
            END LOOP;
        END
        $$
        """
    )


def fill_lawyer_level_details() -> None:
    op.execute(
        """
        INSERT INTO lawyer_level_details (lawyer_id, cases_completed, cases_won, success_rate)
        SELECT id, completed, completed, success_rate
        FROM pg_temp.wanted
        WHERE is_lawyer
        """
    )
    op.create_primary_key("lawyer_level_details_pkey", "lawyer_level_details", ["lawyer_id"])
    op.create_index(
        "idx_lawyer_level_details_eligible",
        "lawyer_level_details",
        ["upgrade_eligible"],
        postgresql_where=sa.text("upgrade_eligible = true"),
    )
    op.create_index("idx_lawyer_level_details_level", "lawyer_level_details", ["current_level"])
    op.create_foreign_key(
        "lawyer_level_details_current_level_fkey",
        "lawyer_level_details",
        "lawyer_levels",
        ["current_level"],
        ["level"],
    )
    touch_updated_at_of("lawyer_level_details")


def fill_user_credits() -> None:
    op.execute("INSERT INTO user_credits (user_id) SELECT id FROM pg_temp.wanted WHERE is_credit")
    op.create_primary_key("user_credits_pkey", "user_credits", ["user_id"])
    op.create_index("idx_user_credits_reset_date", "user_credits", ["last_reset_date"])
    touch_updated_at_of("user_credits")


def analyze_filled_tables() -> None:
    # Autovacuum comes up to a minute after COMMIT; until then the planner would take the tables for empty.
    op.execute("ANALYZE workspace_mappings, lawyer_level_details, user_credits")


def lock_old_tables(rewrites: tuple[str, ...]) -> None:
    ops.lock_tables(
        {
            "users": "ACCESS EXCLUSIVE",
            "cases": "SHARE ROW EXCLUSIVE",
            "user_roles": "SHARE",
            "roles": "SHARE",
        },
        rewrites=rewrites,
    )


def settle_workspace_mappings() -> None:
    op.execute(
        """
        DELETE FROM workspace_mappings AS m
        WHERE NOT EXISTS (SELECT FROM pg_temp.wanted AS w WHERE w.id = m.user_id)
        """
    )
    op.execute(
        """
        UPDATE workspace_mappings AS m
        SET workspace_type = w.workspace_type
        FROM pg_temp.wanted AS w
        WHERE w.id = m.user_id AND m.workspace_type <> w.workspace_type
        """
    )
    # A workspace_id that is taken already leaves its user without a row: try again with a new one.
    op.execute(
        f"""
        DO $$
        BEGIN
            FOR round IN 1..10 LOOP
                INSERT INTO workspace_mappings (user_id, workspace_id, workspace_type)
                SELECT w.id, {workspace_id_expression()}, w.workspace_type
                FROM pg_temp.wanted AS w
                WHERE NOT EXISTS (SELECT FROM workspace_mappings AS m WHERE m.user_id = w.id)
                ON CONFLICT (workspace_id) DO NOTHING;
                EXIT WHEN (SELECT count(*) FROM workspace_mappings) = (SELECT count(*) FROM pg_temp.wanted);
            END LOOP;
        END
        $$
        """
    )


def settle_lawyer_level_details() -> None:
    op.execute(
        """
        DELETE FROM lawyer_level_details AS d
        WHERE NOT EXISTS (SELECT FROM pg_temp.wanted AS w WHERE w.id = d.lawyer_id AND w.is_lawyer)
        """
    )
    op.execute(
        """
        UPDATE lawyer_level_details AS d
        SET cases_completed = w.completed, cases_won = w.completed, success_rate = w.success_rate
        FROM pg_temp.wanted AS w
        WHERE w.id = d.lawyer_id AND (d.cases_completed, d.success_rate) <> (w.completed, w.success_rate)
        """
    )
    op.execute(
        """
        INSERT INTO lawyer_level_details (lawyer_id, cases_completed, cases_won, success_rate)
        SELECT w.id, w.completed, w.completed, w.success_rate
        FROM pg_temp.wanted AS w
        WHERE w.is_lawyer AND NOT EXISTS (SELECT FROM lawyer_level_details AS d WHERE d.lawyer_id = w.id)
        """
    )


def settle_user_credits() -> None:
    op.execute(
        """
        DELETE FROM user_credits AS c
        WHERE NOT EXISTS (SELECT FROM pg_temp.wanted AS w WHERE w.id = c.user_id AND w.is_credit)
        """
    )
    op.execute(
        """
        INSERT INTO user_credits (user_id)
        SELECT w.id
        FROM pg_temp.wanted AS w
        WHERE w.is_credit AND NOT EXISTS (SELECT FROM user_credits AS c WHERE c.user_id = w.id)
        """
    )


# The columns of users. An UPDATE leaves every row twice and writes every index; a rewrite does neither, and shows
# nothing to older snapshots, which an UPDATE keeps. DEFAULT cannot read another column and USING takes no subquery,
# so the rewrite looks its values up through temporary functions.
# 100,000 users on a machine of two cores, PostgreSQL 15.18: locked for 4.0 s by the UPDATE, for 2.3 s by the rewrite.


def chosen_way() -> str | None:
    """What the operator chose for users: "update", "rewrite", or nothing. The --sql form cannot look: it updates."""
    given = ops.option("users")
    if given not in (None, "update", "rewrite"):
        raise CommandError(f"The option users takes the values update and rewrite, not {given}.")
    return "update" if given is None and context.is_offline_mode() else given


def may_update() -> bool:
    """Nothing would make an UPDATE of every row do something else, or fail."""
    return bool(
        op.get_bind().scalar(
            sa.text(
                """
                SELECT c.relreplident <> 'n'
                    AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid AND ev_type = '2')
                    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND NOT convalidated)
                FROM pg_class AS c WHERE c.oid = 'users'::regclass
                """
            )
        )
    )


def extend_users(email_verified: str, *, in_place: bool) -> None:
    op.add_column("users", sa.Column("workspace_id", sa.String(50), nullable=True))
    op.add_column("users", sa.Column("account_type", sa.String(20), nullable=True))
    op.add_column("users", sa.Column("email_verified", sa.Boolean(), nullable=True))
    retyped = ""
    if in_place:
        update_users(email_verified)
    else:
        create_look_ups()
        retyped = f"""
            ALTER COLUMN workspace_id TYPE character varying(50) USING pg_temp.workspace_id_of(id),
            ALTER COLUMN account_type TYPE character varying(20)
                USING CASE WHEN status::text = 'ACTIVE' THEN pg_temp.workspace_type_of(id) ELSE 'pending' END,
            ALTER COLUMN email_verified TYPE boolean USING {email_verified},"""
    op.execute(
        f"""
        ALTER TABLE users{retyped}
            ALTER COLUMN workspace_id SET DEFAULT {workspace_id_expression()},
            ALTER COLUMN workspace_id SET NOT NULL,
            ALTER COLUMN account_type SET DEFAULT 'pending',
            ALTER COLUMN account_type SET NOT NULL,
            ALTER COLUMN email_verified SET DEFAULT false,
            ALTER COLUMN email_verified SET NOT NULL,
            ADD COLUMN registration_source character varying(20) DEFAULT 'web' NOT NULL,
            ADD CONSTRAINT users_account_type_check
                CHECK (account_type IN ('pending', 'user', 'lawyer', 'lawyer_pending', 'admin')),
            ADD CONSTRAINT ck_users_workspace_id_format CHECK (workspace_id ~ '^[a-z0-9][a-z0-9-]{{2,49}}$')
        """
    )
    if not in_place:
        drop_look_ups()
    op.create_unique_constraint("users_workspace_id_key", "users", ["workspace_id"])
    op.create_index("idx_users_account_type", "users", ["account_type"])
    op.create_index(
        "idx_users_email_verified",
        "users",
        ["email_verified"],
        postgresql_where=sa.text("email_verified = false"),
    )


def update_users(email_verified: str) -> None:
    # Live triggers would answer, and an updated_at trigger move every row's stamp: each sleeps for this one statement
    # and wakes as it was (origin, replica, always).
    op.execute(
        f"""
        DO $$
        DECLARE
            waking text[] DEFAULT ARRAY(
                SELECT 'ALTER TABLE users ENABLE '
                    || CASE tgenabled WHEN 'A' THEN 'ALWAYS ' WHEN 'R' THEN 'REPLICA ' ELSE '' END
                    || 'TRIGGER ' || quote_ident(tgname)
                FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal AND tgenabled <> 'D'
            );
            statement text;
        BEGIN
            ALTER TABLE users DISABLE TRIGGER USER;
            UPDATE users
            SET workspace_id = m.workspace_id,
                account_type = CASE WHEN status::text = 'ACTIVE' THEN m.workspace_type ELSE 'pending' END,
                email_verified = {email_verified}
            FROM workspace_mappings AS m
            WHERE m.user_id = users.id;
            FOREACH statement IN ARRAY waking LOOP
                EXECUTE statement;
            END LOOP;
        END
        $$
        """
    )


def create_look_ups() -> None:
    op.execute(
        """
        CREATE FUNCTION pg_temp.workspace_id_of(sought uuid) RETURNS character varying
        LANGUAGE plpgsql STABLE AS $$
        BEGIN
            RETURN (SELECT workspace_id FROM workspace_mappings WHERE user_id = sought);
        END
        $$
        """
    )
    op.execute(
        """
        CREATE FUNCTION pg_temp.workspace_type_of(sought uuid) RETURNS character varying
        LANGUAGE plpgsql STABLE AS $$
        BEGIN
            RETURN (SELECT workspace_type FROM workspace_mappings WHERE user_id = sought);
        END
        $$
        """
    )


def drop_look_ups() -> None:
    op.execute("DROP FUNCTION pg_temp.workspace_id_of(uuid)")
    op.execute("DROP FUNCTION pg_temp.workspace_type_of(uuid)")


def email_verified_expression() -> str:
    given = ops.option("email_verified")
    if given not in (None, "active"):
        raise CommandError(f"The option email_verified takes the value active, not {given}.")
    return "false" if given is None else "coalesce(status::text = 'ACTIVE', false)"


# The foreign keys to users and cases: each takes SHARE ROW EXCLUSIVE on the table it points to.


def refer(table: str, column: str, referred: str, on_delete: str) -> None:
    op.create_foreign_key(f"{table}_{column}_fkey", table, referred, [column], ["id"], ondelete=on_delete)


def refer_from_levels() -> None:
    refer("lawyer_level_details", "lawyer_id", "users", "CASCADE")
    refer("lawyer_point_transactions", "lawyer_id", "users", "CASCADE")
    refer("lawyer_point_transactions", "related_case_id", "cases", "SET NULL")
    refer("lawyer_online_sessions", "lawyer_id", "users", "CASCADE")


def refer_from_auth() -> None:
    refer("lawyer_certification_requests", "reviewed_by", "users", "SET NULL")
    refer("lawyer_certification_requests", "user_id", "users", "CASCADE")
    refer("workspace_mappings", "user_id", "users", "CASCADE")


def refer_from_membership() -> None:
    refer("user_memberships", "user_id", "users", "CASCADE")
    refer("lawyer_memberships", "lawyer_id", "users", "CASCADE")


def refer_from_credits() -> None:
    refer("user_credits", "user_id", "users", "CASCADE")
    refer("credit_purchase_records", "user_id", "users", "RESTRICT")


def refer_from_penalty() -> None:
    refer("lawyer_case_declines", "case_id", "cases", "CASCADE")
    refer("lawyer_case_declines", "lawyer_id", "users", "CASCADE")
    refer("lawyer_assignment_suspensions", "lawyer_id", "users", "CASCADE")


def refer_from_enterprise() -> None:
    refer("enterprise_clients", "assigned_account_manager", "users", "SET NULL")


# The way back.


def lock_all_tables() -> None:
    # The new tables too: a session that has written one of them and waits for users would be a deadlock.
    ops.lock_tables(
        {
            "users": "ACCESS EXCLUSIVE",
            "cases": "ACCESS EXCLUSIVE",
            "collection_success_stats": "ACCESS EXCLUSIVE",
            "enterprise_subscriptions": "ACCESS EXCLUSIVE",
            "enterprise_service_packages": "ACCESS EXCLUSIVE",
            "enterprise_clients": "ACCESS EXCLUSIVE",
            "lawyer_assignment_suspensions": "ACCESS EXCLUSIVE",
            "lawyer_case_declines": "ACCESS EXCLUSIVE",
            "credit_purchase_records": "ACCESS EXCLUSIVE",
            "user_credits": "ACCESS EXCLUSIVE",
            "lawyer_memberships": "ACCESS EXCLUSIVE",
            "user_memberships": "ACCESS EXCLUSIVE",
            "lawyer_online_sessions": "ACCESS EXCLUSIVE",
            "lawyer_point_transactions": "ACCESS EXCLUSIVE",
            "lawyer_level_details": "ACCESS EXCLUSIVE",
            "demo_accounts": "ACCESS EXCLUSIVE",
            "workspace_mappings": "ACCESS EXCLUSIVE",
            "lawyer_certification_requests": "ACCESS EXCLUSIVE",
            "lawyer_levels": "ACCESS EXCLUSIVE",
        }
    )


contract = Contract(
    revision="013",
    follows="012",
    reads=("users", "roles", "user_roles", "cases"),
    alters=("users",),
    locks=("cases", "user_roles", "roles"),
    may_install=("pgcrypto",),
    functions=(
        Function(
            "lawsker_touch_updated_at",
            "BEGIN NEW.updated_at := pg_catalog.now(); RETURN NEW; END",
        ),
    ),
    extensions=(
        Extension(
            table="users",
            columns=(
                Column(
                    "workspace_id",
                    "character varying(50)",
                    "'ws-' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 12)",
                ),
                Column("account_type", "character varying(20)", "'pending'"),
                Column("email_verified", "boolean", "false"),
                Column("registration_source", "character varying(20)", "'web'"),
            ),
            unique=(Unique("users_workspace_id_key", ("workspace_id",)),),
            checks=(
                Check(
                    "users_account_type_check",
                    "account_type IN ('pending', 'user', 'lawyer', 'lawyer_pending', 'admin')",
                ),
                Check("ck_users_workspace_id_format", "workspace_id ~ '^[a-z0-9][a-z0-9-]{2,49}$'"),
            ),
            indexes=(
                Index("idx_users_account_type", ("account_type",)),
                Index("idx_users_email_verified", ("email_verified",), where="email_verified = false"),
            ),
        ),
    ),
    tables=(
        Table(
            name="lawyer_levels",
            group="levels",
            columns=(
                Column("id", "integer"),
                Column("level", "integer"),
                Column("name", "character varying(50)"),
                Column("requirements", "jsonb", "'{}'::jsonb"),
                Column("benefits", "jsonb", "'{}'::jsonb"),
                Column("daily_case_limit", "integer", "5"),
                Column("monthly_amount_limit", "numeric(15,2)", "50000"),
                Column("priority_weight", "numeric(3,2)", "1.0"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            serial="id",
            unique=(Unique("lawyer_levels_level_key", ("level",)),),
            checks=(
                Check("lawyer_levels_level_check", "level BETWEEN 1 AND 10"),
                Check("ck_lawyer_levels_daily_case_limit", "daily_case_limit >= 1"),
                Check("ck_lawyer_levels_monthly_amount_limit", "monthly_amount_limit >= 0"),
                Check("ck_lawyer_levels_priority_weight", "priority_weight > 0"),
                Check(
                    "ck_lawyer_levels_requirements",
                    "requirements ? 'level_points' AND requirements ? 'cases_completed'",
                ),
            ),
            rows=10,
        ),
        Table(
            name="lawyer_certification_requests",
            group="auth",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("user_id", "uuid"),
                Column("certificate_file_path", "character varying(500)"),
                Column("certificate_file_name", "character varying(255)"),
                Column("lawyer_name", "character varying(100)"),
                Column("license_number", "character varying(50)"),
                Column("law_firm", "character varying(200)", nullable=True),
                Column("practice_areas", "jsonb", "'[]'::jsonb"),
                Column("years_of_experience", "integer", "0"),
                Column("education_background", "text", nullable=True),
                Column("specialization_certificates", "jsonb", "'[]'::jsonb"),
                Column("status", "character varying(20)", "'pending'::character varying"),
                Column("admin_review_notes", "text", nullable=True),
                Column("reviewed_by", "uuid", nullable=True),
                Column("reviewed_at", "timestamp with time zone", nullable=True),
                Column("submitted_at", "timestamp with time zone", "now()"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey(
                    "lawyer_certification_requests_reviewed_by_fkey",
                    ("reviewed_by",),
                    "users",
                    on_delete="SET NULL",
                ),
                ForeignKey("lawyer_certification_requests_user_id_fkey", ("user_id",), "users", on_delete="CASCADE"),
            ),
            checks=(
                Check(
                    "lawyer_certification_requests_status_check",
                    "status IN ('pending', 'approved', 'rejected', 'under_review')",
                ),
                Check("ck_lawyer_certification_requests_years_of_experience", "years_of_experience >= 0"),
                Check(
                    "ck_lawyer_certification_requests_reviewed_when_decided",
                    "status NOT IN ('approved', 'rejected') OR reviewed_at IS NOT NULL",
                ),
                Check(
                    "ck_lawyer_certification_requests_review_after_submission",
                    "reviewed_at IS NULL OR reviewed_at >= submitted_at",
                ),
            ),
            indexes=(
                Index("idx_lawyer_certification_requests_status", ("status",)),
                Index("idx_lawyer_certification_requests_user_id", ("user_id",)),
                Index("idx_lawyer_certification_requests_reviewed_by", ("reviewed_by",)),
                Index(
                    "uq_lawyer_certification_requests_open",
                    ("user_id",),
                    unique=True,
                    where="status IN ('pending', 'under_review')",
                ),
            ),
            triggers=(Trigger("update_lawyer_certification_requests_updated_at", "lawsker_touch_updated_at"),),
        ),
        Table(
            name="workspace_mappings",
            group="auth",
            columns=(
                Column("user_id", "uuid"),
                Column("workspace_id", "character varying(50)"),
                Column("workspace_type", "character varying(20)"),
                Column("is_demo", "boolean", "false"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("user_id",),
            unique=(Unique("workspace_mappings_workspace_id_key", ("workspace_id",)),),
            foreign_keys=(ForeignKey("workspace_mappings_user_id_fkey", ("user_id",), "users", on_delete="CASCADE"),),
            checks=(Check("workspace_mappings_workspace_type_check", "workspace_type IN ('user', 'lawyer', 'admin')"),),
            rows="SELECT count(*) FROM users",
        ),
        Table(
            name="demo_accounts",
            group="auth",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("demo_type", "character varying(20)"),
                Column("workspace_id", "character varying(50)"),
                Column("display_name", "character varying(100)"),
                Column("demo_data", "jsonb", "'{}'::jsonb"),
                Column("is_active", "boolean", "true"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            unique=(Unique("demo_accounts_workspace_id_key", ("workspace_id",)),),
            checks=(
                Check("demo_accounts_demo_type_check", "demo_type IN ('lawyer', 'user')"),
                Check("ck_demo_accounts_demo_data", "jsonb_typeof(demo_data) = 'object'"),
            ),
            indexes=(Index("idx_demo_accounts_demo_type", ("demo_type",)),),
            rows=2,
        ),
        Table(
            name="lawyer_level_details",
            group="levels",
            columns=(
                Column("lawyer_id", "uuid"),
                Column("current_level", "integer", "1"),
                Column("level_points", "bigint", "0"),
                Column("experience_points", "bigint", "0"),
                Column("cases_completed", "integer", "0"),
                Column("cases_won", "integer", "0"),
                Column("cases_failed", "integer", "0"),
                Column("success_rate", "numeric(5,2)", "0"),
                Column("client_rating", "numeric(3,2)", "0"),
                Column("total_revenue", "numeric(15,2)", "0"),
                Column("total_online_hours", "integer", "0"),
                Column("total_cases_amount", "numeric(18,2)", "0"),
                Column("total_ai_credits_used", "integer", "0"),
                Column("total_paid_amount", "numeric(15,2)", "0"),
                Column("response_time_avg", "integer", "0"),
                Column("case_completion_speed", "numeric(5,2)", "0"),
                Column("quality_score", "numeric(5,2)", "0"),
                Column("upgrade_eligible", "boolean", "false"),
                Column("downgrade_risk", "boolean", "false"),
                Column("next_review_date", "date", nullable=True),
                Column("last_upgrade_date", "date", nullable=True),
                Column("last_downgrade_date", "date", nullable=True),
                Column("level_change_history", "jsonb", "'[]'::jsonb"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("lawyer_id",),
            foreign_keys=(
                ForeignKey("lawyer_level_details_current_level_fkey", ("current_level",), "lawyer_levels", ("level",)),
                ForeignKey("lawyer_level_details_lawyer_id_fkey", ("lawyer_id",), "users", on_delete="CASCADE"),
            ),
            checks=(
                Check("ck_lawyer_level_details_experience_points", "experience_points >= 0"),
                Check(
                    "ck_lawyer_level_details_case_counts",
                    "cases_completed >= 0 AND cases_won >= 0 AND cases_failed >= 0",
                ),
                Check("ck_lawyer_level_details_success_rate", "success_rate BETWEEN 0 AND 100"),
                Check("ck_lawyer_level_details_client_rating", "client_rating BETWEEN 0 AND 5"),
                Check(
                    "ck_lawyer_level_details_totals",
                    "total_online_hours >= 0 AND total_ai_credits_used >= 0"
                    " AND total_paid_amount >= 0 AND total_revenue >= 0 AND total_cases_amount >= 0",
                ),
                Check(
                    "ck_lawyer_level_details_level_change_history",
                    "jsonb_typeof(level_change_history) = 'array'",
                ),
            ),
            indexes=(
                Index(
                    "idx_lawyer_level_details_eligible",
                    ("upgrade_eligible",),
                    where="upgrade_eligible = true",
                ),
                Index("idx_lawyer_level_details_level", ("current_level",)),
            ),
            triggers=(Trigger("update_lawyer_level_details_updated_at", "lawsker_touch_updated_at"),),
            rows=None,
        ),
        Table(
            name="lawyer_point_transactions",
            group="levels",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("lawyer_id", "uuid"),
                Column("transaction_type", "character varying(50)"),
                Column("points_change", "bigint"),
                Column("points_before", "bigint"),
                Column("points_after", "bigint"),
                Column("related_case_id", "uuid", nullable=True),
                Column("related_review_id", "uuid", nullable=True),
                Column("description", "text", nullable=True),
                Column("metadata", "jsonb", "'{}'::jsonb"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("lawyer_point_transactions_lawyer_id_fkey", ("lawyer_id",), "users", on_delete="CASCADE"),
                ForeignKey(
                    "lawyer_point_transactions_related_case_id_fkey",
                    ("related_case_id",),
                    "cases",
                    on_delete="SET NULL",
                ),
            ),
            checks=(Check("ck_lawyer_point_transactions_balance", "points_after = points_before + points_change"),),
            indexes=(
                Index("idx_lawyer_point_transactions_created_at", ("created_at",)),
                Index("idx_lawyer_point_transactions_lawyer_id", ("lawyer_id",)),
                Index("idx_lawyer_point_transactions_type", ("transaction_type",)),
                Index("idx_lawyer_point_transactions_related_case_id", ("related_case_id",)),
            ),
        ),
        Table(
            name="lawyer_online_sessions",
            group="levels",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("lawyer_id", "uuid"),
                Column("session_start", "timestamp with time zone"),
                Column("session_end", "timestamp with time zone", nullable=True),
                Column("duration_minutes", "integer", nullable=True),
                Column("points_earned", "integer", "0"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("lawyer_online_sessions_lawyer_id_fkey", ("lawyer_id",), "users", on_delete="CASCADE"),
            ),
            checks=(
                Check("ck_lawyer_online_sessions_period", "session_end IS NULL OR session_end >= session_start"),
                Check("ck_lawyer_online_sessions_duration", "duration_minutes IS NULL OR duration_minutes >= 0"),
            ),
            indexes=(
                Index("idx_lawyer_online_sessions_date", ("session_start",)),
                Index("idx_lawyer_online_sessions_lawyer_id", ("lawyer_id",)),
            ),
        ),
        Table(
            name="user_memberships",
            group="membership",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("user_id", "uuid"),
                Column("membership_type", "character varying(50)"),
                Column("start_date", "date"),
                Column("end_date", "date"),
                Column("benefits", "jsonb", "'{}'::jsonb"),
                Column("credits_monthly", "integer", "0"),
                Column("credits_remaining", "integer", "0"),
                Column("credits_used", "integer", "0"),
                Column("auto_renewal", "boolean", "false"),
                Column("payment_amount", "numeric(10,2)", "0"),
                Column("payment_status", "character varying(20)", "'pending'::character varying"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(ForeignKey("user_memberships_user_id_fkey", ("user_id",), "users", on_delete="CASCADE"),),
            checks=(
                Check(
                    "user_memberships_membership_type_check",
                    "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
                ),
                Check(
                    "user_memberships_payment_status_check",
                    "payment_status IN ('pending', 'paid', 'expired', 'cancelled')",
                ),
                Check("ck_user_memberships_period", "end_date >= start_date"),
                Check(
                    "ck_user_memberships_credits",
                    "credits_monthly >= 0 AND credits_remaining >= 0 AND credits_used >= 0",
                ),
                Check("ck_user_memberships_payment_amount", "payment_amount >= 0"),
            ),
            indexes=(
                Index("idx_user_memberships_type_status", ("membership_type", "payment_status")),
                Index("idx_user_memberships_user_id", ("user_id",)),
            ),
            triggers=(Trigger("update_user_memberships_updated_at", "lawsker_touch_updated_at"),),
        ),
        Table(
            name="lawyer_memberships",
            group="membership",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("lawyer_id", "uuid"),
                Column("membership_type", "character varying(50)"),
                Column("start_date", "date"),
                Column("end_date", "date"),
                Column("benefits", "jsonb", "'{}'::jsonb"),
                Column("daily_case_limit", "integer", "5"),
                Column("monthly_amount_limit", "numeric(15,2)", "50000"),
                Column("ai_credits_monthly", "integer", "50"),
                Column("ai_credits_remaining", "integer", "50"),
                Column("ai_credits_used", "integer", "0"),
                Column("auto_renewal", "boolean", "false"),
                Column("payment_amount", "numeric(10,2)", "0"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("lawyer_memberships_lawyer_id_fkey", ("lawyer_id",), "users", on_delete="CASCADE"),
            ),
            checks=(
                Check(
                    "lawyer_memberships_membership_type_check",
                    "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
                ),
                Check("ck_lawyer_memberships_period", "end_date >= start_date"),
                Check(
                    "ck_lawyer_memberships_ai_credits",
                    "ai_credits_monthly >= 0 AND ai_credits_remaining >= 0 AND ai_credits_used >= 0",
                ),
                Check("ck_lawyer_memberships_daily_case_limit", "daily_case_limit >= -1"),
                Check("ck_lawyer_memberships_monthly_amount_limit", "monthly_amount_limit >= 0"),
                Check("ck_lawyer_memberships_payment_amount", "payment_amount >= 0"),
            ),
            indexes=(Index("idx_lawyer_memberships_lawyer_id", ("lawyer_id",)),),
            triggers=(Trigger("update_lawyer_memberships_updated_at", "lawsker_touch_updated_at"),),
        ),
        Table(
            name="user_credits",
            group="credits",
            columns=(
                Column("user_id", "uuid"),
                Column("credits_weekly", "integer", "1"),
                Column("credits_remaining", "integer", "1"),
                Column("credits_purchased", "integer", "0"),
                Column("total_credits_used", "integer", "0"),
                Column("last_reset_date", "date", "CURRENT_DATE"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("user_id",),
            foreign_keys=(ForeignKey("user_credits_user_id_fkey", ("user_id",), "users", on_delete="CASCADE"),),
            checks=(
                Check(
                    "ck_user_credits_balances",
                    "credits_weekly >= 0 AND credits_remaining >= 0 AND credits_purchased >= 0"
                    " AND total_credits_used >= 0",
                ),
            ),
            indexes=(Index("idx_user_credits_reset_date", ("last_reset_date",)),),
            triggers=(Trigger("update_user_credits_updated_at", "lawsker_touch_updated_at"),),
            rows=None,
        ),
        Table(
            name="credit_purchase_records",
            group="credits",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("user_id", "uuid"),
                Column("credits_count", "integer"),
                Column("unit_price", "numeric(10,2)", "50.00"),
                Column("total_amount", "numeric(10,2)"),
                Column("payment_order_id", "uuid", nullable=True),
                Column("status", "character varying(20)", "'pending'::character varying"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("credit_purchase_records_user_id_fkey", ("user_id",), "users", on_delete="RESTRICT"),
            ),
            checks=(
                Check(
                    "credit_purchase_records_status_check",
                    "status IN ('pending', 'paid', 'failed', 'refunded')",
                ),
                Check("ck_credit_purchase_records_credits_count", "credits_count > 0"),
                Check("ck_credit_purchase_records_amounts", "unit_price >= 0 AND total_amount >= 0"),
            ),
            indexes=(
                Index("idx_credit_purchase_records_status", ("status",)),
                Index("idx_credit_purchase_records_user_id", ("user_id",)),
            ),
        ),
        Table(
            name="lawyer_case_declines",
            group="penalty",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("lawyer_id", "uuid"),
                Column("case_id", "uuid"),
                Column("decline_reason", "text", nullable=True),
                Column("points_penalty", "integer", "0"),
                Column("priority_impact", "numeric(3,2)", "'-0.1'::numeric"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("lawyer_case_declines_case_id_fkey", ("case_id",), "cases", on_delete="CASCADE"),
                ForeignKey("lawyer_case_declines_lawyer_id_fkey", ("lawyer_id",), "users", on_delete="CASCADE"),
            ),
            indexes=(
                Index("idx_lawyer_case_declines_case_id", ("case_id",)),
                Index("idx_lawyer_case_declines_created_at", ("created_at",)),
                Index("idx_lawyer_case_declines_lawyer_id", ("lawyer_id",)),
            ),
        ),
        Table(
            name="lawyer_assignment_suspensions",
            group="penalty",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("lawyer_id", "uuid"),
                Column("suspension_reason", "character varying(100)"),
                Column("decline_count", "integer"),
                Column("suspended_at", "timestamp with time zone"),
                Column("suspension_duration_hours", "integer", "24"),
                Column("lifted_at", "timestamp with time zone", nullable=True),
                Column("is_active", "boolean", "true"),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey(
                    "lawyer_assignment_suspensions_lawyer_id_fkey",
                    ("lawyer_id",),
                    "users",
                    on_delete="CASCADE",
                ),
            ),
            checks=(
                Check("ck_lawyer_assignment_suspensions_decline_count", "decline_count >= 1"),
                Check("ck_lawyer_assignment_suspensions_duration", "suspension_duration_hours > 0"),
                Check(
                    "ck_lawyer_assignment_suspensions_period",
                    "lifted_at IS NULL OR lifted_at >= suspended_at",
                ),
                Check(
                    "ck_lawyer_assignment_suspensions_lifted_is_inactive",
                    "NOT (is_active AND lifted_at IS NOT NULL)",
                ),
            ),
            indexes=(
                Index("idx_lawyer_assignment_suspensions_active", ("is_active",), where="is_active = true"),
                Index("idx_lawyer_assignment_suspensions_lawyer_id", ("lawyer_id",)),
                Index("uq_lawyer_assignment_suspensions_active", ("lawyer_id",), unique=True, where="is_active"),
            ),
        ),
        Table(
            name="enterprise_clients",
            group="enterprise",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("company_name", "character varying(255)"),
                Column("company_type", "character varying(50)"),
                Column("contact_person", "character varying(100)"),
                Column("contact_phone", "character varying(20)"),
                Column("contact_email", "character varying(255)"),
                Column("business_license", "character varying(100)", nullable=True),
                Column("service_type", "character varying(50)"),
                Column("contract_start_date", "date", nullable=True),
                Column("contract_end_date", "date", nullable=True),
                Column("monthly_fee", "numeric(15,2)", "0"),
                Column("case_volume_limit", "integer", "1000"),
                Column("priority_level", "integer", "1"),
                Column("assigned_account_manager", "uuid", nullable=True),
                Column("status", "character varying(20)", "'active'::character varying"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey(
                    "enterprise_clients_assigned_account_manager_fkey",
                    ("assigned_account_manager",),
                    "users",
                    on_delete="SET NULL",
                ),
            ),
            checks=(
                Check("enterprise_clients_status_check", "status IN ('active', 'inactive', 'suspended')"),
                Check(
                    "ck_enterprise_clients_contract_period",
                    "contract_end_date IS NULL OR contract_start_date IS NULL"
                    " OR contract_end_date >= contract_start_date",
                ),
                Check("ck_enterprise_clients_monthly_fee", "monthly_fee >= 0"),
                Check("ck_enterprise_clients_case_volume_limit", "case_volume_limit >= 0"),
                Check("ck_enterprise_clients_priority_level", "priority_level BETWEEN 1 AND 5"),
                Check(
                    "ck_enterprise_clients_company_type",
                    "company_type IN ('bank', 'lending_institution', 'law_firm', 'other')",
                ),
                Check(
                    "ck_enterprise_clients_service_type",
                    "service_type IN ('debt_collection', 'legal_consulting', 'compliance')",
                ),
            ),
            indexes=(
                Index("idx_enterprise_clients_company_type", ("company_type",)),
                Index("idx_enterprise_clients_status", ("status",)),
                Index("idx_enterprise_clients_assigned_account_manager", ("assigned_account_manager",)),
            ),
            triggers=(Trigger("update_enterprise_clients_updated_at", "lawsker_touch_updated_at"),),
        ),
        Table(
            name="enterprise_service_packages",
            group="enterprise",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("package_name", "character varying(100)"),
                Column("package_type", "character varying(50)"),
                Column("monthly_fee", "numeric(15,2)"),
                Column("case_volume_limit", "integer"),
                Column("features", "jsonb", "'[]'::jsonb"),
                Column("ai_credits_included", "integer", "0"),
                Column("dedicated_support", "boolean", "false"),
                Column("sla_response_time", "integer", "24"),
                Column("is_active", "boolean", "true"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            checks=(
                Check("ck_enterprise_service_packages_monthly_fee", "monthly_fee >= 0"),
                Check("ck_enterprise_service_packages_case_volume_limit", "case_volume_limit > 0"),
                Check("ck_enterprise_service_packages_sla_response_time", "sla_response_time > 0"),
                Check("ck_enterprise_service_packages_ai_credits_included", "ai_credits_included >= 0"),
                Check("ck_enterprise_service_packages_features", "jsonb_typeof(features) = 'array'"),
                Check(
                    "ck_enterprise_service_packages_package_type",
                    "package_type IN ('basic', 'professional', 'enterprise', 'custom')",
                ),
            ),
            indexes=(
                Index(
                    "uq_enterprise_service_packages_active_type",
                    ("package_type",),
                    unique=True,
                    where="is_active",
                ),
            ),
            triggers=(Trigger("update_enterprise_service_packages_updated_at", "lawsker_touch_updated_at"),),
            rows=4,
        ),
        Table(
            name="enterprise_subscriptions",
            group="enterprise",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("client_id", "uuid"),
                Column("package_id", "uuid"),
                Column("start_date", "date"),
                Column("end_date", "date"),
                Column("monthly_fee", "numeric(15,2)"),
                Column("cases_used", "integer", "0"),
                Column("cases_limit", "integer"),
                Column("auto_renewal", "boolean", "true"),
                Column("status", "character varying(20)", "'active'::character varying"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey(
                    "enterprise_subscriptions_client_id_fkey",
                    ("client_id",),
                    "enterprise_clients",
                    on_delete="CASCADE",
                ),
                ForeignKey(
                    "enterprise_subscriptions_package_id_fkey",
                    ("package_id",),
                    "enterprise_service_packages",
                    on_delete="RESTRICT",
                ),
            ),
            checks=(
                Check("enterprise_subscriptions_status_check", "status IN ('active', 'expired', 'cancelled')"),
                Check("ck_enterprise_subscriptions_period", "end_date >= start_date"),
                Check("ck_enterprise_subscriptions_cases_used", "cases_used >= 0"),
                Check("ck_enterprise_subscriptions_cases_limit", "cases_limit >= 0"),
                Check("ck_enterprise_subscriptions_monthly_fee", "monthly_fee >= 0"),
            ),
            indexes=(
                Index("idx_enterprise_subscriptions_client_id", ("client_id",)),
                Index("idx_enterprise_subscriptions_status", ("status",)),
                Index("idx_enterprise_subscriptions_package_id", ("package_id",)),
            ),
            triggers=(Trigger("update_enterprise_subscriptions_updated_at", "lawsker_touch_updated_at"),),
        ),
        Table(
            name="collection_success_stats",
            group="enterprise",
            columns=(
                Column("id", "uuid", "gen_random_uuid()"),
                Column("client_id", "uuid", nullable=True),
                Column("period_start", "date"),
                Column("period_end", "date"),
                Column("total_cases", "integer", "0"),
                Column("cases_with_response", "integer", "0"),
                Column("cases_with_payment", "integer", "0"),
                Column("total_debt_amount", "numeric(18,2)", "0"),
                Column("recovered_amount", "numeric(18,2)", "0"),
                Column("response_rate", "numeric(5,4)", "0"),
                Column("recovery_rate", "numeric(5,4)", "0"),
                Column("average_recovery_time", "integer", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey(
                    "collection_success_stats_client_id_fkey",
                    ("client_id",),
                    "enterprise_clients",
                    on_delete="SET NULL",
                ),
            ),
            checks=(
                Check("ck_collection_success_stats_period", "period_end >= period_start"),
                Check(
                    "ck_collection_success_stats_counts",
                    "total_cases >= 0 AND cases_with_response >= 0 AND cases_with_payment >= 0",
                ),
                Check(
                    "ck_collection_success_stats_counts_within_total",
                    "cases_with_response <= total_cases AND cases_with_payment <= total_cases",
                ),
                Check(
                    "ck_collection_success_stats_rates",
                    "response_rate BETWEEN 0 AND 1 AND recovery_rate BETWEEN 0 AND 1",
                ),
                Check("ck_collection_success_stats_amounts", "total_debt_amount >= 0 AND recovered_amount >= 0"),
            ),
            indexes=(
                Index("idx_collection_success_stats_client_id", ("client_id",)),
                Index("idx_collection_success_stats_period", ("period_start", "period_end")),
                Index(
                    "uq_collection_success_stats_client_period",
                    ("client_id", "period_start", "period_end"),
                    unique=True,
                ),
            ),
            triggers=(Trigger("update_collection_success_stats_updated_at", "lawsker_touch_updated_at"),),
        ),
    ),
    required=(
        Required(
            "users, roles, user_roles and cases are ordinary tables",
            """
            SELECT 'These are missing or no ordinary tables: '
                || string_agg(needed.name, ', ' ORDER BY needed.name)
            FROM (VALUES ('users'), ('roles'), ('user_roles'), ('cases')) AS needed (name)
            LEFT JOIN pg_class AS c ON c.oid = to_regclass(needed.name)
            WHERE c.relkind IS DISTINCT FROM 'r'
            """,
        ),
        Required(
            "no column has the row type of users, which could then not be rewritten",
            """
            SELECT 'These columns have the row type of users, which can then not be rewritten: '
                || string_agg(c.oid::regclass || '.' || quote_ident(a.attname), ', ')
            FROM pg_attribute AS a
            JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm')
            JOIN pg_type AS t ON t.oid = a.atttypid
            LEFT JOIN pg_type AS e ON e.oid = t.typelem
            WHERE NOT a.attisdropped AND to_regclass('users') IN (t.typrelid, e.typrelid)
            """,
        ),
        Required(
            "the columns that it reads have the types it counts on",
            """
            SELECT 'These columns are missing or of another type: ' || string_agg(
                needed.tab || '.' || needed.col || ' (expected ' || coalesce(needed.typ, 'text') || ', found '
                    || coalesce(format_type(a.atttypid, a.atttypmod), 'none') || ')',
                ', ' ORDER BY needed.tab, needed.col)
            FROM (
                VALUES
                    ('users', 'id', 'uuid'),
                    ('users', 'username', NULL),
                    ('users', 'created_at', 'a time'),
                    ('users', 'updated_at', 'a time'),
                    ('roles', 'id', 'uuid'),
                    ('roles', 'name', NULL),
                    ('user_roles', 'user_id', 'uuid'),
                    ('user_roles', 'role_id', 'uuid'),
                    ('user_roles', 'assigned_at', 'a time'),
                    ('cases', 'id', 'uuid'),
                    ('cases', 'assigned_to_user_id', 'uuid'),
                    ('cases', 'updated_at', 'a time')
            ) AS needed (tab, col, typ)
            LEFT JOIN pg_attribute AS a
                ON a.attrelid = to_regclass(needed.tab) AND a.attname = needed.col
                AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_type AS y ON y.oid = a.atttypid
            WHERE CASE WHEN needed.typ IS NULL THEN y.typcategory IS DISTINCT FROM 'S'
                WHEN needed.typ = 'a time' THEN y.typcategory IS DISTINCT FROM 'D'
                ELSE format_type(a.atttypid, NULL) IS DISTINCT FROM needed.typ END
            """,
        ),
        Required(
            "users has the column status",
            """
            SELECT CASE WHEN NOT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = to_regclass('users') AND attname = 'status' AND NOT attisdropped
            ) THEN 'The column users.status is missing.' END
            """,
        ),
        Required(
            "cases.assigned_to_user_id may be null",
            """
            SELECT (
                SELECT 'The column cases.assigned_to_user_id is NOT NULL.'
                FROM pg_attribute
                WHERE attrelid = to_regclass('cases') AND attname = 'assigned_to_user_id' AND attnotnull
            )
            """,
        ),
        Required(
            "id is the primary key of users and of cases",
            """
            SELECT 'These tables have no primary key on the column id alone: '
                || string_agg(needed.name, ', ' ORDER BY needed.name)
            FROM (VALUES ('users'), ('cases')) AS needed (name)
            WHERE NOT EXISTS (
                SELECT FROM pg_index AS i
                JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                WHERE i.indrelid = to_regclass(needed.name) AND i.indisprimary AND i.indnkeyatts = 1
                    AND a.attname = 'id'
            )
            """,
        ),
        Required(
            "cases.status is of the enum casestatus, with the label COMPLETED in upper case",
            """
            SELECT CASE WHEN NOT EXISTS (
                SELECT FROM pg_attribute AS a
                JOIN pg_type AS y ON y.oid = a.atttypid AND y.typname = 'casestatus' AND y.typtype = 'e'
                JOIN pg_enum AS e ON e.enumtypid = y.oid AND e.enumlabel = 'COMPLETED'
                WHERE a.attrelid = to_regclass('cases') AND a.attname = 'status' AND NOT a.attisdropped
            ) THEN 'The column cases.status is not of an enum casestatus with the label COMPLETED.' END
            """,
        ),
        Required(
            "none of the 17 tables is there yet",
            """
            SELECT 'These stand already, perhaps from an older hand-run script: '
                || string_agg(taken.name, ', ' ORDER BY taken.name)
            FROM (
                VALUES
                    ('lawyer_levels'), ('lawyer_certification_requests'), ('workspace_mappings'),
                    ('demo_accounts'), ('lawyer_level_details'), ('lawyer_point_transactions'),
                    ('lawyer_online_sessions'), ('user_memberships'), ('lawyer_memberships'),
                    ('user_credits'), ('credit_purchase_records'), ('lawyer_case_declines'),
                    ('lawyer_assignment_suspensions'), ('enterprise_clients'),
                    ('enterprise_service_packages'), ('enterprise_subscriptions'),
                    ('collection_success_stats')
            ) AS taken (name)
            WHERE to_regclass(taken.name) IS NOT NULL OR to_regtype(taken.name) IS NOT NULL
            """,
        ),
        Required(
            "none of the 4 columns is there yet",
            """
            SELECT 'These columns of users stand already, perhaps from an older hand-run script: '
                || string_agg(attname, ', ' ORDER BY attname)
            FROM pg_attribute
            WHERE attrelid = to_regclass('users') AND NOT attisdropped
                AND attname IN ('workspace_id', 'account_type', 'email_verified', 'registration_source')
            """,
        ),
        Required(
            "no function has the name of the trigger function",
            """
            SELECT CASE WHEN to_regprocedure('lawsker_touch_updated_at()') IS NOT NULL
                THEN 'The function lawsker_touch_updated_at() stands already.' END
            """,
        ),
        Required(
            "the names of its constraints on users are free",
            """
            SELECT 'These constraints of users stand already: ' || string_agg(conname, ', ' ORDER BY conname)
            FROM pg_constraint
            WHERE conrelid = to_regclass('users')
                AND conname IN (
                    'users_workspace_id_key', 'users_account_type_check', 'ck_users_workspace_id_format'
                )
            """,
        ),
        Required(
            "the names of its indexes and of its sequence are free",
            """
            SELECT 'These names are taken by others: ' || string_agg(taken.name, ', ' ORDER BY taken.name)
            FROM (
                VALUES
                    ('collection_success_stats_pkey'), ('credit_purchase_records_pkey'),
                    ('demo_accounts_pkey'), ('demo_accounts_workspace_id_key'),
                    ('enterprise_clients_pkey'), ('enterprise_service_packages_pkey'),
                    ('enterprise_subscriptions_pkey'), ('idx_collection_success_stats_client_id'),
                    ('idx_collection_success_stats_period'), ('idx_credit_purchase_records_status'),
                    ('idx_credit_purchase_records_user_id'), ('idx_demo_accounts_demo_type'),
                    ('idx_enterprise_clients_assigned_account_manager'),
                    ('idx_enterprise_clients_company_type'), ('idx_enterprise_clients_status'),
                    ('idx_enterprise_subscriptions_client_id'),
                    ('idx_enterprise_subscriptions_package_id'), ('idx_enterprise_subscriptions_status'),
                    ('idx_lawyer_assignment_suspensions_active'),
                    ('idx_lawyer_assignment_suspensions_lawyer_id'), ('idx_lawyer_case_declines_case_id'),
                    ('idx_lawyer_case_declines_created_at'), ('idx_lawyer_case_declines_lawyer_id'),
                    ('idx_lawyer_certification_requests_reviewed_by'),
                    ('idx_lawyer_certification_requests_status'),
                    ('idx_lawyer_certification_requests_user_id'), ('idx_lawyer_level_details_eligible'),
                    ('idx_lawyer_level_details_level'), ('idx_lawyer_memberships_lawyer_id'),
                    ('idx_lawyer_online_sessions_date'), ('idx_lawyer_online_sessions_lawyer_id'),
                    ('idx_lawyer_point_transactions_created_at'),
                    ('idx_lawyer_point_transactions_lawyer_id'),
                    ('idx_lawyer_point_transactions_related_case_id'),
                    ('idx_lawyer_point_transactions_type'), ('idx_user_credits_reset_date'),
                    ('idx_user_memberships_type_status'), ('idx_user_memberships_user_id'),
                    ('idx_users_account_type'), ('idx_users_email_verified'),
                    ('lawyer_assignment_suspensions_pkey'), ('lawyer_case_declines_pkey'),
                    ('lawyer_certification_requests_pkey'), ('lawyer_level_details_pkey'),
                    ('lawyer_levels_id_seq'), ('lawyer_levels_level_key'), ('lawyer_levels_pkey'),
                    ('lawyer_memberships_pkey'), ('lawyer_online_sessions_pkey'),
                    ('lawyer_point_transactions_pkey'), ('uq_collection_success_stats_client_period'),
                    ('uq_enterprise_service_packages_active_type'),
                    ('uq_lawyer_assignment_suspensions_active'), ('uq_lawyer_certification_requests_open'),
                    ('user_credits_pkey'), ('user_memberships_pkey'), ('users_workspace_id_key'),
                    ('workspace_mappings_pkey'), ('workspace_mappings_workspace_id_key')
            ) AS taken (name)
            WHERE to_regclass(taken.name) IS NOT NULL
            """,
        ),
    ),
    invariants=(
        Invariant(
            code="D09",
            name="users_and_mappings_agree",
            says="every user has one mapping with the same workspace_id, an account_type by rule and a known origin",
            also=("D10", "D11", "D15", "D21"),
            query="""
            SELECT pair.key, wrong.found, wrong.written_at, wrong.code
            FROM (
                SELECT coalesce(u.id, m.user_id)::text AS key, u.id IS NULL AS no_user, m.user_id IS NULL AS no_mapping,
                       u.workspace_id <> m.workspace_id AS differ,
                       m.is_demo OR m.workspace_id NOT LIKE 'ws-____________' AS odd,
                       u.account_type <> CASE WHEN u.status::text = 'ACTIVE' THEN m.workspace_type
                                         ELSE 'pending' END AS other_type,
                       u.registration_source <> 'web'
                           OR u.email_verified AND u.status::text IS DISTINCT FROM 'ACTIVE' AS other_origin,
                       u.account_type || ' with status ' || coalesce(u.status::text, 'null') AS type_found,
                       u.created_at, m.created_at AS mapped_at, greatest(u.created_at, u.updated_at) AS changed_at
                FROM users AS u
                FULL JOIN workspace_mappings AS m ON m.user_id = u.id
            ) AS pair
            CROSS JOIN LATERAL (
                VALUES
                    (no_user, 'D10', 'every_user_is_mapped_once: a mapping without a user', NULL),
                    -- who waited at our lock has a stamp from before it: an hour is more than anybody waits
                    (no_mapping, 'D10', 'every_user_is_mapped_once: a user without a mapping',
                     created_at + interval '1 hour'),
                    (differ, 'D09', 'users and the mapping say two workspace_ids', NULL),
                    (odd, 'D11', 'mappings_of_the_upgrade: a demonstration, or a workspace_id of another form',
                     greatest(changed_at, mapped_at)),
                    (other_type, 'D15', 'account_type_follows_status: ' || type_found, greatest(changed_at, mapped_at)),
                    (other_origin, 'D21', 'users_come_from_the_web: not so, or verified and not ACTIVE', changed_at)
            ) AS wrong (so, code, found, written_at)
            WHERE (no_user OR no_mapping OR differ OR odd OR other_type OR other_origin) AND wrong.so
            """,
        ),
        Invariant(
            code="D11",
            name="workspace_type_follows_roles",
            says="a workspace is of type lawyer if its user is one by role, else admin if that, else user",
            query="""
            WITH known AS MATERIALIZED (
                SELECT id, lower(name COLLATE "C") = 'lawyer' AS lawyer
                FROM roles
                WHERE lower(name COLLATE "C") IN ('lawyer', 'admin', 'super_admin')
            )
            SELECT m.user_id::text, m.workspace_type,
                   greatest(m.created_at, (SELECT max(assigned_at) FROM user_roles WHERE user_id = m.user_id))
            FROM workspace_mappings AS m
            LEFT JOIN (
                SELECT ur.user_id, bool_or(known.lawyer) AS lawyer
                FROM user_roles AS ur
                JOIN known ON known.id = ur.role_id
                GROUP BY ur.user_id
            ) AS held ON held.user_id = m.user_id
            WHERE m.workspace_type <> CASE held.lawyer WHEN true THEN 'lawyer' WHEN false THEN 'admin' ELSE 'user' END
            """,
        ),
        Invariant(
            code="D12",
            name="level_details_of_lawyers_only",
            says="every lawyer has level details, nobody else has, and they start at level 1 with 0 points",
            query="""
            SELECT coalesce(d.lawyer_id, lawyer.id)::text,
                   CASE WHEN lawyer.id IS NULL THEN 'level details of somebody who is no lawyer'
                        WHEN d.lawyer_id IS NULL THEN 'a lawyer without level details'
                        ELSE 'level details that do not start afresh' END,
                   CASE WHEN d.lawyer_id IS NOT NULL THEN d.updated_at
                        ELSE greatest((SELECT created_at FROM users WHERE id = lawyer.id),
                                      (SELECT max(assigned_at) FROM user_roles WHERE user_id = lawyer.id)) END
            FROM (
                SELECT DISTINCT user_id AS id
                FROM user_roles
                WHERE role_id IN (SELECT id FROM roles WHERE lower(name COLLATE "C") = 'lawyer')
            ) AS lawyer
            FULL JOIN lawyer_level_details AS d ON d.lawyer_id = lawyer.id
            WHERE lawyer.id IS NULL
                OR d.lawyer_id IS NULL AND (SELECT true FROM users WHERE id = lawyer.id)
                OR (d.current_level, d.level_points, d.experience_points, d.cases_failed) <> (1, 0, 0, 0)
                OR (d.total_revenue, d.total_paid_amount, d.total_cases_amount) <> (0, 0, 0)
                OR (d.total_online_hours, d.total_ai_credits_used, d.response_time_avg) <> (0, 0, 0)
                OR (d.client_rating, d.case_completion_speed, d.quality_score) <> (0, 0, 0)
                OR d.upgrade_eligible OR d.downgrade_risk OR d.level_change_history <> '[]'
                OR coalesce(d.next_review_date, d.last_upgrade_date, d.last_downgrade_date) IS NOT NULL
            """,
        ),
        Invariant(
            code="D13",
            name="case_counts_match_cases",
            says="completed and won cases and the success rate of a lawyer are those of the table cases",
            query="""
            SELECT d.lawyer_id::text,
                   d.cases_completed || ' completed, ' || d.cases_won || ' won, ' || d.success_rate
                       || ' percent, expected ' || coalesce(counted.completed, 0) || ' of '
                       || coalesce(counted.assigned, 0),
                   greatest(d.updated_at, counted.changed_at)
            FROM lawyer_level_details AS d
            LEFT JOIN (
                SELECT assigned_to_user_id, count(*) AS assigned, max(updated_at) AS changed_at,
                       sum(CASE WHEN status = 'COMPLETED' THEN 1 ELSE 0 END) AS completed
                FROM cases
                GROUP BY assigned_to_user_id
            ) AS counted ON counted.assigned_to_user_id = d.lawyer_id
            WHERE d.cases_completed <> coalesce(counted.completed, 0)
                OR d.cases_won <> coalesce(counted.completed, 0)
                OR d.success_rate <> coalesce(round(counted.completed * 100.0 / counted.assigned, 2), 0)
            """,
        ),
        Invariant(
            code="D14",
            name="credits_of_credit_users_only",
            says="who holds the role user or institution has 1 credit a week and 1 left; nobody else has a row",
            query="""
            SELECT coalesce(c.user_id, credit.id)::text,
                   CASE WHEN credit.id IS NULL THEN 'credits of somebody who holds no such role'
                        WHEN c.user_id IS NULL THEN 'a credit user without credits'
                        ELSE 'credits that do not start afresh' END,
                   CASE WHEN c.user_id IS NOT NULL THEN c.updated_at
                        ELSE greatest((SELECT created_at FROM users WHERE id = credit.id),
                                      (SELECT max(assigned_at) FROM user_roles WHERE user_id = credit.id)) END
            FROM (
                SELECT DISTINCT user_id AS id
                FROM user_roles
                WHERE role_id IN (SELECT id FROM roles WHERE lower(name COLLATE "C") IN ('user', 'institution'))
            ) AS credit
            FULL JOIN user_credits AS c ON c.user_id = credit.id
            WHERE credit.id IS NULL
                OR c.user_id IS NULL AND (SELECT true FROM users WHERE id = credit.id)
                OR (c.credits_weekly, c.credits_remaining, c.credits_purchased) <> (1, 1, 0)
                OR c.total_credits_used <> 0 OR c.last_reset_date <> c.created_at::date
            """,
        ),
        Invariant(
            code="D03",
            name="lawyer_levels_as_promised",
            says="the ten lawyer levels are field by field those of the business",
            query="""
            WITH promised (level, name, requirements, benefits, daily, monthly, weight) AS (
                VALUES
                    (1, '见习律师', '{"level_points": 0, "cases_completed": 0}',
                     '{"ai_credits": 20, "membership_suggestion": "free"}', 2, 5000, 1.0),
                    (2, '初级律师', '{"level_points": 500, "cases_completed": 3}',
                     '{"ai_credits": 30, "membership_suggestion": "free"}', 3, 8000, 1.1),
                    (3, '助理律师', '{"level_points": 1500, "cases_completed": 8}',
                     '{"ai_credits": 50, "membership_suggestion": "professional"}', 5, 15000, 1.2),
                    (4, '执业律师', '{"level_points": 4000, "cases_completed": 20}',
                     '{"ai_credits": 100, "membership_suggestion": "professional"}', 8, 50000, 1.3),
                    (5, '资深律师', '{"level_points": 10000, "cases_completed": 50}',
                     '{"ai_credits": 200, "membership_suggestion": "professional"}', 12, 100000, 1.5),
                    (6, '专业律师', '{"level_points": 25000, "cases_completed": 120}',
                     '{"ai_credits": 350, "membership_suggestion": "professional"}', 18, 200000, 1.7),
                    (7, '高级律师', '{"level_points": 60000, "cases_completed": 300}',
                     '{"ai_credits": 500, "membership_suggestion": "enterprise"}', 25, 400000, 2.0),
                    (8, '合伙人律师', '{"level_points": 150000, "cases_completed": 700}',
                     '{"ai_credits": 800, "membership_suggestion": "enterprise"}', 35, 800000, 2.5),
                    (9, '高级合伙人', '{"level_points": 350000, "cases_completed": 1500}',
                     '{"ai_credits": 1200, "membership_suggestion": "enterprise"}', 50, 1500000, 3.0),
                    (10, '首席合伙人', '{"level_points": 800000, "cases_completed": 3000}',
                     '{"ai_credits": 2000, "membership_suggestion": "enterprise"}', 80, 3000000, 4.0)
            )
            SELECT coalesce(p.level, l.level)::text, coalesce(to_jsonb(l)::text, 'missing'), l.created_at
            FROM promised AS p
            FULL JOIN lawyer_levels AS l ON l.level = p.level
            WHERE (l.name, l.requirements, l.benefits)
                    IS DISTINCT FROM (p.name, p.requirements::jsonb, p.benefits::jsonb)
                OR (l.daily_case_limit, l.monthly_amount_limit, l.priority_weight)
                    IS DISTINCT FROM (p.daily, p.monthly, p.weight)
            """,
        ),
        Invariant(
            code="B01",
            name="lawyer_levels_rise",
            says="levels have no gap, the first needs nothing, and every threshold, limit and benefit rises",
            query="""
            SELECT level::text, 'not above the level below', NULL::timestamptz
            FROM (
                SELECT level, place,
                       points > lag(points) OVER up AND completed > lag(completed) OVER up
                       AND daily_case_limit > lag(daily_case_limit) OVER up
                       AND monthly_amount_limit > lag(monthly_amount_limit) OVER up
                       AND priority_weight > lag(priority_weight) OVER up
                       AND credits > lag(credits) OVER up AS rises,
                       points = 0 AND completed = 0 AS needs_nothing
                FROM (
                    SELECT *, row_number() OVER (ORDER BY level) AS place,
                           CASE WHEN jsonb_typeof(requirements -> 'level_points') = 'number'
                               THEN (requirements ->> 'level_points')::numeric END AS points,
                           CASE WHEN jsonb_typeof(requirements -> 'cases_completed') = 'number'
                               THEN (requirements ->> 'cases_completed')::numeric END AS completed,
                           CASE WHEN jsonb_typeof(benefits -> 'ai_credits') = 'number'
                               THEN (benefits ->> 'ai_credits')::numeric END AS credits
                    FROM lawyer_levels
                ) AS l
                WINDOW up AS (ORDER BY level)
            ) AS ladder
            WHERE level <> place OR (CASE WHEN place = 1 THEN needs_nothing ELSE rises END) IS NOT TRUE
            UNION ALL
            SELECT n::text, 'missing', NULL
            FROM generate_series(1, 10) AS n
            WHERE n NOT IN (SELECT level FROM lawyer_levels)
            """,
        ),
        Invariant(
            code="D04",
            name="packages_as_promised",
            says="the four enterprise packages are field by field those of the business",
            query="""
            WITH promised (name, type, fee, volume, features, credits, dedicated, sla) AS (
                VALUES
                    ('基础企业版', 'basic', 9999, 500,
                     '["batch_debt_collection", "basic_reporting", "email_support",
                       "success_rate_tracking"]',
                     1000, false, 48),
                    ('专业企业版', 'professional', 29999, 2000,
                     '["batch_debt_collection", "advanced_reporting", "priority_support",
                       "custom_templates", "success_rate_tracking", "custom_reports"]',
                     5000, true, 24),
                    ('旗舰企业版', 'enterprise', 99999, 10000,
                     '["batch_debt_collection", "real_time_reporting", "dedicated_support",
                       "custom_integration", "white_label", "success_rate_tracking", "api_access"]',
                     20000, true, 4),
                    ('定制企业版', 'custom', 199999, 50000,
                     '["unlimited_features", "custom_development", "dedicated_team",
                       "on_premise_deployment", "success_rate_tracking", "api_access"]',
                     100000, true, 2)
            )
            SELECT coalesce(p.type, e.package_type), coalesce(to_jsonb(e)::text, 'missing'), e.updated_at
            FROM promised AS p
            FULL JOIN enterprise_service_packages AS e ON e.package_type = p.type
            WHERE (e.package_name, e.monthly_fee, e.case_volume_limit, e.features)
                    IS DISTINCT FROM (p.name, p.fee, p.volume, p.features::jsonb)
                OR (e.ai_credits_included, e.dedicated_support, e.sla_response_time, e.is_active)
                    IS DISTINCT FROM (p.credits, p.dedicated, p.sla, true)
            """,
        ),
        Invariant(
            code="B14",
            name="packages_grow",
            says="from basic to custom, packages grow in fee, volume and credits and shrink in hours of response",
            query="""
            SELECT type, 'not above the package below', NULL::timestamptz
            FROM (
                SELECT o.type, o.place > min(o.place) OVER () AS above,
                       e.monthly_fee > lag(e.monthly_fee) OVER up
                       AND e.case_volume_limit > lag(e.case_volume_limit) OVER up
                       AND e.ai_credits_included > lag(e.ai_credits_included) OVER up
                       AND e.sla_response_time < lag(e.sla_response_time) OVER up AS grows
                FROM (
                    VALUES (1, 'basic'), (2, 'professional'), (3, 'enterprise'), (4, 'custom')
                ) AS o (place, type)
                JOIN enterprise_service_packages AS e ON e.package_type = o.type AND e.is_active
                WINDOW up AS (ORDER BY o.place)
            ) AS ladder
            WHERE above AND grows IS NOT TRUE
            """,
        ),
        Invariant(
            code="D05",
            name="demo_accounts_as_promised",
            says="the two demonstration accounts are field by field those of the business",
            query="""
            WITH promised (workspace_id, type, name, data) AS (
                VALUES
                    ('demo-lawyer-001', 'lawyer', '张律师（演示）',
                     '{"cases_handled": 156, "client_rating": 4.8, "experience_years": 8,
                       "success_rate": 92.5, "specialties": ["合同纠纷", "债务催收", "公司法务"],
                       "demo_cases": [{"id": "demo-case-001", "title": "合同违约纠纷", "amount": 50000,
                                       "status": "进行中"},
                                      {"id": "demo-case-002", "title": "债务催收案件", "amount": 120000,
                                       "status": "已完成"}]}'),
                    ('demo-user-001', 'user', '李先生（演示）',
                     '{"company": "某科技公司", "total_amount": 180000, "cases_published": 3,
                       "demo_cases": [{"id": "demo-case-003", "title": "劳动合同纠纷", "amount": 30000,
                                       "status": "匹配中"}]}')
            )
            SELECT coalesce(p.workspace_id, d.workspace_id),
                   CASE WHEN d.id IS NULL THEN 'missing' WHEN p.workspace_id IS NULL THEN 'one more'
                        ELSE 'with other values' END,
                   d.created_at
            FROM promised AS p
            FULL JOIN demo_accounts AS d ON d.workspace_id = p.workspace_id
            WHERE (d.demo_type, d.display_name, d.demo_data, d.is_active)
                IS DISTINCT FROM (p.type, p.name, p.data::jsonb, true)
            """,
        ),
        # What follows is implied at COMMIT by constraints that the gate has seen, by the above, or may be so.
        Invariant(
            code="D06",
            name="workspace_ids_present",
            says="every user and every mapping has a workspace_id",
            at_gate=False,
            query="""
            SELECT id::text, 'none in users', NULL::timestamptz FROM users WHERE coalesce(workspace_id, '') = ''
            UNION ALL
            SELECT user_id::text, 'none in workspace_mappings', NULL
            FROM workspace_mappings
            WHERE coalesce(workspace_id, '') = ''
            """,
        ),
        Invariant(
            code="D07",
            name="workspace_ids_are_well_formed",
            says="a workspace_id is of 3 to 50 lower-case letters, digits and hyphens, and starts with no hyphen",
            at_gate=False,
            query="""
            SELECT id::text, 'in users', NULL::timestamptz
            FROM users
            WHERE workspace_id !~ '^[a-z0-9][a-z0-9-]{2,49}$'
            UNION ALL
            SELECT user_id::text, 'in workspace_mappings', NULL
            FROM workspace_mappings
            WHERE workspace_id !~ '^[a-z0-9][a-z0-9-]{2,49}$'
            UNION ALL
            SELECT id::text, 'in demo_accounts', NULL
            FROM demo_accounts
            WHERE workspace_id !~ '^[a-z0-9][a-z0-9-]{2,49}$'
            """,
        ),
        Invariant(
            code="D08",
            name="workspace_ids_are_unique",
            says="no two users, no two mappings and no two demonstrations have the same workspace_id",
            at_gate=False,
            query="""
            SELECT min(id::text), count(*) || ' users have its workspace_id', NULL::timestamptz
            FROM users
            GROUP BY workspace_id
            HAVING count(workspace_id) > 1
            UNION ALL
            SELECT min(user_id::text), count(*) || ' mappings have its workspace_id', NULL
            FROM workspace_mappings
            GROUP BY workspace_id
            HAVING count(workspace_id) > 1
            UNION ALL
            SELECT min(id::text), count(*) || ' demonstrations have its workspace_id', NULL
            FROM demo_accounts
            GROUP BY workspace_id
            HAVING count(workspace_id) > 1
            """,
        ),
        Invariant(
            code="D10",
            name="users_are_mapped_once",
            says="no user has two mappings",
            at_gate=False,
            query="""
            SELECT user_id::text, count(*) || ' mappings of one user', NULL::timestamptz
            FROM workspace_mappings
            GROUP BY user_id
            HAVING count(*) > 1
            """,
        ),
        Invariant(
            code="D11",
            name="workspace_ids_of_the_upgrade",
            says="a workspace_id that the upgrade gave is ws- and twelve hexadecimal digits",
            at_gate=False,
            query="""
            SELECT m.user_id::text, 'a workspace_id of another form', greatest(m.created_at, u.created_at, u.updated_at)
            FROM workspace_mappings AS m
            JOIN users AS u ON u.id = m.user_id
            WHERE m.workspace_id !~ '^ws-[0-9a-f]{12}$'
            """,
        ),
        Invariant(
            code="D18",
            name="users_hold_a_known_role",
            says="every user holds one of the roles lawyer, admin, super_admin, user and institution",
            at_gate=False,
            query="""
            SELECT u.id::text, 'none of these roles', NULL::timestamptz
            FROM users AS u
            WHERE u.id NOT IN (
                SELECT ur.user_id
                FROM user_roles AS ur
                JOIN roles AS r ON r.id = ur.role_id
                WHERE ur.user_id IS NOT NULL
                    AND lower(r.name COLLATE "C") IN ('lawyer', 'admin', 'super_admin', 'user', 'institution')
            )
            """,
        ),
        Invariant(
            code="D19",
            name="roles_have_names_of_their_own",
            says="no two roles of a tenant have the same name but for case",
            at_gate=False,
            query="""
            SELECT min(id::text), count(*) || ' roles have its name', NULL::timestamptz
            FROM roles
            GROUP BY tenant_id, lower(name COLLATE "C")
            HAVING count(*) > 1
            """,
        ),
        Invariant(
            code="D20",
            name="json_has_its_shape",
            says="JSON columns hold objects and arrays of the shape that their readers count on",
            at_gate=False,
            query="""
            SELECT id::text, 'lawyer_levels.requirements', NULL::timestamptz
            FROM lawyer_levels
            WHERE (jsonb_typeof(requirements -> 'level_points'), jsonb_typeof(requirements -> 'cases_completed'))
                IS DISTINCT FROM ('number', 'number')
            UNION ALL
            SELECT id::text, 'lawyer_levels.benefits', NULL
            FROM lawyer_levels
            WHERE (jsonb_typeof(benefits -> 'ai_credits'), jsonb_typeof(benefits -> 'membership_suggestion'))
                IS DISTINCT FROM ('number', 'string')
            UNION ALL
            SELECT id::text, 'demo_accounts.demo_data', NULL FROM demo_accounts
            WHERE jsonb_typeof(demo_data) <> 'object'
            UNION ALL
            SELECT id::text, 'enterprise_service_packages.features', NULL FROM enterprise_service_packages
            WHERE jsonb_typeof(features) <> 'array' OR features @? 'strict $[*] ? (@.type() <> "string")'
            UNION ALL
            SELECT lawyer_id::text, 'lawyer_level_details.level_change_history', NULL FROM lawyer_level_details
            WHERE jsonb_typeof(level_change_history) <> 'array'
            UNION ALL
            SELECT id::text, 'lawyer_certification_requests.practice_areas', NULL FROM lawyer_certification_requests
            WHERE jsonb_typeof(practice_areas) <> 'array'
            UNION ALL
            SELECT id::text, 'lawyer_certification_requests.specialization_certificates', NULL
            FROM lawyer_certification_requests
            WHERE jsonb_typeof(specialization_certificates) <> 'array'
            UNION ALL
            SELECT id::text, 'user_memberships.benefits', NULL FROM user_memberships
            WHERE jsonb_typeof(benefits) <> 'object'
            UNION ALL
            SELECT id::text, 'lawyer_memberships.benefits', NULL FROM lawyer_memberships
            WHERE jsonb_typeof(benefits) <> 'object'
            UNION ALL
            SELECT id::text, 'lawyer_point_transactions.metadata', NULL FROM lawyer_point_transactions
            WHERE jsonb_typeof(metadata) <> 'object'
            """,
        ),
        Invariant(
            code="B10",
            name="points_add_up",
            says="points after are points before and the change",
            at_gate=False,
            query="""
            SELECT id::text, points_before || ' and ' || points_change || ' give ' || points_after, NULL::timestamptz
            FROM lawyer_point_transactions
            WHERE points_after <> points_before + points_change
            """,
        ),
        Invariant(
            code="B11",
            name="credits_are_not_negative",
            says="no balance of credits is below 0, and a purchase is of one at least",
            at_gate=False,
            query="""
            SELECT user_id::text, 'user_credits', NULL::timestamptz FROM user_credits
            WHERE least(credits_weekly, credits_remaining, credits_purchased, total_credits_used) < 0
            UNION ALL
            SELECT id::text, 'user_memberships', NULL FROM user_memberships
            WHERE least(credits_monthly, credits_remaining, credits_used) < 0
            UNION ALL
            SELECT id::text, 'lawyer_memberships', NULL FROM lawyer_memberships
            WHERE least(ai_credits_monthly, ai_credits_remaining, ai_credits_used) < 0
            UNION ALL
            SELECT id::text, 'credit_purchase_records', NULL FROM credit_purchase_records WHERE credits_count < 1
            """,
        ),
        Invariant(
            code="B12",
            name="one_active_suspension",
            says="a lawyer has one active suspension at most, and a lifted one is not active",
            at_gate=False,
            query="""
            SELECT lawyer_id::text, count(*) || ' active suspensions', NULL::timestamptz
            FROM lawyer_assignment_suspensions
            WHERE is_active
            GROUP BY lawyer_id
            HAVING count(*) > 1
            UNION ALL
            SELECT id::text, 'lifted and active', NULL
            FROM lawyer_assignment_suspensions
            WHERE is_active AND lifted_at IS NOT NULL
            """,
        ),
        Invariant(
            code="B13",
            name="periods_end_after_they_start",
            says="every period ends at or after its start",
            at_gate=False,
            query="""
            SELECT id::text, 'user_memberships', NULL::timestamptz FROM user_memberships WHERE end_date < start_date
            UNION ALL
            SELECT id::text, 'lawyer_memberships', NULL FROM lawyer_memberships WHERE end_date < start_date
            UNION ALL
            SELECT id::text, 'lawyer_online_sessions', NULL FROM lawyer_online_sessions
            WHERE session_end < session_start
            UNION ALL
            SELECT id::text, 'lawyer_assignment_suspensions', NULL FROM lawyer_assignment_suspensions
            WHERE lifted_at < suspended_at
            UNION ALL
            SELECT id::text, 'lawyer_certification_requests', NULL FROM lawyer_certification_requests
            WHERE reviewed_at < submitted_at
            UNION ALL
            SELECT id::text, 'enterprise_clients', NULL FROM enterprise_clients
            WHERE contract_end_date < contract_start_date
            UNION ALL
            SELECT id::text, 'enterprise_subscriptions', NULL FROM enterprise_subscriptions WHERE end_date < start_date
            UNION ALL
            SELECT id::text, 'collection_success_stats', NULL FROM collection_success_stats
            WHERE period_end < period_start
            """,
        ),
    ),
    figures=(
        Figure(
            "users_without_a_known_role",
            "users that hold none of the roles lawyer, admin, super_admin, user and institution",
            """
            SELECT count(*)
            FROM users AS u
            WHERE u.id NOT IN (
                SELECT ur.user_id
                FROM user_roles AS ur
                JOIN roles AS r ON r.id = ur.role_id
                WHERE ur.user_id IS NOT NULL
                    AND lower(r.name COLLATE "C") IN ('lawyer', 'admin', 'super_admin', 'user', 'institution')
            )
            """,
        ),
    ),
    losses=(
        Loss(
            "lawyer_levels",
            "a level made since",
            "SELECT id::text FROM lawyer_levels WHERE created_at <> :made_at",
        ),
        Loss(
            "lawyer_certification_requests",
            "a certification request",
            "SELECT id::text FROM lawyer_certification_requests",
        ),
        Loss(
            "workspace_mappings",
            "a mapping made since, of a demonstration, or with a workspace_id of its own",
            """
            SELECT m.user_id::text
            FROM workspace_mappings AS m
            JOIN users AS u ON u.id = m.user_id
            WHERE m.created_at <> :made_at OR m.is_demo OR m.workspace_id <> u.workspace_id
            """,
        ),
        Loss(
            "demo_accounts",
            "a demonstration account made since",
            "SELECT id::text FROM demo_accounts WHERE created_at <> :made_at",
        ),
        Loss(
            "lawyer_level_details",
            "level details made or changed since",
            "SELECT lawyer_id::text FROM lawyer_level_details WHERE created_at <> :made_at OR updated_at <> created_at",
        ),
        Loss(
            "lawyer_point_transactions",
            "a points transaction",
            "SELECT id::text FROM lawyer_point_transactions",
        ),
        Loss("lawyer_online_sessions", "an online session", "SELECT id::text FROM lawyer_online_sessions"),
        Loss("user_memberships", "a membership", "SELECT id::text FROM user_memberships"),
        Loss("lawyer_memberships", "a lawyer's membership", "SELECT id::text FROM lawyer_memberships"),
        Loss(
            "user_credits",
            "credits made or changed since",
            "SELECT user_id::text FROM user_credits WHERE created_at <> :made_at OR updated_at <> created_at",
        ),
        Loss("credit_purchase_records", "a purchase of credits", "SELECT id::text FROM credit_purchase_records"),
        Loss("lawyer_case_declines", "a declined case", "SELECT id::text FROM lawyer_case_declines"),
        Loss(
            "lawyer_assignment_suspensions",
            "a suspension",
            "SELECT id::text FROM lawyer_assignment_suspensions",
        ),
        Loss("enterprise_clients", "an enterprise client", "SELECT id::text FROM enterprise_clients"),
        Loss(
            "enterprise_service_packages",
            "a package made or changed since",
            "SELECT id::text FROM enterprise_service_packages WHERE created_at <> :made_at OR updated_at <> created_at",
        ),
        Loss("enterprise_subscriptions", "a subscription", "SELECT id::text FROM enterprise_subscriptions"),
        Loss(
            "collection_success_stats",
            "a statistic of collections",
            "SELECT id::text FROM collection_success_stats",
        ),
        Loss(
            "users",
            "a value in one of the four columns that neither the upgrade nor a default gave",
            """
            SELECT u.id::text
            FROM users AS u
            LEFT JOIN workspace_mappings AS m ON m.user_id = u.id
            WHERE u.email_verified
                OR u.registration_source <> 'web'
                OR u.account_type NOT IN ('pending', coalesce(m.workspace_type, 'pending'))
                OR u.workspace_id !~ '^ws-[0-9a-f]{12}$'
            """,
        ),
    ),
    samples=(
        Sample(
            "tenant",
            "tenants",
            row(
                id="<tenant>",
                name="'trial'",
                tenant_code="'trial-' || <tenant>::text",
                mode="'SAAS'",
                status="'ACTIVE'",
            ),
        ),
        Sample(
            "sales",
            "users",
            row(
                id="<sales>",
                tenant_id="<tenant>",
                username="'trial-' || <sales>::text",
                password_hash="'none'",  # noqa: S106 (no password: what no hash is equal to)
                email="<sales>::text || '@example.invalid'",
                status="'ACTIVE'",
            ),
        ),
        Sample(
            "lawyer",
            "users",
            row(
                id="<lawyer>",
                tenant_id="<tenant>",
                username="'trial-' || <lawyer>::text",
                password_hash="'none'",  # noqa: S106 (no password: what no hash is equal to)
                email="<lawyer>::text || '@example.invalid'",
                status="'ACTIVE'",
            ),
        ),
        Sample(
            "reviewer",
            "users",
            row(
                id="<reviewer>",
                tenant_id="<tenant>",
                username="'trial-' || <reviewer>::text",
                password_hash="'none'",  # noqa: S106 (no password: what no hash is equal to)
                email="<reviewer>::text || '@example.invalid'",
                status="'ACTIVE'",
            ),
        ),
        Sample(
            "buyer",
            "users",
            row(
                id="<buyer>",
                tenant_id="<tenant>",
                username="'trial-' || <buyer>::text",
                password_hash="'none'",  # noqa: S106 (no password: what no hash is equal to)
                email="<buyer>::text || '@example.invalid'",
                status="'ACTIVE'",
            ),
        ),
        Sample("client", "clients", row(id="<client>", tenant_id="<tenant>", name="'trial'", sales_owner_id="<sales>")),
        Sample(
            "case",
            "cases",
            row(
                id="<case>",
                tenant_id="<tenant>",
                client_id="<client>",
                case_number="'trial-' || <case>::text",
                debtor_info="'{}'",
                case_amount="1",
                status="'PENDING'",
                sales_user_id="<sales>",
                debt_creation_date="'2026-01-01'",
                legal_status="'VALID'",
            ),
        ),
        Sample(
            "level",
            "lawyer_levels",
            row(
                id="2147483647",
                level="3",
                name="'trial'",
                requirements="""'{"level_points": 0, "cases_completed": 0}'""",
                benefits="""'{"ai_credits": 0, "membership_suggestion": "free"}'""",
            ),
        ),
        Sample(
            "certification",
            "lawyer_certification_requests",
            row(
                id="<certification>",
                user_id="<lawyer>",
                certificate_file_path="'trial'",
                certificate_file_name="'trial'",
                lawyer_name="'trial'",
                license_number="'trial'",
                reviewed_by="<reviewer>",
                submitted_at="'2026-01-01 00:00:00+00'",
            ),
        ),
        Sample(
            "mapping",
            "workspace_mappings",
            row(user_id="<lawyer>", workspace_id="'trial-' || <mapping>::text", workspace_type="'lawyer'"),
        ),
        Sample(
            "demonstration",
            "demo_accounts",
            row(
                id="<demonstration>",
                demo_type="'user'",
                workspace_id="'trial-' || <demonstration>::text",
                display_name="'trial'",
            ),
        ),
        Sample("details", "lawyer_level_details", row(lawyer_id="<lawyer>", current_level="10")),
        Sample(
            "points",
            "lawyer_point_transactions",
            row(
                id="<points>",
                lawyer_id="<lawyer>",
                transaction_type="'trial'",
                points_before="0",
                points_change="5",
                points_after="5",
                related_case_id="<case>",
            ),
        ),
        Sample(
            "session",
            "lawyer_online_sessions",
            row(id="<session>", lawyer_id="<lawyer>", session_start="'2026-01-01 00:00:00+00'"),
        ),
        Sample(
            "membership",
            "user_memberships",
            row(
                id="<membership>",
                user_id="<lawyer>",
                membership_type="'free'",
                start_date="'2026-01-01'",
                end_date="'2026-12-31'",
            ),
        ),
        Sample(
            "professional",
            "lawyer_memberships",
            row(
                id="<professional>",
                lawyer_id="<lawyer>",
                membership_type="'free'",
                start_date="'2026-01-01'",
                end_date="'2026-12-31'",
            ),
        ),
        Sample("credits", "user_credits", row(user_id="<lawyer>")),
        Sample(
            "purchase",
            "credit_purchase_records",
            row(id="<purchase>", user_id="<buyer>", credits_count="1", total_amount="50"),
        ),
        Sample(
            "decline",
            "lawyer_case_declines",
            row(id="<decline>", lawyer_id="<lawyer>", case_id="<case>"),
        ),
        Sample(
            "suspension",
            "lawyer_assignment_suspensions",
            row(
                id="<suspension>",
                lawyer_id="<lawyer>",
                suspension_reason="'trial'",
                decline_count="3",
                suspended_at="'2026-01-01 00:00:00+00'",
            ),
        ),
        Sample(
            "enterprise",
            "enterprise_clients",
            row(
                id="<enterprise>",
                company_name="'trial'",
                company_type="'bank'",
                contact_person="'trial'",
                contact_phone="'none'",
                contact_email="'trial@example.invalid'",
                service_type="'compliance'",
                assigned_account_manager="<reviewer>",
            ),
        ),
        Sample(
            "package",
            "enterprise_service_packages",
            row(
                id="<package>",
                package_name="'trial'",
                package_type="'custom'",
                monthly_fee="1",
                case_volume_limit="1",
                is_active="false",
            ),
        ),
        Sample(
            "subscription",
            "enterprise_subscriptions",
            row(
                id="<subscription>",
                client_id="<enterprise>",
                package_id="<package>",
                start_date="'2026-01-01'",
                end_date="'2026-12-31'",
                monthly_fee="1",
                cases_limit="1",
            ),
        ),
        Sample(
            "statistic",
            "collection_success_stats",
            row(
                id="<statistic>",
                client_id="<enterprise>",
                period_start="'2026-01-01'",
                period_end="'2026-01-31'",
            ),
        ),
    ),
    trials=(
        Trial(
            "users_account_type_check",
            "lawyer",
            good=rows("account_type", "'pending'", "'user'", "'lawyer'", "'lawyer_pending'", "'admin'"),
            bad=rows("account_type", "'other'", "''"),
        ),
        Trial(
            "ck_users_workspace_id_format",
            "lawyer",
            good=rows("workspace_id", "'a-0'", "'0' || repeat('-', 49)"),
            bad=rows("workspace_id", "'ab'", "'-ab'", "'Abc'", "'a_b'"),
        ),
        Trial(
            "lawyer_levels_level_check",
            "level",
            good=rows("level", "1", "10"),
            bad=rows("level", "0", "11"),
            code="B02",
        ),
        Trial(
            "ck_lawyer_levels_daily_case_limit",
            "level",
            good=rows("daily_case_limit", "1"),
            bad=rows("daily_case_limit", "0"),
        ),
        Trial(
            "ck_lawyer_levels_monthly_amount_limit",
            "level",
            good=rows("monthly_amount_limit", "0"),
            bad=rows("monthly_amount_limit", "-0.01"),
        ),
        Trial(
            "ck_lawyer_levels_priority_weight",
            "level",
            good=rows("priority_weight", "0.01"),
            bad=rows("priority_weight", "0"),
        ),
        Trial(
            "ck_lawyer_levels_requirements",
            "level",
            good=rows("requirements", """'{"level_points": 1, "cases_completed": 1}'"""),
            bad=rows("requirements", """'{"level_points": 1}'""", """'{"cases_completed": 1}'"""),
        ),
        Trial(
            "lawyer_certification_requests_status_check",
            "certification",
            good=(
                row(status="'pending'"),
                row(status="'under_review'"),
                row(status="'approved'", reviewed_at="'2026-01-01 00:00:00+00'"),
                row(status="'rejected'", reviewed_at="'2026-01-01 00:00:00+00'"),
            ),
            bad=rows("status", "'other'"),
        ),
        Trial(
            "ck_lawyer_certification_requests_years_of_experience",
            "certification",
            good=rows("years_of_experience", "0"),
            bad=rows("years_of_experience", "-1"),
        ),
        Trial(
            "ck_lawyer_certification_requests_reviewed_when_decided",
            "certification",
            good=(
                row(status="'approved'", reviewed_at="'2026-01-01 00:00:00+00'"),
                row(status="'pending'"),
            ),
            bad=rows("status", "'approved'", "'rejected'"),
        ),
        Trial(
            "ck_lawyer_certification_requests_review_after_submission",
            "certification",
            good=rows("reviewed_at", "'2026-01-01 00:00:00+00'", "NULL"),
            bad=rows("reviewed_at", "'2025-12-31 23:59:59+00'"),
            code="B13",
        ),
        Trial(
            "workspace_mappings_workspace_type_check",
            "mapping",
            good=rows("workspace_type", "'user'", "'lawyer'", "'admin'"),
            bad=rows("workspace_type", "'other'"),
        ),
        Trial(
            "demo_accounts_demo_type_check",
            "demonstration",
            good=rows("demo_type", "'lawyer'", "'user'"),
            bad=rows("demo_type", "'admin'"),
        ),
        Trial(
            "ck_demo_accounts_demo_data",
            "demonstration",
            good=rows("demo_data", "'{}'"),
            bad=rows("demo_data", "'[]'", "'null'"),
        ),
        Trial(
            "ck_lawyer_level_details_experience_points",
            "details",
            good=rows("experience_points", "0"),
            bad=rows("experience_points", "-1"),
        ),
        Trial(
            "ck_lawyer_level_details_case_counts",
            "details",
            good=rows("cases_won", "0"),
            bad=(
                row(cases_completed="-1"),
                row(cases_won="-1"),
                row(cases_failed="-1"),
            ),
        ),
        Trial(
            "ck_lawyer_level_details_success_rate",
            "details",
            good=rows("success_rate", "0", "100"),
            bad=rows("success_rate", "-0.01", "100.01"),
        ),
        Trial(
            "ck_lawyer_level_details_client_rating",
            "details",
            good=rows("client_rating", "0", "5"),
            bad=rows("client_rating", "-0.01", "5.01"),
        ),
        Trial(
            "ck_lawyer_level_details_totals",
            "details",
            good=rows("total_revenue", "0"),
            bad=(
                row(total_online_hours="-1"),
                row(total_ai_credits_used="-1"),
                row(total_paid_amount="-1"),
                row(total_revenue="-1"),
                row(total_cases_amount="-1"),
            ),
        ),
        Trial(
            "ck_lawyer_level_details_level_change_history",
            "details",
            good=rows("level_change_history", "'[]'"),
            bad=rows("level_change_history", "'{}'"),
        ),
        Trial(
            "ck_lawyer_point_transactions_balance",
            "points",
            good=(row(points_change="-5", points_after="-5"),),
            bad=rows("points_after", "4", "6"),
        ),
        Trial(
            "ck_lawyer_online_sessions_period",
            "session",
            good=rows("session_end", "'2026-01-01 00:00:00+00'", "NULL"),
            bad=rows("session_end", "'2025-12-31 23:59:59+00'"),
            code="B13",
        ),
        Trial(
            "ck_lawyer_online_sessions_duration",
            "session",
            good=rows("duration_minutes", "0", "NULL"),
            bad=rows("duration_minutes", "-1"),
        ),
        Trial(
            "user_memberships_membership_type_check",
            "membership",
            good=rows("membership_type", "'free'", "'basic'", "'professional'", "'premium'", "'enterprise'"),
            bad=rows("membership_type", "'other'"),
        ),
        Trial(
            "user_memberships_payment_status_check",
            "membership",
            good=rows("payment_status", "'pending'", "'paid'", "'expired'", "'cancelled'"),
            bad=rows("payment_status", "'other'"),
        ),
        Trial(
            "ck_user_memberships_period",
            "membership",
            good=rows("end_date", "'2026-01-01'"),
            bad=rows("end_date", "'2025-12-31'"),
            code="B13",
        ),
        Trial(
            "ck_user_memberships_credits",
            "membership",
            good=(row(credits_monthly="0", credits_remaining="0", credits_used="0"),),
            bad=(
                row(credits_monthly="-1"),
                row(credits_remaining="-1"),
                row(credits_used="-1"),
            ),
            code="B11",
        ),
        Trial(
            "ck_user_memberships_payment_amount",
            "membership",
            good=rows("payment_amount", "0"),
            bad=rows("payment_amount", "-0.01"),
        ),
        Trial(
            "lawyer_memberships_membership_type_check",
            "professional",
            good=rows("membership_type", "'free'", "'basic'", "'professional'", "'premium'", "'enterprise'"),
            bad=rows("membership_type", "'other'"),
        ),
        Trial(
            "ck_lawyer_memberships_period",
            "professional",
            good=rows("end_date", "'2026-01-01'"),
            bad=rows("end_date", "'2025-12-31'"),
            code="B13",
        ),
        Trial(
            "ck_lawyer_memberships_ai_credits",
            "professional",
            good=(row(ai_credits_monthly="0", ai_credits_remaining="0", ai_credits_used="0"),),
            bad=(
                row(ai_credits_monthly="-1"),
                row(ai_credits_remaining="-1"),
                row(ai_credits_used="-1"),
            ),
            code="B11",
        ),
        Trial(
            "ck_lawyer_memberships_daily_case_limit",
            "professional",
            good=rows("daily_case_limit", "-1"),
            bad=rows("daily_case_limit", "-2"),
        ),
        Trial(
            "ck_lawyer_memberships_monthly_amount_limit",
            "professional",
            good=rows("monthly_amount_limit", "0"),
            bad=rows("monthly_amount_limit", "-0.01"),
        ),
        Trial(
            "ck_lawyer_memberships_payment_amount",
            "professional",
            good=rows("payment_amount", "0"),
            bad=rows("payment_amount", "-0.01"),
        ),
        Trial(
            "ck_user_credits_balances",
            "credits",
            good=(row(credits_weekly="0", credits_remaining="0"),),
            bad=(
                row(credits_weekly="-1"),
                row(credits_remaining="-1"),
                row(credits_purchased="-1"),
                row(total_credits_used="-1"),
            ),
            code="B11",
        ),
        Trial(
            "credit_purchase_records_status_check",
            "purchase",
            good=rows("status", "'pending'", "'paid'", "'failed'", "'refunded'"),
            bad=rows("status", "'other'"),
        ),
        Trial(
            "ck_credit_purchase_records_credits_count",
            "purchase",
            good=rows("credits_count", "1"),
            bad=rows("credits_count", "0"),
            code="B11",
        ),
        Trial(
            "ck_credit_purchase_records_amounts",
            "purchase",
            good=(row(unit_price="0", total_amount="0"),),
            bad=(
                row(unit_price="-0.01"),
                row(total_amount="-0.01"),
            ),
        ),
        Trial(
            "ck_lawyer_assignment_suspensions_decline_count",
            "suspension",
            good=rows("decline_count", "1"),
            bad=rows("decline_count", "0"),
        ),
        Trial(
            "ck_lawyer_assignment_suspensions_duration",
            "suspension",
            good=rows("suspension_duration_hours", "1"),
            bad=rows("suspension_duration_hours", "0"),
        ),
        Trial(
            "ck_lawyer_assignment_suspensions_period",
            "suspension",
            good=(row(lifted_at="'2026-01-01 00:00:00+00'", is_active="false"),),
            bad=(row(lifted_at="'2025-12-31 23:59:59+00'", is_active="false"),),
            code="B13",
        ),
        Trial(
            "ck_lawyer_assignment_suspensions_lifted_is_inactive",
            "suspension",
            good=(
                row(lifted_at="'2026-01-01 00:00:00+00'", is_active="false"),
                row(is_active="false"),
            ),
            bad=rows("lifted_at", "'2026-01-01 00:00:00+00'"),
            code="B12",
        ),
        Trial(
            "enterprise_clients_status_check",
            "enterprise",
            good=rows("status", "'active'", "'inactive'", "'suspended'"),
            bad=rows("status", "'other'"),
        ),
        Trial(
            "ck_enterprise_clients_contract_period",
            "enterprise",
            good=(
                row(contract_start_date="'2026-01-01'", contract_end_date="'2026-01-01'"),
                row(contract_end_date="'2026-01-01'"),
            ),
            bad=(row(contract_start_date="'2026-01-01'", contract_end_date="'2025-12-31'"),),
            code="B13",
        ),
        Trial(
            "ck_enterprise_clients_monthly_fee",
            "enterprise",
            good=rows("monthly_fee", "0"),
            bad=rows("monthly_fee", "-0.01"),
        ),
        Trial(
            "ck_enterprise_clients_case_volume_limit",
            "enterprise",
            good=rows("case_volume_limit", "0"),
            bad=rows("case_volume_limit", "-1"),
        ),
        Trial(
            "ck_enterprise_clients_priority_level",
            "enterprise",
            good=rows("priority_level", "1", "5"),
            bad=rows("priority_level", "0", "6"),
        ),
        Trial(
            "ck_enterprise_clients_company_type",
            "enterprise",
            good=rows("company_type", "'bank'", "'lending_institution'", "'law_firm'", "'other'"),
            bad=rows("company_type", "'none'"),
        ),
        Trial(
            "ck_enterprise_clients_service_type",
            "enterprise",
            good=rows("service_type", "'debt_collection'", "'legal_consulting'", "'compliance'"),
            bad=rows("service_type", "'none'"),
        ),
        Trial(
            "ck_enterprise_service_packages_monthly_fee",
            "package",
            good=rows("monthly_fee", "0"),
            bad=rows("monthly_fee", "-0.01"),
        ),
        Trial(
            "ck_enterprise_service_packages_case_volume_limit",
            "package",
            good=rows("case_volume_limit", "1"),
            bad=rows("case_volume_limit", "0"),
        ),
        Trial(
            "ck_enterprise_service_packages_sla_response_time",
            "package",
            good=rows("sla_response_time", "1"),
            bad=rows("sla_response_time", "0"),
        ),
        Trial(
            "ck_enterprise_service_packages_ai_credits_included",
            "package",
            good=rows("ai_credits_included", "0"),
            bad=rows("ai_credits_included", "-1"),
        ),
        Trial(
            "ck_enterprise_service_packages_features",
            "package",
            good=rows("features", "'[]'"),
            bad=rows("features", "'{}'"),
        ),
        Trial(
            "ck_enterprise_service_packages_package_type",
            "package",
            good=rows("package_type", "'basic'", "'professional'", "'enterprise'", "'custom'"),
            bad=rows("package_type", "'other'"),
        ),
        Trial(
            "enterprise_subscriptions_status_check",
            "subscription",
            good=rows("status", "'active'", "'expired'", "'cancelled'"),
            bad=rows("status", "'other'"),
        ),
        Trial(
            "ck_enterprise_subscriptions_period",
            "subscription",
            good=rows("end_date", "'2026-01-01'"),
            bad=rows("end_date", "'2025-12-31'"),
            code="B13",
        ),
        Trial(
            "ck_enterprise_subscriptions_cases_used",
            "subscription",
            good=rows("cases_used", "0"),
            bad=rows("cases_used", "-1"),
        ),
        Trial(
            "ck_enterprise_subscriptions_cases_limit",
            "subscription",
            good=rows("cases_limit", "0"),
            bad=rows("cases_limit", "-1"),
        ),
        Trial(
            "ck_enterprise_subscriptions_monthly_fee",
            "subscription",
            good=rows("monthly_fee", "0"),
            bad=rows("monthly_fee", "-0.01"),
        ),
        Trial(
            "ck_collection_success_stats_period",
            "statistic",
            good=rows("period_end", "'2026-01-01'"),
            bad=rows("period_end", "'2025-12-31'"),
            code="B13",
        ),
        Trial(
            "ck_collection_success_stats_counts",
            "statistic",
            good=rows("total_cases", "0"),
            bad=(
                row(total_cases="-1", cases_with_response="-1", cases_with_payment="-1"),
                row(cases_with_response="-1"),
                row(cases_with_payment="-1"),
            ),
        ),
        Trial(
            "ck_collection_success_stats_counts_within_total",
            "statistic",
            good=(row(total_cases="1", cases_with_response="1", cases_with_payment="1"),),
            bad=(
                row(cases_with_response="1"),
                row(cases_with_payment="1"),
            ),
        ),
        Trial(
            "ck_collection_success_stats_rates",
            "statistic",
            good=(
                row(response_rate="0", recovery_rate="0"),
                row(response_rate="1", recovery_rate="1"),
            ),
            bad=(
                row(response_rate="-0.0001"),
                row(response_rate="1.0001"),
                row(recovery_rate="-0.0001"),
                row(recovery_rate="1.0001"),
            ),
        ),
        Trial(
            "ck_collection_success_stats_amounts",
            "statistic",
            good=(row(total_debt_amount="0", recovered_amount="0"),),
            bad=(
                row(total_debt_amount="-0.01"),
                row(recovered_amount="-0.01"),
            ),
        ),
    ),
    twins=(
        Twin(
            "users_workspace_id_key",
            "lawyer",
            row(
                id="<second>",
                username="'trial-' || <second>::text",
                email="NULL",
                workspace_id="'trial-' || <lawyer>::text",
            ),
            first=row(workspace_id="'trial-' || <lawyer>::text"),
        ),
        Twin(
            "lawyer_levels_pkey",
            "level",
            row(id="(SELECT id FROM lawyer_levels WHERE level = 9)"),
            standing="level = 10",
        ),
        Twin("lawyer_levels_level_key", "level", row(id="2147483646"), code="B03"),
        Twin(
            "lawyer_certification_requests_pkey",
            "certification",
            row(status="'approved'", reviewed_at="'2026-01-01 00:00:00+00'"),
        ),
        Twin("uq_lawyer_certification_requests_open", "certification", row(id="<second>", status="'under_review'")),
        Twin("workspace_mappings_pkey", "mapping", row(workspace_id="'trial-' || <second>::text")),
        Twin("workspace_mappings_workspace_id_key", "mapping", row(user_id="<reviewer>")),
        Twin("demo_accounts_pkey", "demonstration", row(workspace_id="'trial-' || <second>::text")),
        Twin("demo_accounts_workspace_id_key", "demonstration", row(id="<second>")),
        Twin("lawyer_level_details_pkey", "details", row()),
        Twin("lawyer_point_transactions_pkey", "points", row()),
        Twin("lawyer_online_sessions_pkey", "session", row()),
        Twin("user_memberships_pkey", "membership", row()),
        Twin("lawyer_memberships_pkey", "professional", row()),
        Twin("user_credits_pkey", "credits", row()),
        Twin("credit_purchase_records_pkey", "purchase", row()),
        Twin("lawyer_case_declines_pkey", "decline", row()),
        Twin("lawyer_assignment_suspensions_pkey", "suspension", row(is_active="false")),
        Twin("uq_lawyer_assignment_suspensions_active", "suspension", row(id="<second>"), code="B12"),
        Twin("enterprise_clients_pkey", "enterprise", row()),
        Twin("enterprise_service_packages_pkey", "package", row()),
        Twin(
            "uq_enterprise_service_packages_active_type",
            "package",
            row(id="<second>", is_active="true"),
            first=row(is_active="true"),
        ),
        Twin("enterprise_subscriptions_pkey", "subscription", row()),
        Twin("collection_success_stats_pkey", "statistic", row(period_end="'2026-02-28'")),
        Twin("uq_collection_success_stats_client_period", "statistic", row(id="<second>")),
    ),
)
