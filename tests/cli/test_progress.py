"""What a run shows while it is at work: on a terminal that lives, on one that is dumb or narrow, in a pipe, and as JSON."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import command_line
import psycopg
import pytest
from command_line import LAWSKER_DB, SLOW_S, eventually, run, started
from report_values import everywhere

from lawsker_db.cli.layout import columns as width
from lawsker_db.cli.progress import progress
from lawsker_db.cli.render import one_line, padded, show_checks, show_error
from lawsker_db.cli.scene import Scene, bar_text, lasting_line, still_line, time_text, times
from lawsker_db.errors import Refused
from lawsker_db.evidence import Check, Direction, Event, Phase
from lawsker_db.phrases import CHINESE, ENGLISH, Phrase, speak
from lawsker_db.record.document import as_document
from lawsker_db.safety.pace import Pace
from lawsker_db.safety.precedent import pace_of

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BACKUP = ("backup", "create")
STAMP = re.compile(r"^\d\d:\d\d:\d\d  ")


def on_terminal(folder: Path, url: str, *typed: str, columns: int = 80, **variables: str) -> tuple[int, str]:
    """Type a command on a terminal of this width; its exit code, and every byte that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    exact = {"TERM": "xterm-256color", **command_line.environment(folder, url), **variables}
    with subprocess.Popen(
        [str(LAWSKER_DB), *typed], cwd=folder, env=exact, stdin=theirs, stdout=theirs, stderr=theirs
    ) as child:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
        os.close(ours)
        return child.wait(timeout=SLOW_S), said.decode()


def _read(terminal: int) -> bytes:
    """What the terminal gives next; nothing when the last one who had it open is gone."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def lines_of(said: str) -> list[str]:
    """The lines of a terminal's text without what moves or colours."""
    return [line.strip("\r") for line in re.split(r"[\r\n]+", CONTROL.sub("", said)) if line.strip()]


def steady(said: str) -> str:
    """What doctor says, but for how much of the disk is free at the moment."""
    return re.sub(r"\d+ MB free", "MB free", said)


def test_on_a_terminal_each_phase_is_numbered_and_what_goes_on_now_stands_below(
    adopted_url: str, tmp_path: Path
) -> None:
    code, said = on_terminal(tmp_path, adopted_url, *BACKUP)
    assert code == 0, said
    lines = lines_of(said)
    for number, phase in enumerate(("preflight", "backup", "proof"), start=1):
        assert [line for line in lines if STAMP.match(line) and f"[{number}/3] {phase}" in line], said
    assert [line for line in lines if " so far" in line and not STAMP.match(line)], said
    assert said.count("\x1b[1A") + said.count("\x1b[2K") > 0  # an area that is drawn anew


@pytest.mark.parametrize("columns", [20, 1])
def test_a_narrow_terminal_cuts_nothing_off(columns: int, adopted_url: str, tmp_path: Path) -> None:
    code, said = on_terminal(tmp_path, adopted_url, *BACKUP, columns=columns)
    assert code == 0, said
    lines = lines_of(said)
    assert [line for line in lines if re.search(r"scratch database lawsker_scratch_[0-9a-f]{12} dropped$", line)], said
    assert [line for line in lines if line == "Next: lawsker-db backup list"], said
    code, said = on_terminal(tmp_path, adopted_url, "doctor", columns=columns)
    assert code == 0, said
    assert [line for line in lines_of(said) if line.startswith("READY: ")], said


@pytest.mark.long
def test_columns_says_how_wide_the_terminal_is(adopted_url: str, tmp_path: Path) -> None:
    """COLUMNS wins over what the terminal says of itself: the live area wraps there."""
    _, said = on_terminal(tmp_path, adopted_url, *BACKUP, columns=200, COLUMNS="24")
    live = [line for line in lines_of(said) if not STAMP.match(line) and "so far" in line]
    assert live
    assert all(width(line) <= 24 for line in live), live


@pytest.mark.long
def test_a_dumb_terminal_gets_plain_lines_and_no_colour(adopted_url: str, tmp_path: Path) -> None:
    code, said = on_terminal(tmp_path, adopted_url, *BACKUP, TERM="dumb")
    assert (code, "\x1b" in said) == (0, False), said
    assert "[3/3] proof" in said
    code, said = on_terminal(tmp_path, adopted_url, "doctor", TERM="dumb")
    assert (code, "\x1b" in said) == (0, False), said


def test_no_color_leaves_the_colours_out_and_a_terminal_has_them_otherwise(adopted_url: str, tmp_path: Path) -> None:
    _, coloured = on_terminal(tmp_path, adopted_url, "doctor")
    _, plain = on_terminal(tmp_path, adopted_url, "doctor", NO_COLOR="1")
    assert COLOUR.search(coloured)
    assert "\x1b" not in plain
    assert lines_of(steady(coloured)) == lines_of(steady(plain))
    _, said = on_terminal(tmp_path, adopted_url, *BACKUP, "--no-proof", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*[349][0-9]m", said), said


def test_a_pipe_has_no_colour_unless_it_is_forced(adopted_url: str, tmp_path: Path) -> None:
    plain = run(tmp_path, "doctor", url=adopted_url)
    forced = run(tmp_path, "doctor", url=adopted_url, FORCE_COLOR="1")
    both = run(tmp_path, "doctor", url=adopted_url, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b" not in plain.said
    assert "\x1b[32mPASS" in forced.out
    assert steady(COLOUR.sub("", forced.out)) == steady(plain.out)
    assert "\x1b" not in both.said
    failed = run(tmp_path, "restore", "none", "--dry-run", url=adopted_url, FORCE_COLOR="1")
    assert failed.code == 10
    assert failed.err.startswith("\x1b[31mFailed:")


@pytest.mark.parametrize("reader", ["head -1", "true"])
def test_who_stops_listening_changes_neither_outcome_nor_exit_code(
    reader: str, adopted_url: str, tmp_path: Path
) -> None:
    env = command_line.environment(tmp_path, adopted_url)
    for typed, code in ((f"{LAWSKER_DB} backup create --no-proof", 0), (f"{LAWSKER_DB} safe-upgrade 999 --yes", 10)):
        line = f"set -o pipefail; {typed} 2>&1 | {reader}"
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, check=False)
        assert done.returncode == code, done.stderr
    assert len(list(tmp_path.glob("lawsker-runs/*/backup/manifest.json"))) == 1


@pytest.mark.long
def test_without_a_terminal_a_long_silence_is_broken(adopted_url: str, tmp_path: Path) -> None:
    """pg_dump waits for somebody's lock, and says nothing."""
    with psycopg.connect(adopted_url) as other, started(tmp_path, *BACKUP, "--no-proof", url=adopted_url) as tool:
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        assert eventually(lambda: "still at it: " in tool.said()), tool.said()
        other.rollback()
        ended = tool.end()
    assert ended.code == 0, ended.said
    (line, *_) = (line for line in ended.err.splitlines() if "still at it" in line)
    assert re.match(r"\d\d:\d\d:\d\d  \[\d/2\] \w+ +still at it: .* so far", line), line


def test_machines_get_number_and_estimate_and_no_estimate_where_nothing_is_known(
    adopted_url: str, tmp_path: Path
) -> None:
    def phases() -> list[dict[str, Any]]:
        ended = run(tmp_path, *BACKUP, "--json", url=adopted_url)
        assert ended.code == 0, ended.said
        events = [json.loads(line) for line in ended.err.splitlines()]
        return [event for event in events if event["name"] in ("begin", "end")]

    first, second = phases(), phases()
    assert [(event["phase"], event["name"]) for event in first] == [
        (phase, name) for phase in ("preflight", "backup", "proof") for name in ("begin", "end")
    ]
    assert [event["facts"]["number"] for event in first] == [1, 1, 2, 2, 3, 3]
    assert {event["facts"]["of"] for event in first} == {3}
    assert {event["facts"]["estimate_s"] for event in first} == {None}
    known = {event["phase"]: event["facts"] for event in second if event["name"] == "begin"}
    assert known["backup"]["estimate_s"] > 0
    assert known["proof"]["estimate_s"] > 0
    assert known["backup"]["expected_bytes"] > 0
    assert all(event["facts"]["duration_s"] >= 0 for event in first if event["name"] == "end")


def test_the_second_run_tells_people_what_the_first_one_took(adopted_url: str, tmp_path: Path) -> None:
    first = run(tmp_path, *BACKUP, url=adopted_url)
    second = run(tmp_path, *BACKUP, url=adopted_url)
    assert "estimate" not in first.err
    assert re.search(r"\[2/3\] backup .*\(estimate: \d", second.err), second.err
    elsewhere = run(tmp_path, *BACKUP, "--runs", "others", url=adopted_url)
    assert "estimate" not in elsewhere.err


def test_the_log_of_a_run_has_what_a_person_saw_in_english(adopted_url: str, tmp_path: Path) -> None:
    ended = run(tmp_path, *BACKUP, url=adopted_url, LAWSKER_LANG="zh")
    assert ended.code == 0, ended.said
    (log,) = tmp_path.glob("lawsker-runs/*/run.log")
    assert log.stat().st_mode & 0o777 == 0o600
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  \S", line) for line in lines), lines
    assert [line for line in lines if line[22:].startswith("proof      restored and equal")]
    assert all(line.isascii() for line in lines)


@pytest.mark.long
def test_a_log_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    from lawsker_db.record.log import LOG, log_line

    (tmp_path / "elsewhere").write_text("")
    (tmp_path / LOG).symlink_to(tmp_path / "elsewhere")
    log_line(tmp_path, "a line")
    log_line(tmp_path / "missing", "a line")
    assert (tmp_path / "elsewhere").read_text() == ""


@pytest.mark.parametrize("language", [ENGLISH, CHINESE])
def test_a_failure_ends_in_four_lines_whatever_was_said(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed = Refused("ERROR:  no\nDETAIL:  a\r\n\nHINT: b", hint="one\ntwo", state="as\nbefore", folder="/runs/x")
    speak(language)
    try:
        show_error(failed, as_json=False)
    finally:
        speak(ENGLISH)
    lines = capsys.readouterr().err.splitlines()
    labels = {
        ENGLISH: ["Failed:", "Database:", "Kept:", "Next:"],
        CHINESE: ["失败：", "数据库：", "保留：", "下一步："],
    }
    assert [line.split()[0] for line in lines] == labels[language]
    assert lines[0].endswith("ERROR: no; DETAIL: a; HINT: b")
    assert len({width(line[: len(line) - len(rest)]) for line, rest in zip(lines, _rests(lines), strict=True)}) == 1


def _rests(lines: list[str]) -> list[str]:
    """What stands behind the label of each line."""
    return [line.split(None, 1)[1] for line in lines]


def test_the_marks_of_checks_stand_in_a_column_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    def check(*, ok: bool | None, found: str, warning: bool = False) -> Check:
        return Check(name="name", ok=ok, expected="x", found=found, code="S01", warning=warning)

    checks = (
        check(ok=True, found="y"),
        check(ok=False, found="y", warning=True),
        check(ok=False, found="y"),
        check(ok=None, found=Phrase("NOT RUN: {why}", why="z")),
        check(ok=None, found="NOT RUN: z"),
    )
    shown = {}
    for language in (ENGLISH, CHINESE):
        speak(language)
        try:
            show_checks(checks)
        finally:
            speak(ENGLISH)
        shown[language] = capsys.readouterr().out.splitlines()
    assert [line[:9].rstrip() for line in shown[ENGLISH]] == ["PASS", "WARN", "FAIL", "NOT RUN", "NOT RUN"]
    assert [line.split()[0] for line in shown[CHINESE]] == ["通过", "警告", "未通过", "未执行", "未执行"]
    for lines in shown.values():
        assert {width(line.partition("S01")[0]) for line in lines} == {9}
    assert [line.partition("S01 ")[2] for line in shown[ENGLISH][3:]] == ["name: z", "name: z"]


def test_widths_count_cells_and_not_characters() -> None:
    assert (width("abc"), width("通过"), width("e\u0301")) == (3, 4, 1)
    assert padded("通过", 7) == "通过   "
    assert one_line("a\n\n  b \tc\n") == "a; b c"


def test_a_pace_numbers_what_comes_twice_and_estimates_nothing_unknown() -> None:
    pace = Pace(phases=(Phase.RESTORE, Phase.RESCUE, Phase.SWAP, Phase.RESCUE), expected_s={Phase.SWAP: 2.0})
    assert pace.facts(Phase.RESCUE, (Phase.RESTORE,))["number"] == 2
    assert pace.facts(Phase.RESCUE, (Phase.RESTORE, Phase.RESCUE, Phase.SWAP))["number"] == 4
    assert pace.facts(Phase.RESCUE, (Phase.RESCUE, Phase.RESCUE))["number"] == 4
    swap = pace.facts(Phase.SWAP, (Phase.RESTORE, Phase.RESCUE))
    assert (swap["number"], swap["of"], swap["estimate_s"], swap["left_s"]) == (3, 4, 2.0, None)
    known = pace.knowing(Phase.RESCUE, lasts_s=3.0)
    assert known.facts(Phase.SWAP, (Phase.RESTORE, Phase.RESCUE))["left_s"] == 5.0
    assert "number" not in pace.facts(Phase.GATE, ())


def test_a_file_that_foretells_nonsense_foretells_nothing(tmp_path: Path) -> None:
    server = everywhere("x").server
    assert server is not None
    for number, lasted in enumerate(("Infinity", "NaN", "-1", f"1{'0' * 400}")):
        folder = tmp_path / f"20260101T00000{number}Z-013-abcdef"
        folder.mkdir()
        report = as_document(replace(everywhere("x"), server=server, direction=Direction.UPGRADE, steps=("013",)))
        report |= {"verdict": "done", "timings": [{"phase": "migration", "duration_s": "LASTED"}]}
        (folder / "report.json").write_text(json.dumps(report).replace('"LASTED"', lasted))
        assert pace_of((Phase.MIGRATION,), tmp_path, server, Direction.UPGRADE, ("013",)).expected_s == {}
    (folder / "report.json").write_text("[" * 200_000)
    assert pace_of((Phase.MIGRATION,), tmp_path, server, Direction.UPGRADE, ("013",)).expected_s == {}


def test_a_display_that_breaks_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(as_json=False) as on_event:
        for _ in range(2):
            on_event(Event(phase=Phase.BACKUP, name="begin", text="words", facts={"estimate_s": "soon"}))
        on_event(Event(phase=Phase.BACKUP, name="taken", text="afterwards"))
    told = capsys.readouterr().err
    assert told.count("the display is broken (TypeError); the run goes on.") == 1
    assert "afterwards" in told


def test_times_are_utc_whatever_the_zone_of_the_terminal_and_the_first_line_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        with progress(as_json=False) as on_event:
            for minute in (0, 1):
                at = datetime(2026, 7, 1, 23, minute, tzinfo=UTC)
                on_event(Event(phase=Phase.BACKUP, name="word", text="words", at=at))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert capsys.readouterr().err.splitlines() == [
        "23:00:00  backup     words (times are UTC)",
        "23:01:00  backup     words",
    ]


def test_a_scene_tells_counts_times_and_that_an_estimate_is_one() -> None:
    def event(name: str, *, lasting: bool = True, **facts: object) -> Event:
        return Event(phase=Phase.PROOF, name=name, text="words", facts=facts, lasting=lasting)

    scene = Scene(began=0.0, phase_began=0.0)
    begin = event("begin", number=2, of=3, estimate_s=30.0, left_s=90.0, expected_bytes=200_000_000)
    scene.hear(begin, 10.0)
    assert lasting_line(scene, begin)[8:] == "  [2/3] proof      words (estimate: 30 s) (times are UTC)"
    scene.hear(begin, 10.0)
    assert lasting_line(scene, begin)[8:] == "  [2/3] proof      words (estimate: 30 s)"
    assert times(scene, 22.0) == (
        "12 s so far",
        "estimate: 18 s left",
        "22 s since the start",
        "estimate: 1:18 min to the end",
    )
    assert times(scene, 50.0)[1] == "longer than the estimate of 30 s"
    growing = event("progress", lasting=False, bytes=50_000_000)
    scene.hear(growing, 12.0)
    assert (scene.fraction, scene.count) == (0.25, "50 of about 200 MB")
    assert "still at it: words (50 of about 200 MB, " in still_line(scene, growing, 20.0, "10:00:00")
    scene.hear(event("progress", lasting=False, tables=28, of=28), 13.0)
    assert (scene.fraction, scene.count) == (0.99, "28 of 28 tables")
    scene.hear(event("end"), 14.0)
    assert (scene.fraction, scene.over) == (None, True)
    between = event("dropped")
    assert lasting_line(scene, between)[8:] == "        proof      words"  # below the others
    scene.hear(event("begin", estimate_s=None), 15.0)
    assert lasting_line(scene, between)[8:] == "        proof      words"
    assert [part for part in times(scene, 16.0) if "estimate" in part] == []
    scene.hear(growing, 17.0)  # of how many bytes is not known here
    assert (scene.fraction, scene.count) == (None, "")


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1:00 min"), (3840, "1:04 h")]
)
def test_durations_are_told_in_a_unit_that_fits(seconds: float, told: str) -> None:
    assert time_text(seconds) == told


def test_a_bar_is_as_long_as_its_share_also_where_only_ascii_shows() -> None:
    assert bar_text(0.5, ascii_only=True) == "########-------- 50 %"
    assert bar_text(0.0, ascii_only=False).endswith("╌ 0 %")


@pytest.mark.long
def test_a_locale_without_chinese_characters_escapes_them_and_ends_well(adopted_url: str, tmp_path: Path) -> None:
    typed = (*BACKUP, "--no-proof")
    code, shown = on_terminal(tmp_path, adopted_url, *typed, LAWSKER_LANG="zh", PYTHONIOENCODING="ascii")
    assert code == 0, shown
    assert shown.isascii()
    assert "\\u28" not in shown  # what turns is drawn in ASCII there
