-- Two large objects, one longer than a page of pg_largeobject, and the table that names them.
CREATE TABLE attachments (id integer PRIMARY KEY, file_name text NOT NULL, content oid NOT NULL);
INSERT INTO attachments VALUES (1, '合同.pdf', 1300001), (2, 'empty.txt', 1300002);
SELECT lo_from_bytea(1300001, decode(repeat('25504446002d0aff', 2000), 'hex')), lo_from_bytea(1300002, '');
COMMENT ON LARGE OBJECT 1300001 IS 'contract of attachment 1';
