"""safe-upgrade against the same pg_dump and bare Alembic in sequence; memory; the start of the command line.

    python -m benchmarks.safe_upgrade [--users 100000] [--runs 3]

Every pair runs on two clones of one database, in turn, so that a machine whose speed drifts moves both. Bare Alembic is
the same revisions without our env.py: no lock, no seal, no proof.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.postgres.tools import Tool, compression, find_tool
from lawsker_db.safety.adoption import adopt
from lawsker_db.target import parse_target

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB"}
BARE = """
import sys
from alembic.runtime.environment import EnvironmentContext
from lawsker_db.revisions import load_chain
from lawsker_db.target import parse_target
chain = load_chain()
steps = lambda current, context: chain.scripts._upgrade_revs("head", current)
with parse_target(sys.argv[1]).connect() as connection:
    with EnvironmentContext(chain.config, chain.scripts, fn=steps, destination_rev="head") as environment:
        environment.configure(connection=connection)
        with environment.begin_transaction():
            environment.run_migrations()
    connection.commit()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one command took as a whole process."""

    wall_s: float
    peak_mb: float


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    start_of_command_line(chosen.runs * 3)
    with throwaway_server(settings=SETTINGS) as server:
        main_road(server, chosen.users, chosen.runs)


def main_road(server: ThrowawayServer, users: int, runs: int) -> None:
    """Pairs of safe-upgrade and pg_dump + bare Alembic on clones of one adopted sample database."""
    administer(server, "CREATE DATABASE origin")
    load_sample(server.url("origin"), users=users)
    adopt(parse_target(server.url("origin")))
    ratios: list[float] = []
    for number in range(runs):
        for clone in ("ours", "bare"):
            administer(server, f"DROP DATABASE IF EXISTS {clone}")
            administer(server, f"CREATE DATABASE {clone} TEMPLATE origin")
        administer(server, "CHECKPOINT")
        with tempfile.TemporaryDirectory() as folder:
            ours = safe_upgrade(server.url("ours"), folder)
            tried = tried_out(Path(folder))
            bare = dump_and_upgrade(server, "bare", Path(folder) / "bare.dump")
        ratios.append((ours.wall_s - tried) / bare.wall_s)
        print(
            f"run {number + 1}: safe-upgrade {ours.wall_s:.2f} s ({ours.peak_mb:.0f} MB peak), of that proof and rehearsal"
            f" {tried:.2f} s; pg_dump + bare alembic {bare.wall_s:.2f} s, ratio without those two {ratios[-1]:.2f}"
        )
    print(f"{users} users, {runs} runs: ratio median {statistics.median(ratios):.2f}, aim at most 1.5")


def tried_out(runs: Path) -> float:
    """Seconds that a run spent on the copy, which the other side has not: from its report."""
    (report,) = runs.glob("*/report.json")
    timings = json.loads(report.read_bytes())["timings"]
    return sum(float(timing["duration_s"]) for timing in timings if timing["phase"] in ("proof", "rehearsal"))


def start_of_command_line(runs: int) -> None:
    """`lawsker-db --help` against importing typer alone."""
    ours, theirs = [], []
    for _ in range(runs):
        ours.append(measured([sys.executable, "-m", "lawsker_db.cli", "--help"]).wall_s)
        theirs.append(measured([sys.executable, "-c", "import typer"]).wall_s)
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"--help {statistics.median(ours):.3f} s, import typer {statistics.median(theirs):.3f} s, ratio {ratio:.2f}")


def safe_upgrade(url: str, runs_folder: str) -> Cost:
    """The command as an operator types it."""
    command = [sys.executable, "-m", "lawsker_db.cli", "safe-upgrade", "--yes", "--runs", runs_folder]
    command += ["--format", "custom", "--max-lock-s", "600"]
    return measured(command, {"DATABASE_URL": url})


def dump_and_upgrade(server: ThrowawayServer, database: str, archive: Path) -> Cost:
    """The same pg_dump with the same compression, then the revisions without any guard."""
    tool = find_tool("pg_dump", server.binaries.major)
    dump = measured([*dump_command(tool), f"--file={archive}", f"--dbname={server.url(database)}"])
    bare = measured([sys.executable, "-c", BARE, server.url(database)])
    return Cost(wall_s=dump.wall_s + bare.wall_s, peak_mb=max(dump.peak_mb, bare.peak_mb))


def dump_command(tool: Tool) -> list[str]:
    """pg_dump as safe-upgrade calls it."""
    return [str(tool.path), "--format=custom", f"--compress={compression(tool, {**os.environ, 'LC_ALL': 'C'})}"]


def measured(command: list[str], more: dict[str, str] | None = None) -> Cost:
    """Run a command to its end; wall time and the peak memory of that process by wait4(2)."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, env={**os.environ, **(more or {})}, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            said.seek(0)
            raise SystemExit(f"{command[:4]} failed: {said.read().decode(errors='replace')[-2000:]}")
    return Cost(wall_s=time.monotonic() - began, peak_mb=usage.ru_maxrss / 1024)


def administer(server: ThrowawayServer, statement: str, database: str = "postgres") -> None:
    """Run one statement outside of a transaction."""
    with psycopg.connect(server.url(database), autocommit=True) as connection:
        connection.execute(statement.encode())


if __name__ == "__main__":
    main()
