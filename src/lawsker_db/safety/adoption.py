"""Adopt a live database: it has the baseline's tables, but nobody stamped it. Look, list what differs, stamp."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from lawsker_db.errors import CommittedUnproven, Interrupted, LawskerError, Refused
from lawsker_db.evidence import Check, OnEvent, failures, ignore
from lawsker_db.phrases import Phrase, clause
from lawsker_db.postgres import locks
from lawsker_db.postgres.catalog import read_catalog
from lawsker_db.postgres.pooler import require_direct
from lawsker_db.postgres.scratch import build_promised, promised_identities
from lawsker_db.postgres.session import find_schema, identify, pin_session, pinned, quoted_as_read
from lawsker_db.postgres.spelling import without_spelling
from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import (
    Chain,
    Plan,
    current_revisions,
    load_chain,
    plan_stamp,
    plan_upgrade,
    require_known,
    run_steps,
)
from lawsker_db.safety.commit import Guarded, unknown_outcome
from lawsker_db.safety.expectation import Promise, not_as_promised
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.safety.needs import is_bare, required_checks
from lawsker_db.safety.preflight import refuse_standby
from lawsker_db.target import Target

BASELINE = "012"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What was found and whether the database is stamped now."""

    stamped_before: tuple[str, ...]
    stamped_now: tuple[str, ...]
    checks: tuple[Check, ...]
    differences: tuple[str, ...]
    extras: tuple[str, ...]


def adopt(target: Target, *, dry_run: bool = False, on_event: OnEvent = ignore) -> Adoption:
    """Stamp a database that has the baseline's tables as revision 012, in a marked transaction. No other change.

    Differences from the baseline and extra objects are told, and stand in nobody's way; what revision 013 needs must be
    there. A database that is stamped with a revision of this chain is left as it is. Raises `Refused`, also for a stamp of
    another chain: what that has built nobody here knows.
    """
    chain = load_chain()
    require_direct(target)
    with target.connect() as conn:
        pin_session(conn, find_schema(conn))
        current = current_revisions(conn)
        require_known(chain, current)
        if current:
            return Adoption(stamped_before=current, stamped_now=current, checks=(), differences=(), extras=())
        refuse_standby(server := identify(conn), target)
        found = _look(conn, chain, current)
        conn.rollback()
    if dry_run:
        return found
    refuse_another(found)
    plan = plan_stamp(chain, current, BASELINE)
    _stamp(pinned(target, server), chain, plan, on_event)
    return Adoption(
        stamped_before=current,
        stamped_now=plan.goal,
        checks=found.checks,
        differences=found.differences,
        extras=found.extras,
    )


def refuse_another(found: Adoption) -> None:
    """Pure. Raise `Refused` for a database in which revision 013 would not find what it needs; all of it as fields."""
    failed = failures(found.checks)
    if not failed:
        return
    raise Refused(
        Phrase(
            "This is not a Lawsker database that can be adopted. Reason 1 of {number}: {said}.",
            number=len(failed),
            said=clause(failed[0].found),
        ),
        hint=Phrase("mend that, then lawsker-db adopt --dry-run"),
        failed=[{"expected": check.expected, "found": check.found} for check in failed],
        differences=found.differences,
        extras=found.extras,
    )


def _look(conn: Connection, chain: Chain, current: tuple[str, ...]) -> Adoption:
    """Compare with the baseline's contract. Builds that in a scratch schema under a savepoint, which is rolled back."""
    whole = plan_upgrade(chain, ())
    baseline = whole.steps[0].contract
    if is_bare(conn, whole):
        raise Refused(
            Phrase("There is none of Lawsker's tables in this database: nothing to adopt."),
            hint=Phrase("lawsker-db safe-upgrade builds them"),
        )
    if baseline is None:
        raise Refused(
            Phrase("Revision {revision} has no contract to compare with.", revision=BASELINE),
            hint=Phrase("reinstall lawsker-db"),
        )
    schema = find_schema(conn)
    quoted = quoted_as_read(conn, schema)
    built = build_promised(conn, baseline, schema)
    now = read_catalog(conn)
    promise = Promise(contract=baseline, built=built, schema=quoted)
    differences = without_spelling(conn, not_as_promised(now, promise))
    promised = promised_identities(baseline, quoted)
    extras = tuple(
        Phrase("{kind} {name}", kind=Phrase(kind), name=name)
        for kind, name in sorted(now.objects)
        if (kind, name) not in promised
        and kind in ("table", "column", "function", "trigger", "sequence", "type", "policy")
        and not (kind == "column" and ("table", name.rpartition(".")[0]) not in promised)
    )
    return Adoption(
        stamped_before=current,
        stamped_now=current,
        checks=required_checks(conn, plan_upgrade(chain, (BASELINE,))),
        differences=tuple(difference.label for difference in differences),
        extras=extras,
    )


def _stamp(target: Target, chain: Chain, plan: Plan, on_event: OnEvent) -> None:
    """Stamp in a marked transaction, under the RUN lock. What goes wrong or interrupts it says where the stamp stands."""
    run = RunOptions(run_id=new_run_id(BASELINE), via="adopt", recorded_as="adopt", on_event=on_event)
    under_way: list[Guarded] = []
    try:
        with (
            locks.run_lock(target),
            target.connect() as conn,
            migration_transaction(conn, target, plan, run) as guarded,
        ):
            under_way.append(guarded)
            run_steps(conn, chain, plan, guarded.gate)
    except LawskerError as failed:
        if any(guarded.committed for guarded in under_way) and not isinstance(failed, CommittedUnproven):
            raise _stamped(Phrase("After COMMIT: {message}", message=failed.message), run.run_id) from failed
        raise
    except KeyboardInterrupt:
        raise _interrupted(under_way, run.run_id) from None


def _interrupted(under_way: list[Guarded], run_id: str) -> LawskerError:
    """Pure. What an interrupt left behind: nothing, a stamped database, or a doubt."""
    if any(guarded.committed for guarded in under_way):
        return _stamped(Phrase("Interrupted after COMMIT."), run_id)
    for guarded in under_way:
        if guarded.in_doubt:
            return unknown_outcome(guarded.attempt, Phrase("interrupted while the server was asked"), journalled=False)
    return Interrupted(Phrase("Interrupted by the operator."), hint=Phrase("type the same command again"))


def _stamped(message: str, run_id: str) -> CommittedUnproven:
    """Pure. The error that says that the stamp stands all the same."""
    state = Phrase("The database is stamped {revision}; that is committed.", revision=BASELINE)
    return CommittedUnproven(message, hint="lawsker-db status", state=state, run_id=run_id)
