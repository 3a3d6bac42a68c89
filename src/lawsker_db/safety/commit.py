"""COMMIT: sent once, its answer waited for, and found out where none comes. Signals wait until the outcome is known."""

from __future__ import annotations

import selectors
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import OutcomeUnknown, RolledBack
from lawsker_db.evidence import Event, OnEvent, Phase, ignore
from lawsker_db.phrases import Phrase, clause
from lawsker_db.postgres.pulse import LOOK_EVERY_S, Pulse, cancel
from lawsker_db.safety.doubt import RECONNECT_S, Attempt, Outcome, decide_outcome
from lawsker_db.safety.gate import Gate
from lawsker_db.target import Target

HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TICK_S = 0.25  # how soon a signal is heard while COMMIT is under way
SILENCE_S = 5.0  # COMMIT takes milliseconds; after this one wants to know what it waits for
BLIND_S = 3 * LOOK_EVERY_S  # the watch on the connection has heard of the server by then, if it can be reached


@dataclass(slots=True, kw_only=True)
class Committing:
    """A transaction under way that will leave a marker row, and what COMMIT answered (`in_doubt`: nothing, so far)."""

    attempt: Attempt
    committed: bool = False
    in_doubt: bool = False
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Guarded(Committing):
    """The migration's transaction under way, with its gate."""

    gate: Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How one waits for the answer: the watch on the connection, how long a server may be out of reach, who is told, and
    whether a journal lets `recover` find out later."""

    pulse: Pulse
    journalled: bool = False
    reconnect_s: float = RECONNECT_S
    on_event: OnEvent = ignore


def commit(conn: Connection, target: Target, guarded: Committing, asking: Asking) -> None:
    """Send COMMIT, wait for its answer, and decide by the table where none comes; note the server's warnings.

    COMMIT of a failed transaction answers ROLLBACK and raises nothing, so the command tag is what counts. INT, TERM and
    HUP are delivered after the outcome is known: the first one cancels what COMMIT waits for (a synchronous standby: it is
    then committed here, with a warning), or ends the asking. Raises `RolledBack` or `OutcomeUnknown`.
    """
    raw = raw_connection(conn)
    raw.add_notice_handler(lambda notice: guarded.warnings.append(str(notice.message_primary)))
    with signals_held() as came:
        guarded.in_doubt = True  # whatever breaks from here on, a bug of ours too, it may have been committed
        answer = _exchange(raw, asking, came)
        guarded.committed = answer == b"COMMIT"
        guarded.in_doubt = answer is None and raw.info.transaction_status == TransactionStatus.UNKNOWN
        if guarded.in_doubt:
            guarded.warnings.append(_after_lost_answer(target, guarded, asking, came))
            return
    roll_back(conn)  # tells SQLAlchemy that its transaction is over; the server has none open
    if not guarded.committed:
        raise RolledBack(
            Phrase("The server did not commit: it answered COMMIT with ROLLBACK or an error."),
            hint=Phrase("look into the server's log, then type it again"),
        )


def roll_back(conn: Connection) -> None:
    """Roll back what is open. A connection that is lost has nothing left to roll back."""
    try:
        conn.rollback()
    except DBAPIError:
        conn.invalidate()


def unknown_outcome(attempt: Attempt, reason: str, *, journalled: bool) -> OutcomeUnknown:
    """Pure. The error that says so, with what is needed to find out later."""
    status = f"lawsker-db status --run {attempt.run_id}"
    later = Phrase("lawsker-db recover (from elsewhere: {status})", status=status) if journalled else status
    return OutcomeUnknown(
        Phrase("The connection was lost at COMMIT and the outcome cannot be told: {reason}.", reason=clause(reason)),
        hint=Phrase("when the server is back: {later}", later=later),
        run_id=attempt.run_id,
        backend_pid=attempt.backend_pid,
    )


def raw_connection(conn: Connection) -> psycopg.Connection[object]:
    """Pure. The driver's connection below SQLAlchemy's."""
    raw = conn.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError("a psycopg connection is needed")
    return raw


@contextmanager
def signals_held() -> Iterator[list[int]]:
    """Hold INT, TERM and HUP back for the block, which sees those that came; they are delivered after it. One that is
    ignored (nohup) stays so.

    A mask would hold them back from this thread only, and Python runs handlers here whichever thread the kernel picked.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # handlers never run in another
        yield came
        return
    heard = [number for number in HELD if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda got, _: came.append(got)) for number in heard}
    try:
        yield came
    finally:
        for caught, handler in before.items():
            signal.signal(caught, signal.SIG_DFL if handler is None else handler)
        for number in came:
            signal.raise_signal(number)


def _exchange(raw: psycopg.Connection[object], asking: Asking, came: list[int]) -> bytes | None:
    """The command tag of COMMIT, None when no answer came or it was an error, or the transaction was lost before.

    Not by the driver's own waiting, which an interrupt leaves behind half done. A connection from which no answer is
    expected any more is closed: its transaction status is then unknown.
    """
    if raw.info.transaction_status != TransactionStatus.INTRANS:
        return None
    connection = raw.pgconn
    try:
        connection.send_query(b"COMMIT")
        with selectors.DefaultSelector() as selector:
            selector.register(connection.socket, selectors.EVENT_READ)
            if not _answered(raw, selector, asking, came):
                raw.close()
                return None
        result = connection.get_result()
        while connection.get_result() is not None:
            pass
    except psycopg.OperationalError:
        return None
    return result.command_status if result and result.status == ExecStatus.COMMAND_OK else None


def _answered(
    raw: psycopg.Connection[object], selector: selectors.BaseSelector, asking: Asking, came: list[int]
) -> bool:
    """Wait for the answer to a query that was sent. False when the server has been out of reach for too long."""
    began = told_at = time.monotonic()
    cancelled = False
    while raw.pgconn.flush() or raw.pgconn.is_busy():
        selector.select(TICK_S)
        raw.pgconn.consume_input()
        now = time.monotonic()
        if came and not cancelled and raw.pgconn.is_busy():
            cancelled = True
            _cancel(raw, asking.on_event)
        if now - told_at > SILENCE_S:
            told_at = now
            doing = asking.pulse.doing
            heard = doing.label if doing else Phrase("nothing heard yet")
            _tell(asking.on_event, Phrase("waiting for COMMIT's answer: {heard}", heard=heard))
        if now - max(began, asking.pulse.seen_at) > max(asking.reconnect_s, BLIND_S):
            return False
    return True


def _cancel(raw: psycopg.Connection[object], on_event: OnEvent) -> None:
    """Ask the server to end what COMMIT waits for. Whether it was committed by then its answer tells."""
    _tell(on_event, Phrase("interrupted while COMMIT is under way; what became of it comes first"))
    cancel(raw)


def _after_lost_answer(target: Target, guarded: Committing, asking: Asking, came: list[int]) -> str:
    """Return how we know that it committed; raise `RolledBack` or `OutcomeUnknown` otherwise."""
    _tell(
        asking.on_event,
        Phrase(
            "COMMIT was sent and not answered; asking the server, for {reconnect_s:g} s at most",
            reconnect_s=asking.reconnect_s,
        ),
    )
    decision = decide_outcome(target, guarded.attempt, reconnect_s=asking.reconnect_s, hurry=partial(bool, came))
    guarded.in_doubt = decision.outcome in (Outcome.UNKNOWN, Outcome.INCONSISTENT)
    guarded.committed = decision.outcome is Outcome.COMMITTED
    if guarded.committed:
        return Phrase("the connection was lost at COMMIT; it is committed: {reason}", reason=decision.reason)
    if decision.outcome is Outcome.ROLLED_BACK:
        raise RolledBack(
            Phrase("The connection was lost at COMMIT; it did not commit: {reason}.", reason=decision.reason),
            hint=Phrase("type the same command again"),
        )
    if decision.outcome is Outcome.INCONSISTENT:
        raise OutcomeUnknown(
            Phrase(
                "The connection was lost at COMMIT, and the server contradicts itself: {reason}.",
                reason=decision.reason,
            ),
            hint=Phrase(
                "change nothing more, and have somebody look: lawsker-db status, the server's log, the run's journal"
            ),
            run_id=guarded.attempt.run_id,
            backend_pid=guarded.attempt.backend_pid,
        )
    raise unknown_outcome(guarded.attempt, decision.reason, journalled=asking.journalled)


def _tell(on_event: OnEvent, words: str) -> None:
    """Nothing that goes wrong with a display may come between COMMIT and its answer."""
    try:
        on_event(Event(phase=Phase.COMMIT, name="waiting", text=words, lasting=False))
    except Exception:  # noqa: BLE001
        return
