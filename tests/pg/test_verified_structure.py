"""Verification finds each damage to structure and performance, says nothing else, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import oracle
import pytest
from command_line import everything
from copies import execute
from sqlalchemy import Connection
from structural_damages import BLOAT, DAMAGES, GROWN_LOGS, HARMLESS, Damage

from lawsker_db.evidence import Check
from lawsker_db.postgres.plans import read_plans, top_statements
from lawsker_db.postgres.session import find_schema, pin_session
from lawsker_db.record.junit import render_junit, write_junit
from lawsker_db.record.plans import PlansBefore, TableSize, write_plans
from lawsker_db.revisions import Chain, contracts_up_to, load_chain
from lawsker_db.safety.checklist import CHECKLIST, ITEMS, Severity
from lawsker_db.safety.performance import check_growth, check_plans, note_before, plans_before
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.safety.verification import TRIED, VerifyOptions, verify
from lawsker_db.target import Target, parse_target


@dataclass(frozen=True)
class Migrated:
    """A database at head that nothing was done to since, and the folder of its runs."""

    url: str
    chain: Chain
    runs: Path
    run_id: str


@pytest.fixture(scope="module")
def migrated(server: Any, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    """The sample at head, with the grants and statistics that an operator gives it, and its plans from before."""
    name, runs, chain = f"verified_{secrets.token_hex(4)}", tmp_path_factory.mktemp("runs"), load_chain()
    server.run(f"CREATE DATABASE {name} TEMPLATE {adopted_template}")
    target = parse_target(server.url(name))
    with target.connect() as conn:
        pin_session(conn, find_schema(conn))
        before = note_before(conn, contracts_up_to(chain, ("013",)), find_schema(conn))
        conn.rollback()
    report = safe_upgrade(target, options=UpgradeOptions(runs=runs, prove=False))
    write_plans(Path(report.folder), before)
    execute(server.url(name), "GRANT SELECT ON ALL TABLES IN SCHEMA public TO lawsker_report", "ANALYZE")
    yield Migrated(url=server.url(name), chain=chain, runs=runs, run_id=report.run_id)
    server.run(f"DROP DATABASE {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged(Target):
    """The database with damage that only the connection itself sees: it is rolled back with the look."""

    statements: tuple[str, ...] = ()

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        with Target.connect(self, autocommit=autocommit) as conn:
            for statement in self.statements:
                conn.exec_driver_sql(statement.replace("%", "%%"))
            yield conn


def found(migrated: Migrated, *damage: str, **options: Any) -> dict[str, Check]:
    """Every check by its code; the content of older tables is looked at only where a test asks for it."""
    chosen = VerifyOptions(**{"runs": migrated.runs, "content": False, "read_only": True, **options})
    target = Damaged(parameters=parse_target(migrated.url).parameters, statements=damage)
    return {check.code: check for check in verify(target, migrated.chain, options=chosen)}


def violations(checks: dict[str, Check]) -> set[str]:
    """Codes of structure and performance that do not hold; D and B have tests of their own."""
    return {code for code, check in checks.items() if check.ok is False and code[:1] in "SP"}


def test_each_code_stands_there_once_in_the_order_of_the_list(migrated: Migrated) -> None:
    checks = verify(parse_target(migrated.url), options=VerifyOptions(runs=migrated.runs))
    assert [check.code for check in checks][: len(CHECKLIST)] == [item.code for item in CHECKLIST]
    assert len({check.code for check in checks}) == len(checks)
    assert all(check.name == ITEMS[check.code].title for check in checks[: len(CHECKLIST)])


def test_an_undamaged_database_has_no_violation_and_nothing_is_left_of_the_look(migrated: Migrated) -> None:
    before = everything(migrated.url)
    checks = found(migrated, content=True, read_only=False)
    assert [check for check in checks.values() if check.fails] == []
    assert violations(checks) == set(), [checks[code] for code in violations(checks)]
    assert [code for code, check in checks.items() if check.ok is None and code[:1] in "SP"] == []
    assert checks["D01"].found.endswith("tables hold what they held")
    assert checks["S22"].found.startswith("as in the backup of ")
    assert everything(migrated.url) == before


EVERY_SECOND = [
    pytest.param(damage, id=damage.name, marks=() if place % 2 == 0 else pytest.mark.long)
    for place, damage in enumerate(DAMAGES)
]


@pytest.mark.parametrize("damage", EVERY_SECOND)
def test_each_damage_is_found_under_its_code(damage: Damage, migrated: Migrated) -> None:
    checks = found(migrated, *damage.statements)
    check = checks[damage.code]
    grave = ITEMS[damage.code].severity is Severity.ERROR and not damage.lesser
    assert (check.ok, check.fails) == (False, grave), check
    assert 1 <= len(check.keys) <= 5
    assert check.hint == ITEMS[damage.code].hint
    # A missing or invalid index is also of no use, a changed column also differs from its model, an extra is left over.
    consequences = {damage.code, *damage.also, "P01", "S23", "S24"}
    assert violations(checks) - consequences == set(), [checks[code] for code in violations(checks) - consequences]


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
def test_what_harms_nothing_is_not_found(change: Damage, migrated: Migrated) -> None:
    checks = found(migrated, *change.statements)
    assert violations(checks) == set(change.also), [checks[code] for code in violations(checks)]
    assert checks[change.code].ok is True


def test_what_applications_wrote_since_is_told_and_is_a_violation_only_when_nobody_can_have_written(
    migrated: Migrated,
) -> None:
    writes = "UPDATE cases SET notes = 'x' WHERE id = (SELECT id FROM cases LIMIT 1)"
    checks = found(migrated, writes, content=True)
    assert violations(checks) == set()
    assert checks["D01"].found == "1 of 26 tables were written since the run: public.cases"
    strict = found(migrated, writes, content=True, strict=True)["D01"]
    assert (strict.ok, strict.keys) == (False, ("public.cases: 240 rows before, 240 now",))


def test_an_older_table_that_is_gone_or_cannot_be_read_is_not_called_written_since(migrated: Migrated) -> None:
    gone = found(migrated, "DROP TABLE case_logs", content=True)
    assert gone["D01"].ok is False
    assert gone["D01"].keys == ('public.case_logs: relation "public.case_logs" does not exist',)
    assert "table public.case_logs: missing, expected present" in gone["S22"].detail
    reader = (
        "CREATE ROLE a_reader",
        "GRANT USAGE, CREATE ON SCHEMA public, audit, lawsker_db TO a_reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public, audit, lawsker_db TO a_reader",
        "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO a_reader', current_database()); END $$",
        "REVOKE ALL ON wallets FROM a_reader",
        "SET LOCAL ROLE a_reader",
    )
    unread = found(migrated, *reader, content=True)["D01"]
    assert unread.ok is None
    assert unread.found.startswith("could not be checked: ")
    assert "public.wallets: permission denied for table wallets" in unread.found


def test_worse_plans_dead_rows_and_growth_are_told(migrated: Migrated, server: Any) -> None:
    """Statistics of dead rows come with COMMIT, so this damage is done to a copy, of whose run nothing is known."""
    name = f"grown_{secrets.token_hex(4)}"
    server.run(f"CREATE DATABASE {name} TEMPLATE {parse_target(migrated.url).parameters['dbname']}")
    try:
        url = server.url(name)
        execute(url, "ALTER TABLE users SET (autovacuum_enabled = off)", BLOAT, *GROWN_LOGS)
        time.sleep(0.6)  # servers below 15 collect counters every half second
        copy = replace(migrated, url=url)
        check = found(copy)["P04"]
        assert (check.ok, check.fails) == (False, False)
        assert re.search(r"users: \d{4} dead rows beside 120", check.found)
        with parse_target(url).connect() as conn:
            pin_session(conn, find_schema(conn))
            before = PlansBefore(sizes={"users": TableSize(bytes=100_000, rows=120)})
            newest = contracts_up_to(migrated.chain, ("013",))[-1]
            grown = check_growth(conn, newest, "public", before)
            plans = check_plans(conn, plans_before(migrated.runs / migrated.run_id), None)
        assert re.search(r"users: \d\.\d MB, 0.1 MB before, 1\.\d MB expected", grown.found), grown
        assert (plans.ok, plans.fails) == (False, False)
        assert any("case_logs WHERE id = " in key and "by an index before" in key for key in plans.keys), plans
    finally:
        server.run(f"DROP DATABASE {name}")


def test_what_only_reads_tries_nothing_and_never_says_passed(migrated: Migrated) -> None:
    checks = found(migrated)
    tried = [checks[code] for code in TRIED]
    assert all(check.ok is None and check.found.startswith("NOT RUN: ") and not check.fails for check in tried)
    assert all(checks[code].ok is True for code in ("B01", "B10", "B14"))  # asked of the rows alone
    assert checks["D01"].found == "NOT RUN: --no-content"


def test_without_the_runs_folder_the_older_contracts_are_compared_and_the_rest_is_not_run(
    migrated: Migrated, tmp_path: Path
) -> None:
    checks = found(migrated, "DROP INDEX ix_cases_case_number", runs=tmp_path, content=True)
    assert checks["S22"].keys == ("index public.ix_cases_case_number: missing, expected present",)
    assert checks["D01"].found.startswith("NOT RUN: no backup of this run in ")
    assert checks["P03"].ok is None
    assert checks["P05"].found.startswith("NOT RUN: how long the run held its locks is not known")


def test_a_backup_that_is_not_what_was_written_is_not_compared_with(migrated: Migrated, tmp_path: Path) -> None:
    shutil.copytree(migrated.runs, tmp_path / "runs")
    catalog = tmp_path / "runs" / migrated.run_id / "backup" / "catalog.json"
    catalog.write_text(catalog.read_text().replace("ix_cases_case_number", "ix_cases_case_numbed"))
    checks = found(migrated, runs=tmp_path / "runs", content=True)
    assert checks["S22"].ok is None
    assert checks["S22"].found.startswith("NOT RUN: only what revision 012 promises was compared (the catalog in ")
    assert "is not what was written" in checks["D01"].found


def test_locks_that_were_held_too_long_are_told_from_the_runs_report(migrated: Migrated, tmp_path: Path) -> None:
    shutil.copytree(migrated.runs, tmp_path / "runs")
    path = tmp_path / "runs" / migrated.run_id / "report.json"
    report = json.loads(path.read_text())
    report["locks"][0]["held_s"] = 7.5
    path.write_text(json.dumps(report))
    check = found(migrated, runs=tmp_path / "runs")["P05"]
    assert (check.ok, check.fails) == (False, False)
    assert check.keys == (f"{report['locks'][0]['table']} was locked for 7.5 s",)


def test_a_run_id_out_of_the_database_leads_to_no_folder_outside(migrated: Migrated, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copytree(migrated.runs / migrated.run_id, tmp_path / "outside")
    outside = "UPDATE lawsker_db.migration_run SET run_id = '../outside' WHERE direction = 'upgrade'"
    checks = found(migrated, outside, runs=tmp_path / "runs", content=True)
    assert checks["D01"].ok is None
    assert checks["D22"].fails


def test_queries_of_a_file_are_planned_and_never_run(migrated: Migrated, tmp_path: Path) -> None:
    file = tmp_path / "q.sql"
    known = "SELECT * FROM case_logs WHERE id = '00000000-0000-0000-0000-000000000000'"
    file.write_text(
        f"-- look-ups\n{known};\nSELECT pg_sleep(60);\nDELETE FROM case_logs;\nWITH d AS (SELECT 1) SELECT 2;"
    )
    before = oracle.content(migrated.url)
    check = found(migrated, queries=file)["P03"]
    assert oracle.content(migrated.url) == before
    assert check.ok is True
    assert "1 plans no worse than before" in check.found
    assert "2 queries of the file have no plan from before" in check.found
    assert "not a SELECT, so it is not explained: DELETE FROM case_logs" in check.found


def test_only_one_select_is_explained_and_parameters_where_the_server_can(migrated: Migrated) -> None:
    """The second statement of a text, a statement that writes, and one that cannot be planned: a problem each, no harm."""
    hostile = "SELECT 1; DROP TABLE case_logs"
    queries = (hostile, "DELETE FROM case_logs", "SELECT * FROM nowhere", "SELECT * FROM users WHERE username = $1")
    with parse_target(migrated.url).connect() as conn:
        pin_session(conn, find_schema(conn))
        *refused, parameter = read_plans(conn, queries)
        stands = conn.exec_driver_sql("SELECT count(*) FROM case_logs").scalar_one()
        assert top_statements(conn, "public.users") == ()  # pg_stat_statements is not installed
        conn.rollback()
    assert stands
    assert [plan.problem for plan in refused] == ["not one SELECT"] * 2 + ['relation "nowhere" does not exist']
    assert parameter.problem == "it has parameters: servers below 16 cannot plan it" or parameter.shape


def test_at_the_baseline_what_the_newest_revision_promises_is_looked_at(adopted_url: str, tmp_path: Path) -> None:
    checks = verify(parse_target(adopted_url), options=VerifyOptions(runs=tmp_path))
    assert [check for check in checks if check.fails] == []
    by_code = {check.code: check for check in checks}
    assert by_code["S02"].found == "13 as promised"
    for code in ("S17", "S19", "S21", "S22", "S24", "P02", "P03", "P04"):
        assert by_code[code].found.startswith("NOT RUN: "), by_code[code]
    execute(adopted_url, "DROP INDEX ix_cases_case_number")
    again = {check.code: check for check in verify(parse_target(adopted_url), options=VerifyOptions(runs=tmp_path))}
    assert (again["S14"].ok, again["S14"].fails) == (False, False)  # adopted: it may differ


def test_junit_takes_names_that_nobody_chose_for_it(migrated: Migrated, tmp_path: Path) -> None:
    """A name out of the database with markup, a control character and a lone end of a tag survives, and is only text."""
    hostile = 'x"]]>\x01\ufffe<script>&amp;</failure>\u202e律'
    column = hostile.replace('"', '""')
    damage = (f'ALTER TABLE user_credits ADD COLUMN "{column}" int', "DROP INDEX idx_user_credits_reset_date")
    checks = tuple(found(migrated, *damage).values())
    write_junit(tmp_path / "j.xml", checks, suite=hostile)
    assert (tmp_path / "j.xml").read_bytes() == render_junit(checks, suite=hostile)
    root = ElementTree.parse(tmp_path / "j.xml").getroot()  # noqa: S314 - written a line above
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert len(cases) == len(checks)
    left = cases["S23 left-overs"].find("system-out")
    assert left is not None
    assert left.text is not None
    assert left.text.startswith("WARNING ")
    assert "<script>&amp;</failure>\u202e律" in left.text
    assert "\\x01" in left.text
    failure = cases["S14 indexes"].find("failure")
    assert failure is not None
    assert "idx_user_credits_reset_date" in str(failure.get("message"))
    assert cases["B02 levels bounded"].find("skipped") is not None
    assert root.get("tests") == str(len(checks))
