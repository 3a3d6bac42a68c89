"""Which backups may be thinned out, and how one is found by its name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.errors import Refused
from lawsker_db.evidence import Fingerprint, Proof, RestorePoint
from lawsker_db.record.manifest import Manifest
from lawsker_db.safety.shelf import Kept, find_backup, to_remove

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROOF = Proof(proven_at="", server_version=150000, tables=1, rows=1, omitted=(), restore_s=0.0, compare_s=0.0)


def kept(number: int, *, days_old: float, proven: bool, wanted: bool, database: str) -> Kept:
    """One backup with what matters for pruning."""
    manifest = Manifest(
        backup_id=str(number),
        tool_version="0",
        taken_at=(NOW - timedelta(days=days_old, seconds=number)).isoformat(),
        revision=("012",),
        server={"system_identifier": "1", "database": database},
        properties={},
        snapshot={},
        client="pg_dump 15.1",
        client_major=15,
        archive="database",
        files={},
        bytes=0,
        dump_s=0.0,
        tables=(),
        large_objects=Fingerprint(table="large objects", columns=(), rows=0, sums=("0", "0")),
        sequences=(),
        sequences_after=(),
        left_out=(),
        without_globals="",
        catalog_digest="",
        restore_point=RestorePoint(name="", lsn="0/0", timeline=1, archived=False, at=NOW),
        proof=PROOF if proven else None,
    )
    return Kept(folder=Path(f"runs/{number}/backup"), manifest=manifest, wanted_by="run" if wanted else "")


@st.composite
def shelves(draw: st.DrawFn) -> tuple[Kept, ...]:
    """Some backups of two databases, of any age and state."""
    facts = st.tuples(st.integers(0, 100), st.booleans(), st.booleans(), st.sampled_from(["a", "b"]))
    found = draw(st.lists(facts, max_size=12))
    return tuple(
        kept(number, days_old=days, proven=proven, wanted=wanted, database=database)
        for number, (days, proven, wanted, database) in enumerate(found)
    )


@given(shelves(), st.integers(1, 6), st.integers(0, 60))
def test_pruning_keeps_the_newest_the_young_the_wanted_and_the_newest_proven_one(
    shelf: tuple[Kept, ...], keep_last: int, keep_days: int
) -> None:
    going = to_remove(shelf, keep_last=keep_last, keep_days=keep_days, now=NOW)
    limit = NOW - timedelta(days=keep_days)
    for database in ("a", "b"):
        backups = [backup for backup in shelf if backup.manifest.server["database"] == database]
        backups.sort(key=lambda backup: backup.taken_at, reverse=True)
        proven = [backup for backup in backups if backup.manifest.proof]
        for place, backup in enumerate(backups):
            stays = place < keep_last or backup.taken_at >= limit or backup.wanted_by or backup in proven[:1]
            assert (backup in going) is not bool(stays)


@pytest.mark.parametrize("name", ["../x", "..", ".", "/etc", "a/b", "", "missing"])
def test_a_name_that_leads_elsewhere_is_no_backup(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="There is no backup"):
        find_backup(tmp_path, name)
