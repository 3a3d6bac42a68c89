"""Rules about sessions: who waits, who keeps others waiting, how many there are, and whether memory serves them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lawsker_db.monitor.problem import ERROR, WARNING, Limits, Problem
from lawsker_db.monitor.sample import Rates, Sample
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.activity import OpenTransaction, Wait
from lawsker_db.postgres.blockers import DUMPS, PREPARED, prepared_hint


def waits_too_long(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Somebody waits for a lock for long: one problem for each of those at the head of the queue."""
    for wait in now.waits or ():
        if wait.waited_s >= limits.wait_s:
            yield _queue(wait)


def _queue(wait: Wait) -> Problem:
    """Pure. A session that waits, and who keeps it waiting."""
    return Problem(
        code="lock_queue",
        severity=WARNING,
        subject=f"pid {wait.waiter.pid}",
        text=Phrase(
            "{waiter} has waited {waited_s:.0f} s for {wanted}, behind: {blockers}",
            waiter=wait.waiter.label,
            waited_s=wait.waited_s,
            wanted=wait.wanted,
            blockers=joined([blocker.label for blocker in wait.blockers], "; ")
            if wait.blockers
            else Phrase("sessions that come and go"),
        ),
        hint=_way_out(wait),
        facts={
            "waited_s": wait.waited_s,
            "wanted": wait.wanted,
            "blocking_pids": [blocker.pid for blocker in wait.blockers if blocker.pid],
        },
    )


def _way_out(wait: Wait) -> str:
    """Pure. What can be done about the first of those who keep a session waiting."""
    first = next(iter(wait.blockers), None)
    if first is None:
        return Phrase("look again: they come and go")
    if first.kind == PREPARED:
        return prepared_hint(first)
    if first.is_dump:
        return Phrase("let that run or dump end, or stop it where it was started")
    return f"SELECT pg_terminate_backend({first.pid})"


def transactions_too_long(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Transactions that are open for long, idle or at work, and prepared ones. Those of a run that goes on, its dump
    among them, take as long as they take."""
    running = bool(now.holders) or now.run is not None
    for one in now.transactions or ():
        if running and one.application in DUMPS:
            continue
        if one.idle_s is not None and one.idle_s >= limits.idle_s:
            yield _idle(one)
        elif one.age_s >= limits.transaction_s:
            text = Phrase("{who} has had a transaction open for {age_s:.0f} s", who=_who(one), age_s=one.age_s)
            yield _of_transaction(one, "long_transaction", text, f"SELECT pg_terminate_backend({one.pid})")
    for one in now.prepared or ():
        if one.age_s >= limits.idle_s:
            gid = one.gid.replace("'", "''")
            text = Phrase("prepared transaction '{gid}' has waited {age_s:.0f} s", gid=one.gid, age_s=one.age_s)
            yield _of_transaction(one, "prepared_transaction", text, f"ROLLBACK PREPARED '{gid}'")


def _idle(one: OpenTransaction) -> Problem:
    text = Phrase("{who} has been {state} for {idle_s:.0f} s", who=_who(one), state=one.state, idle_s=one.idle_s or 0.0)
    return _of_transaction(one, "idle_in_transaction", text, f"SELECT pg_terminate_backend({one.pid})")


def _of_transaction(one: OpenTransaction, code: str, text: Phrase, hint: str) -> Problem:
    """Pure. A transaction as a problem: its locks, and the dead rows that it holds back, stay as long as it does."""
    facts = {"pid": one.pid, "gid": one.gid, "age_s": one.age_s, "idle_s": one.idle_s, "application": one.application}
    subject = f"pid {one.pid}" if one.pid else one.gid
    return Problem(code=code, severity=WARNING, subject=subject, text=text, hint=hint, facts=facts)


def _who(one: OpenTransaction) -> Phrase:
    """Pure. A session for people."""
    name = one.application or Phrase("no application name")
    return Phrase("pid {pid} (user {user}, {application})", pid=one.pid or 0, user=one.user, application=name)


def few_connections_left(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Few connections are left for ordinary users."""
    sessions = now.sessions
    if sessions is None:
        return
    room = max(1, sessions.limit - sessions.reserved)
    if sessions.everywhere / room >= limits.connections_share:
        full = sessions.everywhere >= room
        yield Problem(
            code="connections",
            severity=ERROR if full else WARNING,
            subject="max_connections",
            text=Phrase("{used} of {room} connections are taken", used=sessions.everywhere, room=room),
            hint=Phrase("end sessions that nobody needs, use a pooler, or raise max_connections (a restart)"),
            facts={"used": sessions.everywhere, "limit": sessions.limit, "reserved": sessions.reserved},
        )


def cache_too_small(seen: Rates, limits: Limits) -> Iterator[Problem]:
    """Pure. Too many blocks came from outside of shared buffers, of enough to tell."""
    if (
        seen.cache_hits is not None
        and (seen.blocks or 0) >= limits.cache_blocks
        and seen.cache_hits < limits.cache_share
    ):
        yield Problem(
            code="cache_hit_ratio",
            severity=WARNING,
            subject="shared_buffers",
            text=Phrase(
                "{share:.1%} of {blocks:,} blocks were found in shared buffers",
                share=seen.cache_hits,
                blocks=seen.blocks or 0,
            ),
            hint=Phrase("look which query reads so much (pg_stat_statements), or raise shared_buffers (a restart)"),
            facts={"cache_hits": seen.cache_hits, "blocks": seen.blocks},
        )
