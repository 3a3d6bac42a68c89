"""What finding the rows to rescue costs: against fingerprinting the same tables of both databases, and in memory.

    python -m benchmarks.rescue [--rows 1000000] [--runs 3]

One table of so many rows, and copies of it in which ever more rows differ. In turn: one pass of fingerprints over both
databases, the two read at the same time as rescue reads them, and `find_rescue`. The ratio is that of their times. Then
this process' peak memory above what it had before the first rescue, and the export of all rows.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from benchmarks.safe_upgrade import SETTINGS, administer
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.postgres.content import read_tables
from lawsker_db.safety.rescue import export_rescue, find_rescue
from lawsker_db.target import parse_target

AIM = 2.0
TABLE = """
    CREATE TABLE facts (id uuid PRIMARY KEY, owner_id int NOT NULL, name text, amount numeric(12, 2), at timestamptz,
        data jsonb);
    INSERT INTO facts SELECT md5(n::text)::uuid, n % 1000, 'name of ' || n, n / 7.0, '2026-01-01'::timestamptz + n *
        interval '1 s', jsonb_build_object('n', n) FROM generate_series(1, {rows}) n;
    VACUUM ANALYZE facts;
"""
CASES = {"nothing differs": 0.0, "1 of 1,000 rows differs": 0.001, "1 of 100": 0.01, "every row differs": 1.0}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server:
        administer(server, "CREATE DATABASE restored")
        for statement in TABLE.format(rows=chosen.rows).split(";")[:-1]:
            run(server, "restored", statement)
        for name, share in CASES.items():
            administer(server, "DROP DATABASE IF EXISTS damaged")
            administer(server, "CREATE DATABASE damaged TEMPLATE restored")
            if share:
                run(server, "damaged", f"UPDATE facts SET amount = amount + 1 WHERE random() < {share}")
                run(server, "damaged", "VACUUM ANALYZE facts")
            ratios = [ratio(server, f"{name}, run {number + 1}") for number in range(chosen.runs)]
            print(f"{chosen.rows} rows, {name}: median {statistics.median(ratios):.2f}, aim {AIM}", flush=True)
        export(server)


def run(server: ThrowawayServer, database: str, statement: str) -> None:
    """Run one statement in a database."""
    with psycopg.connect(server.url(database), autocommit=True) as conn:
        conn.execute(statement.encode())


def ratio(server: ThrowawayServer, name: str) -> float:
    """One pass of fingerprints over both databases at once, then find_rescue. Returns time of the latter / the former."""
    damaged, restored = (parse_target(server.url(database)) for database in ("damaged", "restored"))
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=2) as pool:
        parts = [pool.submit(read_tables, target, ["public.facts"], connections=1) for target in (damaged, restored)]
        assert all(part.result() for part in parts)
    theirs, before = time.monotonic() - began, peak_mb()
    began = time.monotonic()
    found = find_rescue(damaged, restored)
    ours = time.monotonic() - began
    grown = peak_mb() - before
    print(f"{name}: {found.rows} rows in {ours:.2f} s, fingerprints {theirs:.2f} s, +{grown:.0f} MB", flush=True)
    return ours / theirs


def export(server: ThrowawayServer) -> None:
    """Write the rows of the last case, as CSV and SQL."""
    damaged, restored = (parse_target(server.url(database)) for database in ("damaged", "restored"))
    found, before = find_rescue(damaged, restored), peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        written = export_rescue(damaged, restored, found, Path(folder))
        took = time.monotonic() - began
        size = sum(path.stat().st_size for path in Path(written.folder).iterdir()) / 1e6
    print(f"export: {written.rows} rows, {size:.0f} MB in {took:.1f} s, +{peak_mb() - before:.0f} MB")


def peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
