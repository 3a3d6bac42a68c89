-- Rows for the 13 tables, made in the server. Words in braces are numbers that sample.py puts in.
-- Nothing here asks the clock or a random generator: the same numbers give the same rows, on every major version.
-- An id is md5 of seed, kind and counter; whoever refers to a row computes its id again instead of joining.

CREATE TEMPORARY TABLE hostile_text (n integer, body text);

INSERT INTO hostile_text VALUES
    (0, ''),
    (1, ' '),
    (2, 'NULL'),
    (3, '\N'),
    (4, '\.'),
    (5, E'first line\nsecond line\r\nthird\rfourth'),
    (6, E'tab\tvertical\x0bform\x0cbell\x07escape\x1b[31m'),
    (7, E'back\\slash \\n is not a newline \\'),
    (8, '''; DROP TABLE users; --'),
    (9, '" OR ""="" /* '),
    (10, '$$ $tag$ ; COMMIT; $tag$'),
    (11, '%s %(name)s {0} ${jndi:ldap://x} :name ?'),
    (12, '=cmd|'' /C calc''!A0, "quoted, comma";semicolon'),
    (13, '<script>alert("律师")</script>&amp;'),
    (14, '张伟律师事务所（北京）——合同纠纷、债务催收'),
    (15, '👩🏽‍⚖️🏛️📜 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🇨🇳'),
    (16, E'\u202Eright to left\u202C \u0645\u062D\u0627\u0645\u064A \u05E2\u05D5\u05E8\u05DA \u05D3\u05D9\u05DF'),
    (17, E'e\u0301 is not \u00E9; \uFEFF\u200B\u00A0\u2028 cannot be seen'),
    (18, E'\U0010FFFD\uFFFD\uE000\U0001F468\u200D\U0001F469'),
    (19, E'\\connect template1\n\\! id\n'),
    (20, 'Ärger mit Straße, ŁÓDŹ, İstanbul, ΣΊΣΥΦΟΣ'),
    (21, '-0.0'),
    (22, 'ｌａｗｙｅｒ'),
    (23, repeat(E'很长的一段话, a "long" text with \\ and '' in it.\n', 250));  -- 10 kB and more

INSERT INTO tenants
SELECT md5('{seed}:tenant:' || t)::uuid,
       left(coalesce(h.body, 'Tenant ' || t), 255),
       'T' || t,
       (enum_range(NULL::tenantmode))[1 + t % 2],
       (enum_range(NULL::tenantstatus))[1 + t % 4],
       CASE WHEN t % 3 <> 0 THEN 'tenant-' || t || '.example.cn' END,
       CASE t % 3 WHEN 0 THEN '{"ai": true, "export": false, "": null}'::jsonb WHEN 1 THEN '{}' END,
       CASE WHEN t % 4 <> 3 THEN jsonb_build_object('locale', 'zh-CN', 'ratio', 1.00, 'theme', h.body) END,
       CASE WHEN t % 2 = 0 THEN '{"per_minute": 1e3, "burst": 1.50}'::jsonb END,
       CASE WHEN t % 4 = 0 THEN 'null'::jsonb WHEN t % 4 = 1 THEN '[]' END,
       (ARRAY['free', 'pro', 'enterprise', NULL])[1 + t % 4],
       CASE WHEN t % 2 = 0 THEN md5('{seed}:max:' || t)::uuid END,
       CASE WHEN t % 5 = 0 THEN '00000000-0000-0000-0000-000000000000'::uuid END,
       '2020-02-29 23:59:59.999999+14'::timestamptz + t * interval '3607.000001 seconds',
       '2021-10-31 02:30:00 Europe/Berlin'::timestamptz + t * interval '61.5 seconds',
       CASE WHEN t = 1 THEN 'infinity'::timestamptz WHEN t = 2 THEN '-infinity'
            WHEN t = 3 THEN '1900-01-01 00:00:00+05:53:28' WHEN t % 2 = 0 THEN '2031-01-01 00:00:00-03:30' END
FROM generate_series(1, {tenants}) AS t
LEFT JOIN hostile_text AS h ON h.n = t % 30;

-- Global roles and roles of each tenant; the same role is spelled in several ways. 'lawyer ' is not 'lawyer'.
INSERT INTO roles
SELECT md5('{seed}:role:global:' || key)::uuid, NULL, name, description, permissions::jsonb,
       '2020-01-01 00:00:00+08'::timestamptz, '2020-01-01 00:00:00.000001+08'::timestamptz
FROM (VALUES ('lawyer', 'Lawyer', 'any tenant', '["case.*"]'),
             ('admin', 'ADMIN', NULL, '{"*": true}'),
             ('super_admin', 'super_admin', '', NULL),
             ('user', 'user', 'credit user', '[]'),
             ('institution', 'institution', 'credit user', 'null'),
             ('sales', 'sales', E'line\nbreak', '["client.read", "client.write"]'),
             ('lawyer_space', 'lawyer ', 'a blank at the end', '[]'),
             ('paralegal', 'paralegal', 'held by nobody', '[]')) AS role (key, name, description, permissions)
UNION ALL
SELECT md5('{seed}:role:' || t || ':' || key)::uuid, md5('{seed}:tenant:' || t)::uuid,
       CASE t % 3 WHEN 0 THEN upper(key) WHEN 1 THEN key ELSE initcap(key) END,
       CASE WHEN t % 2 = 0 THEN 'of tenant ' || t END, jsonb_build_object('tenant', t),
       '2020-06-01 12:00:00+05:45'::timestamptz + t * interval '1.000001 seconds', '2021-06-01 12:00:00-09:30'
FROM generate_series(1, {tenants}) AS t
CROSS JOIN (VALUES ('lawyer'), ('user'), ('institution'), ('sales'), ('admin')) AS role (key);

INSERT INTO system_configs
SELECT md5('{seed}:config:' || t || ':' || k)::uuid,
       CASE WHEN t > 0 THEN md5('{seed}:tenant:' || t)::uuid END,
       (ARRAY['commission', 'ai', 'risk', 'ui'])[k],
       'key.' || t || '.' || k,
       CASE k WHEN 1 THEN '{"lawyer": 0.50, "sales": 0.2000, "platform": 3e-1}'::jsonb
              WHEN 2 THEN '-1.7976931348623157e308' WHEN 3 THEN to_jsonb(coalesce(h.body, 'plain')) ELSE 'false' END,
       h.body, (t + k) % 2 = 0, (t + k) % 3 = 0,
       CASE WHEN k < 3 THEN '-0.0' END, CASE WHEN k = 1 THEN '1e308' END,
       '2020-03-29 02:30:00+01'::timestamptz + (t * 4 + k) * interval '0.000001 seconds',
       '2022-02-02 22:22:22.222222+00'
FROM generate_series(0, {tenants}) AS t
CROSS JOIN generate_series(1, 4) AS k
LEFT JOIN hostile_text AS h ON h.n = (t * 4 + k) % 30;

INSERT INTO users
SELECT md5('{seed}:user:' || u)::uuid,
       md5('{seed}:tenant:' || (1 + u % {tenants}))::uuid,
       CASE WHEN h.body IS NULL THEN 'user' || u ELSE left(h.body, 240) || u END,
       '$2b$12$' || md5('{seed}:password:' || u) || substr(md5('{seed}:salt:' || u), 1, 21),
       CASE WHEN u % 11 = 0 THEN NULL
            WHEN u % 13 = 0 THEN 'u' || u || '+O''Brien@例子.测试' ELSE 'u' || u || '@example.com' END,
       CASE WHEN u % 5 <> 0 THEN CASE WHEN u % 2 = 0 THEN '+86 ' ELSE '1' END || lpad(u::text, 10, '0') END,
       (ARRAY['PENDING', 'INACTIVE', 'BANNED', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'ACTIVE']
           ::userstatus[])[1 + (u + u / 20) % 10],
       '2021-03-14 01:59:59.123456-05'::timestamptz + u * interval '61.000007 seconds',
       '2021-03-14 01:59:59.123456-05'::timestamptz + u * interval '63.1 seconds',
       CASE WHEN u = 2 THEN '-infinity'::timestamptz WHEN u = 3 THEN 'infinity'
            WHEN u = 4 THEN '294276-12-31 23:59:59.999999+00' WHEN u = 5 THEN '4713-11-24 00:00:00+00 BC'
            WHEN u % 3 <> 0 THEN '2023-11-05 01:30:00-04'::timestamptz + u * interval '7.000001 seconds' END
FROM generate_series(1, {users}) AS u
LEFT JOIN hostile_text AS h ON h.n = u % 100;

-- Who holds which roles: one pattern for each of 20 users in turn; pattern 0 holds none.
INSERT INTO user_roles
SELECT md5('{seed}:user:' || u)::uuid,
       CASE scope WHEN 'global' THEN md5('{seed}:role:global:' || key)
                  WHEN 'own' THEN md5('{seed}:role:' || (1 + u % {tenants}) || ':' || key)
                  ELSE md5('{seed}:role:' || (1 + (u + 1) % {tenants}) || ':' || key) END::uuid,
       '2021-04-01 00:00:00+09:30'::timestamptz + u * interval '11.000001 seconds'
FROM generate_series(1, {users}) AS u
JOIN (VALUES (1, 'own', 'lawyer'),
             (2, 'own', 'lawyer'), (2, 'global', 'lawyer'),        -- the same role twice
             (3, 'own', 'user'),
             (4, 'own', 'institution'),
             (5, 'global', 'user'),
             (6, 'own', 'lawyer'), (6, 'own', 'user'),             -- lawyer and credit user
             (7, 'global', 'admin'),
             (8, 'global', 'super_admin'), (8, 'own', 'lawyer'),   -- admin and lawyer
             (9, 'own', 'sales'),                                  -- a role that 013 does not map
             (10, 'own', 'sales'), (10, 'own', 'lawyer'),
             (11, 'global', 'user'), (11, 'own', 'institution'),   -- credit user twice
             (12, 'global', 'lawyer_space'),
             (13, 'own', 'lawyer'), (13, 'other', 'lawyer'), (13, 'global', 'lawyer'),
             (14, 'own', 'admin'),
             (15, 'own', 'user'), (16, 'own', 'user'), (17, 'own', 'user'),
             (18, 'global', 'user'), (18, 'own', 'user'),
             (19, 'own', 'institution'), (19, 'other', 'user')) AS held (pattern, scope, key)
  ON held.pattern = u % 20;

INSERT INTO clients
SELECT md5('{seed}:client:' || k)::uuid,
       md5('{seed}:tenant:' || (1 + k % {tenants}))::uuid,
       left(coalesce(h.body, 'Client ' || k), 255),
       (ARRAY['bank', 'lender', 'person', NULL])[1 + k % 4],
       CASE WHEN k % 3 = 0 THEN '91110000' || lpad(k::text, 10, '0') END,
       CASE WHEN k % 7 <> 0 THEN left(h.body, 100) END, CASE WHEN k % 2 = 0 THEN '010-' || lpad(k::text, 8, '0') END,
       CASE WHEN k % 4 <> 0 THEN 'client' || k || '@example.com' END,
       CASE WHEN k % 8 <> 0 THEN coalesce(h.body, '北京市朝阳区 ' || k || ' 号') END,
       md5('{seed}:user:' || (1 + k % {users}))::uuid,
       (ARRAY['A', 'B', 'C', NULL])[1 + k % 4], (ARRAY['AAA', 'BB-', NULL])[1 + k % 3],
       CASE WHEN k = 1 THEN 2147483647 WHEN k = 2 THEN -2147483648 WHEN k % 5 <> 0 THEN k % 100 END,
       CASE WHEN k = 1 THEN 9999999999999999.99 WHEN k = 2 THEN -9999999999999999.99
            WHEN k % 6 <> 0 THEN (k * 7919::bigint + {seed}) % 1000000 + 0.10 END,
       CASE WHEN k = 1 THEN 9.9999 WHEN k = 2 THEN -9.9999 WHEN k = 3 THEN 0
            WHEN k % 3 <> 0 THEN (k % 10001) / 10000.0 END,
       '2021-05-01 08:00:00+08'::timestamptz + k * interval '600.000003 seconds', '2022-05-01 08:00:00+12:45'
FROM generate_series(1, {clients}) AS k
LEFT JOIN hostile_text AS h ON h.n = k % 60;

INSERT INTO profiles
SELECT md5('{seed}:user:' || u)::uuid,
       CASE WHEN u % 6 <> 0 THEN left(coalesce(h.body, '用户 ' || u), 255) END,
       CASE WHEN u % 4 <> 0 THEN '11010119900101' || lpad((u % 10000)::text, 4, '0') END,
       CASE u % 4 WHEN 0 THEN jsonb_build_object('licence', 'A' || u, 'years', u % 40, 'firm', h.body)
                  WHEN 1 THEN '[{"school": "北京大学", "gpa": 4.00}, null, -0.000]' END,
       CASE WHEN u % 3 = 0 THEN 'did:lawsker:' || md5('{seed}:did:' || u) END,
       (enum_range(NULL::verificationstatus))[1 + (u + u / 4) % 4],
       CASE WHEN u % 10 = 1 THEN 'https://cdn.example.com/a/' || u || '.png?x=%20&y=''"' END,
       h.body,
       '2021-03-14 03:00:00-04'::timestamptz + u * interval '61.000007 seconds', '2022-12-31 23:59:60+00'
FROM generate_series(1, {users}) AS u
LEFT JOIN hostile_text AS h ON h.n = u % 120
WHERE u % 7 <> 0;

INSERT INTO wallets
SELECT md5('{seed}:user:' || u)::uuid,
       CASE u WHEN 1 THEN 9999999999999999.99 WHEN 2 THEN -9999999999999999.99 WHEN 3 THEN 0.01
              ELSE (u * 104729::bigint + {seed}) % 100000000 / 100.0 END,
       CASE u WHEN 1 THEN -0.0 ELSE (u % 1000) / 10.0 END, (u % 77) / 7.0, u % 100000, u % 99,
       CASE u WHEN 1 THEN 9999999999 ELSE u % 50 END,
       CASE WHEN u % 4 = 0 THEN '2023-07-01 00:00:00.5+08'::timestamptz + u * interval '3.3 seconds' END,
       '2021-03-14 03:00:00-04'::timestamptz + u * interval '61.000007 seconds', '2023-01-01 00:00:00+00'
FROM generate_series(1, {users}) AS u
WHERE u % 9 <> 0;

-- Squares modulo the number of users: some lawyers get many cases, others none.
INSERT INTO cases
SELECT md5('{seed}:case:' || c)::uuid,
       md5('{seed}:tenant:' || (1 + c % {tenants}))::uuid,
       md5('{seed}:client:' || (1 + c % {clients}))::uuid,
       'LAW-' || lpad(c::text, 9, '0'),
       CASE WHEN c % 1000 = 11 THEN
                '{"minus_zero": "-0.0", "also_zero": -0.000, "one": 1.0, "one_too": 1.00, "one_again": 1, "huge": 1e308,
                  "tiny": 1e-308, "long": 3.14159265358979323846264338327950288419716939937510582097494459230781640628,
                  "whole": 123456789012345678901234567890123456789, "": {"": [null, true, "\u0001\n\"\\", {}]}}'::jsonb
            ELSE jsonb_build_object('name', coalesce(left(h.body, 200), '债务人 ' || c), 'amount', (c % 1000) / 8.0,
                                    'phone', NULL, 'scores', jsonb_build_array(c % 7, 1.50, '-0.0')) END,
       CASE c WHEN 1 THEN 9999999999999999.99 WHEN 2 THEN -9999999999999999.99 WHEN 3 THEN 0 WHEN 4 THEN 0.01
              ELSE (c * 7919::bigint + {seed}) % 500000000 / 100.0 END,
       (enum_range(NULL::casestatus))[1 + (c + c / 6) % 6],
       CASE WHEN c % 4 <> 0 THEN md5('{seed}:user:' || (1 + c::bigint * c % {users}))::uuid END,
       md5('{seed}:user:' || (1 + c % {users}))::uuid,
       CASE WHEN c % 3 <> 0 THEN c % 101 END, CASE WHEN c % 5 <> 0 THEN c % 100 END,
       CASE WHEN c = 1 THEN 2147483647 WHEN c = 2 THEN -2147483648 WHEN c % 7 <> 0 THEN c % 10 END,
       CASE c WHEN 5 THEN '0044-03-15 BC'::date WHEN 6 THEN 'infinity' WHEN 7 THEN '5874897-12-31'
              WHEN 8 THEN '-infinity' WHEN 9 THEN '4713-11-24 BC' WHEN 10 THEN '2000-02-29' ELSE '2018-01-01'::date + c % 1500 END,
       CASE WHEN c % 3 = 0 THEN '2023-01-01'::date + c % 365 END,
       (enum_range(NULL::legalstatus))[1 + c % 3],
       CASE WHEN c % 3 <> 1 THEN '2026-01-01'::date + c % 700 END,
       h.body, CASE WHEN c % 50 = 0 THEN E'note\n' || c END,
       CASE c % 5 WHEN 0 THEN '["urgent", "重要"]'::jsonb WHEN 1 THEN '[]' END,
       '2021-06-01 00:00:00+08'::timestamptz + c * interval '30.000001 seconds',
       '2021-06-02 00:00:00+08'::timestamptz + c * interval '30.500001 seconds',
       CASE WHEN (c + c / 6) % 6 = 3 THEN '2023-06-01 00:00:00-11'::timestamptz + c * interval '5.000001 seconds' END
FROM generate_series(1, {cases}) AS c
LEFT JOIN hostile_text AS h ON h.n = c % 200;

INSERT INTO case_logs
SELECT md5('{seed}:log:' || l)::uuid,
       md5('{seed}:case:' || (1 + l % {cases}))::uuid,
       CASE WHEN l % 6 <> 0 THEN md5('{seed}:user:' || (1 + l % {users}))::uuid END,
       (ARRAY['case.created', 'case.assigned', 'case.viewed', '状态变更', 'case.note'])[1 + l % 5],
       CASE l % 3 WHEN 0 THEN jsonb_build_object('step', l % 9, 'text', left(h.body, 300)) WHEN 1 THEN '{}' END,
       CASE WHEN l % 5 = 3 THEN '{"status": "PENDING", "amount": 1.0}'::jsonb END,
       CASE WHEN l % 5 = 3 THEN '{"status": "ASSIGNED", "amount": 1.00}'::jsonb END,
       CASE l % 4 WHEN 0 THEN '2001:db8::' || to_hex(l % 65536)
                  WHEN 1 THEN '10.0.' || l % 256 || '.' || l / 256 % 256 END,
       CASE WHEN h.body IS NOT NULL THEN h.body
            WHEN l % 2 = 0 THEN 'Mozilla/5.0 (X11; Linux x86_64) Lawsker/' || l % 30 END,
       '2021-06-01 00:00:00+08'::timestamptz + l * interval '12.000001 seconds'
FROM generate_series(1, {logs}) AS l
LEFT JOIN hostile_text AS h ON h.n = l % 1000;

INSERT INTO insurances
SELECT md5('{seed}:insurance:' || i)::uuid,
       md5('{seed}:case:' || i * 8)::uuid,
       'POL-' || i, CASE WHEN i % 2 = 0 THEN '中国平安' ELSE 'Lloyd''s' END,
       CASE i WHEN 1 THEN 9999999999999999.99 ELSE i % 1000 + 0.99 END, i % 100000 * 100,
       (enum_range(NULL::insurancestatus))[1 + i % 4],
       CASE WHEN i % 4 <> 0 THEN '2022-01-01'::date + i % 365 END,
       CASE WHEN i % 4 = 3 THEN '2023-01-01'::date + i % 365 END,
       CASE WHEN i % 4 = 2 THEN (i % 5000) / 3.0 END, CASE WHEN i % 4 = 2 THEN '2022-06-30'::date + i % 100 END,
       CASE WHEN i % 4 = 2 THEN jsonb_build_object('reason', coalesce(h.body, 'loss'), 'share', 0.3330) END,
       '2022-01-01 00:00:00+03'::timestamptz + i * interval '45.000001 seconds', '2022-07-01 00:00:00+03'
FROM generate_series(1, {cases} / 8) AS i
LEFT JOIN hostile_text AS h ON h.n = i % 90;

INSERT INTO transactions
SELECT md5('{seed}:transaction:' || x)::uuid,
       md5('{seed}:case:' || x * 4)::uuid,
       CASE x WHEN 1 THEN -9999999999999999.99 ELSE (x * 6151::bigint + {seed}) % 9000000 / 100.0 END,
       (enum_range(NULL::transactiontype))[1 + x % 3],
       (enum_range(NULL::transactionstatus))[1 + x / 3 % 3],
       (ARRAY['alipay', 'wechat', 'bank', NULL])[1 + x % 4],
       CASE WHEN x % 5 <> 0 THEN 'gw-' || md5('{seed}:gateway:' || x) END,
       CASE x % 3 WHEN 0 THEN jsonb_build_object('code', '00', 'fee', 0.00, 'raw', left(h.body, 400))
                  WHEN 1 THEN '"ok"' END,
       left(h.body, 500), left(h.body, 1000),
       '2022-02-01 00:00:00+08'::timestamptz + x * interval '90.000001 seconds', '2022-08-01 00:00:00+08',
       CASE WHEN x / 3 % 3 = 1 THEN '2022-02-01 00:00:01+08'::timestamptz + x * interval '90.000001 seconds' END
FROM generate_series(1, {cases} / 4) AS x
LEFT JOIN hostile_text AS h ON h.n = x % 80;

INSERT INTO commission_splits
SELECT md5('{seed}:split:' || s)::uuid,
       md5('{seed}:transaction:' || (s + 1) / 2)::uuid,
       md5('{seed}:user:' || (1 + s % {users}))::uuid,
       CASE s % 2 WHEN 0 THEN 'lawyer' ELSE 'Sales' END,
       (s % 100000) / 3.0, CASE s WHEN 1 THEN -9.9999 ELSE (s % 10001) / 10000.0 END,
       (enum_range(NULL::commissionstatus))[1 + s % 3],
       CASE WHEN s % 3 = 1 THEN 'bank' END, CASE WHEN s % 3 = 1 THEN '6222 **** ' || s % 10000 END,
       CASE WHEN s % 3 = 1 THEN 'payout-' || s END,
       '2022-03-01 00:00:00+08'::timestamptz + s * interval '60.000001 seconds',
       CASE WHEN s % 3 = 1 THEN '2022-03-08 00:00:00+08'::timestamptz + s * interval '60.000001 seconds' END
FROM generate_series(1, {cases} / 4 * 2) AS s;

DROP TABLE hostile_text;
