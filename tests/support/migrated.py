"""A database that revision 013 has been run in and that applications have used since, as a template to be cloned."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from alembic import command
from copies import Server

from lawsker_db.revisions import load_chain
from lawsker_db.target import parse_target

# Nobody may be without a role at the start, or the check on that would be red with no damage done.
ROLES_FOR_ALL = """
    INSERT INTO user_roles (user_id, role_id, assigned_at)
    SELECT u.id, (SELECT id FROM roles WHERE name = 'user' AND tenant_id IS NULL), u.created_at
    FROM users u WHERE u.id NOT IN (
        SELECT user_id FROM user_roles JOIN roles r ON r.id = role_id
        WHERE lower(r.name) IN ('lawyer', 'admin', 'super_admin', 'user', 'institution'))
"""

# Plausible rows of every new table, written after the run as applications write them.
BUSINESS = (
    """INSERT INTO lawyer_certification_requests (user_id, certificate_file_path, certificate_file_name, lawyer_name,
        license_number, practice_areas, status, reviewed_by, reviewed_at, submitted_at)
    SELECT lawyer_id, '/files/' || n, n || '.pdf', 'somebody', 'A' || n, '["debt"]',
        CASE n % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'approved' ELSE 'rejected' END,
        CASE WHEN n % 3 > 0 THEN
            (SELECT min(user_id::text)::uuid FROM workspace_mappings WHERE workspace_type = 'admin') END,
        CASE WHEN n % 3 > 0 THEN now() END, now() - interval '1 day'
    FROM (SELECT lawyer_id, row_number() OVER (ORDER BY lawyer_id) AS n FROM lawyer_level_details) AS l WHERE n <= 9""",
    """WITH risen AS (UPDATE lawyer_level_details SET level_points = 600, experience_points = 600, current_level = 2
        WHERE lawyer_id IN (SELECT lawyer_id FROM lawyer_level_details ORDER BY lawyer_id LIMIT 7) RETURNING lawyer_id)
    INSERT INTO lawyer_point_transactions (lawyer_id, transaction_type, points_change, points_before, points_after,
        related_case_id)
    SELECT lawyer_id, 'case', 600, 0, 600, (SELECT min(id::text)::uuid FROM cases) FROM risen""",
    """INSERT INTO lawyer_online_sessions (lawyer_id, session_start, session_end, duration_minutes)
    SELECT lawyer_id, now() - interval '1 hour', now(), 60 FROM lawyer_level_details""",
    """INSERT INTO user_memberships (user_id, membership_type, start_date, end_date, benefits, payment_status)
    SELECT user_id, 'basic', '2026-01-01', '2026-12-31', '{"a": 1}', 'paid' FROM user_credits""",
    """INSERT INTO lawyer_memberships (lawyer_id, membership_type, start_date, end_date)
    SELECT lawyer_id, 'professional', '2026-01-01', '2026-12-31' FROM lawyer_level_details""",
    """WITH used AS (UPDATE user_credits SET credits_remaining = 5, credits_purchased = 5, total_credits_used = 1
        WHERE user_id IN (SELECT user_id FROM user_credits ORDER BY user_id DESC LIMIT 9) RETURNING user_id)
    INSERT INTO credit_purchase_records (user_id, credits_count, total_amount, status)
    SELECT user_id, 5, 250, 'paid' FROM used""",
    """INSERT INTO lawyer_case_declines (lawyer_id, case_id, points_penalty)
    SELECT lawyer_id, (SELECT min(id::text)::uuid FROM cases), -10 FROM lawyer_level_details""",
    """INSERT INTO lawyer_assignment_suspensions (lawyer_id, suspension_reason, decline_count, suspended_at, is_active,
        lifted_at)
    SELECT lawyer_id, 'declines', 3, now() - interval '2 days', n % 2 = 0, CASE WHEN n % 2 = 1 THEN now() END
    FROM (SELECT lawyer_id, row_number() OVER (ORDER BY lawyer_id) AS n FROM lawyer_level_details) AS l WHERE n <= 6""",
    """WITH made AS (INSERT INTO enterprise_clients (company_name, company_type, contact_person, contact_phone,
        contact_email, service_type, assigned_account_manager)
        SELECT 'Company ' || n, 'bank', 'somebody', '1', 'a@b', 'compliance', (SELECT min(id::text)::uuid FROM users)
        FROM generate_series(1, 5) AS n RETURNING id),
    stats AS (INSERT INTO collection_success_stats (client_id, period_start, period_end, total_cases)
        SELECT id, '2026-01-01', '2026-01-31', 3 FROM made)
    INSERT INTO enterprise_subscriptions (client_id, package_id, start_date, end_date, monthly_fee, cases_limit)
    SELECT id, (SELECT id FROM enterprise_service_packages WHERE package_type = 'basic'), '2026-01-01', '2026-12-31',
        9999, 500 FROM made""",
    """INSERT INTO users (id, tenant_id, username, password_hash, status)
    SELECT md5('new' || n)::uuid, (SELECT min(id::text)::uuid FROM tenants), 'new' || n, 'x', 'ACTIVE'
    FROM generate_series(1, 5) AS n""",
    """INSERT INTO user_roles (user_id, role_id) SELECT id, (SELECT id FROM roles WHERE name = 'user' AND tenant_id IS NULL)
    FROM users WHERE username LIKE 'new_'""",
)


def migrate(url: str) -> None:
    """Run the chain to head, in this process."""
    chain = load_chain()
    with parse_target(url).connect() as connection:
        chain.config.attributes["connection"] = connection
        command.upgrade(chain.config, "head")
        connection.commit()


def make_used(url: str) -> None:
    """Give everybody a role, migrate, and let applications write rows into every new table."""
    with psycopg.connect(url) as connection:
        connection.execute(ROLES_FOR_ALL)
    migrate(url)
    with psycopg.connect(url) as connection:
        for statement in BUSINESS:
            connection.execute(statement.encode())


@contextmanager
def used_database(server: Server, template: str) -> Iterator[str]:
    """The name of such a database, made from an adopted one for the block."""
    name = f"used_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        make_used(server.url(name))
        yield name
    finally:
        server.run(f"DROP DATABASE {name}")
