"""Killed at every phase of a restore: the old name leads to a whole database, and recover says which one is which."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import oracle
import psycopg
import pytest
from command_line import environment, eventually, run, started
from copies import Server, scratch_databases
from restoring import Shop, databases, one, shop_of
from servers import Breakable, breakable

from lawsker_db.demo.sample import load_sample
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target

# Kills itself (or the server) when the event of this name has been journalled.
STRIKE = """
import os, signal, sys
from pathlib import Path
from lawsker_db.safety.restore import RestoreOptions, restore
from lawsker_db.target import parse_target
url, backup, runs, name, victim = sys.argv[1:]
def strike(event):
    if event.name == name:
        os.kill(int(victim) or os.getpid(), signal.SIGKILL if victim == "0" else signal.SIGQUIT)
restore(parse_target(url), Path(backup), options=RestoreOptions(runs=Path(runs), reconnect_s=1), on_event=strike)
"""
BEFORE = ("opened", "scratch", "restoring", "proven", "gate closed", "about to swap")
AFTER = ("gate opened", "damaged opened", "damaged closed")
OFTEN = ("restoring", "about to swap", "damaged opened")


@pytest.fixture(scope="module")
def place(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with a proven backup, whose databases go when the module ends."""
    with shop_of(server, adopted_template, tmp_path_factory.mktemp("place"), upgraded=False) as shop:
        yield shop


def struck(shop: Shop, name: str, victim: int = 0) -> int:
    """Restore in a process of its own that strikes at an event. Returns how it ended."""
    backup = shop.runs / shop.run / "backup"
    typed = [sys.executable, "-c", STRIKE, shop.url, str(backup), str(shop.runs), name, str(victim)]
    done = subprocess.run(typed, env=environment(shop.folder, None), capture_output=True, check=False, timeout=120)
    return done.returncode


def back(server: Server, shop: Shop) -> None:
    """Put the names back for the next one: the restored database goes, the damaged one is the shop again."""
    for name in databases(server, f"{shop.name}_damaged"):
        server.run(f"DROP DATABASE {shop.name} WITH (FORCE)")
        server.run(f"ALTER DATABASE {name} RENAME TO {shop.name}")
        server.run(f"ALTER DATABASE {shop.name} ALLOW_CONNECTIONS true")
        server.run(f"ALTER DATABASE {shop.name} RESET default_transaction_read_only")
    for path in shop.runs.glob("*-restore-*"):
        subprocess.run(["rm", "-r", str(path)], check=True)


@pytest.mark.parametrize(
    "name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.faults) for n in BEFORE + AFTER]
)
def test_killed_at_any_phase_the_name_leads_to_a_whole_database_and_recover_says_which(
    name: str, place: Shop, server: Server
) -> None:
    with psycopg.connect(place.url) as conn:
        conn.execute("UPDATE tenants SET name = 'damaged ' || id")
    damaged = oracle.picture(place.url)
    assert struck(place, name) == -signal.SIGKILL
    ended = run(place.folder, "recover", url=place.url)
    assert ended.code == 0, ended.said
    found, kept = oracle.picture(place.url), databases(server, f"{place.name}_damaged")
    try:
        (folder,) = place.runs.glob("*-restore-*")
        if name in BEFORE:
            assert (found, kept) == (damaged, [])
            assert f"Run {folder.name}: rolled back" in ended.out
        else:
            assert (found[0], found[1]["public.tenants"]) == (place.before[0], place.before[1]["public.tenants"])
            assert f"Run {folder.name}: committed: the names were swapped" in ended.out
            assert f"the damaged one is called {kept[0]}" in ended.out
            open_ones = one(place.url, "SELECT count(*) FROM pg_database WHERE datname = %s AND datallowconn", kept[0])
            assert open_ones == 0
        assert scratch_databases(server) == set()
        assert run(place.folder, "recover", "--json", url=place.url).document["runs"] == []
    finally:
        back(server, place)


def test_recover_opens_no_database_that_a_later_restore_has_called_damaged(place: Shop, server: Server) -> None:
    try:
        assert struck(place, "gate closed") == -signal.SIGKILL
        server.run(f"ALTER DATABASE {place.name} ALLOW_CONNECTIONS true")  # by hand, and no recover
        assert run(place.folder, "restore", place.run, "--yes", url=place.url).code == 0
        (kept,) = databases(server, f"{place.name}_damaged")
        ended = run(place.folder, "recover", url=place.url)
        assert (ended.code, "Opened" in ended.out) == (0, False), ended.said
        assert one(place.url, "SELECT datallowconn FROM pg_database WHERE datname = %s", kept) is False
    finally:
        back(server, place)


def test_recover_closes_no_damaged_database_that_was_given_its_old_name_back(place: Shop, server: Server) -> None:
    try:
        assert struck(place, "damaged opened") == -signal.SIGKILL
        (kept,) = databases(server, f"{place.name}_damaged")
        server.run(f"DROP DATABASE {place.name} WITH (FORCE)")
        server.run(f"ALTER DATABASE {kept} RENAME TO {place.name}")
        server.run(f"ALTER DATABASE {place.name} ALLOW_CONNECTIONS true")
        ended = run(place.folder, "recover", url=place.url)
        assert "Closed" not in ended.out, ended.said
        assert one(place.url, "SELECT 1") == 1
    finally:
        server.run(f"ALTER DATABASE {place.name} RESET default_transaction_read_only")
        back(server, place)


NAMED = """
import os, signal, sys
from pathlib import Path
from lawsker_db.safety.restore import RestoreOptions, restore_to
from lawsker_db.target import parse_target
url, backup, runs, name = sys.argv[1:]
def strike(event):
    if event.name == "dropped":
        os.kill(os.getpid(), signal.SIGKILL)
restore_to(parse_target(url), Path(backup), name, options=RestoreOptions(runs=Path(runs)), on_event=strike)
"""


@pytest.mark.faults
def test_a_copy_that_got_its_name_before_the_kill_is_said_to_stand(place: Shop, server: Server) -> None:
    name = f"copy_of_{place.name}"
    typed = [sys.executable, "-c", NAMED, place.url, str(place.runs / place.run / "backup"), str(place.runs), name]
    done = subprocess.run(typed, env=environment(place.folder, None), check=False, timeout=120)
    try:
        assert done.returncode == -signal.SIGKILL
        ended = run(place.folder, "recover", url=place.url)
        assert (ended.code, f"its copy stands, whole and proven, as {name}" in ended.out) == (0, True), ended.said
        assert oracle.picture(server.url(name)) == place.before
    finally:
        server.run(f"DROP DATABASE {name}")
        back(server, place)


@contextmanager
def name_held(shop: Shop, server: Server) -> Iterator[None]:
    """Somebody is about to change the database's settings and does not end: no rename gets past that."""
    with psycopg.connect(server.url("postgres")) as conn:
        conn.execute(f"ALTER DATABASE {shop.name} SET work_mem = '9MB'".encode())
        yield
        conn.rollback()


def require_as_it_was(shop: Shop, server: Server) -> None:
    assert (databases(server, shop.name), scratch_databases(server)) == ([shop.name], set())
    assert one(shop.url, "SELECT datallowconn FROM pg_database WHERE datname = %s", shop.name) is True
    back(server, shop)


def test_a_swap_that_does_not_come_through_is_given_up_and_the_gate_opens_again(place: Shop, server: Server) -> None:
    with name_held(place, server):
        ended = run(place.folder, "restore", place.run, "--yes", url=place.url)
    assert ended.code == 11, ended.said
    assert "The names were not swapped: the server refused" in ended.line("Failed")
    assert "Nothing was renamed, the gate is open again" in ended.line("Database")
    require_as_it_was(place, server)


def test_an_interrupt_at_the_closed_gate_opens_it_and_says_so(place: Shop, server: Server) -> None:
    with name_held(place, server), started(place.folder, "restore", place.run, "--yes", url=place.url) as tool:
        assert eventually(lambda: "nobody can connect" in tool.said() or tool.child.poll() is not None)
        os.kill(tool.pid, signal.SIGINT)
        ended = tool.end()
    assert (ended.code, "Nothing was renamed" in ended.line("Database")) == (130, True), ended.said
    assert json.loads((place.folder / ended.line("Kept") / "report.json").read_text())["verdict"] == "interrupted"
    require_as_it_was(place, server)


def durable(url: str) -> tuple[str, dict[str, str]]:
    """The picture without what a crash alone changes: unlogged tables are emptied, sequences skip ahead."""
    schema, content = oracle.picture(url)
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'S' OR c.relpersistence = 'u'"
        ).fetchall()
    passing = {str(row[0]) for row in rows}
    return schema, {name: digest for name, digest in content.items() if name not in passing}


# ---- the server ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fragile() -> Iterator[Breakable]:
    with breakable() as standing:
        yield standing


@pytest.mark.faults
@pytest.mark.parametrize("name", ["restoring", "gate closed", "about to swap", "damaged opened"])
def test_a_server_that_dies_leaves_a_whole_database_under_the_name(
    name: str, fragile: Breakable, tmp_path: Path
) -> None:
    shop = f"shop_{name.replace(' ', '_')}"
    with psycopg.connect(fragile.url(), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {shop}".encode())
    url = fragile.url(shop)
    load_sample(url, users=30)
    adopt(parse_target(url))
    taken = run(tmp_path, "backup", "create", "--json", url=url)
    assert taken.code == 0, taken.said
    before = durable(url)
    typed = [sys.executable, "-c", STRIKE, url, taken.document["folder"], str(tmp_path / "lawsker-runs"), name]
    postmaster = int((fragile.data / "postmaster.pid").read_text().split()[0])
    done = subprocess.run(
        [*typed, str(postmaster)], env=environment(tmp_path, None), capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 1, "an error of ours, told by its class"
    said = done.stderr.decode().splitlines()
    fragile.settle()
    ended = run(tmp_path, "recover", url=url)
    assert ended.code == 0, ended.said
    assert durable(url) == before
    unknown = any("OutcomeUnknown" in line for line in said)
    assert unknown == (name in ("gate closed", "about to swap")), done.stderr.decode()[-2000:]
