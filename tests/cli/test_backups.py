"""The commands of `backup`, and `doctor`, when something is wrong with a disk, a folder, a name or a server."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import oracle
import psycopg
import pytest
from command_line import Ended, everything, files, run, script
from psycopg import sql

from lawsker_db.evidence import Proof
from lawsker_db.record.manifest import Manifest, read_manifest, write_manifest
from lawsker_db.safety.backup import take_backup
from lawsker_db.safety.shelf import list_backups
from lawsker_db.target import parse_target

UNTOUCHED = "The database was not changed."
EVIL = ("x\x1b[2J", "a\nFailed:   forged", "\u202egnp.exe", "bell\x07\x9b", "right\u200fleft")


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


@pytest.fixture(scope="module")
def taken(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs folder with one backup, not proven, of a database that is gone. To be copied."""
    runs = tmp_path_factory.mktemp("taken") / "runs"
    (runs / "one").mkdir(parents=True, mode=0o700)
    server.run(f"CREATE DATABASE soon_gone_1 TEMPLATE {adopted_template}")
    take_backup(parse_target(server.url("soon_gone_1")), runs / "one" / "backup", "one")
    server.run("DROP DATABASE soon_gone_1")
    return runs


@pytest.fixture
def runs(taken: Path, tmp_path: Path) -> Path:
    """A copy of it under the default name, in the folder where commands are typed."""
    shutil.copytree(taken, tmp_path / "lawsker-runs")
    return tmp_path / "lawsker-runs"


def refuses(folder: Path, *typed: str, words: tuple[str, ...], url: str | None = None, **variables: str) -> Ended:
    """Exit 10 with what failed, the state and what to type."""
    plain = run(folder, *typed, url=url, **variables)
    assert plain.code == 10, plain.said
    failed = plain.line("Failed")
    assert [word for word in words if word not in failed] == [], failed
    assert plain.line("Database") == UNTOUCHED
    assert plain.line("Next")
    assert "Traceback" not in plain.said
    assert "bug" not in plain.err
    return plain


def rewritten(folder: Path, **changed: object) -> None:
    """A manifest that says something else, with a digest of its own that holds."""
    manifest: Manifest = replace(read_manifest(folder), **changed)  # type: ignore[arg-type]
    (folder / "SHA256SUMS").unlink()
    write_manifest(folder, manifest)


@contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own. Needs root, which this test's machines give."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# ---- disks -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_disk_that_is_full_when_any_of_the_last_files_is_written_leaves_no_backup_that_looks_like_one(
    taken: Path, adopted_url: str, tmp_path: Path
) -> None:
    """Catalog, sums, manifest, and the manifest with its proof: the disk has room for so many files and no more."""
    whole = len([*taken.rglob("*")]) + 3  # with the folder that everything is in, and journal and log beside it
    before = everything(adopted_url)
    for missing in (3, 2, 1):
        with disk(tmp_path / f"{missing}", f"size=256m,nr_inodes={whole - missing}") as runs:
            typed = ("backup", "create", "--runs", str(runs), "--no-proof")
            ended = refuses(tmp_path, *typed, words=("No space left on device",), url=adopted_url)
            assert "--runs FOLDER" in ended.line("Next")
            assert not files(runs)
    with disk(tmp_path / "0", f"size=256m,nr_inodes={whole}") as runs:
        ended = run(tmp_path, "backup", "create", "--runs", str(runs), url=adopted_url)
        assert ended.code == 0, ended.said
        assert "proven, but its manifest cannot say so: No space left on device" in ended.err
        kept, _ = list_backups(runs)
        assert [backup.manifest.proof for backup in kept] == [None]
    assert everything(adopted_url) == before


def test_a_disk_without_room_for_the_sql_gets_no_half_file(runs: Path, tmp_path: Path) -> None:
    before = files(runs)
    for size in ("16k", "200k"):  # where the first and where a later block does not fit
        with disk(tmp_path / "disk", f"size={size}") as full:
            ended = refuses(tmp_path, "backup", "sql", "one", f"{full}/x.sql", words=("No space left on device",))
            assert "where there is room" in ended.line("Next")
            assert not list(full.iterdir())
    assert files(runs) == before


def test_a_disk_that_takes_no_writes_can_be_read_and_is_told_where_it_cannot(
    runs: Path, adopted_url: str, tmp_path: Path
) -> None:
    old, mounted = read_manifest(runs / "one" / "backup"), tmp_path / "disk"
    with disk(mounted, "size=64m"):
        for name, year in (("old", "2020"), ("new", "2021")):
            shutil.copytree(runs / "one", mounted / name)
            rewritten(mounted / name / "backup", taken_at=old.taken_at.replace("2026", year))
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        kept = files(mounted)
        readable = ("--runs", str(mounted))
        assert run(tmp_path, "backup", "show", "new", *readable).code == 0
        assert len(run(tmp_path, "backup", "list", *readable, "--json").document["backups"]) == 2
        refuses(tmp_path, "backup", "create", *readable, words=("is not writable",), url=adopted_url)
        refuses(tmp_path, "backup", "sql", "new", f"{mounted}/x.sql", *readable, words=("Read-only file system",))
        ended = refuses(
            tmp_path,
            "backup",
            "prune",
            "--yes",
            "--keep-last",
            "1",
            *readable,
            words=("1 of 1", "Read-only", "old/backup"),
        )
        assert ended.out == "0 backups removed, 0.0 MB.\n"
        assert files(mounted) == kept
        doctor = run(tmp_path, "doctor", *readable, url=adopted_url)
        assert doctor.code == 10
        assert f"FAIL     disk for the backup: {mounted} is not writable" in doctor.out


def test_what_prune_cannot_remove_is_told_beside_what_it_removed(runs: Path, tmp_path: Path) -> None:
    taken_at = read_manifest(runs / "one" / "backup").taken_at
    for number in (1, 2, 3):
        shutil.copytree(runs / "one", runs / f"old{number}")
        rewritten(runs / f"old{number}" / "backup", taken_at=taken_at.replace("2026", f"201{number}"))
    busy = runs / "old2" / "backup"
    shutil.move(busy, tmp_path / "held")
    with disk(busy, "size=64m"):  # a mount point can neither be renamed nor removed
        shutil.copytree(tmp_path / "held", busy, dirs_exist_ok=True)
        busy.chmod(0o700)
        typed = ("backup", "prune", "--yes", "--keep-last", "1", "--json")
        ended = run(tmp_path, *typed)
        assert ended.code == 10, ended.said
        error = ended.document["error"]
        assert [backup["name"] for backup in error["removed"]] == ["old1", "old3"]
        assert [line.partition(":")[0] for line in error["not_removed"]] == ["lawsker-runs/old2/backup"]
        assert run(tmp_path, "backup", "show", "old2").code == 0
    assert sorted(path.name for path in runs.iterdir()) == ["old2", "one"]


# ---- planted, opened to others ---------------------------------------------------------------------------------------


def test_a_link_in_the_place_of_a_backup_is_refused_by_name(runs: Path, server: Server, tmp_path: Path) -> None:
    """The link leads to the very same content: it is the link that is refused. (Links within: test_backup_tampering.)"""
    for part, typed in (("", "show"), ("backup", "sql"), ("backup/database", "verify")):
        place, aside = runs / "one" / part, tmp_path / "aside"
        shutil.move(place, aside)
        place.symlink_to(aside)
        more = ("x.sql",) if typed == "sql" else ()
        named = (Path(part).name or "one", "symbolic link" if part != "backup/database" else "no ordinary folder")
        refuses(tmp_path, "backup", typed, "one", *more, words=named, url=server.url("postgres"))
        place.unlink()
        shutil.move(aside, place)
    assert run(tmp_path, "backup", "show", "one").code == 0
    assert not list(tmp_path.glob("x.sql*"))


def test_a_link_or_a_file_where_the_sql_is_to_be_written_is_left_as_it_is(runs: Path, tmp_path: Path) -> None:
    before = files(runs)
    (tmp_path / "file.sql").write_text("mine")
    (tmp_path / "link.sql").symlink_to(tmp_path / "file.sql")
    (tmp_path / "dangling.sql").symlink_to(tmp_path / "nowhere")
    (tmp_path / "part.sql.partial").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.sql").mkdir()
    for name in ("file.sql", "link.sql", "dangling.sql", "part.sql", "folder.sql"):
        refuses(tmp_path, "backup", "sql", "one", name, words=(name, "exists already"))
    refuses(tmp_path, "backup", "sql", "one", "no/such/folder.sql", words=("No such file",))
    inside = f"{runs}/one/backup/database/x.sql"
    refuses(tmp_path, "backup", "sql", "one", inside, words=("within the backup",))
    assert (tmp_path / "file.sql").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert files(runs) == before


def test_the_sql_is_private_from_its_first_byte(runs: Path, tmp_path: Path) -> None:
    """A stand-in for pg_restore looks at the file that it is to write into."""
    answer = '[ "$1" = --version ] && echo "pg_restore (PostgreSQL) 99.1" && exit 0'
    script(tmp_path / "bin" / "pg_restore", f"{answer}\nstat --dereference --format=%a /proc/self/fd/1")
    chosen = str(tmp_path / "bin")
    assert run(tmp_path, "backup", "sql", "one", "x.sql", LAWSKER_PG_BIN=chosen).code == 0
    assert (tmp_path / "x.sql").read_text() == "600\n"
    assert run(tmp_path, "backup", "sql", "one", "y.sql").code == 0
    assert "CREATE TABLE public.users" in (tmp_path / "y.sql").read_text()
    assert (tmp_path / "y.sql").stat().st_mode & 0o777 == 0o600


def test_a_backup_that_others_may_write_is_not_trusted(runs: Path, server: Server, tmp_path: Path) -> None:
    """Restoring runs what stands in a dump, and its sums are no signature. (Each file: test_backup_tampering.)"""
    folder = runs / "one" / "backup"
    for place, mode, typed in ((folder, 0o720, "show"), (runs / "one", 0o702, "sql"), (runs, 0o770, "verify")):
        place.chmod(mode)
        more = ("x.sql",) if typed == "sql" else ()
        ended = refuses(
            tmp_path, "backup", typed, "one", *more, words=("Others may write", place.name), url=server.url("postgres")
        )
        assert "chmod" in ended.line("Next")
        place.chmod(0o700)
    assert run(tmp_path, "backup", "show", "one").code == 0
    assert not list(tmp_path.glob("x.sql*"))


# ---- names -----------------------------------------------------------------------------------------------------------


def test_a_name_that_is_no_backup_is_told_on_one_line(runs: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    for name in ("../x", "", "new\nline \x1b[2J", "x" * 300):
        ended = refuses(tmp_path, "backup", "show", name, words=("There is no backup",))
        assert "backup list" in ended.line("Next")
        assert len(ended.err.splitlines()) == 4
        assert ended.err.replace("\n", "").isprintable()
    in_json = run(tmp_path, "backup", "verify", "../x", "--json", url="postgresql:///x").document["error"]
    assert (in_json["exit_code"], in_json["state"]) == (10, UNTOUCHED)
    assert "There is no backup '../x'" in in_json["message"]
    refuses(tmp_path, "backup", "list", "--runs", "nowhere", words=("nowhere", "No such file"))
    assert files(tmp_path) == before


def test_names_out_of_a_database_never_reach_the_terminal_raw(adopted_url: str, tmp_path: Path) -> None:
    """Tables whose names clear the screen, forge a line or turn it around: escaped for people, exact in JSON."""
    with psycopg.connect(adopted_url) as conn:
        for name in EVIL:
            conn.execute(sql.SQL("CREATE UNLOGGED TABLE {} (n int)").format(sql.Identifier(name)))
            conn.execute(sql.SQL("INSERT INTO {} SELECT generate_series(1, 9999)").format(sql.Identifier(name)))
    created = run(tmp_path, "backup", "create", url=adopted_url)
    (folder,) = (tmp_path / "lawsker-runs").iterdir()
    said = [created, run(tmp_path, "doctor", url=adopted_url)]
    said += [run(tmp_path, "backup", "show", folder.name), run(tmp_path, "backup", "list")]
    assert [ended.code for ended in said] == [0, 0, 0, 0], [ended.said for ended in said if ended.code]
    assert "\\x1b[2J" in said[1].out
    assert "\\u202egnp.exe" in said[2].out
    shown = run(tmp_path, "backup", "show", folder.name, "--json").document
    assert {f'public."{name}"' for name in EVIL} <= {table["table"] for table in shown["manifest"]["tables"]}
    rewritten(folder / "backup", tables=read_manifest(folder / "backup").tables[1:])
    said.append(
        refuses(tmp_path, "backup", "verify", folder.name, words=("not equal to what was dumped",), url=adopted_url)
    )
    for ended in said:
        assert not [line for line in ended.err.splitlines()[:-4] if line.startswith("Failed")]
        raw = {char for char in ended.said if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")}
        assert raw == {"\n"}


# ---- versions --------------------------------------------------------------------------------------------------------


def test_what_another_version_wrote_is_refused_and_the_version_told(runs: Path, server: Server, tmp_path: Path) -> None:
    folder, url = runs / "one" / "backup", server.url("postgres")
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def again() -> None:
        for path, content in whole.items():
            path.write_bytes(content)

    manifest = folder / "manifest.json"
    body = json.loads(manifest.read_bytes()) | {"format": 4, "tool_version": "7.8.9"}
    manifest.write_text(json.dumps(body))
    for typed in (("show", "one"), ("verify", "one")):
        refuses(tmp_path, "backup", *typed, words=("format 4", "lawsker-db 7.8.9", "manifest.json"), url=url)
    (warned,) = run(tmp_path, "backup", "list", "--json").document["unreadable"]
    assert "format 4" in warned
    again()

    contents = folder / "database" / "toc.dat"
    content = bytearray(contents.read_bytes())
    content[6] = 99  # PGDMP, then the archive's version: major, minor, revision
    contents.write_bytes(content)
    sums = {**read_manifest(folder).files, "database/toc.dat": hashlib.sha256(content).hexdigest()}
    rewritten(folder, files=sums)
    for command in ("verify one", "sql one x.sql"):
        refuses(tmp_path, "backup", *command.split(), words=("pg_restore", "unsupported version (1.99)"), url=url)
    again()

    rewritten(folder, client_major=97)
    ended = refuses(
        tmp_path, "backup", "sql", "one", "x.sql", words=("needs pg_restore 97 or newer", "found pg_restore")
    )
    assert "postgresql-client-97" in ended.line("Next")
    assert not list(tmp_path.glob("x.sql*"))


def test_a_pipe_in_the_place_of_the_manifest_makes_nobody_wait(runs: Path, tmp_path: Path) -> None:
    (runs / "one" / "backup" / "manifest.json").unlink()
    os.mkfifo(runs / "one" / "backup" / "manifest.json")
    refuses(tmp_path, "backup", "show", "one", words=("no ordinary file",))
    assert "no ordinary file" in run(tmp_path, "backup", "list").out


# ---- another server for the proof ------------------------------------------------------------------------------------


def test_a_proof_server_that_cannot_be_reached_or_used_is_told(runs: Path, server: Server, tmp_path: Path) -> None:
    before = files(runs)
    secret = "c4n4ry"
    down = f"postgresql://clerk:{secret}@127.0.0.1:1/postgres"
    ended = refuses(tmp_path, "backup", "verify", "one", "--proof-server", down, words=("clerk@127.0.0.1:1", "refused"))
    assert secret not in ended.said
    role = f"clerk_{secrets.token_hex(4)}"
    server.run(f"CREATE ROLE {role}")
    try:
        url = server.url("postgres")
        modest = f"{url}{'&' if '?' in url else '?'}options=-c%20role%3D{role}"
        ended = refuses(tmp_path, "backup", "verify", "one", "--proof-server", modest, words=("cannot be proven",))
        assert "CREATEDB" in ended.line("Next")
    finally:
        server.run(f"DROP ROLE {role}")
    assert files(runs) == before
    proven = run(tmp_path, "backup", "verify", "one", "--proof-server", server.url("postgres"), url=down)
    assert proven.code == 0, proven.said


# ---- the list --------------------------------------------------------------------------------------------------------


def test_the_list_names_the_newest_proven_one_and_passes_over_what_is_none(
    runs: Path, server: Server, tmp_path: Path
) -> None:
    for name in ("damaged", "later"):
        shutil.copytree(runs / "one", runs / name)
    assert run(tmp_path, "backup", "verify", "one", url=server.url("postgres")).code == 0
    with (runs / "damaged" / "backup" / "manifest.json").open("a") as file:
        file.write(" ")
    (runs / "file").touch()
    (runs / "foreign").mkdir()
    (runs / "report only").mkdir()
    (runs / "half" / "backup" / "database.partial").mkdir(parents=True)
    (runs / "strange").mkdir()
    (runs / "strange" / "backup").touch()
    ended = run(tmp_path, "backup", "list")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert {line.split()[-1] for line in lines[:2]} == {"later", "one"}
    warned = [line for line in lines if line.startswith("WARN")]
    assert [name for name in ("damaged", "half", "strange") if not any(f"/{name}/" in line for line in warned)] == []
    assert len(warned) == 3
    assert lines[-2].startswith("Newest proven one of soon_gone_1: one, ")
    assert lines[-1] == "Backups in lawsker-runs: 2"


@pytest.mark.long
def test_thousands_of_backups_stay_readable(runs: Path, tmp_path: Path) -> None:
    manifest = runs / "one" / "backup" / "manifest.json"
    for number in range(2000):
        (runs / f"{number:04}" / "backup").mkdir(parents=True)
        os.link(manifest, runs / f"{number:04}" / "backup" / "manifest.json")
        if number % 2:
            (runs / f"half{number}" / "backup").mkdir(parents=True)
    ended = run(tmp_path, "backup", "list")
    lines = ended.out.splitlines()
    assert len(lines) < 60
    assert lines[0] == "... 1981 older ones: --all lists them"
    assert "WARN     and 980 more" in lines
    assert lines[-2] == "Backups in lawsker-runs: 2001"
    assert lines[-1].startswith("None of them is proven. Next: lawsker-db backup verify lawsker-runs/")
    assert len(run(tmp_path, "backup", "list", "--all").out.splitlines()) > 3000
    assert len(run(tmp_path, "backup", "list", "--json").document["backups"]) == 2001


def test_show_says_in_chinese_why_something_is_not_compared_whether_it_was_proven_or_not(
    runs: Path, tmp_path: Path
) -> None:
    name, why = "public.user_statistics", "a materialized view: a restore fills it afresh"
    assert (name, why) in read_manifest(runs / "one" / "backup").left_out
    proof = Proof(proven_at="2026-07-01T00:00:00+00:00", server_version=150000, tables=1, rows=1, restore_s=1.0,
                  compare_s=1.0, omitted=(f"{name}: {why}", "nameless"))  # fmt: skip
    for proven in (None, proof):
        rewritten(runs / "one" / "backup", proof=proven)
        shown = run(tmp_path, "backup", "show", "one", LAWSKER_LANG="zh")
        assert f"未比较：{name}：物化视图：恢复时会重新填充\n" in shown.out
        assert run(tmp_path, "backup", "show", "one").out.count(f"not compared: {name}: {why}\n") == 1


def test_show_tells_all_that_a_restore_by_hand_needs(runs: Path, empty_url: str, tmp_path: Path) -> None:
    """Its very commands, typed: the same rows are there."""
    shown = run(tmp_path, "backup", "show", "one")
    assert shown.code == 0, shown.said
    lines = {line[:10].strip(" :"): line[10:] for line in shown.out.splitlines() if line[:1] != " "}
    assert set(lines) == {"Backup", "Files", "Proven", "Database", "Taken", "Holds", "Restore", "Roles", "WAL", "Rows"}
    assert lines["Proven"].startswith("no, it was never restored. Next: lawsker-db backup verify ")
    manifest = read_manifest(runs / "one" / "backup")
    assert f" by pg_restore {manifest.client_major} " in lines["Restore"]
    assert f" {sum(table.rows for table in manifest.tables)} rows" in lines["Holds"]
    createdb, pg_restore = (
        line.strip() for line in shown.out.splitlines() if line.startswith("          ") and "lawsker_restored" in line
    )
    name = f"restored_{secrets.token_hex(4)}"
    with psycopg.connect(empty_url) as conn:
        info, database = conn.info, conn.info.dbname
        given = {"PGHOST": info.host, "PGPORT": str(info.port), "PGUSER": info.user, "PGPASSWORD": info.password or ""}
    given["PATH"] = f"{oracle.pg_dump(manifest.client_major).parent}:{os.environ['PATH']}"
    try:
        for command in (createdb, pg_restore):
            typed = command.replace("lawsker_restored", name)
            subprocess.run(["sh", "-ec", typed], env=os.environ | given, check=True, capture_output=True)
        with psycopg.connect(empty_url.replace(database, name)) as conn:
            rows = conn.execute("SELECT count(*) FROM users").fetchone()
        assert rows == (next(table.rows for table in manifest.tables if table.table == "public.users"),)
    finally:
        with psycopg.connect(empty_url, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {name}".encode())


# ---- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor_says_ready_and_what_it_measured(adopted_url: str, tmp_path: Path) -> None:
    before = everything(adopted_url)
    ended = run(tmp_path, "doctor", url=adopted_url)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    asked_for = lines[lines.index("Programs:") : -2]
    assert {line[:9].strip() for line in asked_for if not line.endswith(":")} <= {"PASS", "WARN", ""}
    with psycopg.connect(adopted_url) as conn:
        assert lines[0].endswith(f"PostgreSQL {conn.info.server_version // 10000}.{conn.info.server_version % 10000}")
        assert f"{conn.info.user} (session user {conn.info.user})" in lines[1]
    assert any(line.startswith("PASS     tool: pg_restore ") and "TLS" in line for line in lines)
    assert any(line.startswith("PASS     disk for the backup: ") and "MB free" in line for line in lines)
    assert lines[-2].startswith("READY: ")
    assert lines[-1] == "Next: lawsker-db safe-upgrade"
    document = run(tmp_path, "doctor", "--json", url=adopted_url).document
    assert document["ready"] is True
    assert {"user", "session_user", "version", "data_bytes"} <= set(document["server"])
    asked = {check["name"] for check in document["checks"]}
    assert {
        "tool",
        "pg_dump",
        "pg_restore",
        "holes of pg_dump",
        "holes of pg_restore",
        "primary",
        "server version",
    } <= asked
    assert everything(adopted_url) == before
    assert not list(tmp_path.iterdir())


def test_doctor_says_not_ready_and_how_each_lack_is_mended(adopted_url: str, tmp_path: Path) -> None:
    role = f"clerk_{secrets.token_hex(4)}"
    modest = f"{adopted_url}{'&' if '?' in adopted_url else '?'}options=-c%20role%3D{role}"
    with psycopg.connect(adopted_url, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {role}".encode())
        conn.execute(f"GRANT SELECT ON alembic_version TO {role}".encode())
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    script(tmp_path / "bin" / "pg_dump", 'echo "pg_dump (PostgreSQL) 11.2"')
    before = everything(adopted_url)
    try:
        for typed, url, variables, failing, mend in (
            ((), modest, {}, "right: CREATEDB", f'ALTER ROLE "{role}" CREATEDB'),
            (
                (),
                adopted_url,
                {"LAWSKER_PG_BIN": str(tmp_path / "bin")},
                "pg_restore",
                "apt-get install postgresql-client-",
            ),
            (("--runs", "/proc/x"), adopted_url, {}, "disk for the backup", "--runs FOLDER"),
            (("--runs", "open"), adopted_url, {}, "disk for the backup", f"chmod go-w '{tmp_path}/open'"),
        ):
            ended = run(tmp_path, "doctor", *typed, url=url, **variables)
            assert ended.code == 10, ended.said
            lines = ended.out.splitlines()
            assert [line for line in lines if line.startswith(f"FAIL     {failing}: ")], ended.out
            assert [line for line in lines if line.startswith("NOT READY: ")]
            assert [line for line in lines if line.startswith("Next: ") and mend in line], ended.out
        in_json = run(tmp_path, "doctor", "--json", url=modest)
        assert (in_json.code, in_json.document["ready"]) == (10, False)
        failed = {check["name"]: check["detail"] for check in in_json.document["checks"] if check["ok"] is False}
        assert failed["right: CREATE on the database"].startswith("GRANT CREATE ON DATABASE")
    finally:
        with psycopg.connect(adopted_url, autocommit=True) as conn:
            conn.execute(f"DROP OWNED BY {role}".encode())
            conn.execute(f"DROP ROLE {role}".encode())
    assert everything(adopted_url) == before
