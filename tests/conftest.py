"""One real server for the session, one template database, one clone for each test.

The server is the one that LAWSKER_TEST_URL names, else a container when a Docker engine answers, else a throwaway server
from local binaries or the embedded wheel. No server is a failure, never a skip.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
pytest.register_assert_rewrite("roads")  # what differs is shown, as in a test

# Whoever starts the tests in the background or under nohup has these ignored, and every child would inherit that.
for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)

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

        with throwaway_server() as local:
            yield TestServer(origin=str(local.binaries.origin), admin_url=local.url("postgres"))


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
    return name


@pytest.fixture(scope="session")
def adopted_template(server: TestServer, sample_template: str) -> str:
    """The sample, adopted at 012."""
    from lawsker_db.safety.adoption import adopt
    from lawsker_db.target import parse_target

    name = _create(server, "template_adopted", sample_template)
    adopt(parse_target(server.url(name)))
    return name


@pytest.fixture
def empty_url(server: TestServer) -> Iterator[str]:
    """An empty database."""
    name = _create(server, "empty", "template0")
    yield server.url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)" if _has_force(server) else f"DROP DATABASE {name}")


@pytest.fixture
def sample_url(server: TestServer, sample_template: str) -> Iterator[str]:
    """The sample database with all extras, not stamped."""
    name = _create(server, "sample", sample_template)
    yield server.url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)" if _has_force(server) else f"DROP DATABASE {name}")


@pytest.fixture
def adopted_url(server: TestServer, adopted_template: str) -> Iterator[str]:
    """The sample database with all extras, stamped 012."""
    name = _create(server, "adopted", adopted_template)
    yield server.url(name)
    server.run(f"DROP DATABASE {name} WITH (FORCE)" if _has_force(server) else f"DROP DATABASE {name}")


def _has_force(server: TestServer) -> bool:
    with psycopg.connect(server.admin_url) as connection:
        return connection.info.server_version >= 130000
