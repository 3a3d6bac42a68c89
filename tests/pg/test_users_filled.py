"""The new columns of users are filled by an UPDATE where that is safe, by a rewrite elsewhere; both come to the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from soaking import alembic

from lawsker_db.errors import RevisionFailed
from lawsker_db.evidence import Verdict
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

FILE = "SELECT pg_relation_filenode('users')"
TRIGGERS = "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal ORDER BY 1"
FILLED = """
    SELECT id, account_type, email_verified, registration_source, workspace_id ~ '^ws-[0-9a-f]{12}$', updated_at
    FROM users ORDER BY id"""


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(query.encode()).fetchall()


def do(url: str, statements: str) -> None:
    with psycopg.connect(url) as conn:
        conn.execute(statements.encode())


def upgraded(url: str, folder: Path, **options: str) -> None:
    chosen = UpgradeOptions(runs=folder, chain_options=options, prove=False)
    assert safe_upgrade(parse_target(url), options=chosen).verdict is Verdict.DONE


def test_an_update_keeps_the_file_the_stamps_and_every_trigger_as_it_was(adopted_url: str, tmp_path: Path) -> None:
    trigger = "BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()"
    do(adopted_url, "".join(f'CREATE TRIGGER "it\'s {state}" {trigger};' for state in ("always", "replica", "off")))
    do(adopted_url, 'ALTER TABLE users ENABLE ALWAYS TRIGGER "it\'s always"')
    do(adopted_url, 'ALTER TABLE users ENABLE REPLICA TRIGGER "it\'s replica", DISABLE TRIGGER "it\'s off"')
    file, triggers, columns = ask(adopted_url, FILE), ask(adopted_url, TRIGGERS), oracle.columns(adopted_url)
    before = oracle.content(adopted_url, only_columns=columns)
    upgraded(adopted_url, tmp_path)
    after = oracle.content(adopted_url, only_columns=columns)
    assert {name: after[name] for name in before} == before
    assert (ask(adopted_url, FILE), ask(adopted_url, TRIGGERS)) == (file, triggers)
    assert {state for _, state in triggers} == {"O", "A", "R", "D"}


def test_update_and_rewrite_give_every_user_the_same(adopted_url: str, tmp_path: Path) -> None:
    found = []
    for way in ("update", "rewrite"):
        file = ask(adopted_url, FILE)
        upgraded(adopted_url, tmp_path / way, users=way, email_verified="active")
        found.append((ask(adopted_url, FILLED), ask(adopted_url, FILE) == file))
        down = alembic(adopted_url, tmp_path, "-x", "discard=yes", "downgrade", "012")
        assert down.returncode == 0, down.stderr
    assert found[0][0] == found[1][0]
    assert [kept for _, kept in found] == [True, False]


@pytest.mark.parametrize(
    "hindrance",
    [
        "CREATE RULE quiet AS ON UPDATE TO users DO INSTEAD NOTHING",
        "ALTER TABLE users REPLICA IDENTITY NOTHING; CREATE PUBLICATION all_users FOR TABLE users",
    ],
)
def test_where_an_update_would_fail_or_do_something_else_the_table_is_rewritten(
    hindrance: str, adopted_url: str, tmp_path: Path
) -> None:
    do(adopted_url, hindrance)
    file = ask(adopted_url, FILE)
    upgraded(adopted_url, tmp_path)
    assert ask(adopted_url, FILE) != file


def test_another_way_than_these_two_is_refused(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    with pytest.raises(RevisionFailed, match="takes the values update and rewrite, not sideways"):
        upgraded(adopted_url, tmp_path, users="sideways")
    assert oracle.picture(adopted_url) == before


def test_an_option_that_no_revision_asks_for_is_refused_by_name(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    with pytest.raises(RevisionFailed, match="asks for the option user: they ask for email_verified, users"):
        upgraded(adopted_url, tmp_path, user="update")
    assert oracle.picture(adopted_url) == before
