"""What would have happened in production happens on the copy first, and production does not feel it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import oracle
import psycopg
import pytest
from command_line import everything, run

from lawsker_db.errors import GateRefused, RehearsalFailed
from lawsker_db.evidence import Phase, Verdict
from lawsker_db.postgres.content import read_content
from lawsker_db.revisions import current_revisions, load_chain, plan_upgrade
from lawsker_db.safety.rehearsal import forecast_text, rehearse
from lawsker_db.safety.upgrade import UpgradeOptions, rehearse_upgrade, safe_upgrade
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]
DELETES = 'op.execute("DELETE FROM case_logs WHERE ctid = (SELECT min(ctid) FROM case_logs)")'
LEAVES = 'op.execute("CREATE TABLE left_behind (n int)")'


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...


@pytest.fixture(autouse=True)
def _no_scratch_database_stays(server: Server) -> Iterator[None]:
    yield
    with psycopg.connect(server.url("postgres")) as conn:
        found = conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'lawsker_scratch_%'").fetchall()
    assert found == []


def broken(folder: Path, function: str, statement: str) -> Path:
    """A copy of the chain in which a function of 013 does something more at its end; its alembic.ini."""
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "alembic.ini", folder)
    (revision,) = (folder / "alembic" / "versions").glob("013*.py")
    revision.write_text(
        f"{revision.read_text()}\n\nfrom alembic import op\n\n_first = {function}\n\n\n"
        f"def {function}() -> None:\n    _first()\n    {statement}\n"
    )
    return folder / "alembic.ini"


def test_the_sample_gets_a_go_with_a_forecast_beside_what_was_measured(adopted_url: str, tmp_path: Path) -> None:
    options = UpgradeOptions(runs=tmp_path / "runs", chain_options={"users": "rewrite"})
    report = safe_upgrade(parse_target(adopted_url), options=options)
    assert report.verdict is Verdict.DONE
    assert [timing.phase for timing in report.timings] == [
        *(Phase.PREFLIGHT, Phase.BACKUP, Phase.PROOF, Phase.REHEARSAL, Phase.MIGRATION, Phase.CONFIRM, Phase.VERIFY)
    ]
    found = report.rehearsal
    assert found is not None
    assert found.go
    forecast = {lock.table: lock for lock in found.locks}
    measured = {lock.table: lock for lock in report.locks}
    assert {name: lock.mode for name, lock in forecast.items()} == {name: lock.mode for name, lock in measured.items()}
    assert forecast["public.users"].mode == "ACCESS EXCLUSIVE"
    assert 0 < forecast["public.users"].held_s < found.duration_s + 1
    assert found.rewritten == ("public.users",)
    assert found.wal_bytes > 100_000
    assert found.growth_bytes > 0
    assert found.statements
    assert list(found.statements) == sorted(found.statements, key=lambda cost: -cost.duration_s)
    page = (Path(report.folder) / "report.html").read_text()
    assert "Rehearsal on the restored copy" in page
    for lock in found.locks:
        said = f"{lock.table} is locked {lock.mode} for {lock.held_s:.2f} s"
        assert said in forecast_text(found)
        assert f"{lock.held_s:.3f} s" in page  # beside what was measured
    assert report.not_proven == ()
    kept = json.loads((Path(report.folder) / "report.json").read_text())["rehearsal"]["statements"]
    assert set(forecast) <= {lock["table"] for cost in kept for lock in cost["locks"]}
    (rewrite,) = (cost for cost in kept if cost["rewritten"])
    assert rewrite["statement"].startswith("ALTER TABLE users")
    assert rewrite["wal_bytes"] > 0
    assert any(not cost["locks"] and not cost["rewritten"] for cost in kept)  # the slowest, whatever they did
    assert len(kept) < 40


def test_a_rehearsal_alone_changes_nothing(adopted_url: str, tmp_path: Path) -> None:
    before = everything(adopted_url)
    report = rehearse_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path / "runs"))
    assert report.verdict is Verdict.REHEARSED
    assert report.state == "The database was not changed."
    assert report.backup is not None
    assert report.backup.proven
    assert everything(adopted_url) == before


@pytest.mark.parametrize(
    ("function", "statement", "words"),
    [
        pytest.param("upgrade", DELETES, "case_logs", id="an upgrade that deletes a row"),
        pytest.param("upgrade", LEAVES, "left_behind", id="an upgrade that makes what was not promised"),
        pytest.param(
            "upgrade", 'raise ValueError("no")', "ValueError", id="an upgrade that fails", marks=pytest.mark.long
        ),
        pytest.param("downgrade", LEAVES, "left_behind", id="a downgrade that leaves a trace", marks=pytest.mark.long),
        pytest.param("downgrade", DELETES, "case_logs", id="a downgrade that deletes a row"),
    ],
)
def test_a_broken_revision_is_stopped_on_the_copy(
    function: str, statement: str, words: str, adopted_url: str, tmp_path: Path
) -> None:
    config = broken(tmp_path, function, statement)
    before = everything(adopted_url)
    with pytest.raises(RehearsalFailed, match=words) as refused:
        safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path / "runs", config=config))
    assert refused.value.exit_code == 10
    assert refused.value.state == "The database was not changed."
    assert everything(adopted_url) == before
    (folder,) = (tmp_path / "runs").iterdir()
    kept = json.loads((folder / "report.json").read_text())
    assert (kept["verdict"], kept["backup"]["proven"]) == ("refused", True)


def test_without_the_rehearsal_the_gate_stops_it_all_the_same(adopted_url: str, tmp_path: Path) -> None:
    config = broken(tmp_path, "upgrade", DELETES)
    before = oracle.picture(adopted_url)
    options = UpgradeOptions(runs=tmp_path / "runs", config=config, rehearsal=False)
    with pytest.raises(GateRefused):
        safe_upgrade(parse_target(adopted_url), options=options)
    assert oracle.picture(adopted_url) == before
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "report.json").read_text())["not_proven"] == [
        "the migration was not rehearsed on a restored copy, because the operator said so"
    ]


def test_a_lock_that_would_be_too_long_is_a_no_go_with_the_reason(adopted_url: str, tmp_path: Path) -> None:
    before = everything(adopted_url)
    ended = run(tmp_path, "safe-upgrade", "--yes", "--max-lock-s", "0", url=adopted_url)
    assert ended.code == 10, ended.said
    assert "public.users would be locked ACCESS EXCLUSIVE" in ended.line("Failed")
    assert "--max-lock-s" in ended.line("Next")
    assert everything(adopted_url) == before
    (folder,) = (tmp_path / "lawsker-runs").iterdir()
    assert json.loads((folder / "report.json").read_text())["rehearsal"]["go"] is False


@pytest.mark.long
def test_a_lock_that_keeps_only_writers_waiting_too_long_is_a_no_go_too_whoever_took_it(
    adopted_url: str, tmp_path: Path
) -> None:
    config = broken(tmp_path, "upgrade", 'op.execute("LOCK TABLE case_logs IN SHARE MODE")')
    options = UpgradeOptions(runs=tmp_path / "runs", config=config, max_lock_s=0)
    with pytest.raises(RehearsalFailed) as refused:
        rehearse_upgrade(parse_target(adopted_url), options=options)
    reasons = {reason.partition(" would be locked ")[0]: reason for reason in refused.value.message.split("; ")}
    assert "locked SHARE for" in reasons["public.case_logs"]
    assert "longer than 0 s (--max-lock-s): nobody could write it" in reasons["public.case_logs"]
    assert "nobody could read or write it" in reasons["public.users"]


def test_the_copy_has_statistics_as_production_has(adopted_url: str) -> None:
    with psycopg.connect(adopted_url) as conn:
        conn.execute("DELETE FROM pg_statistic")  # as after a restore
    target, chain = parse_target(adopted_url), load_chain()
    with target.connect() as conn:
        plan = plan_upgrade(chain, current_revisions(conn), "head")
    rehearse(target, read_content(target), chain, plan)
    with psycopg.connect(adopted_url) as conn:
        known = {row[0] for row in conn.execute("SELECT tablename FROM pg_stats WHERE schemaname = 'public'")}
    assert {"users", "cases", "case_logs"} <= known


@pytest.mark.long
def test_the_marker_rows_of_the_copy_never_reach_production(adopted_url: str, tmp_path: Path) -> None:
    target = parse_target(adopted_url)
    rehearse_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs"))
    report = safe_upgrade(target, options=UpgradeOptions(runs=tmp_path / "runs"))
    with psycopg.connect(adopted_url) as conn:
        rows = conn.execute("SELECT run_id, via, backup_id FROM lawsker_db.migration_run ORDER BY position").fetchall()
    assert [via for _, via, _ in rows] == ["adopt", "safe-upgrade"]
    assert rows[-1] == (report.run_id, "safe-upgrade", report.run_id)
