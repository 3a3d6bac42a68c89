"""One look at a database: everything that the monitor shows, as values. And what two looks tell of the time between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lawsker_db.evidence import Server
from lawsker_db.monitor.integrity import Integrity, Stamp
from lawsker_db.monitor.running import RunView
from lawsker_db.postgres.activity import Counters, OpenTransaction, Sessions, Sight, Wait
from lawsker_db.postgres.blockers import Blocker
from lawsker_db.postgres.progressing import Progress
from lawsker_db.postgres.replication import Replication
from lawsker_db.postgres.storage import Disk, InvalidIndex, NotValidated, Relations, Upkeep


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
