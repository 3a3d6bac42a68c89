"""What the monitor is tried on: clones of an adopted database, on a server that a test may break, and sessions that wait."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
from command_line import eventually
from servers import Breakable

from lawsker_db.demo.sample import load_sample
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target


def run(url: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def make_adopted(server: Breakable, name: str, *, users: int = 40) -> str:
    """A new database with the sample, adopted; its URL."""
    run(server.url(), f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    load_sample(server.url(name), users=users)
    adopt(parse_target(server.url(name)))
    return server.url(name)


def cloned(server: Breakable, template: str) -> Iterator[str]:
    """The URL of a clone for one test, which may leave the server stopped."""
    name = f"watched_{secrets.token_hex(4)}"
    run(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.settle()
    run(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def lock_queue(url: str) -> Iterator[tuple[int, int, int]]:
    """One session holds users, one waits for it, and one waits behind that; their processes."""
    with ExitStack() as ends:
        holder = ends.enter_context(closing(psycopg.connect(url, application_name="[bold]billing")))
        holder.execute("LOCK TABLE users")
        pids = [holder.info.backend_pid]
        for name, mode in (("接口", "ACCESS EXCLUSIVE"), ("web", "ROW EXCLUSIVE")):
            waiter = ends.enter_context(closing(psycopg.connect(url, application_name=name)))
            pids.append(waiter.info.backend_pid)
            ends.callback(in_background(waiter, f"LOCK TABLE users IN {mode} MODE").join)
            assert eventually(lambda: waits(url, pids[-1]))
        ends.callback(holder.rollback)  # first of all, so that the others come through
        yield pids[0], pids[1], pids[2]


def in_background(conn: psycopg.Connection[Any], statement: str) -> threading.Thread:
    """Run a statement in a thread, in a transaction that is rolled back."""

    def work() -> None:
        conn.execute(statement.encode())
        conn.rollback()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def waits(url: str, pid: int) -> bool:
    """Whether a server process waits for a lock."""
    with psycopg.connect(url) as conn:
        return conn.execute("SELECT FROM pg_locks WHERE pid = %s AND NOT granted", (pid,)).fetchone() is not None
