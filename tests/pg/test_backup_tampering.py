"""A backup that is not what was written is refused, and the file is named; one that is, is accepted."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pytest
from damage import Damage, kinds

from lawsker_db.errors import BackupFailed
from lawsker_db.record.manifest import check_files, read_manifest, write_manifest
from lawsker_db.safety.backup import take_backup
from lawsker_db.target import parse_target


class Server(Protocol):
    """conftest's server."""

    def url(self, database: str) -> str: ...

    def run(self, statement: str) -> None: ...


@pytest.fixture(scope="module")
def backups(server: Server, adopted_template: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two backups of one database, between which something was written."""
    folder = tmp_path_factory.mktemp("backups")
    server.run(f"CREATE DATABASE tampered TEMPLATE {adopted_template}")
    url = server.url("tampered")
    take_backup(parse_target(url), folder / "first", "first")
    with psycopg.connect(url) as conn:
        conn.execute("UPDATE users SET updated_at = now()")
    take_backup(parse_target(url), folder / "second", "second")
    server.run("DROP DATABASE tampered")
    return folder / "first", folder / "second"


def is_refused(seed: int, damage: Damage, backups: tuple[Path, Path], folder: Path) -> bool:
    """Whether the damaged copy is refused with the file named."""
    ours, other = backups
    copy = folder / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ours, copy)
    named = damage(random.Random(f"{seed} {damage.__name__}"), copy, other)
    try:
        check_files(copy, read_manifest(copy))
    except BackupFailed as failed:
        return any(name in failed.message for name in named)
    return False


@pytest.mark.parametrize(("seed", "damage"), [*kinds(20, 8, 12)], ids=lambda value: getattr(value, "__name__", value))
def test_damage_is_refused_with_the_file_named(
    seed: int, damage: Damage, backups: tuple[Path, Path], tmp_path: Path
) -> None:
    assert is_refused(seed, damage, backups, tmp_path / "x")


def test_each_bit_of_the_small_files_counts(backups: tuple[Path, Path], tmp_path: Path) -> None:
    """The manifest and the sums are text in which some flips would mean the same: they are refused too."""
    for name in ("manifest.json", "SHA256SUMS"):
        chance = random.Random(name)
        for _ in range(60):
            copy = tmp_path / "copy"
            shutil.copytree(backups[0], copy)
            content = bytearray((copy / name).read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            (copy / name).write_bytes(content)
            with pytest.raises(BackupFailed, match=name):
                check_files(copy, read_manifest(copy))
            shutil.rmtree(copy)


def test_an_untouched_backup_is_accepted_wherever_it_is_carried(backups: tuple[Path, Path], tmp_path: Path) -> None:
    for number in range(20):
        copy = tmp_path / str(number)
        shutil.copytree(backups[number % 2], copy)
        check_files(copy, read_manifest(copy))


def test_a_link_in_the_place_of_any_part_is_refused_by_name(backups: tuple[Path, Path], tmp_path: Path) -> None:
    """Also where it leads to the very same content."""
    copy, aside = tmp_path / "copy", tmp_path / "aside"
    shutil.copytree(backups[0], copy)
    for part in ("", "database", "database/toc.dat", "manifest.json", "catalog.json", "SHA256SUMS"):
        place = copy / part
        shutil.move(place, aside)
        place.symlink_to(aside)
        with pytest.raises(BackupFailed, match=f"{Path(part).name or 'copy'} .*(symbolic link|no ordinary)"):
            check_files(copy, read_manifest(copy))
        place.unlink()
        shutil.move(aside, place)
    check_files(copy, read_manifest(copy))


def test_whatever_others_may_write_is_refused_by_name(backups: tuple[Path, Path], tmp_path: Path) -> None:
    """By the group or by all: the folder, what it stands in, the archive and each file."""
    copy = tmp_path / "in" / "copy"
    shutil.copytree(backups[0], copy)
    for part in ("..", "", "database", "database/toc.dat", "manifest.json", "catalog.json", "SHA256SUMS"):
        place = (copy / part).resolve()
        mode = place.stat().st_mode & 0o777
        for others in (0o020, 0o002):
            place.chmod(mode | others)
            with pytest.raises(BackupFailed, match=f"Others may write {place}, ") as refused:
                check_files(copy, read_manifest(copy))
            assert f"go-w {place if part == '..' else copy}" in refused.value.hint
        place.chmod(mode)
    (tmp_path / "in").chmod(0o1777)  # as /tmp is: nobody can move what another one owns
    check_files(copy, read_manifest(copy))


def test_a_manifest_that_says_nonsense_with_a_good_digest_is_refused(
    backups: tuple[Path, Path], tmp_path: Path
) -> None:
    """Lists, shows and restores go by it: none of them may end in a bug."""
    manifest = read_manifest(backups[0])
    nonsense: tuple[dict[str, Any], ...] = (
        {"taken_at": "yesterday"},
        {"taken_at": "2026-01-01T00:00:00"},
        {"server": {}},
        {"server": {**manifest.server, "database": ["x"]}},
        {"server": {**manifest.server, "version": "15"}},
        {"snapshot": {}},
        {"properties": {}},
        {"bytes": None},
        {"revision": (1,)},
        {"files": {"database/toc.dat": 1}},
        {"tables": [{"table": "users", "columns": [], "rows": "many", "sums": ["0", "0"]}]},
    )
    for changed in nonsense:
        write_manifest(tmp_path, manifest)
        forge(tmp_path / "manifest.json", changed)
        with pytest.raises(BackupFailed, match="no manifest that can be trusted"):
            read_manifest(tmp_path)
    for content in (b"", b"[]", b"{}", b"[" * 100_000, b'{"format": 3}', b"\xff\xfe", b"null"):
        (tmp_path / "manifest.json").write_bytes(content)
        with pytest.raises(BackupFailed, match="no manifest that can be trusted"):
            read_manifest(tmp_path)


def forge(path: Path, changed: dict[str, Any]) -> None:
    """Change facts of a manifest and give it a digest that holds."""
    document = {**json.loads(path.read_bytes()), **changed, "digest": ""}
    body = json.dumps(document)
    path.write_text(body.replace('"digest": ""', f'"digest": "{hashlib.sha256(body.encode()).hexdigest()}"', 1))


@pytest.mark.long
def test_none_of_500_flips_100_truncations_and_20_other_damages_is_accepted(
    backups: tuple[Path, Path], tmp_path: Path
) -> None:
    accepted = [
        f"{damage.__name__} {seed}"
        for seed, damage in kinds(500, 100, 20)
        if not is_refused(seed + 1000, damage, backups, tmp_path / "x")
    ]
    assert accepted == []
