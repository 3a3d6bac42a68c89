"""Is there a pooler between us and the server, and does it lend a server process for a session or for a transaction only?

A pooler that lends one for a transaction gives the next transaction to another process: a session-level advisory lock is
then held by nobody in particular, and would not keep a second run out. So such a one is refused, and the way out is an
address that leads past it.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psycopg
from psycopg.pq.abc import PGconn, PGresult

from lawsker_db.errors import Refused, Unreachable
from lawsker_db.evidence import Check
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.session import identify, leads_to, whereabouts
from lawsker_db.target import DIRECT_URL, RawConnection, Target

ANSWER_S = 5.0  # a pooler that has no server process to lend makes its clients wait, two minutes by default
# Connections that are held at once to find two that share a server process. More than two, because several processes of
# one pooler may listen at one port (so_reuseport), each with server processes of its own.
PROBES = 6
WHO = b"SELECT pg_backend_pid()"
WAY_OUT = Phrase(
    "--direct-url URL (or {variable}), an address that leads to the server itself; DATABASE_URL stays as it is",
    variable=DIRECT_URL,
)
ALONE = Phrase(
    "if it is down on purpose, name the direct address alone: DATABASE_URL, without {variable}", variable=DIRECT_URL
)


def require_direct(target: Target) -> tuple[Check, ...]:
    """Look whether a pooler stands in between, and whether a direct address leads where the application's does.

    Opens a connection of its own, up to PROBES where there is a pooler, and asks each which process answers. Takes no
    lock. Raises `Refused` for a pooler that lends server processes for a transaction or a statement, for one that
    has none to lend, and for a direct address that leads elsewhere.
    """
    with _open(target) as first:
        found = _told_apart(target, first)
    return (found,) if target.application is None else (found, _same_database(target, target.application))


def _told_apart(target: Target, first: RawConnection) -> Check:
    """One finding, or the refusal. The process that is named at start-up is the one that answers, unless a pooler stands in
    between, which fills that field with keys of its own."""
    pid = _ask(target, first)
    direct = pid == first.info.backend_pid
    if not direct and _lends_shortly(target, first, pid):
        raise Refused(
            Phrase(
                "Between this tool and {target} is a pooler that lends a server process for a transaction only: "
                "the lock of a session, which keeps a second run out, would be nobody's.",
                target=target.label,
            ),
            hint=WAY_OUT,
        )
    told = Phrase(
        "a pooler in session mode, as far as can be seen: about ten connections must be free, also to the trial copy"
    )
    return Check(
        name=Phrase("connection"),
        ok=direct,
        expected=Phrase("the server itself, or a pooler that lends a process for a whole session"),
        found=Phrase("the server itself") if direct else told,
        detail="" if direct else WAY_OUT,
        warning=True,
    )


def _lends_shortly(target: Target, first: RawConnection, pid: int) -> bool:
    """Whether two open connections share a server process, or one is answered by two of them: both prove it.

    The process that was used last comes first by default, so two share it; by turns, each has another one the next time.
    """
    with ExitStack() as until_closed:
        answered = {pid: first}
        for _ in range(PROBES - 1):
            more = until_closed.enter_context(_open(target))
            answer = _ask(target, more)
            if answer in answered:
                return True
            answered[answer] = more
        return any(_ask(target, connection) != before for before, connection in answered.items())


def _same_database(target: Target, application: Target) -> Check:
    """That both addresses lead to one database of one server. Raises `Refused` where they do not, or nobody can tell."""
    with target.connect() as conn:
        server = identify(conn, sized=False)
        conn.rollback()
    try:
        with _open(application) as pooled:
            _ask(application, pooled)
            same, there = leads_to(pooled, server), whereabouts(pooled)
    except (Refused, psycopg.Error) as failed:
        said = failed.message if isinstance(failed, Refused) else Phrase("it does not say where it leads")
        raise Refused(
            Phrase("Nobody can tell whether the direct address leads to the application's database: {said}", said=said),
            hint=ALONE,
        ) from failed
    with _open(target) as direct:
        here = whereabouts(direct)
    if not same:
        raise Refused(
            Phrase(
                "The direct address {direct} leads to {here}, but {application}, which the application uses, to {there}.",
                direct=target.label,
                here=here,
                application=application.label,
                there=there,
            ),
            hint=Phrase("mend {variable} or --direct-url, or DATABASE_URL", variable=DIRECT_URL),
        )
    return Check(
        name=Phrase("direct address"),
        ok=True,
        expected=Phrase("the application's database"),
        found=Phrase("so it is: {here}", here=here),
    )


@contextmanager
def _open(target: Target) -> Iterator[RawConnection]:
    """A connection outside of any transaction (a pooler in statement mode refuses BEGIN), closed after the block."""
    with closing(target.raw_connection()) as connection:
        connection.autocommit = True
        yield connection


def _ask(target: Target, connection: RawConnection) -> int:
    """The process that answers. Raises `Refused` when nobody does within ANSWER_S, `Unreachable` for an error."""
    raw, deadline = connection.pgconn, time.monotonic() + ANSWER_S
    answer: bytes | None = None
    try:
        raw.send_query(WHO)
        while (result := _next_result(raw, deadline)) is not None:
            answer = result.get_value(0, 0) if result.ntuples else answer
    except psycopg.OperationalError:
        answer = None
    except TimeoutError:
        raise Refused(
            Phrase(
                "{target} takes connections, and gives no answer within {answer_s:g} s: a pooler that is paused, "
                "or has no server process to lend.",
                target=target.label,
                answer_s=ANSWER_S,
            ),
            hint=WAY_OUT,
        ) from None
    if answer is None:
        raise Unreachable(Phrase("{target} takes connections, and gives no answer.", target=target.label), hint=WAY_OUT)
    return int(answer)


def _next_result(raw: PGconn, deadline: float) -> PGresult | None:
    """The next result of a question that was sent, None after the last. Raises `TimeoutError`; libpq itself would wait
    without end."""
    while raw.is_busy():
        if not select.select([raw.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        raw.consume_input()
    return raw.get_result()
