"""The monitor's document lists what the code has: every rule, every figure, every metric; and each figure has its words."""

from __future__ import annotations

import ast
import json
import re
import runpy
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lawsker_db.monitor import watching
from lawsker_db.monitor.figures import KINDS, amount_text, bytes_text, seconds_text
from lawsker_db.monitor.problem import WARNING, Problem
from lawsker_db.monitor.report_page import CHARTS, MonitoringReport, render_page
from lawsker_db.monitor.watching import Span, Summary
from lawsker_db.phrases import CHINESE, ENGLISH

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENT = (CHECKOUT / "docs/monitoring.md").read_text()
MONITOR = CHECKOUT / "src/lawsker_db/monitor"


def listed(heading: str) -> set[str]:
    """The first cells of the table below a heading."""
    body = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", body, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"\w+", cell)}


def calls(module: str) -> Iterator[ast.Call]:
    tree = ast.parse((MONITOR / f"{module}.py").read_text())
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def names(call: ast.Call) -> Iterator[str]:
    """The texts that a call has for a code: by keyword, or among its arguments."""
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "code")]
    yield from (str(one.value) for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_the_page_heads_what_was_found_of_a_problem_as_such_in_both_languages() -> None:
    at = datetime(2026, 7, 1, tzinfo=UTC)
    seen = Span(problem=Problem(code="deadlocks", severity=WARNING, subject="x", text="words", hint="x"),
                first_at=at, last_at=at, over=True)  # fmt: skip
    summary = Summary(target="x", began_at=at, ended_at=at + timedelta(minutes=1), looks=2, unreachable=0, away_s=0.0,
                      figures=(), spans=(seen,))  # fmt: skip
    report = MonitoringReport(summary=summary, points=(), gaps=(), last=None)
    assert ">What was found</th>" in render_page(report, ENGLISH, "0")
    assert ">情况说明</th>" in render_page(report, CHINESE, "0")


def test_every_rule_is_in_the_document() -> None:
    found = {
        name
        for module in ("rules", "rules_of_sessions", "rules_of_storage")
        for call in calls(module)
        if isinstance(call.func, ast.Name) and call.func.id in ("Problem", "_of_transaction")
        for name in names(call)
        if re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
    }
    assert found == listed("Problems")


def test_every_metric_is_in_the_document() -> None:
    found = {
        str(call.args[0].value)
        for call in calls("metrics")
        if isinstance(call.func, ast.Name) and call.func.id in ("_one", "_many")
        if isinstance(call.args[0], ast.Constant)
    }
    assert found == listed("Metrics")


def test_every_figure_has_words_a_chart_and_its_place_in_the_document() -> None:
    tree = ast.parse((MONITOR / "watching.py").read_text())
    function = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == watching.figures_of.__name__
    )
    found = {
        str(node.elts[0].value)
        for node in ast.walk(function)
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant)
    }
    assert found == set(KINDS) == listed("Figures of trends, summary and report")
    assert found == {name for _heading, several in CHARTS for name in several}


def test_the_schema_of_the_report_is_what_its_values_say() -> None:
    made = runpy.run_path(str(CHECKOUT / "scripts/report_schema.py"))["monitor_schema"]()
    written = json.loads((MONITOR / "report_schema.json").read_text())
    assert made == written, "python scripts/report_schema.py writes it anew"


def test_amounts_are_said_with_their_unit() -> None:
    assert amount_text("cache_hits", 0.987) == "98.7%"
    assert amount_text("wal_bytes_per_s", 1.5e6) == "1.5 MB/s"
    assert amount_text("sessions", 12.0) == "12"
    assert [bytes_text(size) for size in (0, 999, 1000, 2.5e9, 3e12)] == ["0 B", "999 B", "1.0 kB", "2.5 GB", "3.0 TB"]
    seconds = (0, 0.0004, 3, 3.21, 48, 125, 3840, 300_000)
    assert [seconds_text(one) for one in seconds] == [
        "0 s", "0.4 ms", "3 s", "3.2 s", "48 s", "2:05 min", "1:04 h", "3.5 d",
    ]  # fmt: skip
