"""A backup against the same pg_dump alone, and a proven one against the same pg_dump and pg_restore alone.

    python -m benchmarks.backup [--users 100000] [--runs 3]

Every comparison is made in turn on one database, so that a machine whose speed drifts moves all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.safe_upgrade import SETTINGS, administer, measured
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.postgres.tools import compression, find_tool
from lawsker_db.record.manifest import read_manifest
from lawsker_db.safety.backup import take_backup
from lawsker_db.safety.proof import prove, restored_copy
from lawsker_db.target import parse_target

JOBS = 2
DATABASE = "origin"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server:
        administer(server, f"CREATE DATABASE {DATABASE}")
        load_sample(server.url(DATABASE), users=chosen.users)
        found = [in_turn(server, number) for number in range(chosen.runs)]
    for name, aim in (
        ("backup / pg_dump -j 2", 1.25),
        ("backup / pg_dump -Fc", 0.55),
        ("proven / dump + restore", 1.15),
    ):
        ratios = [run[name] for run in found]
        print(
            f"{name}: median {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), aim at most {aim}"
        )


def in_turn(server: ThrowawayServer, number: int) -> dict[str, float]:
    """One round: ours and the bare programs, one after the other. Returns the ratios."""
    target = parse_target(server.url(DATABASE))
    dump, restore = (find_tool(name, server.binaries.major) for name in ("pg_dump", "pg_restore"))
    level = f"--compress={compression(dump, {**os.environ, 'LC_ALL': 'C'})}"
    origin, again = f"--dbname={server.url(DATABASE)}", f"--dbname={server.url('again')}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        administer(server, "CHECKPOINT")
        directory = [str(dump.path), "-Fd", f"-j{JOBS}", level, f"--file={folder / 'bare'}", origin]
        bare = measured(directory).wall_s
        custom = measured([str(dump.path), "-Fc", f"--file={folder / 'custom'}", origin]).wall_s
        backup = seconds(lambda: take_backup(target, folder / "backup", "bench", jobs=JOBS))
        administer(server, "CREATE DATABASE again TEMPLATE template0")
        restored = measured([str(restore.path), f"-j{JOBS}", again, str(folder / "bare")]).wall_s
        administer(server, "DROP DATABASE again")

        def try_out() -> None:
            manifest = read_manifest(folder / "backup")
            with restored_copy(target, folder / "backup", manifest, jobs=JOBS) as copy:
                prove(copy, folder / "backup", manifest)

        proof = seconds(try_out)
    print(
        f"run {number + 1}: pg_dump -j {JOBS} {bare:.1f} s, pg_dump -Fc {custom:.1f} s,"
        f" pg_restore -j {JOBS} {restored:.1f} s; backup {backup:.1f} s, trial restore and comparison {proof:.1f} s"
    )
    return {
        "backup / pg_dump -j 2": backup / bare,
        "backup / pg_dump -Fc": backup / custom,
        "proven / dump + restore": (backup + proof) / (bare + restored),
    }


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main()
