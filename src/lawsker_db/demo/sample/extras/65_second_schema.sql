-- A second schema, with a table of the same name as one of the 13, and a foreign key across. Left out where the
-- role may not make schemas.
CREATE SCHEMA audit;
CREATE TABLE audit.users (
    user_id uuid REFERENCES public.users (id),
    changed_at timestamptz NOT NULL,
    what text
);
INSERT INTO audit.users
SELECT id, '2023-09-01 00:00:00+08'::timestamptz + n * interval '1.000001 seconds', 'login'
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM public.users) AS numbered
WHERE n <= 50;
