"""Charts are well-formed markup whatever they are given, keep within their frame, and break where nothing was measured."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.record.charts import Bar, Line, Span, Tick, bars, even_ticks, line_chart, sparkline, timeline
from lawsker_db.record.markup import markup, shortened, visible, width
from lawsker_db.record.page import page

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80)
numbers = st.floats(0, 1e12)


def drawn(svg: str) -> ET.Element:
    """The chart as XML has it: what a browser reads in HTML is no stricter."""
    return ET.fromstring(svg)  # noqa: S314 - made here


def percents(root: ET.Element, name: str) -> list[float]:
    return [
        float(value.rstrip("%")) for element in root.iter() for value in [element.get(name, "")] if value.endswith("%")
    ]


@given(st.lists(st.tuples(texts, numbers, numbers, texts), min_size=1, max_size=8), texts, numbers)
def test_a_timeline_holds_every_span_within_its_frame(
    spans: list[tuple[str, float, float, str]], title: str, whole: float
) -> None:
    made = tuple(Span(label=label, start=start, length=length, value=value) for label, start, length, value in spans)
    root = drawn(timeline(made, whole=whole, ticks=even_ticks(whole, ("a", "b", "c")), title=title, description=title))
    rects = [rect for rect in root.iter("rect") if rect.get("class") == "plain"]
    assert len(rects) == len(spans)
    for rect in rects:
        x, length = (float(str(rect.get(name)).rstrip("%")) for name in ("x", "width"))
        assert x >= 0
        assert length > 0
        assert x + length <= 100.02


@given(st.lists(st.tuples(texts, st.none() | numbers, st.none() | numbers), max_size=8), texts)
def test_bars_share_one_scale(rows: list[tuple[str, float | None, float | None]], title: str) -> None:
    made = tuple(Bar(label=label, amount=amount, value=label, other=other) for label, amount, other in rows)
    root = drawn(bars(made, title=title, description=title))
    assert all(0 <= found <= 100 for found in percents(root, "width"))
    assert len([rect for rect in root.iter("rect") if rect.get("class") == "second"]) == sum(
        other is not None for _, _, other in rows
    )


@given(st.lists(st.none() | numbers, max_size=30), texts)
def test_a_line_is_broken_where_nothing_was_measured(amounts: list[float | None], title: str) -> None:
    root = drawn(sparkline(amounts, title=title))
    pieces = re.findall(r"x+", "".join("-" if amount is None else "x" for amount in amounts))
    assert len(list(root.iter("polyline"))) == len(pieces)


def test_a_line_chart_has_a_legend_only_for_several_lines() -> None:
    one = Line(label="active", places=(0, 1, 2), amounts=(1, None, 3))
    ends = {"low": Tick(at=0, label="0"), "high": Tick(at=3, label="3"), "ticks": even_ticks(2, ("a", "b"))}
    for lines, legends in (((one,), 0), ((one, one), 2)):
        root = drawn(line_chart(lines, whole=2, title="t", description="d", **ends))  # type: ignore[arg-type]
        assert len([text for text in root.iter("text") if text.text == "active"]) == legends
        assert [title.text for title in root.iter("title")] == ["t"]


@given(texts, st.integers(3, 60))
def test_a_shortened_text_takes_no_more_room_and_keeps_its_ends(text: str, room: int) -> None:
    short = shortened(text, room)
    assert width(short) <= max(room, width(visible(text)) if short == visible(text) else room)
    head, cut, tail = short.partition("…") if short != visible(text) else (short, "", "")
    assert visible(text).startswith(head)
    assert not cut or visible(text).endswith(tail)


@pytest.mark.parametrize("text", ["\u202egnp.exe", "a\nb", "\x1b[2J", "\u2066x\u2069", "\u00ad", "\u2028"])
def test_what_does_not_show_as_itself_becomes_an_escape_that_does(text: str) -> None:
    assert visible(text).isprintable()
    assert markup(text).isascii()


@given(texts)
def test_a_page_lets_nothing_in_but_its_style(title: str) -> None:
    found = page(title=title, body="<main id='content'></main>", language="zh")
    assert '<html lang="zh-Hans">' in found
    assert "unsafe" not in found
    assert "default-src 'none'; style-src 'sha256-" in found
