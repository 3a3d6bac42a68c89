"""What an operator meets when something is wrong: a sentence, the database's state, the next command, nothing changed."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

import command_line
import psycopg
import pytest
from command_line import Ended, children, eventually, everything, files, run, script
from small_disk import small_disk

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import DEFAULT_SETTINGS, ThrowawayServer, _way, throwaway_server
from lawsker_db.errors import BackupFailed
from lawsker_db.processes import started
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.archive import Form
from lawsker_db.safety.backup import BackupOptions, take_backup
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]
CANARY = "c4n4ry"
WAITING = """
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE NOT l.granted AND l.locktype = 'relation' AND d.datname = current_database()
"""
UNTOUCHED = "The database was not changed."
PROBLEM_FREE = ("Traceback", "Exception", "  File ", "psycopg", "sqlalchemy", CANARY)


def explains(ended: Ended, code: int, *words: str) -> None:
    """One failure as it must look: the exit code, what failed, state, next; no traceback, no password."""
    assert ended.code == code, ended.said
    failed = ended.line("Failed")
    for word in words:
        assert word in failed, f"{word!r} is not in: {failed}"
    assert not failed.endswith(".."), failed
    assert ended.line("Database") == UNTOUCHED
    assert ended.line("Next")
    assert not [word for word in PROBLEM_FREE if word in ended.said], ended.said


def says_the_same_in_json(ended: Ended, plain: Ended) -> None:
    """The --json form: one object on stdout, with the facts of the plain form."""
    error = ended.document["error"]
    assert ended.code == plain.code == error["exit_code"]
    assert error["state"] == plain.line("Database")
    assert error["next"] == plain.line("Next")
    # a run id, which is new each time, may stand in the sentence
    assert error["message"][:40] == plain.line("Failed")[:40]
    assert not [word for word in PROBLEM_FREE if word in ended.said], ended.said


def refuses(folder: Path, *typed: str, code: int, words: tuple[str, ...], url: str | None, **variables: str) -> Ended:
    """Type it, and type it with --json: both must explain themselves."""
    plain = run(folder, *typed, url=url, **variables)
    explains(plain, code, *words)
    says_the_same_in_json(run(folder, *typed, "--json", url=url, **variables), plain)
    for name, content in files(folder).items():
        assert CANARY.encode() not in content, name
    return plain


@contextmanager
def nothing_changes(url: str) -> Iterator[None]:
    """The database is the same after the block, content, schema, stamp and history."""
    before = everything(url)
    yield
    assert everything(url) == before


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


# ---- the address -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://root:c4n4ry@db/lawsker", ("mysql://", "not PostgreSQL")),
        ("postgresql://lawsker:c4n4ry@db.example", ("names no database",)),
        ("postgresql://lawsker:c4n4ry@db.example:5432/", ("names no database",)),
        ("c4n4ry", ("cannot be read",)),
        ("postgresql://lawsker:%zzc4n4ry@db/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:50%c4n4ry@db/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:a/c4n4ry@db/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:5432/c4n4ry@db/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:a@c4n4ry@db/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:x@db:c4n4ry/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:c4n4ry@[::1/lawsker", ("cannot be read",)),
        ("postgresql://lawsker:[c4n4ry@db", ("names no database",)),
        ("postgresql://lawsker@db/lawsker?pasword=c4n4ry", ("cannot be read",)),
        ("   ", ("No database was named",)),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_without_repeating_it(
    url: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    ended = refuses(tmp_path, "safe-upgrade", "--yes", code=2, words=words, url=url)
    assert "DATABASE_URL=postgresql://" in ended.line("Next")


@pytest.mark.parametrize(
    "command", ["safe-upgrade", "rehearse", "doctor", "adopt", "verify", "status", "history", "backup create"]
)
def test_no_address_at_all_is_refused_with_how_to_give_one(command: str, tmp_path: Path) -> None:
    ended = refuses(tmp_path, *command.split(), code=2, words=("No database was named",), url=None)
    assert "DATABASE_URL=" in ended.line("Next")


@pytest.mark.parametrize("command", ["safe-upgrade", "history", "status", "backup create"])
def test_a_host_that_is_down_is_told_with_its_address(command: str, tmp_path: Path) -> None:
    url = f"postgresql://lawsker:{CANARY}@127.0.0.1:1/lawsker"
    refuses(tmp_path, *command.split(), code=10, words=("lawsker@127.0.0.1:1/lawsker", "refused"), url=url)
    assert not files(tmp_path)


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str:
        """The URL of one of its databases."""


def test_an_unknown_database_is_told_in_the_servers_words(server: Server, tmp_path: Path) -> None:
    url = server.url("no_such_database")
    refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=('database "no_such_database" does not exist',), url=url)


# ---- another server: passwords, a standby ----------------------------------------------------------------------------


def test_a_wrong_password_is_told_and_never_shown(tmp_path: Path) -> None:
    with throwaway_server() as server:
        execute(server.url(), f"CREATE ROLE clerk LOGIN PASSWORD '{CANARY}'", "CREATE DATABASE lawsker OWNER clerk")
        ask_for_passwords(server.data_folder, server.url(), "clerk")
        where = quote(str(server.folder), safe="")
        url = f"postgresql://clerk:{CANARY}wrong@/lawsker?host={where}"
        with nothing_changes(server.url("lawsker")):
            words = ('password authentication failed for user "clerk"',)
            refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=url)
        right = run(tmp_path, "status", url=f"postgresql://clerk:{CANARY}@/lawsker?host={where}")
        assert right.code == 0, right.said


def ask_for_passwords(data: Path, url: str, role: str) -> None:
    """Have the server ask one role for its password."""
    rules = data / "pg_hba.conf"
    rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
    execute(url, "SELECT pg_reload_conf()")


def test_a_standby_is_refused_and_sent_to_the_primary(tmp_path: Path) -> None:
    with throwaway_server(settings={"wal_level": "replica"}) as primary:
        execute(primary.url(), "CREATE DATABASE live")
        load_sample(primary.url("live"), users=20)
        execute(primary.url("live"), "ALTER TABLE session_cache SET LOGGED")  # nobody reads such a table on a standby
        execute(primary.url(), "CREATE DATABASE adopted TEMPLATE live")
        adopt(parse_target(primary.url("adopted")))
        stays = tmp_path / "typed here"
        stays.mkdir()
        assert run(stays, "backup", "create", "--no-proof", url=primary.url("adopted")).code == 0
        (backup,) = (stays / "lawsker-runs").iterdir()
        with (
            standby_of(primary, tmp_path / "standby") as url,
            nothing_changes(url("adopted")),
            nothing_changes(url("live")),
        ):
            for typed, database in (
                (("safe-upgrade", "--yes"), "adopted"),
                (("backup", "create"), "adopted"),
                (("rehearse",), "adopted"),
                (("verify",), "adopted"),
                (("adopt", "--yes"), "live"),
            ):
                ended = refuses(stays, *typed, code=10, words=("a standby",), url=url(database))
                assert ended.line("Next") == "connect to the primary"
            proof = ("backup", "verify", backup.name, "--proof-server", url("postgres"))
            refuses(stays, *proof, code=10, words=("a standby",), url=url("adopted"))
            assert run(stays, "status", url=url("adopted")).code == 0


@contextmanager
def standby_of(primary: ThrowawayServer, folder: Path) -> Iterator[Callable[[str], str]]:
    """A real hot standby for the block: a base backup of the primary with standby.signal, run beside it."""
    data = folder / "data"
    new = primary.binaries.major >= 15
    with psycopg.connect(primary.url(), autocommit=True) as conn:
        conn.execute("SELECT pg_backup_start('test', true)" if new else "SELECT pg_start_backup('test', true, false)")
        shutil.copytree(primary.data_folder, data, ignore=shutil.ignore_patterns("postmaster.*", "pgsql_tmp"))
        end = "SELECT labelfile FROM " + ("pg_backup_stop(false)" if new else "pg_stop_backup(false, false)")
        label = conn.execute(end.encode()).fetchone()
        assert label is not None
        (data / "backup_label").write_text(str(label[0]))
    shutil.copytree(primary.data_folder / "pg_wal", data / "pg_wal", dirs_exist_ok=True)
    (data / "standby.signal").touch()
    data.chmod(0o700)
    way = _way(primary.binaries)
    if way.user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, *way.user)
    # a short path: a socket's name holds 107 bytes
    with tempfile.TemporaryDirectory(prefix="lksb-", dir="/tmp") as socket:
        Path(socket).chmod(0o777)
        settings = {**DEFAULT_SETTINGS, "unix_socket_permissions": "0777", "unix_socket_directories": socket}
        pairs = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*way.wrap, str(primary.binaries.folder / "postgres"), "-D", str(data), *pairs]

        def url(database: str) -> str:
            return f"postgresql:///{database}?host={quote(socket, safe='')}&user={primary.superuser}"

        with started(command, user=way.user) as child:
            assert eventually(lambda: answers(url("postgres")) or child.poll() is not None)
            yield url


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


# ---- tools, disk, folders --------------------------------------------------------------------------------------------


def test_missing_tools_are_refused_with_what_to_install(adopted_url: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with nothing_changes(adopted_url):
        for typed in (("safe-upgrade", "--yes"), ("backup", "create")):
            words = ("pg_dump fits", "no pg_dump at all")
            empty = str(tmp_path / "empty")
            ended = refuses(tmp_path, *typed, code=10, words=words, url=adopted_url, LAWSKER_PG_BIN=empty)
            assert "postgresql-client-" in ended.line("Next")
            assert ended.line("Kept") == "nothing was written"
    assert not files(tmp_path)


@pytest.mark.parametrize("version", ["11.2", "9.6.24", "99.1"])
def test_a_tool_that_does_not_fit_the_server_is_refused(version: str, adopted_url: str, tmp_path: Path) -> None:
    if version == "99.1" and major(adopted_url) > 16:
        version = "16.1"  # for a new server any newer client fits, an older one does not
    script(tmp_path / "bin" / "pg_dump", f'echo "pg_dump (PostgreSQL) {version}"')
    words = ("No pg_dump fits", version.rpartition(".")[0].split(".")[0])
    chosen = str(tmp_path / "bin")
    with nothing_changes(adopted_url):
        refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=adopted_url, LAWSKER_PG_BIN=chosen)


def major(url: str) -> int:
    with psycopg.connect(url) as conn:
        return conn.info.server_version // 10000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param("exit 0", ("ended well but wrote no archive",), id="ends at once"),
        pytest.param("printf PGDMPhalf; kill -9 $$", ("ended by signal 9",), id="killed", marks=pytest.mark.long),
        pytest.param("echo 'pg_dump: error: out of memory' >&2; exit 1", ("exit code 1", "out of memory"), id="fails"),
    ],
)
def test_a_dump_that_is_none_stops_the_run_before_the_migration(
    body: str, words: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    answer = f'[ "$1" = --version ] && echo "pg_dump (PostgreSQL) {major(adopted_url)}.1" && exit 0'
    script(tmp_path / "bin" / "pg_dump", f"{answer}\n{body}")
    script(tmp_path / "bin" / "pg_restore", answer.replace("pg_dump", "pg_restore"))
    chosen = str(tmp_path / "bin")
    with nothing_changes(adopted_url):
        refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=adopted_url, LAWSKER_PG_BIN=chosen)
        alone = refuses(tmp_path, "backup", "create", code=10, words=words, url=adopted_url, LAWSKER_PG_BIN=chosen)
    assert alone.line("Kept") == "nothing was written"
    assert not [name for name in files(tmp_path) if name.endswith((".dump", ".partial", "manifest.json"))]
    for folder in (tmp_path / "lawsker-runs").iterdir():
        assert json.loads((folder / "report.json").read_text())["verdict"] == "refused"


def test_a_pg_dump_that_someone_kills_leaves_no_half_backup(adopted_url: str, tmp_path: Path) -> None:
    """The real pg_dump, held up by a lock, killed from outside."""
    with (
        nothing_changes(adopted_url),
        psycopg.connect(adopted_url, autocommit=True) as watcher,
        locked_users(adopted_url),
        command_line.started(tmp_path, "safe-upgrade", "--yes", url=adopted_url) as tool,
    ):
        assert eventually(lambda: waits_for_a_lock(watcher))
        os.kill(children(tool.pid, "pg_dump")[0], signal.SIGKILL)
        explains(tool.end(), 10, "pg_dump", "ended by signal 9")
    assert not [name for name in files(tmp_path) if name.endswith((".dump", ".partial", "manifest.json"))]


@contextmanager
def locked_users(url: str) -> Iterator[None]:
    """Another session holds the strongest lock on users for the block."""
    with psycopg.connect(url) as conn:
        conn.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        yield


def waits_for_a_lock(conn: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether pg_dump waits for a lock on a table, which a reader that takes the fingerprints does beside it."""
    return len(conn.execute(WAITING).fetchall()) > 1


def test_a_disk_without_room_is_found_before_anything_begins(adopted_url: str, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", megabytes=4) as disk, nothing_changes(adopted_url):
        words = ("disk for the backup", "MB free")
        typed = ("safe-upgrade", "--yes", "--runs", str(disk / "runs"))
        ended = refuses(tmp_path, *typed, code=10, words=words, url=adopted_url)
        assert "--runs FOLDER" in ended.line("Next")


def test_a_disk_that_fills_up_under_the_dump_leaves_nothing(adopted_url: str, tmp_path: Path) -> None:
    """By the call behind `backup create`, which would have looked for room first."""
    execute(
        adopted_url,
        "CREATE TABLE bulk AS SELECT md5(n::text) || md5((n * 7)::text) AS noise FROM generate_series(1, 120000) n",
    )
    with small_disk(tmp_path / "disk", megabytes=4) as disk, nothing_changes(adopted_url):
        for form in Form:
            with pytest.raises(BackupFailed, match=r"cannot be written.*No space left on device") as refused:
                take_backup(parse_target(adopted_url), disk / "backup", "b", options=BackupOptions(form=form))
            assert "--runs FOLDER" in refused.value.hint
            assert not list(disk.iterdir())


def test_a_folder_that_cannot_be_made_is_refused(adopted_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with nothing_changes(adopted_url):
        for runs, typed, place in (
            ("file", "safe-upgrade --yes", "file"),
            ("file/below", "backup create", "file"),
            ("/proc/x", "backup create", "/proc"),
        ):
            ended = refuses(tmp_path, *typed.split(), "--runs", runs, code=10, words=(place,), url=adopted_url)
            assert "--runs FOLDER" in ended.line("Next")
    assert list(files(tmp_path)) == ["file"]


def test_a_runs_folder_that_others_may_write_is_refused(adopted_url: str, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with nothing_changes(adopted_url):
        for mode, typed in ((0o770, ("safe-upgrade", "--yes")), (0o702, ("backup", "create"))):
            runs.chmod(mode)
            words = ("Others may write", str(runs))
            ended = refuses(tmp_path, *typed, "--runs", "runs", code=10, words=words, url=adopted_url)
            assert ended.line("Next") == f"chmod go-w '{runs}'"
    assert not list(runs.iterdir())


# ---- what is typed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("safe-upgrade",), ("no terminal to ask on",)),
        (("safe-upgrade", "--yes", "--on-failure", "pray"), ("pray",)),
        (("safe-upgrade", "--yes", "--option", "email_verified"), ("--option email_verified", "NAME=VALUE")),
        (("safe-upgrade", "--yes", "--option", "=active"), ("NAME=VALUE",)),
        (("safe-upgrade", "--yes", "--lock-patience", "soon"), ("--lock-patience",)),
        (("safe-upgrade", "--yes", "--reconnect", "-1"), ("--reconnect",)),
        (("safe-upgrade", "--yse"), ("--yse",)),
        (("safe-upgrade", "013", "014", "--yes"), ("014",)),
        (("save-upgrade",), ("save-upgrade",)),
    ],
)
def test_a_wrong_command_line_is_exit_2(
    typed: tuple[str, ...], words: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    with nothing_changes(adopted_url):
        refuses(tmp_path, *typed, code=2, words=words, url=adopted_url)
    assert not files(tmp_path)


def test_adopt_without_a_terminal_and_without_yes_is_exit_2(sample_url: str, tmp_path: Path) -> None:
    with nothing_changes(sample_url):
        refuses(tmp_path, "adopt", code=2, words=("no terminal to ask on",), url=sample_url)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("999",), ("Revision 999 is not in the chain",)),
        (("+2",), ("no revision +2 from 012",)),
        (("base",), ("lies below",)),
        (("--config", "nowhere/alembic.ini"), ("no Alembic configuration at nowhere/alembic.ini",)),
    ],
)
def test_a_revision_that_cannot_be_reached_is_refused(
    typed: tuple[str, ...], words: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    with nothing_changes(adopted_url):
        refuses(tmp_path, "safe-upgrade", *typed, "--yes", code=10, words=words, url=adopted_url)
        dry = run(tmp_path, "safe-upgrade", *typed, "--dry-run", url=adopted_url)
        explains(dry, 10, *words)
    assert not files(tmp_path)


# ---- what is in the database -----------------------------------------------------------------------------------------


def test_a_database_that_is_not_lawskers_is_refused_and_told_what_is_missing(empty_url: str, tmp_path: Path) -> None:
    execute(empty_url, "CREATE TABLE users (id bigint PRIMARY KEY, login text)", "INSERT INTO users VALUES (1, 'ann')")
    with nothing_changes(empty_url):
        ended = run(tmp_path, "adopt", "--yes", url=empty_url)
        explains(ended, 10, "not a Lawsker database", "cases")
        says_the_same_in_json(run(tmp_path, "adopt", "--yes", "--json", url=empty_url), ended)
        ended = refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=("not ready", "users"), url=empty_url)
        assert "adopt --dry-run" in ended.line("Next")
        refuses(tmp_path, "verify", code=10, words=("not stamped",), url=empty_url)
    assert not files(tmp_path)


def test_a_live_database_that_nobody_stamped_is_sent_to_adopt(sample_url: str, tmp_path: Path) -> None:
    with nothing_changes(sample_url):
        ended = refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=("there already", "adopted"), url=sample_url)
        assert ended.line("Next").startswith("lawsker-db adopt")
        assert "(and 18 more)" in ended.err, "of 23 names of indexes"
        chinese = run(tmp_path, "safe-upgrade", "--yes", "--lang", "zh", url=sample_url)
        assert "以下表已存在" in chinese.err
        assert "There" not in chinese.err
        assert "These" not in chinese.err
        refuses(tmp_path, "rollback", "--yes", code=10, words=("not stamped", "nothing to take back"), url=sample_url)


def test_a_database_at_head_is_exit_0_and_says_so(adopted_url: str, tmp_path: Path) -> None:
    assert run(tmp_path, "safe-upgrade", "--yes", url=adopted_url).code == 0
    kept = files(tmp_path)
    with nothing_changes(adopted_url):
        again = run(tmp_path, "safe-upgrade", "--yes", url=adopted_url)
        assert (again.code, again.out.splitlines()[0]) == (
            0,
            "NOTHING TO DO: The database is at revision 013 already.",
        )
        document = run(tmp_path, "safe-upgrade", "--yes", "--json", url=adopted_url).document
        assert document["verdict"] == "nothing to do"
        assert run(tmp_path, "safe-upgrade", "--dry-run", url=adopted_url).code == 0
        unasked = run(tmp_path, "safe-upgrade", url=adopted_url)
        assert (unasked.code, unasked.out) == (0, again.out)
        refuses(tmp_path, "safe-upgrade", "012", "--yes", code=10, words=("lies below",), url=adopted_url)
    assert files(tmp_path) == kept


@pytest.mark.parametrize(
    ("left_behind", "word"),
    [
        ("CREATE TABLE lawyer_levels (id serial PRIMARY KEY)", "lawyer_levels"),
        pytest.param("CREATE VIEW user_credits AS SELECT id FROM users", "user_credits", marks=pytest.mark.long),
        ("ALTER TABLE users ADD COLUMN account_type varchar(20)", "account_type"),
        pytest.param(
            "CREATE INDEX idx_users_account_type ON users (email)", "idx_users_account_type", marks=pytest.mark.long
        ),
        ("ALTER TYPE casestatus RENAME VALUE 'COMPLETED' TO 'completed'", "COMPLETED"),
        pytest.param(
            "ALTER TABLE cases ALTER COLUMN status TYPE text USING lower(status::text)",
            "casestatus",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_an_older_script_half_made_is_refused_by_name(
    left_behind: str, word: str, adopted_url: str, tmp_path: Path
) -> None:
    execute(adopted_url, left_behind)
    with nothing_changes(adopted_url):
        refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=("not ready", word), url=adopted_url)
        refuses(tmp_path, "safe-upgrade", code=10, words=("not ready", word), url=adopted_url)  # before it would ask
        dry = run(tmp_path, "safe-upgrade", "--dry-run", url=adopted_url)
        assert dry.code == 10
        assert any(line.startswith("FAIL") and word in line for line in dry.out.splitlines()), dry.out
        assert "Not ready. Nothing was changed." in dry.out
        document = run(tmp_path, "safe-upgrade", "--dry-run", "--json", url=adopted_url)
        assert (document.code, document.document["ready"]) == (10, False)
    assert not files(tmp_path)


def test_a_stamp_that_the_chain_does_not_know_is_refused_by_name(adopted_url: str, tmp_path: Path) -> None:
    execute(adopted_url, "UPDATE alembic_version SET version_num = 'f00ba4'")
    with nothing_changes(adopted_url):
        for typed in (("safe-upgrade", "--yes"), ("verify",)):
            ended = refuses(tmp_path, *typed, code=10, words=("f00ba4", "does not know"), url=adopted_url)
            assert "status --config FILE" in ended.line("Next")
        assert run(tmp_path, "status", url=adopted_url).out.startswith("UNKNOWN REVISION: ")
        assert run(tmp_path, "status", "--json", url=adopted_url).document["word"] == "unknown revision"


def test_adopt_never_replaces_a_stamp_that_the_chain_does_not_know(sample_url: str, tmp_path: Path) -> None:
    execute(
        sample_url,
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('abc')",
    )
    with nothing_changes(sample_url):
        for typed in (("--dry-run",), ("--yes",), ("--yes", "--json")):
            ended = run(tmp_path, "adopt", *typed, url=sample_url)
            assert ended.code == 10, ended.said
            assert "revision abc, which this chain does not know" in ended.said
        words = ("revision abc", "does not know")
        ended = refuses(tmp_path, "adopt", "--yes", code=10, words=words, url=sample_url)
        assert "DELETE FROM alembic_version" in ended.line("Next")
    execute(sample_url, "DELETE FROM alembic_version")
    assert run(tmp_path, "adopt", "--yes", url=sample_url).code == 0


def test_a_database_without_any_of_the_tables_is_sent_to_safe_upgrade(empty_url: str, tmp_path: Path) -> None:
    assert run(tmp_path, "status", url=empty_url).out.splitlines()[-1] == "Next: lawsker-db safe-upgrade"
    ended = run(tmp_path, "adopt", "--dry-run", url=empty_url)
    assert (ended.code, ended.out) == (10, ""), ended.said
    assert "none of Lawsker's tables" in ended.line("Failed")
    assert ended.line("Next").startswith("lawsker-db safe-upgrade")
    assert run(tmp_path, "safe-upgrade", "--yes", url=empty_url).code == 0
    assert run(tmp_path, "status", url=empty_url).out.startswith("AT HEAD: ")


def test_adopt_tells_of_a_strange_database_in_few_lines_and_in_json_all(empty_url: str, tmp_path: Path) -> None:
    execute(empty_url, "CREATE TABLE users (id bigint PRIMARY KEY)")
    ended = run(tmp_path, "adopt", "--dry-run", url=empty_url)
    assert (ended.code, len(ended.out.splitlines()) < 40) == (10, True), ended.out
    assert ended.out.splitlines()[-1].endswith("more: --json lists them")
    assert len(ended.line("Failed")) < 200
    error = run(tmp_path, "adopt", "--dry-run", "--json", url=empty_url).document["error"]
    assert len(error["differences"]) > 200
    assert len(error["failed"]) == ended.out.count("FAIL ")


def test_columns_of_another_type_are_counted_and_named_whole(adopted_url: str, tmp_path: Path) -> None:
    execute(
        adopted_url,
        "ALTER TABLE user_roles ALTER COLUMN assigned_at DROP DEFAULT",
        "ALTER TABLE user_roles ALTER COLUMN assigned_at TYPE numeric(12, 2) USING 0",
    )
    words = ("user_roles.assigned_at (expected a time, found numeric(12,2))",)
    refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=adopted_url)
    chinese = run(tmp_path, "safe-upgrade", "--yes", "--lang", "zh", url=adopted_url)
    assert "user_roles.assigned_at（预期时间类型，实际 numeric(12,2)）" in chinese.err
    for column in ("users.username", "users.created_at", "users.updated_at", "roles.name", "cases.updated_at"):
        table, name = column.split(".")
        execute(adopted_url, f"ALTER TABLE {table} DROP COLUMN {name} CASCADE")
    ended = run(tmp_path, "safe-upgrade", "--yes", url=adopted_url)
    assert "users.updated_at (expected a time, found none) (and 1 more)" in ended.line("Failed")


def test_a_role_without_rights_is_told_which_and_how_to_grant_them(adopted_url: str, tmp_path: Path) -> None:
    role = f"clerk_{secrets.token_hex(4)}"
    execute(adopted_url, f"CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'")
    execute(adopted_url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    parts = urlsplit(adopted_url)
    url = f"{adopted_url}&options=-c%20role%3D{role}" if parts.query else f"{adopted_url}?options=-c%20role%3D{role}"
    try:
        with nothing_changes(adopted_url):
            words = (f"{role} lacks CREATE on the database", "owner of users")
            ended = refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=url)
            assert ended.line("Next").startswith("GRANT CREATE ON DATABASE")
            execute(adopted_url, f"REVOKE SELECT ON alembic_version FROM {role}")
            doctor = run(tmp_path, "doctor", url=url)
            for told in (
                "FAIL     stamp: ",
                f"{role} lacks CREATE on the database",
                "disk for the backup: ",
                "PASS     server version",
            ):
                assert told in doctor.out, "all of it is told, also where the stamp cannot be read"
            assert "right: SELECT for public.alembic_version" in doctor.out
            refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=("owner of users", "stamp: "), url=url)
    finally:
        execute(adopted_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_every_right_that_is_lacking_is_found_before_anything_begins(adopted_url: str, tmp_path: Path) -> None:
    """In a schema of another name, too: the GRANT that is offered names it."""
    role = f"clerk_{secrets.token_hex(4)}"
    execute(
        adopted_url,
        f"CREATE ROLE {role}",
        'ALTER SCHEMA public RENAME TO "My App%x"',
        f'ALTER DATABASE {urlsplit(adopted_url).path[1:]} SET search_path = "My App%x"',
        f'GRANT USAGE ON SCHEMA "My App%x", lawsker_db TO {role}',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA "My App%x", lawsker_db TO {role}',
        f'REVOKE SELECT ON "My App%x".profiles, "My App%x".user_roles FROM {role}',
        'REVOKE SELECT ON "My App%x".profiles, "My App%x".user_roles FROM PUBLIC',
    )
    joined = "&" if urlsplit(adopted_url).query else "?"
    url = f"{adopted_url}{joined}options=-c%20role%3D{role}"
    try:
        dry = run(tmp_path, "safe-upgrade", "--dry-run", "--json", url=url)
        assert dry.code == 10, dry.said
        failed = {check["name"]: check for check in dry.document["checks"] if check["ok"] is False}
        assert failed["right: CREATE on the schema"]["detail"] == f'GRANT CREATE ON SCHEMA "My App%x" TO "{role}"'
        assert '"My App%x".profiles' in failed["right: to dump everything"]["found"]
        assert failed["right: SELECT on user_roles"]["detail"] == f'GRANT SELECT ON TABLE "user_roles" TO "{role}"'
        assert {"right: REFERENCES on users", "right: REFERENCES on cases"} <= set(failed)
        assert "right: UPDATE, DELETE, TRUNCATE on cases" in failed
        assert "right: UPDATE for My App%x.alembic_version" in failed
        assert "right: INSERT for lawsker_db.migration_run" in failed
    finally:
        execute(adopted_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_event_triggers_are_named_and_stand_in_nobodys_way(adopted_url: str, tmp_path: Path) -> None:
    execute(
        adopted_url,
        "CREATE FUNCTION look_on() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE EVENT TRIGGER on_looker ON ddl_command_end EXECUTE FUNCTION look_on()",
        "CREATE EVENT TRIGGER asleep ON ddl_command_end EXECUTE FUNCTION look_on()",
        "ALTER EVENT TRIGGER asleep DISABLE",
    )
    dry = run(tmp_path, "safe-upgrade", "--dry-run", url=adopted_url)
    assert dry.code == 0, dry.said
    (told,) = [line for line in dry.out.splitlines() if "event triggers" in line]
    assert told.startswith("WARN")
    assert "on_looker: they run inside the migration" in told
    assert "asleep" not in told


def test_a_synchronous_standby_that_is_not_there_is_found_before_commit_waits_for_it(tmp_path: Path) -> None:
    with throwaway_server() as server:
        execute(server.url(), "CREATE DATABASE live")
        load_sample(server.url("live"), users=20)
        adopt(parse_target(server.url("live")))
        execute(
            server.url(),
            "ALTER SYSTEM SET synchronous_standby_names = 'twin'",
            "SELECT pg_reload_conf()",
        )
        assert eventually(lambda: shown(server.url(), "synchronous_standby_names") == "twin")
        words = ("synchronous standby", "COMMIT would wait without end")
        ended = refuses(tmp_path, "safe-upgrade", "--yes", code=10, words=words, url=server.url("live"))
        assert "bring the standby back" in ended.line("Next")


def shown(url: str, name: str) -> str:
    with psycopg.connect(url) as conn:
        row = conn.execute(f"SHOW {name}".encode()).fetchone()
    return str(row[0]) if row else ""


# ---- chains of others ------------------------------------------------------------------------------------------------


def chain(folder: Path, **revisions: str) -> str:
    """A copy of the shipped chain with revisions of our own on top; the path of its alembic.ini."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "alembic.ini", folder / "alembic.ini")
    for name, source in revisions.items():
        (folder / "alembic" / "versions" / f"{name}.py").write_text(source)
    return str(folder / "alembic.ini")


def revision(name: str, body: str = "    pass", *, after: str = "013", contract: bool = True) -> str:
    promise = f'contract = Contract(revision="{name}", follows="{after}")' if contract else ""
    return (
        f'"""{name}."""\nfrom alembic import op\nfrom lawsker_db.contract import Contract\n'
        f'revision = "{name}"\ndown_revision = "{after}"\n{promise}\n'
        f"def upgrade() -> None:\n{body}\ndef downgrade() -> None:\n    pass\n"
    )


@pytest.mark.parametrize(
    ("revisions", "words"),
    [
        ({"014a": revision("014a"), "014b": revision("014b")}, ("2 heads", "014a", "014b")),
        ({"014": revision("014", contract=False)}, ("contract of 014", "014 has none")),
        (
            {"014": revision("014", "    with op.get_context().autocommit_block():\n        op.execute('SELECT 1')")},
            ("transaction of 014", "autocommit_block()"),
        ),
        ({"014": revision("014", "    op.execute('UPDATE users SET email = email; COMMIT')")}, ("014", "COMMIT")),
        (
            {"014": revision("014", "    op.create_index('i', 'users', ['email'], postgresql_concurrently=True)")},
            ("014", "CONCURRENTLY"),
        ),
        ({"014": "this is no python"}, ("cannot be read",)),
        ({"014": "nonsense"}, ("cannot be read",)),
        ({"014": revision("014", after="999")}, ("cannot be read",)),
    ],
    ids=[
        "two heads",
        "no contract",
        "autocommit block",
        "inner COMMIT",
        "concurrently",
        "no python",
        "nonsense",
        "a gap",
    ],
)
def test_a_chain_that_the_guarded_transaction_cannot_carry_is_refused_by_name(
    revisions: dict[str, str], words: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    config = chain(tmp_path / "chain", **revisions)
    with nothing_changes(adopted_url):
        refuses(tmp_path, "safe-upgrade", "--yes", "--config", config, code=10, words=words, url=adopted_url)
    assert not (tmp_path / "lawsker-runs").exists()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    raise KeyError('no such lawyer')", ("KeyError", "no such lawyer")),
        ("    op.execute('SELECT 1/0')", ("22012", "division by zero")),
        pytest.param(
            "    op.execute('UPDATE profiles SET full_name = full_name')", ("profiles",), marks=pytest.mark.long
        ),
        pytest.param("    op.execute('CREATE TABLE stray (id int)')", ("stray",), marks=pytest.mark.long),
        ("    op.execute('COM' + 'MIT')", ("COMMIT",)),
        ("    import sys; sys.exit(3)", ("SystemExit",)),
    ],
    ids=["raises", "divides by zero", "writes profiles", "adds a table", "hides a COMMIT", "ends the program"],
)
def test_a_revision_that_goes_wrong_is_rolled_back_and_told(
    body: str, words: tuple[str, ...], adopted_url: str, tmp_path: Path
) -> None:
    config = chain(tmp_path / "chain", **{"014": revision("014", body)})
    before = everything(adopted_url)
    ended = run(tmp_path, "safe-upgrade", "--yes", "--no-rehearsal", "--config", config, url=adopted_url)
    assert everything(adopted_url) == before
    assert ended.code == 11, ended.said
    assert all(word in ended.line("Failed") for word in words), ended.said
    assert ended.line("Database").startswith("The transaction was rolled back; the database is as it was.")
    assert not [word for word in ("Traceback", CANARY) if word in ended.said]
    report = json.loads((Path(ended.line("Kept")) / "report.json").read_text())
    assert (report["verdict"], report["message"]) == ("rolled back", ended.line("Failed"))
