"""What queries find of data: every damage under its own code, and nothing where there is none, whoever has written since."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import migrated
import psycopg
import pytest
from chains import ROOT, TEXT
from damages import CONTENT, Damage
from sqlalchemy import Connection

from lawsker_db.contract import Contract, Invariant
from lawsker_db.evidence import Check, failures
from lawsker_db.phrases import CHINESE, in_language
from lawsker_db.postgres.session import pin_session
from lawsker_db.revisions import contracts_up_to, load_chain
from lawsker_db.safety.contents import check_contents
from lawsker_db.safety.made import judge_made
from lawsker_db.safety.verification import verify
from lawsker_db.target import parse_target

WRITES = 10_000


@pytest.fixture(scope="module")
def contract() -> Contract:
    return contracts_up_to(load_chain(), ("013",))[-1]


@pytest.fixture(scope="module")
def used_url(server: Any, adopted_template: str) -> Iterator[str]:
    """A migrated database that applications have used. Tests roll back what they do to it."""
    with migrated.used_database(server, adopted_template) as name:
        yield server.url(name)


@contextmanager
def pinned(url: str) -> Iterator[Connection]:
    """A session as verification has it; what is done in it is rolled back."""
    with parse_target(url).connect() as conn:
        pin_session(conn, "public")
        yield conn
        conn.rollback()


def made_at(conn: Connection) -> datetime:
    found = conn.exec_driver_sql("SELECT min(created_at) FROM workspace_mappings").scalar_one()
    assert isinstance(found, datetime)
    return found


def codes(checks: tuple[Check, ...]) -> set[str]:
    """The codes of what does not hold or is not known."""
    return {check.code for check in checks if check.ok is not True}


def test_nothing_is_found_where_nothing_is_damaged(used_url: str, contract: Contract) -> None:
    with pinned(used_url) as conn:
        checks = check_contents(conn, contract, schema="public", made_at=made_at(conn))
    assert codes(checks) == set()
    assert {"D02", "D16", "D17", *(f"D{n:02}" for n in range(3, 16)), "D18", "D19", "D20", "D21"} <= {
        check.code for check in checks
    }


@pytest.mark.parametrize("damage", CONTENT, ids=lambda damage: f"{damage.code}-{damage.name}".replace(" ", "-"))
def test_a_damage_is_found_under_its_code(damage: Damage, used_url: str, contract: Contract) -> None:
    with pinned(used_url) as conn:
        at = made_at(conn)
        for statement in damage.statements:
            conn.exec_driver_sql(statement)
        found = {
            check.code: check for check in check_contents(conn, contract, schema="public", made_at=at) if not check.ok
        }
    assert damage.code in found
    check = found[damage.code]
    assert check.ok is False
    assert check.keys
    assert len(check.keys) <= 5
    assert check.hint


def test_keys_show_nothing_of_a_persons_row(used_url: str, contract: Contract) -> None:
    """Names, addresses and numbers of people are put into every row that offends; no finding repeats them."""
    with pinned(used_url) as conn:
        at = made_at(conn)
        conn.exec_driver_sql("ALTER TABLE users DISABLE TRIGGER USER")
        conn.exec_driver_sql(
            "UPDATE users SET username = 'SECRET' || id, email = 'SECRET' || id, account_type = 'lawyer_pending',"
            " registration_source = 'app', phone_number = left('SECRET' || md5(id::text), 20)"
        )
        conn.exec_driver_sql("UPDATE workspace_mappings SET is_demo = true, workspace_type = 'admin'")
        conn.exec_driver_sql("UPDATE demo_accounts SET display_name = 'SECRET', demo_data = '{\"a\": \"SECRET\"}'")
        conn.exec_driver_sql("UPDATE lawyer_certification_requests SET lawyer_name = 'SECRET', practice_areas = '{}'")
        conn.exec_driver_sql("DELETE FROM user_roles")
        checks = check_contents(conn, contract, schema="public", made_at=at)
    assert {"D05", "D11", "D12", "D14", "D15", "D18", "D20", "D21"} <= codes(checks)
    assert "SECRET" not in repr(checks)


def test_what_is_wrong_with_rows_is_said_in_chinese_by_verification_and_at_the_gate(
    used_url: str, contract: Contract
) -> None:
    with pinned(used_url) as conn:
        at = made_at(conn)
        conn.exec_driver_sql("DELETE FROM user_roles")
        conn.exec_driver_sql("DELETE FROM lawyer_levels WHERE level = 10")
        verified = {check.code: check for check in check_contents(conn, contract, schema="public", made_at=at)}
        judged = {check.name.split()[0]: check for check in judge_made(conn, contract, "public")[0]}
    assert ": none of these roles; " in verified["D18"].found
    assert "：不持有这些角色中的任何一个；" in in_language(verified["D18"].found, CHINESE)
    assert verified["D03"].found == judged["D03"].found == "10: missing"
    assert in_language(verified["D03"].found, CHINESE) == in_language(judged["D03"].found, CHINESE) == "10：缺失"


def test_what_applications_wrote_since_is_information_but_not_in_the_strict_sense(
    used_url: str, contract: Contract
) -> None:
    with pinned(used_url) as conn:
        conn.exec_driver_sql("UPDATE enterprise_service_packages SET monthly_fee = monthly_fee + 1")
        later = check_contents(conn, contract, schema="public", made_at=made_at(conn))
        strict = check_contents(conn, contract, schema="public", made_at=None)
    assert codes(later) == set()
    assert {"D04", "D10", "D12", "D14"} <= codes(strict)
    found = {check.code: check.found for check in later}
    assert "but for 4 that the applications have written since" in found["D04"]
    assert "but for 5" in next(check.found for check in later if check.code == "D10")


def test_what_the_server_refuses_is_not_known_and_spoils_nothing_else(used_url: str, contract: Contract) -> None:
    with pinned(used_url) as conn:
        at = made_at(conn)
        conn.exec_driver_sql("DROP TABLE demo_accounts")
        checks = check_contents(conn, contract, schema="public", made_at=at)
    assert {check.code for check in checks if check.ok is None} == {"D05", "D07", "D08", "D20"}
    assert codes(checks) == {"D05", "D07", "D08", "D20"}
    assert all("does not exist" in check.found for check in checks if check.ok is None)


def test_a_foreign_chains_promise_is_told_in_its_own_words(used_url: str) -> None:
    query = "SELECT 'a', 'b', NULL::timestamptz"
    ours = Contract(revision="x", follows=None, invariants=(Invariant("X1", "no_a", "there is no a", query),))
    with pinned(used_url) as conn:
        later = check_contents(conn, ours, schema="public", made_at=made_at(conn))[0]
        strict = check_contents(conn, ours, schema="public", made_at=None)[0]
    assert (later.code, later.name, later.expected, later.found, later.ok) == (
        "X1",
        "no_a",
        "there is no a",
        "a: b",
        False,
    )
    assert (later.warning, strict.warning) == (True, False)


SEQUENCES = """
    CREATE TABLE downwards (id integer GENERATED ALWAYS AS IDENTITY (INCREMENT BY -1 MAXVALUE 100 START 100));
    INSERT INTO downwards DEFAULT VALUES; INSERT INTO downwards DEFAULT VALUES;
    CREATE TABLE never_used (id serial);
    CREATE SEQUENCE round_about MAXVALUE 3 CYCLE; CREATE TABLE circle (id int DEFAULT nextval('round_about'));
    INSERT INTO circle SELECT FROM generate_series(1, 4);
    CREATE SEQUENCE "Odd ""name"; CREATE TABLE "Odd" ("N" bigint DEFAULT nextval('"Odd ""name"'));
    INSERT INTO "Odd" DEFAULT VALUES;
"""


@pytest.mark.parametrize(
    ("change", "behind"),
    [
        ("SELECT 1", 0),
        ("ALTER SEQUENCE downwards_id_seq RESTART WITH 100", 1),
        ("ALTER SEQUENCE downwards_id_seq RESTART WITH 98", 0),
        ("INSERT INTO never_used VALUES (1)", 1),
        ("INSERT INTO never_used VALUES (0)", 0),
        ('INSERT INTO "Odd" VALUES (7)', 1),
    ],
)
def test_sequences_of_every_kind_are_told_from_those_behind(
    change: str, behind: int, used_url: str, contract: Contract
) -> None:
    with pinned(used_url) as conn:
        conn.exec_driver_sql(SEQUENCES)
        conn.exec_driver_sql(change)
        found = check_contents(conn, contract, schema="public", made_at=made_at(conn))
    sequences = next(check for check in found if check.code == "D02")
    assert (sequences.ok, len(sequences.keys)) == (not behind, behind)


ODD_KEYS = """
    CREATE TABLE pairs (a int, b text COLLATE "C", PRIMARY KEY (a, b));
    CREATE TABLE led (email text PRIMARY KEY, a int, b text, FOREIGN KEY (a, b) REFERENCES pairs);
    INSERT INTO pairs VALUES (1, 'x');
    INSERT INTO led VALUES ('a@b', 1, 'x'), ('b@b', NULL, 'nowhere'), ('c@b', 9, NULL), ('d@b', NULL, NULL);
    SET LOCAL session_replication_role = replica;
"""


def test_a_composite_key_with_a_null_in_it_is_no_orphan_and_a_row_is_named_without_its_address(
    used_url: str, contract: Contract
) -> None:
    with pinned(used_url) as conn:
        conn.exec_driver_sql(ODD_KEYS)
        before = check_contents(conn, contract, schema="public", made_at=made_at(conn))
        conn.exec_driver_sql("INSERT INTO led VALUES ('e@b', 2, 'x')")
        after = check_contents(conn, contract, schema="public", made_at=made_at(conn))
    assert "D16" not in codes(before)
    keys = next(check.keys for check in after if check.code == "D16")
    assert keys == ("led.led_a_b_fkey: (0,5)",)


# What the applications do, each for some rows: {n} are how many, {r} a random number.
OLD_APPLICATION = (
    "INSERT INTO users (id, tenant_id, username, password_hash, status) SELECT md5('u{r}.' || n)::uuid,"
    " (SELECT min(id::text)::uuid FROM tenants), 'u{r}.' || n, 'x', 'ACTIVE' FROM generate_series(1, {n}) AS n",
    "INSERT INTO user_roles (user_id, role_id) SELECT u.id, r.id FROM users u CROSS JOIN roles r WHERE r.tenant_id IS NULL"
    " AND r.name IN ('user', 'lawyer') ORDER BY md5(u.id::text || r.id || '{r}') LIMIT {n} ON CONFLICT DO NOTHING",
    "DELETE FROM user_roles WHERE (user_id, role_id) IN (SELECT user_id, role_id FROM user_roles ORDER BY md5(user_id::text"
    " || '{r}') LIMIT {n} / 10)",
    "UPDATE users SET status = (enum_range(NULL::userstatus))[1 + {r} % 4] WHERE id IN {users}",
    "UPDATE users SET last_login = now() WHERE id IN {users}",
    "UPDATE wallets SET last_commission_at = now() WHERE user_id IN {users}",
    "INSERT INTO cases SELECT md5('c{r}' || c.id)::uuid, tenant_id, client_id, 'N{r}.' || id, debtor_info, 1, 'PENDING',"
    " assigned_to_user_id, sales_user_id, NULL, NULL, NULL, '2026-01-01', NULL, 'VALID' FROM cases c ORDER BY"
    " md5(id::text || '{r}') LIMIT {n}",
    "UPDATE cases SET status = (enum_range(NULL::casestatus))[1 + {r} % 6] WHERE id IN {cases}",
    "UPDATE cases SET assigned_to_user_id = (SELECT min(lawyer_id::text)::uuid FROM lawyer_level_details)"
    " WHERE id IN {cases}",
    "INSERT INTO case_logs (id, case_id, action) SELECT md5('l{r}' || id)::uuid, id, 'viewed' FROM cases"
    " WHERE id IN {cases}",
    "DELETE FROM case_logs WHERE id IN (SELECT id FROM case_logs ORDER BY md5(id::text || '{r}') LIMIT {n})",
    "DELETE FROM users WHERE id IN (SELECT u.id FROM users u WHERE username LIKE 'u%.%' AND password_hash = 'x' AND NOT"
    " EXISTS (SELECT FROM user_roles WHERE user_id = u.id) AND NOT EXISTS (SELECT FROM credit_purchase_records WHERE"
    " user_id = u.id) LIMIT {n} / 5)",
)
NEW_APPLICATION = (
    "INSERT INTO workspace_mappings (user_id, workspace_id, workspace_type) SELECT id, workspace_id, 'user' FROM users u"
    " WHERE NOT EXISTS (SELECT FROM workspace_mappings WHERE user_id = u.id) LIMIT {n}",
    "WITH given AS (UPDATE users SET account_type = 'lawyer' WHERE id IN {users} RETURNING id)"
    " UPDATE workspace_mappings SET workspace_type = 'lawyer' FROM given WHERE user_id = id",
    "WITH named AS (UPDATE users SET workspace_id = 'firm-{r}-' || left(id::text, 8) WHERE id IN {users} RETURNING id,"
    " workspace_id) UPDATE workspace_mappings m SET workspace_id = named.workspace_id FROM named WHERE user_id = id",
    "WITH risen AS (UPDATE lawyer_level_details SET level_points = level_points + {r} % 900, current_level ="
    " 1 + {r} % 10, last_upgrade_date = CURRENT_DATE WHERE lawyer_id IN {lawyers} RETURNING lawyer_id, level_points)"
    " INSERT INTO lawyer_point_transactions (lawyer_id, transaction_type, points_change, points_before, points_after)"
    " SELECT lawyer_id, 'case', {r} % 900, level_points - {r} % 900, level_points FROM risen",
    "UPDATE user_credits SET credits_remaining = greatest(credits_remaining - 1, 0), total_credits_used ="
    " total_credits_used + 1 WHERE user_id IN {users}",
    "INSERT INTO user_credits (user_id) SELECT id FROM users WHERE id IN {users} ON CONFLICT DO NOTHING",
    "INSERT INTO credit_purchase_records (user_id, credits_count, total_amount) SELECT id, 3, 150 FROM users"
    " WHERE id IN {users}",
    "INSERT INTO user_memberships (user_id, membership_type, start_date, end_date) SELECT id, 'premium', CURRENT_DATE,"
    " CURRENT_DATE + 30 FROM users WHERE id IN {users}",
    "UPDATE user_memberships SET credits_used = credits_used + 1 WHERE user_id IN {users}",
    "INSERT INTO lawyer_online_sessions (lawyer_id, session_start) SELECT lawyer_id, now() FROM lawyer_level_details"
    " WHERE lawyer_id IN {lawyers}",
    "UPDATE lawyer_assignment_suspensions SET is_active = false, lifted_at = now() WHERE is_active",
    "INSERT INTO lawyer_assignment_suspensions (lawyer_id, suspension_reason, decline_count, suspended_at) SELECT lawyer_id,"
    " 'declines', 3, now() FROM lawyer_level_details WHERE lawyer_id IN {lawyers} ON CONFLICT DO NOTHING",
    "UPDATE lawyer_certification_requests SET status = 'approved', reviewed_at = now() WHERE status = 'pending'",
    "UPDATE enterprise_service_packages SET monthly_fee = monthly_fee * 1.01",
    "UPDATE enterprise_subscriptions SET cases_used = cases_used + 1",
    "INSERT INTO collection_success_stats (client_id, period_start, period_end) SELECT id, '2026-01-01'::date + {r} % 900,"
    " '2029-01-01' FROM enterprise_clients ON CONFLICT DO NOTHING",
)
SOME = {
    "users": "(SELECT id FROM users ORDER BY md5(id::text || '{r}') LIMIT {n})",
    "cases": "(SELECT id FROM cases ORDER BY md5(id::text || '{r}') LIMIT {n})",
    "lawyers": "(SELECT lawyer_id FROM lawyer_level_details ORDER BY md5(lawyer_id::text || '{r}') LIMIT {n})",
}


def test_after_ten_thousand_writes_of_the_old_and_the_new_application_there_is_no_error(
    server: Any, adopted_template: str
) -> None:
    """Each statement is a transaction of its own, so that stamps differ; one transaction would have one now()."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    server.run("DROP DATABASE IF EXISTS busy_since")
    server.run(f"CREATE DATABASE busy_since TEMPLATE {adopted_template}")
    url = server.url("busy_since")
    migrated.make_used(url)
    written = 0
    with psycopg.connect(url, autocommit=True) as applications:
        while written < WRITES:
            statement = chance.choice(OLD_APPLICATION + NEW_APPLICATION)
            numbers = {"n": str(chance.randint(1, 120)), "r": str(chance.randrange(10**6))}
            for word, query in (*SOME.items(), *numbers.items()):
                statement = statement.replace(f"{{{word}}}", query)
            written += applications.execute(statement.encode()).rowcount
    checks = verify(parse_target(url))
    server.run("DROP DATABASE busy_since")
    for check in checks:
        if check.ok is not True or "since" in check.found:
            print(check.code, check.ok, check.found)  # noqa: T201 (warnings and information: for whoever runs it with -s)
    assert failures(checks) == (), f"seed {seed}"


def test_older_tables_trouble_is_a_warning_and_is_not_looked_for_where_nobody_asked(
    used_url: str, contract: Contract
) -> None:
    with pinned(used_url) as conn:
        conn.exec_driver_sql("ALTER SEQUENCE payment_orders_id_seq RESTART WITH 1")
        at = made_at(conn)
        whole = check_contents(conn, contract, schema="public", made_at=at)
        own = check_contents(conn, contract, schema="public", made_at=at, older=False)
    (behind,) = (check for check in whole if check.code == "D02" and check.ok is False)
    assert behind.warning
    assert all(check.ok for check in own if check.code == "D02")


def test_a_later_revision_does_not_hide_what_an_older_one_promised(server: Any, used_url: str, tmp_path: Path) -> None:
    """An empty revision above 013: what must always hold of 013's rows is found all the same."""
    server.run("DROP DATABASE IF EXISTS later")
    server.run(f"CREATE DATABASE later TEMPLATE {urlsplit(used_url).path[1:]}")
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    text = TEXT.format(revision="014", below="013", upgrade="    pass", downgrade="    pass", contract="")
    (tmp_path / "alembic" / "versions" / "014_later.py").write_text(text)
    chain = load_chain(tmp_path / "alembic.ini")
    url = server.url("later")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '014'")
        connection.execute("UPDATE users SET workspace_id = 'ws-ffffffffffff' WHERE username = 'new1'")
        connection.execute(
            "INSERT INTO workspace_mappings SELECT id, 'ws-eeeeeeeeeeee', 'user' FROM users WHERE username = 'new1'"
        )
    found = {check.code: check for check in verify(parse_target(url), chain)}
    server.run("DROP DATABASE later")
    assert found["D09"].fails
    assert found["B05"].ok is True
    assert found["S24"].ok is None
