"""The tables of revision 013 for enterprise clients."""

from __future__ import annotations

from sqlalchemy import (
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
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from lawsker_db.models.baseline import key, metadata, moment

enterprise_clients = Table(
    "enterprise_clients",
    metadata,
    key(),
    Column("company_name", String(255), nullable=False),
    Column("company_type", String(50), nullable=False),
    Column("contact_person", String(100), nullable=False),
    Column("contact_phone", String(20), nullable=False),
    Column("contact_email", String(255), nullable=False),
    Column("business_license", String(100)),
    Column("service_type", String(50), nullable=False),
    Column("contract_start_date", Date),
    Column("contract_end_date", Date),
    Column("monthly_fee", Numeric(15, 2), server_default=text("0"), nullable=False),
    Column("case_volume_limit", Integer, server_default=text("1000"), nullable=False),
    Column("priority_level", Integer, server_default=text("1"), nullable=False),
    Column("assigned_account_manager", Uuid, ForeignKey("users.id", ondelete="SET NULL")),
    Column("status", String(20), server_default=text("'active'::character varying"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint("status IN ('active', 'inactive', 'suspended')", name="enterprise_clients_status_check"),
    CheckConstraint(
        "contract_end_date IS NULL OR contract_start_date IS NULL OR contract_end_date >= contract_start_date",
        name="ck_enterprise_clients_contract_period",
    ),
    CheckConstraint("monthly_fee >= 0", name="ck_enterprise_clients_monthly_fee"),
    CheckConstraint("case_volume_limit >= 0", name="ck_enterprise_clients_case_volume_limit"),
    CheckConstraint("priority_level BETWEEN 1 AND 5", name="ck_enterprise_clients_priority_level"),
    CheckConstraint(
        "company_type IN ('bank', 'lending_institution', 'law_firm', 'other')",
        name="ck_enterprise_clients_company_type",
    ),
    CheckConstraint(
        "service_type IN ('debt_collection', 'legal_consulting', 'compliance')",
        name="ck_enterprise_clients_service_type",
    ),
    Index("idx_enterprise_clients_company_type", "company_type"),
    Index("idx_enterprise_clients_status", "status"),
    Index("idx_enterprise_clients_assigned_account_manager", "assigned_account_manager"),
)

enterprise_service_packages = Table(
    "enterprise_service_packages",
    metadata,
    key(),
    Column("package_name", String(100), nullable=False),
    Column("package_type", String(50), nullable=False),
    Column("monthly_fee", Numeric(15, 2), nullable=False),
    Column("case_volume_limit", Integer, nullable=False),
    Column("features", JSONB, server_default=text("'[]'::jsonb"), nullable=False),
    Column("ai_credits_included", Integer, server_default=text("0"), nullable=False),
    Column("dedicated_support", Boolean, server_default=text("false"), nullable=False),
    Column("sla_response_time", Integer, server_default=text("24"), nullable=False),
    Column("is_active", Boolean, server_default=text("true"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint("monthly_fee >= 0", name="ck_enterprise_service_packages_monthly_fee"),
    CheckConstraint("case_volume_limit > 0", name="ck_enterprise_service_packages_case_volume_limit"),
    CheckConstraint("sla_response_time > 0", name="ck_enterprise_service_packages_sla_response_time"),
    CheckConstraint("ai_credits_included >= 0", name="ck_enterprise_service_packages_ai_credits_included"),
    CheckConstraint("jsonb_typeof(features) = 'array'", name="ck_enterprise_service_packages_features"),
    CheckConstraint(
        "package_type IN ('basic', 'professional', 'enterprise', 'custom')",
        name="ck_enterprise_service_packages_package_type",
    ),
    Index(
        "uq_enterprise_service_packages_active_type", "package_type", unique=True, postgresql_where=text("is_active")
    ),
)

enterprise_subscriptions = Table(
    "enterprise_subscriptions",
    metadata,
    key(),
    Column("client_id", Uuid, ForeignKey("enterprise_clients.id", ondelete="CASCADE"), nullable=False),
    Column("package_id", Uuid, ForeignKey("enterprise_service_packages.id", ondelete="RESTRICT"), nullable=False),
    Column("start_date", Date, nullable=False),
    Column("end_date", Date, nullable=False),
    Column("monthly_fee", Numeric(15, 2), nullable=False),
    Column("cases_used", Integer, server_default=text("0"), nullable=False),
    Column("cases_limit", Integer, nullable=False),
    Column("auto_renewal", Boolean, server_default=text("true"), nullable=False),
    Column("status", String(20), server_default=text("'active'::character varying"), nullable=False),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint("status IN ('active', 'expired', 'cancelled')", name="enterprise_subscriptions_status_check"),
    CheckConstraint("end_date >= start_date", name="ck_enterprise_subscriptions_period"),
    CheckConstraint("cases_used >= 0", name="ck_enterprise_subscriptions_cases_used"),
    CheckConstraint("cases_limit >= 0", name="ck_enterprise_subscriptions_cases_limit"),
    CheckConstraint("monthly_fee >= 0", name="ck_enterprise_subscriptions_monthly_fee"),
    Index("idx_enterprise_subscriptions_client_id", "client_id"),
    Index("idx_enterprise_subscriptions_status", "status"),
    Index("idx_enterprise_subscriptions_package_id", "package_id"),
)

collection_success_stats = Table(
    "collection_success_stats",
    metadata,
    key(),
    Column("client_id", Uuid, ForeignKey("enterprise_clients.id", ondelete="SET NULL")),
    Column("period_start", Date, nullable=False),
    Column("period_end", Date, nullable=False),
    Column("total_cases", Integer, server_default=text("0"), nullable=False),
    Column("cases_with_response", Integer, server_default=text("0"), nullable=False),
    Column("cases_with_payment", Integer, server_default=text("0"), nullable=False),
    Column("total_debt_amount", Numeric(18, 2), server_default=text("0"), nullable=False),
    Column("recovered_amount", Numeric(18, 2), server_default=text("0"), nullable=False),
    Column("response_rate", Numeric(5, 4), server_default=text("0"), nullable=False),
    Column("recovery_rate", Numeric(5, 4), server_default=text("0"), nullable=False),
    Column("average_recovery_time", Integer),
    moment("created_at"),
    moment("updated_at"),
    CheckConstraint("period_end >= period_start", name="ck_collection_success_stats_period"),
    CheckConstraint(
        "total_cases >= 0 AND cases_with_response >= 0 AND cases_with_payment >= 0",
        name="ck_collection_success_stats_counts",
    ),
    CheckConstraint(
        "cases_with_response <= total_cases AND cases_with_payment <= total_cases",
        name="ck_collection_success_stats_counts_within_total",
    ),
    CheckConstraint(
        "response_rate BETWEEN 0 AND 1 AND recovery_rate BETWEEN 0 AND 1", name="ck_collection_success_stats_rates"
    ),
    CheckConstraint("total_debt_amount >= 0 AND recovered_amount >= 0", name="ck_collection_success_stats_amounts"),
    Index("idx_collection_success_stats_client_id", "client_id"),
    Index("idx_collection_success_stats_period", "period_start", "period_end"),
    Index("uq_collection_success_stats_client_period", "client_id", "period_start", "period_end", unique=True),
)
