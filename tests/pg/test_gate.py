"""What others commit while the gate judges is found: before it, after it, and over a second connection of a revision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from roads import rows
from roads import unrehearsed as upgrade
from variants import END, Variant, patched_chain

from lawsker_db.errors import ChangedOutside, CommittedUnproven
from lawsker_db.evidence import Event, Verdict


@pytest.fixture
def other(adopted_url: str) -> Iterator[psycopg.Connection[Any]]:
    """Another session, which commits each statement at once."""
    with psycopg.connect(adopted_url, autocommit=True) as connection:
        yield connection


OTHERS_DDL = (
    "CREATE TABLE newcomer ()",
    "COMMENT ON TABLE profiles IS 'changed meanwhile'",
    "CREATE OR REPLACE FUNCTION calculate_commission(amount numeric, share numeric DEFAULT 0.5) RETURNS numeric"
    " LANGUAGE sql AS 'SELECT 0.0'",
    "GRANT SELECT ON wallets TO PUBLIC",
)


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_before_the_gate_is_refused_by_it(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "observed":
            other.execute(ddl.encode())

    with pytest.raises(ChangedOutside) as caught:
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="unchanged", at=END, code="pass")), meddle)
    assert "catalog after 013" in str(caught.value)
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]


@pytest.mark.parametrize("ddl", OTHERS_DDL)
def test_ddl_that_another_session_commits_after_the_gate_is_told_after_the_commit(
    ddl: str, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "about to commit":
            other.execute(ddl.encode())

    with pytest.raises(CommittedUnproven) as caught:
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="unchanged", at=END, code="pass")), meddle)
    assert caught.value.exit_code == 13
    assert "catalog after COMMIT" in str(caught.value)
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("013",)]
    report = next((tmp_path / "runs").glob("*/report.json")).read_text()
    assert '"verdict": "committed, not proven"' in report


def test_ddl_of_a_revision_over_a_second_connection_is_refused(adopted_url: str, tmp_path: Path) -> None:
    code = f"import psycopg; other = psycopg.connect({adopted_url!r}, autocommit=True);"
    code += " other.execute('CREATE TABLE smuggled ()'); other.close()"
    with pytest.raises(ChangedOutside, match="smuggled"):
        upgrade(adopted_url, patched_chain(tmp_path, Variant(name="smuggler", code=code)))
    assert rows(adopted_url, "SELECT version_num FROM alembic_version") == [("012",)]


def test_a_role_that_somebody_else_makes_meanwhile_is_nobodys_harm(
    server: Any, other: psycopg.Connection[Any], adopted_url: str, tmp_path: Path
) -> None:
    def meddle(event: Event) -> None:
        if event.name == "observed":
            other.execute("DO $$ BEGIN CREATE ROLE lawsker_newcomer; EXCEPTION WHEN duplicate_object THEN NULL; END $$")

    try:
        report = upgrade(adopted_url, patched_chain(tmp_path, Variant(name="unchanged", code="pass")), meddle)
        assert report.verdict is Verdict.DONE
    finally:
        server.run("DROP ROLE IF EXISTS lawsker_newcomer")
