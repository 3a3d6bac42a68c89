"""What the gate costs: its share of a migration that touches only users, and a full proof against COPY of the same tables.

    python -m benchmarks.gate [--users 100000] [--runs 3]

The share is measured within each run: the time that the gate's own functions took of the migration's transaction, against
the rest of it, which is what the revision does by itself; the contract's row counts and invariants, which read what the
revision has made, apart from the comparison of what stood before. For the whole of 013, and for a small revision that adds a
column and an index to users. The second figure pairs, on the same tables, one pass of fingerprints with the server's own
`COPY … TO '/dev/null'`, in turn: once on one connection, as COPY has, and once on the two that a run uses.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.safe_upgrade import SETTINGS, administer
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.postgres.content import CONNECTIONS, read_tables
from lawsker_db.safety import gate
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.upgrade import UpgradeOptions, safe_upgrade
from lawsker_db.target import parse_target

AIM_SHARE, AIM_FULL = 0.10, 1.2
ROOT = Path(__file__).parents[1]
# What the gate does for itself, the outermost of each: locks are taken with or without it.
GATES_OWN = ("begin", "judge_revision", "check_group", "_observe", "judge_snapshots", "judge_ending")
MADE = "judge_made"  # within judge_revision
SMALL = '''"""A column with a default and an index for it, on users."""

import sqlalchemy as sa
from alembic import op

from lawsker_db import ops
from lawsker_db.contract import Column, Contract, Extension, Index

revision = "100"
down_revision = "012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    ops.lock_tables({"users": "ACCESS EXCLUSIVE"})
    op.execute("ALTER TABLE users ADD COLUMN nickname text NOT NULL DEFAULT 'n-' || gen_random_uuid()")
    op.create_index("idx_users_nickname", "users", ["nickname"])


def downgrade() -> None:
    op.drop_column("users", "nickname")


contract = Contract(
    revision="100",
    follows="012",
    alters=("users",),
    extensions=(
        Extension(
            table="users",
            columns=(Column("nickname", "text", "'n-' || gen_random_uuid()"),),
            indexes=(Index("idx_users_nickname", ("nickname",)),),
        ),
    ),
)
'''


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server, tempfile.TemporaryDirectory() as folder:
        administer(server, "CREATE DATABASE origin")
        load_sample(server.url("origin"), users=chosen.users)
        adopt(parse_target(server.url("origin")))
        for name, config in (("013", None), ("a column and an index", small_chain(Path(folder)))):
            shares = [share(server, name, config, number) for number in range(chosen.runs)]
            compared, made = (statistics.median(part) for part in zip(*shares, strict=True))
            print(
                f"{chosen.users} users, {name}: share median {compared + made:.3f}, aim {AIM_SHARE};"
                f" comparison {compared:.3f}, row counts and invariants {made:.3f}"
            )
        for connections in (1, CONNECTIONS):
            ratios = [full(server.url("origin"), number, connections) for number in range(chosen.runs)]
            print(
                f"{chosen.users} users: all tables on {connections} / COPY, median {statistics.median(ratios):.2f},"
                f" aim {AIM_FULL}"
            )


def small_chain(folder: Path) -> Path:
    """The baseline, and above it the small revision."""
    versions = folder / "alembic" / "versions"
    versions.mkdir(parents=True)
    for path in ("alembic.ini", "alembic/env.py", "alembic/script.py.mako", "alembic/versions/012_baseline.py"):
        (folder / path).write_text((ROOT / path).read_text())
    (versions / "100_small.py").write_text(SMALL)
    return folder / "alembic.ini"


def share(server: ThrowawayServer, name: str, config: Path | None, number: int) -> tuple[float, float]:
    """Migrate a fresh clone. Returns the time of the gate's comparison, and that of row counts and invariants, each / the
    time of everything else in the transaction."""
    administer(server, "DROP DATABASE IF EXISTS clone")
    administer(server, "CREATE DATABASE clone TEMPLATE origin")
    administer(server, "CHECKPOINT")
    with tempfile.TemporaryDirectory() as folder, timed_gate() as spent:
        options = UpgradeOptions(runs=Path(folder), config=config, prove=False)
        report = safe_upgrade(parse_target(server.url("clone")), options=options)
    whole = next(timing.duration_s for timing in report.timings if timing.phase == "migration")
    own = whole - sum(spent.values())
    parts = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in spent.items())
    print(
        f"{name}, run {number + 1}: gate {sum(spent.values()):.2f} s ({parts}), migration's own {own:.2f} s", flush=True
    )
    made = spent.pop(MADE)
    return sum(spent.values()) / own, made / own


@contextmanager
def timed_gate() -> Iterator[dict[str, float]]:
    """Add up, for the block, the seconds that each of the gate's own functions takes; those within others do not count."""
    spent = dict.fromkeys((*GATES_OWN, MADE), 0.0)
    inside: list[str] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(*given: Any, **more: Any) -> Any:
            inside.append(name)
            began = time.monotonic()
            try:
                return function(*given, **more)
            finally:
                inside.pop()
                took = time.monotonic() - began
                if not inside:
                    spent[name] += took
                elif name == MADE:
                    spent[name] += took
                    spent[inside[0]] -= took

        return run

    places = [(Gate, name) for name in GATES_OWN] + [(gate, MADE)]
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, function in before:
        setattr(place, name, timed(name, function))
    try:
        yield spent
    finally:
        for place, name, function in before:
            setattr(place, name, function)


def full(url: str, number: int, connections: int) -> float:
    """One pass of fingerprints over all tables, on so many connections / COPY of all of them to nowhere, on one."""
    with psycopg.connect(url) as raw:
        tables = [str(row[0]) for row in raw.execute(TABLES).fetchall()]
    began = time.monotonic()
    read_tables(parse_target(url), tables, connections=connections)
    ours = time.monotonic() - began
    with psycopg.connect(url) as raw:
        began = time.monotonic()
        for table in tables:
            raw.execute(f"COPY {table} TO '/dev/null'".encode())
        theirs = time.monotonic() - began
    print(f"run {number + 1}: {len(tables)} tables, fingerprints {ours:.2f} s, COPY {theirs:.2f} s", flush=True)
    return ours / theirs


TABLES = (
    "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n"
    " ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    " ORDER BY pg_relation_size(c.oid) DESC"
)


if __name__ == "__main__":
    main()
