"""A backup is one when it was restored and found equal; the oracle, which shares no code with the product, agrees."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import oracle
import psycopg
import pytest
from copies import Server, execute, owned_by, scratch_databases
from psycopg import sql

from lawsker_db.errors import BackupFailed, BackupUnproven, Refused
from lawsker_db.evidence import Event
from lawsker_db.postgres.dumpable import dump_checks
from lawsker_db.record.manifest import file_digest, read_manifest, write_manifest
from lawsker_db.safety.backup import take_backup
from lawsker_db.safety.errands import take_proven_backup
from lawsker_db.safety.proof import verify_backup
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import Target, parse_target


@pytest.fixture(autouse=True)
def _no_scratch_database_stays(server: Server) -> Iterator[None]:
    """Whatever a test does, no scratch database of its own may be left."""
    before = scratch_databases(server)
    yield
    assert scratch_databases(server) <= before


# ---- what a backup holds ---------------------------------------------------------------------------------------------


def test_the_sample_with_all_its_oddities_is_proven_equal(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    receipt = take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    manifest = read_manifest(tmp_path / "backup")
    assert receipt.proven
    assert manifest.proof is not None
    with psycopg.connect(adopted_url) as conn:
        rows = conn.execute("SELECT count(*) FROM users").fetchone()
        assert manifest.server["database"] == conn.info.dbname
        assert manifest.server["version"] == conn.info.server_version
    found = {table.table: table.rows for table in manifest.tables}
    assert rows == (found["public.users"],)
    assert manifest.proof.tables == len(manifest.tables)
    assert manifest.revision == ("012",)
    assert manifest.snapshot["lsn"]
    assert oracle.picture(adopted_url) == before


def test_folder_and_files_are_private_and_their_sums_check_out(adopted_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    take_backup(parse_target(adopted_url), folder, "b")
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {True: 0o700, False: 0o600}


def test_stock_pg_restore_makes_the_same_database_from_the_folder_alone(
    adopted_url: str, empty_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    take_backup(parse_target(adopted_url), folder, "b")
    with psycopg.connect(adopted_url) as conn:
        programs = oracle.pg_dump(conn.info.server_version // 10000).parent
    command = [str(programs / "pg_restore"), "--exit-on-error", f"--dbname={empty_url}", "database"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    assert oracle.picture(empty_url) == oracle.picture(adopted_url)


def test_the_proof_can_be_given_on_another_day_without_the_database(
    server: Server, adopted_template: str, tmp_path: Path
) -> None:
    server.run(f"CREATE DATABASE soon_gone TEMPLATE {adopted_template}")
    take_backup(parse_target(server.url("soon_gone")), tmp_path / "backup", "b")
    server.run("DROP DATABASE soon_gone")
    assert read_manifest(tmp_path / "backup").proof is None
    proof = verify_backup(parse_target(server.url("postgres")), tmp_path / "backup")
    assert read_manifest(tmp_path / "backup").proof == proof


@contextmanager
def writing(url: str) -> Iterator[list[int]]:
    """Somebody inserts, updates and draws from a sequence as fast as it goes, for the block."""
    execute(url, "CREATE TABLE ticks (n bigint, note text)", "CREATE SEQUENCE tick")
    ended = threading.Event()
    written: list[int] = []

    def write() -> None:
        with psycopg.connect(url, autocommit=True) as conn:
            while not ended.is_set():
                conn.execute("INSERT INTO ticks SELECT nextval('tick'), repeat('x', 50) FROM generate_series(1, 20)")
                conn.execute("UPDATE users SET updated_at = now() WHERE id = (SELECT id FROM users LIMIT 1)")
                written.append(20)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield written
    finally:
        ended.set()
        thread.join()


def test_writers_and_moving_sequences_meanwhile_make_no_difference(adopted_url: str, tmp_path: Path) -> None:
    """The fingerprints are taken under the snapshot of the dump; a sequence stands between before and after."""
    with writing(adopted_url) as written:
        for number in range(3):
            folder = tmp_path / str(number)
            assert take_proven_backup(parse_target(adopted_url), folder, str(number)).proven
    manifest = read_manifest(tmp_path / "2")
    ticks = next(table for table in manifest.tables if table.table == "public.ticks")
    assert 0 < ticks.rows < sum(written)


def test_where_sequences_stand_is_read_before_the_dump_begins(adopted_url: str, tmp_path: Path) -> None:
    """Read beside it, they may be read after pg_dump has: a good backup would then be refused."""
    execute(adopted_url, "CREATE SEQUENCE tick", "SELECT nextval('tick')")

    def draw(event: Event) -> None:
        if event.name == "snapshot":
            execute(adopted_url, "SELECT nextval('tick') FROM generate_series(1, 500)")

    take_backup(parse_target(adopted_url), tmp_path / "backup", "b", on_event=draw)
    manifest = read_manifest(tmp_path / "backup")
    seen = [
        sequence["last_value"]
        for moment in (manifest.sequences, manifest.sequences_after)
        for sequence in moment
        if sequence["name"] == "public.tick"
    ]
    assert seen == [1, 501]


def test_an_index_that_is_not_valid_is_left_out_by_a_dump_and_does_not_spoil_its_proof(
    adopted_url: str, tmp_path: Path
) -> None:
    """Of one whose building failed, or goes on. It is named before the backup begins."""
    with psycopg.connect(adopted_url, autocommit=True) as conn:
        with pytest.raises(psycopg.errors.UniqueViolation):
            conn.execute("CREATE UNIQUE INDEX CONCURRENTLY not_so ON users (status)")
        conn.execute("COMMENT ON INDEX not_so IS 'left over'")
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven
    with parse_target(adopted_url).connect() as conn:
        (check,) = (check for check in dump_checks(conn) if check.name == "dump: invalid indexes")
    assert (check.ok, check.warning, check.found.startswith("not_so")) == (False, True, True)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_a_copy_that_differs_in_one_table_is_refused(adopted_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    target = parse_target(adopted_url)
    take_backup(target, folder, "b")
    manifest = read_manifest(folder)
    first = next(table for table in manifest.tables if table.table == "public.users")
    others = [table for table in manifest.tables if table is not first]
    write_manifest(folder, replace(manifest, tables=(replace(first, rows=first.rows + 1), *others)))
    with pytest.raises(BackupFailed, match=r"not equal to what was dumped: public\.users"):
        verify_backup(target, folder)
    assert read_manifest(folder).proof is None


def test_an_archive_that_does_not_restore_is_refused(adopted_url: str, tmp_path: Path) -> None:
    """Cut off, with a manifest that says it was so: only the trial restore finds it."""
    folder = tmp_path / "backup"
    target = parse_target(adopted_url)
    take_backup(target, folder, "b")
    manifest = read_manifest(folder)
    largest = max((folder / "database").glob("[0-9]*.dat*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    name = str(largest.relative_to(folder))
    (folder / "SHA256SUMS").unlink()
    write_manifest(folder, replace(manifest, files={**manifest.files, name: file_digest(largest)}))
    with pytest.raises(BackupFailed, match="does not restore here: pg_restore"):
        verify_backup(target, folder)
    assert read_manifest(folder).proof is None


@pytest.mark.parametrize("moment", ["scratch", "restoring", "proven"])
def test_the_scratch_database_is_dropped_whatever_happens(moment: str, adopted_url: str, tmp_path: Path) -> None:
    seen: list[str] = []

    def stop(event: Event) -> None:
        seen.append(event.name)
        if event.name == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b", on_event=stop)
    assert seen[-1] == "dropped"


def test_a_folder_that_stands_already_or_is_a_link_is_refused(adopted_url: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("elsewhere", "link"):
        with pytest.raises(BackupFailed, match="File exists"):
            take_backup(parse_target(adopted_url), tmp_path / name, "b")
    assert not list((tmp_path / "elsewhere").iterdir())


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dbname=other", "postgres://x", "a'b\"c", "back\\slash", "律师 db", "--help"])
def test_a_database_of_any_name_is_backed_up_and_proven(
    name: str, server: Server, adopted_template: str, tmp_path: Path
) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
        quoted = sql.Identifier(name)
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(quoted, sql.Identifier(adopted_template)))
        try:
            target = Target(parameters={**parse_target(server.url("postgres")).parameters, "dbname": name})
            take_proven_backup(target, tmp_path / "backup", "b")
            assert read_manifest(tmp_path / "backup").server["database"] == name
        finally:
            conn.execute(sql.SQL("DROP DATABASE {}").format(quoted))


def test_tables_of_any_name_are_backed_up_and_proven(adopted_url: str, tmp_path: Path) -> None:
    names = [
        "new\nline",
        "\\! touch pwned",
        'double " quote',
        "single ' quote",
        "back\\slash",
        "x; DROP TABLE users",
        "%s:a",
    ]
    with psycopg.connect(adopted_url) as conn:
        for name in names:
            table = sql.Identifier(name)
            conn.execute(sql.SQL("CREATE TABLE {} ({} text)").format(table, table))
            conn.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, sql.Literal(name)))
    take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    found = {table.table for table in read_manifest(tmp_path / "backup").tables}
    assert {f'public."{name.replace(chr(34), chr(34) * 2)}"' for name in names} <= found
    assert not list(tmp_path.glob("pwned*"))


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_an_ordinary_role_that_may_create_databases_proves_its_backups(server: Server, tmp_path: Path) -> None:
    with owned_by(server, "ordinary", "CREATEDB") as target:
        report = safe_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs"))
    assert report.backup is not None
    assert report.backup.proven
    assert report.not_proven == ()


def test_without_createdb_a_run_is_refused_unless_the_operator_gives_a_reason(server: Server, tmp_path: Path) -> None:
    with owned_by(server, "modest", "NOCREATEDB") as target:
        with pytest.raises(Refused, match="lacks CREATEDB") as refused:
            safe_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs"))
        assert "--accept-unproven-backup" in refused.value.hint
        with pytest.raises(BackupUnproven, match="cannot be proven"):
            take_proven_backup(target, tmp_path / "alone", "b")
        assert read_manifest(tmp_path / "alone").proof is None
        options = UpgradeOptions(runs=tmp_path / "runs", accept_unproven="the nightly copy was tested")
        report = safe_upgrade(target, options=options)
    assert report.backup is not None
    assert not report.backup.proven
    assert "Accepted: the nightly copy was tested" in report.not_proven[0]
    kept = json.loads((Path(report.folder) / "report.json").read_text())
    assert kept["not_proven"] == list(report.not_proven)
    assert "the nightly copy was tested" in (Path(report.folder) / "report.html").read_text()
