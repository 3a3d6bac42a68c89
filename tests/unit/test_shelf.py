"""Which backups may be thinned out, how that goes on disk, and how one is found by its name."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lawsker_db.errors import Refused
from lawsker_db.evidence import Fingerprint, Proof, RestorePoint
from lawsker_db.record.manifest import Manifest, write_manifest
from lawsker_db.safety import shelf
from lawsker_db.safety.shelf import Kept, find_backup, list_backups, newest_proven, prune, to_remove

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
    backups_here: tuple[Kept, ...], keep_last: int, keep_days: int
) -> None:
    going = to_remove(backups_here, keep_last=keep_last, keep_days=keep_days, now=NOW)
    limit = NOW - timedelta(days=keep_days)
    for database in ("a", "b"):
        backups = [backup for backup in backups_here if backup.manifest.server["database"] == database]
        backups.sort(key=lambda backup: backup.taken_at, reverse=True)
        proven = [backup for backup in backups if backup.manifest.proof]
        for place, backup in enumerate(backups):
            stays = place < keep_last or backup.taken_at >= limit or backup.wanted_by or backup in proven[:1]
            assert (backup in going) is not bool(stays)


@pytest.mark.parametrize("name", ["../x", "..", ".", "/etc", "a/b", "", "missing"])
def test_a_name_that_leads_elsewhere_is_no_backup(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="There is no backup"):
        find_backup(tmp_path, name)


def test_databases_of_servers_that_hide_their_identity_are_not_taken_for_one(tmp_path: Path) -> None:
    """Whoever may not read pg_control_system() writes "unknown": two servers then differ by address and OID."""
    here, there = ({"system_identifier": "unknown", "database": "a", "address": at} for at in ("10.0.0.1", "10.0.0.2"))
    old, new = (kept(n, days_old=days, proven=True, wanted=False, database="a") for n, days in ((0, 90), (1, 1)))
    both = tuple(
        replace(backup, manifest=replace(backup.manifest, server=server))
        for backup, server in ((old, here), (new, there))
    )
    assert to_remove(both, keep_last=1, keep_days=0, now=NOW) == ()
    assert newest_proven(both) == both


# ---- on disk ---------------------------------------------------------------------------------------------------------


def shelve(runs: Path, run_id: str, *, days_old: float, proven: bool = False, verdict: str = "done") -> Path:
    """A backup as it stands in the folder of its run."""
    folder = runs / run_id / "backup"
    (folder / "database").mkdir(parents=True)
    content = b"PGDMP" + run_id.encode()
    (folder / "database" / "toc.dat").write_bytes(content)
    age = datetime.now(UTC) - timedelta(days=days_old)
    like = dict.fromkeys(("encoding", "collate", "ctype", "provider", "locale"), "C")
    manifest = replace(
        kept(0, days_old=0, proven=False, wanted=False, database="a").manifest,
        backup_id=run_id,
        taken_at=age.isoformat(),
        server={"system_identifier": "1", "database": "a", "version": 150018},
        properties=like,
        snapshot={"lsn": "0/1"},
        files={"database/toc.dat": hashlib.sha256(content).hexdigest()},
        bytes=len(content),
        proof=replace(PROOF, proven_at=age.isoformat()) if proven else None,
    )
    write_manifest(folder, manifest)
    if verdict:
        (folder.parent / "journal.jsonl").touch()
        (folder.parent / "report.json").write_text(json.dumps({"verdict": verdict}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs folder: the newest, an older proven one, and two older ones that nobody needs."""
    for number, (run_id, days, proven) in enumerate(
        (
            ("20260101-old", 90, False),
            ("20260102-older", 80, True),
            ("20260103-proven", 70, True),
            ("20260104-new", 1, False),
        )
    ):
        shelve(tmp_path / "runs", run_id, days_old=days + number / 100, proven=proven)
    return tmp_path / "runs"


def names(runs: Path) -> list[str]:
    """The runs that have a whole backup."""
    kept_here, _ = list_backups(runs)
    return [backup.folder.parent.name for backup in kept_here]


def test_pruning_removes_those_that_may_go_and_leaves_journals_and_reports(runs: Path) -> None:
    assert [why for _, why in prune(runs, keep_last=1, keep_days=30)] == ["", ""]
    assert names(runs) == ["20260103-proven", "20260104-new"]
    assert {path.name for path in (runs / "20260101-old").iterdir()} == {"journal.jsonl", "report.json"}


@pytest.mark.parametrize(
    "left",
    [
        pytest.param({"verdict": "rolled back"}, id="rolled back"),
        pytest.param({"verdict": "interrupted"}, id="interrupted"),
        pytest.param({"verdict": "outcome unknown"}, id="unknown"),
        pytest.param({"verdict": "committed, not proven"}, id="committed"),
        pytest.param(None, id="still going on or killed"),
        pytest.param("{", id="a report that cannot be read"),
        pytest.param([], id="a report that is none"),
    ],
)
def test_a_backup_whose_run_may_need_it_is_never_removed(left: object, runs: Path) -> None:
    report = runs / "20260101-old" / "report.json"
    report.unlink()
    if left is not None:
        report.write_text(left if isinstance(left, str) else json.dumps(left))
    prune(runs, keep_last=1, keep_days=0)
    assert names(runs) == ["20260101-old", "20260103-proven", "20260104-new"]


def test_a_backup_that_someone_else_removes_meanwhile_is_no_failure(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*given: Any, **options: Any) -> tuple[Kept, ...]:
        going = to_remove(*given, **options)
        shutil.rmtree(going[0].folder)
        return going

    monkeypatch.setattr(shelf, "to_remove", meanwhile)
    assert [(b.folder.parent.name, why) for b, why in prune(runs, keep_last=1, keep_days=30)] == [
        ("20260102-older", "")
    ]
    assert names(runs) == ["20260103-proven", "20260104-new"]


def test_a_removal_cut_short_leaves_nothing_that_looks_whole_and_is_ended_by_the_next(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    going = runs / "20260101-old" / "backup.going"
    with pytest.raises(KeyboardInterrupt):
        prune(runs, keep_last=1, keep_days=30)
    monkeypatch.undo()
    kept_here, unreadable = list_backups(runs)
    assert len(kept_here) == 3
    assert [line for line in unreadable if str(going) in line]
    prune(runs, keep_last=1, keep_days=30)
    assert not going.exists()


def test_a_runs_folder_that_others_may_write_is_not_pruned_nor_trusted(runs: Path) -> None:
    runs.chmod(0o770)
    for act in (lambda: prune(runs, keep_last=1, keep_days=0), lambda: find_backup(runs, "20260104-new")):
        with pytest.raises(Refused, match="Others may write into") as refused:
            act()
        assert refused.value.hint == f"chmod go-w {runs}"
    runs.chmod(0o1777)
    assert find_backup(runs, "20260104-new") == runs / "20260104-new" / "backup"


def test_a_backup_is_found_by_its_runs_id_and_by_every_way_to_its_folder(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / "20260104-new" / "backup"
    for name in ("20260104-new", str(folder), str(folder.parent)):
        assert find_backup(runs, name) == folder
    monkeypatch.chdir(folder.parent)
    for name in (".", "backup", "./backup", "../20260104-new"):
        assert find_backup(Path("nowhere"), name).resolve() == folder


def test_a_backup_is_found_by_a_part_that_only_one_has_and_by_last_which_is_the_newest_proven_one(runs: Path) -> None:
    assert find_backup(runs, "04-n") == runs / "20260104-new" / "backup"
    assert find_backup(runs, "last") == runs / "20260103-proven" / "backup"
    with pytest.raises(Refused, match="202601 is a part of 4 backups: 20260101-old, ") as refused:
        find_backup(runs, "202601")
    assert refused.value.hint == "type more of it, or the whole id"
    with pytest.raises(Refused, match="There is no backup '20260105-new'") as refused:
        find_backup(runs, "20260105-new")
    assert refused.value.hint.startswith("the nearest: 20260104-new, ")
    for name in ("20260103-proven", "20260102-older"):
        shutil.rmtree(runs / name)
    with pytest.raises(Refused, match=r"None of the backups in .* is proven") as refused:
        find_backup(runs, "last")
    assert refused.value.hint == "lawsker-db backup verify 20260104-new"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../20260104-new/x", "x" * 300, "a\nb", "\x1b[2J", "20260104-new/database"]
)
def test_a_name_that_is_none_is_told_so_and_shows_no_control_characters(name: str, runs: Path) -> None:
    shelve(runs, "", days_old=1)  # runs/backup, which an empty name would find
    with pytest.raises(Refused, match="There is no backup") as refused:
        find_backup(runs, name)
    assert refused.value.message.isprintable()


def test_links_in_the_place_of_a_backup_are_not_followed(runs: Path, tmp_path: Path) -> None:
    shutil.move(runs / "20260104-new", tmp_path / "elsewhere")
    (runs / "20260104-new").symlink_to(tmp_path / "elsewhere")
    shutil.move(runs / "20260103-proven" / "backup", tmp_path / "other")
    (runs / "20260103-proven" / "backup").symlink_to(tmp_path / "other")
    for name in (
        "20260104-new",
        "20260103-proven",
        str(runs / "20260104-new"),
        str(runs / "20260103-proven" / "backup"),
    ):
        with pytest.raises(Refused, match="is a symbolic link") as refused:
            find_backup(runs, name)
        assert str(tmp_path) in refused.value.hint
    assert names(runs) == ["20260101-old", "20260102-older"]
    assert [why for _, why in prune(runs, keep_last=1, keep_days=0)] == [""]  # the newest proven one is 20260102 now
    assert (tmp_path / "other" / "manifest.json").is_file()
    assert (tmp_path / "elsewhere" / "backup" / "manifest.json").is_file()
