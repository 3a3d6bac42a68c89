-- Tables of a payment and an alert system that later hand-run scripts made; types, sequences, an inheritance child.
CREATE TYPE alert_level AS ENUM ('info', 'Warning', 'it''s "critical"');
CREATE DOMAIN email_address AS varchar(255) CHECK (VALUE ~ '@');
CREATE TYPE money_amount AS (amount numeric(18,2), currency char(3));

CREATE TABLE payment_orders (
    id bigserial PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    total money_amount,
    quantity integer NOT NULL DEFAULT 1 CHECK (quantity > 0),
    unit_price numeric(18,2) NOT NULL,
    line_total numeric GENERATED ALWAYS AS (unit_price * quantity) STORED,
    receipt_to email_address,
    status varchar(20) NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idx_payment_orders_user_id ON payment_orders (user_id);
INSERT INTO payment_orders (user_id, total, quantity, unit_price, receipt_to, status, created_at, updated_at)
SELECT id, ROW(n % 1000 * 1.5, 'CNY')::money_amount, 1 + n % 3, n % 1000 * 0.5, email,
       (ARRAY['pending', 'paid', 'refunded'])[1 + n % 3],
       '2023-03-01 00:00:00+08'::timestamptz + n * interval '17.000001 seconds', '2023-04-01 00:00:00+08'
FROM (SELECT id, email, row_number() OVER (ORDER BY id) AS n FROM users) AS numbered
WHERE n % 10 = 1
ORDER BY n;

CREATE TABLE alert_events (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    level alert_level NOT NULL,
    message text NOT NULL,
    period tstzrange,
    EXCLUDE USING gist (period WITH &&)
);
CREATE TABLE archived_alert_events (archived_by text) INHERITS (alert_events);
INSERT INTO alert_events (level, message, period)
SELECT (enum_range(NULL::alert_level))[1 + n % 3], 'alert ' || n,
       tstzrange('2023-01-01 00:00:00+00'::timestamptz + n * interval '1 hour',
                 '2023-01-01 00:30:00+00'::timestamptz + n * interval '1 hour')
FROM generate_series(1, 50) AS n;
INSERT INTO archived_alert_events (id, level, message, archived_by)
SELECT n, 'info', 'old alert ' || n, NULL FROM generate_series(1, 20) AS n;

CREATE SEQUENCE invoice_number START 1000 INCREMENT 7 MAXVALUE 999999 CYCLE;
SELECT setval('invoice_number', 4717);
CREATE SEQUENCE reserved_number START 77;
COMMENT ON SEQUENCE reserved_number IS 'never asked yet';
