"""What bringing an archive back costs: the same upgrade with it and without it, in turn.

    python -m benchmarks.reinstate [--users 100000] [--rows 10000] [--runs 3]

The archive is that of a downgrade after applications wrote `rows` points transactions and changed a value of every tenth
user. Without it every workspace_id is drawn anew, so bringing it back changes every user: that is the worst there is. Told
are the seconds from the strong lock on users to the end of COMMIT, and those of the reinstatement in them.
"""

from __future__ import annotations

import argparse
import statistics
from datetime import UTC, datetime

import psycopg

from benchmarks.safe_upgrade import SETTINGS, administer
from lawsker_db.demo.sample import load_sample
from lawsker_db.demo.server import ThrowawayServer, throwaway_server
from lawsker_db.record.journal import new_run_id
from lawsker_db.revisions import current_revisions, load_chain, plan_downgrade, plan_upgrade, run_steps
from lawsker_db.safety.adoption import adopt
from lawsker_db.safety.gate import Gate
from lawsker_db.safety.guard import RunOptions, migration_transaction
from lawsker_db.target import parse_target

WRITTEN = (
    """INSERT INTO lawyer_point_transactions (lawyer_id, transaction_type, points_change, points_before, points_after)
    SELECT lawyer_id, 'case', 1, 0, 1 FROM lawyer_level_details CROSS JOIN generate_series(1, {rows}) LIMIT {rows}""",
    "UPDATE users SET registration_source = 'app' WHERE id::text LIKE '7%'",
    "VACUUM ANALYZE",
)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with throwaway_server(settings=SETTINGS) as server:
        administer(server, "CREATE DATABASE origin")
        url = server.url("origin")
        load_sample(url, users=chosen.users)
        adopt(parse_target(url))
        carry(url, reinstate="never")
        with psycopg.connect(url, autocommit=True) as conn:
            for statement in WRITTEN:
                conn.execute(statement.format(rows=chosen.rows).encode())
        carry(url, archive=True)
        pairs = [(locked(server, "never"), locked(server, "auto")) for _ in range(chosen.runs)]
        without, with_it = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"{chosen.users} users: users locked {without:.2f} s without, {with_it:.2f} s with the archive (medians)")


def locked(server: ThrowawayServer, reinstate: str) -> float:
    """Upgrade a fresh clone. Returns the seconds from the lock on users to the end of COMMIT."""
    administer(server, "DROP DATABASE IF EXISTS clone")
    administer(server, "CREATE DATABASE clone TEMPLATE origin")
    administer(server, "CHECKPOINT")
    gate = carry(server.url("clone"), reinstate=reinstate)
    held = (
        datetime.now(UTC) - next(lock.granted_at for lock in gate.locks if lock.table == "public.users")
    ).total_seconds()
    back = sum(one.duration_s for one in gate.reinstating.told) if gate.reinstating else 0.0
    print(f"{reinstate}: users locked for {held:.2f} s, {back:.2f} s of them reinstatement", flush=True)
    return held


def carry(url: str, *, archive: bool = False, reinstate: str = "never") -> Gate:
    """Up to head, or down to 012 with an archive, by the guarded transaction."""
    target, chain = parse_target(url), load_chain()
    with target.connect() as conn:
        current = current_revisions(conn)
        conn.rollback()
        plan = plan_downgrade(chain, current, "012") if archive else plan_upgrade(chain, current)
        run = RunOptions(run_id=new_run_id("benchmark"), via="alembic", archive=archive, reinstate=reinstate)
        with migration_transaction(conn, target, plan, run) as guarded:
            run_steps(conn, chain, plan, guarded.gate)
    return guarded.gate


if __name__ == "__main__":
    main()
