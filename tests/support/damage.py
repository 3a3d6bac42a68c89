"""Damage to a backup folder, of every kind, from a seeded random: what was written must be told from what was not."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

Damage = Callable[[random.Random, Path, Path], tuple[str, ...]]


def flip(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """Turn one bit of one file."""
    path = chance.choice(_filled(folder))
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return (path.name,)


def truncate(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """Cut a file off somewhere."""
    path = chance.choice(_filled(folder))
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    return (path.name,)


def swap(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """Two files of the archive change their names."""
    while True:
        first, second = chance.sample(_filled(folder / "database"), 2)
        if first.read_bytes() != second.read_bytes():
            break
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    return first.name, second.name


def stale(chance: random.Random, folder: Path, other: Path) -> tuple[str, ...]:
    """A file of another backup of the same database stands in the place of ours."""
    differing = [
        path
        for path in _filled(folder / "database")
        if (other / "database" / path.name).is_file()
        and (other / "database" / path.name).read_bytes() != path.read_bytes()
    ]
    path = chance.choice(differing)
    shutil.copy2(other / "database" / path.name, path)
    return (path.name,)


def add(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """A file that nobody wrote with the backup."""
    path = folder / chance.choice(("database/9999.dat.gz", "database/x", "y", "database.partial"))
    path.write_bytes(chance.randbytes(40))
    return (path.name,)


def remove(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """A file is gone."""
    path = chance.choice(_filled(folder))
    path.unlink()
    return (path.name,)


def link(chance: random.Random, folder: Path, _other: Path) -> tuple[str, ...]:
    """A symbolic link to the very same content elsewhere."""
    path = chance.choice(_filled(folder))
    elsewhere = folder.parent / f"elsewhere-{path.name}"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    return (path.name,)


def foreign_manifest(_chance: random.Random, folder: Path, other: Path) -> tuple[str, ...]:
    """The manifest of another backup."""
    shutil.copy2(other / "manifest.json", folder / "manifest.json")
    return ("",)  # each file differs: whichever is named is wrong


def kinds(flips: int, truncations: int, others: int) -> Iterator[tuple[int, Damage]]:
    """So many of each: a seed and a kind of damage."""
    several: tuple[Damage, ...] = (swap, stale, add, remove, link, foreign_manifest)
    for number in range(flips):
        yield number, flip
    for number in range(truncations):
        yield number, truncate
    for number in range(others):
        yield number, several[number % len(several)]


def _filled(folder: Path) -> list[Path]:
    """The files that hold something, one of each kind as likely as another: sorted, so that a seed means one thing."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
