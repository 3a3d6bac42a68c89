"""Rehearse a migration on the restored copy: up, look, down, compare, up again, and foretell what production will feel."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from sqlalchemy import text

from lawsker_db.errors import LawskerError, OutcomeUnknown, RehearsalFailed
from lawsker_db.evidence import (
    Event,
    LockForecast,
    OnEvent,
    Phase,
    Rehearsal,
    Reinstated,
    StatementCost,
    failures,
    ignore,
)
from lawsker_db.phrases import Phrase, joined
from lawsker_db.postgres.catalog import Catalog, compare_catalogs, read_catalog
from lawsker_db.postgres.content import Content, read_content
from lawsker_db.postgres.meter import STRONG, Meter, metered, telling
from lawsker_db.postgres.session import find_schema, literal, pin_session
from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import Chain, Plan, current_revisions, plan_downgrade, run_steps
from lawsker_db.safety.choice import NEVER
from lawsker_db.safety.doubt import RECONNECT_S
from lawsker_db.safety.expectation import alembics_own
from lawsker_db.safety.guard import REHEARSAL, RunOptions, migration_transaction
from lawsker_db.safety.performance import LONGEST_LOCK_S
from lawsker_db.safety.verification import VerifyOptions, verify
from lawsker_db.target import Target

MAX_LOCK_S = LONGEST_LOCK_S
NO_RUNS = Path("/nonexistent")
SLOWEST = 12  # statements that the report shows
SHOWN = 5
LOST = Phrase("when the server is back: lawsker-db recover, then type the same command again")
OF_THE_SERVER = ("role", "setting")


def rehearse(
    copy: Target,
    content: Content,
    chain: Chain,
    plan: Plan,
    *,
    max_lock_s: float = MAX_LOCK_S,
    full: bool = False,
    reinstate: str = NEVER,
    reconnect_s: float = RECONNECT_S,
    on_event: OnEvent = ignore,
) -> Rehearsal:
    """Analyze the copy and run the plan on it: upgrade, verify, downgrade, compare with before, upgrade again.

    `content` is what the copy holds, as its proof has read it. Changes the copy alone; its marker rows carry the copy's
    own database OID. Production is not touched and not locked. Raises `RehearsalFailed` with what would have happened, or
    when a table would be locked longer than `max_lock_s`. With `full` the ways up lock and compare every table, as
    production's then will; `reinstate` says what they bring back, which both of them do. A server that is lost at COMMIT
    is asked for `reconnect_s`.
    """
    through = partial(_pass, copy, chain, on_event, reconnect_s=reconnect_s)
    try:
        on_event(_now(Phrase("gathering statistics on the copy")))
        _cut_off(copy, on_event)
        catalog = _catalog(copy)
        _analyze(copy, on_event)
        measured, came = through(plan, "upgrade", full=full, reinstate=reinstate)
        on_event(_now(Phrase("every check of the list on the upgraded copy")))
        _verify(copy, chain, on_event, reinstated=bool(came))
        back = plan_downgrade(chain, _current(copy), plan.start[0] if plan.start else "base")
        through(back, "downgrade")
        on_event(_now(Phrase("comparing the copy with what it was before")))
        stays = {name for contract in plan.contracts for name in contract.may_install}
        _compare((catalog, content), (_catalog(copy), read_content(copy)), stays)
        on_event(_event("equal", Phrase("after the downgrade catalog and content are as before")))
        same = came[0].archive if came else NEVER  # for the record, the way down has kept nothing
        again, _ = through(plan, Phrase("upgrade again"), full=full, reinstate=same)
    except RehearsalFailed:
        raise
    except LawskerError as failed:
        raise RehearsalFailed(
            Phrase(
                "The rehearsal on the restored copy failed, so production was not touched: {why}",
                why=failed.message,
            ),
            hint=LOST if isinstance(failed, OutcomeUnknown) else failed.hint,  # which COMMIT of the copy nobody needs
            checks=failed.fields.get("checks", ()),
        ) from failed
    rehearsal = _result(measured, again, max_lock_s)
    on_event(_event("forecast", forecast_text(rehearsal), go=rehearsal.go))
    if not rehearsal.go:
        raise RehearsalFailed(
            rehearsal.reason,
            hint=Phrase("choose a quieter hour and say --max-lock-s, or wait for the online way"),
            rehearsal=rehearsal,
        )
    return rehearsal


def forecast_text(rehearsal: Rehearsal) -> str:
    """Pure. The forecast in a line, strongest locks first."""
    locks = [
        Phrase("{table} is locked {mode} for {held_s:.2f} s", table=lock.table, mode=lock.mode, held_s=lock.held_s)
        for lock in rehearsal.locks[:SHOWN]
    ]
    if len(rehearsal.locks) > SHOWN:
        locks.append(Phrase("{locks} more locks", locks=len(rehearsal.locks) - SHOWN))
    wal, growth = rehearsal.wal_bytes / 1e6, rehearsal.growth_bytes / 1e6
    return Phrase(
        "in production: {duration_s:.1f} s, {locks}, {wal}: {verdict}",
        duration_s=rehearsal.duration_s,
        locks=joined(locks) or Phrase("no strong lock"),
        wal=Phrase("{wal:.1f} MB of WAL, growth {growth:+.1f} MB", wal=wal, growth=growth),
        verdict=Phrase("go") if rehearsal.go else Phrase("no go"),
    )


def _result(first: Meter, again: Meter, max_lock_s: float) -> Rehearsal:
    """Pure. The forecast from the first way up; the second one, on a warm and grown copy, bounds its locks from above.

    Every lock that writers wait for counts, not only ACCESS EXCLUSIVE: to whoever wants to write a case, a SHARE lock for a
    minute is a minute's outage.
    """
    locks = telling((*first.locks, *again.locks))
    too_long = [lock for lock in locks if lock.held_s > max_lock_s]
    slowest = sorted(first.statements, key=lambda statement: -statement.duration_s)
    return Rehearsal(
        go=not too_long,
        reason=joined((_too_long(lock, max_lock_s) for lock in too_long), "; ") or Phrase("go"),
        duration_s=first.duration_s,
        locks=locks,
        rewritten=first.rewritten,
        wal_bytes=first.wal_bytes,
        growth_bytes=first.growth_bytes,
        statements=tuple(cost for place, cost in enumerate(slowest) if place < SLOWEST or _is_felt(cost)),
        statement_count=len(first.statements),
    )


def _too_long(lock: LockForecast, max_lock_s: float) -> str:
    """Pure. Why this lock is a no-go."""
    held = Phrase(
        "{table} would be locked {mode} for {held_s:.1f} s", table=lock.table, mode=lock.mode, held_s=lock.held_s
    )
    if lock.mode == STRONG[-1]:
        return Phrase(
            "{held}, longer than {max_lock_s:g} s (--max-lock-s): nobody could read or write it meanwhile",
            held=held,
            max_lock_s=max_lock_s,
        )
    return Phrase(
        "{held}, longer than {max_lock_s:g} s (--max-lock-s): nobody could write it meanwhile",
        held=held,
        max_lock_s=max_lock_s,
    )


def _is_felt(cost: StatementCost) -> bool:
    """Pure. Whether others wait for what this statement did, or a table got a new file by it."""
    return bool(cost.rewritten) or any(lock.mode in STRONG for lock in cost.locks)


def _cut_off(copy: Target, on_event: OnEvent) -> None:
    """Drop the copy's user mappings: a trigger or a revision that writes to a foreign table would write there for good,
    perhaps into production itself, through the copy."""
    with copy.connect() as conn:
        rows = conn.execute(
            text(
                "SELECT CASE umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(usename) END, quote_ident(srvname)"
                " FROM pg_user_mappings ORDER BY 1, 2"
            )
        ).all()
        if rows:  # event triggers of the copy must not answer to this, perhaps through what it takes away
            conn.execute(text("SET LOCAL session_replication_role = replica"))
        for user, server in rows:
            conn.execute(literal(f"DROP USER MAPPING FOR {user} SERVER {server}"))
        conn.commit()
    if rows:
        servers = ", ".join(sorted({str(server) for _, server in rows}))
        words = Phrase("the copy reaches no other server: no user mapping for {servers}", servers=servers)
        on_event(_event("cut off", words))


def _analyze(copy: Target, on_event: OnEvent) -> None:
    """Gather statistics on the copy: a restore brings none, and without them the planner picks other plans than in
    production (20,000 users: 013 held its lock for 4.9 s in place of 0.7 s)."""
    with copy.connect(autocommit=True) as conn:
        conn.execute(text("SET statement_timeout = 0"))
        conn.execute(text("ANALYZE"))
    on_event(_event("analyzed", Phrase("the copy has statistics, as production has")))


def _pass(
    copy: Target,
    chain: Chain,
    on_event: OnEvent,
    plan: Plan,
    word: str,
    *,
    reconnect_s: float,
    full: bool = False,
    reinstate: str = NEVER,
) -> tuple[Meter, tuple[Reinstated, ...]]:
    """One way through the plan in a guarded transaction on the copy, metered to the end of its COMMIT; and what came back
    from archives."""
    run = RunOptions(
        run_id=new_run_id(f"rehearsal_{'_'.join(plan.goal)}"),
        via=REHEARSAL,
        full=copy if full else None,
        reinstate=reinstate,
        reconnect_s=reconnect_s,
        on_event=_progress(on_event),
    )
    with copy.connect() as conn, metered(conn) as meter, migration_transaction(conn, copy, plan, run) as guarded:
        run_steps(conn, chain, plan, guarded.gate)
    on_event(
        _event(
            word,
            Phrase("{what}: {took_s:.2f} s", what=Phrase(word), took_s=meter.duration_s),
            duration_s=meter.duration_s,
        )
    )
    back = guarded.gate.reinstating
    return meter, tuple(back.told) if back else ()


def _verify(copy: Target, chain: Chain, on_event: OnEvent, *, reinstated: bool) -> None:
    """The whole list on the upgraded copy, but for older tables' content (D01): nobody else writes there, and the gate has
    just proven of each that it was not touched or holds what it held. All of it is compared after the way down."""
    began = time.monotonic()
    checks = verify(copy, chain, options=VerifyOptions(strict=True, content=False, runs=NO_RUNS, reinstated=reinstated))
    failed = failures(checks)
    if failed:
        shown = joined(
            (
                Phrase("{code} {name}: {found}", code=check.code, name=check.name, found=check.found)
                for check in failed[:SHOWN]
            ),
            "; ",
        )
        raise RehearsalFailed(
            Phrase("Verification of the upgraded copy failed: {shown}.", shown=shown),
            hint=Phrase("mend the revision"),
            checks=failed,
        )
    done = sum(check.ok is not None for check in checks)
    words = Phrase(
        "{made} of {checks} checks on the upgraded copy in {took_s:.2f} s",
        made=done,
        checks=len(checks),
        took_s=time.monotonic() - began,
    )
    on_event(_event("verified", words, checks=len(checks), run=done))


def _catalog(copy: Target) -> Catalog:
    with copy.connect() as conn:
        pin_session(conn, find_schema(conn))
        catalog = read_catalog(conn)
        conn.rollback()
    return catalog


def _compare(before: tuple[Catalog, Content], after: tuple[Catalog, Content], stays: set[str]) -> None:
    """The copy after the downgrade against the copy before the upgrade, Alembic's table and our history apart.

    An extension that a step may install (`stays`) is left by its downgrade: others may use it by then. Roles belong to the
    server, where others may make some meanwhile: the gate compares them, within its transaction.
    """
    structure = [
        difference.label
        for difference in compare_catalogs(before[0], after[0])
        if not alembics_own(difference)
        and difference.kind not in OF_THE_SERVER
        and not (difference.kind == "extension" and difference.name.strip('"') in stays)
    ]
    old = {table.table: table for table in (*before[1].tables, before[1].large_objects)}
    new = {table.table: table for table in (*after[1].tables, after[1].large_objects)}
    content = [
        Phrase("content of {table}", table=name)
        for name in sorted(old.keys() | new.keys())
        if not name.startswith("lawsker_db.")
        and not name.endswith(".alembic_version")
        and (name not in old or name not in new or not old[name].same_content(new[name]))
    ]
    if structure or content:
        shown = joined([*structure, *content][:SHOWN], "; ")
        raise RehearsalFailed(
            Phrase("After the downgrade the copy is not as before: {shown}.", shown=shown),
            hint=Phrase("mend the downgrade"),
        )


def _current(copy: Target) -> tuple[str, ...]:
    with copy.connect() as conn:
        pin_session(conn, find_schema(conn))
        current = current_revisions(conn)
        conn.rollback()
    return current


def _progress(on_event: OnEvent) -> OnEvent:
    """Events of the rehearsed transaction, as mere progress of the rehearsal."""

    def tell(inner: Event) -> None:
        on_event(Event(phase=Phase.REHEARSAL, name=inner.name, text=inner.text, lasting=False))

    return tell


def _now(words: str) -> Event:
    """Pure. What goes on at this moment, for whoever watches."""
    return Event(phase=Phase.REHEARSAL, name="progress", text=words, lasting=False)


def _event(name: str, words: str, **facts: object) -> Event:
    return Event(phase=Phase.REHEARSAL, name=name, text=words, facts=facts)
