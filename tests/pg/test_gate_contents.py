"""What the gate says of content: declared writes, sequences that move, families of tables, --proof full, system catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import oracle
import psycopg
import pytest
from chains import small_chain

from lawsker_db.errors import GateRefused, LockNotObtained
from lawsker_db.evidence import Event, RunReport, Verdict
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target


def upgrade(url: str, config: Path, on_event: Any = lambda event: None, **more: Any) -> RunReport:
    options = UpgradeOptions(runs=config.parent / "runs", config=config, prove=False, **more)
    return safe_upgrade(parse_target(url), options=options, on_event=on_event)


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def proofs(report: RunReport) -> dict[str, str]:
    return {content.table: content.proof for content in report.contents}


def assert_refused(url: str, config: Path, says: str, **more: Any) -> None:
    before = oracle.picture(url)
    with pytest.raises(GateRefused) as refused:
        upgrade(url, config, **more)
    assert says in refused.value.message
    assert oracle.picture(url) == before


def test_an_update_that_changes_nothing_passes_where_the_contract_says_that_it_is_made(
    adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(
        tmp_path, ('op.execute("UPDATE case_logs SET action = action")', 'writes=(Writes("case_logs"),)')
    )
    before = oracle.content(adopted_url)
    report = upgrade(adopted_url, config)
    assert report.verdict is Verdict.DONE
    assert proofs(report)["public.case_logs"] == "fingerprint"
    assert {lock.table: lock.mode for lock in report.locks} == {"public.case_logs": "SHARE ROW EXCLUSIVE"}
    after = oracle.content(adopted_url)
    assert {name: after[name] for name in before if "alembic_version" not in name} == {
        name: digest for name, digest in before.items() if "alembic_version" not in name
    }


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        pytest.param("UPDATE case_logs SET action = 'x'", "", id="the column that it says"),
        pytest.param("UPDATE case_logs SET action = 'x', ip_address = 'x'", "other content", id="another column too"),
        pytest.param(
            "DELETE FROM case_logs WHERE id = (SELECT min(id::text)::uuid FROM case_logs)",
            "other content",
            id="a row taken",
        ),
        pytest.param("UPDATE wallets SET balance = balance", "public.wallets", id="a table of which it says nothing"),
    ],
)
def test_only_the_columns_that_the_contract_names_may_change(
    statement: str, says: str, adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(tmp_path, (f"op.execute({statement!r})", 'writes=(Writes("case_logs", ("action",)),)'))
    if says:
        assert_refused(adopted_url, config, says)
        return
    assert upgrade(adopted_url, config).verdict is Verdict.DONE


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        pytest.param("SELECT nextval('invoice_number')", "", id="a number drawn"),
        pytest.param("SELECT setval('invoice_number', 100000)", "", id="set forwards"),
        pytest.param("ALTER SEQUENCE invoice_number RESTART WITH 100000", "", id="restarted further on"),
        pytest.param("ALTER SEQUENCE invoice_number RESTART", "never backwards", id="restarted"),
        pytest.param("SELECT setval('countdown', 5)", "", id="one that counts downwards, onwards"),
        pytest.param("SELECT setval('countdown', 15)", "never backwards", id="one that counts downwards, back"),
    ],
)
def test_a_sequence_that_the_contract_names_may_move_on_and_never_back(
    statement: str, says: str, adopted_url: str, tmp_path: Path
) -> None:
    run(adopted_url, "CREATE SEQUENCE countdown INCREMENT -1 MINVALUE 1 MAXVALUE 100 START 10")
    contract = 'writes=(Writes("invoice_number"), Writes("countdown"))'
    config = small_chain(tmp_path, (f"op.execute({statement!r})", contract))
    if not says:
        assert upgrade(adopted_url, config).verdict is Verdict.DONE
        return
    with pytest.raises(GateRefused, match=says) as refused:
        upgrade(adopted_url, config)
    assert "stay so, as ever" in refused.value.state


FAMILY = (
    "CREATE TABLE readings (at date NOT NULL, value int) PARTITION BY RANGE (at)",
    "CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
    "CREATE TABLE readings_new PARTITION OF readings DEFAULT",
    "INSERT INTO readings VALUES ('2020-06-01', 1), ('2022-06-01', 2)",
    "CREATE TABLE animals (name text); CREATE TABLE dogs (bark text) INHERITS (animals)",
    "INSERT INTO animals VALUES ('cat'); INSERT INTO dogs VALUES ('rex', 'wow')",
)


@pytest.mark.parametrize("parent", ["readings", "animals"])
def test_a_declared_write_covers_the_partitions_and_children_of_its_table_and_guards_them(
    parent: str, adopted_url: str, tmp_path: Path
) -> None:
    run(adopted_url, *FAMILY)
    column = {"readings": "value", "animals": "name"}[parent]
    contract = f'writes=(Writes("{parent}"),)'
    passes = small_chain(tmp_path / "a", (f'op.execute("UPDATE {parent} SET {column} = {column}")', contract))
    assert upgrade(adopted_url, passes).verdict is Verdict.DONE
    harm = {"readings": "UPDATE readings SET value = value + 1 WHERE at < '2021-01-01'",
            "animals": "UPDATE dogs SET name = 'max'"}[parent]  # fmt: skip
    run(adopted_url, "UPDATE alembic_version SET version_num = '012'")
    refused = small_chain(tmp_path / "b", (f"op.execute({harm!r})", contract))
    assert_refused(adopted_url, refused, {"readings": "public.readings_old", "animals": "public.dogs"}[parent])


def test_each_revision_is_judged_by_its_own_contract_also_for_what_the_one_before_wrote(
    adopted_url: str, tmp_path: Path
) -> None:
    writes = ("op.execute(\"UPDATE case_logs SET action = 'x'\")", 'writes=(Writes("case_logs", ("action",)),)')
    nothing = ("pass", "")
    assert upgrade(adopted_url, small_chain(tmp_path / "a", writes, nothing)).verdict is Verdict.DONE
    run(adopted_url, "UPDATE alembic_version SET version_num = '012'")
    again = ("op.execute(\"UPDATE case_logs SET action = 'y'\")", "")
    assert_refused(adopted_url, small_chain(tmp_path / "b", writes, again), "public.case_logs")


def test_a_full_proof_locks_and_compares_every_table_and_keeps_writers_out_meanwhile(
    adopted_url: str, tmp_path: Path
) -> None:
    config = small_chain(tmp_path, ("pass", 'alters=("users",)'))
    waited: list[str] = []

    def write(event: Event) -> None:
        if event.name == "judged":
            with psycopg.connect(adopted_url, options="-c lock_timeout=100") as other:
                other.execute("SELECT count(*) FROM wallets")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute("UPDATE wallets SET balance = balance")
                waited.append(event.name)

    report = upgrade(adopted_url, config, write, full=True)
    assert waited == ["judged"]
    with psycopg.connect(adopted_url) as connection:
        tables = [row[0] for row in connection.execute(TABLES).fetchall()]
    assert {table: proofs(report)[table] for table in tables} == dict.fromkeys(tables, "fingerprint")
    modes = {lock.table: lock.mode for lock in report.locks}
    assert modes["public.users"] == "ACCESS EXCLUSIVE"
    assert modes["public.wallets"] == "SHARE"


TABLES = (
    "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables t WHERE tablename <> 'alembic_version'"
    " AND schemaname NOT IN ('pg_catalog', 'information_schema', 'lawsker_db') AND NOT EXISTS (SELECT FROM"
    " pg_partitioned_table p WHERE p.partrelid = format('%I.%I', schemaname, tablename)::regclass)"
)


def test_a_full_proof_of_the_whole_migration_takes_no_lock_twice_at_different_strengths(
    adopted_url: str, tmp_path: Path
) -> None:
    options = UpgradeOptions(runs=tmp_path / "runs", prove=False, full=True)
    report = safe_upgrade(parse_target(adopted_url), options=options)
    assert report.verdict is Verdict.DONE
    strengths: dict[str, set[str]] = {}
    for lock in report.locks:
        strengths.setdefault(lock.table, set()).add(lock.mode)
    assert strengths["public.users"] == {"ACCESS EXCLUSIVE"}
    assert strengths["public.cases"] == {"SHARE ROW EXCLUSIVE"}


def test_a_full_proof_gives_way_to_a_writer_that_does_not_end(adopted_url: str, tmp_path: Path) -> None:
    config = small_chain(tmp_path, ("pass", ""))
    with psycopg.connect(adopted_url) as other:
        other.execute("UPDATE wallets SET balance = balance")
        with pytest.raises(LockNotObtained, match=r"public\.wallets|wallets"):
            upgrade(adopted_url, config, full=True, patience_s=1)
        other.rollback()


def test_a_system_catalog_that_the_gate_does_not_read_may_not_be_written(adopted_url: str, tmp_path: Path) -> None:
    config = small_chain(tmp_path, ("op.execute(\"SELECT pg_replication_origin_create('elsewhere')\")", ""))
    assert_refused(adopted_url, config, "pg_replication_origin")


def test_a_full_proof_lets_a_later_revision_write_what_its_contract_says(adopted_url: str, tmp_path: Path) -> None:
    writes = ("op.execute(\"UPDATE case_logs SET action = 'x'\")", 'writes=(Writes("case_logs", ("action",)),)')
    report = upgrade(adopted_url, small_chain(tmp_path, ("pass", ""), writes), full=True)
    assert report.verdict is Verdict.DONE
