-- A table whose name needs quoting (it ends in a newline), with types that are rare and values at their edges.
CREATE TABLE U&"Quoted ""Name""\000A" (
    "select" integer PRIMARY KEY,
    "Größe" double precision,
    "a ""b""" real,
    "%s" numeric,
    price money,
    document json,
    span interval,
    payload bytea,
    address inet,
    numbers int4range,
    words tsvector,
    place point,
    flags bit varying(8),
    code char(4),
    plain text COLLATE "C",
    local_time timestamp,
    day_time timetz,
    mails email_address[],
    levels alert_level[],
    cube integer[][]
);
INSERT INTO U&"Quoted ""Name""\000A" VALUES
    (1, '-0', '-0', 'NaN', 1234.5::numeric::money, '{"a": 1.0,  "a": 1.00}', '1 month', '\x00ff', '10.0.0.1/8',
     '[1,5)', 'b:2 a:1', '(-0,0)', '101', 'ab', E'\n', '2021-03-28 02:30:00', '24:00:00-15:59',
     '{a@b,"c,d@e"}', '{info,"it''s \"critical\""}', '{{1,2},{3,4}}'),
    (2, 'NaN', 'NaN', 1.00, 0::numeric::money, '[]', '30 days', '', '::1',
     'empty', '', '(NaN,1e300)', '', '    ', '', 'infinity', '00:00:00+00',
     '{}', '{NULL}', '{}'),
    (3, 'Infinity', '-Infinity', 1.0, '-0.01'::numeric::money, '"\u00e9"', '-1 year -00:00:00.000001', '\xdeadbeef',
     '2001:db8::/32', '(,)', 'x', '(1,2)', B'00000000', E'\\', '\.', '-infinity', '23:59:60+08',
     NULL, NULL, '[0:1]={1,2}'),
    (4, 5e-324, 1e-45, '1e-1000', NULL, 'null', '720:00:00', NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL),
    (5, 1.7976931348623157e308, 3.4028235e38, '1e1000', 1::numeric::money, ' {"z":null , "a":[ ]}', '0', '\x5c2e0a',
     '0.0.0.0/0', '[-2147483648,2147483647)', 'a:1A', '(0.1,0.2)', B'1', '\N', 'NULL', '4713-11-24 00:00:00 BC',
     '12:00:00.000001-03:30', '{x@y}', '{Warning}', '{1,NULL}');
COMMENT ON TABLE U&"Quoted ""Name""\000A" IS E'the name ends in a newline;\nso "quote" it';

CREATE UNLOGGED TABLE session_cache (key text PRIMARY KEY, value jsonb NOT NULL);
INSERT INTO session_cache SELECT 'session:' || n, jsonb_build_object('n', n) FROM generate_series(1, 100) AS n;
