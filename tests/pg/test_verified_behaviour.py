"""What trials find of constraints, triggers and foreign keys: every damage under its code; and nothing of them remains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import migrated
import oracle
import psycopg
import pytest
from damages import BEHAVIOUR, Damage

from lawsker_db.contract import Contract
from lawsker_db.evidence import Check
from lawsker_db.postgres.session import pin_session
from lawsker_db.revisions import contracts_up_to, load_chain
from lawsker_db.safety.behaviour import check_behaviour
from lawsker_db.target import parse_target

TRIED = {"B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B13", "B15"}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return contracts_up_to(load_chain(), ("013",))[-1]


@pytest.fixture(scope="module")
def used_url(server: Any, adopted_template: str) -> Iterator[str]:
    """A migrated database that applications have used. Tests roll back what they do to it."""
    with migrated.used_database(server, adopted_template) as name:
        yield server.url(name)


def behaviour(url: str, contract: Contract, *statements: str, commit: bool = False) -> dict[str, Check]:
    """What is found after these statements, by code; all of it is rolled back."""
    with parse_target(url).connect() as conn:
        for statement in statements:
            conn.exec_driver_sql(statement)
        pin_session(conn, "public")
        found = check_behaviour(conn, contract, schema="public")
        if commit:
            conn.commit()
    by_code: dict[str, Check] = {}
    for check in found:
        if by_code.get(check.code) is None or check.ok is False:
            by_code[check.code] = check
    return by_code


def test_nothing_is_found_where_nothing_is_damaged(used_url: str, contract: Contract) -> None:
    found = behaviour(used_url, contract)
    assert set(found) == TRIED
    assert all(check.ok for check in found.values()), found
    assert {code: found[code].found for code in ("B06", "B07", "B08", "B09")} == {
        "B06": "25 tried",
        "B07": "9 tried",
        "B08": "9 tried",
        "B09": "19 tried",
    }


@pytest.mark.parametrize("damage", BEHAVIOUR, ids=lambda damage: f"{damage.code}-{damage.name}".replace(" ", "-"))
def test_a_damage_is_found_under_its_code(damage: Damage, used_url: str, contract: Contract) -> None:
    check = behaviour(used_url, contract, *damage.statements)[damage.code]
    assert check.ok is False
    assert check.keys
    assert check.hint


def test_nothing_remains_even_when_its_transaction_commits(used_url: str, contract: Contract) -> None:
    before = oracle.picture(used_url)
    with psycopg.connect(used_url, autocommit=True) as other:
        other.execute("LISTEN told")
        behaviour(used_url, contract, commit=True)
        assert list(other.notifies(timeout=0.1)) == []
    assert oracle.picture(used_url) == before


# What live databases add to tables that stood before: columns that must be filled, numbers, a trigger that tells others.
LIVE_EXTRAS = (
    "ALTER TABLE users ADD COLUMN region text",
    "UPDATE users SET region = 'north'",
    "ALTER TABLE users ALTER region SET NOT NULL",
    "ALTER TABLE users ADD COLUMN number bigserial UNIQUE",
    "ALTER TABLE cases ADD COLUMN file integer GENERATED ALWAYS AS IDENTITY",
    "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN NOTIFY told; INSERT INTO audit.users SELECT NEW.id, now(), 'made'; RETURN NULL; END $$",
    "CREATE TRIGGER tell AFTER INSERT ON cases FOR EACH ROW EXECUTE FUNCTION tell()",
    "ALTER TABLE audit.users DROP CONSTRAINT users_user_id_fkey",
)


def test_columns_numbers_and_triggers_of_live_databases_stand_in_no_way(
    used_url: str, contract: Contract, server: Any
) -> None:
    server.run("DROP DATABASE IF EXISTS with_live_extras")
    server.run(f"CREATE DATABASE with_live_extras TEMPLATE {urlsplit(used_url).path[1:]}")
    url = server.url("with_live_extras")
    with psycopg.connect(url) as connection:
        for statement in LIVE_EXTRAS:
            connection.execute(statement.encode())
    before = oracle.content(url)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("LISTEN told")
        found = behaviour(url, contract, commit=True)
        assert list(other.notifies(timeout=0.1)) == []
    assert all(check.ok for check in found.values()), found
    assert oracle.content(url) == before
    server.run("DROP DATABASE with_live_extras")


OWNER = (
    "CREATE ROLE plain_owner",
    "GRANT ALL ON SCHEMA public TO plain_owner",
    "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
    " AND relnamespace = 'public'::regnamespace LOOP EXECUTE 'ALTER TABLE ' || t || ' OWNER TO plain_owner';"
    " END LOOP; END $$",
)


def test_an_owner_who_is_no_superuser_may_try_everything(used_url: str, contract: Contract) -> None:
    found = behaviour(used_url, contract, *OWNER, "SET LOCAL ROLE plain_owner")
    assert set(found) == TRIED
    assert all(check.ok for check in found.values()), found


def test_a_role_that_may_only_read_is_told_that_nothing_is_known(used_url: str, contract: Contract) -> None:
    reader = ("CREATE ROLE only_reads", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads")
    found = behaviour(used_url, contract, *reader, "SET LOCAL ROLE only_reads")
    assert set(found) == TRIED
    assert {check.ok for check in found.values()} == {None}
    assert "permission denied" in found["B15"].found


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])
def test_a_lock_of_others_leaves_it_unknown_soon(mode: str, used_url: str, contract: Contract) -> None:
    with psycopg.connect(used_url) as other:
        other.execute(f"LOCK TABLE users IN {mode} MODE".encode())
        found = behaviour(used_url, contract)
    assert {code for code, check in found.items() if check.ok is None} >= {"B04", "B05", "B06", "B07", "B09", "B15"}
    assert not any(check.ok is False for check in found.values())
    assert "lock timeout" in found["B15"].found


def test_a_missing_table_leaves_only_what_needs_it_unknown(used_url: str, contract: Contract) -> None:
    found = behaviour(used_url, contract, "DROP TABLE lawyer_online_sessions")
    assert {code for code, check in found.items() if check.ok is None} == {"B04", "B05", "B06", "B09", "B13"}
    assert not any(check.ok is False for check in found.values())


def test_a_read_only_session_is_told_that_nothing_is_known(used_url: str, contract: Contract) -> None:
    found = behaviour(used_url, contract, "SET TRANSACTION READ ONLY")
    assert {check.ok for check in found.values()} == {None}


def test_a_table_without_a_sample_is_not_known_to_behave(used_url: str, contract: Contract) -> None:
    samples = tuple(sample for sample in contract.samples if sample.name != "credits")
    trials = tuple(trial for trial in contract.trials if trial.sample != "credits")
    twins = tuple(twin for twin in contract.twins if twin.sample != "credits")
    found = behaviour(used_url, replace(contract, samples=samples, trials=trials, twins=twins))
    assert {code for code, check in found.items() if check.ok is not True} == {"B07", "B08", "B09"}
    assert "no sample" in found["B09"].found


def test_a_contract_without_samples_has_no_findings(used_url: str) -> None:
    assert behaviour(used_url, Contract(revision="x", follows=None)) == {}


FOREIGN_TRIGGER = """
    CREATE FUNCTION no_strangers() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'nobody comes in here' USING ERRCODE = 'check_violation'; END $$;
    CREATE TRIGGER no_strangers BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION no_strangers()
"""


def test_where_somebody_elses_trigger_refuses_rows_nothing_is_tried_and_nothing_is_blamed(
    used_url: str, contract: Contract
) -> None:
    found = behaviour(used_url, contract, FOREIGN_TRIGGER)
    assert {code: check.ok for code, check in found.items() if check.ok is not None} == {"B15": False}
    assert not any(check.fails for check in found.values())
    assert found["B04"].found == (
        "NOT RUN: rows of users cannot be tried here, for they are refused by nobody comes in here"
    )
