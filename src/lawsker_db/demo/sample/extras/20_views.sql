-- What reports need: a function, views on users (one with its columns frozen by *), a materialized view, statistics.
CREATE FUNCTION calculate_commission(amount numeric, share numeric DEFAULT 0.5) RETURNS numeric
    LANGUAGE sql IMMUTABLE STRICT AS 'SELECT round(amount * share, 2)';
COMMENT ON FUNCTION calculate_commission(numeric, numeric) IS E'half of it,\nunless "share" says otherwise';

CREATE VIEW active_users WITH (security_barrier) AS
    SELECT u.id, u.username, u.email, u.status, u.created_at, t.name AS tenant
    FROM users AS u JOIN tenants AS t ON t.id = u.tenant_id
    WHERE u.status = 'ACTIVE';
CREATE VIEW users_overview AS SELECT * FROM users;
COMMENT ON VIEW users_overview IS 'made when users had fewer columns';

CREATE MATERIALIZED VIEW user_statistics AS
    SELECT u.tenant_id, u.status, count(*) AS users, max(u.created_at) AS newest
    FROM users AS u GROUP BY u.tenant_id, u.status;
CREATE UNIQUE INDEX user_statistics_key ON user_statistics (tenant_id, status);

CREATE INDEX idx_users_email_lower ON users (lower(email)) WHERE status <> 'BANNED';
CREATE STATISTICS users_tenant_status (dependencies) ON tenant_id, status FROM users;
COMMENT ON TABLE users IS '用户 — everyone who can log in';
