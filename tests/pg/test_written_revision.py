"""The revision that the documentation shows is a whole one: it goes up, down with an archive and up again, all proven."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import psycopg

from lawsker_db.evidence import Verdict
from lawsker_db.safety.rollback import RollbackOptions, roll_back
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

ROOT = Path(__file__).parents[2]


def shown(folder: Path) -> Path:
    """The shipped chain with the revision of the documentation above it; its alembic.ini."""
    page = (ROOT / "docs" / "writing-a-revision.md").read_text()
    (text,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shutil.copytree(ROOT / "alembic", folder / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "alembic.ini", folder)
    (folder / "alembic" / "versions" / "014_user_notes.py").write_text(text)
    return folder / "alembic.ini"


def test_the_documented_revision_goes_up_down_and_up_again_with_what_was_written_since(
    adopted_url: str, tmp_path: Path
) -> None:
    target = parse_target(adopted_url)
    first = UpgradeOptions(runs=tmp_path / "runs", config=shown(tmp_path), prove=False)
    assert safe_upgrade(target, "013", options=first).verdict is Verdict.DONE
    options = UpgradeOptions(runs=tmp_path / "runs", config=first.config)
    report = safe_upgrade(target, options=options)
    assert (report.verdict, report.to_revisions) == (Verdict.DONE, ("014",))
    assert report.rehearsal is not None
    assert report.rehearsal.go
    with psycopg.connect(adopted_url) as conn:
        conn.execute("INSERT INTO user_notes (user_id, note) SELECT id, 'kept' FROM users ORDER BY id LIMIT 3")
        conn.execute("UPDATE users SET nickname = 'named' WHERE id = (SELECT min(id::text)::uuid FROM users)")
    back = roll_back(target, options=RollbackOptions(runs=tmp_path / "runs", config=first.config))
    assert back.verdict is Verdict.DONE
    assert 3 in back.kept.values()
    again = safe_upgrade(target, options=options)
    assert again.verdict is Verdict.DONE
    with psycopg.connect(adopted_url) as conn:
        assert conn.execute("SELECT count(*), max(note) FROM user_notes").fetchone() == (3, "kept")
        assert conn.execute("SELECT count(*) FROM users WHERE nickname = 'named'").fetchone() == (1,)
