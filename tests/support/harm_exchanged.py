"""Harm that leaves every name where it was: rows, roles and labels that change places, rows that are hidden or read
otherwise, functions of the server and of extensions, and what hangs on a name of its own."""

from __future__ import annotations

from harm_objects import HEARD, UNHEARD
from harmless import LATE_TRIGGER
from variants import does

from lawsker_db.errors import RevisionFailed

TENANTS = "; ".join(
    f"CREATE SCHEMA {name}; CREATE TABLE {name}.wares (id int PRIMARY KEY, owner text); INSERT INTO {name}.wares VALUES"
    f" (1, '{owner}')"
    for name, owner in (("north", "alice"), ("south", "bob"))
)
MEMBER = (
    "CREATE EXTENSION citext; CREATE FUNCTION joined({}) RETURNS int LANGUAGE sql {}; ALTER EXTENSION citext ADD FUNCTION"
    " joined(int, int)"
)
LONG = "CREATE OR REPLACE FUNCTION long() RETURNS int LANGUAGE plpgsql AS $x$ BEGIN{}  RETURN {}; END $x$"
STEPS = "\n" + "  PERFORM 1;\n" * 9
GROWN = "CREATE TABLE grown (a int); INSERT INTO grown VALUES (1), (2); ALTER TABLE grown ADD b int DEFAULT 5"
PARTED = (
    "CREATE TABLE parted (a int) PARTITION BY LIST (a); CREATE TABLE parted_rest PARTITION OF parted DEFAULT;"
    " INSERT INTO parted VALUES (1)"
)
GRADES = "CREATE TYPE grade AS ENUM ('good', 'bad'); CREATE TABLE graded (g grade); INSERT INTO graded VALUES ('good')"

EXCHANGED = (
    does(
        "two schemas of one shape that exchange names",
        "ALTER SCHEMA north RENAME TO passing; ALTER SCHEMA south RENAME TO north; ALTER SCHEMA passing RENAME TO south",
        "content of north.wares: expected rows unchanged, found these rows stand in south.wares now",
        setup=TENANTS,
    ),
    does(
        "two tables of one shape that exchange names by hand",
        "UPDATE pg_class SET relname = 'passing' WHERE oid = 'here'::regclass; UPDATE pg_class SET relname = 'here' WHERE"
        " oid = 'there'::regclass; UPDATE pg_class SET relname = 'there' WHERE relname = 'passing'",
        "content of public.here: expected rows unchanged, found these rows stand in public.there now",
        setup="CREATE TABLE here (a int); CREATE TABLE there (a int); INSERT INTO here VALUES (1)",
    ),
    does(
        "two roles that exchange names",
        "ALTER ROLE evil_a RENAME TO evil_c; ALTER ROLE evil_b RENAME TO evil_a; ALTER ROLE evil_c RENAME TO evil_b",
        "role evil_a: oid",
        setup="CREATE ROLE evil_a; CREATE ROLE evil_b",
        teardown="DROP ROLE evil_a, evil_b",
    ),
    does(
        "two labels that exchange names by hand",
        "UPDATE pg_enum SET enumlabel = 'passing', enumsortorder = 99 WHERE enumtypid = 'grade'::regtype AND enumlabel ="
        " 'good'; UPDATE pg_enum SET enumlabel = 'good', enumsortorder = 1 WHERE enumtypid = 'grade'::regtype AND"
        " enumlabel = 'bad'; UPDATE pg_enum SET enumlabel = 'bad', enumsortorder = 2 WHERE enumlabel = 'passing'",
        "type public.grade: label_oids",
        setup=GRADES,
    ),
    does(
        "another value of old rows in a column that was added since",
        "CREATE TEMP TABLE other (a int); ALTER TABLE other ADD b int DEFAULT 7; UPDATE pg_attribute SET (atthasmissing,"
        " attmissingval) = (SELECT true, attmissingval FROM pg_attribute WHERE attrelid = 'other'::regclass AND attname ="
        " 'b') WHERE attrelid = 'grown'::regclass AND attname = 'b'",
        "content of public.grown",
        setup=GROWN,
    ),
    does(
        "a default not seen",
        "UPDATE pg_attribute SET atthasdef = false WHERE attrelid = 'grown'::regclass AND attname = 'b'",
        "column public.grown.b: unseen",
        setup=GROWN,
    ),
    does(
        "partitions not seen",
        "UPDATE pg_class SET relhassubclass = false WHERE oid = 'parted'::regclass",
        "table public.parted: unseen is children",
        setup=PARTED,
    ),
    does(
        "a function of the server with another body of its own",
        "CREATE OR REPLACE FUNCTION pg_catalog.bit_length(text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT"
        " COST 1 RETURN 0",
        "objects of schema pg_catalog in pg_proc: digest is another; written: function bit_length(text)",
    ),
    does(
        "a default argument of a function of the server",
        "CREATE OR REPLACE FUNCTION pg_catalog.pg_terminate_backend(pid integer, timeout int8 DEFAULT 60000) RETURNS boolean"
        " STRICT VOLATILE LANGUAGE internal AS 'pg_terminate_backend' PARALLEL SAFE",
        "objects of schema pg_catalog in pg_proc: digest is another; written: function pg_terminate_backend(integer,bigint)",
    ),
    does(
        "an extension's function with another body of its own",
        "CREATE OR REPLACE FUNCTION joined(a int, b int) RETURNS int LANGUAGE sql RETURN a - b",
        "objects of extension citext in pg_proc: digest is another; written: function public.joined(integer,integer)",
        says_of_copy="function public.joined(a integer, b integer): present",
        setup=MEMBER.format("a int, b int", "RETURN a + b"),
    ),
    does(
        "a default argument of an extension's function",
        "CREATE OR REPLACE FUNCTION joined(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT a + b'",
        "objects of extension citext in pg_proc: digest is another; written: function public.joined(integer,integer)",
        says_of_copy="function public.joined(a integer, b integer): present",
        setup=MEMBER.format("a int, b int DEFAULT 1", "AS 'SELECT a + b'"),
    ),
    does(
        "a check of a domain of the server",
        "ALTER DOMAIN information_schema.cardinal_number DROP CONSTRAINT cardinal_number_domain_check",
        "objects of schema information_schema in pg_constraint: digest is another; something was removed",
    ),
    does(
        "a text search configuration of another parser",
        "DROP TEXT SEARCH CONFIGURATION terms; CREATE TEXT SEARCH CONFIGURATION terms (PARSER = words)",
        "text search configuration public.terms: parser",
        setup="CREATE TEXT SEARCH PARSER words (start = prsd_start, gettoken = prsd_nexttoken, end = prsd_end, lextypes ="
        ' prsd_lextype); CREATE TEXT SEARCH CONFIGURATION terms (PARSER = "default")',
    ),
    does(
        "a subscription disabled by its first error",
        "ALTER SUBSCRIPTION heard SET (disable_on_error = true)",
        "subscription's options heard: subdisableonerr",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "a subscription that streams in binary",
        "ALTER SUBSCRIPTION heard SET (streaming = true, binary = true)",
        "subscription's options heard: subbinary",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does(
        "a transaction that a subscription is to skip",
        "ALTER SUBSCRIPTION heard SKIP (lsn = '0/1234567')",
        "subscription's options heard: subskiplsn",
        setup=HEARD,
        says_of_copy='subscription "heard" does not exist',
        teardown=UNHEARD,
    ),
    does("a grant on a system column", "GRANT SELECT (ctid) ON users TO PUBLIC", "column public.users.ctid: present"),
    does(
        "a lost grant on a system column",
        "REVOKE SELECT (xmin) ON users FROM lawsker_report",
        "column public.users.xmin: missing",
        setup="GRANT SELECT (xmin) ON users TO lawsker_report",
    ),
    does(
        "another name of a constraint trigger's constraint",
        "ALTER TABLE users RENAME CONSTRAINT late TO later",
        "trigger public.users.late: of_constraint",
        setup=LATE_TRIGGER,
    ),
    does(
        "a comment on a constraint trigger's constraint",
        "COMMENT ON CONSTRAINT late ON users IS 'x'",
        "trigger public.users.late: of_constraint",
        setup=LATE_TRIGGER,
    ),
    does(
        "one line of a long function",
        LONG.format(STEPS, 2),
        "function public.long(): definition, line 14, is RETURN 2; END $function$, expected RETURN 1; END $function$.",
        setup=LONG.format(STEPS, 1),
    ),
    does(
        "another role to the end",
        "SET LOCAL ROLE lawsker_report",
        "The revision left SET ROLE on: the stamp would be written as lawsker_report",
        raises=RevisionFailed,
    ),
)
