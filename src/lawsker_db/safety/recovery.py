"""Find out what became of a COMMIT whose answer was lost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Server
from lawsker_db.postgres.session import identify
from lawsker_db.record.history import has_committed
from lawsker_db.target import Target

RECONNECT_S = 60.0  # a fast restart or a failover takes less; after that a person should look
POLL_S = 0.5


class Outcome(StrEnum):
    """What became of it."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The outcome and why we are sure, or what keeps us from it."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What identifies a COMMIT that was sent: the run, the server, and the backend (a pid may be used again)."""

    run_id: str
    server: Server
    backend_pid: int
    backend_start: datetime


def decide_outcome(target: Target, attempt: Attempt, *, reconnect_s: float = RECONNECT_S) -> Decision:
    """Reconnect and decide by the marker row. Reads only.

    Marker visible: committed. Not visible, and the old backend is gone: rolled back. Another server, a standby, a backend
    that still lives, or no connection within `reconnect_s`: unknown. (txid_status is not asked: after a crash or failover a
    lost transaction id is handed out again.)
    """
    deadline = time.monotonic() + reconnect_s
    last = "no connection"
    while True:
        try:
            with target.connect(autocommit=True) as conn:
                decision = _look(conn, attempt)
            if decision.outcome is not Outcome.UNKNOWN:
                return decision
            last = decision.reason
        except (LawskerError, DBAPIError) as failed:
            last = failed.message if isinstance(failed, LawskerError) else "the connection was lost again"
        if time.monotonic() >= deadline:
            return Decision(outcome=Outcome.UNKNOWN, reason=last)
        time.sleep(POLL_S)


def _look(conn: Connection, attempt: Attempt) -> Decision:
    conn.execute(text("SET statement_timeout = 0"))  # a role's own would cut the question short
    here = identify(conn, sized=False)
    if (here.system_identifier, here.database_oid) != (
        attempt.server.system_identifier,
        attempt.server.database_oid,
    ):
        return Decision(outcome=Outcome.UNKNOWN, reason="the connection now leads to another server or database")
    if here.in_recovery:
        return Decision(outcome=Outcome.UNKNOWN, reason="the server is a standby, which may be behind")
    if has_committed(conn, attempt.run_id):
        return Decision(outcome=Outcome.COMMITTED, reason="its marker row is there")
    alive = conn.execute(
        text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = :pid AND backend_start = :start)"),
        {"pid": attempt.backend_pid, "start": attempt.backend_start},
    ).scalar_one()
    # Looked at in this order: a backend that committed between the two looks is gone from the second one only after its
    # marker has become visible, so ask for the marker once more.
    if alive:
        return Decision(outcome=Outcome.UNKNOWN, reason=f"its server process {attempt.backend_pid} is still at work")
    if has_committed(conn, attempt.run_id):
        return Decision(outcome=Outcome.COMMITTED, reason="its marker row is there")
    return Decision(outcome=Outcome.ROLLED_BACK, reason="its marker row is absent and its server process is gone")
