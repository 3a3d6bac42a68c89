"""How a run went, as parts of its page: phases, locks beside their forecast, rehearsal, sizes, backup and proof. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from lawsker_db.changes import SizeChange
from lawsker_db.evidence import LockForecast, LockHeld, RestorePoint, RunReport, StatementCost
from lawsker_db.phrases import Phrase, joined
from lawsker_db.record.charts import GOOD, Bar, Span, Tick, bars, timeline
from lawsker_db.record.page import Say, disclosed, facts, paragraph, subheading, table

SLOWEST = 12  # statements of the rehearsal on the page; report.json has more
MARGIN = 0.04  # of the time that locks were held, before the first and behind the last: so that the ends are seen
SHORTEST = 3.0  # seconds that an axis needs for labels of whole seconds to differ


def phases(say: Say, report: RunReport) -> str:
    """Pure. When each phase began and how long it took, over the time of the whole run."""
    if not report.timings:
        return ""
    begin = report.started_at
    ends = [(one.started_at - begin).total_seconds() + one.duration_s for one in report.timings]
    whole = max(report.duration_s, *ends, 0.001)
    spans = [
        Span(
            label=say(Phrase(one.phase.value)),
            start=(one.started_at - begin).total_seconds(),
            length=one.duration_s,
            value=say(_seconds(one.duration_s)),
        )
        for one in report.timings
    ]
    longest = max(report.timings, key=lambda one: one.duration_s)
    drawn = timeline(
        spans,
        whole=whole,
        ticks=_ticks(begin, whole),
        title=say(Phrase("Phases of the run")),
        description=say(
            Phrase(
                "{count} phases in {whole_s:.1f} s; the longest is {longest} with {longest_s:.1f} s. The table has all.",
                count=len(spans),
                whole_s=whole,
                longest=Phrase(longest.phase.value),
                longest_s=longest.duration_s,
            )
        ),
    )
    listed = table(
        say,
        (Phrase("Phase"), Phrase("Began (UTC)"), Phrase("Took")),
        ((Phrase(one.phase.value), _clock(one.started_at), _seconds(one.duration_s)) for one in report.timings),
        numbers=(2,),
    )
    return drawn + disclosed(say, Phrase("The phases as a table"), listed, same=True)


def locks(say: Say, report: RunReport) -> str:
    """Pure. When each table was locked and for how long, beside what the rehearsal foretold."""
    held = [lock for lock in report.locks if lock.held_s is not None]
    if not held:
        return ""
    first = min(lock.granted_at for lock in held)
    ends = [(lock.granted_at - first).total_seconds() + (lock.held_s or 0.0) for lock in held]
    foretold = [_foretold(report, lock) for lock in held]
    length = max(*ends, *(other or 0.0 for other in foretold), 0.001)
    begin, whole = first - timedelta(seconds=length * MARGIN), length * (1 + 2 * MARGIN)
    spans = [
        Span(
            label=lock.table,
            start=(lock.granted_at - begin).total_seconds(),
            length=lock.held_s or 0.0,
            value=say(_seconds(lock.held_s or 0.0)),
            other=other,
            other_value=say(_lock_words(lock, other)),
        )
        for lock, other in zip(held, foretold, strict=True)
    ]
    drawn = timeline(
        spans,
        whole=whole,
        ticks=_ticks(begin, whole),
        title=say(Phrase("Locks on tables that stood before")),
        description=say(
            Phrase("{count} tables were locked, the longest for {longest_s:.3f} s. The table has all.",
                   count=len(held), longest_s=max(lock.held_s or 0.0 for lock in held))
        ),
    )  # fmt: skip
    why = Phrase("Measured from the grant to the end of the transaction.")
    if any(other is not None for other in foretold):
        why = Phrase(
            "Thick: measured, from the grant to the end of the transaction. Thin: as the rehearsal on the copy foretold."
        )
    listed = disclosed(say, Phrase("The locks as a table"), _lock_table(say, report), same=True)
    return f"{paragraph(say, why, kind='soft')}{drawn}{listed}"


def rehearsal(say: Say, report: RunReport) -> str:
    """Pure. What the rehearsal on the restored copy said, and what each of its costly statements did."""
    found = report.rehearsal
    if found is None:
        return ""
    pairs = (
        (Phrase("Verdict"), Phrase("go") if found.go else Phrase("no go: {reason}", reason=found.reason)),
        (Phrase("Time"), _seconds(found.duration_s)),
        (Phrase("Rewritten"), ", ".join(found.rewritten) or Phrase("nothing")),
        (Phrase("WAL"), _bytes(found.wal_bytes)),
        (Phrase("Growth"), _growth(found.growth_bytes)),
    )
    foretold = bars(
        [Bar(label=lock.table, amount=lock.held_s, value=say(_seconds(lock.held_s))) for lock in found.locks],
        title=say(Phrase("Locks that the rehearsal foretells")),
        description=say(Phrase("{count} tables would be locked.", count=len(found.locks))),
    )
    shown = found.statements[:SLOWEST]
    heads = (Phrase("Statement"), Phrase("Took"), Phrase("Rows"), Phrase("WAL"), Phrase("Growth"))
    costs = table(
        say,
        (*heads, Phrase("Locks newly taken"), Phrase("Rewritten")),
        map(_statement, shown),
        numbers=(1, 2, 3, 4),
    )
    ahead = "" if report.locks or not found.locks else subheading(say, Phrase("Locks foretold")) + foretold
    summary = Phrase("The {count} slowest statements of the rehearsal", count=len(shown))
    return f"{facts(say, pairs)}{ahead}{disclosed(say, summary, costs)}"


def sizes(say: Say, report: RunReport) -> str:
    """Pure. The database and its tables on disk, before and after, beside the growth that was foretold."""
    known = [one for one in report.sizes if one.after_bytes is not None]
    if not known:
        before = report.server.data_bytes if report.server else None
        return facts(say, [(Phrase("Database before the run"), _bytes(before))] if before is not None else [])
    whole = next((one for one in known if not one.table), None)
    pairs: list[tuple[str, str]] = []
    if whole is not None and whole.before_bytes is not None and whole.after_bytes is not None:
        words = Phrase("{after_mb:,.1f} MB, {before_mb:,.1f} MB before", after_mb=whole.after_bytes / 1e6,
                       before_mb=whole.before_bytes / 1e6)  # fmt: skip
        pairs = [(Phrase("Database"), words), (Phrase("Growth"), _growth(whole.after_bytes - whole.before_bytes))]
    if report.rehearsal:
        pairs.append((Phrase("Growth foretold"), _growth(report.rehearsal.growth_bytes)))
    tables = sorted((one for one in known if one.table), key=lambda one: -(one.after_bytes or 0))
    drawn = bars(
        [_size_bar(say, one) for one in tables if one.before_bytes],
        title=say(Phrase("Sizes of tables that stood before")),
        description=say(Phrase("With indexes, after and before the run. The table has all.")),
    )
    listed = table(
        say,
        (Phrase("Table"), Phrase("Before"), Phrase("After")),
        ((one.table, _bytes(one.before_bytes), _bytes(one.after_bytes)) for one in tables),
        numbers=(1, 2),
    )
    shown = drawn if any(one.before_bytes for one in tables) else ""
    summary = Phrase("{count} tables with their indexes", count=len(tables))
    return f"{facts(say, pairs)}{shown}{disclosed(say, summary, listed)}"


def backup(say: Say, report: RunReport) -> str:
    """Pure. Where the backup is, whether it is proven, and how the whole server goes back where its WAL is kept."""
    return facts(say, _backup(report))


def _backup(report: RunReport) -> Iterator[tuple[str, str]]:
    kept, proof = report.backup, report.proof
    if kept is None:
        return
    yield Phrase("Backup"), kept.folder
    yield Phrase("Size"), Phrase("{size_mb:,.1f} MB by {client}", size_mb=kept.bytes / 1e6, client=kept.client_version)
    if proof is None:
        proven = (
            Phrase("proven by an earlier trial restore") if kept.proven else Phrase("not proven: it was not restored")
        )
        yield Phrase("Proof"), proven
    else:
        yield (
            Phrase("Proof"),
            Phrase(
                "{tables} tables, {rows:,} rows equal; restored in {restore_s:.1f} s, compared in {compare_s:.1f} s",
                tables=proof.tables,
                rows=proof.rows,
                restore_s=proof.restore_s,
                compare_s=proof.compare_s,
            ),
        )
        for omitted in proof.omitted:
            yield Phrase("Not compared"), omitted
    yield "SHA-256", kept.sha256
    if report.restore_point:
        yield from _recovery(report.restore_point)


def _recovery(point: RestorePoint) -> Iterator[tuple[str, str]]:
    """Pure. How the whole server goes back to the moment before the migration."""
    place = Phrase(
        "WAL at {lsn}, timeline {timeline}, {name}",
        lsn=point.lsn,
        timeline=point.timeline,
        name=point.name or Phrase("no name"),
    )
    lacking = Phrase("this server archives no WAL itself: only a tool that streams it can do this")
    yield Phrase("Before the migration"), place if point.archived else joined((place, lacking), "; ")
    for command in point.commands:
        yield Phrase("Recover the server to it"), command


def _lock_table(say: Say, report: RunReport) -> str:
    heads = (
        Phrase("Table"),
        Phrase("Lock"),
        Phrase("Granted (UTC)"),
        Phrase("Tries"),
        Phrase("Held"),
        Phrase("Foretold"),
    )
    return table(
        say,
        heads,
        (
            (
                lock.table,
                lock.mode,
                _clock(lock.granted_at),
                str(lock.attempts),
                "" if lock.held_s is None else _seconds(lock.held_s),
                _seconds(other) if other is not None else Phrase("not foretold"),
            )
            for lock in report.locks
            for other in (_foretold(report, lock),)
        ),
        numbers=(3, 4, 5),
    )


def _lock_words(lock: LockHeld, other: float | None) -> str:
    """Pure. Below a lock's bar: its mode, when it was granted, and what was foretold."""
    at = f"{lock.granted_at:%H:%M:%S}"
    if other is None:
        return Phrase("{mode} at {at}", mode=lock.mode, at=at)
    return Phrase("{mode} at {at}; foretold {other_s:.2f} s", mode=lock.mode, at=at, other_s=other)


def _foretold(report: RunReport, lock: LockHeld) -> float | None:
    """Pure. How long the rehearsal foretold that this table would be locked so."""
    ahead: tuple[LockForecast, ...] = report.rehearsal.locks if report.rehearsal else ()
    return next((one.held_s for one in ahead if (one.table, one.mode) == (lock.table, lock.mode)), None)


def _statement(cost: StatementCost) -> tuple[str, ...]:
    """Pure. What a statement of the rehearsal cost and did."""
    taken = (
        Phrase("{table} {mode} for {held_s:.3f} s", table=lock.table, mode=lock.mode, held_s=lock.held_s)
        for lock in cost.locks
    )
    return (
        cost.statement,
        _seconds(cost.duration_s),
        "" if cost.rows is None else str(cost.rows),
        _bytes(cost.wal_bytes),
        _growth(cost.growth_bytes),
        joined(taken, "; "),
        ", ".join(cost.rewritten),
    )


def _size_bar(say: Say, one: SizeChange) -> Bar:
    was = Phrase("{size_mb:,.1f} MB before", size_mb=(one.before_bytes or 0) / 1e6)
    return Bar(
        label=one.table,
        amount=float(one.after_bytes or 0),
        value=say(_bytes(one.after_bytes)),
        other=float(one.before_bytes or 0),
        other_value=say(was),
        tone=GOOD,
    )


def _ticks(begin: datetime, whole: float) -> tuple[Tick, ...]:
    """Pure. Absolute times along an axis; thousandths only where seconds would be the same."""
    exact = "milliseconds" if whole < SHORTEST else "seconds"
    places = (0.0, whole / 2, whole)
    return tuple(
        Tick(at=at, label=(begin + timedelta(seconds=at)).time().isoformat(exact) + (" UTC" if at == whole else ""))
        for at in places
    )


def _clock(at: datetime) -> str:
    return at.time().isoformat("milliseconds")


def _seconds(duration_s: float) -> Phrase:
    return Phrase("{duration_s:.3f} s", duration_s=duration_s)


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f} MB"


def _growth(size: int) -> str:
    return f"{size / 1e6:+,.1f} MB"
