"""Nobody waits for ever for a tool that is gone: keepalives on both sides, and a limit to standing idle behind locks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import command_line
import psycopg
import pytest
from chains import small_chain
from command_line import everything

from lawsker_db.demo.server import throwaway_server
from lawsker_db.errors import RolledBack
from lawsker_db.postgres.session import IDLE_LIMIT, VIGILANT, free_to_idle, pin_session
from lawsker_db.safety.observation import Observation
from lawsker_db.safety.preflight import VERIFY_SERVER
from lawsker_db.safety.upgrade import UpgradeOptions, look_ahead, safe_upgrade
from lawsker_db.target import Target, parse_target

IDLE = "idle_in_transaction_session_timeout"


@pytest.fixture(scope="module")
def far_url() -> Iterator[str]:
    """A server over TCP, at an address that passes for another machine's."""
    address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(2, 254)}"
    with throwaway_server(settings={"listen_addresses": address}) as server:
        yield f"postgresql://{server.superuser}@{address}:5432/postgres"


def pins(target: Target, *names: str) -> dict[str, str]:
    with target.connect() as conn:
        pin_session(conn, "public", idle_limit=IDLE_LIMIT)
        return {name: str(conn.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names}


def test_both_sides_notice_within_a_minute_that_the_other_is_gone(far_url: str) -> None:
    assert pins(parse_target(far_url), *VIGILANT) == VIGILANT
    silence = {name: int(value) for name, value in VIGILANT.items()}
    notices_s = silence["tcp_keepalives_idle"] + silence["tcp_keepalives_interval"] * silence["tcp_keepalives_count"]
    assert notices_s == 60
    assert silence["tcp_user_timeout"] == 60_000
    with parse_target(far_url).raw_connection() as conn:
        ours = conn.info.get_parameters()
    assert {name: ours[name.removeprefix("tcp_") if "keep" in name else name] for name in VIGILANT} == VIGILANT


def test_what_the_user_says_of_the_clients_side_wins(far_url: str) -> None:
    with parse_target(f"{far_url}?tcp_user_timeout=5000&keepalives_idle=7").raw_connection() as conn:
        given = conn.info.get_parameters()
    assert (given["tcp_user_timeout"], given["keepalives_idle"]) == ("5000", "7")


def test_on_a_unix_socket_where_nothing_of_this_exists_the_pins_are_taken_all_the_same(adopted_url: str) -> None:
    assert pins(parse_target(adopted_url), IDLE) == {IDLE: IDLE_LIMIT}


def test_doctor_warns_of_a_way_that_others_can_listen_on(far_url: str, adopted_url: str) -> None:
    def way(url: str) -> tuple[bool | None, str]:
        checks = look_ahead(parse_target(url), "head", UpgradeOptions(), always=True).checks
        return next((check.ok, check.detail) for check in checks if check.name == "way to the server")

    assert way(far_url) == (False, VERIFY_SERVER)
    if "host=%2F" in adopted_url or "host=/" in adopted_url:
        assert way(adopted_url) == (True, "")


def test_while_others_work_for_it_a_transaction_may_stand_idle_and_no_longer(adopted_url: str) -> None:
    """A full proof reads every table on other connections, which may take longer than the limit."""
    with parse_target(adopted_url).connect() as conn:
        pin_session(conn, "public", idle_limit=IDLE_LIMIT)
        seen: list[str] = []

        def limit() -> str:
            return str(conn.exec_driver_sql(f"SHOW {IDLE}").scalar_one())

        def read_beside(tables: list[str]) -> list[object]:
            seen.append(limit())
            return []

        observation = Observation(conn, own="public.alembic_version", beside=read_beside)  # type: ignore[arg-type]
        observation.begin()
        observation.observe_beside(observation.tables())
        assert (seen, limit()) == (["0"], IDLE_LIMIT)
        with free_to_idle(conn):
            assert limit() == "0"
        assert limit() == IDLE_LIMIT


LOOKS = """
found = op.get_bind().exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
assert found == "2min", found
"""
IDLES = """
import time
op.get_bind().exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
op.execute("CREATE TABLE half_made ()")
time.sleep(1.5)
op.execute("CREATE TABLE never_made ()")
"""


def test_the_transaction_that_holds_the_locks_is_the_one_that_is_limited(adopted_url: str, tmp_path: Path) -> None:
    """In each revision: what one has set is not there for the next."""
    change = "op.get_bind().exec_driver_sql(\"SET LOCAL idle_in_transaction_session_timeout = '0'\")"
    config = small_chain(tmp_path / "chain", (f"{LOOKS}\n{change}", ""), (LOOKS, ""))
    options = UpgradeOptions(runs=tmp_path / "runs", config=config, prove=False)
    safe_upgrade(parse_target(adopted_url), options=options)


def test_a_transaction_that_stood_idle_for_too_long_is_rolled_back_and_the_reason_said(
    adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(tmp_path / "chain", (IDLES, ""))
    before = everything(adopted_url)
    typed = ("safe-upgrade", "--yes", "--no-rehearsal", "--config", str(config))
    ended = command_line.run(tmp_path, *typed, url=adopted_url)
    assert ended.code == RolledBack.exit_code == 11, ended.said
    assert "stood idle for longer than the server lets it" in ended.line("Failed")
    assert ended.line("Next") == "type the same command again"
    assert everything(adopted_url) == before
    with psycopg.connect(adopted_url) as conn:
        assert conn.execute("SELECT to_regclass('half_made')").fetchone() == (None,)
