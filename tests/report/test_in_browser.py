"""The page of a report in a real headless Chromium: nothing asked for, nothing complained of, nothing cut off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser
from copies import Server
from reported import KINDS, make_reports

from lawsker_db.phrases import CHINESE, ENGLISH, LANGUAGES
from lawsker_db.record.document import read_report
from lawsker_db.record.report import render_html

pytestmark = pytest.mark.browser
DESK, PHONE = 1280, 360
# What is wider than the page, but for what scrolls by itself; rounding is no overflow.
WIDER = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, .skip, details:not([open])')
    && !e.closest('thead') && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.tagName + ' ' + (e.textContent || '').slice(0, 40))"""
# Words of charts that run over their frame or into each other on their line.
CUT = """[...document.querySelectorAll('svg.chart:not(.diagram)')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect();
        return r.left < frame.left - 1 || r.right > frame.right + 1; }).map(t => t.textContent); })"""
HIDDEN = """[...document.querySelectorAll('details:not(.same)')]
    .filter(e => e.lastElementChild.offsetHeight === 0).length"""
FOCUSED = """(() => { const e = document.activeElement;
    return e === document.body ? '' : e.tagName + '#' + Math.round(e.getBoundingClientRect().top + scrollY)
    + ' ' + (e.getAttribute('href') || ''); })()"""


@pytest.fixture(scope="module")
def pages(
    server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], Path]:
    """A page of each kind in each language."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind, run in make_reports(server, adopted_template, tmp_path_factory.mktemp("reports")).items():
        for language in LANGUAGES:
            found[kind, language] = folder / f"{kind.replace(' ', '-')}.{language}.html"
            found[kind, language].write_text(render_html(read_report(run), language), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (DESK, "dark"), (PHONE, "light")])
def test_a_page_asks_for_nothing_complains_of_nothing_and_fits(
    kind: str, language: str, width: int, scheme: str, pages: dict[tuple[str, str], Path], tab: Browser
) -> None:
    page = pages[kind, language]
    tab.open(page, width=width, scheme=scheme)
    assert tab.complaints() == []
    assert tab.requests() == [page.absolute().as_uri()]
    assert tab.value("document.documentElement.scrollWidth") <= width
    assert tab.value(WIDER) == []
    assert tab.value(CUT) == []
    assert tab.value("document.documentElement.lang") == {ENGLISH: "en", CHINESE: "zh-Hans"}[language]
    assert tab.value("document.scripts.length + document.images.length + document.forms.length") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_style_is_let_in_by_its_hash(kind: str, pages: dict[tuple[str, str], Path], tab: Browser) -> None:
    tab.open(pages[kind, ENGLISH])
    assert tab.value("getComputedStyle(document.querySelector('.verdict')).borderLeftStyle") == "solid"
    assert tab.value("document.styleSheets.length") == 1


def test_nothing_else_would_be_let_in(pages: dict[tuple[str, str], Path], tab: Browser) -> None:
    """A page in which somebody has found a way to put markup still runs and loads nothing."""
    page = pages["done", ENGLISH].with_name("broken.html")
    hit = "document.title='hit'"
    evil = f"<script>{hit}</script><img src='data:,x' onerror=\"{hit}\"><style>h1{{color:red}}</style>"
    page.write_text(pages["done", ENGLISH].read_text(encoding="utf-8").replace("<h1>", f"{evil}<h1>"), encoding="utf-8")
    tab.open(page)
    assert "hit" not in tab.value("document.title")
    assert tab.value("getComputedStyle(document.querySelector('h1')).color") != "rgb(255, 0, 0)"
    assert len(tab.complaints()) >= 3


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("kind", ["done", "rolled back", "restore"])
def test_the_keyboard_goes_down_the_page_as_one_reads_it(
    kind: str, width: int, pages: dict[tuple[str, str], Path], tab: Browser
) -> None:
    tab.open(pages[kind, ENGLISH], width=width)
    places: list[str] = []
    for _ in range(200):
        tab.press("Tab")
        at = tab.value(FOCUSED)
        if not at or at in places:
            break
        places.append(at)
    assert places[0].endswith("#content")
    assert len(places) == tab.value("document.querySelectorAll('a, summary, [tabindex=\"0\"]').length")
    heights = [int(re.findall(r"#(\d+)", place)[0]) for place in places[1:]]
    assert heights == sorted(heights)


def test_whoever_skips_the_links_is_at_the_content(pages: dict[tuple[str, str], Path], tab: Browser) -> None:
    tab.open(pages["done", ENGLISH])
    tab.press("Tab")
    tab.press("Enter")
    assert tab.value("location.hash") == "#content"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_in_print_all_is_shown_and_nothing_is_cut_off(
    kind: str, language: str, pages: dict[tuple[str, str], Path], tab: Browser
) -> None:
    a4 = round((210 - 2 * 13) / 25.4 * 96)  # CSS pixels between the margins of the style
    tab.open(pages[kind, language], width=a4)
    tab.ask("Emulation.setEmulatedMedia", media="print")
    try:
        assert tab.value("document.documentElement.scrollWidth") <= a4
        assert tab.value(WIDER.replace(".scroll, ", "")) == []
        assert tab.value(HIDDEN) == 0
        printed = tab.printed()
    finally:
        tab.ask("Emulation.setEmulatedMedia", media="")
    assert printed.startswith(b"%PDF")
    sizes = {
        tuple(round(float(part)) for part in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", printed)
    }
    assert sizes == {(0, 0, 595, 842)}  # points: A4
