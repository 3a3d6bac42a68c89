"""The page of a watch in a real headless Chromium: nothing asked for, nothing complained of, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browser import Browser, browser

from lawsker_db.monitor.problem import ERROR, WARNING, Problem
from lawsker_db.monitor.report_page import MonitoringReport, render_page
from lawsker_db.monitor.trends import Gap, Point
from lawsker_db.monitor.watching import Figure, Span, Summary
from lawsker_db.phrases import CHINESE, ENGLISH, LANGUAGES, Phrase

pytestmark = pytest.mark.browser
DESK, PHONE = 1280, 360
BEGAN = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>" + "x" * 90 + "\u202e"
WIDER = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip, thead')
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName)"""


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def a_watch() -> MonitoringReport:
    """Ten minutes with every figure, an absence in the middle, and problems under names that somebody else has chosen."""
    figures = (
        "sessions",
        "sessions_active",
        "waiting",
        "transactions_per_s",
        "cache_hits",
        "database_bytes",
        "dead_rows",
    )
    points = tuple(
        Point(
            first_at=at(number),
            last_at=at(number),
            looks=1,
            reachable=not 200 < number < 260,
            figures={} if 200 < number < 260 else {name: float(number % 7) / 7 for name in figures},
        )
        for number in range(0, 600, 2)
    )
    spans = tuple(
        Span(
            problem=Problem(
                code=code,
                severity=severity,
                subject=HOSTILE,
                text=Phrase("{name} is wrong", name=HOSTILE),
                hint=HOSTILE,
            ),
            first_at=at(100),
            last_at=at(300),
            over=over,
        )
        for code, severity, over in (("lock_queue", WARNING, True), ("synchronous_standby_missing", ERROR, False))
    )
    summary = Summary(
        target=HOSTILE,
        began_at=BEGAN,
        ended_at=at(600),
        looks=300,
        unreachable=29,
        away_s=58.0,
        figures=tuple(Figure(name=name, looks=270, least=0.0, mean=0.4, most=0.9) for name in figures),
        spans=spans,
    )
    gaps = (Gap(first_at=at(202), last_at=at(260), over=True, why=HOSTILE),)
    return MonitoringReport(summary=summary, points=points, gaps=gaps, last=None)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_the_page_of_a_watch_asks_for_nothing_and_fits(
    language: str, width: int, scheme: str, tab: Browser, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_page(a_watch(), language, "0"), encoding="utf-8")
    tab.open(page, width=width, scheme=scheme)
    assert tab.complaints() == []
    assert tab.requests() == [page.absolute().as_uri()]
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value(WIDER) == []
    assert tab.value("document.documentElement.lang") == {ENGLISH: "en", CHINESE: "zh-Hans"}[language]
    assert tab.value("document.scripts.length + document.images.length + document.forms.length") == 0
    assert (
        tab.value("document.querySelectorAll('svg.chart').length") == 7
    )  # six with figures, and the problems over time


def test_a_time_without_an_answer_is_a_gap_in_the_line(tab: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render_page(a_watch(), ENGLISH, "0"), encoding="utf-8")
    tab.open(page, width=DESK)
    ends = tab.value(
        """[...document.querySelectorAll('svg[aria-label="Dead rows"] polyline')]
        .map(e => { const r = e.getBoundingClientRect(); return [r.left, r.right]; })"""
    )
    frame = tab.value("document.querySelector('svg[aria-label=\"Dead rows\"]').getBoundingClientRect().width")
    (_, left), (right, _) = ends
    assert right - left > 0.08 * frame  # of 600 s it was away for 60
