"""What a run remembers: a journal that may be torn anywhere, a history whose rows vouch for each other, a safe page."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lawsker_db.errors import Refused
from lawsker_db.evidence import (
    Check,
    Direction,
    Event,
    LockHeld,
    Phase,
    RunReport,
    TableContent,
    Timing,
    Verdict,
)
from lawsker_db.phrases import CHINESE, Phrase, in_language
from lawsker_db.record import history
from lawsker_db.record.journal import (
    Journal,
    create_run_folder,
    new_run_id,
    read_journal,
    told_to_people,
    write_atomically,
)
from lawsker_db.record.report import render_html, write_report

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def write_journal(folder: Path, *texts: str) -> Path:
    """A journal with one event for each text."""
    with Journal(folder) as journal:
        for text in texts:
            journal.write(Event(phase=Phase.BACKUP, name="said", text=text, facts={"n": 1}))
    return folder / "journal.jsonl"


def texts_of(path: Path) -> list[str]:
    return [str(event["text"]) for event in read_journal(path)]


# ---- the journal -----------------------------------------------------------------------------------------------------


def test_a_journal_gives_back_what_was_written_in_order(tmp_path: Path) -> None:
    said = ["one", "zwei\nLines", "三 律师", "'\"\\", ""]
    assert texts_of(write_journal(tmp_path, *said)) == said


def test_a_text_of_a_journal_can_be_said_in_another_language_with_its_values(tmp_path: Path) -> None:
    inner = Phrase("idle in transaction")
    said = [
        Phrase("done in {duration_s:.1f} s", duration_s=2.04),
        Phrase("{who} has been {state} for {idle_s:.0f} s", who="{x}", state=inner, idle_s=3),
        Phrase("connecting"),
    ]
    path = write_journal(tmp_path, *said)
    for event, text in zip(read_journal(path), said, strict=True):
        again = told_to_people(event)
        assert (again, in_language(again, CHINESE)) == (text, in_language(text, CHINESE))
    assert "words" not in read_journal(path)[2]


@pytest.mark.parametrize(
    "words",
    [
        {},
        None,
        "x",
        [1],
        {"template": "other"},
        {"template": "other {n}", "values": {"n": 1}},
        {"template": "{n.__class__}", "values": {"n": 1}},
        {"template": "{n", "values": {"n": 1}},
        {"template": "{n:>999999999}", "values": {"n": "3 rows"}},
        {"template": "{n:d}", "values": {"n": "3 rows"}},
        {"template": "{0}", "values": {"n": "3 rows"}},
        {"template": "{n}", "values": {"n": [1]}},
    ],
)
def test_a_text_whose_words_are_missing_or_wrong_is_the_text_alone(words: object) -> None:
    told = told_to_people({"text": "3 rows", "words": words})
    assert (told, told.values) == ("3 rows", {})
    assert told_to_people({"text": "3 rows"}) == "3 rows"
    assert told_to_people({}) == ""


def test_a_journal_cut_at_any_byte_gives_the_whole_lines_before_the_cut(tmp_path: Path) -> None:
    said = ["first", "第二", "third"]
    path = write_journal(tmp_path, *said)
    whole = path.read_bytes()
    ends = [match.end() for match in re.finditer(b"\n", whole)]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        # the newline itself may be missing: the checksum says that the line is whole
        complete = sum(cut >= end - 1 for end in ends)
        assert texts_of(path) == said[:complete], cut


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_altered_byte_ends_the_journal_at_its_line(data: st.DataObject, tmp_path: Path) -> None:
    said = ["first", "second", "third"]
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    whole = write_journal(tmp_path, *said).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    line = whole[:place].count(b"\n")
    if whole[place] == ord("\n"):  # it joins its line with the next, and both end
        assert texts_of(path) in (said[:line], said)
        assert place == len(whole) - 1 or texts_of(path) == said[:line]
    else:
        assert texts_of(path) == said[:line]


def test_a_line_from_elsewhere_ends_the_journal(tmp_path: Path) -> None:
    path = write_journal(tmp_path, "first", "second")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'0123456789abcdef {"text": "forged"}\n' + lines[1])
    assert texts_of(path) == ["first"]


def test_progress_is_not_journalled(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write(Event(phase=Phase.BACKUP, name="progress", text="1 MB", lasting=False))
    assert read_journal(tmp_path / "journal.jsonl") == ()


def test_a_journal_is_private_and_never_takes_over_a_file(tmp_path: Path) -> None:
    path = write_journal(tmp_path, "first")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Refused, match="The journal cannot be written"):
        Journal(tmp_path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="The journal cannot be written"):
        Journal(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("loss", ["removed", "replaced"])
def test_a_journal_that_is_not_under_its_name_any_more_takes_nothing(loss: str, tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.path.unlink()
        if loss == "replaced":
            journal.path.write_text("")
        with pytest.raises(FileNotFoundError):
            journal.write(Event(phase=Phase.COMMIT, name="about to commit", text=""))


def test_run_ids_differ_sort_by_time_and_are_fit_for_a_folder() -> None:
    ids = [new_run_id("013_ + ../x") for _ in range(50)]
    assert len(set(ids)) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}Z-\w+-[0-9a-f]{6}", run_id) for run_id in ids)


def test_a_run_folder_is_private(tmp_path: Path) -> None:
    folder = create_run_folder(tmp_path / "runs", "r1")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}
    with pytest.raises(Refused, match="cannot be made"):
        create_run_folder(tmp_path / "runs", "r1")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_atomically(path, b"old")
    (tmp_path / "manifest.json.partial").write_bytes(b"ha")  # of somebody who was killed while he wrote
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["manifest.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# ---- the history -----------------------------------------------------------------------------------------------------

ROW: Mapping[str, object] = {
    "run_id": "r1",
    "direction": "upgrade",
    "to_revisions": ["013"],
    "rows_made": {"lawyer_levels": 10, "demo_accounts": 2},
    "made_at": NOON,
    "system_identifier": "7710924581705451441",
    "database_oid": 16384,
    "previous_hash": "",
}


def test_a_history_row_has_the_same_hash_in_every_time_zone_and_order_of_keys() -> None:
    elsewhere = {**ROW, "made_at": NOON.astimezone(timezone(timedelta(hours=8)))}
    assert history._hash(elsewhere) == history._hash(ROW)
    assert history._hash(dict(reversed(list(ROW.items())))) == history._hash(ROW)
    assert re.fullmatch("[0-9a-f]{64}", history._hash(ROW))


@pytest.mark.parametrize("name", sorted(ROW))
def test_no_fact_of_a_history_row_can_change_without_its_hash(name: str) -> None:
    changed = {"made_at": NOON + timedelta(microseconds=1), "database_oid": 16385, "rows_made": {"lawyer_levels": 11}}
    assert history._hash({**ROW, name: changed.get(name, "something else")}) != history._hash(ROW)


# ---- the report ------------------------------------------------------------------------------------------------------

ATTACK = "<script>alert('律师')</script>\"'&<img src=x onerror=y>${title}$hint"


def hostile_report() -> RunReport:
    """A report in which every text is the attacker's."""
    check = Check(name=ATTACK, ok=False, expected=ATTACK, found=ATTACK, detail=ATTACK)
    return RunReport(
        run_id=ATTACK,
        verdict=Verdict.ROLLED_BACK,
        target=ATTACK,
        tool_version=ATTACK,
        started_at=NOON,
        duration_s=1.0,
        direction=Direction.UPGRADE,
        from_revisions=(ATTACK,),
        to_revisions=(ATTACK,),
        steps=(ATTACK,),
        timings=(Timing(phase=Phase.BACKUP, started_at=NOON, duration_s=0.5),),
        locks=(LockHeld(table=ATTACK, mode=ATTACK, granted_at=NOON, attempts=1),),
        checks=(check,),
        contents=(TableContent(table=ATTACK, proof=ATTACK, rows=1),),
        rows_made={ATTACK: 1},
        figures={ATTACK: 1},
        not_proven=(ATTACK,),
        notes=(ATTACK,),
        message=ATTACK,
        state=ATTACK,
        hint=ATTACK,
        folder=ATTACK,
    )


class Tags(HTMLParser):
    """Collects tags with their attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    tags.close()
    return tags


def test_a_hostile_name_is_text_in_the_report_and_never_a_tag() -> None:
    found = parsed(render_html(hostile_report()))
    harmless = replace(
        hostile_report(), message="x", state="x", hint="x", target="x", run_id="x", not_proven=("x",), notes=("x",)
    )
    names = {tag for tag, _ in found.tags}
    assert names == {tag for tag, _ in parsed(render_html(harmless)).tags}
    assert not names & {"script", "img", "iframe", "object"}
    assert not [attrs for _, attrs in found.tags for name, _ in attrs if name.startswith("on")]
    assert found.text.count(ATTACK) >= 12


def test_the_report_needs_no_network() -> None:
    page = render_html(hostile_report())
    found = parsed(page)
    assert not [v for _, attrs in found.tags for name, v in attrs if name in ("src", "href") and v and "//" in v]
    assert "@import" not in page
    assert "url(" not in page


def test_the_json_report_gives_hostile_names_back_as_they_were(tmp_path: Path) -> None:
    assert write_report(hostile_report(), tmp_path) == ""
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["message"] == ATTACK
    assert document["checks"][0]["found"] == ATTACK
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o600


def test_a_report_that_cannot_be_written_says_so_and_raises_nothing(tmp_path: Path) -> None:
    assert "could not be written" in write_report(hostile_report(), tmp_path / "gone")


def test_a_run_that_a_later_backup_holds_is_not_undone_by_the_restore_before_it() -> None:
    """Run, backup, restore to a state before the run, restore of that backup: what the run did stands here."""

    def row(run_id: str, steps: list[str], carried: int) -> dict[str, object]:
        facts = {"run_id": run_id, "steps": steps, "rows_made": {history.CARRIED: carried}, "backup_id": "b"}
        direction = history.RESTORE if steps else "upgrade"
        return facts | {"direction": direction, "system_identifier": "1", "database_oid": 7}

    first, second = row("first", ["5", "old"], 2), row("second", ["6", "older"], 2)
    rows = [row("run", [], 0), row("lost", [], 0), first]
    assert [one.undone for one in history._replaced(tuple(rows))] == [("run", "lost")]
    assert [one.undone for one in history._replaced((*rows, second))] == [("lost",), ("lost", "first")]
