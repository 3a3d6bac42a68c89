"""A backup against the same pg_dump alone, and a proven one against the same pg_dump and pg_restore alone.

    python -m benchmarks.backup [--users 100000] [--runs 3]

Every comparison is made in turn on one database, so that a machine whose speed drifts moves all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.safe_upgrade import SETTINGS, administer, measured
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.postgres.tools import compression, find_tool

JOBS = 2
DATABASE = "origin"
TOOL = (sys.executable, "-m", "lawsker_db.cli", "backup")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server:
        administer(server, f"CREATE DATABASE {DATABASE}")
        load_sample(server.url(DATABASE), users=chosen.users)
        administer(server, "VACUUM ANALYZE", DATABASE)  # hint bits, and every page read once: no dump is colder
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
    dump, restore = (find_tool(name, server.binaries.major) for name in ("pg_dump", "pg_restore"))
    level = f"--compress={compression(dump, {**os.environ, 'LC_ALL': 'C'})}"
    origin, again = f"--dbname={server.url(DATABASE)}", f"--dbname={server.url('again')}"
    more = {"DATABASE_URL": server.url(DATABASE)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = [str(dump.path), "-Fd", f"-j{JOBS}", level, f"--file={folder / 'bare'}", origin]
        administer(server, "CHECKPOINT")
        bare = measured(directory).wall_s
        custom = measured([str(dump.path), "-Fc", f"--file={folder / 'custom'}", origin]).wall_s
        runs = f"--runs={folder / 'runs'}"
        backup = measured([*TOOL, "create", "--no-proof", f"--jobs={JOBS}", runs], more)
        administer(server, "CREATE DATABASE again TEMPLATE template0")
        administer(server, "CHECKPOINT")
        restored = measured([str(restore.path), f"-j{JOBS}", again, str(folder / "bare")]).wall_s
        administer(server, "DROP DATABASE again")
        (taken,) = (folder / "runs").glob("*/backup")
        proof = measured([*TOOL, "verify", str(taken), f"--jobs={JOBS}", runs], more)
    print(
        f"run {number + 1}: pg_dump -j {JOBS} {bare:.1f} s, pg_dump -Fc {custom:.1f} s,"
        f" pg_restore -j {JOBS} {restored:.1f} s; backup {backup.wall_s:.1f} s ({backup.peak_mb:.0f} MB),"
        f" trial restore and comparison {proof.wall_s:.1f} s ({proof.peak_mb:.0f} MB)",
        flush=True,
    )
    return {
        "backup / pg_dump -j 2": backup.wall_s / bare,
        "backup / pg_dump -Fc": backup.wall_s / custom,
        "proven / dump + restore": (backup.wall_s + proof.wall_s) / (bare + restored),
    }


if __name__ == "__main__":
    main()
