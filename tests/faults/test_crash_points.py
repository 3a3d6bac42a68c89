"""Struck at a message between the tool and the server: old or new, and the tool says which. A part of all crash points.

The others: make test-faults. Every fault is real; the oracle, which shares no code with the product, has the last word.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_ground import Site
from crash_points import Census, point_at, read_census
from crash_run import census, strike_at
from strikes import Fault, Moment, Seen

BEFORE, SENT, ANSWERED, PASSED = Moment
KILL, TERM, INT, GROUP = Fault.KILL, Fault.TERM, Fault.INT, Fault.GROUP
RESET, CUT, DOWN, DROP, SILENCE = Fault.RESET, Fault.CUT, Fault.DOWN, Fault.DROP, Fault.SILENCE

# How far from COMMIT on the connection of the migration; when; what.
ABOUT_COMMIT = [
    *((0, moment, KILL) for moment in Moment),
    (0, BEFORE, INT),
    (0, SENT, TERM),
    (0, ANSWERED, GROUP),
    (0, BEFORE, RESET),
    (0, SENT, RESET),
    (0, ANSWERED, RESET),
    (0, SENT, CUT),
    (0, BEFORE, DOWN),
    (0, ANSWERED, DOWN),
    (-1, ANSWERED, INT),
    (-1, ANSWERED, RESET),
    (-9, BEFORE, CUT),
    (-18, BEFORE, KILL),
    (-60, BEFORE, DOWN),
    (1, BEFORE, RESET),
]
# Which connection, and what kind of message: the middle one of them is struck. The first look afterwards, and verification.
AFTER_COMMIT = [
    ("after#1", "startup", BEFORE, RESET),
    ("after#1", "Q", ANSWERED, INT),
    ("after#3", "Q", SENT, KILL),
    ("after#3", "S", ANSWERED, RESET),
]
ELSEWHERE = [
    ("tool#1", "Q", SENT, RESET),
    ("tool#3", "Q", ANSWERED, TERM),
    ("pg_dump#1", "Q", BEFORE, KILL),
    ("pg_dump#2", "Q", SENT, RESET),
    ("pg_dumpall#1", "Q", ANSWERED, CUT),
    ("reader#1", "S", ANSWERED, RESET),
    ("reader#1", "Q", BEFORE, GROUP),
    ("pg_restore/copy#1", "Q", SENT, KILL),
    ("pg_restore/copy#2", "Q", ANSWERED, RESET),
    ("tool/copy#1", "Q", PASSED, TERM),
    ("tool/copy#5", "startup", ANSWERED, KILL),
    ("migration#1", "Q", SENT, KILL),
    ("migration#1", "S", ANSWERED, RESET),
]
TRIES = 3
# Of those about COMMIT, which the long suite strikes all, two of three.
NEAREST = [
    pytest.param(*what, marks=() if place % 3 < 2 else pytest.mark.faults) for place, what in enumerate(ABOUT_COMMIT)
]
# What is swallowed is waited for, by the tool or by the operator: half a minute each.
SWALLOWED = [(0, BEFORE, DROP), (0, ANSWERED, DROP), (-60, BEFORE, DROP), (0, SENT, SILENCE)]


@pytest.fixture(scope="session")
def counted(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Census:
    """What the tool and its children send in an undisturbed run of the small chain."""
    return read_census("small", census(site, site.ground("small"), tmp_path_factory.mktemp("census")))


def keeps_its_promise(site: Site, counted: Census, message: Seen, moment: Moment, fault: Fault, folder: Path) -> None:
    """Strike there; nothing may be wrong. Where nothing came to it, once more, at an earlier one of the same kind if it is
    before COMMIT: how often the tool looks hangs on the time that others take."""
    for number in range(TRIES):
        point = point_at(counted, message, moment, fault, tcp=fault is RESET and moment is SENT)
        (folder / str(number)).mkdir()
        result = strike_at(site, point, folder / str(number))
        if result.struck or result.wrong:
            break
        message = earlier(counted, message)
    assert result.struck, f"nothing came to {point.name}"
    assert not result.wrong, f"{result.point}: {result.wrong}\n{result.words}"


def of_kind(counted: Census, label: str, kind: str) -> Seen:
    """The middle one of the messages of this kind on this connection."""
    same = [message for message in counted.seen if (message.label, message.kind) == (label, kind)]
    assert same, f"no {kind} on {label}"
    return same[len(same) // 2]


def earlier(counted: Census, message: Seen) -> Seen:
    """The message half way to the first of its kind on its connection; about COMMIT, which it is counted from, the same."""
    if message.label == counted.commit.label and message.ordinal > counted.commit.ordinal // 2:
        return message
    same = [one for one in counted.seen if (one.label, one.kind) == (message.label, message.kind)]
    return same[same.index(message) // 2]


@pytest.mark.parametrize(("offset", "moment", "fault"), NEAREST)
def test_what_strikes_about_commit_leaves_old_or_new_and_the_tool_says_which(
    offset: int, moment: Moment, fault: Fault, site: Site, counted: Census, tmp_path: Path
) -> None:
    message = counted.migration[counted.migration.index(counted.commit) + offset]
    keeps_its_promise(site, counted, message, moment, fault, tmp_path)


@pytest.mark.parametrize(("label", "kind", "moment", "fault"), AFTER_COMMIT)
def test_what_strikes_after_commit_leaves_new_and_the_tool_says_so(
    label: str, kind: str, moment: Moment, fault: Fault, site: Site, counted: Census, tmp_path: Path
) -> None:
    keeps_its_promise(site, counted, of_kind(counted, label, kind), moment, fault, tmp_path)


# Every second of those far from COMMIT in the long suite: it strikes all of them anyhow.
SOME = [pytest.param(*what, marks=() if place % 2 == 0 else pytest.mark.faults) for place, what in enumerate(ELSEWHERE)]


@pytest.mark.parametrize(("label", "kind", "moment", "fault"), SOME)
def test_what_strikes_before_commit_leaves_old_and_the_tool_says_so(
    label: str, kind: str, moment: Moment, fault: Fault, site: Site, counted: Census, tmp_path: Path
) -> None:
    keeps_its_promise(site, counted, of_kind(counted, label, kind), moment, fault, tmp_path)


@pytest.mark.parametrize(
    ("offset", "moment", "fault"),
    [pytest.param(*what, marks=() if what is SWALLOWED[0] else pytest.mark.faults) for what in SWALLOWED],
)
def test_what_is_swallowed_about_commit_leaves_old_or_new_and_the_tool_says_which(
    offset: int, moment: Moment, fault: Fault, site: Site, counted: Census, tmp_path: Path
) -> None:
    message = counted.migration[counted.migration.index(counted.commit) + offset]
    keeps_its_promise(site, counted, message, moment, fault, tmp_path)
