"""The judge is judged: what changed shows to the oracle, and what did not change does not."""

from __future__ import annotations

import psycopg
import pytest
from command_line import Ended
from crash_ground import Ground, Site, stands
from crash_run import UNKNOWN_WORDS, Point, claim, compare
from strikes import Fault, Moment

DAMAGE = [
    "UPDATE cases SET worth = worth + 0.01 WHERE id = 7",
    "UPDATE users SET name = name || ' ' WHERE id = 3",
    "DELETE FROM cases WHERE id = 200",
    "INSERT INTO cases VALUES (201, 1, 1)",
    "INSERT INTO cases SELECT 201, user_id, worth FROM cases WHERE id = 1; DELETE FROM cases WHERE id = 1",
    "UPDATE cases SET worth = CASE id WHEN 1 THEN 3.00 ELSE 1.50 END WHERE id IN (1, 2)",
    "ALTER TABLE cases ALTER worth TYPE numeric(13,2)",
    "ALTER TABLE cases ALTER worth DROP NOT NULL",
    "ALTER TABLE cases ALTER worth SET DEFAULT 0",
    "ALTER TABLE cases DROP CONSTRAINT cases_user_id_fkey",
    "ALTER TABLE cases ADD noted text",
    "CREATE INDEX ON cases (user_id)",
    "CREATE TABLE stray ()",
    "CREATE SEQUENCE stray",
    "CREATE FUNCTION stray() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE VIEW stray AS SELECT 1 AS one",
    "CREATE RULE stray AS ON DELETE TO cases DO INSTEAD NOTHING",
    "COMMENT ON TABLE cases IS 'stray'",
    "CLUSTER cases USING cases_pkey",
    "GRANT SELECT ON cases TO PUBLIC",
    "ALTER TABLE cases ENABLE ROW LEVEL SECURITY",
    "SELECT lo_from_bytea(0, 'stray')",
    "UPDATE alembic_version SET version_num = '000'",
    "UPDATE lawsker_db.migration_run SET via = 'stray'",
]
NOTHING = [
    "UPDATE cases SET worth = worth",
    "VACUUM FULL cases",
    "ANALYZE",
    "REINDEX TABLE cases",
    "DELETE FROM cases WHERE id < 0",
    "CREATE TABLE stray (); DROP TABLE stray",
    "BEGIN; DELETE FROM cases; ROLLBACK",
    "CHECKPOINT",
]


@pytest.fixture(scope="session")
def ground(site: Site) -> Ground:
    return site.ground("small")


def after(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_old_database_shows(damage: str, site: Site, ground: Ground) -> None:
    with site.clone(ground) as url:
        after(url, damage)
        assert stands(ground, url).startswith("mixed")


@pytest.mark.parametrize("damage", DAMAGE[::4])
def test_damage_to_the_new_database_shows(damage: str, site: Site, ground: Ground) -> None:
    with site.clone(ground, migrated=True) as url:
        after(url, damage)
        assert stands(ground, url).startswith("mixed")


@pytest.mark.parametrize("nothing", NOTHING)
def test_what_changes_nothing_does_not_show(nothing: str, site: Site, ground: Ground) -> None:
    for migrated, stood in ((False, "old"), (True, "new")):
        with site.clone(ground, migrated=migrated) as url:
            after(url, *nothing.split("; "))
            assert stands(ground, url) == stood


@pytest.mark.parametrize(
    "half",
    [
        "DROP TABLE scores",
        "ALTER TABLE users DROP level",
        "DELETE FROM levels",
        "DELETE FROM lawsker_db.migration_run WHERE '002' = ANY (steps)",
    ],
)
def test_half_of_the_migration_is_neither_old_nor_new(half: str, site: Site, ground: Ground) -> None:
    with site.clone(ground, migrated=True) as url:
        after(url, half)
        assert stands(ground, url).startswith("mixed")


def test_new_tables_without_the_stamp_are_neither_old_nor_new(site: Site, ground: Ground) -> None:
    with site.clone(ground, migrated=True) as url:
        after(url, "UPDATE alembic_version SET version_num = '001'")
        assert stands(ground, url).startswith("mixed")


# What the tool may say, and what that is held against.
POINT = Point(ground="small", label="tool#1", ordinal=1, moment=Moment.SENT, fault=Fault.RESET)
NEXT = "\nNext: type it again"


@pytest.mark.parametrize(
    ("code", "state", "means"),
    [
        (10, "The database was not changed.", "old"),
        (11, "The transaction was rolled back; the database is as it was.", "old"),
        (13, "The migration is committed.", "new"),
        (130, "The migration is committed.", "new"),
        (130, "The database was not changed.", "old"),
    ],
)
def test_what_the_tool_says_is_taken_at_its_word(code: int, state: str, means: str) -> None:
    wrong: list[str] = []
    assert claim(Ended(code, "", f"Database: {state}{NEXT}"), POINT, struck=True, wrong=wrong) == means
    assert wrong == []
    compare(means, {"old": "new", "new": "old"}[means], Ended(code, "", ""), wrong)
    assert len(wrong) == 1, "a verdict that the oracle contradicts is found"


def test_doubt_is_honest_only_about_a_commit_and_while_nobody_can_ask() -> None:
    for label, fault, honest in (
        ("commit#1", Fault.DOWN, True),
        ("commit#1", Fault.RESET, False),
        ("migration#1", Fault.DOWN, False),
    ):
        wrong: list[str] = []
        point = Point(ground="small", label=label, ordinal=1, moment=Moment.SENT, fault=fault)
        claim(Ended(12, "", f"Database: {UNKNOWN_WORDS[0]}{NEXT}"), point, struck=True, wrong=wrong)
        assert bool(wrong) is not honest


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (11, f"Database: The migration is committed.{NEXT}"),
        (13, f"Database: The database was not changed.{NEXT}"),
        (12, f"Database: It is not known whether the migration was committed.{NEXT}"),  # the server could be asked
        (11, "Database: The transaction was rolled back; the database is as it was."),  # and what now?
        (1, f"Database: The database was not changed.{NEXT}"),
        (130, NEXT),
        (0, "Traceback (most recent call last):"),
    ],
)
def test_words_that_contradict_the_exit_code_are_found(code: int, said: str) -> None:
    wrong: list[str] = []
    claim(Ended(code, "", said), POINT, struck=True, wrong=wrong)
    assert wrong
