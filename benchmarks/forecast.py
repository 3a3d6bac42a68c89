"""What the rehearsal foretells for the lock on users against what the real run then measures.

    python -m benchmarks.forecast [--users 20000] [--runs 10]

Each run is a safe-upgrade of a fresh clone of one adopted sample database. Issue 3 asks for a forecast within a factor of
2 of the real run in 9 of 10 runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.safe_upgrade import SETTINGS, administer
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.evidence import LockForecast, LockHeld
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

TABLE, MODE = "public.users", "ACCESS EXCLUSIVE"
FACTOR = 2.0
UNLIMITED_S = 1e9  # a forecast is to be compared, not to stop the run


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=10)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server:
        administer(server, "CREATE DATABASE origin")
        load_sample(server.url("origin"), users=chosen.users)
        adopt(parse_target(server.url("origin")))
        ratios = [one_run(server, number) for number in range(chosen.runs)]
    within = sum(1 / FACTOR <= ratio <= FACTOR for ratio in ratios)
    print(f"{chosen.users} users: within a factor of {FACTOR:g}: {within} of {chosen.runs}")


def one_run(server: ThrowawayServer, number: int) -> float:
    """safe-upgrade on a fresh clone. Returns forecast / real."""
    administer(server, "DROP DATABASE IF EXISTS clone")
    administer(server, "CREATE DATABASE clone TEMPLATE origin")
    administer(server, "CHECKPOINT")
    with tempfile.TemporaryDirectory() as folder:
        options = UpgradeOptions(runs=Path(folder), max_lock_s=UNLIMITED_S)
        report = safe_upgrade(parse_target(server.url("clone")), options=options)
    assert report.rehearsal
    foretold, real = held(report.rehearsal.locks), held(report.locks)
    print(f"run {number + 1}: forecast {foretold:.3f} s, real {real:.3f} s, ratio {foretold / real:.2f}", flush=True)
    return foretold / real


def held(locks: tuple[LockForecast, ...] | tuple[LockHeld, ...]) -> float:
    """How long the table was locked in the mode."""
    return next(lock.held_s for lock in locks if (lock.table, lock.mode) == (TABLE, MODE)) or 0.0


if __name__ == "__main__":
    main()
