"""What the live view shows of a look, as rows under headings, whatever the screen is like. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lawsker_db.cli.render import BAD, DOUBTFUL, GOOD
from lawsker_db.monitor.figures import amount_text, bytes_text, seconds_text
from lawsker_db.monitor.problem import ERROR, LIMITS
from lawsker_db.monitor.sample import NotSeen, Sample
from lawsker_db.monitor.watching import Look
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.activity import NOT_SHOWN, Wait
from lawsker_db.postgres.blockers import Blocker, worded

UNSEEN = Phrase("not seen")
UNKNOWN = Phrase("not known yet")  # a rate, before the second look
DEEPEST = 6  # steps of a chain of waiting sessions that are indented


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A value under its label; without label a line of its own, `indent` steps deep. `figure` names the trend that stands
    beside it; `tone` is one of `render`'s, and never says what the words do not."""

    label: str = ""
    value: str
    tone: str = ""
    figure: str = ""
    indent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Rows that belong together."""

    title: Phrase
    rows: tuple[Row, ...]


def panels(look: Look) -> tuple[Panel, ...]:
    """Pure. Everything there is to see of a look that reached the server, the most urgent first; empty ones left out."""
    sample = look.sample
    found = (
        Panel(title=Phrase("Who waits for whom"), rows=tuple(_of_waits(sample))),
        Panel(title=Phrase("Load"), rows=tuple(_of_load(look))),
        Panel(title=Phrase("Storage"), rows=tuple(_of_storage(look))),
        Panel(title=Phrase("New system"), rows=tuple(_of_system(sample))),
        Panel(title=Phrase("Standbys and slots"), rows=tuple(_of_copies(sample))),
        Panel(title=Phrase("Not seen"), rows=tuple(_of_unseen(sample.not_seen))),
    )
    return tuple(panel for panel in found if panel.rows)


def _of_load(look: Look) -> Iterator[Row]:
    """Pure. Connections against their limit, transactions, waits, rates."""
    sample, seen = look.sample, look.rates
    sessions, transactions = sample.sessions, sample.transactions
    label = Phrase("Connections")
    if sessions is None:
        yield Row(label=label, value=UNSEEN)
    else:
        room = max(1, sessions.limit - sessions.reserved)
        full = sessions.everywhere / room >= LIMITS.connections_share
        words = Phrase("{number} of {limit}", number=sessions.everywhere, limit=sessions.limit)
        yield Row(label=label, value=words, tone=DOUBTFUL if full else "", figure="sessions")
        states = [
            Phrase("{number} {state}", number=number, state=worded(state))
            for state, number in sorted(sessions.by_state.items(), key=lambda pair: (pair[0] == NOT_SHOWN, pair[0]))
        ]
        yield Row(label=Phrase("In this database"), value=joined(states) if states else Phrase("nobody else"))
    label = Phrase("Longest transaction")
    if transactions is None or (not transactions and not sample.shows_all):
        yield Row(label=label, value=UNSEEN)
    elif not transactions:
        yield Row(label=label, value=Phrase("none open"), figure="longest_transaction_s")
    else:
        oldest = transactions[0]
        who = oldest.application or Phrase("no application name")
        words = Phrase("{age}, pid {pid}, {who}", age=seconds_text(oldest.age_s), pid=str(oldest.pid), who=who)
        long = oldest.age_s >= LIMITS.transaction_s or (oldest.idle_s or 0.0) >= LIMITS.idle_s
        yield Row(label=label, value=words, tone=DOUBTFUL if long else "", figure="longest_transaction_s")
    waits = sample.waits
    number = UNSEEN if waits is None else str(len(waits)) if waits else Phrase("nobody")
    yield Row(label=Phrase("Waiting for locks"), value=number, tone=DOUBTFUL if waits else "", figure="waiting")
    if sample.prepared:
        yield Row(label=Phrase("Prepared"), value=str(len(sample.prepared)), tone=DOUBTFUL)
    counted = sample.counters is not None
    yield _rate(Phrase("Transactions"), "transactions_per_s", seen.transactions_per_s, counted=counted)
    yield _rate(Phrase("In shared buffers"), "cache_hits", seen.cache_hits, counted=counted, none=seen.blocks == 0)


def _rate(label: str, name: str, value: float | None, *, counted: bool, none: bool = False) -> Row:
    """Pure. What happened a second, or the share; `none`: there was nothing of which it could be a share."""
    if value is not None:
        return Row(label=label, value=amount_text(name, value), figure=name)
    if none:
        return Row(label=label, value=Phrase("nothing was read"), figure=name)
    return Row(label=label, value=UNKNOWN if counted else UNSEEN, figure=name if counted else "")


def _of_waits(sample: Sample) -> Iterator[Row]:
    """Pure. Chains: who waits for nobody stands first, below him who waits for him, and so on. Nobody is told twice."""
    waits = {str(wait.waiter.named): wait for wait in sample.waits or ()}
    told: set[str] = set()
    heads = {
        str(blocker.named): blocker
        for wait in waits.values()
        for blocker in wait.blockers
        if str(blocker.named) not in waits
    }
    for name, blocker in heads.items():
        yield Row(value=_blocking(blocker), tone=BAD)
        yield from _behind(name, waits, told, 1)
    for name, wait in waits.items():  # those behind sessions that come and go, or in a circle
        if name not in told:
            told.add(name)
            yield Row(value=_waiting(wait), tone=DOUBTFUL)
            yield from _behind(name, waits, told, 1)


def _behind(name: str, waits: dict[str, Wait], told: set[str], depth: int) -> Iterator[Row]:
    for other, wait in waits.items():
        if other not in told and any(str(blocker.named) == name for blocker in wait.blockers):
            told.add(other)
            yield Row(value=_waiting(wait), tone=DOUBTFUL, indent=min(depth, DEEPEST))
            yield from _behind(other, waits, told, depth + 1)


def _blocking(blocker: Blocker) -> Phrase:
    """Pure. Who stands in the way and waits for nobody."""
    if blocker.pid is None:
        return Phrase("BLOCKS: {who}", who=blocker.label)
    return Phrase(
        "BLOCKS: pid {pid}, {who}, {state}",
        pid=str(blocker.pid),
        who=blocker.application or blocker.user,
        state=worded(blocker.state),
    )


def _waiting(wait: Wait) -> Phrase:
    return Phrase(
        "pid {pid}, {who}, waits {time} for {wanted}",
        pid=str(wait.waiter.pid),
        who=wait.waiter.application or wait.waiter.user,
        time=seconds_text(round(wait.waited_s, 1)),
        wanted=wait.wanted,
    )


def _of_storage(look: Look) -> Iterator[Row]:
    """Pure. Sizes, indexes, WAL, dead rows, disk."""
    sample, relations, upkeep = look.sample, look.sample.relations, look.sample.upkeep
    size = None if sample.database_bytes is None else bytes_text(sample.database_bytes)
    yield Row(label=Phrase("Size"), value=size or UNSEEN, figure="database_bytes" if size else "")
    yield Row(label=Phrase("Tables"), value=UNSEEN if relations is None else f"{relations.tables:,}")
    yield _of_indexes(sample)
    counted = sample.counters is not None and sample.counters.wal_bytes is not None
    yield _rate("WAL", "wal_bytes_per_s", look.rates.wal_bytes_per_s, counted=counted)
    if upkeep is None:
        yield Row(label=Phrase("Dead rows"), value=UNSEEN)
    else:
        yield Row(label=Phrase("Dead rows"), value=f"{upkeep.dead:,}", figure="dead_rows")
        yield Row(label=Phrase("Autovacuum"), value=_autovacuum(sample), tone="" if upkeep.autovacuum else DOUBTFUL)
        old = upkeep.xid_age >= LIMITS.xid_factor * upkeep.xid_limit
        words = Phrase("{age:,} of {limit:,}", age=upkeep.xid_age, limit=upkeep.xid_limit)
        yield Row(label=Phrase("Transaction ids"), value=words, tone=DOUBTFUL if old else "")
    for largest in relations.largest[:1] if relations is not None else ():
        words = Phrase("{table}, {size}", table=largest.name, size=bytes_text(largest.bytes))
        yield Row(label=Phrase("Largest table"), value=words)
    for disk in sample.disks or ():
        low = disk.total > 0 and disk.free / disk.total < LIMITS.disk_share
        words = Phrase("{free} of {total} free", free=bytes_text(disk.free), total=bytes_text(disk.total))
        figure = "disk_free_bytes" if len(sample.disks or ()) == 1 else ""  # the trend is that of the worst
        yield Row(label=Phrase("Disk"), value=words, tone=BAD if low else "", figure=figure)
    if sample.disks is None:
        yield Row(label=Phrase("Disk"), value=UNSEEN)


def _autovacuum(sample: Sample) -> Phrase:
    """Pure. Whether autovacuum is on, and when it was here last."""
    upkeep = sample.upkeep
    if upkeep is None or not upkeep.autovacuum:
        return Phrase("off") if upkeep else UNSEEN
    if upkeep.autovacuumed is None:
        return Phrase("on, was not here yet")
    ago = seconds_text(max(0.0, (sample.at - upkeep.autovacuumed).total_seconds()))
    return Phrase("on, last {time} ago", time=ago)


def _of_indexes(sample: Sample) -> Row:
    """Pure. How many indexes there are, and how many of them are invalid."""
    relations, invalid = sample.relations, sample.invalid_indexes
    label = Phrase("Indexes")
    if relations is None:
        return Row(label=label, value=UNSEEN)
    number = f"{relations.indexes:,}"
    if invalid is None:
        return Row(label=label, value=Phrase("{number}, invalid ones not seen", number=number))
    building = sum(one.building for one in invalid)
    parts = [number]
    if len(invalid) > building:
        parts.append(Phrase("{number} INVALID", number=len(invalid) - building))
    if building:
        parts.append(Phrase("{number} being built", number=building))
    return Row(label=label, value=joined(parts), tone=BAD if len(invalid) > building else "")


def _of_system(sample: Sample) -> Iterator[Row]:
    """Pure. What the contracts promise, and whether it stands."""
    integrity = sample.integrity
    label = Phrase("Promised tables")
    if integrity is None:
        if sample.stamp is None or sample.stamp.known:
            yield Row(label=label, value=UNSEEN)
        return
    words = Phrase("{present} of {all}", present=integrity.present, all=len(integrity.promised))
    yield Row(label=label, value=words, tone=BAD if integrity.missing else GOOD)
    content = integrity.content
    if content is None:
        yield Row(label=Phrase("Content"), value=Phrase("not looked at"))
        return
    wrong = sum(check.ok is False for check in content.checks)
    unknown = sum(check.ok is None for check in content.checks)
    parts = [Phrase("{number} hold", number=len(content.checks) - wrong - unknown)]
    parts += [Phrase("{number} BROKEN", number=wrong)] if wrong else []
    parts += [Phrase("{number} not known", number=unknown)] if unknown else []
    if content.checks:
        yield Row(label=Phrase("Invariants"), value=joined(parts), tone=BAD if wrong else DOUBTFUL if unknown else GOOD)
    seeds = [one for one in content.rows if one.fixed]
    if seeds:
        found = sum(one.found >= one.expected for one in seeds)
        words = Phrase("{present} of {all}", present=found, all=len(seeds))
        yield Row(label=Phrase("Tables with seed rows"), value=words, tone=BAD if found < len(seeds) else GOOD)


def _of_copies(sample: Sample) -> Iterator[Row]:
    """Pure. Standbys and slots, and how far this one is behind where it is a standby."""
    replication = sample.replication
    if replication is None:
        yield Row(label=Phrase("Standbys"), value=UNSEEN)
        return
    if not (replication.standbys or replication.slots or replication.behind_bytes is not None):
        yield Row(label=Phrase("Standbys"), value=Phrase("none, and no slot"))
    for standby in replication.standbys:
        lag = UNSEEN if standby.lag_bytes is None else Phrase("{size} behind", size=bytes_text(standby.lag_bytes))
        late = "" if standby.lag_s is None else f" ({seconds_text(standby.lag_s)})"
        words = Phrase("{state}, {lag}{late}", state=standby.state or Phrase("not shown"), lag=lag, late=late)
        figure = "standby_lag_bytes" if len(replication.standbys) == 1 else ""
        yield Row(label=standby.application or standby.address, value=words, figure=figure)
    for slot in replication.slots:
        used = Phrase("in use") if slot.active else Phrase("NOT IN USE")
        kept = UNSEEN if slot.retained_bytes is None else bytes_text(slot.retained_bytes)
        words = Phrase("{used}, keeps {size}", used=used, size=kept)
        yield Row(label=Phrase("Slot {name}", name=slot.name), value=words, tone="" if slot.active else DOUBTFUL)
    if replication.behind_bytes is not None:
        yield Row(label=Phrase("Not replayed"), value=bytes_text(replication.behind_bytes))


def _of_unseen(not_seen: tuple[NotSeen, ...]) -> Iterator[Row]:
    """Pure. What could not be looked at, which is not the same as nothing: by reason, with what would let it be seen."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for one in not_seen:
        by_reason.setdefault((one.why, one.hint), []).append(one.what)
    for (why, hint), whats in by_reason.items():
        yield Row(value=Phrase("{what}: {why}", what=joined(whats), why=why), tone=DOUBTFUL)
        if hint:
            yield Row(value=Phrase("Next: {hint}", hint=hint), indent=1)


def gravest(look: Look) -> str:
    """Pure. The tone of a look: that of its gravest problem."""
    if any(problem.severity is ERROR for problem in look.problems):
        return BAD
    return DOUBTFUL if look.problems else GOOD
