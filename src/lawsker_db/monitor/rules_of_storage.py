"""Rules about what a server keeps: indexes, constraints, copies, WAL, disk, transaction ids, dead rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lawsker_db.monitor.problem import ERROR, WARNING, Limits, Problem
from lawsker_db.monitor.sample import Sample
from lawsker_db.phrases import Phrase
from lawsker_db.postgres.replication import Replication, Slot, Standby
from lawsker_db.postgres.storage import DeadRows

LOST_WAL = ("unreserved", "lost")  # pg_replication_slots.wal_status: the slot's WAL is about to go, or gone
STREAMING = "streaming"
IN_SYNC = ("sync", "quorum")


def invalid_indexes(before: Sample | None, now: Sample) -> Iterator[Problem]:
    """Pure. Invalid indexes that nobody builds now, in two looks in a row where there are two: one that is just done is
    seen half."""
    known = None if before is None or before.invalid_indexes is None else {one.name for one in before.invalid_indexes}
    for index in now.invalid_indexes or ():
        if index.building or (known is not None and index.name not in known):
            continue
        yield Problem(
            code="invalid_index",
            severity=ERROR if index.unique else WARNING,
            subject=index.name,
            text=Phrase(
                "index {index} of {table} is invalid: written to and never read", index=index.name, table=index.table
            ),
            hint=f"REINDEX INDEX CONCURRENTLY {index.name}",
            facts={"table": index.table, "unique": index.unique},
        )


def not_validated(now: Sample) -> Iterator[Problem]:
    """Pure. Constraints of promised tables that old rows were not looked at for."""
    promised = now.integrity.promised if now.integrity is not None else ()
    for one in now.not_validated or ():
        if one.bare not in promised:
            continue
        yield Problem(
            code="not_validated",
            severity=WARNING,
            subject=f"{one.table}.{one.name}",
            text=Phrase(
                "constraint {name} of {table} is not validated: older rows may break it", name=one.name, table=one.table
            ),
            hint=f"ALTER TABLE {one.table} VALIDATE CONSTRAINT {one.name}",
        )


def standbys_behind(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Standbys that have not replayed what was written long ago, or more than max_wal_size of it; a COMMIT that waits
    for a standby which is not there."""
    replication = now.replication
    if replication is None:
        return
    for standby in replication.standbys:
        behind = standby.lag_s is not None and standby.lag_s >= limits.lag_s
        if behind or (standby.lag_bytes or 0) >= replication.max_wal_bytes:
            yield _behind(standby)
    late = bool(replication.behind_s) and (replication.behind_s or 0.0) >= limits.lag_s
    if late or (replication.behind_bytes or 0) >= replication.max_wal_bytes:
        yield Problem(
            code="replication_lag",
            severity=WARNING,
            subject="this server",
            text=Phrase(
                "this standby has not replayed {lag_bytes:,} bytes of WAL; its last transaction is {lag_s} s old",
                lag_bytes=replication.behind_bytes or 0,
                lag_s="?" if replication.behind_s is None else round(replication.behind_s),
            ),
            hint="SELECT * FROM pg_stat_activity WHERE backend_xmin IS NOT NULL",
            facts={"lag_bytes": replication.behind_bytes, "lag_s": replication.behind_s},
        )
    yield from _not_in_sync(now, replication)


def _behind(standby: Standby) -> Problem:
    return Problem(
        code="replication_lag",
        severity=WARNING,
        subject=f"{standby.application} {standby.address}",
        text=Phrase(
            "standby {application} ({address}) is {lag_bytes:,} bytes of WAL and {lag_s:.0f} s behind",
            application=standby.application,
            address=standby.address,
            lag_bytes=standby.lag_bytes or 0,
            lag_s=standby.lag_s or 0.0,
        ),
        hint=Phrase("look at that standby: its log, its disk, and queries that hold its replay back"),
        facts={"lag_bytes": standby.lag_bytes, "lag_s": standby.lag_s},
    )


def _not_in_sync(now: Sample, replication: Replication) -> Iterator[Problem]:
    """Pure. COMMIT waits for a standby, and none is connected that could answer. What a role may not see tells nothing."""
    primary = now.server is not None and not now.server.in_recovery
    if not (primary and replication.synchronous) or any(one.sync_state is None for one in replication.standbys):
        return
    if not any(one.state == STREAMING and one.sync_state in IN_SYNC for one in replication.standbys):
        yield Problem(
            code="synchronous_standby_missing",
            severity=ERROR,
            subject=replication.synchronous,
            text=Phrase(
                "COMMIT waits for a synchronous standby ({names}), and none is connected", names=replication.synchronous
            ),
            hint="ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()",
            facts={"synchronous_standby_names": replication.synchronous},
        )


def slots_retaining(now: Sample) -> Iterator[Problem]:
    """Pure. Slots that nobody reads from and that keep WAL: a warning from one segment on, an error from max_wal_size on, or
    when their WAL is about to go."""
    replication = now.replication
    for slot in replication.slots if replication is not None else ():
        retained = slot.retained_bytes or 0
        if slot.wal_status in LOST_WAL or (
            replication is not None and not slot.active and retained >= replication.segment_bytes
        ):
            grave = slot.wal_status in LOST_WAL or retained >= (replication.max_wal_bytes if replication else 0)
            yield _retaining(slot, grave=grave)


def _retaining(slot: Slot, *, grave: bool) -> Problem:
    """Pure. A slot as a problem. Without it a standby that is away for long has to be made anew."""
    name = slot.name.replace("'", "''")
    command = f"SELECT pg_drop_replication_slot('{name}')"
    return Problem(
        code="slot_inactive",
        severity=ERROR if grave else WARNING,
        subject=slot.name,
        text=Phrase(
            "nobody reads from replication slot {slot}, for which {retained:,} bytes of WAL are kept",
            slot=slot.name,
            retained=slot.retained_bytes or 0,
        )
        if not slot.active
        else Phrase("replication slot {slot} is losing its WAL ({status})", slot=slot.name, status=slot.wal_status),
        hint=Phrase("if nobody needs it: {command}", command=command),
        facts={
            "retained_bytes": slot.retained_bytes,
            "wal_status": slot.wal_status,
            "active": slot.active,
            "commands": (command,),
        },
    )


def disks_full(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Little room where the database or its WAL lies. A server whose WAL disk is full stops."""
    for disk in now.disks or ():
        share = disk.free / disk.total if disk.total else 1.0
        if share < limits.disk_share:
            yield Problem(
                code="disk_low",
                severity=ERROR if share < limits.disk_full_share else WARNING,
                subject=disk.folder,
                text=Phrase(
                    "{free:,} of {total:,} bytes are free on the disk of {folder}",
                    free=disk.free,
                    total=disk.total,
                    folder=disk.folder,
                ),
                hint=Phrase("free disk space there; never remove anything from pg_wal by hand"),
                facts={"free_bytes": disk.free, "total_bytes": disk.total},
            )


def ids_running_out(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Transaction ids (or multixacts) so old that autovacuum should have frozen them long ago."""
    upkeep = now.upkeep
    if upkeep is None:
        return
    for what, age, limit in (
        (Phrase("transaction ids"), upkeep.xid_age, upkeep.xid_limit),
        (Phrase("multixacts"), upkeep.multixact_age, upkeep.multixact_limit),
    ):
        if age >= limits.xid_factor * limit or age >= limits.xid_error:
            yield Problem(
                code="wraparound",
                severity=ERROR if age >= limits.xid_error else WARNING,
                subject=what,
                text=Phrase(
                    "the oldest {what} are {age:,} old, and autovacuum freezes them by force from {limit:,} on",
                    what=what,
                    age=age,
                    limit=limit,
                ),
                hint="VACUUM (FREEZE, VERBOSE)",
                facts={"age": age, "limit": limit},
            )


def dead_rows(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Autovacuum is off, or behind: a table has far more dead rows than it waits for."""
    upkeep = now.upkeep
    if upkeep is None:
        return
    if not upkeep.autovacuum and now.server is not None and not now.server.in_recovery:  # a standby has none
        yield Problem(
            code="autovacuum_off",
            severity=WARNING,
            subject="autovacuum",
            text=Phrase("autovacuum is off: nothing clears dead rows away, or gathers statistics"),
            hint="ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()",
        )
    for one in upkeep.worst:
        if one.dead >= max(limits.dead_rows, limits.dead_factor * one.due):
            yield _behind_with(one)


def _behind_with(one: DeadRows) -> Problem:
    return Problem(
        code="dead_rows",
        severity=WARNING,
        subject=one.table,
        text=Phrase(
            "{table} has {dead:,} dead rows; autovacuum should have come at {due:,}",
            table=one.table,
            dead=one.dead,
            due=one.due,
        ),
        hint=f"VACUUM (VERBOSE, ANALYZE) {one.table}",
        facts={"dead": one.dead, "live": one.live, "due": one.due, "automatic": one.automatic},
    )
