"""What lets a test leave out a second look: whatever is written shows, so nothing is unchanged that was not looked at."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import stillness
from command_line import everything
from copies import Server, execute

GROUND = (
    "CREATE TABLE things (id serial PRIMARY KEY, note text)",
    "INSERT INTO things (note) VALUES ('one')",
    "CREATE UNLOGGED TABLE fleeting (n int)",
    "CREATE SEQUENCE numbers",
    "SELECT nextval('numbers')",
    "VACUUM",
)
WRITES = [
    ("INSERT INTO things (note) VALUES ('two')",),
    ("UPDATE things SET note = note",),
    ("BEGIN", "DELETE FROM things", "ROLLBACK"),
    ("INSERT INTO fleeting VALUES (1)",),
    ("SELECT nextval('numbers')",),
    ("SELECT setval('numbers', 1000)",),
    ("SELECT lo_from_bytea(0, 'x')",),
    ("CREATE TEMP TABLE gone ()",),
    ("TRUNCATE fleeting",),
    ("COMMENT ON TABLE things IS 'stray'",),
    ("ALTER DATABASE {name} SET work_mem = '5MB'",),
    ("BEGIN", "INSERT INTO things (note) VALUES ('three')", "PREPARE TRANSACTION 'kept'", "ROLLBACK PREPARED 'kept'"),
]
READS = [
    ("SELECT count(*) FROM things",),
    ("BEGIN READ ONLY", "LOCK TABLE things IN ACCESS SHARE MODE", "SELECT pg_advisory_xact_lock(7)", "ROLLBACK"),
]


@pytest.fixture(scope="module")
def ground(server: Server) -> Iterator[str]:
    server.run("CREATE DATABASE still TEMPLATE template0 ENCODING 'UTF8'")
    execute(server.url("still"), *GROUND)
    yield server.url("still")
    server.run("DROP DATABASE still")


@pytest.mark.parametrize("statements", WRITES, ids=str)
def test_whatever_is_written_is_seen(statements: tuple[str, ...], ground: str) -> None:
    before = stillness.place(ground)
    assert before is not None
    execute(ground, *(statement.replace("{name}", "still") for statement in statements))
    assert stillness.place(ground) != before


@pytest.mark.parametrize("statements", READS, ids=str)
def test_a_second_look_is_left_out_only_where_nothing_was_written(statements: tuple[str, ...], ground: str) -> None:
    looks: list[str] = []

    def look(url: str) -> int:
        looks.append(url)
        return len(looks)

    seen = stillness.remembered(look)
    assert seen(ground) == 1
    execute(ground, *statements)
    assert seen(ground) == 1
    execute(ground, "UPDATE things SET note = note")
    assert seen(ground) == 2


def test_a_clone_that_was_written_to_is_no_longer_its_template(server: Server, adopted_url: str) -> None:
    assert stillness.is_as_cloned(adopted_url)
    before = everything(adopted_url)
    assert before == everything.__wrapped__(adopted_url)  # type: ignore[attr-defined]
    execute(adopted_url, "UPDATE users SET username = username || ' '")
    assert not stillness.is_as_cloned(adopted_url)
    assert everything(adopted_url) != before


def test_a_database_that_somebody_is_in_is_not_quiet(adopted_url: str) -> None:
    assert stillness.is_quiet(adopted_url)
    with psycopg.connect(adopted_url):
        assert not stillness.is_quiet(adopted_url)
