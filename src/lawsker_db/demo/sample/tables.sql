-- The 13 tables and 10 enum types of a live Lawsker database before revision 013, as plain SQL and independent of
-- Alembic. Keys and indexes are in keys.sql: filling the heaps first and building them afterwards is much faster.
-- Oddities (tenants.max_users is a uuid) are what the live databases have.

CREATE TYPE casestatus AS ENUM ('PENDING', 'ASSIGNED', 'IN_PROGRESS', 'COMPLETED', 'CLOSED', 'EXPIRED');
CREATE TYPE commissionstatus AS ENUM ('PENDING', 'PAID', 'FAILED');
CREATE TYPE insurancestatus AS ENUM ('PENDING', 'ACTIVE', 'CLAIMED', 'EXPIRED');
CREATE TYPE legalstatus AS ENUM ('VALID', 'EXPIRING_SOON', 'EXPIRED');
CREATE TYPE tenantmode AS ENUM ('SAAS', 'ON_PREMISE');
CREATE TYPE tenantstatus AS ENUM ('TRIAL', 'ACTIVE', 'SUSPENDED', 'EXPIRED');
CREATE TYPE transactionstatus AS ENUM ('PENDING', 'COMPLETED', 'FAILED');
CREATE TYPE transactiontype AS ENUM ('PAYMENT', 'REFUND', 'PAYOUT');
CREATE TYPE userstatus AS ENUM ('PENDING', 'ACTIVE', 'INACTIVE', 'BANNED');
CREATE TYPE verificationstatus AS ENUM ('UNVERIFIED', 'PENDING', 'VERIFIED', 'FAILED');

CREATE TABLE tenants (
    id uuid NOT NULL,
    name varchar(255) NOT NULL,
    tenant_code varchar(50) NOT NULL,
    mode tenantmode NOT NULL,
    status tenantstatus NOT NULL,
    domain varchar(255),
    feature_flags jsonb,
    system_config jsonb,
    api_limits jsonb,
    billing_info jsonb,
    subscription_plan varchar(50),
    max_users uuid,
    max_cases uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    trial_expires_at timestamptz
);

CREATE TABLE roles (
    id uuid NOT NULL,
    tenant_id uuid,
    name varchar(50) NOT NULL,
    description text,
    permissions jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE system_configs (
    id uuid NOT NULL,
    tenant_id uuid,
    category varchar(50) NOT NULL,
    key varchar(255) NOT NULL,
    value jsonb NOT NULL,
    description text,
    is_active boolean NOT NULL,
    is_editable boolean NOT NULL,
    min_value varchar(50),
    max_value varchar(50),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE users (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    username varchar(255) NOT NULL,
    password_hash varchar(255) NOT NULL,
    email varchar(255),
    phone_number varchar(20),
    status userstatus NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_login timestamptz
);

CREATE TABLE clients (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    name varchar(255) NOT NULL,
    client_type varchar(50),
    business_license varchar(100),
    contact_person varchar(100),
    contact_phone varchar(20),
    contact_email varchar(255),
    address text,
    sales_owner_id uuid NOT NULL,
    cooperation_level varchar(20),
    credit_rating varchar(10),
    total_cases integer,
    total_amount numeric(18,2),
    success_rate numeric(5,4),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE profiles (
    user_id uuid NOT NULL,
    full_name varchar(255),
    id_card_number varchar(18),
    qualification_details jsonb,
    did varchar(255),
    verification_status verificationstatus NOT NULL,
    avatar_url varchar(500),
    bio text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_roles (
    user_id uuid NOT NULL,
    role_id uuid NOT NULL,
    assigned_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE wallets (
    user_id uuid NOT NULL,
    balance numeric(18,2) NOT NULL,
    withdrawable_balance numeric(18,2) NOT NULL,
    frozen_balance numeric(18,2) NOT NULL,
    total_earned numeric(18,2) NOT NULL,
    total_withdrawn numeric(18,2) NOT NULL,
    commission_count numeric(10,0) NOT NULL,
    last_commission_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cases (
    id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    client_id uuid NOT NULL,
    case_number varchar(100) NOT NULL,
    debtor_info jsonb NOT NULL,
    case_amount numeric(18,2) NOT NULL,
    status casestatus NOT NULL,
    assigned_to_user_id uuid,
    sales_user_id uuid NOT NULL,
    ai_risk_score integer,
    data_quality_score integer,
    data_freshness_score integer,
    debt_creation_date date NOT NULL,
    last_follow_up_date date,
    legal_status legalstatus NOT NULL,
    limitation_expires_at date,
    description text,
    notes text,
    tags jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);

CREATE TABLE case_logs (
    id uuid NOT NULL,
    case_id uuid NOT NULL,
    user_id uuid,
    action varchar(255) NOT NULL,
    details jsonb,
    old_values jsonb,
    new_values jsonb,
    ip_address varchar(45),
    user_agent text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE insurances (
    id uuid NOT NULL,
    case_id uuid NOT NULL,
    policy_number varchar(255) NOT NULL,
    insurance_company varchar(255) NOT NULL,
    premium_amount numeric(18,2) NOT NULL,
    coverage_amount numeric(18,2) NOT NULL,
    status insurancestatus NOT NULL,
    effective_date date,
    expiry_date date,
    claim_amount numeric(18,2),
    claim_date date,
    claim_details jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE transactions (
    id uuid NOT NULL,
    case_id uuid NOT NULL,
    amount numeric(18,2) NOT NULL,
    transaction_type transactiontype NOT NULL,
    status transactionstatus NOT NULL,
    payment_gateway varchar(50),
    gateway_txn_id varchar(255),
    gateway_response jsonb,
    description varchar(500),
    notes varchar(1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz
);

CREATE TABLE commission_splits (
    id uuid NOT NULL,
    transaction_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role_at_split varchar(50) NOT NULL,
    amount numeric(18,2) NOT NULL,
    percentage numeric(5,4) NOT NULL,
    status commissionstatus NOT NULL,
    payout_method varchar(50),
    payout_account varchar(255),
    payout_txn_id varchar(255),
    created_at timestamptz NOT NULL DEFAULT now(),
    paid_at timestamptz
);
