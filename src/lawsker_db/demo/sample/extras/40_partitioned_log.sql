-- A log partitioned by year, one year again by level, with a default partition; rows in every one.
CREATE TABLE system_logs (
    id bigserial,
    logged_at timestamptz NOT NULL,
    level varchar(10) NOT NULL,
    user_id uuid REFERENCES users (id),
    message text,
    PRIMARY KEY (id, logged_at, level)
) PARTITION BY RANGE (logged_at);
CREATE TABLE system_logs_2021 PARTITION OF system_logs
    FOR VALUES FROM ('2021-01-01 00:00:00+00') TO ('2022-01-01 00:00:00+00');
CREATE TABLE system_logs_2022 PARTITION OF system_logs
    FOR VALUES FROM ('2022-01-01 00:00:00+00') TO ('2023-01-01 00:00:00+00');
CREATE TABLE system_logs_2023 PARTITION OF system_logs
    FOR VALUES FROM ('2023-01-01 00:00:00+00') TO ('2024-01-01 00:00:00+00') PARTITION BY LIST (level);
CREATE TABLE system_logs_2023_error PARTITION OF system_logs_2023 FOR VALUES IN ('error');
CREATE TABLE system_logs_2023_other PARTITION OF system_logs_2023 DEFAULT;
CREATE TABLE system_logs_default PARTITION OF system_logs DEFAULT;
CREATE INDEX idx_system_logs_logged_at ON system_logs (logged_at);
INSERT INTO system_logs (logged_at, level, user_id, message)
SELECT CASE WHEN n % 500 = 0 THEN 'infinity'
            ELSE '2020-12-01 00:00:00+00'::timestamptz + n * interval '57600 seconds' END,
       (ARRAY['info', 'error', 'debug'])[1 + n % 3], NULL, 'event ' || n
FROM generate_series(1, 2000) AS n;
UPDATE system_logs SET user_id = (SELECT id FROM users ORDER BY id LIMIT 1) WHERE id % 10 = 0;
