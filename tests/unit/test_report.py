"""The report of a run: read back as written, said in any language from its file alone, proof against the names in it."""

from __future__ import annotations

import json
import re
import runpy
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from report_values import anything, everywhere

from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, RunReport, TableContent, Verdict
from lawsker_db.phrases import CHINESE, ENGLISH, LANGUAGES, Phrase, clause, in_language, joined
from lawsker_db.record.document import REPORT_VERSION, as_bytes, as_document, from_document, read_report
from lawsker_db.record.junit import render_junit
from lawsker_db.record.markup import UNSEEN
from lawsker_db.record.report import render_html, write_report

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "src/lawsker_db/record/report_schema.json").read_text(encoding="utf-8"))
ATTACK = "</script></style></svg><img src=x onerror=alert(1)>'\"&\u202e\n\x1b]0;${x}{0}<!--]]>"

# ---- reports that nobody thought of ----------------------------------------------------------------------------------

names = st.one_of(st.text(max_size=12), st.sampled_from((ATTACK, "", "public.users", "律师", "\ud800")))
values = st.one_of(names, st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False))
phrases = st.recursive(
    st.one_of(
        st.builds(lambda rows: Phrase("{count} columns", count=rows), st.integers(0, 10**6)),
        st.builds(lambda path, why: Phrase("{path} cannot be written: {why}.", path=path, why=why), names, names),
        st.builds(Phrase, names),
        st.builds(lambda took: Phrase("{duration_s:.1f} s", duration_s=took), st.floats(0, 1e6)),
    ),
    lambda inner: st.builds(joined, st.lists(st.one_of(inner, names), min_size=1, max_size=3), st.just("; ")),
    max_leaves=4,
)
texts = st.one_of(names, phrases)
reports = anything(RunReport, texts)


@settings(max_examples=60, deadline=None)
@given(reports)
def test_a_report_is_read_back_and_said_in_every_language_from_its_file_alone(report: RunReport) -> None:
    again = from_document(json.loads(as_bytes(report)))
    assert again == report
    for language in LANGUAGES:
        assert render_html(again, language) == render_html(report, language)


@settings(max_examples=60, deadline=None)
@given(reports)
def test_every_report_is_what_its_schema_says(report: RunReport) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(as_bytes(report)))


def test_a_sentence_within_another_is_read_back_without_its_full_stop() -> None:
    told = Phrase("It cannot be told: {reason}.", reason=clause(Phrase("The server is away.")))
    report = replace(everywhere("x"), message=told)
    document = json.loads(as_bytes(report))
    Draft202012Validator(SCHEMA).validate(document)
    read = from_document(document)
    assert read.message == "It cannot be told: The server is away."
    assert in_language(read.message, CHINESE) == in_language(told, CHINESE)


def test_the_published_schema_is_the_one_of_the_values() -> None:
    made = runpy.run_path(str(ROOT / "scripts/report_schema.py"))["schema"]()
    assert made == SCHEMA, "python scripts/report_schema.py writes it anew"
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == f"urn:lawsker-db:report:{REPORT_VERSION}"


# ---- names are attacker text -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with their attributes in order, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments += 1


ALLOWED = frozenset(
    re.findall(
        "[a-z0-9]+",
        "html head meta title style body a header div h1 p b dl dt dd nav ul li main section h2 h3 svg desc text rect line"
        " path circle details summary table caption thead tbody tr th td footer",
    )
)
# Attributes whose values are ours alone; the others hold text, or numbers.
OF_OURS = {"class": re.compile(r"[a-z0-9 ]*"), "id": re.compile(r"[a-z-]*"), "href": re.compile(r"#[a-z-]+")}


@settings(max_examples=80, deadline=None)
@given(reports, st.sampled_from(LANGUAGES))
def test_nothing_out_of_a_report_becomes_markup(report: RunReport, language: str) -> None:
    page = render_html(report, language)
    found = Page(page)
    assert {tag for tag, _ in found.tags} <= ALLOWED
    assert found.comments == 0
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "style", "action", "formaction", "xlink:href")
            if name in OF_OURS:
                assert OF_OURS[name].fullmatch(value or ""), (tag, name, value)
    unseen = [char for char in page if unicodedata.category(char) in UNSEEN and char != "\n"]
    assert unseen == []


def test_a_hostile_name_shows_whole_and_as_itself_everywhere() -> None:
    report = everywhere(ATTACK)
    found = Page(render_html(report, ENGLISH))
    shown = ATTACK.replace("\u202e", "\\u202e").replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert found.text.count(shown) > 20
    assert found.text.count(ATTACK) == 0


@given(reports)
@settings(max_examples=30, deadline=None)
def test_junit_of_any_report_is_xml_and_its_counts_are_true(report: RunReport) -> None:
    root = ET.fromstring(render_junit(report.checks, suite=report.target))  # noqa: S314 - made here
    cases = list(root.iter("testcase"))
    assert root.tag == "testsuites"
    assert int(root.attrib["tests"]) == len(cases) == len(report.checks)
    assert int(root.attrib["failures"]) == len(list(root.iter("failure"))) == sum(one.fails for one in report.checks)
    assert int(root.attrib["skipped"]) == len(list(root.iter("skipped")))
    for suite in root.iter("testsuite"):
        assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
        assert all(case.attrib["name"] is not None and case.attrib["classname"] for case in suite.iter("testcase"))


# ---- how a page is built ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_headings_descend_by_one_and_tables_name_their_columns_and_rows(language: str) -> None:
    found = Page(render_html(everywhere("x"), language))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(attributes.get("scope") in ("row", "col") for tag, attributes in found.tags if tag == "th")
    pictures = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert pictures
    assert all(picture.get("role") == "img" and picture.get("aria-label") for picture in pictures)
    targets = {attributes.get("id") for _, attributes in found.tags}
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links[0] == "#content"
    assert {str(link)[1:] for link in links} <= targets
    assert not [attributes for _, attributes in found.tags if int(attributes.get("tabindex") or 0) > 0]


def test_the_page_has_the_language_that_it_is_in() -> None:
    report = everywhere("x")
    english, chinese = (Page(render_html(report, language)) for language in (ENGLISH, CHINESE))
    assert english.tags[0] == ("html", {"lang": "en"})
    assert chinese.tags[0] == ("html", {"lang": "zh-Hans"})
    for words in ("Next:", "Contract against found", "What failed", "Skip to the content"):
        assert words in english.text
        assert words not in chinese.text


# ---- colours ---------------------------------------------------------------------------------------------------------

CSS = (ROOT / "src/lawsker_db/record/page.css").read_text(encoding="utf-8")
ON_TEXT = ("ink", "soft", "plain", "good", "warn", "bad")
GRAPHIC = ("plain", "second", "good", "warn", "bad")


def palettes() -> dict[str, dict[str, str]]:
    """The colours by name, by day, by night and in print."""
    found = [
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{3,6})", block)) for block in re.findall(r":root \{([^}]*)\}", CSS)
    ]
    return dict(zip(("day", "night", "print"), found, strict=True))


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", ["day", "night", "print"])
def test_every_text_has_contrast_enough_on_everything_that_it_stands_on(palette: str) -> None:
    colours = palettes()[palette]
    weak = {
        (text, ground): round(contrast(colours[text], colours[ground]), 2)
        for ground in ("paper", "panel", "mark", "track")
        for text in ON_TEXT
        if ground in ("paper", "panel") or text in ("ink", "good")
        if contrast(colours[text], colours[ground]) < 4.5
    }
    marks = {
        (mark, ground): round(contrast(colours[mark], colours[ground]), 2)
        for ground in ("panel", "track")
        for mark in GRAPHIC
        if contrast(colours[mark], colours[ground]) < 3
    }
    assert weak | marks == {}


# ---- reports of older versions, and damaged ones ---------------------------------------------------------------------


def written(tmp_path: Path, change: Any = None) -> Path:
    """A report in a folder, its document changed."""
    report = RunReport(
        run_id="r1",
        verdict=Verdict.DONE,
        target="postgres@db/lawsker",
        tool_version="0.1.0",
        started_at=datetime(2026, 11, 29, tzinfo=UTC),
        duration_s=1.0,
        direction=next(iter(get_type_hints(RunReport)["direction"])),
        from_revisions=("012",),
        to_revisions=("013",),
        steps=("013",),
        message=Phrase("{count} columns", count=3),
        checks=(Check(name="stamp", ok=True, expected="013", found="013"),),
    )
    assert write_report(report, tmp_path) == ""
    document = as_document(report)
    if change is not None:
        change(document)
        (tmp_path / "report.json").write_text(json.dumps(document))
    return tmp_path


def test_a_report_of_version_1_is_read_with_what_it_has(tmp_path: Path) -> None:
    def older(document: dict[str, Any]) -> None:
        document["report_version"] = 1
        for name in ("words", "promised", "changes", "sizes", "rescued"):
            del document[name]

    report = read_report(written(tmp_path, older))
    assert (report.verdict, report.promised, report.rescued) == (Verdict.DONE, (), None)
    assert "3 columns" in render_html(report, CHINESE)


def _set(*path: Any, to: Any) -> Any:
    def change(document: Any) -> None:
        *parents, last = path
        for part in parents:
            document = document[part]
        document[last] = to

    return change


def _without(name: str) -> Any:
    return lambda document: document.pop(name)


DAMAGES = {
    "newer": _set("report_version", to=99),
    "no version": _without("report_version"),
    "lacks a field": _without("target"),
    "verdict": _set("verdict", to="marvellous"),
    "number as text": _set("duration_s", to="1"),
    "text as number": _set("target", to=1),
    "truth as number": _set("checks", 0, "ok", to=1),
    "list as text": _set("steps", to="013"),
    "object as list": _set("checks", 0, to=[]),
    "time without zone": _set("started_at", to="2026-11-29T00:00:00"),
    "endless number": _set("duration_s", to=1e999),
    "huge number": _set("rows_made", to={"x": 10**30}),
    "words of another text": _set("words", 0, "values", "count", to=4),
    "words that reach into Python": _set("words", 0, "template", to="{count.__class__} columns"),
    "words a gigabyte wide": _set("words", 0, "template", to="{count:999999999} columns"),
    "words nowhere": _set("words", 0, "at", to="/nowhere/1"),
    "words that are none": _set("words", to=[1]),
}


@pytest.mark.parametrize("name", sorted(DAMAGES))
def test_a_damaged_report_is_refused_by_what_is_wrong_with_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read as a report") as refused:
        read_report(written(tmp_path, DAMAGES[name]))
    assert "Traceback" not in refused.value.message


@pytest.mark.parametrize(
    "content", [b"", b"[", b"null", b"[]", b"1", b"\xff\xfe", b"[" * 100_000, b'{"report_version": NaN}']
)
def test_what_is_no_report_at_all_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(Refused, match="cannot be read as a report"):
        read_report(tmp_path)


def test_a_report_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path) / "report.json"
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(Refused):
            read_report(tmp_path)


def test_a_report_too_large_or_behind_a_link_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path) / "report.json"
    with path.open("ab") as file:
        file.truncate(65 << 20)
    with pytest.raises(Refused, match="more than 64 MB"):
        read_report(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(Refused, match="no such file"):
        read_report(tmp_path)


def test_a_bug_in_the_page_is_a_note_and_the_rest_of_the_report_is_there(tmp_path: Path) -> None:
    wrong: Any = "long"
    told = write_report(replace(everywhere("x"), duration_s=wrong), tmp_path)
    assert told == "the report could not be written: a bug in lawsker-db: TypeError"
    assert json.loads((tmp_path / "report.json").read_bytes())["duration_s"] == "long"
    assert not (tmp_path / "report.html").exists()


def test_the_first_figures_count_what_stood_before_without_the_servers_own_catalogs() -> None:
    named = ("public.users", "public.users_id_seq", "pg_catalog.pg_largeobject")
    report = replace(everywhere("x"), contents=tuple(TableContent(table=name, proof="untouched") for name in named))
    page = render_html(report, ENGLISH)
    told = re.sub(r"<[^>]+>", " ", page.partition("Older tables and sequences")[2])
    assert told.split()[:2] == ["2", "unchanged"]


def test_a_run_that_was_over_at_once_has_a_page_too() -> None:
    report = replace(everywhere("x"), duration_s=0.0, timings=(), locks=())
    assert "<h1>" in render_html(replace(report, started_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0)), ENGLISH)
