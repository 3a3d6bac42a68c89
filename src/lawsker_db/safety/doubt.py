"""In doubt: what became of a COMMIT whose answer was lost. One look at the server at a time, and one table that rules on it.

The marker row decides. What the server says of the transaction's id (txid_status) is asked only while the run's own server
process lives: a crash ends every process, and after it a lost id is handed out again; the answer would be about somebody
else. (pg_postmaster_start_time() does not tell: it outlives the recovery after a crash. Measured on 15.18.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Server
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.pulse import bounded
from lawsker_db.postgres.session import UNKNOWN, identify
from lawsker_db.record.history import has_committed
from lawsker_db.target import Target

RECONNECT_S = 60.0  # a fast restart or a failover takes less; after that a person should look
POLL_S = 0.5
END_S = 5.0  # for a server process that was terminated to be gone
LOOK_S = 15.0  # one look takes milliseconds; a proxy that swallows everything would keep it for ever


class Outcome(StrEnum):
    """What became of it."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"
    INCONSISTENT = "inconsistent"


class Backend(StrEnum):
    """What the server process of the transaction does now."""

    GONE = "gone"
    OVER = "there, its transaction over"
    IDLE = "idle in its transaction"
    AT_STANDBY = "waiting for a synchronous standby"
    AT_WORK = "at work"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What identifies a COMMIT that was sent: the run, the server, its life, the backend (a pid may be used again)."""

    run_id: str
    server: Server
    backend_pid: int
    backend_start: datetime
    transaction_id: int
    timeline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look at the server showed. `transaction` is what txid_status says, empty when it may not be asked. `alone`: a
    COMMIT has to wait for a synchronous standby, and none is there."""

    same_database: bool = True
    in_recovery: bool = False
    promoted: bool = False
    backend: Backend = Backend.GONE
    marker: bool = False
    alone: bool = False
    transaction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table: the first that holds counts. Without an outcome one must look again."""

    name: str
    holds: Callable[[Sight], bool]
    outcome: Outcome | None
    reason: str
    end_backend: bool = False


TABLE = (
    Line(
        name="another server",
        holds=lambda seen: not seen.same_database,
        outcome=None,
        reason=Phrase("the connection now leads to another server or database"),
    ),
    Line(
        name="a standby",
        holds=lambda seen: seen.in_recovery,
        outcome=None,
        reason=Phrase("the server is a standby, which may be behind"),
    ),
    Line(
        name="marked, and yet aborted",
        holds=lambda seen: seen.marker and seen.transaction == "aborted",
        outcome=Outcome.INCONSISTENT,
        reason=Phrase("its marker row is there, and the server says that its transaction was aborted"),
    ),
    Line(
        name="marked, and alone",
        holds=lambda seen: seen.marker and seen.alone,
        outcome=Outcome.COMMITTED,
        reason=Phrase("its marker row is there; perhaps not replicated: no synchronous standby is connected"),
    ),
    Line(
        name="marked",
        holds=lambda seen: seen.marker,
        outcome=Outcome.COMMITTED,
        reason=Phrase("its marker row is there"),
    ),
    Line(
        name="never asked to commit",
        holds=lambda seen: seen.backend is Backend.IDLE,
        outcome=None,
        reason=Phrase("its server process waits for a command that never came"),
        end_backend=True,
    ),
    Line(
        name="at the standby",
        holds=lambda seen: seen.backend is Backend.AT_STANDBY,
        outcome=None,
        reason=Phrase("it is committed on this server, where it waits for a synchronous standby"),
    ),
    Line(
        name="at work",
        holds=lambda seen: seen.backend is Backend.AT_WORK,
        outcome=None,
        reason=Phrase("its server process is still at work"),
    ),
    Line(
        name="open without its process",
        holds=lambda seen: seen.transaction == "in progress",
        outcome=None,
        reason=Phrase("its transaction is open apart from its server process, as a prepared one is"),
    ),
    Line(
        name="committed without a mark",
        holds=lambda seen: seen.transaction == "committed",
        outcome=Outcome.INCONSISTENT,
        reason=Phrase("the server says that its transaction committed, and its marker row is absent"),
    ),
    Line(
        name="not on the promoted server",
        holds=lambda seen: seen.promoted,
        outcome=Outcome.ROLLED_BACK,
        reason=Phrase(
            "its marker row is absent here, on a server that was promoted since; the old primary may have committed"
            " it and must not come back"
        ),
    ),
    Line(
        name="gone without a mark",
        holds=lambda seen: True,
        outcome=Outcome.ROLLED_BACK,
        reason=Phrase("its marker row is absent and its transaction is over"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome and why we are sure, or what keeps us from it."""

    outcome: Outcome
    reason: str


def decide_outcome(
    target: Target,
    attempt: Attempt,
    *,
    reconnect_s: float = RECONNECT_S,
    hurry: Callable[[], bool] = lambda: False,
) -> Decision:
    """Reconnect and look, until a line of the table has an outcome or `reconnect_s` are over. Reads; writes nothing.

    A server process of the run that waits for a command which never came is terminated: its transaction rolls back. When
    `hurry` comes true one more look is made, and no further one.
    """
    deadline, ending = time.monotonic() + reconnect_s, False
    while True:
        last_look = time.monotonic() >= deadline or (hurry() and not ending)
        try:
            ruling = rule(bounded(LOOK_S, lambda: look(target, attempt)))
            if ruling.outcome is not None:
                return Decision(outcome=ruling.outcome, reason=ruling.reason)
            reason = ruling.reason
            if ruling.end_backend and not ending:
                deadline, ending, last_look = max(deadline, time.monotonic() + END_S), True, False
        except TimeoutError:
            reason = Phrase("the server takes connections and does not answer within {within_s:g} s", within_s=LOOK_S)
        except (LawskerError, DBAPIError) as failed:
            reason = failed.message if isinstance(failed, LawskerError) else Phrase("the connection was lost again")
        if last_look:
            return Decision(outcome=Outcome.UNKNOWN, reason=reason)
        time.sleep(POLL_S)


def rule(seen: Sight) -> Line:
    """Pure. The first line of the table that holds."""
    return next(line for line in TABLE if line.holds(seen))


def look(target: Target, attempt: Attempt) -> Sight:
    """One look, on a connection of its own; ends the run's server process where the table says so. Reads else.

    First the process, then the marker: one that has committed is gone only after its marker has become visible.
    """
    with target.connect(autocommit=True) as conn:
        conn.execute(text("SET statement_timeout = 0"))  # a role's own would cut the question short
        here, there = identify(conn, sized=False), attempt.server
        marked_here = not here.in_recovery and has_committed(conn, attempt.run_id)
        if not _same(here, there, marked=marked_here):
            return Sight(same_database=False)
        if here.in_recovery:
            return Sight(in_recovery=True)
        backend = _backend(conn, attempt)
        seen = Sight(
            promoted=read_timeline(conn) != attempt.timeline,
            backend=backend,
            marker=has_committed(conn, attempt.run_id),
            alone=_is_alone(conn),
            transaction=_transaction(conn, attempt) if backend is not Backend.GONE else "",
        )
        if rule(seen).end_backend:
            _end(conn, attempt)
        return seen


def _same(here: Server, there: Server, *, marked: bool) -> bool:
    """Pure. Whether this is the database of the attempt. Where no identifier may be read, only the same life of the server
    or the marker itself is proof: an OID is soon the same elsewhere."""
    if (here.system_identifier, here.database_oid) != (there.system_identifier, there.database_oid):
        return False
    return here.system_identifier != UNKNOWN or here.started_at == there.started_at or marked


def read_timeline(conn: Connection) -> int:
    """The timeline that the server writes: one more after each promotion. Only a primary can be asked. Reads."""
    name = "('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer"
    return int(conn.execute(text(f"SELECT {name}")).scalar_one())


def _is_alone(conn: Connection) -> bool:
    """Whether a synchronous standby is asked for and none is there, as far as this role may see."""
    return bool(
        conn.execute(
            text(
                "SELECT current_setting('synchronous_standby_names') <> '' AND NOT EXISTS (SELECT FROM"
                " pg_stat_replication WHERE sync_state IN ('sync', 'quorum') OR sync_state IS NULL)"
            )
        ).scalar_one()
    )


def _backend(conn: Connection, attempt: Attempt) -> Backend:
    """What the run's server process does. Where its state may not be seen, it counts as at work."""
    row = conn.execute(
        text(
            "SELECT coalesce(state, ''), coalesce(wait_event, '') FROM pg_stat_activity"
            " WHERE pid = :pid AND (backend_start = :start OR backend_start IS NULL)"
        ),
        {"pid": attempt.backend_pid, "start": attempt.backend_start},
    ).one_or_none()
    if row is None:
        return Backend.GONE
    if row[1] == "SyncRep":
        return Backend.AT_STANDBY
    if row[0] == "idle":
        return Backend.OVER
    return Backend.IDLE if row[0].startswith("idle in transaction") else Backend.AT_WORK


def _transaction(conn: Connection, attempt: Attempt) -> str:
    """What the server says of the transaction: committed, aborted, in progress, or empty when it does not know any more."""
    said = conn.execute(text("SELECT txid_status(:id)"), {"id": attempt.transaction_id}).scalar_one()
    return str(said or "")


def _end(conn: Connection, attempt: Attempt) -> None:
    conn.execute(
        text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid = :pid AND backend_start = :start AND state LIKE 'idle in transaction%'"
        ),
        {"pid": attempt.backend_pid, "start": attempt.backend_start},
    ).all()
