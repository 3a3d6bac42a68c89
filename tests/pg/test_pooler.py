"""A pooler in between is found out, by what it does; and a run ends on the server that it began on."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import command_line
import psycopg
import pytest
from bouncer import bouncer
from command_line import everything
from psycopg.conninfo import make_conninfo
from small_pooler import small_pooler

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import CommittedUnproven, LawskerError, Refused
from lawsker_db.evidence import Event
from lawsker_db.postgres.pooler import PROBES, require_direct
from lawsker_db.postgres.session import identify, pinned, require_same
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import Target, find_target, parse_target

ROOT = Path(__file__).parents[2]
SOCKET = ".s.PGSQL.5432"
SHORT = ("transaction", "statement")
TURNS = pytest.mark.parametrize("turns", [False, True], ids=["last used first", "by turns"])


def load(server: ThrowawayServer) -> None:
    """An adopted sample, as a template."""
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("CREATE DATABASE sample")
    load_sample(server.url("sample"), users=20)
    adopt(parse_target(server.url("sample")))


@pytest.fixture(scope="module")
def local() -> Iterator[ThrowawayServer]:
    """A server on a Unix socket, which the poolers reach without a password."""
    with throwaway_server() as server:
        load(server)
        yield server


@pytest.fixture(scope="module")
def second() -> Iterator[ThrowawayServer]:
    """Another server with a database of the same name, stamp and OID."""
    with throwaway_server() as server:
        load(server)
        yield server


@pytest.fixture
def name(local: ThrowawayServer) -> str:
    """A fresh adopted database."""
    fresh = f"lawsker_{secrets.token_hex(4)}"
    with psycopg.connect(local.url(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {fresh} TEMPLATE sample".encode())
    return fresh


def refusal(target: Target) -> str:
    """What is said against the way to a database."""
    with pytest.raises(Refused) as caught:
        require_direct(target)
    assert "LAWSKER_DIRECT_URL" in caught.value.hint
    return caught.value.message


@contextmanager
def warm(way: str, number: int) -> Iterator[None]:
    """So many server processes stand idle in the pool for the block."""
    with ExitStack() as closed_after:
        at_once = [closed_after.enter_context(psycopg.connect(way)) for _ in range(number)]
        for connection in at_once:
            connection.execute("SELECT 1")
        for connection in at_once:
            connection.rollback()
        yield


# --- is there a pooler? ---------------------------------------------------------------------------------------


def test_without_a_pooler_one_connection_and_one_question_tell_so(local: ThrowawayServer, name: str) -> None:
    target = parse_target(local.url(name))
    opened: list[object] = []
    (found,) = require_direct(replace(target, admit=opened.append))
    assert (found.ok, found.found) == (True, "the server itself")
    assert len(opened) == 1


@pytest.mark.parametrize("mode", SHORT)
@TURNS
@pytest.mark.parametrize("idle", [0, 2, PROBES + 3])
def test_a_pooler_that_lends_for_a_transaction_or_less_is_refused(
    mode: str, turns: bool, idle: int, local: ThrowawayServer
) -> None:
    """By turns, with more idle processes than connections of ours, no two share one: the next question tells."""
    with small_pooler(local.url(), mode, round_robin=turns) as way, ExitStack() as stack:
        if mode == "transaction":
            stack.enter_context(warm(way, idle))
        assert "lends a server process for a transaction only" in refusal(parse_target(way))


@TURNS
def test_a_pooler_in_session_mode_is_worth_a_warning(turns: bool, local: ThrowawayServer) -> None:
    with small_pooler(local.url(), "session", round_robin=turns) as way:
        (found,) = require_direct(parse_target(way))
    assert found.ok is False
    assert found.warning
    assert "a pooler in session mode" in found.found


COMMANDS = (
    ("safe-upgrade", "--yes"),
    ("rehearse",),
    ("adopt", "--yes"),
    ("backup", "create"),
)


@pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
def test_each_command_that_would_need_the_lock_refuses_before_it_begins(
    typed: tuple[str, ...], local: ThrowawayServer, name: str, tmp_path: Path
) -> None:
    before = everything(local.url(name))
    with small_pooler(local.url(name), "transaction") as way:
        ended = command_line.run(tmp_path, *typed, url=way)
    assert ended.code == 10, ended.said
    assert "for a transaction only" in ended.line("Failed")
    assert "not changed" in ended.line("Database")
    assert "--direct-url" in ended.line("Next")
    assert command_line.files(tmp_path) == {}
    assert everything(local.url(name)) == before


def test_doctor_tells_of_the_pooler_and_what_could_not_be_asked(
    local: ThrowawayServer, name: str, tmp_path: Path
) -> None:
    with small_pooler(local.url(name), "transaction") as way:
        ended = command_line.run(tmp_path, "doctor", url=way)
    assert ended.code == 10, ended.said
    lines = ended.out.splitlines()
    told = next(number for number, line in enumerate(lines) if line.startswith("FAIL     database: Between this tool"))
    assert lines[told + 1].startswith("         Mend: --direct-url URL")
    assert "NOT RUN  server version: the database could not be asked" in lines
    assert lines[-2].startswith("NOT READY: ")
    assert lines[-1].startswith("Next: --direct-url URL")


def alembic(folder: Path, *typed: str, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type `alembic ARGUMENTS`."""
    program = [str(Path(sys.executable).with_name("alembic")), "-c", str(ROOT / "alembic.ini"), *typed]
    environment = command_line.environment(folder, url, **variables)
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_plain_alembic_refuses_too_and_takes_the_direct_way_from_the_environment(
    local: ThrowawayServer, name: str, tmp_path: Path
) -> None:
    before = everything(local.url(name))
    with small_pooler(local.url(name), "transaction") as way:
        refused = alembic(tmp_path, "upgrade", "head", url=way)
        assert refused.returncode != 0
        assert "for a transaction only" in refused.stdout
        assert everything(local.url(name)) == before
        done = alembic(tmp_path, "upgrade", "head", url=way, LAWSKER_DIRECT_URL=local.url(name))
    assert done.returncode == 0, done.stdout
    assert everything(local.url(name)) != before


# --- the way past it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "mode"), [("typed", "statement"), ("environment", "transaction")])
def test_the_direct_way_is_used_for_everything(
    how: str, mode: str, local: ThrowawayServer, name: str, tmp_path: Path
) -> None:
    direct = local.url(name)
    typed = ("--direct-url", direct) if how == "typed" else ()
    variables = {} if how == "typed" else {"LAWSKER_DIRECT_URL": direct}
    with small_pooler(direct, mode) as way:
        ended = command_line.run(tmp_path, "backup", "create", "--no-proof", "--json", *typed, url=way, **variables)
    assert ended.code == 0, ended.said
    assert ended.document["bytes"] > 0


def test_a_typed_database_is_not_led_astray_by_a_direct_way_of_the_environment(
    local: ThrowawayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://pooled/a")
    monkeypatch.setenv("LAWSKER_DIRECT_URL", "postgresql://direct/a")
    assert find_target(None).label == "direct/a"
    assert find_target("postgresql://pooled/a").label == "direct/a"
    assert find_target("postgresql://typed/b").label == "typed/b"
    assert find_target("postgresql://typed/b", "postgresql://past/b").label == "past/b"
    monkeypatch.setenv("LAWSKER_DIRECT_URL", "mysql://direct/a")
    with pytest.raises(LawskerError, match="LAWSKER_DIRECT_URL starts with mysql"):
        find_target(None)


def test_a_direct_way_to_another_database_or_server_is_refused_and_both_are_named(
    local: ThrowawayServer, second: ThrowawayServer, name: str
) -> None:
    with small_pooler(local.url(name), "transaction") as way:
        said = refusal(find_target(way, local.url("sample")))
        assert "database sample (OID" in said
        assert f"database {name} (OID" in said
        said = refusal(find_target(make_conninfo(way, dbname="sample"), second.url("sample")))
    numbers = {word for word in said.split() if word.isdigit() and len(word) > 15}
    assert len(numbers) == 2, said


def test_where_the_applications_way_cannot_be_asked_the_direct_one_is_not_trusted(
    local: ThrowawayServer, name: str
) -> None:
    said = refusal(find_target("host=/nowhere dbname=lawsker", local.url(name)))
    assert "Nobody can tell whether the direct address leads to the application's database" in said
    (_, found) = require_direct(find_target(local.url(name), local.url(name)))
    assert found.ok is True


# --- the server of the start ----------------------------------------------------------------------------------


@contextmanager
def away(server: ThrowawayServer) -> Iterator[None]:
    """Nobody finds the server for the block; who is connected stays so."""
    standing, hidden = server.folder / SOCKET, server.folder / "away"
    standing.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(standing)


def of_both(first: ThrowawayServer, second: ThrowawayServer, name: str) -> Target:
    """An address with two hosts: the second is used when the first is away."""
    return parse_target(f"host={first.folder},{second.folder} port=5432,5432 user={first.superuser} dbname={name}")


@pytest.fixture
def twin(second: ThrowawayServer, name: str) -> str:
    """The same database on the second server."""
    with psycopg.connect(second.url(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE sample".encode())
    return name


def test_a_pinned_target_lets_only_connections_to_the_server_and_database_of_the_start_in(
    local: ThrowawayServer, second: ThrowawayServer, twin: str
) -> None:
    target = of_both(local, second, twin)
    with target.connect() as conn:
        server = identify(conn)
    watched = pinned(target, server)
    with watched.connect() as conn:
        require_same(conn, server)
    with away(local), pytest.raises(Refused) as caught, watched.connect():
        pass
    assert "another server than at the start" in caught.value.message
    assert server.system_identifier in caught.value.message
    other = replace(watched, parameters={**target.parameters, "dbname": "sample"})
    with pytest.raises(Refused, match="another server than at the start"), other.connect():
        pass


def test_where_the_identifier_may_not_be_read_the_start_of_the_server_pins_it(
    local: ThrowawayServer, second: ThrowawayServer, twin: str
) -> None:
    for one in (local, second):
        with psycopg.connect(one.url(twin)) as conn:
            conn.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
            if not conn.execute("SELECT FROM pg_roles WHERE rolname = 'plain'").fetchone():
                conn.execute("CREATE ROLE plain LOGIN")
    target = of_both(local, second, twin)
    target = replace(target, parameters={**target.parameters, "user": "plain"})
    with target.connect() as conn:
        server = identify(conn)
    assert server.system_identifier == "unknown"
    with pinned(target, server).connect() as conn:
        require_same(conn, server)
    with away(local), pytest.raises(Refused, match="another server than at the start"):
        pinned(target, server).raw_connection()


def test_a_server_that_was_restarted_since_the_start_is_not_the_one_to_migrate(local: ThrowawayServer) -> None:
    """It may be a standby that was promoted: what was acknowledged last may be missing from it."""
    with parse_target(local.url("sample")).connect() as conn:
        server = identify(conn)
        assert server.started_at is not None
        earlier = replace(server, started_at=server.started_at.replace(year=2001))
        with pytest.raises(Refused, match="restarted, or a standby took its place"):
            require_same(conn, earlier)
        with pytest.raises(Refused, match="another server or database"):
            require_same(conn, replace(server, database_oid=1))


@pytest.mark.parametrize(
    ("moment", "error"),
    [("proof", Refused), ("restore point", Refused), ("committed", CommittedUnproven)],
)
def test_an_address_that_leads_elsewhere_in_the_middle_of_a_run_is_found_out(
    moment: str,
    error: type[LawskerError],
    local: ThrowawayServer,
    second: ThrowawayServer,
    twin: str,
    tmp_path: Path,
) -> None:
    before, there = everything(local.url(twin)), everything(second.url(twin))
    with ExitStack() as afterwards:

        def switch(event: Event) -> None:
            now = (event.phase.value if moment == "proof" else event.name) == moment
            if now and (local.folder / SOCKET).exists():
                afterwards.enter_context(away(local))

        options = UpgradeOptions(runs=tmp_path, rehearsal=False)
        with pytest.raises(error, match="another server than at the start") as caught:
            safe_upgrade(of_both(local, second, twin), options=options, on_event=switch)
    assert everything(second.url(twin)) == there
    if error is Refused:
        assert caught.value.exit_code == 10
        assert everything(local.url(twin)) == before
    else:
        assert everything(local.url(twin)) != before


# --- the real one ---------------------------------------------------------------------------------------------


def dealt(way: str) -> tuple[object, ...]:
    """How a pooler deals: which of six questions over two connections the same process answers, and whether it names the
    process at start-up."""
    with psycopg.connect(way, autocommit=True) as one, psycopg.connect(way, autocommit=True) as two:
        asked = [
            int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])  # type: ignore[index]
            for connection in (one, two, one, one, two, two)
        ]
        numbers = {pid: place for place, pid in reversed(list(enumerate(asked)))}
        return ([numbers[pid] for pid in asked], one.info.backend_pid in asked)


@pytest.mark.faults
@pytest.mark.parametrize("mode", ["session", *SHORT])
@TURNS
@pytest.mark.parametrize("idle", [0, 3])
def test_the_small_pooler_of_these_tests_deals_as_pgbouncer_does(
    mode: str, turns: bool, idle: int, local: ThrowawayServer
) -> None:
    found = []
    ways: tuple[AbstractContextManager[str], ...] = (
        small_pooler(local.url(), mode, round_robin=turns),
        bouncer(local, mode, server_round_robin=int(turns)),
    )
    for pooler in ways:
        with pooler as way, ExitStack() as stack:
            if mode == "transaction":
                stack.enter_context(warm(way, idle))
            found.append(dealt(way))
    assert found[0] == found[1]


@pytest.mark.faults
@pytest.mark.parametrize("mode", SHORT)
@TURNS
@pytest.mark.parametrize("size", [1, 2, PROBES, 20])
@pytest.mark.parametrize("busy", [0, 1, 4])
def test_pgbouncer_is_refused_at_any_size_of_its_pool_idle_or_busy(
    mode: str, turns: bool, size: int, busy: int, local: ThrowawayServer
) -> None:
    with bouncer(local, mode, server_round_robin=int(turns), default_pool_size=size) as way:
        ended = threading.Event()

        def work() -> None:
            with psycopg.connect(way, autocommit=True, prepare_threshold=None) as conn:
                while not ended.is_set():
                    conn.execute("SELECT pg_sleep(0.001)")

        clients = [threading.Thread(target=work) for _ in range(busy)]
        for client in clients:
            client.start()
        try:
            for _ in range(5):
                assert "for a transaction only" in refusal(parse_target(way))
        finally:
            ended.set()
            for client in clients:
                client.join()


@pytest.mark.faults
@pytest.mark.parametrize("processes", [2, PROBES - 1])
def test_several_processes_of_pgbouncer_at_one_port_are_found_out(processes: int, local: ThrowawayServer) -> None:
    """Each has server processes of its own: among as many connections and one more, two meet in one of them."""
    with bouncer(local, "transaction", processes=processes) as way:
        for _ in range(10):
            assert "for a transaction only" in refusal(parse_target(way))


@pytest.mark.faults
@TURNS
def test_pgbouncer_in_session_mode_passes_with_a_warning_where_its_pool_is_large_enough(
    turns: bool, local: ThrowawayServer, name: str, tmp_path: Path
) -> None:
    with bouncer(local, "session", server_round_robin=int(turns), default_pool_size=40) as way:
        url = way.removesuffix("postgres") + name
        (found,) = require_direct(parse_target(url))
        assert (found.ok, found.warning) == (False, True)
        ended = command_line.run(tmp_path, "safe-upgrade", "--yes", url=url)
    assert ended.code == 0, ended.said


@pytest.mark.faults
@pytest.mark.parametrize("size", [1, 3])
def test_pgbouncer_with_no_server_process_to_lend_is_refused_and_not_waited_for(
    size: int, local: ThrowawayServer
) -> None:
    with bouncer(local, "session", default_pool_size=size) as way:
        assert "gives no answer" in refusal(parse_target(way))


@pytest.mark.faults
def test_behind_pgbouncer_the_direct_way_carries_a_whole_run(local: ThrowawayServer, name: str, tmp_path: Path) -> None:
    with bouncer(local, "statement") as way:
        url = way.removesuffix("postgres") + name
        refused = command_line.run(tmp_path, "safe-upgrade", "--yes", url=url)
        assert refused.code == 10, refused.said
        done = command_line.run(tmp_path, "safe-upgrade", "--yes", "--direct-url", local.url(name), url=url)
    assert done.code == 0, done.said
