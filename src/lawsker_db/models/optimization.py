"""The tables of revision 013 for lawyers and users: levels, workspaces, memberships, credits, penalties."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from lawsker_db.models.baseline import MOMENT, key, metadata, moment

lawyer_levels = Table(
    "lawyer_levels",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("level", Integer, unique=True, nullable=False),
    Column("name", String(50), nullable=False),
    Column("requirements", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    Column("benefits", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    Column("daily_case_limit", Integer, server_default=text("5"), nullable=False),
    Column("monthly_amount_limit", Numeric(15, 2), server_default=text("50000"), nullable=False),
    Column("priority_weight", Numeric(3, 2), server_default=text("1.0"), nullable=False),
    moment("created_at"),
    CheckConstraint("level BETWEEN 1 AND 10", name="lawyer_levels_level_check"),
    CheckConstraint("daily_case_limit >= 1", name="ck_lawyer_levels_daily_case_limit"),
    CheckConstraint("monthly_amount_limit >= 0", name="ck_lawyer_levels_monthly_amount_limit"),
    CheckConstraint("priority_weight > 0", name="ck_lawyer_levels_priority_weight"),
    CheckConstraint(
        "requirements ? 'level_points' AND requirements ? 'cases_completed'", name="ck_lawyer_levels_requirements"
    ),
)

lawyer_certification_requests = Table(
    "lawyer_certification_requests",
    metadata,
    key(),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("certificate_file_path", String(500), nullable=False),
    Column("certificate_file_name", String(255), nullable=False),
    Column("lawyer_name", String(100), nullable=False),
    Column("license_number", String(50), nullable=False),
    Column("law_firm", String(200)),
    Column("practice_areas", JSONB, server_default=text("'[]'::jsonb"), nullable=False),
    Column("years_of_experience", Integer, server_default=text("0"), nullable=False),
    Column("education_background", Text),
    Column("specialization_certificates", JSONB, server_default=text("'[]'::jsonb"), nullable=False),
    Column("status", String(20), server_default=text("'pending'::character varying"), nullable=False),
    Column("admin_review_notes", Text),
    Column("reviewed_by", Uuid, ForeignKey("users.id", ondelete="SET NULL")),
    Column("reviewed_at", MOMENT),
    Column("submitted_at", MOMENT, server_default=text("now()"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint(
        "status IN ('pending', 'approved', 'rejected', 'under_review')",
        name="lawyer_certification_requests_status_check",
    ),
    CheckConstraint("years_of_experience >= 0", name="ck_lawyer_certification_requests_years_of_experience"),
    CheckConstraint(
        "status NOT IN ('approved', 'rejected') OR reviewed_at IS NOT NULL",
        name="ck_lawyer_certification_requests_reviewed_when_decided",
    ),
    CheckConstraint(
        "reviewed_at IS NULL OR reviewed_at >= submitted_at",
        name="ck_lawyer_certification_requests_review_after_submission",
    ),
    Index("idx_lawyer_certification_requests_status", "status"),
    Index("idx_lawyer_certification_requests_user_id", "user_id"),
    Index("idx_lawyer_certification_requests_reviewed_by", "reviewed_by"),
    Index(
        "uq_lawyer_certification_requests_open",
        "user_id",
        unique=True,
        postgresql_where=text("status IN ('pending', 'under_review')"),
    ),
)

workspace_mappings = Table(
    "workspace_mappings",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", String(50), unique=True, nullable=False),
    Column("workspace_type", String(20), nullable=False),
    Column("is_demo", Boolean, server_default=text("false"), nullable=False),
    moment("created_at"),
    CheckConstraint("workspace_type IN ('user', 'lawyer', 'admin')", name="workspace_mappings_workspace_type_check"),
)

demo_accounts = Table(
    "demo_accounts",
    metadata,
    key(),
    Column("demo_type", String(20), nullable=False),
    Column("workspace_id", String(50), unique=True, nullable=False),
    Column("display_name", String(100), nullable=False),
    Column("demo_data", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    Column("is_active", Boolean, server_default=text("true"), nullable=False),
    moment("created_at"),
    CheckConstraint("demo_type IN ('lawyer', 'user')", name="demo_accounts_demo_type_check"),
    CheckConstraint("jsonb_typeof(demo_data) = 'object'", name="ck_demo_accounts_demo_data"),
    Index("idx_demo_accounts_demo_type", "demo_type"),
)

lawyer_level_details = Table(
    "lawyer_level_details",
    metadata,
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("current_level", Integer, ForeignKey("lawyer_levels.level"), server_default=text("1"), nullable=False),
    Column("level_points", BigInteger, server_default=text("0"), nullable=False),
    Column("experience_points", BigInteger, server_default=text("0"), nullable=False),
    Column("cases_completed", Integer, server_default=text("0"), nullable=False),
    Column("cases_won", Integer, server_default=text("0"), nullable=False),
    Column("cases_failed", Integer, server_default=text("0"), nullable=False),
    Column("success_rate", Numeric(5, 2), server_default=text("0"), nullable=False),
    Column("client_rating", Numeric(3, 2), server_default=text("0"), nullable=False),
    Column("total_revenue", Numeric(15, 2), server_default=text("0"), nullable=False),
    Column("total_online_hours", Integer, server_default=text("0"), nullable=False),
    Column("total_cases_amount", Numeric(18, 2), server_default=text("0"), nullable=False),
    Column("total_ai_credits_used", Integer, server_default=text("0"), nullable=False),
    Column("total_paid_amount", Numeric(15, 2), server_default=text("0"), nullable=False),
    Column("response_time_avg", Integer, server_default=text("0"), nullable=False),
    Column("case_completion_speed", Numeric(5, 2), server_default=text("0"), nullable=False),
    Column("quality_score", Numeric(5, 2), server_default=text("0"), nullable=False),
    Column("upgrade_eligible", Boolean, server_default=text("false"), nullable=False),
    Column("downgrade_risk", Boolean, server_default=text("false"), nullable=False),
    Column("next_review_date", Date),
    Column("last_upgrade_date", Date),
    Column("last_downgrade_date", Date),
    Column("level_change_history", JSONB, server_default=text("'[]'::jsonb"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint("experience_points >= 0", name="ck_lawyer_level_details_experience_points"),
    CheckConstraint(
        "cases_completed >= 0 AND cases_won >= 0 AND cases_failed >= 0", name="ck_lawyer_level_details_case_counts"
    ),
    CheckConstraint("success_rate BETWEEN 0 AND 100", name="ck_lawyer_level_details_success_rate"),
    CheckConstraint("client_rating BETWEEN 0 AND 5", name="ck_lawyer_level_details_client_rating"),
    CheckConstraint(
        "total_online_hours >= 0 AND total_ai_credits_used >= 0"
        " AND total_paid_amount >= 0 AND total_revenue >= 0 AND total_cases_amount >= 0",
        name="ck_lawyer_level_details_totals",
    ),
    CheckConstraint(
        "jsonb_typeof(level_change_history) = 'array'", name="ck_lawyer_level_details_level_change_history"
    ),
    Index("idx_lawyer_level_details_eligible", "upgrade_eligible", postgresql_where=text("upgrade_eligible = true")),
    Index("idx_lawyer_level_details_level", "current_level"),
)

lawyer_point_transactions = Table(
    "lawyer_point_transactions",
    metadata,
    key(),
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("transaction_type", String(50), nullable=False),
    Column("points_change", BigInteger, nullable=False),
    Column("points_before", BigInteger, nullable=False),
    Column("points_after", BigInteger, nullable=False),
    Column("related_case_id", Uuid, ForeignKey("cases.id", ondelete="SET NULL")),
    Column("related_review_id", Uuid),
    Column("description", Text),
    Column("metadata", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    moment("created_at"),
    CheckConstraint("points_after = points_before + points_change", name="ck_lawyer_point_transactions_balance"),
    Index("idx_lawyer_point_transactions_created_at", "created_at"),
    Index("idx_lawyer_point_transactions_lawyer_id", "lawyer_id"),
    Index("idx_lawyer_point_transactions_type", "transaction_type"),
    Index("idx_lawyer_point_transactions_related_case_id", "related_case_id"),
)

lawyer_online_sessions = Table(
    "lawyer_online_sessions",
    metadata,
    key(),
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("session_start", MOMENT, nullable=False),
    Column("session_end", MOMENT),
    Column("duration_minutes", Integer),
    Column("points_earned", Integer, server_default=text("0"), nullable=False),
    moment("created_at"),
    CheckConstraint("session_end IS NULL OR session_end >= session_start", name="ck_lawyer_online_sessions_period"),
    CheckConstraint("duration_minutes IS NULL OR duration_minutes >= 0", name="ck_lawyer_online_sessions_duration"),
    Index("idx_lawyer_online_sessions_date", "session_start"),
    Index("idx_lawyer_online_sessions_lawyer_id", "lawyer_id"),
)

user_memberships = Table(
    "user_memberships",
    metadata,
    key(),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("membership_type", String(50), nullable=False),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("benefits", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    Column("credits_monthly", Integer, server_default=text("0"), nullable=False),
    Column("credits_remaining", Integer, server_default=text("0"), nullable=False),
    Column("credits_used", Integer, server_default=text("0"), nullable=False),
    Column("auto_renewal", Boolean, server_default=text("false"), nullable=False),
    Column("payment_amount", Numeric(10, 2), server_default=text("0"), nullable=False),
    Column("payment_status", String(20), server_default=text("'pending'::character varying"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint(
        "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
        name="user_memberships_membership_type_check",
    ),
    CheckConstraint(
        "payment_status IN ('pending', 'paid', 'expired', 'cancelled')", name="user_memberships_payment_status_check"
    ),
    CheckConstraint("end_date >= start_date", name="ck_user_memberships_period"),
    CheckConstraint(
        "credits_monthly >= 0 AND credits_remaining >= 0 AND credits_used >= 0", name="ck_user_memberships_credits"
    ),
    CheckConstraint("payment_amount >= 0", name="ck_user_memberships_payment_amount"),
    Index("idx_user_memberships_type_status", "membership_type", "payment_status"),
    Index("idx_user_memberships_user_id", "user_id"),
)

lawyer_memberships = Table(
    "lawyer_memberships",
    metadata,
    key(),
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("membership_type", String(50), nullable=False),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("benefits", JSONB, server_default=text("'{}'::jsonb"), nullable=False),
    Column("daily_case_limit", Integer, server_default=text("5"), nullable=False),
    Column("monthly_amount_limit", Numeric(15, 2), server_default=text("50000"), nullable=False),
    Column("ai_credits_monthly", Integer, server_default=text("50"), nullable=False),
    Column("ai_credits_remaining", Integer, server_default=text("50"), nullable=False),
    Column("ai_credits_used", Integer, server_default=text("0"), nullable=False),
    Column("auto_renewal", Boolean, server_default=text("false"), nullable=False),
    Column("payment_amount", Numeric(10, 2), server_default=text("0"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint(
        "membership_type IN ('free', 'basic', 'professional', 'premium', 'enterprise')",
        name="lawyer_memberships_membership_type_check",
    ),
    CheckConstraint("end_date >= start_date", name="ck_lawyer_memberships_period"),
    CheckConstraint(
        "ai_credits_monthly >= 0 AND ai_credits_remaining >= 0 AND ai_credits_used >= 0",
        name="ck_lawyer_memberships_ai_credits",
    ),
    CheckConstraint("daily_case_limit >= -1", name="ck_lawyer_memberships_daily_case_limit"),
    CheckConstraint("monthly_amount_limit >= 0", name="ck_lawyer_memberships_monthly_amount_limit"),
    CheckConstraint("payment_amount >= 0", name="ck_lawyer_memberships_payment_amount"),
    Index("idx_lawyer_memberships_lawyer_id", "lawyer_id"),
)

user_credits = Table(
    "user_credits",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("credits_weekly", Integer, server_default=text("1"), nullable=False),
    Column("credits_remaining", Integer, server_default=text("1"), nullable=False),
    Column("credits_purchased", Integer, server_default=text("0"), nullable=False),
    Column("total_credits_used", Integer, server_default=text("0"), nullable=False),
    Column("last_reset_date", Date, server_default=text("CURRENT_DATE"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint(
        "credits_weekly >= 0 AND credits_remaining >= 0 AND credits_purchased >= 0 AND total_credits_used >= 0",
        name="ck_user_credits_balances",
    ),
    Index("idx_user_credits_reset_date", "last_reset_date"),
)

credit_purchase_records = Table(
    "credit_purchase_records",
    metadata,
    key(),
    Column("user_id", Uuid, ForeignKey("users.id", ondelete="RESTRICT"), nullable=False),
    Column("credits_count", Integer, nullable=False),
    Column("unit_price", Numeric(10, 2), server_default=text("50.00"), nullable=False),
    Column("total_amount", Numeric(10, 2), nullable=False),
    Column("payment_order_id", Uuid),
    Column("status", String(20), server_default=text("'pending'::character varying"), nullable=False),
    moment("created_at"),
    CheckConstraint("status IN ('pending', 'paid', 'failed', 'refunded')", name="credit_purchase_records_status_check"),
    CheckConstraint("credits_count > 0", name="ck_credit_purchase_records_credits_count"),
    CheckConstraint("unit_price >= 0 AND total_amount >= 0", name="ck_credit_purchase_records_amounts"),
    Index("idx_credit_purchase_records_status", "status"),
    Index("idx_credit_purchase_records_user_id", "user_id"),
)

lawyer_case_declines = Table(
    "lawyer_case_declines",
    metadata,
    key(),
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("case_id", Uuid, ForeignKey("cases.id", ondelete="CASCADE"), nullable=False),
    Column("decline_reason", Text),
    Column("points_penalty", Integer, server_default=text("0"), nullable=False),
    Column("priority_impact", Numeric(3, 2), server_default=text("'-0.1'::numeric"), nullable=False),
    moment("created_at"),
    Index("idx_lawyer_case_declines_case_id", "case_id"),
    Index("idx_lawyer_case_declines_created_at", "created_at"),
    Index("idx_lawyer_case_declines_lawyer_id", "lawyer_id"),
)

lawyer_assignment_suspensions = Table(
    "lawyer_assignment_suspensions",
    metadata,
    key(),
    Column("lawyer_id", Uuid, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("suspension_reason", String(100), nullable=False),
    Column("decline_count", Integer, nullable=False),
    Column("suspended_at", MOMENT, nullable=False),
    Column("suspension_duration_hours", Integer, server_default=text("24"), nullable=False),
    Column("lifted_at", MOMENT),
    Column("is_active", Boolean, server_default=text("true"), nullable=False),
    moment("created_at"),
    CheckConstraint("decline_count >= 1", name="ck_lawyer_assignment_suspensions_decline_count"),
    CheckConstraint("suspension_duration_hours > 0", name="ck_lawyer_assignment_suspensions_duration"),
    CheckConstraint("lifted_at IS NULL OR lifted_at >= suspended_at", name="ck_lawyer_assignment_suspensions_period"),
    CheckConstraint(
        "NOT (is_active AND lifted_at IS NOT NULL)", name="ck_lawyer_assignment_suspensions_lifted_is_inactive"
    ),
    Index("idx_lawyer_assignment_suspensions_active", "is_active", postgresql_where=text("is_active = true")),
    Index("idx_lawyer_assignment_suspensions_lawyer_id", "lawyer_id"),
    Index("uq_lawyer_assignment_suspensions_active", "lawyer_id", unique=True, postgresql_where=text("is_active")),
)
