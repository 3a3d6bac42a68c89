"""`lawsker-db report` as an operator types it: any run, any form, and what is told where there is no report."""

from __future__ import annotations

import json
import os
import stat
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from command_line import Ended, run
from report_values import everywhere

from lawsker_db.evidence import Event, Phase
from lawsker_db.record.journal import Journal
from lawsker_db.record.report import write_report

IDS = ("20261101T000000Z-013-aaaaaa", "20261102T000000Z-013-bbbbbb", "20261103T000000Z-012-cccccc")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with three runs, each with a journal and a report."""
    for run_id in IDS:
        folder = tmp_path / "lawsker-runs" / run_id
        folder.mkdir(parents=True)
        assert write_report(everywhere(run_id), folder) == ""
        with Journal(folder) as journal:
            journal.write(Event(phase=Phase.BACKUP, name="begin", text="pg_dump into the folder"))
            journal.write(Event(phase=Phase.COMMIT, name="about to commit", text="everything proven; committing"))
    return tmp_path


def report(place: Path, *typed: str) -> Ended:
    return run(place, "report", *typed, url=None)


def test_a_run_is_found_by_id_part_folder_and_last(place: Path) -> None:
    for typed, found in (
        (IDS[0], IDS[0]),
        ("bbbb", IDS[1]),
        (f"lawsker-runs/{IDS[0]}", IDS[0]),
        (str(place / "lawsker-runs" / IDS[1]), IDS[1]),
        ("last", IDS[2]),
    ):
        ended = report(place, typed, "--format", "json")
        assert (ended.code, ended.document["run_id"]) == (0, found), ended.said
    assert report(place).code == 0


def test_an_unknown_run_is_refused_with_the_nearest(place: Path) -> None:
    ended = report(place, "20261102T000000Z-013-bbbbbx")
    assert ended.code == 2
    assert IDS[1] in ended.line("Next"), ended.said
    several = report(place, "000000Z-013")
    assert several.code == 2
    assert "is a part of 2 runs" in several.line("Failed")
    nowhere = report(place, "last", "--runs", "elsewhere")
    assert nowhere.code == 2
    assert "There is no run in elsewhere." in nowhere.line("Failed")


def test_each_form_is_what_it_says(place: Path) -> None:
    page = report(place, "--format", "html")
    assert page.out.startswith("<!doctype html>")
    assert ET.fromstring(report(place, "--format", "junit").out).tag == "testsuites"  # noqa: S314 - made here
    assert report(place, "--json").document == report(place, "--format", "json").document
    text = report(place, "--format", "text")
    assert text.out.startswith("DONE: ")
    assert "Next: " in text.out


def test_a_report_is_said_in_another_language_than_the_run_spoke(place: Path) -> None:
    page = report(place, "--format", "html", "--lang", "zh").out
    assert '<html lang="zh-Hans">' in page
    assert "下一步" in page
    assert report(place, "--format", "json", "--lang", "zh").document == report(place, "--format", "json").document


def test_a_file_is_written_whole_and_private(place: Path) -> None:
    ended = report(place, "--format", "html", "--out", "page.html")
    assert (ended.code, ended.out) == (0, "Report: page.html\n"), ended.said
    assert stat.S_IMODE((place / "page.html").stat().st_mode) == 0o600
    for wrong in ("lawsker-runs", "nowhere/page.html"):
        refused = report(place, "--format", "html", "--out", wrong)
        assert (refused.code, refused.line("Next")) == (
            2,
            "--out FILE" if wrong == "lawsker-runs" else refused.line("Next"),
        )
    assert report(place, "--out", "x.txt").code == 2
    assert report(place, "--open", "--format", "json").code == 2


def test_without_a_screen_the_path_is_said_and_nothing_opened(place: Path) -> None:
    ended = report(place, "--open")
    assert ended.code == 0
    assert ended.out == f"Report: lawsker-runs/{IDS[2]}/report.html\n"
    assert "There is no browser to open here" in ended.err


def test_the_browser_of_the_desktop_is_given_the_file(place: Path) -> None:
    opener = place / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {place}/opened; env > {place}/environment\n')
    opener.chmod(0o755)
    path = f"{opener.parent}:{os.environ['PATH']}"
    secrets = {"PGPASSWORD": "canary", "DATABASE_URL": "postgresql://clerk:canary@db/lawsker"}
    ended = run(place, "report", "--open", url=None, DISPLAY=":9", PATH=path, LANG="C.UTF-8", **secrets)
    assert (ended.code, ended.err) == (0, ""), ended.said
    assert (place / "opened").read_text() == str(place / "lawsker-runs" / IDS[2] / "report.html")
    given = (place / "environment").read_text()
    assert "LANG=C.UTF-8" in given
    assert "canary" not in given  # a browser may live for weeks


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "other", "deep", "link"])
def test_without_a_report_the_journal_tells(damage: str, place: Path) -> None:
    folder = place / "lawsker-runs" / IDS[2]
    path = folder / "report.json"
    whole = path.read_bytes()
    path.unlink()
    contents = {"empty": b"", "cut": whole[: len(whole) // 2], "other": b'{"report_version": 3}', "deep": b"[" * 99_999}
    if damage in contents:
        path.write_bytes(contents[damage])
    if damage == "link":
        path.symlink_to("/dev/zero")
    ended = report(place)
    assert ended.code == 10, ended.said
    assert "Its journal has 2 entries" in ended.out
    assert "It sent COMMIT, and does not know what became of it." in ended.out
    assert "cannot be read as a report" in ended.line("Failed")
    assert ended.line("Next").startswith("lawsker-db recover")
    assert "Traceback" not in ended.said
    told = report(place, "--json").document["error"]
    assert (told["exit_code"], len(told["journal"])) == (10, 3)


def test_of_a_damaged_journal_the_whole_part_is_told(place: Path) -> None:
    folder = place / "lawsker-runs" / IDS[2]
    (folder / "report.json").unlink()
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    ended = report(place)
    assert ended.code == 10
    assert "Its journal has 1 entries" in ended.out
    assert "bytes are damaged" in ended.out
    assert "pg_dump into the folder" in ended.out
    journal.write_bytes(b"\x00\xff" * 40)
    assert "no entry that is whole" in report(place).out
    journal.unlink()
    assert report(place, IDS[2]).code == 2  # a folder without both is no run


def test_a_hostile_journal_paints_nothing(place: Path) -> None:
    folder = place / "lawsker-runs" / "20261104T000000Z-013-dddddd"
    folder.mkdir()
    with Journal(folder) as journal:
        journal.write(Event(phase=Phase.BACKUP, name="begin", text="\x1b[2J\u202eevil\nDone: all is well"))
    ended = report(place)
    assert ended.code == 10
    assert "\x1b" not in ended.said
    assert "\u202e" not in ended.said
    assert "\nDone: all is well" not in ended.said


def test_what_was_asked_for_json_is_a_document_as_json_has_it(place: Path) -> None:
    out = place / "report.json"
    assert report(place, "--format", "json", "--out", str(out)).code == 0
    assert json.loads(out.read_bytes()) == report(place, "--json").document
