"""What a trial restore brings back, what it must leave out and says so, and where it cannot be made."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import oracle
import psycopg
import pytest
from copies import Server, execute, owned_by, scratch_databases
from psycopg import sql
from small_disk import small_disk

from lawsker_db.demo.sample import load_sample
from lawsker_db.errors import BackupFailed, BackupUnproven, Refused, Unreachable, UsageError
from lawsker_db.evidence import Event
from lawsker_db.postgres.catalog import Catalog, compare_catalogs, read_catalog
from lawsker_db.postgres.content import read_content
from lawsker_db.postgres.fingerprint import fingerprint_table
from lawsker_db.postgres.restorable import Restorer, building_stages, read_restorer, select_entries
from lawsker_db.record.manifest import read_catalog_of, read_manifest
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.archive import Form, find_restorer, list_entries
from lawsker_db.safety.backup import BackupOptions, take_backup
from lawsker_db.safety.errands import take_proven_backup
from lawsker_db.safety.proof import restored_copy, verify_backup
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import verify
from lawsker_db.target import Target, parse_target


@pytest.fixture(autouse=True)
def _no_scratch_database_stays(server: Server) -> Iterator[None]:
    """Whatever a test does, no scratch database of its own may be left."""
    before = scratch_databases(server)
    yield
    assert scratch_databases(server) <= before


# ---- what belongs to a backup ----------------------------------------------------------------------------------------


def test_a_custom_archive_is_one_file_proven_as_a_folder_is(adopted_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    receipt = take_proven_backup(parse_target(adopted_url), folder, "b", options=BackupOptions(form=Form.CUSTOM))
    assert receipt.proven
    assert (folder / "database.dump").read_bytes()[:5] == b"PGDMP"
    assert stat.S_IMODE((folder / "database.dump").stat().st_mode) == 0o600
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)
    assert {path.name for path in folder.iterdir()} == {
        *("database.dump", "globals.sql", "catalog.json", "manifest.json", "SHA256SUMS")
    }
    (folder / "database.dump").write_bytes((folder / "database.dump").read_bytes() + b"x")
    with pytest.raises(BackupFailed, match=r"database\.dump is not what was written"):
        verify_backup(parse_target(adopted_url), folder)


def test_roles_stand_beside_the_dump_and_no_password_does(server: Server, adopted_url: str, tmp_path: Path) -> None:
    server.run("CREATE ROLE keeper_of_keys LOGIN PASSWORD 'canary-7351'")
    try:
        take_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    finally:
        server.run("DROP ROLE keeper_of_keys")
    written = (tmp_path / "backup" / "globals.sql").read_text()
    assert "CREATE ROLE keeper_of_keys" in written
    assert "canary" not in written
    assert "SCRAM-SHA-256" not in written
    manifest = read_manifest(tmp_path / "backup")
    assert manifest.without_globals == ""
    assert "globals.sql" in manifest.files


def test_a_backup_without_pg_dumpall_is_whole_and_says_that_the_roles_are_not_in_it(
    adopted_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(adopted_url) as conn:
        programs = oracle.pg_dump(conn.info.server_version // 10000).parent
    (tmp_path / "bin").mkdir()
    for name in ("pg_dump", "pg_restore"):
        wrapper = tmp_path / "bin" / name
        wrapper.write_text(f'#!/bin/sh\nexec "{programs / name}" "$@"\n')
        wrapper.chmod(0o700)
    monkeypatch.setenv("LAWSKER_PG_BIN", str(tmp_path / "bin"))
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven
    assert "No pg_dumpall fits" in read_manifest(tmp_path / "backup").without_globals


def test_a_restore_point_is_marked_where_the_role_may_and_the_position_told_anyhow(
    server: Server, adopted_url: str, tmp_path: Path
) -> None:
    take_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    point = read_manifest(tmp_path / "backup").restore_point
    assert point.name == "lawsker_b"
    assert point.lsn
    with owned_by(server, "pointless", "CREATEDB") as target:
        report = safe_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs", rehearsal=False))
    assert report.restore_point is not None
    assert report.restore_point.name == ""
    page = (Path(report.folder) / "report.html").read_text()
    assert f"--target={report.restore_point.lsn}" in page
    assert f"--target-lsn {report.restore_point.lsn}" in page


def test_large_objects_are_compared_to_their_last_byte_however_large(adopted_url: str, tmp_path: Path) -> None:
    """Read in chunks of 8 MB: one that ends within a chunk, at its end, just behind it, and an empty one."""
    sizes = (20_000_001, 8 << 20, (16 << 20) + 1, 0)
    with psycopg.connect(adopted_url) as conn:
        made = [
            conn.execute("SELECT lo_from_bytea(0, convert_to(repeat('x', %s), 'UTF8'))", (size,)).fetchone()
            for size in sizes
        ]
        standing = conn.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    before = read_content(parse_target(adopted_url)).large_objects
    assert (before.rows,) == standing
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven
    seen = {before.sums}
    for (oid,), size in zip([row for row in made if row], sizes, strict=True):
        for place in {size, max(size - 1, 0)}:  # one byte more, and the last one changed
            with psycopg.connect(adopted_url) as conn:
                conn.execute("SELECT lo_put(%s, %s, 'y')", (oid, place))
                conn.commit()
            seen.add(read_content(parse_target(adopted_url)).large_objects.sums)
    assert len(seen) == 8


# ---- the copy is like the original -----------------------------------------------------------------------------------


def test_a_copy_has_the_settings_of_the_database_so_that_names_lead_to_the_same_tables(
    server: Server, empty_url: str, tmp_path: Path
) -> None:
    """An application in a schema of its own, to which only the database's setting leads."""
    with psycopg.connect(empty_url, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute('CREATE SCHEMA "law firm"')
        conn.execute(sql.SQL('ALTER DATABASE {} SET search_path = "law firm", public').format(sql.Identifier(name)))
        conn.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(name)))
        conn.execute(sql.SQL("ALTER DATABASE {} SET lawsker.extra = 'it''s'").format(sql.Identifier(name)))
    target = parse_target(empty_url)
    with target.raw_connection() as raw:
        load_sample(raw, users=20)
    take_backup(target, tmp_path / "backup", "b")
    with restored_copy(target, tmp_path / "backup", read_manifest(tmp_path / "backup")) as copy:
        with copy.target.raw_connection() as raw:
            assert raw.execute("SHOW search_path").fetchone() == ('"law firm", public',)
            assert raw.execute("SHOW lawsker.extra").fetchone() == ("it's",)
            assert raw.execute("SELECT count(*) FROM users").fetchone() == (20,)
        assert copy.omitted == ()


def test_definitions_that_a_restore_spells_anew_are_told_from_changed_ones(adopted_url: str, tmp_path: Path) -> None:
    execute(
        adopted_url,
        "CREATE TABLE odd (n int CHECK ((n > 0 AND n < 9) AND n <> 5), s text CHECK (s IN ('a', 'b') AND s <> 'c'))",
        "CREATE INDEX odd_some ON odd (n) WHERE (n > 1 AND n < 7) AND s = ANY (ARRAY['a', 'b'])",
        "CREATE TRIGGER odd_when BEFORE UPDATE ON odd FOR EACH ROW WHEN ((NEW.n > 1 AND NEW.n < 7) AND NEW.s = 'a')"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE POLICY odd_rows ON odd USING ((n > 1 AND n < 7) AND s = 'a') WITH CHECK ((n > 0 AND n < 8) AND s = 'b')",
        "CREATE VIEW odd_view AS SELECT n FROM odd WHERE (n > 1 AND n < 7) AND s IN ('a', 'b')",
        "CREATE DOMAIN small AS int CHECK ((VALUE > 0 AND VALUE < 9) AND VALUE <> 5)",
        "ALTER TABLE odd ADD flag bool DEFAULT ((1 < 2 AND 2 < 3) AND 3 < 4)",
    )
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven


def test_a_restored_database_can_be_adopted_and_verified_as_the_original_can(
    sample_url: str, empty_url: str, tmp_path: Path
) -> None:
    """Every live database was restored once; what the server prints of its checks then differs from a fresh one."""
    take_backup(parse_target(sample_url), tmp_path / "first", "b")
    restore(tmp_path / "first", empty_url)
    assert (
        adopt(parse_target(empty_url), dry_run=True).differences
        == adopt(parse_target(sample_url), dry_run=True).differences
    )
    adopt(parse_target(empty_url))
    options = UpgradeOptions(runs=tmp_path / "runs", prove=False)
    safe_upgrade(parse_target(empty_url), options=options)
    take_backup(parse_target(empty_url), tmp_path / "second", "b")
    execute(empty_url, "DROP SCHEMA public CASCADE", "DROP SCHEMA lawsker_db CASCADE", "CREATE SCHEMA public")
    for schema in other_schemas(empty_url):
        execute(empty_url, f'DROP SCHEMA "{schema}" CASCADE')
    restore(tmp_path / "second", empty_url)
    assert [check for check in verify(parse_target(empty_url)) if check.fails] == []


def other_schemas(url: str) -> list[str]:
    with psycopg.connect(url) as conn:
        rows = conn.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')"
        ).fetchall()
    return [str(row[0]) for row in rows]


def restore(folder: Path, url: str) -> None:
    """By stock pg_restore."""
    with psycopg.connect(url) as conn:
        program = oracle.pg_dump(conn.info.server_version // 10000).parent / "pg_restore"
        conn.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
    command = [str(program), "--exit-on-error", f"--dbname={url}", str(folder / "database")]
    subprocess.run(command, check=True, capture_output=True)


# ---- what a role cannot restore --------------------------------------------------------------------------------------


def test_an_ordinary_role_leaves_out_what_only_superusers_create_and_names_each(server: Server, tmp_path: Path) -> None:
    with owned_by(server, "limited", "CREATEDB") as target:
        execute(
            server.url("limited"),
            "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "ALTER FUNCTION watch() OWNER TO limited",
            "CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch()",
            "COMMENT ON EVENT TRIGGER watching IS 'x'",
            "CREATE PUBLICATION everything FOR ALL TABLES",
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER far",
            "CREATE FOREIGN TABLE away (n int) SERVER elsewhere",
            "ALTER FOREIGN TABLE away OWNER TO limited",
        )
        receipt = take_proven_backup(target, tmp_path / "backup", "b")
    proof = read_manifest(tmp_path / "backup").proof
    assert receipt.proven
    assert proof is not None
    for name in ("EVENT TRIGGER - watching", "PUBLICATION - everything", "SERVER - elsewhere", "TABLE public away"):
        assert any(name in line and "only a superuser may create it" in line for line in proof.omitted), proof.omitted
    assert not any("COMMENT" in line for line in proof.omitted)


def test_where_others_own_something_owners_and_grants_are_left_out_and_said_so(server: Server, tmp_path: Path) -> None:
    server.run("CREATE ROLE stranger")
    try:
        with owned_by(server, "tenant", "CREATEDB") as target:
            execute(
                server.url("tenant"),
                "CREATE TABLE theirs (n int)",
                "ALTER TABLE theirs OWNER TO stranger",
                "GRANT SELECT ON theirs TO tenant",
                "GRANT SELECT ON users TO stranger",
                "ALTER DEFAULT PRIVILEGES FOR ROLE stranger GRANT SELECT ON TABLES TO tenant",
            )
            take_proven_backup(target, tmp_path / "backup", "b")
            proof = read_manifest(tmp_path / "backup").proof
            execute(server.url("tenant"), "DROP OWNED BY stranger")
    finally:
        server.run("DROP ROLE stranger")
    assert proof is not None
    assert any("owners and grants" in line and "stranger" in line for line in proof.omitted), proof.omitted
    # on a server where a role is missing not even a superuser can give it anything
    proof = verify_backup(parse_target(server.url("postgres")), tmp_path / "backup")
    assert any("tenant" in line for line in proof.omitted)


def test_a_subscription_is_never_made_in_a_copy(adopted_url: str, tmp_path: Path) -> None:
    """Dropped there, it could drop the slot of the original; and no database that has one can be dropped."""
    execute(
        adopted_url,
        "CREATE SUBSCRIPTION feed CONNECTION 'host=/nonexistent dbname=x' PUBLICATION p"
        " WITH (connect = false, slot_name = 'the_original')",
    )
    try:
        take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    finally:
        execute(adopted_url, "ALTER SUBSCRIPTION feed SET (slot_name = NONE)", "DROP SUBSCRIPTION feed")
    proof = read_manifest(tmp_path / "backup").proof
    assert proof is not None
    assert [line for line in proof.omitted if line.startswith("SUBSCRIPTION - feed")]


def test_what_differs_beyond_what_was_left_out_is_still_found(server: Server, tmp_path: Path) -> None:
    """Ownership may be left out; a column that lost its default may not."""
    server.run("CREATE ROLE stranger")
    try:
        with owned_by(server, "renter", "CREATEDB") as target:
            execute(server.url("renter"), "CREATE TABLE theirs (n int)", "ALTER TABLE theirs OWNER TO stranger")
            execute(server.url("renter"), "GRANT SELECT ON theirs TO renter")
            take_backup(target, tmp_path / "backup", "b")
            forge(tmp_path / "backup", "public.users.status", "default", "'inactive'")
            with pytest.raises(BackupFailed, match=r"column public\.users\.status: default"):
                verify_backup(target, tmp_path / "backup")
            execute(server.url("renter"), "DROP TABLE theirs")
    finally:
        server.run("DROP ROLE stranger")


def forge(folder: Path, name: str, attribute: str, value: str) -> None:
    """Let the backup say that the original had something else."""
    from dataclasses import replace

    from lawsker_db.record.manifest import file_digest, write_manifest

    facts = json.loads((folder / "catalog.json").read_text())
    for kind, what, known in facts:
        if (kind, what) == ("column", name):
            known[attribute] = value
    (folder / "catalog.json").write_text(json.dumps(facts))
    manifest = read_manifest(folder)
    (folder / "SHA256SUMS").unlink()
    files = {**manifest.files, "catalog.json": file_digest(folder / "catalog.json")}
    write_manifest(folder, replace(manifest, files=files))


def test_nobody_who_may_not_read_the_original_can_connect_to_its_copy(server: Server, tmp_path: Path) -> None:
    """A new database lets PUBLIC in, and a stranger's session would keep an ordinary role from dropping it."""
    server.run("CREATE ROLE snoop LOGIN PASSWORD 'x'")
    seen: list[str] = []

    def peep(event: Event) -> None:
        if event.name == "restoring":
            given = parse_target(server.url("postgres")).parameters
            name = max(scratch_databases(server))
            try:
                Target(parameters={**given, "dbname": name, "user": "snoop", "password": "x"}).raw_connection().close()
            except Unreachable as refused:
                seen.append(refused.message)

    try:
        with owned_by(server, "discreet", "CREATEDB") as target:
            take_proven_backup(target, tmp_path / "backup", "b", on_event=peep)
    finally:
        server.run("DROP ROLE snoop")
    assert seen
    assert all("permission denied for database" in message for message in seen)


@pytest.mark.long
def test_a_rehearsal_can_reach_no_other_server(adopted_url: str, tmp_path: Path) -> None:
    """A foreign table in the copy leads where the original's leads, perhaps back to production: no user mapping, no way."""
    execute(
        adopted_url,
        "CREATE FOREIGN DATA WRAPPER far",
        "CREATE SERVER production FOREIGN DATA WRAPPER far OPTIONS (host 'h', dbname 'd')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER production OPTIONS (\"user\" 'u', password 'p')",
        "CREATE USER MAPPING FOR PUBLIC SERVER production",
    )
    copies: list[str] = []
    mapped: list[int] = []

    def look(event: Event) -> None:
        if event.name == "scratch":
            copies.append(str(event.facts["database"]))
        if event.name == "analyzed":
            place = Target(parameters={**parse_target(adopted_url).parameters, "dbname": copies[0]})
            with place.raw_connection() as conn:
                mapped.append(len(conn.execute("SELECT FROM pg_user_mappings").fetchall()))

    report = safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path / "runs"), on_event=look)
    assert report.rehearsal is not None
    assert mapped == [0]
    with psycopg.connect(adopted_url) as conn:
        assert len(conn.execute("SELECT FROM pg_user_mappings").fetchall()) == 2


# ---- where no trial restore is possible ------------------------------------------------------------------------------


def test_a_backup_that_does_not_restore_is_refused_whatever_was_accepted_beforehand(
    adopted_url: str, tmp_path: Path
) -> None:
    """A check that the rows which stand do not keep: NOT VALID lets it be, a restore of a forged dump would not."""
    execute(
        adopted_url,
        "CREATE FUNCTION strict() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN IF current_database() LIKE 'lawsker_scratch_%' THEN RAISE 'not in a copy'; END IF; RETURN true; END$$",
        "CREATE TABLE picky (n int CHECK (public.strict()))",
        "INSERT INTO picky VALUES (1)",
    )
    words = r"does not restore here: pg_restore.*not in a copy"
    with pytest.raises(BackupFailed, match=words):
        take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    assert read_manifest(tmp_path / "backup").proof is None
    options = UpgradeOptions(runs=tmp_path / "runs", accept_unproven="there is no CREATEDB here")
    with pytest.raises(BackupFailed, match=words):
        safe_upgrade(parse_target(adopted_url), options=options)


@contextmanager
def on_a_disk_of_its_own(
    server: Server, template: str, folder: Path, *, megabytes: int
) -> Iterator[tuple[Target, Path]]:
    """The adopted sample in a tablespace on a small disk, where its copy will lie too."""
    with psycopg.connect(server.url("postgres")) as conn:
        row = conn.execute("SHOW data_directory").fetchone()
    assert row is not None
    owner = Path(str(row[0])).stat()
    folder.parent.chmod(0o755)
    with small_disk(folder, megabytes=megabytes) as disk:
        place = disk / "space"
        place.mkdir()
        os.chown(place, owner.st_uid, owner.st_gid)
        for parent in place.parents:
            if parent.is_relative_to(folder.parents[2]):
                parent.chmod(parent.stat().st_mode | 0o055)
        server.run(f"CREATE TABLESPACE small LOCATION '{place}'")
        server.run(f"CREATE DATABASE cramped TEMPLATE {template} TABLESPACE small")
        server.run("CHECKPOINT")  # its own pages have their place on the disk, as those of a live database have
        try:
            yield parse_target(server.url("cramped")), disk
        finally:
            server.run("DROP DATABASE cramped")
            server.run("DROP TABLESPACE small")


def test_a_copy_that_would_fill_the_disk_of_the_original_is_not_begun(
    server: Server, adopted_template: str, tmp_path: Path
) -> None:
    with on_a_disk_of_its_own(server, adopted_template, tmp_path / "disk", megabytes=90) as (target, _):
        with pytest.raises(Refused, match="disk for the scratch copy") as refused:
            safe_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs"))
        assert "--accept-unproven-backup" in refused.value.hint
        with pytest.raises(BackupUnproven, match="MB are free"):
            take_proven_backup(target, tmp_path / "backup", "b")
        options = UpgradeOptions(runs=tmp_path / "runs", accept_unproven="the disk comes on Monday")
        report = safe_upgrade(target, options=options)
    assert "MB are free. Accepted: the disk comes on Monday" in report.not_proven[0]


def test_a_disk_that_fills_up_under_the_trial_restore_leaves_the_original_alone(
    server: Server, adopted_template: str, tmp_path: Path
) -> None:
    with on_a_disk_of_its_own(server, adopted_template, tmp_path / "disk", megabytes=400) as (target, disk):
        before = oracle.picture(server.url("cramped"))

        def fill(event: Event) -> None:
            if event.name == "restoring":
                subprocess.run(["dd", "if=/dev/zero", f"of={disk}/full", "bs=1M"], check=False, capture_output=True)
            if event.name == "dropped":
                (disk / "full").unlink()

        with pytest.raises(BackupUnproven, match="given up before it filled the server's disk"):
            take_proven_backup(target, tmp_path / "backup", "b", on_event=fill)
        assert oracle.picture(server.url("cramped")) == before


@pytest.mark.long
def test_a_scratch_database_that_cannot_be_dropped_is_named_in_the_report(adopted_url: str, tmp_path: Path) -> None:
    """Somebody else's session in it is ended; a database that is somebody's template is not dropped."""
    seen: list[str] = []

    def protect(event: Event) -> None:
        if event.name == "scratch":
            seen.append(str(event.facts["database"]))
        if event.name == "forecast":
            execute(adopted_url, f"ALTER DATABASE {seen[0]} IS_TEMPLATE true")

    report = safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path / "runs"), on_event=protect)
    assert [note for note in report.notes if f"DROP DATABASE {seen[0]}" in note]
    execute(adopted_url, f"ALTER DATABASE {seen[0]} IS_TEMPLATE false", f"DROP DATABASE {seen[0]}")


def test_a_proof_that_cannot_be_noted_is_a_proof_all_the_same(adopted_url: str, tmp_path: Path) -> None:
    """A backup on a medium that takes no writes any more."""
    seen: list[Event] = []
    with small_disk(tmp_path / "disk", megabytes=50) as disk:
        take_backup(parse_target(adopted_url), disk / "backup", "b")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert verify_backup(parse_target(adopted_url), disk / "backup", on_event=seen.append).rows > 0
        assert read_manifest(disk / "backup").proof is None
    assert [event.text for event in seen if event.name == "unnoted" and "Read-only" in event.text]


def test_indexes_of_partitions_of_partitions_are_attached_one_after_another(adopted_url: str, tmp_path: Path) -> None:
    """Two at once can leave the topmost one invalid, or end in a deadlock."""
    take_backup(parse_target(adopted_url), tmp_path / "backup", "b")
    with psycopg.connect(adopted_url) as conn:
        program = oracle.pg_dump(conn.info.server_version // 10000).parent / "pg_restore"
    command = [str(program), "--list", "--section=post-data", str(tmp_path / "backup" / "database")]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    entries = tuple(line for line in listed.splitlines() if line and not line.startswith(";"))
    indexes, attaching, rest = building_stages(entries)
    assert (indexes.parallel, attaching.parallel, rest.parallel) == (True, False, True)
    assert len(attaching.entries) > 1
    assert {" ".join(line.split()[3:5]) for line in attaching.entries} == {"INDEX ATTACH"}
    assert not [
        line for line in rest.entries if " INDEX " in line or " CONSTRAINT " in line.replace("FK CONSTRAINT", "")
    ]
    assert sorted(entries) == sorted((*indexes.entries, *attaching.entries, *rest.entries))


# ---- the command afterwards ------------------------------------------------------------------------------------------


def test_a_proven_backup_is_handed_to_the_operators_command(adopted_url: str, tmp_path: Path) -> None:
    """No shell reads it, and the path stands where it was named."""
    carry = (
        f"{sys.executable} -c 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])' {{path}} '{tmp_path}/a b'"
    )
    take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b", options=BackupOptions(after=carry))
    assert read_manifest(tmp_path / "a b").proof is not None


@pytest.mark.long
def test_a_command_that_fails_stops_the_run_before_the_migration(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    for command, words in (
        ("sh -c 'echo far end: s3cret >&2; exit 3' {path}", "exit code 3; what it said is in .*after-backup.log"),
        ("/nonexistent/program {path}", "cannot be run: /nonexistent/program: No such file"),
    ):
        options = UpgradeOptions(runs=tmp_path / "runs", backup=BackupOptions(after=command))
        with pytest.raises(BackupFailed, match=words):
            safe_upgrade(parse_target(adopted_url), options=options)
    assert oracle.picture(adopted_url) == before
    told = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert [path.name for path in told] == ["after-backup.log"]
    assert stat.S_IMODE(told[0].stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["rclone copy", "'unended {path}", " "])
def test_a_command_that_cannot_be_meant_is_a_usage_error(command: str, adopted_url: str, tmp_path: Path) -> None:
    from lawsker_db.safety.backup import after_words

    with pytest.raises(UsageError, match="--after-backup"):
        after_words(command)


# ---- what hangs on what is left out, and what a copy has in other words ----------------------------------------------


def test_whatever_hangs_on_what_an_ordinary_role_leaves_out_is_left_out_with_it(server: Server, tmp_path: Path) -> None:
    """Comments, grants, triggers, defaults, keys of partitions, statistics, sequences; names that need quotes."""
    with owned_by(server, "lodger", "CREATEDB") as target:
        execute(server.url("lodger"), *foreign_objects("lodger"))
        assert take_proven_backup(target, tmp_path / "backup", "b").proven
        proof = read_manifest(tmp_path / "backup").proof
        with target.connect() as conn:
            restorer = read_restorer(conn)
            entries = list_entries(
                find_restorer(conn, read_manifest(tmp_path / "backup").client_major), tmp_path / "backup" / "database"
            )
    assert proof is not None
    assert not any(line.startswith(("COMMENT", "ACL")) for line in proof.omitted), proof.omitted
    for name in ("TRIGGER public aw ay t r", "DEFAULT public aw ay i d", "STATISTICS public seen"):
        assert any(line.startswith(f"{name} lodger: it hangs on") for line in proof.omitted), proof.omitted
    selection = select_entries(entries, read_catalog_of(tmp_path / "backup"), restorer)
    assert [entry for entry in selection.entries if entry.endswith("TRIGGER public aw ay t lodger")]
    assert selection.may_break_others


def foreign_objects(owner: str) -> tuple[str, ...]:
    """Foreign tables with all that can hang on one, and a table beside them whose names begin alike."""
    return (
        "CREATE FOREIGN DATA WRAPPER far OPTIONS (z '1', a '2')",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER far OPTIONS (z '1', a '2')",
        "CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        'CREATE FOREIGN TABLE "aw ay" (n int OPTIONS (z \'1\', a \'2\') CONSTRAINT "c k" CHECK (n > 0), "i d" serial,'
        " g int GENERATED ALWAYS AS IDENTITY) SERVER elsewhere OPTIONS (z '1', a '2')",
        'CREATE TABLE aw (n int CONSTRAINT "ay c k" CHECK (n > 0), "ay i d" int DEFAULT 4)',
        'CREATE TRIGGER "ay t" BEFORE INSERT ON aw FOR EACH ROW EXECUTE FUNCTION pass()',
        'CREATE TRIGGER "t r" BEFORE INSERT ON "aw ay" FOR EACH ROW EXECUTE FUNCTION pass()',
        'CREATE STATISTICS seen ON n, g FROM "aw ay"',
        "CREATE TABLE year (n int) PARTITION BY RANGE (n)",
        "CREATE FOREIGN TABLE month PARTITION OF year FOR VALUES FROM (1) TO (5) SERVER elsewhere",
        'GRANT SELECT ON "aw ay" TO PUBLIC',
        f'GRANT SELECT (n) ON "aw ay" TO {owner}',
        f"GRANT USAGE ON FOREIGN DATA WRAPPER far TO {owner}",
        f"GRANT USAGE ON FOREIGN SERVER elsewhere TO {owner}",
        "CREATE TRUSTED LANGUAGE other HANDLER plpgsql_call_handler",
        f"GRANT USAGE ON LANGUAGE other TO {owner}",
        "CREATE ACCESS METHOD heap_too TYPE TABLE HANDLER heap_tableam_handler",
        "CREATE TEXT SEARCH TEMPLATE words (LEXIZE = dsimple_lexize)",
        "CREATE PUBLICATION everything FOR TABLE aw",
        *(
            f"COMMENT ON {what} IS 'x'"
            for what in (
                *(
                    'FOREIGN TABLE "aw ay"',
                    'COLUMN "aw ay".n',
                    'CONSTRAINT "c k" ON "aw ay"',
                    'TRIGGER "t r" ON "aw ay"',
                ),
                *("STATISTICS seen", "LANGUAGE other", "ACCESS METHOD heap_too", "TEXT SEARCH TEMPLATE words"),
                *("FOREIGN DATA WRAPPER far", "SERVER elsewhere", "PUBLICATION everything", 'SEQUENCE "aw ay_g_seq"'),
            )
        ),
        *(f"ALTER TABLE {table} OWNER TO {owner}" for table in ('"aw ay"', "aw", "year", "month")),
        f"ALTER STATISTICS seen OWNER TO {owner}",
        f"ALTER FUNCTION pass() OWNER TO {owner}",
    )


def test_where_others_own_schema_public_an_ordinary_role_says_that_it_may_differ(
    server: Server, tmp_path: Path
) -> None:
    with owned_by(server, "guest", "CREATEDB") as target:
        take_proven_backup(target, tmp_path / "plain", "b")
        with psycopg.connect(server.url("guest"), autocommit=True) as conn:
            row = conn.execute("SELECT current_user").fetchone()
            assert row is not None
            conn.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(str(row[0]))))
            conn.execute("COMMENT ON SCHEMA public IS 'ours'")
            conn.execute("GRANT CREATE ON SCHEMA public TO guest")
        take_proven_backup(target, tmp_path / "theirs", "b")
    plain, theirs = (read_manifest(tmp_path / name).proof for name in ("plain", "theirs"))
    assert plain is not None
    assert theirs is not None
    said = [line for line in theirs.omitted if line.startswith("owner, grants and comment of ")]
    assert len(said) == 1
    assert "schema public" in said[0]
    assert [line for line in theirs.omitted if line.startswith("SCHEMA - public") and "somebody else's" in line]
    assert ("extensions" in said[0]) == any("extensions" in line for line in plain.omitted)


def test_only_a_subscription_left_out_breaks_nothing_else() -> None:
    nobody = Restorer(user="a", superuser=True, roles=frozenset(), extensions=frozenset({"hstore"}))
    subscription = "3424; 6104 16394 SUBSCRIPTION - feed a"
    assert not select_entries((subscription,), Catalog(objects={}), nobody).may_break_others
    extension = Catalog(objects={("extension", '"uuid-ossp"'): {}, ("extension", "hstore"): {}})
    entries = (
        *(subscription, "2; 3079 1 EXTENSION - uuid-ossp ", '9; 0 0 COMMENT - EXTENSION "uuid-ossp" '),
        "3; 3079 2 EXTENSION - hstore ",
    )
    selection = select_entries(entries, extension, nobody)
    assert selection.entries == entries[3:]
    assert selection.may_break_others


def test_a_list_of_many_entries_is_gone_through_in_a_moment() -> None:
    """100,000 entries, a tenth of them on foreign tables."""
    facts: dict[tuple[str, str], dict[str, object]] = {}
    for number in range(10_000):
        facts["table", f"public.t{number}"] = {"kind": "f", "owner": "a"}
        facts["column", f"public.t{number}.n"] = {}
    entries = tuple(f"{number}; 0 0 DEFAULT public t{number} n a" for number in range(100_000))
    ordinary = Restorer(user="a", superuser=False, roles=frozenset({"a"}), extensions=frozenset())
    began = time.monotonic()
    assert len(select_entries(entries, Catalog(objects=facts), ordinary).entries) == 90_000
    assert time.monotonic() - began < 10


def test_options_of_foreign_objects_are_equal_in_whatever_order(adopted_url: str, tmp_path: Path) -> None:
    """A dump sorts them."""
    execute(
        adopted_url,
        "CREATE FOREIGN DATA WRAPPER far OPTIONS (z '1', a '2')",
        "CREATE SERVER elsewhere FOREIGN DATA WRAPPER far OPTIONS (z '1', a '2')",
        "CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (z '1', a '2')",
        "CREATE FOREIGN TABLE away (n int OPTIONS (z '1', a '2')) SERVER elsewhere OPTIONS (z '1', a '2')",
    )
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven
    for changed in (
        "FOREIGN DATA WRAPPER far",
        "SERVER elsewhere",
        "USER MAPPING FOR PUBLIC SERVER elsewhere",
        "FOREIGN TABLE away",
        "FOREIGN TABLE away ALTER n",
    ):
        before = catalog_of(adopted_url)
        execute(adopted_url, f"ALTER {changed} OPTIONS (SET a '3')")
        assert len(compare_catalogs(before, catalog_of(adopted_url))) == 1, changed


def catalog_of(url: str) -> Catalog:
    with parse_target(url).connect() as conn:
        return read_catalog(conn)


def test_columns_that_hold_oids_are_proven_by_what_these_mean(adopted_url: str, tmp_path: Path) -> None:
    """The same table, function, role has another OID in a copy."""
    execute(
        adopted_url,
        "CREATE TABLE filler (n int)",
        "DROP TABLE filler",
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
        "CREATE FUNCTION once(int) RETURNS int LANGUAGE sql AS 'SELECT $1'",
        "CREATE TABLE known (c regclass, cs regclass[], r regrole, p regproc, ps regprocedure[], t regtype, n regnamespace)",
        "INSERT INTO known VALUES ('users', '{users,wallets}', 'pg_monitor', 'once', '{once(int),twice(int)}', 'users',"
        " 'audit')",
    )
    assert take_proven_backup(parse_target(adopted_url), tmp_path / "backup", "b").proven
    seen = {known_print(adopted_url)}
    for change in (
        *("c = 'wallets'", "cs = '{wallets,users}'", "r = 'pg_signal_backend'", "p = 'twice'"),
        *("ps = '{once(int)}'", "t = 'wallets'", "n = 'public'", "c = NULL"),
    ):
        execute(adopted_url, f"UPDATE known SET {change}")
        seen.add(known_print(adopted_url))
    assert len(seen) == 9


def known_print(url: str) -> tuple[str, ...]:
    with parse_target(url).connect() as conn:
        return fingerprint_table(conn, "public.known").sums
