"""Clients of an application at work while its database is migrated, and a ledger of what the server acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

REPEATABLE_READ = psycopg.IsolationLevel.REPEATABLE_READ
THINKING_S = 0.02  # at most, between two transactions of a client
Session = psycopg.Connection[tuple[object, ...]]


@dataclass
class Ledger:
    """What one client knows: what it wrote and was told is there, what it read, and what went wrong."""

    name: str
    user: str
    case: str
    written: str = ""  # the last acknowledged e-mail address of its user
    joined: list[str] = field(default_factory=list)  # names of acknowledged new users
    acknowledged: int = 0
    counts: list[int] = field(default_factory=list)  # users that it saw
    errors: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What the clients saw, and what the database holds of what it acknowledged."""

    acknowledged: int
    lost: tuple[str, ...]
    looks: int
    fewest_users: int
    deadlocks: int
    errors: dict[str, int]
    longest_s: float


def reads_then_writes(session: Session, ledger: Ledger) -> None:
    """users first, at two strengths: whoever strengthens a lock of ours loses to this one, or it to us."""
    address = f"{ledger.name}-{ledger.acknowledged}@ledger.example"
    session.execute("SELECT email FROM users WHERE id = %s", (ledger.user,))
    session.execute("UPDATE users SET email = %s WHERE id = %s", (address, ledger.user))
    session.commit()
    ledger.written = address


def writes_in_another_order(session: Session, ledger: Ledger) -> None:
    """cases, then users; the migration's list has users first."""
    address = f"{ledger.name}-{ledger.acknowledged}@ledger.example"
    session.execute("UPDATE cases SET updated_at = now() WHERE id = %s", (ledger.case,))
    session.execute("UPDATE users SET email = %s WHERE id = %s", (address, ledger.user))
    session.commit()
    ledger.written = address


def joins(session: Session, ledger: Ledger) -> None:
    name = f"{ledger.name}-{ledger.acknowledged}"
    session.execute(
        "INSERT INTO users (id, tenant_id, username, password_hash, status)"
        " SELECT md5(%s)::uuid, tenant_id, %s, 'x', 'ACTIVE' FROM users WHERE id = %s",
        (name, name, ledger.user),
    )
    session.commit()
    ledger.joined.append(name)


def reports(session: Session, ledger: Ledger) -> None:
    """REPEATABLE READ: its first statement may wait for the migration, and its snapshot is from before that."""
    _count(session, ledger)
    _count(session, ledger)
    session.commit()


def reports_late(session: Session, ledger: Ledger) -> None:
    """REPEATABLE READ with a snapshot that was there before it comes to users."""
    session.execute("SELECT count(*) FROM tenants")
    time.sleep(random.uniform(0, THINKING_S))
    _count(session, ledger)
    session.commit()


def glances(session: Session, ledger: Ledger) -> None:
    _count(session, ledger)
    session.commit()


def _count(session: Session, ledger: Ledger) -> None:
    row = session.execute("SELECT count(*) FROM users").fetchone()
    assert row is not None
    ledger.counts.append(int(str(row[0])))


WORK: tuple[Callable[[Session, Ledger], None], ...] = (
    *(reads_then_writes, reports, writes_in_another_order, reads_then_writes),
    *(joins, reports_late, writes_in_another_order, glances),
)
READING = (reports, reports_late)


@contextmanager
def at_work(url: str, clients: int) -> Iterator[list[Ledger]]:
    """So many clients at work for the block, each on a connection of its own, with a user and a case of its own."""
    with psycopg.connect(url) as conn:
        users = conn.execute("SELECT id::text FROM users ORDER BY id LIMIT %s", (clients,)).fetchall()
        cases = conn.execute("SELECT id::text FROM cases ORDER BY id LIMIT %s", (clients,)).fetchall()
    pairs = zip(users, cases, strict=True)
    ledgers = [Ledger(f"client{n}", str(u[0]), str(c[0])) for n, (u, c) in enumerate(pairs)]
    done = threading.Event()
    threads = [threading.Thread(target=_work, args=(url, n, ledger, done)) for n, ledger in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    try:
        yield ledgers
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _work(url: str, number: int, ledger: Ledger, done: threading.Event) -> None:
    act = WORK[number % len(WORK)]
    with psycopg.connect(url, application_name=f"client {number}") as session:
        if act in READING:
            session.isolation_level = REPEATABLE_READ
        while not done.is_set():
            began = time.monotonic()
            try:
                act(session, ledger)
                ledger.acknowledged += act not in (*READING, glances)
            except psycopg.Error as failed:
                ledger.errors[f"{failed.sqlstate} {act.__name__}"] += 1
                session.rollback()
            ledger.longest_s = max(ledger.longest_s, time.monotonic() - began)
            time.sleep(random.uniform(0, THINKING_S))


def outcome(url: str, ledgers: list[Ledger]) -> Outcome:
    """Hold the ledgers against the database."""
    with psycopg.connect(url) as conn:
        addresses = {str(row[0]): row[1] for row in conn.execute("SELECT id::text, email FROM users").fetchall()}
        names = {str(row[0]) for row in conn.execute("SELECT username FROM users").fetchall()}
    lost = [
        f"{ledger.name}: {ledger.written}"
        for ledger in ledgers
        if ledger.written and addresses.get(ledger.user) != ledger.written
    ]
    lost += [name for ledger in ledgers for name in ledger.joined if name not in names]
    errors = sum((ledger.errors for ledger in ledgers), Counter[str]())
    counts = [count for ledger in ledgers for count in ledger.counts]
    return Outcome(
        acknowledged=sum(ledger.acknowledged for ledger in ledgers),
        lost=tuple(lost),
        looks=len(counts),
        fewest_users=min(counts, default=0),
        deadlocks=sum(times for name, times in errors.items() if name.startswith("40P01")),
        errors=dict(errors),
        longest_s=round(max(ledger.longest_s for ledger in ledgers), 2),
    )
