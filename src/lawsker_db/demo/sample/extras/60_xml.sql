-- Left out where the server was built without libxml.
CREATE TABLE court_documents (id integer PRIMARY KEY, body xml);
INSERT INTO court_documents VALUES (1, '<verdict at="北京">&lt;ok&gt;</verdict>'), (2, NULL);
