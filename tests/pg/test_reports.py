"""Real reports of every kind: what their schema says, read back as they are, with what each has to tell."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from copies import Server
from jsonschema import Draft202012Validator
from reported import KINDS, make_reports

from lawsker_db.evidence import Direction, Verdict
from lawsker_db.phrases import LANGUAGES
from lawsker_db.record.document import as_document, read_report
from lawsker_db.record.junit import render_junit
from lawsker_db.record.report import render_html

SCHEMA = Path(__file__).parents[2] / "src/lawsker_db/record/report_schema.json"
VERDICTS = {
    "rehearsed": Verdict.REHEARSED,
    "no go": Verdict.REFUSED,
    "rolled back": Verdict.ROLLED_BACK,
    "done": Verdict.DONE,
    "dry run": Verdict.DRY_RUN,
    "rollback": Verdict.DONE,
    "restore": Verdict.DONE,
}
REAL = tuple(kind for kind in KINDS if kind in VERDICTS)


@pytest.fixture(scope="module")
def runs(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folder of a run of each kind."""
    return make_reports(server, adopted_template, tmp_path_factory.mktemp("reports"))


@pytest.mark.parametrize("kind", REAL)
def test_a_real_report_is_what_its_schema_says_and_is_read_back_whole(kind: str, runs: dict[str, Path]) -> None:
    document = json.loads((runs[kind] / "report.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    assert document.keys() == schema["properties"].keys()
    report = read_report(runs[kind])
    assert report.verdict is VERDICTS[kind]
    assert as_document(report) == document
    assert render_html(report, "en") == (runs[kind] / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", REAL)
def test_the_checks_of_a_real_report_are_junit_xml(kind: str, runs: dict[str, Path]) -> None:
    report = read_report(runs[kind])
    root = ET.fromstring(render_junit(report.checks, suite=report.target))  # noqa: S314 - made here
    assert len(list(root.iter("testcase"))) == len(report.checks)
    assert len(list(root.iter("failure"))) == sum(check.fails for check in report.checks)


def test_an_upgrade_tells_what_was_promised_beside_what_was_found(runs: dict[str, Path]) -> None:
    report = read_report(runs["done"])
    counts = {one.kind: (one.promised, one.found) for one in report.promised}
    assert counts["table"] == (1, 1)
    assert counts["column"] == (3, 3)
    assert counts["seed rows"] == (1, 1)
    assert not [label for one in report.promised for label in one.deviations]
    users, ledger = report.changes
    assert [column.name for column in users.after if column not in (users.before or ())] == ["shoe_size"]
    assert users.before is not None
    assert len(users.before) > 5
    assert (ledger.table, ledger.before, ledger.references[0].table) == ("ledger", (), "users")
    sizes = {one.table: (one.before_bytes, one.after_bytes) for one in report.sizes}
    assert sizes["ledger"][0] == 0
    assert (sizes["ledger"][1] or 0) > 0
    assert (sizes[""][0] or 0) > 1e6


def test_a_refused_upgrade_tells_what_was_there_unpromised(runs: dict[str, Path]) -> None:
    report = read_report(runs["rolled back"])
    page = render_html(report, "en")
    assert "index public.&quot;&lt;b&gt;&amp;extra&quot;: present, expected absent" in page
    assert "<b>&amp;extra" not in page
    assert [one.found == one.promised for one in report.promised if one.kind != "seed rows"]


def test_a_rehearsal_shows_the_tables_as_they_would_become(runs: dict[str, Path]) -> None:
    report = read_report(runs["rehearsed"])
    assert {one.found for one in report.promised} == {None}
    assert report.changes[0].before
    assert "there all of it was found as promised" in render_html(report, "en")


def test_a_rollback_tells_that_what_was_promised_is_gone(runs: dict[str, Path]) -> None:
    report = read_report(runs["rollback"])
    assert report.direction is Direction.DOWNGRADE
    assert {one.kind: one.found == one.promised for one in report.promised} == {
        one.kind: True for one in report.promised
    }
    users, ledger = report.changes
    assert "shoe_size" in {column.name for column in users.before or ()} - {column.name for column in users.after}
    assert (ledger.table, ledger.after) == ("ledger", ())


def test_a_restore_tells_the_rows_that_it_does_not_bring_back(runs: dict[str, Path]) -> None:
    report = read_report(runs["restore"])
    assert report.rescued
    assert sum(one.inserted + one.changed for one in report.rescued) >= 1
    for language in LANGUAGES:
        assert 'id="rescue"' in render_html(report, language)
