"""How long nobody can connect while names are swapped, and what a verified restore costs against pg_restore and ANALYZE.

    python -m benchmarks.swap [--users 100000] [--swaps 30] [--clients 12] [--runs 3]

The swaps are made on a small database with clients that reconnect at once; each goes back to the same backup. The restore
is measured in turn with the same pg_restore -j and ANALYZE alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from benchmarks.safe_upgrade import SETTINGS, administer, measured
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.errors import LawskerError
from lawsker_db.evidence import Event
from lawsker_db.postgres.tools import find_tool
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.restore import RestoreOptions, restore
from lawsker_db.target import parse_target

JOBS = 2
DATABASE = "origin"
SMALL = 200
TOOL = (sys.executable, "-m", "lawsker_db.cli")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.swaps:
        swapped(chosen.swaps, chosen.clients)
    if chosen.runs:
        restored(chosen.users, chosen.runs)


def swapped(swaps: int, clients: int) -> None:
    """Swap again and again under clients that reconnect, and print for how long the gate was closed."""
    with throwaway_server(settings=SETTINGS) as server, tempfile.TemporaryDirectory() as folder:
        url, backup = backed_up(server, Path(folder), SMALL)
        closed: list[float] = []
        with knocking(url, clients) as knocks:
            for number in range(swaps):
                closed += one_swap(server, url, backup, Path(folder) / f"runs{number}")
        answered, refused = sum(knock[0] for knock in knocks), sum(knock[1] for knock in knocks)
        said = f"median {statistics.median(closed):.2f} s, longest {max(closed):.2f} s" if closed else "none"
        print(
            f"{len(closed)} of {swaps} swaps with {clients} clients ({answered} transactions, {refused} refused):"
            f" gate closed {said}, aim at most 2 s",
            flush=True,
        )


def one_swap(server: ThrowawayServer, url: str, backup: Path, runs: Path) -> list[float]:
    """One restore; the damaged database goes afterwards. Returns how long the gate was closed, nothing when it failed."""
    opened: list[Event] = []
    try:
        report = restore(
            parse_target(url), backup, options=RestoreOptions(runs=runs, jobs=JOBS), on_event=opened.append
        )
    except LawskerError as failed:
        print(f"not swapped: {failed}", flush=True)
        return []
    (damaged,) = (str(event.facts["damaged"]) for event in opened if event.name == "gate opened")
    administer(server, f"DROP DATABASE {damaged}")
    return [report.figures["gate closed, ms"] / 1000]


@contextmanager
def knocking(url: str, clients: int) -> Iterator[list[list[int]]]:
    """Clients that do a transaction and come back at once when they are thrown out, for the block. Counts of both."""
    over = threading.Event()
    counts = [[0, 0] for _ in range(clients)]

    def work(count: list[int]) -> None:
        while not over.is_set():
            try:
                with psycopg.connect(url, connect_timeout=5) as conn:
                    while not over.is_set():
                        conn.execute("UPDATE tenants SET name = name WHERE id = (SELECT id FROM tenants LIMIT 1)")
                        conn.commit()
                        count[0] += 1
                        time.sleep(0.01)
            except psycopg.Error:
                count[1] += 1
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(count,), daemon=True) for count in counts]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            with suppress(RuntimeError):
                thread.join(30)


def restored(users: int, runs: int) -> None:
    """Time a restore to its proof against pg_restore and ANALYZE alone, in turn."""
    with throwaway_server(settings=SETTINGS) as server, tempfile.TemporaryDirectory() as folder:
        url, backup = backed_up(server, Path(folder), users)
        tool = find_tool("pg_restore", server.binaries.major)
        ratios = []
        for number in range(runs):
            administer(server, "CREATE DATABASE bare TEMPLATE template0")
            administer(server, "CHECKPOINT")
            typed = [str(tool.path), f"-j{JOBS}", f"--dbname={server.url('bare')}", str(backup / "database")]
            bare = measured(typed).wall_s
            began = time.monotonic()
            administer(server, "ANALYZE", "bare")
            bare += time.monotonic() - began
            administer(server, "DROP DATABASE bare")
            administer(server, "CHECKPOINT")
            ours = verified_s(url, backup, Path(folder) / f"restore{number}")
            ratios.append(ours / bare)
            print(
                f"run {number + 1}: pg_restore -j {JOBS} and ANALYZE {bare:.1f} s, restored and verified {ours:.1f} s"
            )
        print(f"restore / bare: median {statistics.median(ratios):.2f}, aim at most 1.1", flush=True)


def verified_s(url: str, backup: Path, runs: Path) -> float:
    """How long a dry restore takes with all its looks, statistics and proof; without the rows since, which are another
    question."""
    options = RestoreOptions(runs=runs, jobs=JOBS, dry_run=True)
    began = time.monotonic()
    report = restore(parse_target(url), backup, options=options)
    whole_s = time.monotonic() - began
    return whole_s - sum(timing.duration_s for timing in report.timings if timing.phase == "rescue")


def backed_up(server: ThrowawayServer, folder: Path, users: int) -> tuple[str, Path]:
    """A database of so many users, and a proven backup of it."""
    administer(server, f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'")
    url = server.url(DATABASE)
    load_sample(url, users=users)
    adopt(parse_target(url))
    administer(server, "VACUUM ANALYZE", DATABASE)
    measured([*TOOL, "backup", "create", f"--jobs={JOBS}", f"--runs={folder / 'backups'}"], {"DATABASE_URL": url})
    (taken,) = (folder / "backups").glob("*/backup")
    return url, taken


if __name__ == "__main__":
    main()
