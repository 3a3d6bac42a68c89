"""`--notify` with real programs: one that writes what it gets, one that fails, one that hangs, one that is not there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from command_line import Ended, eventually, files, run, script, started
from small_run import Ground, clone, make_ground

GOT = 'cat >> "$(dirname "$0")/got"'
SECRET = "sesame-8fd1"


@pytest.fixture(scope="module")
def ground(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    made = make_ground(server, tmp_path_factory.mktemp("chain"))
    yield made
    server.run(f"DROP DATABASE {made.template}")


def notices(folder: Path) -> list[dict[str, Any]]:
    """What the program was given, a JSON object a notice."""
    path = folder / "got"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def back_up(folder: Path, url: str, notify: Path | str, *more: str) -> Ended:
    """The quickest command that takes --notify."""
    return run(folder, "backup", "create", "--no-proof", "--notify", str(notify), *more, url=url)


def require_backup(folder: Path) -> None:
    (manifest,) = folder.glob("lawsker-runs/*/backup/manifest.json")
    assert json.loads(manifest.read_text())["bytes"] > 0


def test_a_run_tells_its_start_who_is_in_the_way_and_its_success_in_that_order(ground: Ground, tmp_path: Path) -> None:
    program = script(tmp_path / "tell", GOT)
    with clone(ground.server, ground.template) as url:
        with (
            psycopg.connect(url, application_name="payroll") as other,
            started(tmp_path, *ground.typed, "--notify", str(program), url=url) as tool,
        ):
            other.execute("LOCK TABLE users IN ACCESS SHARE MODE")
            assert eventually(lambda: "blocker" in [told["notice"] for told in notices(tmp_path)]), tool.said()
            other.rollback()
            ended = tool.end()
        assert ended.code == 0, ended.said
        assert ground.standing(url) == "new"
    told = notices(tmp_path)
    assert [one["notice"] for one in told] == ["start", "blocker", "success"]
    assert {one["command"] for one in told} == {"safe-upgrade"}
    assert (told[1]["phase"], told[1]["blockers"][0]["application"]) == ("migration", "payroll")
    assert "query" not in json.dumps(told[1]["blockers"])
    assert (told[2]["verdict"], told[2]["exit_code"]) == ("done", 0)
    assert Path(told[2]["folder"], "report.json").exists()


def test_an_interrupted_run_tells_its_failure_with_the_state_and_what_to_type(ground: Ground, tmp_path: Path) -> None:
    program = script(tmp_path / "tell", GOT)
    with clone(ground.server, ground.template) as url:
        with (
            psycopg.connect(url) as other,
            started(tmp_path, *ground.typed, "--notify", str(program), url=url) as tool,
        ):
            other.execute("LOCK TABLE users IN ACCESS SHARE MODE")
            assert eventually(lambda: len(notices(tmp_path)) == 2), tool.said()
            os.kill(tool.pid, signal.SIGINT)
            ended = tool.end()
        assert ended.code == 130, ended.said
        assert ground.standing(url) == "old"
    last = notices(tmp_path)[-1]
    assert (last["notice"], last["exit_code"]) == ("failure", 130)
    assert last["state"] == ended.line("Database")
    assert last["next"] == ended.line("Next")
    assert last["folder"] == ended.line("Kept")


def test_a_refusal_is_a_failure_that_is_told(empty_url: str, tmp_path: Path) -> None:
    program = script(tmp_path / "tell", GOT)
    ended = run(tmp_path, "safe-upgrade", "999", "--yes", "--notify", str(program), url=empty_url)
    assert ended.code == 10, ended.said
    told = notices(tmp_path)
    assert [one["notice"] for one in told] == ["start", "failure"]
    assert (told[1]["message"], told[1]["next"]) == (ended.line("Failed"), ended.line("Next"))


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("fails", "fails failed with exit code 3"),
        ("missing", "missing cannot be run: No such file or directory"),
        ("forbidden", "forbidden cannot be run: Permission denied"),
    ],
)
def test_a_program_that_fails_or_is_not_there_changes_nothing_and_becomes_a_note(
    program: str, problem: str, adopted_url: str, tmp_path: Path
) -> None:
    script(tmp_path / "fails", "echo the pager is down; exit 3")
    script(tmp_path / "forbidden", "true").chmod(0o644)
    ended = back_up(tmp_path, adopted_url, tmp_path / program)
    assert ended.code == 0, ended.said
    require_backup(tmp_path)
    noted = [line for line in ended.err.splitlines() if line.startswith("Note: ")]
    assert len(noted) == 2  # the start, and the success
    assert all(line.endswith(problem) for line in noted)
    (log,) = tmp_path.glob("lawsker-runs/*/run.log")
    assert problem in log.read_text()
    assert ("the pager is down" in log.read_text()) is (program == "fails")
    assert "the pager is down" not in ended.said


@pytest.mark.long
def test_a_program_that_hangs_changes_nothing_but_a_note_and_is_ended(adopted_url: str, tmp_path: Path) -> None:
    program = script(tmp_path / "hangs", 'echo $$ >> "$(dirname "$0")/pids"; exec sleep 600')
    ended = back_up(tmp_path, adopted_url, program)
    assert ended.code == 0, ended.said
    require_backup(tmp_path)
    assert "hangs did not end within 10 s" in ended.err
    left = [Path(f"/proc/{pid}") for pid in (tmp_path / "pids").read_text().split()]
    assert left
    assert eventually(lambda: not [path for path in left if path.exists()])


@pytest.mark.long
def test_a_program_that_reads_nothing_and_says_much_is_no_problem(adopted_url: str, tmp_path: Path) -> None:
    program = script(tmp_path / "loud", "head -c 3000000 /dev/zero | tr '\\0' x")
    ended = back_up(tmp_path, adopted_url, program, "--json")
    assert ended.code == 0, ended.said
    assert '"name": "notice"' not in ended.err
    assert Path(ended.document["folder"], "manifest.json").exists()


def test_no_password_reaches_the_program(adopted_url: str, tmp_path: Path) -> None:
    program = script(tmp_path / "tell", f"{GOT}; env >> $(dirname $0)/environment")
    ended = run(
        *(tmp_path, "backup", "create", "--no-proof", "--notify", str(program)), url=adopted_url, PGPASSWORD=SECRET
    )
    assert ended.code == 0, ended.said
    assert "PATH=" in (tmp_path / "environment").read_text()
    assert [name for name, content in files(tmp_path).items() if SECRET.encode() in content] == []


def test_what_keeps_a_rollback_or_a_restore_from_beginning_is_told_as_a_failure(empty_url: str, tmp_path: Path) -> None:
    program = script(tmp_path / "tell", GOT)
    nowhere = "postgresql:///nowhere?host=/tmp/there-is-no-server&user=x"
    for typed, url, code in (
        (("rollback", "--yes"), empty_url, 10),
        (("rollback", "--yes"), nowhere, 10),
        (("restore", "missing", "--yes"), empty_url, 10),
    ):
        ended = run(tmp_path, *typed, "--notify", str(program), url=url)
        assert ended.code == code, ended.said
        told = notices(tmp_path)
        assert [(one["notice"], one["command"]) for one in told] == [("start", typed[0]), ("failure", typed[0])]
        assert (told[1]["message"], told[1]["next"]) == (ended.line("Failed"), ended.line("Next"))
        (tmp_path / "got").unlink()


@pytest.mark.parametrize("notify", ["'", " "])
def test_a_notify_that_is_no_command_is_refused_before_anything_begins(
    notify: str, adopted_url: str, tmp_path: Path
) -> None:
    ended = back_up(tmp_path, adopted_url, notify)
    assert ended.code == 2, ended.said
    assert "--notify" in ended.line("Failed")
    assert not (tmp_path / "lawsker-runs").exists()


@pytest.mark.long
def test_in_json_a_note_is_an_event_on_stderr(adopted_url: str, tmp_path: Path) -> None:
    ended = back_up(tmp_path, adopted_url, tmp_path / "missing", "--json")
    assert ended.code == 0, ended.said
    events = [json.loads(line) for line in ended.err.splitlines()]
    assert [event["text"] for event in events if event["name"] == "notice"] != []
    assert Path(ended.document["folder"], "manifest.json").exists()
