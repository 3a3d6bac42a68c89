"""Plain Alembic from the checkout: it works as ever, and every way in goes through the guard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from command_line import run_alembic

from lawsker_db.postgres import locks
from lawsker_db.safety.verification import verify
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]


def alembic(url: str | None, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment.pop("DATABASE_URL", None)
    if url is not None:
        environment["DATABASE_URL"] = url
    program = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def succeed(url: str, *arguments: str) -> str:
    ended = run_alembic(ROOT, *arguments, url=url)
    assert ended.code == 0, ended.said
    return ended.out


def refused(url: str | None, *arguments: str) -> str:
    """Run a command that must be refused with one message of ours; return the message."""
    ended = run_alembic(ROOT, *arguments, url=url)
    assert ended.code != 0
    words = ended.said
    assert "Traceback" not in words
    assert words.count("FAILED: ") == 1
    assert "Next: " in words
    return words


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def run(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements.encode())


HISTORY = "SELECT direction, via, from_revisions, to_revisions FROM lawsker_db.migration_run ORDER BY position"


@pytest.fixture
def upgraded_url(adopted_url: str) -> str:
    """The adopted sample at head, by plain Alembic, in the database that it was upgraded in."""
    succeed(adopted_url, "upgrade", "head")
    return adopted_url


def test_upgrade_and_downgrade_change_what_they_promise_and_are_on_record(adopted_url: str) -> None:
    columns, before = oracle.columns(adopted_url), oracle.picture(adopted_url)
    succeed(adopted_url, "upgrade", "head")
    after = oracle.content(adopted_url, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in before[1]} == before[1]
    assert [check for check in verify(parse_target(adopted_url)) if check.fails] == []
    succeed(adopted_url, "downgrade", "012")
    assert oracle.picture(adopted_url) == before
    assert rows(adopted_url, HISTORY)[1:] == [
        ("upgrade", "alembic", ["012"], ["013"]),
        ("downgrade", "alembic", ["013"], ["012"]),
    ]


def test_relative_revisions_go_one_step(adopted_url: str) -> None:
    succeed(adopted_url, "upgrade", "+1")
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]
    succeed(adopted_url, "downgrade", "-1")
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]


def test_upgrade_from_base_builds_both_revisions_in_one_transaction(empty_url: str) -> None:
    succeed(empty_url, "upgrade", "head")
    assert rows(empty_url, HISTORY) == [("upgrade", "alembic", [], ["013"])]
    assert rows(empty_url, "SELECT steps FROM lawsker_db.migration_run") == [(["012", "013"],)]
    assert [check for check in verify(parse_target(empty_url)) if check.ok is not True and not check.warning] == []
    assert "No new upgrade operations detected" in succeed(empty_url, "check")


def test_current_history_and_heads_tell_where_it_stands(adopted_url: str) -> None:
    assert succeed(adopted_url, "current").startswith("012")
    told = succeed(adopted_url, "history")
    assert "012 -> 013 (head)" in told
    assert "<base> -> 012" in told
    assert succeed(adopted_url, "heads").startswith("013 (head)")


def test_check_says_that_a_database_below_head_is_not_up_to_date(adopted_url: str) -> None:
    said = alembic(adopted_url, "check")
    assert said.returncode != 0
    assert "not up to date" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr


def test_commands_that_only_look_change_nothing_and_run_beside_a_run(adopted_url: str) -> None:
    before = oracle.picture(adopted_url)
    with locks.run_lock(parse_target(adopted_url)):
        for arguments in (("current",), ("history",), ("heads",), ("upgrade", "012:head", "--sql")):
            succeed(adopted_url, *arguments)
        words = refused(adopted_url, "upgrade", "head")
        assert "Another run is going on in this database" in words
        assert "pid " in words
        assert "Another run" in refused(adopted_url, "downgrade", "base")
        assert "Another run" in refused(adopted_url, "stamp", "head")
    assert oracle.picture(adopted_url) == before
    assert len(rows(adopted_url, HISTORY)) == 1


def test_commands_that_only_look_wait_for_no_table_lock(adopted_url: str) -> None:
    with psycopg.connect(adopted_url) as other:
        other.execute("LOCK TABLE users, cases, roles IN ACCESS EXCLUSIVE MODE")
        assert succeed(adopted_url, "current").startswith("012")
        succeed(adopted_url, "history")
        other.rollback()


def test_the_sql_form_from_base_builds_the_same_schema_as_online(empty_url: str, adopted_url: str, server: Any) -> None:
    script = succeed(empty_url, "upgrade", "head", "--sql")
    assert "It carries no gate" in script.split("BEGIN;")[0]
    assert script.count("BEGIN;") == script.count("COMMIT;") == 1
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(script.encode())
    offline = oracle.picture(empty_url)
    assert rows(empty_url, "SELECT version_num FROM alembic_version") == [("013",)]
    name = f"online_{uuid.uuid4().hex[:8]}"
    server.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        succeed(server.url(name), "upgrade", "head")
        assert oracle.schema(server.url(name)) == offline[0]
    finally:
        server.run(f"DROP DATABASE {name}")
    assert rows(empty_url, "SELECT to_regclass('lawsker_db.migration_run')") == [(None,)]


def test_the_sql_form_from_the_baseline_upgrades_the_sample_as_online(
    adopted_url: str, server: Any, adopted_template: str
) -> None:
    columns, before = oracle.columns(adopted_url), oracle.content(adopted_url)
    script = succeed(adopted_url, "upgrade", "012:013", "--sql")
    assert oracle.content(adopted_url) == before
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        connection.execute(script.encode())
    after = oracle.content(adopted_url, only_columns=columns)
    assert {name: digest for name, digest in after.items() if name in before} == before
    assert [check for check in verify(parse_target(adopted_url)) if check.fails] == []
    name = f"online_{uuid.uuid4().hex[:8]}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {adopted_template}")
    try:
        succeed(server.url(name), "upgrade", "head")
        assert oracle.schema(server.url(name)) == oracle.schema(adopted_url)
    finally:
        server.run(f"DROP DATABASE {name}")


def test_the_sql_form_of_the_downgrade_gives_the_schema_before(adopted_url: str) -> None:
    before = oracle.picture(adopted_url)
    succeed(adopted_url, "upgrade", "head")
    script = succeed(adopted_url, "downgrade", "013:012", "--sql")
    assert "It carries no gate" in script
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        connection.execute(script.encode())
    assert oracle.picture(adopted_url) == before


def test_an_unstamped_live_database_is_refused_by_name_of_its_tables(sample_url: str) -> None:
    before = oracle.picture(sample_url)
    words = refused(sample_url, "upgrade", "head")
    assert "These tables are there already" in words
    assert re.search(r": \w+(, \w+)+ \(and \d+ more\)", words)
    assert oracle.picture(sample_url) == before
    assert rows(sample_url, "SELECT to_regclass('alembic_version'), to_regnamespace('lawsker_db')") == [(None, None)]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "No database was named"),
        ("mysql://u:secret@h/d", "not PostgreSQL"),
        ("postgresql://nobody:secret@localhost:1/nowhere", "No connection"),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_sentence_without_the_password(url: str | None, says: str) -> None:
    for arguments in (("upgrade", "head"), ("current",)):
        words = refused(url, *arguments)
        assert says in words
        assert "secret" not in words


def test_an_unknown_revision_is_refused(adopted_url: str) -> None:
    before = oracle.picture(adopted_url)
    said = alembic(adopted_url, "upgrade", "999")
    assert said.returncode != 0
    assert "999" in said.stdout + said.stderr
    assert "Traceback" not in said.stdout + said.stderr
    assert oracle.picture(adopted_url) == before


def test_a_refusal_and_what_was_kept_are_said_in_the_language_of_the_environment(upgraded_url: str) -> None:
    ended = run_alembic(ROOT, "upgrade", "999", url=upgraded_url, LAWSKER_LANG="zh")
    assert ended.code != 0
    assert "FAILED: 修订 999 不在修订链中。\n数据库没有被改动。\n下一步：" in ended.said
    told = run_alembic(ROOT, "-x", "archive=yes", "downgrade", "012", url=upgraded_url, LAWSKER_LANG="zh")
    assert "降级移走的内容保存在模式 " in told.out, told.said


def test_an_upgrade_at_head_changes_nothing(upgraded_url: str) -> None:
    before, history = oracle.picture(upgraded_url), rows(upgraded_url, HISTORY)
    succeed(upgraded_url, "upgrade", "head")
    assert oracle.picture(upgraded_url) == before
    assert rows(upgraded_url, HISTORY) == history
    assert rows(upgraded_url, "SELECT version_num FROM alembic_version") == [("013",)]


def test_a_stamp_is_recorded_and_changes_the_version_alone(sample_url: str) -> None:
    before = oracle.picture(sample_url)
    succeed(sample_url, "stamp", "012")
    assert oracle.picture(sample_url) == before
    assert rows(sample_url, "SELECT version_num FROM alembic_version") == [("012",)]
    assert rows(sample_url, HISTORY) == [("stamp", "alembic", [], ["012"])]


SINCE = {
    "a membership": (
        "INSERT INTO user_memberships (user_id, membership_type, start_date, end_date) SELECT id, 'free', now(),"
        " now() + interval '1 year' FROM users LIMIT 1",
        "user_memberships: a membership: 1",
    ),
    "a changed seed": ("UPDATE lawyer_levels SET name = name || '!' WHERE level = 3", "lawyer_levels"),
    "a changed package": (
        "UPDATE enterprise_service_packages SET monthly_fee = 1 WHERE package_type = 'basic'",
        "enterprise_service_packages",
    ),
    "a deleted seed": ("DELETE FROM demo_accounts WHERE demo_type = 'user'", "demo_accounts"),
    "a verified user": (
        "UPDATE users SET email_verified = true WHERE id = (SELECT id FROM users LIMIT 1)",
        "nor a default gave: 1 (",
    ),
    "another account type": (
        "UPDATE users SET account_type = 'lawyer_pending' WHERE id = (SELECT id FROM users LIMIT 1)",
        "nor a default gave: 1 (",
    ),
    "another source": (
        "UPDATE users SET registration_source = 'app' WHERE id = (SELECT id FROM users LIMIT 1)",
        "nor a default gave: 1 (",
    ),
    "points": ("UPDATE lawyer_level_details SET level_points = 5", "lawyer_level_details"),
    "used credits": (
        "UPDATE user_credits SET credits_remaining = 0 WHERE user_id = (SELECT user_id FROM user_credits LIMIT 1)",
        "user_credits: credits made or changed since: 1",
    ),
    "a mapping of somebody new": (
        "WITH u AS (INSERT INTO users (id, tenant_id, username, password_hash, status) SELECT gen_random_uuid(),"
        " tenant_id, 'somebody new', 'x', 'ACTIVE' FROM users LIMIT 1 RETURNING id)"
        " INSERT INTO workspace_mappings (user_id, workspace_id, workspace_type)"
        " SELECT u.id, 'my-own-space', 'user' FROM u",
        "with a workspace_id of its own: 1",
    ),
}


EVERY_SECOND = [
    pytest.param(what, marks=() if place % 2 == 0 else pytest.mark.long) for place, what in enumerate(SINCE)
]


@pytest.mark.parametrize("what", EVERY_SECOND)
def test_a_downgrade_refuses_to_throw_away_what_was_written_since(what: str, upgraded_url: str) -> None:
    statement, says = SINCE[what]
    run(upgraded_url, statement)
    before = oracle.picture(upgraded_url)
    words = refused(upgraded_url, "downgrade", "012")
    assert "would throw away what was written since" in words
    assert says in words
    assert "-x discard=yes" in words
    assert oracle.picture(upgraded_url) == before
    assert rows(upgraded_url, "SELECT version_num FROM alembic_version") == [("013",)]


def test_a_downgrade_discards_what_was_written_since_when_told_so(adopted_url: str) -> None:
    before = oracle.picture(adopted_url)
    succeed(adopted_url, "upgrade", "head")
    run(adopted_url, SINCE["a membership"][0])
    run(adopted_url, SINCE["a changed seed"][0])
    refused(adopted_url, "-x", "discard=no", "downgrade", "012")
    succeed(adopted_url, "-x", "discard=yes", "downgrade", "012")
    assert oracle.picture(adopted_url) == before


def test_what_the_old_application_writes_to_users_is_told_and_stays_in_a_downgrade_with_an_archive(
    upgraded_url: str,
) -> None:
    run(
        upgraded_url,
        "INSERT INTO users (id, tenant_id, username, password_hash, status) SELECT gen_random_uuid(), t.id,"
        " 'new ' || n, 'x', 'ACTIVE' FROM (SELECT id FROM tenants LIMIT 1) AS t, generate_series(1, 3) AS n;"
        " DELETE FROM user_roles; DELETE FROM users WHERE username = 'new 2';"
        " UPDATE users SET last_login = now(), status = 'BANNED' WHERE username = 'new 1';"
        " UPDATE users SET status = 'INACTIVE' WHERE id = (SELECT min(id::text)::uuid FROM users);"
        " UPDATE cases SET status = 'COMPLETED'",
    )
    mapped = rows(upgraded_url, "SELECT count(*) FROM workspace_mappings")[0][0]
    run(upgraded_url, DELETE_ONE)
    assert rows(upgraded_url, "SELECT count(*) FROM workspace_mappings") == [(mapped - 1,)]
    columns = {**oracle.columns(upgraded_url)}
    columns["public.users"] = columns["public.users"][:-4]
    before = oracle.content(upgraded_url, only_columns=columns)
    words = refused(upgraded_url, "downgrade", "012")
    assert "users: changed since the upgrade (120 rows when made, 121 now)" in words
    assert f"workspace_mappings: changed since the upgrade ({mapped} rows when made, {mapped - 1} now)" in words
    refused(upgraded_url, "-x", "archive=yes", "-x", "discard=yes", "downgrade", "012")
    assert "lawsker_archive_" in succeed(upgraded_url, "-x", "archive=yes", "downgrade", "012")
    after = {name: d for name, d in oracle.content(upgraded_url).items() if not name.startswith("lawsker_archive_")}
    assert after == {name: digest for name, digest in before.items() if name in after}
    assert len(after) == len(before) - 18  # 17 tables and a sequence
    assert rows(upgraded_url, "SELECT version_num FROM alembic_version") == [("012",)]


# A user of the sample with everything that points at it, as the old application deletes one.
DELETE_ONE = """
    DO $$
    DECLARE
        victim uuid := (SELECT user_id FROM workspace_mappings ORDER BY user_id LIMIT 1);
        heir uuid := (SELECT user_id FROM workspace_mappings ORDER BY user_id DESC LIMIT 1);
    BEGIN
        UPDATE cases SET assigned_to_user_id = NULL WHERE assigned_to_user_id = victim;
        UPDATE cases SET sales_user_id = heir WHERE sales_user_id = victim;
        UPDATE clients SET sales_owner_id = heir WHERE sales_owner_id = victim;
        UPDATE commission_splits SET user_id = heir WHERE user_id = victim;
        UPDATE case_logs SET user_id = NULL WHERE user_id = victim;
        UPDATE system_logs SET user_id = NULL WHERE user_id = victim;
        DELETE FROM audit.users WHERE user_id = victim;
        DELETE FROM profiles WHERE user_id = victim;
        DELETE FROM wallets WHERE user_id = victim;
        DELETE FROM users WHERE id = victim;
    END $$
"""


def test_a_downgrade_of_what_no_run_here_has_made_is_refused(sample_url: str) -> None:
    succeed(sample_url, "stamp", "012")
    succeed(sample_url, "upgrade", "head")
    run(sample_url, "DELETE FROM lawsker_db.migration_run")
    words = refused(sample_url, "downgrade", "012")
    assert "No run of this database is on record" in words
    succeed(sample_url, "-x", "discard=yes", "downgrade", "012")


def test_a_program_gets_the_same_guard_and_a_command_error(adopted_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", adopted_url)
    config = Config(str(ROOT / "alembic.ini"))
    with locks.run_lock(parse_target(adopted_url)), pytest.raises(CommandError, match="Another run is going on"):
        command.upgrade(config, "head")
    command.upgrade(config, "head")
    command.downgrade(config, "012")
    assert [row[:2] for row in rows(adopted_url, HISTORY)[1:]] == [("upgrade", "alembic"), ("downgrade", "alembic")]


def test_the_option_email_verified_counts_active_users_as_verified(adopted_url: str) -> None:
    words = refused(adopted_url, "-x", "email_verified=maybe", "upgrade", "head")
    assert "email_verified" in words
    succeed(adopted_url, "-x", "email_verified=active", "upgrade", "head")
    found = rows(adopted_url, "SELECT DISTINCT email_verified, status::text = 'ACTIVE' FROM users ORDER BY 1")
    assert found == [(False, False), (True, True)]


def test_alembic_works_from_another_folder_when_the_configuration_is_named(adopted_url: str, tmp_path: Path) -> None:
    said = alembic(adopted_url, "-c", str(ROOT / "alembic.ini"), "upgrade", "head", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]
