"""What is typed is a value wherever it goes: SQL, shell and format strings in every option have no effect.

The cases come from the command line itself: an option that is new and has no case here fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import command_line
import psycopg
import pytest
import typer
from chains import small_chain
from command_line import Ended, everything
from small_run import LEDGER, LEDGER_PROMISE

from lawsker_db.cli.app import app
from lawsker_db.record.journal import read_journal

HOSTILE = "x'\"); DROP TABLE public.users CASCADE; --%s%(x)s:name{0}$(touch hit)`touch hit`"
NOT_TEXT = "r\udcff"  # the byte 0xFF as Python has it in an argument: a name of a file, but no UTF-8
BUG = 1
TOUCHES_NO_DATABASE = {("config",), ("version",), ("demo",)}  # demo has a server of its own; its options are typed ones
# What makes a command go as far as it can without changing anything.
BESIDE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("safe-upgrade",): ("--dry-run",),
    ("rollback",): ("012", "--dry-run", "--discard", "--reason", "why"),
    ("adopt",): ("--dry-run",),
    ("monitor",): ("--once",),
    ("backup", "create"): ("--no-proof",),
    ("backup", "prune"): ("--dry-run",),
    ("grants",): ("--role", "somebody"),
    ("rescue",): ("stands_still", "postgres", "--dry-run"),
    ("backup", "verify"): ("none",),
    ("backup", "show"): ("none",),
    ("backup", "sql"): ("none", "file.sql"),
    ("restore",): ("none", "--dry-run"),
}
# What an option of free text takes: the value typed for it, {} for the hostile one.
FREE = {
    "revision": "{}",
    "database_url": "postgresql:///{}",
    "direct_url": "postgresql:///{}",
    "proof_server": "postgresql:///{}",
    "runs": "{}",
    "config": "{}",
    "option": "{}={}",
    "after_backup": "{}",
    "notify": "{}",
    "accept_unproven_backup": "{}",
    "queries": "{}",
    "reinstate": "{}",
    "junit": "{}",
    "prom_file": "{}",
    "out": "{}",
    "run": "{}",
    "role": "{}",
    "name": "{}",
    "names": "{}",
    "replay": "{}",
    "file": "{}",
    "reason": "{}",
    "confirm": "{}",
    "backup": "{}",
    "to": "{}",
    "into": "{}",
}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the tool with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from commands(one, (*path, name))


def options() -> list[tuple[tuple[str, ...], Any]]:
    """Every argument and option that takes a value."""
    return [
        (path, parameter)
        for path, command in commands(typer.main.get_command(app))
        for parameter in command.params
        if not getattr(parameter, "is_flag", False)
    ]


def is_free(path: tuple[str, ...], parameter: Any) -> bool:
    """Whether it takes any text; what does not is refused while the line is parsed."""
    hint = get_type_hints(dict(commands(typer.main.get_command(app)))[path].callback)[parameter.name]
    return bool({hint, *get_args(hint)} & {str, Path, list[str]})


SHARED = ("database_url", "direct_url", "proof_server", "runs", "option")  # one piece of code for all commands
OFTEN = (("safe-upgrade",), ("backup", "create"))


def marks(path: tuple[str, ...], parameter: Any) -> Any:
    """The long suite has what is refused while it is parsed, and what the same code takes for several commands."""
    seldom = not is_free(path, parameter) or (parameter.name in SHARED and path not in OFTEN)
    return pytest.mark.long if seldom else ()


TOLD = [(path, parameter) for path, parameter in options() if path not in TOUCHES_NO_DATABASE]
CASES = [
    pytest.param(path, parameter, id=f"{' '.join(path)} {parameter.name}", marks=marks(path, parameter))
    for path, parameter in TOLD
]
NOT_TEXTS = [
    pytest.param(
        path, parameter, id=f"{' '.join(path)} {parameter.name}", marks=() if path in OFTEN else pytest.mark.long
    )
    for path, parameter in TOLD
    if is_free(path, parameter)
]


@pytest.fixture(scope="module")
def standing_url(server: Any, adopted_template: str) -> Iterator[str]:
    """One database for all cases, which must be as it was after the last one."""
    server.run(f"CREATE DATABASE stands_still TEMPLATE {adopted_template}")
    url = server.url("stands_still")
    before = everything(url)
    yield url
    assert everything(url) == before
    server.run("DROP DATABASE stands_still")


def require_unharmed(url: str, folder: Path, ended: Ended) -> None:
    assert ended.code in (0, 2, 10), ended.said
    assert "Traceback" not in ended.said
    assert list(folder.rglob("hit")) == []
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM users").fetchone()
        assert row is not None
        assert row[0] > 0


def test_every_option_of_free_text_has_a_case() -> None:
    free = {parameter.name for path, parameter in options() if is_free(path, parameter)}
    assert free == set(FREE)


@pytest.mark.parametrize(("path", "parameter"), CASES)
def test_a_hostile_value_is_taken_literally_or_refused(
    path: tuple[str, ...], parameter: Any, standing_url: str, tmp_path: Path
) -> None:
    ended = command_line.run(tmp_path, *typed_for(path, parameter, HOSTILE), url=standing_url)
    require_unharmed(standing_url, tmp_path, ended)
    if not is_free(path, parameter):
        assert ended.code == 2, ended.said


@pytest.mark.parametrize(("path", "parameter"), NOT_TEXTS)
def test_bytes_that_are_not_utf_8_are_taken_literally_or_refused(
    path: tuple[str, ...], parameter: Any, standing_url: str, tmp_path: Path
) -> None:
    ended = command_line.run(tmp_path, *typed_for(path, parameter, NOT_TEXT), url=standing_url)
    require_unharmed(standing_url, tmp_path, ended)


def typed_for(path: tuple[str, ...], parameter: Any, value: str) -> tuple[str, ...]:
    """The command with this value for one of its parameters."""
    typed = FREE.get(parameter.name, "{}").replace("{}", value)
    beside = BESIDE.get(path, ())
    if parameter.param_type_name != "argument":
        return (*path, *beside, parameter.opts[0], typed)
    return (*path, beside[0], typed) if parameter.name == "file" else (*path, typed, *beside[1:])


def test_a_run_in_a_folder_whose_name_is_not_utf_8_is_a_run(adopted_url: str, tmp_path: Path) -> None:
    """By the option, and by the working directory alone."""
    work = tmp_path / NOT_TEXT
    work.mkdir()
    config = small_chain(tmp_path / "chain", (LEDGER, LEDGER_PROMISE, 'op.drop_table("ledger")'))
    typed = ("safe-upgrade", "--yes", "--no-rehearsal", "--config", str(config))
    for ended in (
        command_line.run(work, "backup", "create", "--no-proof", url=adopted_url, HOME=str(tmp_path)),
        command_line.run(work, "backup", "list", url=adopted_url, HOME=str(tmp_path)),
        command_line.run(tmp_path, *typed, "--runs", NOT_TEXT, url=adopted_url),
        command_line.run(tmp_path, "recover", "--runs", NOT_TEXT, url=adopted_url),
        command_line.run(tmp_path, "status", "--runs", NOT_TEXT, "--config", str(config), url=adopted_url),
    ):
        assert ended.code == 0, ended.said
    (journal,) = (tmp_path / NOT_TEXT).glob("*/journal.jsonl")
    assert "committed" in [event["name"] for event in read_journal(journal)]


QUERIES = (
    "SELECT 1; DROP TABLE public.users CASCADE;",
    "SELECT 1) TO PROGRAM 'touch hit'; --;",
    "WITH gone AS (DELETE FROM public.users RETURNING 1) SELECT * FROM gone;",
    "SELECT 1; COMMIT; DROP TABLE public.users CASCADE;",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = pg_backend_pid();",
)


@pytest.mark.parametrize("query", QUERIES)
def test_a_file_of_queries_is_explained_and_never_run(query: str, standing_url: str, tmp_path: Path) -> None:
    (tmp_path / "queries.sql").write_text(query)
    ended = command_line.run(tmp_path, "verify", "--queries", "queries.sql", url=standing_url)
    assert ended.code in (0, 2, 10, 13), ended.said
    assert "Traceback" not in ended.said
    assert list(tmp_path.rglob("hit")) == []


def test_a_database_with_a_hostile_name_is_a_database(server: Any, adopted_template: str, tmp_path: Path) -> None:
    name = "x'\"; DROP DATABASE stands; --%s"
    quoted = '"' + name.replace('"', '""') + '"'
    server.run(f"CREATE DATABASE {quoted} TEMPLATE {adopted_template}")
    try:
        url = server.url("PLACE").replace("PLACE", "".join(f"%{byte:02X}" for byte in name.encode()))
        for typed in (("status",), ("history",), ("doctor",), ("grants", "--role", HOSTILE), ("backup", "create")):
            ended = command_line.run(tmp_path, *typed, url=url)
            assert ended.code == 0, ended.said
    finally:
        server.run(f"DROP DATABASE {quoted}")
