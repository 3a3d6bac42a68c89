"""Rules about sessions: who waits, who keeps others waiting, how many there are, and whether memory serves them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lawsker_db.monitor.problem import ERROR, WARNING, Limits, Problem
from lawsker_db.monitor.sample import Rates, Sample
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.activity import OpenTransaction, Wait
from lawsker_db.postgres.blockers import (
    AUTOVACUUM,
    CLIENT,
    DUMPS,
    PREPARED,
    WALSENDER,
    Blocker,
    prepared_endings,
    prepared_hint,
    worded,
)


def waits_too_long(now: Sample, limits: Limits) -> Iterator[Problem]:
    """Pure. Somebody waits for a lock for long: one problem for each of those at the head of the queue."""
    for wait in now.waits or ():
        if wait.waited_s >= limits.wait_s:
            yield _queue(wait)


def _queue(wait: Wait) -> Problem:
    """Pure. A session that waits, and who keeps it waiting."""
    waiter = wait.waiter
    hint, commands = _way_out(wait.blockers[0]) if wait.blockers else (Phrase("look again: they come and go"), ())
    return Problem(
        code="lock_queue",
        severity=WARNING,
        subject=f"pid {waiter.pid}",
        text=Phrase(
            "pid {pid} ({who}) has waited {waited_s:.0f} s for {wanted}; in the way: {blockers}",
            pid=str(waiter.pid),
            who=waiter.application or waiter.user,
            waited_s=wait.waited_s,
            wanted=wait.wanted,
            blockers=joined([blocker.brief for blocker in wait.blockers], "; ")
            if wait.blockers
            else Phrase("sessions that come and go"),
        ),
        hint=hint,
        facts={
            "waited_s": wait.waited_s,
            "wanted": wait.wanted,
            "waiter": waiter.label,
            "blockers": [blocker.label for blocker in wait.blockers],
            "blocking_pids": [blocker.pid for blocker in wait.blockers if blocker.pid],
            "commands": commands,
        },
    )


def _way_out(session: Blocker) -> tuple[str, tuple[str, ...]]:
    """Pure. What can be done about somebody in the way, and the commands for it.

    Nobody is to be ended with whom a backup, an index or a vacuum that must be done would be lost: a run spares them too.
    """
    if session.kind == PREPARED:
        return prepared_hint(session), prepared_endings(session)
    if session.is_dump or session.what == WALSENDER:
        return Phrase("let that run or dump end, or stop it where it was started"), ()
    if session.kind == AUTOVACUUM:
        return Phrase("let that VACUUM end (pg_stat_progress_vacuum shows how far it is)"), ()
    if session.is_concurrent:
        return Phrase("let that index be built: to end it would leave an invalid one"), ()
    if session.kind != CLIENT:
        return Phrase("wait for its end: it is no client's session"), ()
    if session.since is None:
        return Phrase("look what that session does, as a member of pg_monitor, before you end it"), ()
    command = f"SELECT pg_terminate_backend({session.pid})"
    return command, (command,)


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
            yield _of_transaction(one, "long_transaction", text)
    for one in now.prepared or ():
        if one.age_s >= limits.idle_s:
            text = Phrase("prepared transaction '{gid}' has waited {age_s:.0f} s", gid=one.gid, age_s=one.age_s)
            yield _of_transaction(one, "prepared_transaction", text)


def _idle(one: OpenTransaction) -> Problem:
    state, idle_s = worded(one.state), one.idle_s or 0.0
    text = Phrase("{who} has been {state} for {idle_s:.0f} s", who=_who(one), state=state, idle_s=idle_s)
    return _of_transaction(one, "idle_in_transaction", text)


def _of_transaction(one: OpenTransaction, code: str, text: Phrase) -> Problem:
    """Pure. A transaction as a problem: its locks, and the dead rows that it holds back, stay as long as it does."""
    hint, commands = _way_out(_in_the_way(one))
    facts = {
        "pid": one.pid,
        "gid": one.gid,
        "age_s": one.age_s,
        "idle_s": one.idle_s,
        "application": one.application,
        "commands": commands,
    }
    subject = f"pid {one.pid}" if one.pid else one.gid
    return Problem(code=code, severity=WARNING, subject=subject, text=text, hint=hint, facts=facts)


def _in_the_way(one: OpenTransaction) -> Blocker:
    """Pure. The same session or prepared transaction, as one in whose way somebody stands."""
    return Blocker(
        pid=one.pid,
        gid=one.gid,
        user=one.user,
        application=one.application,
        state=one.state,
        since=one.since,
        kind=CLIENT if one.pid else PREPARED,
        what=one.what,
    )


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
