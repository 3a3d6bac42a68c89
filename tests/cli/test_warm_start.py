"""A command that is split off from a process with the product loaded is, for who types it, the installed command."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import (
    LAWSKER_DB,
    environment,
    eventually,
    run,
    run_alembic,
    run_installed,
    started,
    started_installed,
)
from warm_start import fits, warm_run

NOWHERE = "postgresql:///x?host=/nowhere"


@pytest.mark.parametrize(
    ("typed", "variables"),
    [
        ("", {}),
        ("safe-upgrade --help", {}),
        ("status --nonsense", {}),
        ("status", {}),
        ("status --json", {"DATABASE_URL": NOWHERE}),
        ("verify --database-url 密码\udcff", {}),
        ("doctor", {"LAWSKER_PG_BIN": "/nowhere", "DATABASE_URL": NOWHERE}),
    ],
)
def test_a_warm_command_ends_and_says_what_the_installed_one_does(
    typed: str, variables: dict[str, str], tmp_path: Path
) -> None:
    assert fits(typed.split(), environment(tmp_path, None, **variables))
    warm, installed = (how(tmp_path, *typed.split(), **variables) for how in (run, run_installed))
    assert warm == installed
    assert warm.said


def test_nothing_of_one_call_reaches_the_next(tmp_path: Path) -> None:
    first = run(tmp_path, "status", DATABASE_URL=NOWHERE, PGPORT="nonsense")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run(elsewhere, "status") == run_installed(elsewhere, "status")
    assert run(tmp_path, "status", DATABASE_URL=NOWHERE, PGPORT="nonsense") == first


def test_a_warm_command_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://somebody@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=600"
        with pytest.raises(subprocess.TimeoutExpired):
            warm_run([str(LAWSKER_DB), "status"], tmp_path, environment(tmp_path, url), timeout_s=0.0)
        assert eventually(lambda: at_work_in(tmp_path) == [])


def at_work_in(folder: Path) -> list[str]:
    """Processes whose folder this is."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found


def test_a_warm_command_is_signalled_and_waited_for_as_any_other(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://somebody@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=600"
        ends = []
        for start in (started, started_installed):
            with start(tmp_path, "status", url=url) as tool:
                there, _ = silent.accept()
                assert tool.child.poll() is None
                tool.child.send_signal(signal.SIGTERM)
                ends.append(tool.end())
                tool.child.send_signal(signal.SIGTERM)  # it has ended, and nobody else is meant
                there.close()
        assert ends[0] == ends[1]
        with started(tmp_path, "status", url=url) as tool:
            tool.child.kill()
            assert tool.end().code == -signal.SIGKILL


def test_plain_alembic_is_served_too(tmp_path: Path) -> None:
    typed = ("-c", str(Path(__file__).parents[2] / "alembic.ini"), "heads")
    assert run_alembic(tmp_path, *typed).out == "013 (head)\n"
    refused = run_alembic(tmp_path, "-c", typed[1], "current", url=NOWHERE)
    assert refused.code != 0
    assert "Traceback" not in refused.said


def test_variables_that_python_reads_when_it_starts_are_left_to_the_installed_command(tmp_path: Path) -> None:
    for variables in ({"PYTHONUTF8": "0"}, {"LC_ALL": "C"}, {"TZ": "Asia/Tokyo"}, {"LANG": "C"}):
        assert not fits([], environment(tmp_path, None, **variables)), variables
