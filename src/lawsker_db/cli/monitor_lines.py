"""One look of the monitor as plain lines, everything that was seen."""

from __future__ import annotations

from collections.abc import Iterator

from lawsker_db.cli.render import tell, version_text
from lawsker_db.monitor.problem import ERROR, Problem
from lawsker_db.monitor.sample import Sample
from lawsker_db.monitor.watching import Look
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.blockers import worded


def show_look(look: Look) -> None:
    """Everything that was seen, a line each; then what was not seen; then the problems."""

    sample = look.sample
    for line in (headline(look), *_of_system(sample), *_of_load(look), *_of_storage(sample), *_of_copies(sample)):
        tell(line)
    for line in (*_of_run(sample), *_not_seen(sample)):
        tell(line)
    show_problems(look.problems)


def headline(look: Look) -> Phrase:
    """Pure. When, where, and whether it answered; the last of these for one line alone."""

    sample = look.sample
    at = f"{sample.at:%Y-%m-%d %H:%M:%S} UTC"
    if not sample.reachable or sample.server is None:
        return Phrase(
            "{at}  {target} has not answered for {away_s:.0f} s",
            at=at,
            target=sample.target,
            away_s=sample.away_s or 0.0,
        )
    line = Phrase(
        "{at}  {target}, PostgreSQL {version}, answers in {latency_ms:.1f} ms",
        at=at,
        target=sample.target,
        version=version_text(sample.server.version),
        latency_ms=(sample.latency_s or 0.0) * 1000,
    )
    if sample.back_after_s is None:
        return line
    return Phrase("{line}; it was away for {away_s:.0f} s", line=line, away_s=sample.back_after_s)


def _of_system(sample: Sample) -> Iterator[Phrase]:
    """Pure. Revision, promised tables, and what was found in them."""

    stamp, integrity = sample.stamp, sample.integrity
    if stamp is not None:
        current = ", ".join(stamp.current) or Phrase("none")
        pending = Phrase(", {number} pending", number=stamp.pending) if stamp.pending else ""
        yield Phrase("Revision: {current} (head {head}){pending}", current=current, head=stamp.head, pending=pending)
    if integrity is None:
        return
    yield Phrase("Promised tables: {present} of {all}", present=integrity.present, all=len(integrity.promised))
    if integrity.unreadable:
        yield Phrase("Not readable for this role: {tables}", tables=", ".join(integrity.unreadable))
    if integrity.content is not None:
        checks = integrity.content.checks
        wrong = [check.code for check in checks if check.ok is False]
        unknown = [check.code for check in checks if check.ok is None]
        seeds = [
            Phrase("{table} {found} rows of {expected}", table=one.table, found=one.found, expected=one.expected)
            for one in integrity.content.rows
        ]
        if checks:
            yield Phrase(
                "Content: {held} invariants hold, {wrong} broken, {unknown} not known",
                held=len(checks) - len(wrong) - len(unknown),
                wrong=len(wrong),
                unknown=len(unknown),
            )
        if seeds:
            yield Phrase("Rows made by revisions: {seeds}", seeds=joined(seeds))


def _of_load(look: Look) -> Iterator[Phrase]:
    """Pure. Sessions, transactions, waits, rates."""

    sample, rates = look.sample, look.rates
    if sample.sessions is not None:
        sessions = sample.sessions
        states = [
            Phrase("{number} {state}", number=number, state=worded(state))
            for state, number in sorted(sessions.by_state.items())
        ]
        yield Phrase(
            "Sessions: {here} here ({states}), {everywhere} of {limit} on the server",
            here=sessions.here,
            states=joined(states) if states else "-",
            everywhere=sessions.everywhere,
            limit=sessions.limit,
        )
    if sample.transactions:
        oldest = sample.transactions[0]
        yield Phrase(
            "Longest transaction: {age_s:.0f} s, pid {pid}, {state}, {application}",
            age_s=oldest.age_s,
            pid=oldest.pid or 0,
            state=worded(oldest.state),
            application=oldest.application or Phrase("no application name"),
        )
    for wait in sample.waits or ():
        yield Phrase(
            "Waiting for {waited_s:.0f} s: pid {pid}, for {wanted}, behind {number} others",
            waited_s=wait.waited_s,
            pid=wait.waiter.pid or 0,
            wanted=wait.wanted,
            number=len(wait.blockers),
        )
    if rates.transactions_per_s is not None:
        yield Phrase(
            "Rates: {transactions:.1f} transactions a second, {wal:.2f} MB of WAL a second",
            transactions=rates.transactions_per_s,
            wal=(rates.wal_bytes_per_s or 0.0) / 1e6,
        )
    if rates.cache_hits is not None:
        yield Phrase("Found in shared buffers: {share:.1%}", share=rates.cache_hits)


def _of_storage(sample: Sample) -> Iterator[Phrase]:
    """Pure. Sizes, indexes, dead rows, disk."""

    if sample.database_bytes is not None and sample.relations is not None:
        relations = sample.relations
        yield Phrase(
            "Size: {size:,.1f} MB, {tables} tables, {indexes} indexes ({invalid} invalid)",
            size=sample.database_bytes / 1e6,
            tables=relations.tables,
            indexes=relations.indexes,
            invalid="?" if sample.invalid_indexes is None else len(sample.invalid_indexes),
        )
    if sample.upkeep is not None:
        upkeep = sample.upkeep
        last = Phrase("never") if upkeep.autovacuumed is None else f"{upkeep.autovacuumed:%Y-%m-%d %H:%M:%S} UTC"
        yield Phrase(
            "Vacuum: {dead:,} dead rows, autovacuum last {last}, oldest transaction id {age:,} old",
            dead=upkeep.dead,
            last=last,
            age=upkeep.xid_age,
        )
    for disk in sample.disks or ():
        yield Phrase(
            "Disk: {free:,.1f} of {total:,.1f} GB free in {folder}",
            free=disk.free / 1e9,
            total=disk.total / 1e9,
            folder=disk.folder,
        )


def _of_copies(sample: Sample) -> Iterator[Phrase]:
    """Pure. Standbys and slots, and how far this one is behind where it is a standby."""

    replication = sample.replication
    if replication is None:
        return
    for standby in replication.standbys:
        yield Phrase(
            "Standby {application} ({address}): {state}, {lag} bytes behind",
            application=standby.application,
            address=standby.address,
            state=standby.state or Phrase("not shown"),
            lag="?" if standby.lag_bytes is None else f"{standby.lag_bytes:,}",
        )
    for slot in replication.slots:
        active = Phrase("in use") if slot.active else Phrase("not in use")
        kept = "?" if slot.retained_bytes is None else f"{slot.retained_bytes:,}"
        yield Phrase("Slot {name}: {active}, {kept} bytes of WAL kept", name=slot.name, active=active, kept=kept)
    if replication.behind_bytes is not None:
        yield Phrase("This is a standby: {lag:,} bytes of WAL not replayed", lag=replication.behind_bytes)


def _of_run(sample: Sample) -> Iterator[Phrase]:
    """Pure. The run that goes on, and the commands of which the server tells how far they are."""

    run = sample.run
    if run is not None:
        yield Phrase(
            "Run {run_id}: {phase}: {doing}",
            run_id=run.run_id,
            phase=Phrase(run.phase) if run.phase else "?",
            doing=run.doing,
        )
    for holder in sample.holders or () if run is None else ():
        yield Phrase("A run is at work: {who}", who=holder.label)
    for progress in sample.progress or ():
        share = "?" if progress.share is None else f"{progress.share:.0%}"
        yield Phrase(
            "{command} {relation}: {phase}, {share}",
            command=progress.command,
            relation=progress.relation,
            phase=progress.phase,
            share=share,
        )


def _not_seen(sample: Sample) -> Iterator[Phrase]:
    """Pure. What could not be looked at, which is not the same as nothing."""

    for one in sample.not_seen:
        yield Phrase("NOT SEEN {what}: {why}", what=one.what, why=one.why)
        if one.hint:
            yield Phrase("         Next: {hint}", hint=one.hint)


def show_problems(problems: tuple[Problem, ...]) -> None:

    for problem in problems:
        mark = Phrase("ERROR") if problem.severity is ERROR else Phrase("WARN")
        tell(Phrase("{mark}  {code}: {text}", mark=mark, code=problem.code, text=problem.text))
        tell(Phrase("         Next: {hint}", hint=problem.hint))
    if not problems:
        tell(Phrase("No problem."))
