"""A backup that is not what was written is refused, and the file is named; one that is, is accepted."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Protocol

import psycopg
import pytest
from damage import Damage, kinds

from lawsker_db.errors import BackupFailed
from lawsker_db.record.manifest import check_files, read_manifest
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
