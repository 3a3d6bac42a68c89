"""One look at a database: everything that the monitor shows, as values. And what two looks tell of the time between."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Server
from lawsker_db.monitor.integrity import Content, Integrity, Stamp, read_content, read_integrity, read_stamp
from lawsker_db.monitor.running import RunView, find_runs
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.activity import (
    Counters,
    OpenTransaction,
    Sessions,
    Sight,
    Wait,
    read_counters,
    read_prepared,
    read_sessions,
    read_sight,
    read_transactions,
    read_waits,
)
from lawsker_db.postgres.blockers import Blocker
from lawsker_db.postgres.locks import MIGRATION, RUN, holders
from lawsker_db.postgres.progressing import Progress, read_progress
from lawsker_db.postgres.replication import Replication, read_replication
from lawsker_db.postgres.session import find_schema, identify, quoted
from lawsker_db.postgres.storage import (
    Disk,
    InvalidIndex,
    NotValidated,
    Relations,
    Upkeep,
    look_at_disks,
    read_database_bytes,
    read_invalid_indexes,
    read_not_validated,
    read_relations,
    read_upkeep,
)
from lawsker_db.revisions import Chain
from lawsker_db.target import said_by_server

# None of the questions takes longer than a few milliseconds; on a server that is overloaded they must not add to it.
PINNED = {
    "statement_timeout": "2s",
    "lock_timeout": "100ms",  # the stamp and the content are the only tables that are opened
    "idle_in_transaction_session_timeout": "30s",  # a monitor that was stopped holds back nobody's vacuum
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "client_min_messages": "warning",
    "row_security": "off",  # an error instead of rows that hide
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
CONTENT_EVERY_S = 60.0
CONTENT_SHARE = 0.01  # of the time at most goes into looking at the content


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSeen:
    """Something that could not be looked at, and why; `hint` is what would let it be seen, if anything would."""

    what: str
    why: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at a database. Times are aware UTC, `_s` seconds, `_bytes` bytes; None is what was not seen, and
    `not_seen` says why; an empty tuple means that there is none.

    `at` is this machine's clock. Not `reachable`: `why` says what failed, `away_s` for how long by now, and all else is
    None (the run is still told, from its folder). `back_after_s`: the first look after it was away for so long.
    `latency_s`: one question and its answer on an open connection. `took_s`: the whole look.
    """

    at: datetime
    target: str
    reachable: bool
    why: str = ""
    hint: str = ""
    away_s: float | None = None
    back_after_s: float | None = None
    latency_s: float | None = None
    took_s: float = 0.0
    server: Server | None = None
    sight: Sight | None = None
    stamp: Stamp | None = None
    integrity: Integrity | None = None
    sessions: Sessions | None = None
    transactions: tuple[OpenTransaction, ...] | None = None
    prepared: tuple[OpenTransaction, ...] | None = None
    waits: tuple[Wait, ...] | None = None
    counters: Counters | None = None
    database_bytes: int | None = None
    relations: Relations | None = None
    invalid_indexes: tuple[InvalidIndex, ...] | None = None
    not_validated: tuple[NotValidated, ...] | None = None
    upkeep: Upkeep | None = None
    replication: Replication | None = None
    disks: tuple[Disk, ...] | None = None
    progress: tuple[Progress, ...] | None = None
    holders: tuple[Blocker, ...] | None = None
    run: RunView | None = None
    ended_runs: tuple[RunView, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()

    @property
    def shows_all(self) -> bool:
        """Pure. Whether this role is shown what every session does: else the longest of what it sees tells nothing."""
        return self.sessions is not None and not self.sessions.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happened between two looks, a second or as a share. None: unknown (the first look, or the server was restarted,
    its counters reset, or another database stands in its place meanwhile), which is not zero.

    `cache_hits`: the share of blocks found in shared buffers, 0 to 1, of `blocks` that were asked for in the time between;
    None where none was. `rollbacks`: the share of transactions that were rolled back.
    """

    seconds: float | None = None
    transactions_per_s: float | None = None
    rollbacks: float | None = None
    wal_bytes_per_s: float | None = None
    cache_hits: float | None = None
    blocks: int | None = None
    deadlocks: int | None = None
    temp_bytes_per_s: float | None = None
    database_bytes_per_s: float | None = None


# Field of the sample, what it is for people, and who reads it.
_QUESTIONS: tuple[tuple[str, Phrase, Callable[[Connection], Any]], ...] = (
    ("sessions", Phrase("sessions"), read_sessions),
    ("transactions", Phrase("open transactions"), read_transactions),
    ("prepared", Phrase("prepared transactions"), read_prepared),
    ("waits", Phrase("waiting sessions"), read_waits),
    ("counters", Phrase("counters"), read_counters),
    ("database_bytes", Phrase("size of the database"), read_database_bytes),
    ("relations", Phrase("tables and indexes"), read_relations),
    ("invalid_indexes", Phrase("invalid indexes"), read_invalid_indexes),
    ("not_validated", Phrase("constraints that are not validated"), read_not_validated),
    ("upkeep", Phrase("vacuum"), read_upkeep),
    ("replication", Phrase("replication"), read_replication),
    ("disks", Phrase("disk of the server"), look_at_disks),
    ("progress", Phrase("progress of commands"), read_progress),
    ("holders", Phrase("runs that hold a lock"), lambda conn: (*holders(conn, RUN), *holders(conn, MIGRATION))),
)


def take_sample(
    conn: Connection, target: str, chain: Chain, *, runs: Path | None = None, before: Sample | None = None
) -> Sample:
    """Look at the database that `conn` leads to, in a READ ONLY transaction that is rolled back; at the run in `runs`.

    Waits for no lock but, for 100 ms, that of a table whose rows it counts; no question takes longer than 2 s. What cannot
    be looked at is None and said in `not_seen`. `before` is the last look that reached the server: what is looked at more
    seldom is taken over from it. Raises the driver's error when the connection is lost.
    """
    began = time.monotonic()
    try:
        sample = _look(_Asking(conn=conn, target=target, chain=chain, runs=runs, before=before))
    except DBAPIError as failed:
        if _is_lost(conn, failed):
            raise
        conn.rollback()
        sample = _look(_Asking(conn=conn, target=target, chain=chain, runs=runs, before=before, careful=True))
    conn.rollback()
    return replace(sample, not_seen=(*sample.not_seen, *_hidden(sample)), took_s=time.monotonic() - began)


@dataclass(slots=True, kw_only=True)
class _Asking:
    """One look under way. `careful`: each question under a savepoint, so that one which the server refuses spoils no other;
    that doubles the way to a server that is far, so it is done when one has been refused."""

    conn: Connection
    target: str
    chain: Chain
    runs: Path | None
    before: Sample | None
    careful: bool = False
    not_seen: list[NotSeen] = field(default_factory=list)

    def ask(self, what: Phrase, read: Callable[[Connection], Any]) -> Any:
        """The answer to one question; None, and why, when it cannot be had. Raises the driver's error when the connection is
        lost, and, not `careful`, when the server refuses it."""
        try:
            with self.conn.begin_nested() if self.careful else nullcontext():
                return read(self.conn)
        except LawskerError as failed:
            self.leave_out(what, failed.message, failed.hint)
        except DBAPIError as failed:
            if not self.careful or _is_lost(self.conn, failed):
                raise
            self.leave_out(what, said_by_server(failed.orig) or type(failed).__name__)
        return None

    def leave_out(self, what: Phrase, why: str, hint: str = "") -> None:
        """Note what was not seen."""
        self.not_seen.append(NotSeen(what=what, why=why, hint=hint))


def _is_lost(conn: Connection, failed: DBAPIError) -> bool:
    return failed.connection_invalidated or conn.invalidated


def _look(asking: _Asking) -> Sample:
    """All questions, once, in a transaction that the caller rolls back."""
    conn, runs, before = asking.conn, asking.runs, asking.before
    conn.exec_driver_sql("SET TRANSACTION READ ONLY")
    schema = asking.ask(Phrase("schema of the application"), find_schema)
    _pin(conn, schema)
    sent = time.perf_counter()
    conn.exec_driver_sql("SELECT 1").scalar_one()
    latency_s = time.perf_counter() - sent
    server, sight = identify(conn, sized=False), read_sight(conn)
    seen = {name: asking.ask(what, read) for name, what, read in _QUESTIONS}
    stamp = asking.ask(Phrase("stamp"), lambda conn: read_stamp(conn, asking.chain)) if schema else None
    now = datetime.now(UTC)
    views = find_runs(runs, server, now) if runs is not None else ()
    sample = Sample(
        at=now,
        target=asking.target,
        reachable=True,
        latency_s=latency_s,
        server=server,
        sight=sight,
        stamp=stamp,
        **seen | {"waits": _known_longer(seen["waits"], before, now)},
        run=next((_with_time_left(view, seen) for view in views if view.alive and view.here is not False), None),
        ended_runs=tuple(view for view in views if not view.alive and view.here is not False),
    )
    integrity = _integrity(asking, sample, schema)
    return replace(sample, integrity=integrity, not_seen=tuple(asking.not_seen))


def unreachable_sample(
    target: str, why: str, hint: str, away_s: float, *, runs: Path | None = None, before: Sample | None = None
) -> Sample:
    """The look at a server that does not answer: why, for how long, and the run as its folder tells it. Reads the disk."""
    now, server = datetime.now(UTC), before.server if before else None
    views = find_runs(runs, server, now) if runs is not None else ()
    return Sample(
        at=now,
        target=target,
        reachable=False,
        why=why,
        hint=hint,
        away_s=away_s,
        run=next((view for view in views if view.alive and view.here is not False), None),
        ended_runs=tuple(view for view in views if not view.alive and view.here is not False),
    )


def rates(before: Sample | None, now: Sample) -> Rates:
    """Pure. What happened between two looks that reached the server."""
    if before is None or not same_life(before, now) or before.counters is None or now.counters is None:
        return Rates()
    old, new = before.counters, now.counters
    seconds = (new.at - old.at).total_seconds()
    grown = {
        name: getattr(new, name) - getattr(old, name)
        for name in ("commits", "rollbacks", "blocks_hit", "blocks_read", "deadlocks", "temp_bytes")
    }
    if seconds <= 0 or old.stats_reset != new.stats_reset or min(grown.values()) < 0:
        return Rates()
    transactions, blocks = grown["commits"] + grown["rollbacks"], grown["blocks_hit"] + grown["blocks_read"]
    return Rates(
        seconds=seconds,
        transactions_per_s=transactions / seconds,
        rollbacks=grown["rollbacks"] / transactions if transactions else None,
        wal_bytes_per_s=_per_s(old.wal_bytes, new.wal_bytes, seconds, signed=False),
        cache_hits=grown["blocks_hit"] / blocks if blocks else None,
        blocks=blocks,
        deadlocks=grown["deadlocks"],
        temp_bytes_per_s=grown["temp_bytes"] / seconds,
        database_bytes_per_s=_per_s(before.database_bytes, now.database_bytes, seconds, signed=True),
    )


def same_life(before: Sample, now: Sample) -> bool:
    """Pure. Whether both looks reached the same database of the same server, which was not restarted between them."""
    old, new = before.server, now.server
    return (
        old is not None
        and new is not None
        and (
            (old.system_identifier, old.database_oid, old.started_at, old.in_recovery)
            == (new.system_identifier, new.database_oid, new.started_at, new.in_recovery)
        )
    )


def _per_s(old: int | None, new: int | None, seconds: float, *, signed: bool) -> float | None:
    """Pure. By how much a number has grown a second; None where one is not known, or it fell and may not."""
    if old is None or new is None or (new < old and not signed):
        return None
    return (new - old) / seconds


def _pin(conn: Connection, schema: str | None) -> None:
    """Set what bounds and spells the answers, for this transaction alone."""
    pins = PINNED | ({"search_path": f"{quoted(schema)}, pg_temp"} if schema else {})
    conn.execute(
        text("SELECT set_config(name, value, true) FROM unnest(:names ::text[], :values ::text[]) AS p(name, value)"),
        {"names": list(pins), "values": list(pins.values())},
    ).all()


def _integrity(asking: _Asking, now: Sample, schema: str | None) -> Integrity | None:
    """The promised tables, and their content where it is time to look at it again and no run is at work."""
    stamp, server, chain, what = now.stamp, now.server, asking.chain, Phrase("content of the promised tables")
    if stamp is None or schema is None or server is None:
        return None
    content = _content_before(asking.before, now)
    if now.holders is not None and not now.holders and (content is None or _is_due(content, now.at)):
        content = asking.ask(what, lambda conn: read_content(conn, chain, stamp, schema, server)) or content
    elif content is None:
        asking.leave_out(what, Phrase("a run is at work, and nobody shall meet the monitor on its tables"))
    integrity: Integrity | None = asking.ask(
        Phrase("promised tables"), lambda conn: read_integrity(conn, chain, stamp, schema, content)
    )
    return integrity


def _content_before(before: Sample | None, now: Sample) -> Content | None:
    """Pure. What was found in the content before, as long as it is the same database at the same revision."""
    if before is None or before.integrity is None or not same_life(before, now) or before.stamp != now.stamp:
        return None
    return before.integrity.content


def _is_due(content: Content, now: datetime) -> bool:
    """Pure. Whether the content is to be looked at again: every minute, and more seldom where that takes long."""
    return (now - content.at).total_seconds() >= max(CONTENT_EVERY_S, content.took_s / CONTENT_SHARE)


def _known_longer(waits: tuple[Wait, ...] | None, before: Sample | None, now: datetime) -> tuple[Wait, ...] | None:
    """Pure. Waits of servers that do not say since when (12, 13), with the time for which the monitor has seen them."""
    seen = {(wait.waiter.named, wait.wanted): wait.since for wait in (before.waits or () if before else ())}
    return waits and tuple(
        replace(wait, since=since, waited_s=(now - since).total_seconds())
        if wait.since is None and (since := seen.get((wait.waiter.named, wait.wanted)) or now)
        else wait
        for wait in waits
    )


def _with_time_left(view: RunView, seen: dict[str, Any]) -> RunView:
    """Pure. The run with what is left of the command that its own session is at, where the server tells that: less cannot be
    left of the phase."""
    pids = {holder.pid for holder in seen["holders"] or ()}
    for progress in seen["progress"] or ():
        if progress.pid in pids and progress.share and progress.running_s is not None:
            left_s = progress.running_s * (1 - progress.share) / progress.share
            return replace(view, left_s=max(view.left_s or 0.0, left_s))
    return view


def _hidden(sample: Sample) -> tuple[NotSeen, ...]:
    """Pure. What this role, or anybody on this machine, cannot see: the server answers such questions with NULL."""
    sight = sample.sight
    if sight is None:
        return ()
    why = Phrase("{user} is no member of pg_monitor", user=sight.user)
    grant = f"GRANT pg_monitor TO {quoted(sight.user)}"
    found: list[NotSeen] = []
    if not sight.stats:
        found.append(NotSeen(what=Phrase("what sessions of other roles do"), why=why, hint=grant))
    if sample.disks is None and not sight.settings:
        found.append(NotSeen(what=Phrase("disk of the server"), why=why, hint=grant))
    elif sample.disks is None:
        elsewhere = Phrase("the server is on another machine, or its folder cannot be entered from here")
        found.append(NotSeen(what=Phrase("disk of the server"), why=elsewhere))
    return tuple(found)
