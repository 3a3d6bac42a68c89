"""Rules that name problems in what was seen. All of it is pure: what fires is decided by two looks and by limits.

A rule that could not look says nothing: what was not seen is told by the sample itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from lawsker_db.monitor.problem import ERROR, LIMITS, WARNING, Limits, Problem
from lawsker_db.monitor.rules_of_sessions import (
    cache_too_small,
    few_connections_left,
    transactions_too_long,
    waits_too_long,
)
from lawsker_db.monitor.rules_of_storage import (
    dead_rows,
    disks_full,
    ids_running_out,
    invalid_indexes,
    not_validated,
    slots_retaining,
    standbys_behind,
)
from lawsker_db.monitor.sample import Sample, rates
from lawsker_db.phrases import Phrase
from lawsker_db.revisions import OTHER_CHAIN


def problems(before: Sample | None, now: Sample, limits: Limits = LIMITS) -> tuple[Problem, ...]:
    """Pure. The problems in a look, errors first. `before` is the last look that reached the server, None at the first."""
    found = [
        *_connection(now),
        *_runs(now),
        *_stamp(now),
        *_promised(now),
        *waits_too_long(now, limits),
        *transactions_too_long(now, limits),
        *few_connections_left(now, limits),
        *invalid_indexes(before, now),
        *not_validated(now),
        *standbys_behind(now, limits),
        *slots_retaining(now),
        *disks_full(now, limits),
        *ids_running_out(now, limits),
        *dead_rows(now, limits),
        *cache_too_small(rates(before, now), limits),
    ]
    return tuple(sorted(found, key=lambda problem: problem.severity is not ERROR))


def _connection(now: Sample) -> Iterator[Problem]:
    """Pure. The server does not answer."""
    if not now.reachable:
        yield Problem(
            code="connection_lost",
            severity=ERROR,
            subject=now.target,
            text=Phrase("no answer for {away_s:.0f} s: {why}", away_s=now.away_s or 0.0, why=now.why),
            hint="lawsker-db status",  # the monitor asks again by itself; what keeps a person out, that says
            facts={"away_s": now.away_s},
        )


def _runs(now: Sample) -> Iterator[Problem]:
    """Pure. A run whose process is no more, and which has not said how it ended."""
    for run in now.ended_runs:
        yield Problem(
            code="run_ended_silently",
            severity=ERROR,
            subject=run.run_id,
            text=Phrase(
                "run {run_id} ended in phase {phase} and did not say how: its process is gone",
                run_id=run.run_id,
                phase=Phrase(run.phase) if run.phase else "?",
            ),
            hint="lawsker-db recover",
            facts={"run_id": run.run_id, "phase": run.phase, "folder": run.folder},
        )


def _stamp(now: Sample) -> Iterator[Problem]:
    """Pure. The database is stamped with what this chain does not know. (That one is pending is no problem.)"""
    stamp = now.stamp
    if stamp is not None and stamp.current and not stamp.known:
        current = ", ".join(stamp.current)
        yield Problem(
            code="revision_unknown",
            severity=ERROR,
            subject=current,
            text=Phrase("the database is stamped with {current}, which this chain does not know", current=current),
            hint=OTHER_CHAIN,
            facts={"current": stamp.current},
        )


def _promised(now: Sample) -> Iterator[Problem]:
    """Pure. Tables that the contracts promise, seed rows that a revision put there, and invariants that are broken."""
    integrity = now.integrity
    if integrity is None:
        return
    for table in integrity.missing:
        text = Phrase("table {table}, which the contract promises, is missing", table=table)
        yield Problem(code="table_missing", severity=ERROR, subject=table, text=text, hint="lawsker-db verify")
    if integrity.content is None:
        return
    for rows in integrity.content.rows:
        if rows.fixed and rows.found < rows.expected:
            text = Phrase(
                "{table} has {found} rows, and the contract put {expected} there",
                table=rows.table,
                found=rows.found,
                expected=rows.expected,
            )
            facts = {"expected": rows.expected, "found": rows.found}
            yield Problem(
                code="seed_rows", severity=ERROR, subject=rows.table, text=text, hint="lawsker-db verify", facts=facts
            )
    # Several invariants may prove one code.
    for check in {check.code: check for check in reversed(integrity.content.checks) if check.ok is False}.values():
        yield Problem(
            code="invariant_broken",
            severity=WARNING if check.warning else ERROR,
            subject=check.code,
            text=Phrase("{name} ({code}): {found}", name=check.name, code=check.code, found=check.found),
            hint="lawsker-db verify",
            facts={"expected": check.expected, "keys": check.keys},
        )
