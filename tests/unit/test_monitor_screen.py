"""The live view fits whatever terminal it is on, to the cell, and keeps what matters; trends take bounded room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from lawsker_db.cli.cells import LEVELS, bar, cut, folded, sparkline
from lawsker_db.cli.monitor_screen import View, screen
from lawsker_db.evidence import Server
from lawsker_db.monitor.problem import ERROR, WARNING, Problem
from lawsker_db.monitor.running import RunView
from lawsker_db.monitor.sample import NotSeen, Rates, Sample
from lawsker_db.monitor.trends import GAPS, POINTS, Trends
from lawsker_db.monitor.watching import Look
from lawsker_db.phrases import CHINESE, ENGLISH, LANGUAGES, Phrase, in_language, speak
from lawsker_db.postgres.activity import OpenTransaction, Sessions, Sight, Wait
from lawsker_db.postgres.blockers import Blocker
from lawsker_db.postgres.progressing import Progress
from lawsker_db.postgres.replication import Replication, Standby
from lawsker_db.postgres.storage import Disk, Relations, TableSize, Upkeep
from lawsker_db.record.markup import visible

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
NAMES = st.text(max_size=60) | st.sampled_from(["名字" * 20, "[red]x[/red]", "\x1b[2J", "a" * 90, ""])


@pytest.fixture(autouse=True)
def _in_english() -> Iterator[None]:
    yield
    speak(ENGLISH)


def session(pid: int, name: str) -> Blocker:
    return Blocker(pid=pid, user="postgres", application=name, state="active", since=NOW)


def waiting(waiter: Blocker, *blockers: Blocker) -> Wait:
    return Wait(waiter=waiter, wanted="ShareLock on users", since=NOW, waited_s=12.0, blockers=blockers)


def a_look(name: str, *, problems: int = 3, reachable: bool = True, at: datetime = NOW) -> Look:
    """A look at a database where everything goes on at once, under a name that somebody else has chosen."""
    first, second, third = (session(pid, name) for pid in (101, 102, 103))
    sample = Sample(
        at=at,
        target=f"user@host:5432/{name}",
        reachable=reachable,
        why="it is gone" if not reachable else "",
        away_s=None if reachable else 7.0,
        latency_s=0.0004,
        server=Server(
            version=150018,
            system_identifier="1",
            database=name,
            database_oid=1,
            user="u",
            session_user="u",
            superuser=False,
            in_recovery=False,
            encoding="UTF8",
            data_bytes=1,
            address="host",
        ),
        sight=Sight(user="u", stats=True, settings=True),
        sessions=Sessions(by_state={"active": 3, "idle in transaction": 1}, everywhere=9, limit=10, reserved=3),
        transactions=(
            OpenTransaction(
                pid=101, gid="", user="u", application=name, state="active", since=NOW, age_s=999.0, idle_s=None
            ),
        ),
        waits=(waiting(second, first), waiting(third, second, first)),
        database_bytes=123_456_789,
        relations=Relations(tables=3, indexes=4, index_bytes=1, largest=(TableSize(name=name, bytes=12, rows=1),)),
        upkeep=Upkeep(
            xid_age=1,
            xid_limit=200_000_000,
            multixact_age=1,
            multixact_limit=1,
            autovacuum=True,
            dead=5,
            autovacuumed=None,
            worst=(),
        ),
        disks=(Disk(folder=name, total=100, free=1),),
        progress=(
            Progress(
                pid=1, command="CREATE INDEX", relation=name, phase="x", done=1, total=2, unit="blocks", running_s=1
            ),
        ),
        run=RunView(
            run_id="20261129T115900Z-013-abc",
            folder="f",
            alive=True,
            told=False,
            here=True,
            phase="backup",
            doing=name,
            since=NOW,
            heard_at=NOW,
            step=2,
            steps=7,
            estimate_s=9.0,
            left_s=4.0,
            bytes_done=5,
            bytes_total=9,
        ),
        not_seen=(NotSeen(what=Phrase("vacuum"), why=name, hint=f"GRANT {name}"),),
    )
    found = tuple(
        Problem(
            code="lock_queue",
            severity=ERROR if number % 2 else WARNING,
            subject=str(number),
            text=Phrase("{who} waits", who=name or "x"),
            hint=f"SELECT pg_terminate_backend({number})",
        )
        for number in range(problems)
    )
    return Look(sample=sample, rates=Rates(transactions_per_s=12.0), problems=found)


def lines_of(
    look: Look | None, width: int, height: int, *, ascii_only: bool = False, trends: Trends | None = None
) -> list[str]:
    view = View(target="user@host:5432/db", interval_s=2.0, trends=trends or Trends())
    if look is not None:
        view.trends.note(look)
        view.hear(look, 0.0)
    shown = screen(view, width=width, height=height, now=NOW, monotonic=1.0, ascii_only=ascii_only)
    return shown.plain.split("\n")


@given(NAMES, st.integers(8, 200), st.integers(3, 60), st.integers(0, 30), st.sampled_from(LANGUAGES), st.booleans())
def test_nothing_is_wider_or_higher_than_the_terminal(
    name: str, width: int, height: int, problems: int, language: str, reachable: bool
) -> None:
    speak(language)
    lines = lines_of(a_look(name, problems=problems, reachable=reachable), width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert all(visible(line) == line for line in lines)


@pytest.mark.parametrize("size", [(100, 30), (80, 24), (40, 20), (20, 10)])
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_to_be_typed_about_the_gravest_problem_is_never_cut(size: tuple[int, int], language: str) -> None:
    speak(language)
    look = a_look("x", problems=1)
    shown = "".join(line.strip() for line in lines_of(look, *size)).replace(" ", "")
    assert "SELECTpg_terminate_backend(0)" in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_of_several_problems_on_the_smallest_terminal_the_gravest_can_be_typed_and_the_others_are_counted(
    language: str,
) -> None:
    speak(language)
    lines = lines_of(a_look("x", problems=3), 20, 10)
    assert "SELECTpg_terminate_backend(1)" in "".join("".join(lines).split())  # it alone is an error
    assert any(line.startswith("…") and " 2 " in line for line in lines), lines


def test_of_many_problems_each_that_is_shown_can_be_typed_whole() -> None:
    lines = lines_of(a_look("x", problems=20), 40, 20)
    shown = "".join("".join(lines).split())
    seen = [number for number in range(20) if f"backend({number})" in shown]
    assert len(seen) > 1
    assert any(f"{20 - len(seen)} more problems" in line for line in lines), lines
    assert shown.count("Next:") == len(seen)


@pytest.mark.parametrize("width", [100, 40, 20])
@pytest.mark.parametrize("problems", [0, 20])
def test_a_terminal_without_unicode_is_drawn_in_ascii_and_overruns_nowhere(width: int, problems: int) -> None:
    for look in (a_look("plain", problems=problems), a_look("plain", problems=problems, reachable=False), None):
        for height in (10, 200):
            lines = lines_of(look, width, height, ascii_only=True)
            assert [line for line in lines if not line.isascii() or len(line) > width] == []
    assert all(line.isascii() for line in lines_of(None, 8, 10, ascii_only=True))


def test_an_estimate_of_less_than_a_second_is_not_told() -> None:
    look = a_look("x", problems=0)
    assert look.sample.run is not None

    def told(**estimates: float | None) -> str:
        view = replace(look.sample.run, **estimates)  # type: ignore[type-var]
        return "\n".join(lines_of(replace(look, sample=replace(look.sample, run=view)), 100, 40))

    assert "estimate" not in told(estimate_s=0.3, left_s=0.0, run_left_s=0.3)
    assert "estimate" not in told(estimate_s=0.3, left_s=0.2, run_left_s=0.2)
    assert "longer than the estimate of 3 s" in told(estimate_s=3.0, left_s=0.0)
    assert "estimate: 2 s left" in told(estimate_s=3.0, left_s=2.0)


def test_a_trend_stands_beside_a_standby_or_a_disk_only_where_it_is_the_only_one() -> None:
    look, trends = a_look("x", problems=0), Trends()
    for number in range(20):
        trends.note(replace(look, sample=replace(look.sample, at=NOW + timedelta(seconds=number))))

    def drawn(several: int) -> list[str]:
        disks = tuple(Disk(folder=str(number), total=100, free=1 + number) for number in range(several))
        standbys = tuple(
            Standby(
                application=f"copy{number}",
                address="h",
                state="streaming",
                sync_state="async",
                lag_bytes=number,
                lag_s=None,
            )
            for number in range(several)
        )
        copies = Replication(
            standbys=standbys,
            slots=(),
            synchronous="",
            segment_bytes=1,
            max_wal_bytes=100,
            behind_bytes=None,
            behind_s=None,
        )
        now = replace(look, sample=replace(look.sample, disks=disks, replication=copies))
        return [line for line in lines_of(now, 60, 200, trends=trends) if line.startswith(("copy", "Disk"))]

    assert [bool(set(line) & set(LEVELS)) for line in drawn(1)] == [True, True]
    assert [bool(set(line) & set(LEVELS)) for line in drawn(2)] == [False] * 4


def test_what_a_run_is_at_is_said_in_the_language_with_its_values() -> None:
    speak(CHINESE)
    look = a_look("x", problems=0)
    doing = Phrase("done in {duration_s:.1f} s", duration_s=2.0)
    assert look.sample.run is not None
    run = replace(look.sample.run, doing=doing)
    shown = "\n".join(lines_of(replace(look, sample=replace(look.sample, run=run)), 100, 40))
    assert in_language(doing, CHINESE) in shown
    assert doing not in shown


def test_errors_stand_first_and_the_newest_before_older_ones() -> None:
    trends = Trends()
    older = a_look("older", problems=1)
    trends.note(older)
    look = a_look("x", problems=0, at=NOW + timedelta(seconds=5))
    made = [
        Problem(code="c", severity=severity, subject=subject, text=Phrase("{who}!", who=subject), hint="do it")
        for severity, subject in ((WARNING, "0"), (WARNING, "newer"), (ERROR, "error"))
    ]
    made[0] = replace(older.problems[0], text=Phrase("older!"))
    shown = "\n".join(lines_of(replace(look, problems=tuple(made)), 100, 60, trends=trends))
    assert shown.index("error!") < shown.index("newer!") < shown.index("older!")


def test_who_blocks_stands_above_who_waits_and_a_circle_ends() -> None:
    shown = lines_of(a_look("app", problems=0), 100, 60)
    places = [
        next(n for n, line in enumerate(shown) if f"pid {pid}" in line and "app" in line) for pid in (101, 102, 103)
    ]
    assert places == sorted(places)
    first, second = session(1, "a"), session(2, "b")
    look = a_look("x", problems=0)
    circle = replace(look.sample, waits=(waiting(first, second), waiting(second, first)))
    assert sum("waits 12 s" in line for line in lines_of(replace(look, sample=circle), 100, 60)) == 2


def test_before_the_first_look_the_view_says_that_it_connects() -> None:
    assert any("connecting" in line for line in lines_of(None, 80, 24))


def test_values_that_were_not_seen_are_said_so_and_are_no_zero() -> None:
    bare = Sample(at=NOW, target="t", reachable=True, sight=Sight(user="u", stats=False, settings=False))
    shown = lines_of(Look(sample=bare, rates=Rates(), problems=()), 120, 60)
    labels = ("Connections", "Longest transaction", "Waiting for locks", "Size", "Tables", "Indexes", "WAL", "Disk")
    for label in labels:
        assert any(label in line and "not seen" in line.partition(label)[2][:30] for line in shown), label
    assert not any(" 0 " in line for line in shown)


# ---- trends ----------------------------------------------------------------------------------------------------------


def test_trends_of_a_long_watch_take_bounded_room_and_keep_the_whole_time() -> None:
    trends = Trends()
    looks = 20 * POINTS
    for number in range(looks):
        look = a_look("x", problems=0, reachable=number != 17, at=NOW + timedelta(seconds=number))
        trends.note(look)
    assert len(trends.points) <= POINTS
    assert sum(point.looks for point in trends.points) == looks
    assert (trends.points[0].first_at, trends.points[-1].last_at) == (NOW, NOW + timedelta(seconds=looks - 1))
    assert [point.reachable for point in trends.points].count(False) == 1  # a short absence is not lost among the looks
    assert [gap.over for gap in trends.gaps] == [True]


def test_gaps_of_a_server_that_flaps_take_bounded_room() -> None:
    trends = Trends()
    for number in range(3 * GAPS):
        trends.note(a_look("x", problems=0, reachable=bool(number % 2), at=NOW + timedelta(seconds=number)))
    assert len(trends.gaps) == GAPS


def test_a_problem_that_goes_on_keeps_its_beginning_while_the_database_is_away() -> None:
    trends = Trends()
    trends.note(a_look("x", problems=1))
    trends.note(a_look("x", problems=0, reachable=False, at=NOW + timedelta(seconds=1)))
    trends.note(a_look("x", problems=1, at=NOW + timedelta(seconds=2)))
    assert trends.open_since == {("lock_queue", "0"): NOW}
    trends.note(a_look("x", problems=0, at=NOW + timedelta(seconds=3)))
    assert trends.open_since == {}


# ---- cells -----------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(2, 60), st.integers(0, 8))
def test_folded_lines_fit_and_lose_nothing_but_blanks(text: str, width: int, hang: int) -> None:
    text = "".join(char for char in text if char.isprintable() and cell_len(char) > 0)
    lines = folded(text, width, hang=hang)
    assert max(map(cell_len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(st.text(alphabet="ab中文 ", max_size=30), st.integers(1, 20))
def test_what_is_cut_fits(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) <= width


def test_a_trend_is_a_cell_a_value_and_a_gap_where_there_is_none() -> None:
    assert sparkline([0, 1, None, 2], low=0.0, ascii_only=False) == "▁▅·█"
    assert sparkline([5, 5], low=0.0, ascii_only=False) == "██"
    assert sparkline([0, 0], low=0.0, ascii_only=False) == "▁▁"
    assert sparkline([None, None], low=0.0, ascii_only=False) == ""
    assert bar(0.5, 4, ascii_only=True) == "##--"


def test_the_view_is_chinese_where_chinese_is_spoken() -> None:
    speak(CHINESE)
    shown = "\n".join(lines_of(a_look("x"), 100, 60))
    assert "谁在等谁" in shown
    assert "磁盘" in shown
