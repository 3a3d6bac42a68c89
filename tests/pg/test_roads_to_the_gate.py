"""Every road to the revisions leads through the gate: a connection handed over, another env.py, a downgrade that waits."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import oracle
import psycopg
import pytest
from alembic import command
from alembic.util import CommandError

from lawsker_db.errors import GateRefused
from lawsker_db.revisions import load_chain
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]
COOKBOOK_ENV = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""


def chain(folder: Path, *, env: str | None = None, patch: tuple[str, str] = ("", "")) -> Path:
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "alembic.ini", folder / "alembic.ini")
    if env is not None:
        (folder / "alembic" / "env.py").write_text(env)
    revision = folder / "alembic" / "versions" / "013_business_optimization.py"
    revision.write_text(revision.read_text(encoding="utf-8").replace(*patch, 1), encoding="utf-8")
    return folder / "alembic.ini"


def fetch(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_a_connection_handed_over_is_judged_and_recorded_in_the_owners_transaction(adopted_url: str) -> None:
    config = load_chain().config
    with parse_target(adopted_url).connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        assert fetch(adopted_url, "SELECT version_num FROM alembic_version") == "012"
        connection.commit()
    assert fetch(adopted_url, "SELECT version_num FROM alembic_version") == "013"
    assert "handed over" in str(fetch(adopted_url, "SELECT via FROM lawsker_db.migration_run ORDER BY position DESC"))


def test_a_harmful_revision_on_a_connection_handed_over_is_refused(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    harm = ('    ops.check_group(contract, "users")\n', '    op.execute("DELETE FROM system_configs")\n')
    config = load_chain(chain(tmp_path, patch=harm)).config
    with parse_target(adopted_url).connect() as connection:
        config.attributes["connection"] = connection
        with pytest.raises(CommandError, match="system_configs"):
            command.upgrade(config, "head")
        connection.rollback()
    assert oracle.picture(adopted_url) == before


def test_a_chain_whose_env_does_not_ask_the_gate_is_rolled_back(adopted_url: str, tmp_path: Path) -> None:
    before = oracle.picture(adopted_url)
    options = UpgradeOptions(runs=tmp_path / "runs", prove=False, config=chain(tmp_path, env=COOKBOOK_ENV))
    with pytest.raises(GateRefused, match="not asked to judge 013"):
        safe_upgrade(parse_target(adopted_url), options=options)
    assert oracle.picture(adopted_url) == before


def test_a_row_that_comes_while_a_downgrade_waits_for_its_locks_is_not_thrown_away(
    adopted_url: str, tmp_path: Path
) -> None:
    safe_upgrade(parse_target(adopted_url), options=UpgradeOptions(runs=tmp_path / "runs"))
    code = "from alembic.config import main; import sys; sys.exit(main(['-c', sys.argv[1], 'downgrade', '012']))"
    with psycopg.connect(adopted_url) as holder:
        holder.execute("SELECT count(*) FROM users")
        said: list[subprocess.CompletedProcess[str]] = []

        def downgrade() -> None:
            said.append(
                subprocess.run(
                    [sys.executable, "-c", code, str(ROOT / "alembic.ini")],
                    env={"DATABASE_URL": adopted_url, "PATH": "/usr/bin:/bin"},
                    capture_output=True,
                    text=True,
                    check=False,
                )
            )

        thread = threading.Thread(target=downgrade)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
        deadline = time.monotonic() + 30
        while not fetch(adopted_url, waiting) and time.monotonic() < deadline:
            time.sleep(0.05)
        with psycopg.connect(adopted_url) as writer:
            writer.execute(
                "INSERT INTO user_memberships (user_id, membership_type, start_date, end_date)"
                " SELECT id, 'basic', '2026-01-01', '2027-01-01' FROM users LIMIT 1"
            )
        holder.rollback()
        thread.join(60)
    assert said[0].returncode != 0
    assert "user_memberships" in said[0].stdout + said[0].stderr
    assert fetch(adopted_url, "SELECT count(*) FROM user_memberships") == 1
