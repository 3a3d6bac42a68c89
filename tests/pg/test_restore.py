"""Emergency restore: the database is what it was in the backup, the damaged one is kept, and what happened is told truly."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from command_line import Ended, run
from copies import Server, execute, owned_by, scratch_databases
from restoring import DAMAGE, Shop, belongings, database_oid, databases, document, one, shop_of

from lawsker_db.demo.binaries import binaries_in
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import throwaway_server
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A shop after a restore, and what the command said."""

    shop: Shop
    ended: Ended
    damaged: str
    belongings: Any
    written: dict[str, str]


@pytest.fixture(scope="module")
def restored(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    """Upgraded by a run, written to, damaged, and put back to that run's own backup while somebody is connected."""
    folder = tmp_path_factory.mktemp("restored")
    with shop_of(server, adopted_template, folder) as shop:
        execute(shop.url, *DAMAGE)
        held = belongings(server, shop.name)
        with closing(psycopg.connect(shop.url)) as client:
            client.execute("SELECT 1")
            written = oracle.content(shop.url)
            ended = run(folder, "restore", shop.run, "--yes", url=shop.url)
        assert ended.code == 0, ended.said
        (damaged,) = (name for name in databases(server, shop.name) if name != shop.name)
        yield Restored(shop=shop, ended=ended, damaged=damaged, belongings=held, written=written)


def test_the_name_leads_to_the_database_as_it_was_in_the_backup(restored: Restored) -> None:
    assert restored.ended.code == 0, restored.ended.said
    schema, content = oracle.picture(restored.shop.url)
    differing = {name for name, digest in restored.shop.before[1].items() if content[name] != digest}
    assert (schema, content.keys()) == (restored.shop.before[0], restored.shop.before[1].keys())
    assert differing == {"public.tickets", "public.downwards"}, "sequences alone: no id is handed out twice"
    assert database_oid(restored.shop.url) != restored.shop.oid


def test_what_hangs_on_the_database_and_not_in_it_is_as_before(restored: Restored, server: Server) -> None:
    assert belongings(server, restored.shop.name) == restored.belongings


def test_the_damaged_database_is_kept_with_all_its_rows_closed_and_read_only(
    restored: Restored, server: Server
) -> None:
    assert len(restored.damaged.encode()) <= 63
    assert f'DROP DATABASE "{restored.damaged}"' in restored.ended.out
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(server.url(restored.damaged))
    server.run(f"ALTER DATABASE {restored.damaged} ALLOW_CONNECTIONS true")
    try:
        assert oracle.content(server.url(restored.damaged)) == restored.written
        assert one(server.url(restored.damaged), "SHOW default_transaction_read_only") == "on"
        assert database_oid(server.url(restored.damaged)) == restored.shop.oid
    finally:
        server.run(f"ALTER DATABASE {restored.damaged} ALLOW_CONNECTIONS false")


def test_no_id_is_handed_out_twice_whichever_way_a_sequence_counts(restored: Restored) -> None:
    assert one(restored.shop.url, "SELECT nextval('tickets')") == 4
    assert one(restored.shop.url, "SELECT nextval('downwards')") == -3


def test_the_history_says_what_was_undone_and_where_it_stands(restored: Restored) -> None:
    shop = restored.shop
    told = run(shop.folder, "status", "--run", shop.run, url=shop.url)
    assert f"Run {shop.run}: committed, in what is now {restored.damaged}; this database was restored" in told.out
    assert "PENDING" in told.out.splitlines()[0]
    rows = run(shop.folder, "status", "--json", url=shop.url).document["history"]
    assert [(row["direction"], row["here"], row["undone"], row["intact"]) for row in rows] == [
        ("adopt", rows[0]["here"], "", True),
        ("upgrade", False, restored.damaged, True),
        ("restore", True, "", True),
    ]


def test_recover_tells_the_truth_about_a_run_that_committed_in_the_damaged_database(restored: Restored) -> None:
    shop = restored.shop
    report = shop.runs / shop.run / "report.json"
    kept = report.read_bytes()
    report.unlink()
    try:
        ended = run(shop.folder, "recover", url=shop.url)
    finally:
        report.write_bytes(kept)
        (shop.runs / shop.run / "settled.json").unlink()
    assert ended.code == 0, ended.said
    assert f"Run {shop.run}: committed: committed in what is now {restored.damaged}; this database was" in ended.out
    assert f"restored from backup {shop.run}, taken before it" in ended.out


@pytest.mark.long
def test_the_upgrade_can_be_made_again_and_verified(restored: Restored) -> None:
    shop = restored.shop
    for typed in (("safe-upgrade", "--yes", "--no-rehearsal"), ("verify",)):
        ended = run(shop.folder, *typed, url=shop.url)
        assert ended.code == 0, ended.said


def test_the_report_tells_how_long_the_gate_was_closed(restored: Restored) -> None:
    told = document(restored.shop.runs)
    assert (told["verdict"], told["direction"]) == ("done", "restore")
    assert told["figures"]["gate closed, ms"] > 0
    assert told["proof"]["tables"] > 0
    assert restored.damaged in told["state"]


def test_every_row_that_was_written_since_is_counted_and_exported_and_nothing_of_ours(restored: Restored) -> None:
    told = document(restored.shop.runs)
    users = int(one(restored.shop.url, "SELECT count(*) FROM users"))
    (line,) = (note for note in told["notes"] if note.startswith("public.users:"))
    assert line.startswith(f"public.users: 1 rows only in the damaged database, {users} changed, 0 only in"), line
    (folder,) = restored.shop.runs.glob("*-restore-*/rescue")
    names = [path.name for path in folder.iterdir()]
    assert "public.users.csv" in names
    assert [name for name in names if "alembic_version" in name or "migration_run" in name] == []


# ---- one shop that is never swapped ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop_of(server, adopted_template, tmp_path_factory.mktemp("shop"), upgraded=False) as made:
        yield made


@pytest.fixture
def untouched(shop: Shop, server: Server) -> Iterator[Shop]:
    """The shop, which must be what it was when the test ends, with nothing left beside it."""
    before = (database_oid(shop.url), oracle.content(shop.url), belongings(server, shop.name))
    yield shop
    assert (database_oid(shop.url), oracle.content(shop.url), belongings(server, shop.name)) == before
    assert databases(server, shop.name) == [shop.name]
    assert scratch_databases(server) == set()


def test_a_dry_run_restores_and_compares_and_leaves_everything_as_it_is(untouched: Shop) -> None:
    ended = run(untouched.folder, "restore", untouched.run, "--dry-run", url=untouched.url)
    assert ended.code == 0, ended.said
    assert "DRY RUN: The backup restores and is equal" in ended.out


def test_a_copy_under_a_name_of_its_own_is_whole_and_refuses_a_name_that_is_taken(
    untouched: Shop, server: Server
) -> None:
    name = f"other_{untouched.name}"
    typed = ("restore", untouched.run, "--to", name)
    made = run(untouched.folder, *typed, url=server.url("postgres"))
    try:
        assert made.code == 0, made.said
        assert oracle.picture(server.url(name)) == untouched.before
        again = run(untouched.folder, *typed, url=server.url("postgres"))
        assert (again.code, "taken: there is such a database" in again.err) == (10, True), again.said
    finally:
        server.run(f"DROP DATABASE {name}")


def test_what_could_not_be_answered_is_refused_before_anything_begins(untouched: Shop) -> None:
    for typed in (("restore", untouched.run), ("restore", str(untouched.runs / untouched.run), "--yes")):
        ended = run(untouched.folder, *typed, url=untouched.url)
        assert (ended.code, f"lawsker-db restore {untouched.run} --yes" in ended.line("Next")) == (2, True), ended.said


def test_a_backup_of_another_database_is_refused_until_its_place_is_named(
    untouched: Shop, server: Server, adopted_url: str
) -> None:
    name = one(adopted_url, "SELECT current_database()")
    typed = ("restore", untouched.run, "--yes", "--dry-run")
    ended = run(untouched.folder, *typed, url=adopted_url)
    assert (ended.code, ended.line("Next")) == (10, f"if that is meant: --into {name}"), ended.said


@pytest.mark.long
def test_a_backup_that_was_never_proven_needs_a_reason(untouched: Shop, tmp_path: Path) -> None:
    taken = run(tmp_path, "backup", "create", "--no-proof", "--json", url=untouched.url)
    assert taken.code == 0, taken.said
    backup = taken.document["folder"]
    refused = run(untouched.folder, "restore", backup, "--dry-run", url=untouched.url)
    assert (refused.code, "--accept-unproven-backup" in refused.line("Next")) == (10, True), refused.said
    typed = ("--accept-unproven-backup", "the other one burnt")
    ended = run(untouched.folder, "restore", backup, "--dry-run", *typed, url=untouched.url)
    assert ended.code == 0, ended.said


def test_a_backup_whose_content_is_not_what_was_seen_ends_as_a_failed_restore(untouched: Shop, tmp_path: Path) -> None:
    """Its sums are right: only restoring and comparing shows that it is another database's."""
    backup = tmp_path / "backup"
    shutil.copytree(untouched.runs / untouched.run / "backup", backup)
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["tables"][0]["rows"] += 1
    write_manifest(backup, manifest)
    ended = run(untouched.folder, "restore", str(backup), "--dry-run", url=untouched.url)
    assert ended.code == 14, ended.said
    assert "the database is the one that it was, and open" in ended.line("Database")


def write_manifest(backup: Path, facts: dict[str, Any]) -> None:
    """Write a manifest again, with the digest that it must have."""
    import hashlib

    facts["digest"] = ""
    body = json.dumps(facts, ensure_ascii=True, indent=1).encode()
    own = b'"digest": "' + hashlib.sha256(body).hexdigest().encode() + b'"'
    (backup / "manifest.json").write_bytes(body.replace(b'"digest": ""', own, 1))


# ---- drills ----------------------------------------------------------------------------------------------------------


def test_a_drill_restores_the_newest_backup_and_keeps_how_long_it_took(untouched: Shop) -> None:
    ended = run(untouched.folder, "drill", "--json", url=untouched.url)
    assert ended.code == 0, ended.said
    told = ended.document
    assert (told["drill"]["backup_id"], told["drill"]["ok"]) == (untouched.run, True)
    assert told["drill"]["whole_s"] >= told["drill"]["restore_s"] > 0
    (kept,) = run(untouched.folder, "drill", "--history", "--json").document["drills"]
    assert kept == told["drill"]
    assert told["median_s"] == kept["whole_s"]


def test_a_drill_of_a_backup_that_was_altered_fails_loudly_and_is_on_record(untouched: Shop, tmp_path: Path) -> None:
    shutil.copytree(untouched.runs / untouched.run, tmp_path / "lawsker-runs" / untouched.run)
    victim = tmp_path / "lawsker-runs" / untouched.run / "backup" / "catalog.json"
    victim.write_bytes(victim.read_bytes()[:-1] + b"X")
    ended = run(tmp_path, "drill", url=untouched.url)
    assert ended.code == 14, ended.said
    assert "FAILED" in run(tmp_path, "drill", "--history").out
    nothing = run(tmp_path, "drill", "--runs", str(tmp_path), url=untouched.url)
    assert (nothing.code, nothing.line("Next")) == (10, "lawsker-db backup create"), nothing.said


# ---- roles and versions ----------------------------------------------------------------------------------------------


@pytest.mark.long
def test_an_ordinary_owner_restores_and_is_told_first_what_he_cannot(server: Server, tmp_path: Path) -> None:
    with owned_by(server, "keeper_of_shop", "CREATEDB") as target:
        url = conninfo(target)
        taken = run(tmp_path, "backup", "create", "--json", url=url)
        assert taken.code == 0, taken.said
        name = Path(taken.document["folder"]).parent.name
        before = oracle.content(url)
        with psycopg.connect(url) as conn:
            conn.execute("UPDATE tenants SET name = 'damaged'")
        server.run("ALTER ROLE postgres IN DATABASE keeper_of_shop SET work_mem = '3MB'")
        with closing(psycopg.connect(server.url("keeper_of_shop"), autocommit=True)) as superior:
            refused = run(tmp_path, "restore", name, "--yes", url=url)
            assert (refused.code, "may not end the sessions of" in refused.err) == (10, True), refused.said
            superior.execute("SELECT 1")
        ended = run(tmp_path, "restore", name, "--yes", url=url)
        assert ended.code == 0, ended.said
        assert "Not proven: setting work_mem of role postgres" in ended.err
        (kept,) = databases(server, "keeper_of_shop_damaged")
        assert oracle.content(url) == before
        server.run(f"DROP DATABASE {kept}")


def conninfo(target: Any) -> str:
    """A target as a libpq conninfo string."""
    return str(psycopg.conninfo.make_conninfo(**target.parameters))


@pytest.mark.majors
@pytest.mark.parametrize("major", [12, 13, 14, 16, 17, 18])
def test_a_restore_swaps_on_every_version_that_a_client_fits(major: int, tmp_path: Path) -> None:
    programs = binaries_in(Path(os.environ["LAWSKER_MAJORS"]).absolute() / str(major) / "bin", origin="LAWSKER_MAJORS")
    with throwaway_server(programs) as standing:
        with psycopg.connect(standing.url("postgres"), autocommit=True) as conn:
            conn.execute("CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8'")
        url = standing.url("shop")
        load_sample(url, users=30)
        adopt(parse_target(url))
        taken = run(tmp_path, "backup", "create", "--json", url=url)
        if "No pg_dump fits" in taken.said:  # as on machines that have 15 and 18, for a server 16
            assert taken.code == 10
            return
        assert taken.code == 0, taken.said
        before = oracle.content(url)
        execute(url, "CREATE SEQUENCE since", "UPDATE tenants SET name = 'damaged'")
        name = Path(taken.document["folder"]).parent.name
        ended = run(tmp_path, "restore", name, "--yes", url=url)
        assert ended.code == 0, ended.said
        assert oracle.content(url) == before
