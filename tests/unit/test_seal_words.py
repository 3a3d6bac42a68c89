"""Which words in a piece of SQL would end or begin a transaction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.postgres.seal import transaction_control

ENDING = {
    "COMMIT": "COMMIT",
    "commit work": "COMMIT",
    "  \n\tCommit;": "COMMIT",
    "END": "END",
    "end transaction": "END",
    "ABORT": "ABORT",
    "BEGIN": "BEGIN",
    "begin isolation level serializable": "BEGIN",
    "START TRANSACTION": "START TRANSACTION",
    "start\n  transaction read only": "START TRANSACTION",
    "PREPARE TRANSACTION 'x'": "PREPARE TRANSACTION",
    "ROLLBACK": "ROLLBACK",
    "ROLLBACK WORK": "ROLLBACK",
    "rollback and chain": "ROLLBACK",
    "ROLLBACK PREPARED 'x'": "ROLLBACK",
    "COMMIT PREPARED 'x'": "COMMIT",
    "SELECT 1; COMMIT": "COMMIT",
    "SELECT ';' ; COMMIT": "COMMIT",
    "-- nothing\nCOMMIT": "COMMIT",
    "/* a */ COMMIT": "COMMIT",
    "/* a /* b */ c */ COMMIT": "COMMIT",
    "/*/**/*/COMMIT": "COMMIT",
    "SELECT 1 -- ;\n; COMMIT": "COMMIT",
    "SELECT 'it''s'; COMMIT": "COMMIT",
    r"SELECT E'it\'s'; COMMIT": "COMMIT",
    r"SELECT '\'; COMMIT": "COMMIT",
    r"SELECT E'\\'; COMMIT": "COMMIT",
    "DO $$ BEGIN NULL; END $$; COMMIT": "COMMIT",
    "DO $a$ SELECT '$$' $a$; COMMIT": "COMMIT",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; COMMIT": "COMMIT",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; ROLLBACK": "ROLLBACK",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT": "COMMIT",
    ";;COMMIT": "COMMIT",
}
HARMLESS = (
    "",
    ";",
    "SELECT 1",
    "SAVEPOINT commit",
    "RELEASE SAVEPOINT s",
    "ROLLBACK TO s",
    "ROLLBACK TO SAVEPOINT s",
    "rollback work to savepoint s",
    "ROLLBACK TRANSACTION TO s",
    "SET TRANSACTION READ ONLY",
    "SET CONSTRAINTS ALL DEFERRED",
    "PREPARE transaction_of AS SELECT 1",
    "SELECT 'COMMIT'",
    "SELECT '; COMMIT; '",
    'SELECT 1 AS "; COMMIT"',
    r"SELECT E'\'; COMMIT; '",
    "SELECT $$; COMMIT; $$",
    "SELECT $a$ $$; COMMIT; $$ $a$",
    "-- COMMIT",
    "SELECT 1 -- ; COMMIT",
    "/* ; COMMIT; */ SELECT 1",
    "/* /* */ ; COMMIT; */ SELECT 1",
    "/* unfinished ; COMMIT",
    "DO $$ BEGIN PERFORM 1; END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "create or replace procedure p() begin atomic select case when true then 1 end; end; select 1",
    "INSERT INTO t VALUES ('it''s; COMMIT; ')",
    "COMMENT ON TABLE t IS 'COMMIT'",
    "SELECT committed FROM ends",
    "ENDPOINT",
    "CREATE TABLE begin_end (a int)",
    "U&'; COMMIT'",
)


@pytest.mark.parametrize("sql", ENDING, ids=repr)
def test_a_statement_that_ends_or_begins_a_transaction_is_named(sql: str) -> None:
    assert transaction_control(sql) == ENDING[sql]


@pytest.mark.parametrize("sql", HARMLESS, ids=repr)
def test_words_that_end_nothing_pass(sql: str) -> None:
    assert transaction_control(sql) is None


@given(
    before=st.sampled_from([*HARMLESS[:10], "SELECT ';'", "SELECT $x$;$x$", "/* /* */ */", "-- x\n"]),
    word=st.sampled_from(["COMMIT", "rollback", "End", "ABORT"]),
    after=st.sampled_from(["", ";", " -- x", "/* x */", "; SELECT 1"]),
)
def test_a_control_word_is_found_behind_and_before_anything_whole(before: str, word: str, after: str) -> None:
    assert transaction_control(f"{before};{word}{after}") == word.upper()


@given(st.text(alphabet="ab;'\"$-/*\\\n CcOoMmIiTt", max_size=40))
def test_no_text_makes_the_look_fail(sql: str) -> None:
    transaction_control(sql)


@given(st.text(max_size=40))
def test_nothing_inside_a_string_counts(content: str) -> None:
    quoted = content.replace("'", "''")
    assert transaction_control(f"SELECT '{quoted}; COMMIT; '") is None
