"""The Makefile and the scripts behind it, run for real in a copy of what they need: no network, no database.

What a command prints there is the product's first impression: one sentence that names the remedy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
TARGETS = re.findall(r"^([a-z][a-z-]*):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
COMMANDS = ("safe-upgrade", "rollback", "adopt", "verify", "backup", "status", "monitor")
WITHOUT_DATABASE = ("demo", "test", "bench")
HOSTILE_URL = "postgresql://lawsker:c4n4ry $HOME $(X) #'\"%25@db.example/lawsker"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the Makefile and what it runs, in a folder with a space in its name."""
    copy = tmp_path / "a checkout"
    copy.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(CHECKOUT / name, copy / name)
    shutil.copytree(CHECKOUT / "scripts", copy / "scripts")
    return copy


@pytest.fixture
def furnished(checkout: Path) -> Path:
    """Return the copy with an environment whose commands write down their environment and arguments."""
    programs = checkout / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("lawsker-db", "alembic", "python"):
        write_program(
            programs / name,
            'printf "%s" "${DATABASE_URL-unset}" >url; printf "%s\\n" "${0##*/}" "$@" >arguments; exit 11',
        )
    for stamp in ("base", "embedded", "dev"):
        (checkout / ".venv" / f".stamp-{stamp}").touch()
    return checkout


def write_program(path: Path, body: str) -> Path:
    """Write a small shell script that stands for a program."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder with a bare environment: no uv, nothing of the make that runs this test."""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), **variables}
    return subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, timeout=120, check=False)


def sentences(text: str) -> list[str]:
    """Return what was said about a failure: neither make's own line nor the lines that tell of progress."""
    return [line for line in text.splitlines() if not line.startswith(("make: ***", "Making ", "Installing "))]


def without_uv() -> None:
    """Skip where uv stands beside the system's own tools: it would be used, and these tests are about pip."""
    if shutil.which("uv", path="/usr/bin:/bin"):
        pytest.skip("uv is installed in the system's own folders")


def test_make_alone_is_help(checkout: Path) -> None:
    assert run(checkout, "make").stdout == run(checkout, "make", "help").stdout != ""


@pytest.mark.parametrize("target", TARGETS)
def test_help_describes(target: str, checkout: Path) -> None:
    described = re.findall(rf"^  {target} +(\S.*)$", run(checkout, "make", "help").stdout, re.MULTILINE)
    assert len(described) == 1
    assert len(described[0]) <= 90


def test_help_lists_nothing_else(checkout: Path) -> None:
    assert re.findall(r"^  ([a-z-]+) ", run(checkout, "make", "help").stdout, re.MULTILINE) == TARGETS


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("way", ["environment", "argument"])
def test_a_dry_run_works_and_never_shows_the_password(target: str, way: str, checkout: Path) -> None:
    command = ["make", "-n", target, "REVISION=012"]
    if way == "argument":
        done = run(checkout, *command, f"DATABASE_URL={HOSTILE_URL}")
    else:
        done = run(checkout, *command, DATABASE_URL=HOSTILE_URL)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert "c4n4ry" not in done.stdout


@pytest.mark.parametrize("target", [*COMMANDS, "upgrade", "downgrade"])
@pytest.mark.parametrize("way", ["environment", "argument"])
def test_the_url_reaches_the_command_whole_and_only_by_the_environment(target: str, way: str, furnished: Path) -> None:
    command = ["make", target, "REVISION=012"]
    if way == "argument":
        done = run(furnished, *command, f"DATABASE_URL={HOSTILE_URL}")
    else:
        done = run(furnished, *command, DATABASE_URL=HOSTILE_URL)
    assert done.returncode != 0  # the program's failure is make's failure
    assert (furnished / "url").read_text() == HOSTILE_URL
    assert "c4n4ry" not in (furnished / "arguments").read_text() + done.stdout + done.stderr


@pytest.mark.parametrize("target", WITHOUT_DATABASE)
def test_a_database_of_the_reader_is_kept_from(target: str, furnished: Path) -> None:
    run(furnished, "make", target, DATABASE_URL=HOSTILE_URL)
    assert (furnished / "url").read_text() == "unset"


@pytest.mark.parametrize("target", COMMANDS)
def test_options_reach_the_command(target: str, furnished: Path) -> None:
    run(furnished, "make", target, "ARGS=--json --note 'two words'")
    assert (furnished / "arguments").read_text().splitlines() == [
        "lawsker-db",
        *(("backup", "create") if target == "backup" else (target,)),
        "--json",
        "--note",
        "two words",
    ]


def test_make_test_leaves_out_what_takes_minutes_or_needs_other_servers(furnished: Path) -> None:
    run(furnished, "make", "test", "WORKERS=3")
    assert (furnished / "arguments").read_text().splitlines() == [
        *("python", "-m", "pytest", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"),
        *("-m", "not majors and not long and not faults and not browser"),
    ]


def test_downgrade_goes_where_it_is_told(furnished: Path) -> None:
    run(furnished, "make", "downgrade", "REVISION=012")
    assert (furnished / "arguments").read_text().splitlines() == ["alembic", "downgrade", "012"]


def test_downgrade_without_a_revision_says_how(checkout: Path) -> None:
    done = run(checkout, "make", "downgrade")
    assert done.returncode != 0
    assert sentences(done.stderr) == ["downgrade needs a revision: make downgrade REVISION=012"]
    assert not (checkout / ".venv").exists()


def test_clean_keeps_reports_and_backups(furnished: Path) -> None:
    kept = furnished / "lawsker-runs" / "run" / "report.json"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for folder in ("src/lawsker_db/__pycache__", "tests", "benchmarks", "alembic"):
        (furnished / folder).mkdir(parents=True)
    assert run(furnished, "make", "clean").returncode == 0
    assert kept.exists()
    assert not (furnished / ".venv").exists()
    assert not (furnished / "src/lawsker_db/__pycache__").exists()


@pytest.mark.parametrize("version", ["3.10.13", "3.9.18", "2.7.18"])
def test_an_old_python_is_refused_with_its_version(version: str, checkout: Path) -> None:
    without_uv()
    old = write_program(checkout / "python3", f"echo {version}")
    done = run(checkout, "make", "demo", f"PYTHON={old}")
    assert done.returncode != 0
    assert sentences(done.stderr) == [
        f"lawsker-db needs Python 3.11 or newer; found {version}: apt-get install python3.11, or make PYTHON=/path"
    ]


def test_a_python_that_does_not_run_is_named(checkout: Path) -> None:
    done = run(checkout, "scripts/bootstrap", PYTHON="/no/python3")
    assert done.returncode != 0
    assert sentences(done.stderr) == ["PYTHON=/no/python3 does not run: make PYTHON=/path of a Python 3.11 or newer"]


@pytest.mark.parametrize(("name", "package"), [("python3", "python3-venv"), ("python3.12", "python3.12-venv")])
@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_python_without_ensurepip_names_the_package(
    name: str, package: str, check: tuple[str, ...], checkout: Path
) -> None:
    without_uv()
    bare = write_program(checkout / name, 'case "$*" in *ensurepip*) exit 1 ;; *) echo 3.12.4 ;; esac')
    done = run(checkout, "scripts/bootstrap", *check, PYTHON=str(bare))
    assert done.returncode != 0
    assert sentences(done.stderr) == [
        f"Python 3.12.4 ({bare}) cannot make environments: apt-get install {package}, or install uv"
    ]


def test_a_python_that_can_make_environments_is_preferred(checkout: Path) -> None:
    without_uv()
    folder = checkout / "bin"
    folder.mkdir()
    write_program(folder / "python3", "echo 3.9.18")
    write_program(folder / "python3.11", 'case "$*" in *ensurepip*) exit 1 ;; *) echo 3.11.2 ;; esac')
    write_program(folder / "python3.12", "echo 3.12.4")
    done = run(checkout, "scripts/bootstrap", "--check", PATH=f"{folder}:/usr/bin:/bin")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (checkout / ".venv").exists()


def test_a_folder_that_cannot_be_written_is_named(checkout: Path) -> None:
    (checkout / ".venv").touch()  # a file in the way stops root too, which a mode does not
    done = run(checkout, "scripts/bootstrap", PYTHON=sys.executable)
    assert done.returncode != 0
    assert len(sentences(done.stderr)) == 1
    assert done.stderr.startswith(f"The folder .venv cannot be written in {checkout}: make the checkout writable")


def test_an_index_out_of_reach_is_told_in_one_sentence(checkout: Path) -> None:
    without_uv()
    done = run(
        checkout,
        "scripts/bootstrap",
        PYTHON=sys.executable,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",  # the discard port: nothing listens there
        PIP_RETRIES="0",
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_CACHE_DIR="1",
    )
    assert done.returncode != 0
    assert sentences(done.stderr) == [
        "pip cannot reach the package index: check the network and HTTPS_PROXY, or set PIP_INDEX_URL to a mirror"
    ]
    assert not (checkout / ".venv" / ".stamp-base").exists()
    assert list(checkout.glob("lawsker-bootstrap.*")) == []


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full: free about 300 MB"),
        ("SSLError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')", "pip does not trust the certificate"),
        ("WARNING: connection broken by 'NewConnectionError'", "pip cannot reach the package index"),
        ("ERROR: something new", "pip could not install lawsker-db (ERROR: something new): read "),
    ],
)
def test_each_failure_of_pip_is_one_sentence(output: str, sentence: str, checkout: Path) -> None:
    without_uv()
    (checkout / ".venv" / "bin").mkdir(parents=True)
    fake = 'case "$*" in *"pip install"*) cat output; exit 1 ;; *) echo 3.12.4 ;; esac'
    write_program(checkout / ".venv" / "bin" / "python", fake)
    (checkout / "output").write_text(f"{output}\nmore of it\n")
    done = run(checkout, "scripts/bootstrap", PYTHON=str(write_program(checkout / "python3", fake)))
    assert done.returncode != 0
    assert len(sentences(done.stderr)) == 1
    assert sentences(done.stderr)[0].startswith(sentence)


@pytest.mark.parametrize(
    ("extras", "stamps"),
    [
        ((), {".stamp-base"}),
        (("embedded",), {".stamp-base", ".stamp-embedded"}),
        (("dev,embedded",), {".stamp-base", ".stamp-embedded", ".stamp-dev"}),
    ],
)
def test_a_larger_set_of_extras_covers_the_smaller(extras: tuple[str, ...], stamps: set[str], checkout: Path) -> None:
    without_uv()
    (checkout / ".venv" / "bin").mkdir(parents=True)
    write_program(checkout / ".venv" / "bin" / "python", "echo 3.12.4")
    python = write_program(checkout / "python3", "echo 3.12.4")
    assert run(checkout, "scripts/bootstrap", *extras, PYTHON=str(python)).returncode == 0
    assert {path.name for path in (checkout / ".venv").glob(".stamp-*")} == stamps


def test_uv_is_used_when_it_is_there(checkout: Path) -> None:
    folder = checkout / "bin"
    folder.mkdir()
    write_program(
        folder / "uv",
        'echo "$@" >>uv-calls; [ "$1" != venv ] || { mkdir -p .venv/bin; cp bin/python3 .venv/bin/python; }',
    )
    write_program(folder / "python3", "echo 3.12.4")
    done = run(checkout, "scripts/bootstrap", "embedded", PATH=f"{folder}:/usr/bin:/bin")
    assert done.returncode == 0
    assert (checkout / "uv-calls").read_text().splitlines() == [
        "venv --quiet --python python3 .venv",
        "pip install --quiet --python .venv/bin/python --editable .[embedded]",
    ]


@pytest.mark.parametrize("script", ["scripts/bootstrap", "scripts/majors", ".ci/run"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    path = CHECKOUT / script
    assert os.access(path, os.X_OK)
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    assert run(CHECKOUT, shell, "-n", script).returncode == 0
