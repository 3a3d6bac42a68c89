"""Whether the server still works for a connection that waits for it: asked by a second connection, aside.

A proxy or firewall that swallows packets, with both its ends open, is seen by no time-out of TCP's: the client would wait
for ever, and the server's side would hold its locks as long.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import Session, own_session
from lawsker_db.target import Target

CANCEL_S = 10.0
LOOK_EVERY_S = 5.0
DEAD_AFTER = 3  # looks in a row that find the server idle since the same moment, while the client waits for it
CLOSE_S = 5.0
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """What a server process does, and since when; `state` is empty when there is no such process any more."""

    state: str
    waits_for: str
    since: datetime | None

    @property
    def idle(self) -> bool:
        """Pure. Whether it does nothing for its client: it waits for a command, or is gone."""
        return not self.state or self.state.startswith("idle")

    @property
    def label(self) -> str:
        """Pure. For people."""
        if not self.state:
            return Phrase("its server process is gone")
        if not self.waits_for:
            return Phrase("its server process is {state}", state=self.state)
        return Phrase(
            "its server process is {state}, waiting for {waits_for}", state=self.state, waits_for=self.waits_for
        )


@dataclass(slots=True, kw_only=True)
class Pulse:
    """What was seen last: what the server does for the connection, and when (monotonic seconds). `session` is the watch's
    own, None where none could be had."""

    session: Session | None = None
    seen_at: float = field(default_factory=time.monotonic)
    doing: Doing | None = None
    dead: bool = False


@contextmanager
def pulse(target: Target, conn: Connection, session: Session) -> Iterator[Pulse]:
    """For the block, look every LOOK_EVERY_S from a connection of its own what `session`, that of `conn`, does.

    When `conn` waits for an answer and the server waits for a command, look after look, the two have lost each other: the
    server process is terminated if it is in a transaction, and the client's end is shut, so that whoever waits gets an
    error. Where no second connection can be had, nothing is watched. Reads pg_stat_activity; takes no lock.
    """
    raw = conn.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("a psycopg connection is needed")
    ended, found, begun = threading.Event(), Pulse(), threading.Event()
    watch = threading.Thread(target=_watch, args=(target, raw, session, found, begun, ended), daemon=True)
    watch.start()
    begun.wait(CLOSE_S)
    try:
        yield found
    finally:
        ended.set()
        watch.join(CLOSE_S)  # behind a proxy that swallows it never ends, and dies with the process


def bounded(within_s: float, work: Callable[[], Result]) -> Result:
    """Do something that may never return, for so long; its result or its error. Raises `TimeoutError`: it goes on aside."""
    answer: Future[Result] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as failed:  # noqa: BLE001 - handed on to whoever waits
            answer.set_exception(failed)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(timeout=within_s)


def _watch(
    target: Target,
    raw: psycopg.Connection[object],
    session: Session,
    found: Pulse,
    begun: threading.Event,
    ended: threading.Event,
) -> None:
    while not ended.is_set():
        with suppress(LawskerError, DBAPIError), target.connect(autocommit=True) as conn:
            conn.execute(text("SET statement_timeout = 0"))
            found.session = own_session(conn)
            begun.set()
            _look_on(conn, raw, session, found, ended)
        begun.set()
        ended.wait(LOOK_EVERY_S)


def _look_on(
    conn: Connection, raw: psycopg.Connection[object], session: Session, found: Pulse, ended: threading.Event
) -> None:
    """Look until the end, or until the two have lost each other."""
    idle_since: datetime | None = None
    idle_looks = 0
    while not ended.wait(LOOK_EVERY_S):
        waits = raw.pgconn.transaction_status == TransactionStatus.ACTIVE
        doing = _look(conn, session)
        found.doing, found.seen_at = doing, time.monotonic()
        lost = waits and doing.idle
        idle_looks = idle_looks + 1 if lost and (doing.since == idle_since or not idle_looks) else int(lost)
        idle_since = doing.since
        if idle_looks >= DEAD_AFTER:
            found.dead = True
            _cut(conn, raw, session)
            return


def _look(conn: Connection, session: Session) -> Doing:
    row = conn.execute(
        text(
            "SELECT coalesce(state, '?'), coalesce(wait_event_type || ' ' || wait_event, ''), state_change"
            " FROM pg_stat_activity WHERE pid = :pid AND backend_start = :start"
        ),
        asdict(session),
    ).one_or_none()
    return (
        Doing(state="", waits_for="", since=None)
        if row is None
        else Doing(state=row[0], waits_for=row[1], since=row[2])
    )


def _cut(conn: Connection, raw: psycopg.Connection[object], session: Session) -> None:
    """End both sides of a connection that is none any more."""
    conn.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :start"
            " AND state LIKE 'idle in transaction%'"
        ),
        asdict(session),
    ).all()
    shut(raw)


def cancel(raw: psycopg.Connection[object]) -> None:
    """Ask the server to end what it does for this connection; bounded, and nothing when it cannot be asked."""
    with suppress(psycopg.Error):
        raw.cancel_safe(timeout=CANCEL_S)  # the other cancel() holds the whole process until it is heard


def shut(raw: psycopg.Connection[object]) -> None:
    """End this side of a connection, on whose answer another thread may wait: that one gets an error. Asks no server."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(raw.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)
