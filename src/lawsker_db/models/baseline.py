"""The 13 tables and 10 enum types of revision 012, with the four columns that 013 adds to users."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM, JSONB

MOMENT = DateTime(timezone=True)

metadata = MetaData(
    naming_convention={  # PostgreSQL's own default names
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
    }
)


def moment(name: str) -> Column[datetime]:
    """A point in time that the server fills in."""
    return Column(name, MOMENT, server_default=text("now()"), nullable=False)


def key() -> Column[UUID]:
    """A primary key that the server fills in."""
    return Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()"))


CASESTATUS = ENUM("PENDING", "ASSIGNED", "IN_PROGRESS", "COMPLETED", "CLOSED", "EXPIRED", name="casestatus")
COMMISSIONSTATUS = ENUM("PENDING", "PAID", "FAILED", name="commissionstatus")
INSURANCESTATUS = ENUM("PENDING", "ACTIVE", "CLAIMED", "EXPIRED", name="insurancestatus")
LEGALSTATUS = ENUM("VALID", "EXPIRING_SOON", "EXPIRED", name="legalstatus")
TENANTMODE = ENUM("SAAS", "ON_PREMISE", name="tenantmode")
TENANTSTATUS = ENUM("TRIAL", "ACTIVE", "SUSPENDED", "EXPIRED", name="tenantstatus")
TRANSACTIONSTATUS = ENUM("PENDING", "COMPLETED", "FAILED", name="transactionstatus")
TRANSACTIONTYPE = ENUM("PAYMENT", "REFUND", "PAYOUT", name="transactiontype")
USERSTATUS = ENUM("PENDING", "ACTIVE", "INACTIVE", "BANNED", name="userstatus")
VERIFICATIONSTATUS = ENUM("UNVERIFIED", "PENDING", "VERIFIED", "FAILED", name="verificationstatus")

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("tenant_code", String(50), nullable=False),
    Column("mode", TENANTMODE, nullable=False),
    Column("status", TENANTSTATUS, nullable=False),
    Column("domain", String(255), unique=True),
    Column("feature_flags", JSONB),
    Column("system_config", JSONB),
    Column("api_limits", JSONB),
    Column("billing_info", JSONB),
    Column("subscription_plan", String(50)),
    Column("max_users", Uuid),
    Column("max_cases", Uuid),
    moment("created_at"),
    moment("updated_at"),
    Column("trial_expires_at", MOMENT),
    Index("ix_tenants_tenant_code", "tenant_code", unique=True),
)

roles = Table(
    "roles",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("name", String(50), nullable=False),
    Column("description", Text),
    Column("permissions", JSONB),
    moment("created_at"),
    moment("updated_at"),
)

system_configs = Table(
    "system_configs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id")),
    Column("category", String(50), nullable=False),
    Column("key", String(255), nullable=False),
    Column("value", JSONB, nullable=False),
    Column("description", Text),
    Column("is_active", Boolean, nullable=False),
    Column("is_editable", Boolean, nullable=False),
    Column("min_value", String(50)),
    Column("max_value", String(50)),
    moment("created_at"),
    moment("updated_at"),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("username", String(255), nullable=False),
    Column("password_hash", String(255), nullable=False),
    Column("email", String(255)),
    Column("phone_number", String(20)),
    Column("status", USERSTATUS, nullable=False),
    moment("created_at"),
    moment("updated_at"),
    Column("last_login", MOMENT),
    Column(
        "workspace_id",
        String(50),
        server_default=text(
            # as the server prints it: a random default cannot be compared by its value
            "('ws-'::text || substr(replace((gen_random_uuid())::text, '-'::text, ''::text), 1, 12))"
        ),
        unique=True,
        nullable=False,
    ),
    Column("account_type", String(20), server_default=text("'pending'"), nullable=False),
    Column("email_verified", Boolean, server_default=text("false"), nullable=False),
    Column("registration_source", String(20), server_default=text("'web'"), nullable=False),
    CheckConstraint(
        "account_type IN ('pending', 'user', 'lawyer', 'lawyer_pending', 'admin')", name="users_account_type_check"
    ),
    CheckConstraint("workspace_id ~ '^[a-z0-9][a-z0-9-]{2,49}$'", name="ck_users_workspace_id_format"),
    Index("ix_users_email", "email", unique=True),
    Index("ix_users_phone_number", "phone_number", unique=True),
    Index("ix_users_username", "username", unique=True),
    Index("idx_users_account_type", "account_type"),
    Index("idx_users_email_verified", "email_verified", postgresql_where=text("email_verified = false")),
)

clients = Table(
    "clients",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("client_type", String(50)),
    Column("business_license", String(100)),
    Column("contact_person", String(100)),
    Column("contact_phone", String(20)),
    Column("contact_email", String(255)),
    Column("address", Text),
    Column("sales_owner_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("cooperation_level", String(20)),
    Column("credit_rating", String(10)),
    Column("total_cases", Integer),
    Column("total_amount", Numeric(18, 2)),
    Column("success_rate", Numeric(5, 4)),
    moment("created_at"),
    moment("updated_at"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("full_name", String(255)),
    Column("id_card_number", String(18)),
    Column("qualification_details", JSONB),
    Column("did", String(255), unique=True),
    Column("verification_status", VERIFICATIONSTATUS, nullable=False),
    Column("avatar_url", String(500)),
    Column("bio", Text),
    moment("created_at"),
    moment("updated_at"),
    Index("ix_profiles_id_card_number", "id_card_number"),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("role_id", Uuid, ForeignKey("roles.id"), primary_key=True),
    Column("assigned_at", MOMENT, server_default=text("now()"), nullable=False),
)

wallets = Table(
    "wallets",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("balance", Numeric(18, 2), nullable=False),
    Column("withdrawable_balance", Numeric(18, 2), nullable=False),
    Column("frozen_balance", Numeric(18, 2), nullable=False),
    Column("total_earned", Numeric(18, 2), nullable=False),
    Column("total_withdrawn", Numeric(18, 2), nullable=False),
    Column("commission_count", Numeric(10, 0), nullable=False),
    Column("last_commission_at", MOMENT),
    moment("created_at"),
    moment("updated_at"),
)

cases = Table(
    "cases",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("client_id", Uuid, ForeignKey("clients.id"), nullable=False),
    Column("case_number", String(100), nullable=False),
    Column("debtor_info", JSONB, nullable=False),
    Column("case_amount", Numeric(18, 2), nullable=False),
    Column("status", CASESTATUS, nullable=False),
    Column("assigned_to_user_id", Uuid, ForeignKey("users.id")),
    Column("sales_user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("ai_risk_score", Integer),
    Column("data_quality_score", Integer),
    Column("data_freshness_score", Integer),
    Column("debt_creation_date", Date, nullable=False),
    Column("last_follow_up_date", Date),
    Column("legal_status", LEGALSTATUS, nullable=False),
    Column("limitation_expires_at", Date),
    Column("description", Text),
    Column("notes", Text),
    Column("tags", JSONB),
    moment("created_at"),
    moment("updated_at"),
    Column("completed_at", MOMENT),
    Index("ix_cases_case_number", "case_number", unique=True),
)

case_logs = Table(
    "case_logs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("case_id", Uuid, ForeignKey("cases.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id")),
    Column("action", String(255), nullable=False),
    Column("details", JSONB),
    Column("old_values", JSONB),
    Column("new_values", JSONB),
    Column("ip_address", String(45)),
    Column("user_agent", Text),
    moment("created_at"),
)

insurances = Table(
    "insurances",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("case_id", Uuid, ForeignKey("cases.id"), unique=True, nullable=False),
    Column("policy_number", String(255), nullable=False),
    Column("insurance_company", String(255), nullable=False),
    Column("premium_amount", Numeric(18, 2), nullable=False),
    Column("coverage_amount", Numeric(18, 2), nullable=False),
    Column("status", INSURANCESTATUS, nullable=False),
    Column("effective_date", Date),
    Column("expiry_date", Date),
    Column("claim_amount", Numeric(18, 2)),
    Column("claim_date", Date),
    Column("claim_details", JSONB),
    moment("created_at"),
    moment("updated_at"),
)

transactions = Table(
    "transactions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("case_id", Uuid, ForeignKey("cases.id"), nullable=False),
    Column("amount", Numeric(18, 2), nullable=False),
    Column("transaction_type", TRANSACTIONTYPE, nullable=False),
    Column("status", TRANSACTIONSTATUS, nullable=False),
    Column("payment_gateway", String(50)),
    Column("gateway_txn_id", String(255), unique=True),
    Column("gateway_response", JSONB),
    Column("description", String(500)),
    Column("notes", String(1000)),
    moment("created_at"),
    moment("updated_at"),
    Column("completed_at", MOMENT),
)

commission_splits = Table(
    "commission_splits",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("transaction_id", Uuid, ForeignKey("transactions.id"), nullable=False),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("role_at_split", String(50), nullable=False),
    Column("amount", Numeric(18, 2), nullable=False),
    Column("percentage", Numeric(5, 4), nullable=False),
    Column("status", COMMISSIONSTATUS, nullable=False),
    Column("payout_method", String(50)),
    Column("payout_account", String(255)),
    Column("payout_txn_id", String(255)),
    moment("created_at"),
    Column("paid_at", MOMENT),
)
