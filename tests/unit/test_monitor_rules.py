"""What the monitor tells a night operator to type throws nothing away, and its estimates are those of the phase."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lawsker_db.monitor.problem import Problem
from lawsker_db.monitor.rules import problems
from lawsker_db.monitor.running import RunView
from lawsker_db.monitor.sample import Sample, _with_time_left
from lawsker_db.phrases import CHINESE, in_language
from lawsker_db.postgres.activity import Wait
from lawsker_db.postgres.blockers import AUTOVACUUM, DUMPS, WALSENDER, WRAPAROUND, Blocker
from lawsker_db.postgres.progressing import Progress

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
WEB = Blocker(pid=13778, user="app", application="web", state="active", since=NOW)
BILLING = Blocker(pid=13777, user="app", application="billing", state="idle in transaction", since=NOW)
RUN = RunView(
    run_id="20261129T115900Z-013-abc",
    folder="f",
    alive=True,
    told=False,
    here=True,
    phase="rehearsal",
    doing="",
    since=NOW,
    heard_at=NOW,
)


def queue(*blockers: Blocker) -> Problem:
    """The problem that a session waits behind these."""
    wait = Wait(waiter=WEB, wanted="RowExclusiveLock on users", since=NOW, waited_s=33.0, blockers=blockers)
    (found,) = problems(None, Sample(at=NOW, target="t", reachable=True, waits=(wait,)))
    return found


def test_a_lock_queue_is_one_sentence_that_names_who_is_in_the_way_and_what_he_is_at() -> None:
    found = queue(BILLING)
    assert found.text == (
        "pid 13778 (web) has waited 33 s for RowExclusiveLock on users;"
        " in the way: pid 13777 (billing), idle in transaction"
    )
    assert "事务中空闲" in in_language(found.text, CHINESE)
    assert (found.hint, found.facts["commands"]) == (
        "SELECT pg_terminate_backend(13777)",
        ("SELECT pg_terminate_backend(13777)",),
    )
    assert found.facts["blockers"] == [BILLING.label]


@pytest.mark.parametrize(
    "blocker",
    [
        *(replace(BILLING, application=name) for name in DUMPS),
        replace(BILLING, state="active", what="COPY TO STDOUT"),
        replace(BILLING, kind="walsender", what=str(WALSENDER)),
        replace(BILLING, kind=AUTOVACUUM, what=str(WRAPAROUND)),
        replace(BILLING, kind=AUTOVACUUM, what="autovacuum"),
        replace(BILLING, what="CREATE INDEX CONCURRENTLY"),
        replace(BILLING, what="REINDEX CONCURRENTLY"),
        replace(BILLING, kind="logical replication worker"),
        replace(BILLING, since=None),
    ],
    ids=lambda blocker: blocker.what or blocker.kind,
)
def test_nobody_is_told_to_end_what_must_be_waited_for(blocker: Blocker) -> None:
    found = queue(blocker)
    assert "terminate" not in found.hint
    assert found.facts["commands"] == ()
    assert in_language(found.hint, CHINESE) != found.hint


def progress(share: float) -> dict[str, Any]:
    """What a look sees of a command that the run's own session has been at for 10 s."""
    of = Progress(
        pid=1,
        command="CREATE INDEX",
        relation="users",
        phase="x",
        done=int(share * 100),
        total=100,
        unit="blocks",
        running_s=10,
    )
    return {"holders": (replace(BILLING, pid=1),), "progress": (of,)}


def test_what_is_left_of_a_command_is_not_taken_for_what_is_left_of_the_phase() -> None:
    seen = progress(0.5)
    assert _with_time_left(replace(RUN, left_s=3600.0), seen).left_s == 3600.0
    assert _with_time_left(replace(RUN, left_s=2.0), seen).left_s == 10.0, "less cannot be left"
    assert _with_time_left(replace(RUN, left_s=None), seen).left_s == 10.0
