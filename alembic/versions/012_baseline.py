"""The baseline: the 13 tables and 10 enum types of the live Lawsker databases, for an empty database.

A live database has them already and is adopted: stamped with this revision after a check. The oddities
(tenants.max_users is a uuid) are what the live databases really have.

Revision ID: 012
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ENUM, JSONB

from lawsker_db import ops
from lawsker_db.contract import Column, Contract, Enum, ForeignKey, Index, Required, Table, Unique

revision = "012"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_enum_types()
    create_tenants()
    create_roles()
    create_system_configs()
    create_users()
    create_clients()
    create_profiles()
    create_user_roles()
    create_wallets()
    create_cases()
    create_case_logs()
    create_insurances()
    create_transactions()
    create_commission_splits()
    ops.check_group(contract, "baseline")


def downgrade() -> None:
    """Undo what this revision did: a database that was adopted, or that holds a row, keeps everything."""
    ops.refuse_adopted()
    ops.refuse_rows(
        (
            "tenants",
            "roles",
            "system_configs",
            "users",
            "clients",
            "profiles",
            "user_roles",
            "wallets",
            "cases",
            "case_logs",
            "insurances",
            "transactions",
            "commission_splits",
        )
    )
    op.drop_table("commission_splits")
    op.drop_table("transactions")
    op.drop_table("insurances")
    op.drop_table("case_logs")
    op.drop_table("cases")
    op.drop_table("wallets")
    op.drop_table("user_roles")
    op.drop_table("profiles")
    op.drop_table("clients")
    op.drop_table("users")
    op.drop_table("system_configs")
    op.drop_table("roles")
    op.drop_table("tenants")
    drop_enum_types()


def create_enum_types() -> None:
    op.execute(
        "CREATE TYPE casestatus AS ENUM ('PENDING', 'ASSIGNED', 'IN_PROGRESS', 'COMPLETED', 'CLOSED', 'EXPIRED')"
    )
    op.execute("CREATE TYPE commissionstatus AS ENUM ('PENDING', 'PAID', 'FAILED')")
    op.execute("CREATE TYPE insurancestatus AS ENUM ('PENDING', 'ACTIVE', 'CLAIMED', 'EXPIRED')")
    op.execute("CREATE TYPE legalstatus AS ENUM ('VALID', 'EXPIRING_SOON', 'EXPIRED')")
    op.execute("CREATE TYPE tenantmode AS ENUM ('SAAS', 'ON_PREMISE')")
    op.execute("CREATE TYPE tenantstatus AS ENUM ('TRIAL', 'ACTIVE', 'SUSPENDED', 'EXPIRED')")
    op.execute("CREATE TYPE transactionstatus AS ENUM ('PENDING', 'COMPLETED', 'FAILED')")
    op.execute("CREATE TYPE transactiontype AS ENUM ('PAYMENT', 'REFUND', 'PAYOUT')")
    op.execute("CREATE TYPE userstatus AS ENUM ('PENDING', 'ACTIVE', 'INACTIVE', 'BANNED')")
    op.execute("CREATE TYPE verificationstatus AS ENUM ('UNVERIFIED', 'PENDING', 'VERIFIED', 'FAILED')")


def drop_enum_types() -> None:
    op.execute("DROP TYPE verificationstatus")
    op.execute("DROP TYPE userstatus")
    op.execute("DROP TYPE transactiontype")
    op.execute("DROP TYPE transactionstatus")
    op.execute("DROP TYPE tenantstatus")
    op.execute("DROP TYPE tenantmode")
    op.execute("DROP TYPE legalstatus")
    op.execute("DROP TYPE insurancestatus")
    op.execute("DROP TYPE commissionstatus")
    op.execute("DROP TYPE casestatus")


def create_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("tenant_code", sa.String(50), nullable=False),
        sa.Column("mode", ENUM(name="tenantmode", create_type=False), nullable=False),
        sa.Column("status", ENUM(name="tenantstatus", create_type=False), nullable=False),
        sa.Column("domain", sa.String(255), nullable=True),
        sa.Column("feature_flags", JSONB(), nullable=True),
        sa.Column("system_config", JSONB(), nullable=True),
        sa.Column("api_limits", JSONB(), nullable=True),
        sa.Column("billing_info", JSONB(), nullable=True),
        sa.Column("subscription_plan", sa.String(50), nullable=True),
        sa.Column("max_users", sa.Uuid(), nullable=True),
        sa.Column("max_cases", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("trial_expires_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="tenants_pkey"),
        sa.UniqueConstraint("domain", name="tenants_domain_key"),
    )
    op.create_index("ix_tenants_tenant_code", "tenants", ["tenant_code"], unique=True)


def create_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(50), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("permissions", JSONB(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="roles_pkey"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="roles_tenant_id_fkey"),
    )


def create_system_configs() -> None:
    op.create_table(
        "system_configs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=True),
        sa.Column("category", sa.String(50), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", JSONB(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("is_editable", sa.Boolean(), nullable=False),
        sa.Column("min_value", sa.String(50), nullable=True),
        sa.Column("max_value", sa.String(50), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="system_configs_pkey"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="system_configs_tenant_id_fkey"),
    )


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.String(255), nullable=False),
        sa.Column("password_hash", sa.String(255), nullable=False),
        sa.Column("email", sa.String(255), nullable=True),
        sa.Column("phone_number", sa.String(20), nullable=True),
        sa.Column("status", ENUM(name="userstatus", create_type=False), nullable=False),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("last_login", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="users_tenant_id_fkey"),
    )
    op.create_index("ix_users_email", "users", ["email"], unique=True)
    op.create_index("ix_users_phone_number", "users", ["phone_number"], unique=True)
    op.create_index("ix_users_username", "users", ["username"], unique=True)


def create_clients() -> None:
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("client_type", sa.String(50), nullable=True),
        sa.Column("business_license", sa.String(100), nullable=True),
        sa.Column("contact_person", sa.String(100), nullable=True),
        sa.Column("contact_phone", sa.String(20), nullable=True),
        sa.Column("contact_email", sa.String(255), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("sales_owner_id", sa.Uuid(), nullable=False),
        sa.Column("cooperation_level", sa.String(20), nullable=True),
        sa.Column("credit_rating", sa.String(10), nullable=True),
        sa.Column("total_cases", sa.Integer(), nullable=True),
        sa.Column("total_amount", sa.Numeric(18, 2), nullable=True),
        sa.Column("success_rate", sa.Numeric(5, 4), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="clients_pkey"),
        sa.ForeignKeyConstraint(["sales_owner_id"], ["users.id"], name="clients_sales_owner_id_fkey"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="clients_tenant_id_fkey"),
    )


def create_profiles() -> None:
    op.create_table(
        "profiles",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("full_name", sa.String(255), nullable=True),
        sa.Column("id_card_number", sa.String(18), nullable=True),
        sa.Column("qualification_details", JSONB(), nullable=True),
        sa.Column("did", sa.String(255), nullable=True),
        sa.Column("verification_status", ENUM(name="verificationstatus", create_type=False), nullable=False),
        sa.Column("avatar_url", sa.String(500), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("user_id", name="profiles_pkey"),
        sa.UniqueConstraint("did", name="profiles_did_key"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="profiles_user_id_fkey"),
    )
    op.create_index("ix_profiles_id_card_number", "profiles", ["id_card_number"])


def create_user_roles() -> None:
    op.create_table(
        "user_roles",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role_id", sa.Uuid(), nullable=False),
        sa.Column("assigned_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("user_id", "role_id", name="user_roles_pkey"),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name="user_roles_role_id_fkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="user_roles_user_id_fkey"),
    )


def create_wallets() -> None:
    op.create_table(
        "wallets",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("balance", sa.Numeric(18, 2), nullable=False),
        sa.Column("withdrawable_balance", sa.Numeric(18, 2), nullable=False),
        sa.Column("frozen_balance", sa.Numeric(18, 2), nullable=False),
        sa.Column("total_earned", sa.Numeric(18, 2), nullable=False),
        sa.Column("total_withdrawn", sa.Numeric(18, 2), nullable=False),
        sa.Column("commission_count", sa.Numeric(10, 0), nullable=False),
        sa.Column("last_commission_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("user_id", name="wallets_pkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="wallets_user_id_fkey"),
    )


def create_cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("case_number", sa.String(100), nullable=False),
        sa.Column("debtor_info", JSONB(), nullable=False),
        sa.Column("case_amount", sa.Numeric(18, 2), nullable=False),
        sa.Column("status", ENUM(name="casestatus", create_type=False), nullable=False),
        sa.Column("assigned_to_user_id", sa.Uuid(), nullable=True),
        sa.Column("sales_user_id", sa.Uuid(), nullable=False),
        sa.Column("ai_risk_score", sa.Integer(), nullable=True),
        sa.Column("data_quality_score", sa.Integer(), nullable=True),
        sa.Column("data_freshness_score", sa.Integer(), nullable=True),
        sa.Column("debt_creation_date", sa.Date(), nullable=False),
        sa.Column("last_follow_up_date", sa.Date(), nullable=True),
        sa.Column("legal_status", ENUM(name="legalstatus", create_type=False), nullable=False),
        sa.Column("limitation_expires_at", sa.Date(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("tags", JSONB(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="cases_pkey"),
        sa.ForeignKeyConstraint(["assigned_to_user_id"], ["users.id"], name="cases_assigned_to_user_id_fkey"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name="cases_client_id_fkey"),
        sa.ForeignKeyConstraint(["sales_user_id"], ["users.id"], name="cases_sales_user_id_fkey"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="cases_tenant_id_fkey"),
    )
    op.create_index("ix_cases_case_number", "cases", ["case_number"], unique=True)


def create_case_logs() -> None:
    op.create_table(
        "case_logs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(255), nullable=False),
        sa.Column("details", JSONB(), nullable=True),
        sa.Column("old_values", JSONB(), nullable=True),
        sa.Column("new_values", JSONB(), nullable=True),
        sa.Column("ip_address", sa.String(45), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="case_logs_pkey"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="case_logs_case_id_fkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="case_logs_user_id_fkey"),
    )


def create_insurances() -> None:
    op.create_table(
        "insurances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("policy_number", sa.String(255), nullable=False),
        sa.Column("insurance_company", sa.String(255), nullable=False),
        sa.Column("premium_amount", sa.Numeric(18, 2), nullable=False),
        sa.Column("coverage_amount", sa.Numeric(18, 2), nullable=False),
        sa.Column("status", ENUM(name="insurancestatus", create_type=False), nullable=False),
        sa.Column("effective_date", sa.Date(), nullable=True),
        sa.Column("expiry_date", sa.Date(), nullable=True),
        sa.Column("claim_amount", sa.Numeric(18, 2), nullable=True),
        sa.Column("claim_date", sa.Date(), nullable=True),
        sa.Column("claim_details", JSONB(), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id", name="insurances_pkey"),
        sa.UniqueConstraint("case_id", name="insurances_case_id_key"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="insurances_case_id_fkey"),
    )


def create_transactions() -> None:
    op.create_table(
        "transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(18, 2), nullable=False),
        sa.Column("transaction_type", ENUM(name="transactiontype", create_type=False), nullable=False),
        sa.Column("status", ENUM(name="transactionstatus", create_type=False), nullable=False),
        sa.Column("payment_gateway", sa.String(50), nullable=True),
        sa.Column("gateway_txn_id", sa.String(255), nullable=True),
        sa.Column("gateway_response", JSONB(), nullable=True),
        sa.Column("description", sa.String(500), nullable=True),
        sa.Column("notes", sa.String(1000), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("updated_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("completed_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="transactions_pkey"),
        sa.UniqueConstraint("gateway_txn_id", name="transactions_gateway_txn_id_key"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="transactions_case_id_fkey"),
    )


def create_commission_splits() -> None:
    op.create_table(
        "commission_splits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role_at_split", sa.String(50), nullable=False),
        sa.Column("amount", sa.Numeric(18, 2), nullable=False),
        sa.Column("percentage", sa.Numeric(5, 4), nullable=False),
        sa.Column("status", ENUM(name="commissionstatus", create_type=False), nullable=False),
        sa.Column("payout_method", sa.String(50), nullable=True),
        sa.Column("payout_account", sa.String(255), nullable=True),
        sa.Column("payout_txn_id", sa.String(255), nullable=True),
        sa.Column("created_at", sa.TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("paid_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="commission_splits_pkey"),
        sa.ForeignKeyConstraint(["transaction_id"], ["transactions.id"], name="commission_splits_transaction_id_fkey"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="commission_splits_user_id_fkey"),
    )


contract = Contract(
    revision="012",
    follows=None,
    enums=(
        Enum("casestatus", ("PENDING", "ASSIGNED", "IN_PROGRESS", "COMPLETED", "CLOSED", "EXPIRED")),
        Enum("commissionstatus", ("PENDING", "PAID", "FAILED")),
        Enum("insurancestatus", ("PENDING", "ACTIVE", "CLAIMED", "EXPIRED")),
        Enum("legalstatus", ("VALID", "EXPIRING_SOON", "EXPIRED")),
        Enum("tenantmode", ("SAAS", "ON_PREMISE")),
        Enum("tenantstatus", ("TRIAL", "ACTIVE", "SUSPENDED", "EXPIRED")),
        Enum("transactionstatus", ("PENDING", "COMPLETED", "FAILED")),
        Enum("transactiontype", ("PAYMENT", "REFUND", "PAYOUT")),
        Enum("userstatus", ("PENDING", "ACTIVE", "INACTIVE", "BANNED")),
        Enum("verificationstatus", ("UNVERIFIED", "PENDING", "VERIFIED", "FAILED")),
    ),
    tables=(
        Table(
            name="tenants",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("name", "character varying(255)"),
                Column("tenant_code", "character varying(50)"),
                Column("mode", "tenantmode"),
                Column("status", "tenantstatus"),
                Column("domain", "character varying(255)", nullable=True),
                Column("feature_flags", "jsonb", nullable=True),
                Column("system_config", "jsonb", nullable=True),
                Column("api_limits", "jsonb", nullable=True),
                Column("billing_info", "jsonb", nullable=True),
                Column("subscription_plan", "character varying(50)", nullable=True),
                Column("max_users", "uuid", nullable=True),
                Column("max_cases", "uuid", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
                Column("trial_expires_at", "timestamp with time zone", nullable=True),
            ),
            primary_key=("id",),
            unique=(Unique("tenants_domain_key", ("domain",)),),
            indexes=(Index("ix_tenants_tenant_code", ("tenant_code",), unique=True),),
        ),
        Table(
            name="roles",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("tenant_id", "uuid", nullable=True),
                Column("name", "character varying(50)"),
                Column("description", "text", nullable=True),
                Column("permissions", "jsonb", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(ForeignKey("roles_tenant_id_fkey", ("tenant_id",), "tenants"),),
        ),
        Table(
            name="system_configs",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("tenant_id", "uuid", nullable=True),
                Column("category", "character varying(50)"),
                Column("key", "character varying(255)"),
                Column("value", "jsonb"),
                Column("description", "text", nullable=True),
                Column("is_active", "boolean"),
                Column("is_editable", "boolean"),
                Column("min_value", "character varying(50)", nullable=True),
                Column("max_value", "character varying(50)", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(ForeignKey("system_configs_tenant_id_fkey", ("tenant_id",), "tenants"),),
        ),
        Table(
            name="users",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("tenant_id", "uuid"),
                Column("username", "character varying(255)"),
                Column("password_hash", "character varying(255)"),
                Column("email", "character varying(255)", nullable=True),
                Column("phone_number", "character varying(20)", nullable=True),
                Column("status", "userstatus"),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
                Column("last_login", "timestamp with time zone", nullable=True),
            ),
            primary_key=("id",),
            foreign_keys=(ForeignKey("users_tenant_id_fkey", ("tenant_id",), "tenants"),),
            indexes=(
                Index("ix_users_email", ("email",), unique=True),
                Index("ix_users_phone_number", ("phone_number",), unique=True),
                Index("ix_users_username", ("username",), unique=True),
            ),
        ),
        Table(
            name="clients",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("tenant_id", "uuid"),
                Column("name", "character varying(255)"),
                Column("client_type", "character varying(50)", nullable=True),
                Column("business_license", "character varying(100)", nullable=True),
                Column("contact_person", "character varying(100)", nullable=True),
                Column("contact_phone", "character varying(20)", nullable=True),
                Column("contact_email", "character varying(255)", nullable=True),
                Column("address", "text", nullable=True),
                Column("sales_owner_id", "uuid"),
                Column("cooperation_level", "character varying(20)", nullable=True),
                Column("credit_rating", "character varying(10)", nullable=True),
                Column("total_cases", "integer", nullable=True),
                Column("total_amount", "numeric(18,2)", nullable=True),
                Column("success_rate", "numeric(5,4)", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("clients_sales_owner_id_fkey", ("sales_owner_id",), "users"),
                ForeignKey("clients_tenant_id_fkey", ("tenant_id",), "tenants"),
            ),
        ),
        Table(
            name="profiles",
            group="baseline",
            columns=(
                Column("user_id", "uuid"),
                Column("full_name", "character varying(255)", nullable=True),
                Column("id_card_number", "character varying(18)", nullable=True),
                Column("qualification_details", "jsonb", nullable=True),
                Column("did", "character varying(255)", nullable=True),
                Column("verification_status", "verificationstatus"),
                Column("avatar_url", "character varying(500)", nullable=True),
                Column("bio", "text", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("user_id",),
            unique=(Unique("profiles_did_key", ("did",)),),
            foreign_keys=(ForeignKey("profiles_user_id_fkey", ("user_id",), "users"),),
            indexes=(Index("ix_profiles_id_card_number", ("id_card_number",)),),
        ),
        Table(
            name="user_roles",
            group="baseline",
            columns=(
                Column("user_id", "uuid"),
                Column("role_id", "uuid"),
                Column("assigned_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("user_id", "role_id"),
            foreign_keys=(
                ForeignKey("user_roles_role_id_fkey", ("role_id",), "roles"),
                ForeignKey("user_roles_user_id_fkey", ("user_id",), "users"),
            ),
        ),
        Table(
            name="wallets",
            group="baseline",
            columns=(
                Column("user_id", "uuid"),
                Column("balance", "numeric(18,2)"),
                Column("withdrawable_balance", "numeric(18,2)"),
                Column("frozen_balance", "numeric(18,2)"),
                Column("total_earned", "numeric(18,2)"),
                Column("total_withdrawn", "numeric(18,2)"),
                Column("commission_count", "numeric(10,0)"),
                Column("last_commission_at", "timestamp with time zone", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("user_id",),
            foreign_keys=(ForeignKey("wallets_user_id_fkey", ("user_id",), "users"),),
        ),
        Table(
            name="cases",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("tenant_id", "uuid"),
                Column("client_id", "uuid"),
                Column("case_number", "character varying(100)"),
                Column("debtor_info", "jsonb"),
                Column("case_amount", "numeric(18,2)"),
                Column("status", "casestatus"),
                Column("assigned_to_user_id", "uuid", nullable=True),
                Column("sales_user_id", "uuid"),
                Column("ai_risk_score", "integer", nullable=True),
                Column("data_quality_score", "integer", nullable=True),
                Column("data_freshness_score", "integer", nullable=True),
                Column("debt_creation_date", "date"),
                Column("last_follow_up_date", "date", nullable=True),
                Column("legal_status", "legalstatus"),
                Column("limitation_expires_at", "date", nullable=True),
                Column("description", "text", nullable=True),
                Column("notes", "text", nullable=True),
                Column("tags", "jsonb", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
                Column("completed_at", "timestamp with time zone", nullable=True),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("cases_assigned_to_user_id_fkey", ("assigned_to_user_id",), "users"),
                ForeignKey("cases_client_id_fkey", ("client_id",), "clients"),
                ForeignKey("cases_sales_user_id_fkey", ("sales_user_id",), "users"),
                ForeignKey("cases_tenant_id_fkey", ("tenant_id",), "tenants"),
            ),
            indexes=(Index("ix_cases_case_number", ("case_number",), unique=True),),
        ),
        Table(
            name="case_logs",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("case_id", "uuid"),
                Column("user_id", "uuid", nullable=True),
                Column("action", "character varying(255)"),
                Column("details", "jsonb", nullable=True),
                Column("old_values", "jsonb", nullable=True),
                Column("new_values", "jsonb", nullable=True),
                Column("ip_address", "character varying(45)", nullable=True),
                Column("user_agent", "text", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("case_logs_case_id_fkey", ("case_id",), "cases"),
                ForeignKey("case_logs_user_id_fkey", ("user_id",), "users"),
            ),
        ),
        Table(
            name="insurances",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("case_id", "uuid"),
                Column("policy_number", "character varying(255)"),
                Column("insurance_company", "character varying(255)"),
                Column("premium_amount", "numeric(18,2)"),
                Column("coverage_amount", "numeric(18,2)"),
                Column("status", "insurancestatus"),
                Column("effective_date", "date", nullable=True),
                Column("expiry_date", "date", nullable=True),
                Column("claim_amount", "numeric(18,2)", nullable=True),
                Column("claim_date", "date", nullable=True),
                Column("claim_details", "jsonb", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
            ),
            primary_key=("id",),
            unique=(Unique("insurances_case_id_key", ("case_id",)),),
            foreign_keys=(ForeignKey("insurances_case_id_fkey", ("case_id",), "cases"),),
        ),
        Table(
            name="transactions",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("case_id", "uuid"),
                Column("amount", "numeric(18,2)"),
                Column("transaction_type", "transactiontype"),
                Column("status", "transactionstatus"),
                Column("payment_gateway", "character varying(50)", nullable=True),
                Column("gateway_txn_id", "character varying(255)", nullable=True),
                Column("gateway_response", "jsonb", nullable=True),
                Column("description", "character varying(500)", nullable=True),
                Column("notes", "character varying(1000)", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("updated_at", "timestamp with time zone", "now()"),
                Column("completed_at", "timestamp with time zone", nullable=True),
            ),
            primary_key=("id",),
            unique=(Unique("transactions_gateway_txn_id_key", ("gateway_txn_id",)),),
            foreign_keys=(ForeignKey("transactions_case_id_fkey", ("case_id",), "cases"),),
        ),
        Table(
            name="commission_splits",
            group="baseline",
            columns=(
                Column("id", "uuid"),
                Column("transaction_id", "uuid"),
                Column("user_id", "uuid"),
                Column("role_at_split", "character varying(50)"),
                Column("amount", "numeric(18,2)"),
                Column("percentage", "numeric(5,4)"),
                Column("status", "commissionstatus"),
                Column("payout_method", "character varying(50)", nullable=True),
                Column("payout_account", "character varying(255)", nullable=True),
                Column("payout_txn_id", "character varying(255)", nullable=True),
                Column("created_at", "timestamp with time zone", "now()"),
                Column("paid_at", "timestamp with time zone", nullable=True),
            ),
            primary_key=("id",),
            foreign_keys=(
                ForeignKey("commission_splits_transaction_id_fkey", ("transaction_id",), "transactions"),
                ForeignKey("commission_splits_user_id_fkey", ("user_id",), "users"),
            ),
        ),
    ),
    required=(
        Required(
            "none of the 13 tables is there yet",
            """
            SELECT 'These tables are there already (a database in use is adopted, not built): '
                || string_agg(taken.name, ', ' ORDER BY taken.name)
            FROM (
                VALUES
                    ('tenants'), ('roles'), ('system_configs'), ('users'), ('clients'), ('profiles'),
                    ('user_roles'), ('wallets'), ('cases'), ('case_logs'), ('insurances'),
                    ('transactions'), ('commission_splits')
            ) AS taken (name)
            WHERE to_regclass(taken.name) IS NOT NULL
            """,
        ),
        Required(
            "none of the 10 enum types is there yet",
            """
            SELECT 'These types are there already: ' || string_agg(taken.name, ', ' ORDER BY taken.name)
            FROM (
                VALUES
                    ('casestatus'), ('commissionstatus'), ('insurancestatus'), ('legalstatus'),
                    ('tenantmode'), ('tenantstatus'), ('transactionstatus'), ('transactiontype'),
                    ('userstatus'), ('verificationstatus')
            ) AS taken (name)
            WHERE to_regtype(taken.name) IS NOT NULL
            """,
        ),
        Required(
            "the names of its indexes are free",
            """
            SELECT 'These names are taken by others: ' || string_agg(taken.name, ', ' ORDER BY taken.name)
            FROM (
                VALUES
                    ('case_logs_pkey'), ('cases_pkey'), ('clients_pkey'), ('commission_splits_pkey'),
                    ('insurances_case_id_key'), ('insurances_pkey'), ('ix_cases_case_number'),
                    ('ix_profiles_id_card_number'), ('ix_tenants_tenant_code'), ('ix_users_email'),
                    ('ix_users_phone_number'), ('ix_users_username'), ('profiles_did_key'),
                    ('profiles_pkey'), ('roles_pkey'), ('system_configs_pkey'), ('tenants_domain_key'),
                    ('tenants_pkey'), ('transactions_gateway_txn_id_key'), ('transactions_pkey'),
                    ('user_roles_pkey'), ('users_pkey'), ('wallets_pkey')
            ) AS taken (name)
            WHERE to_regclass(taken.name) IS NOT NULL
            """,
        ),
    ),
)
